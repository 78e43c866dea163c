"""Columns of names as they are read: a code for each row, and what codes stand for (SPEC 6.7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from operator import itemgetter

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
Names = tuple[str, ...]


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
    return from_codes([(region.names, region.codes(memory)) for region in regions], classes)


def from_codes(pieces: Iterable[tuple[Names, Codes]], classes: Sequence[str] | None) -> Named:
    """A column of these pieces, each with its own names and the codes of its rows.

    Raises Unproved where a code has no name.
    """
    runs = list(_alike(pieces))
    own = dict.fromkeys(chain.from_iterable(names for names, _ in runs))
    names, known = _order(own, classes)
    places = {name: place for place, name in enumerate(names)}
    kind = code_type(len(names))
    found = []
    for its_names, codes in runs:
        if int(codes.max(initial=0)) >= len(its_names):
            raise Unproved("a code without a name")
        if its_names != names[: len(its_names)]:
            table = np.array([places[name] for name in its_names], kind)
            codes = table[codes]
        found.append(codes.astype(kind, copy=False))
    return Named(_in_one(found), _names_of(names), known)


@lru_cache(maxsize=64)
def _names_of(names: Names) -> pa.StringArray:
    return text_array(names)


def _alike(pieces: Iterable[tuple[Names, Codes]]) -> Iterator[tuple[Names, Codes]]:
    """The pieces; neighbours with the same names are one."""
    for names, run in groupby(pieces, key=itemgetter(0)):
        yield names, _in_one([codes for _, codes in run])


def _in_one(arrays: Sequence[Codes]) -> Codes:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _order(found: Iterable[str], classes: Sequence[str] | None) -> tuple[tuple[str, ...], int]:
    """The names of a column in the order of their codes, and how many of them it may have."""
    if classes is None:
        names = split_order(found)
        return names, len(names)
    known = set(classes)
    others = [name for name in found if name not in known]
    return (*classes, *others), len(classes)
