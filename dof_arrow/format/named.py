"""Columns of names as they are read: a code for each row, and what codes stand for (SPEC 6.7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet.names_proof import Memory, NamesRegion
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.names import (
    code_array,
    code_type,
    codes_or_missing,
    names_array,
    split_order,
    text_array,
)
from dof_arrow.format.spec.rules import broken

Codes = NDArray[np.integer]


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """A column of names.

    `codes` [n] are places in `names`; uint8 or uint16, or int32 where -1 stands for a missing one.
    Codes from `known` on are of names that the column should not have.
    """

    codes: Codes
    names: pa.StringArray
    known: int

    def array(self, rows: slice | NDArray[np.integer], kind: pa.DataType) -> pa.Array:
        """Some rows as an Arrow dictionary of this type; FormatError if it has too few indices."""
        try:
            return names_array(self.codes[rows], self.names, kind)
        except pa.ArrowInvalid:
            expected = f"at least {len(self.names)} indices"
            raise broken("footer-schema", "ARROW:schema", expected, kind) from None

    def checked(self, where: str) -> Codes:
        """The codes; FormatError if a row has a name that it should not have."""
        if len(self.names) > self.known and len(self.codes):
            wrong = int(self.codes.max())
            if wrong >= self.known:
                known = ", ".join(self.names[: min(self.known, 10)].to_pylist())
                raise FormatError(
                    "a name that is no class of its target",
                    where,
                    known or "a class",
                    repr(self.names[wrong].as_py())[:100],
                    "Name all classes in the target's `classes`.",
                )
        return self.codes


def from_array(array: pa.Array, classes: Sequence[str] | None, *, nullable: bool) -> Named:
    """A decoded column of texts or of a dictionary; without `classes` it is one of splits."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    names, known = _order(array.unique().drop_null().to_pylist(), classes)
    codes = codes_or_missing(code_array(array, names))
    kind = code_type(len(names), nullable=nullable)
    return Named(codes.astype(kind, copy=False), text_array(names), known)


def from_regions(
    regions: Sequence[NamesRegion], classes: Sequence[str] | None, memory: Memory
) -> Named:
    """A proved column: over the file's `memory` where it is one row group with the usual names.

    Raises Unproved where a code has no name.
    """
    own = dict.fromkeys(name for region in regions for name in region.names)
    names, known = _order(own, classes)
    places = {name: place for place, name in enumerate(names)}
    kind = code_type(len(names))
    pieces = []
    for region in regions:
        codes = region.codes(memory)
        if int(codes.max(initial=0)) >= len(region.names):
            raise Unproved("a code without a name")
        if region.names != names[: len(region.names)]:
            table = np.array([places[name] for name in region.names], kind)
            codes = table[codes]
        pieces.append(codes.astype(kind, copy=False))
    whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return Named(whole, text_array(names), known)


def _order(found: Iterable[str], classes: Sequence[str] | None) -> tuple[tuple[str, ...], int]:
    """The names of a column in the order of their codes, and how many of them it may have."""
    if classes is None:
        names = split_order(found)
        return names, len(names)
    known = set(classes)
    others = [name for name in found if name not in known]
    return (*classes, *others), len(classes)
