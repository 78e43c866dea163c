"""Vectors of others, some rows at a time, as float32 or float16 that a file can hold.

What would not survive is refused with the numbers of its rows, all at once: vectors with NaN or
infinity, missing ones, those of another length.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import DofWarning, SourceError, UsageError
from dof_arrow.format.spec.arrow import VECTOR_TYPES, finite
from dof_arrow.format.vector_values import vector_values

Array = NDArray[Any]

_BYTES = 32 << 20
_SHOWN = 10  # rows that a message names
_WHOLE = 1 << 24  # integers up to it are exact as float32


@dataclass(kw_only=True)
class VectorCheck:
    """What is known of the vectors of one column while they pass."""

    name: str
    where: str = ""
    rows: int = 0
    shape: tuple[int, ...] | None = None
    bad: list[int] = field(default_factory=list)
    _told: bool = False

    def passed(self, chunk: Array) -> Array:
        """A chunk as it can be stored; rows that cannot are noted."""
        values = self._narrow(chunk)
        if self.shape is None:
            self.shape = values.shape[1:]
        if values.shape[1:] != self.shape or values.ndim < 2:
            raise SourceError(
                "vectors of different lengths",
                f"{self.where or self.name}, from row {self.rows}",
                f"{self.shape} a row",
                str(values.shape[1:]),
            )
        if not finite(values.reshape(-1)):
            flat = values.reshape(len(values), -1)
            wrong = np.flatnonzero(~np.isfinite(flat).all(axis=1))
            self.bad += (wrong + self.rows).tolist()
        self.rows += len(values)
        return values

    def finish(self) -> None:
        """Raise SourceError if some rows could not be stored."""
        refuse_rows(self.bad, "vectors with NaN or infinity", self.where or self.name)

    def _narrow(self, chunk: Array) -> Array:
        kind = chunk.dtype.newbyteorder("=")  # as this machine has it
        if str(kind) in VECTOR_TYPES:
            return chunk.astype(kind, copy=False)
        if kind.kind not in "fiu" or (kind.kind in "iu" and self._too_large(chunk)):
            raise UsageError(
                "vectors that float32 does not hold",
                self.where or self.name,
                "numbers [n, D]",
                f"{kind}",
                "Give floats, and choose by vector= which array or column they are.",
            )
        if not self._told:
            warnings.warn(f"{self.name}: {kind} is stored as float32", DofWarning, stacklevel=2)
            self._told = True
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            return chunk.astype(np.float32)

    def _too_large(self, chunk: Array) -> bool:
        return bool(chunk.size and max(int(chunk.max()), -int(chunk.min())) > _WHOLE)


def refuse_rows(rows: Sequence[int], what: str, where: str, hint: str = "") -> None:
    """Raise SourceError that names the first of these rows and how many there are, if any."""
    if not rows:
        return
    shown = ", ".join(map(str, rows[:_SHOWN]))
    more = " …" if len(rows) > _SHOWN else ""
    raise SourceError(
        what,
        where,
        "finite numbers, as many in every row",
        f"{len(rows):,} rows that are not, from 0: {shown}{more}",
        hint or "Leave these rows out, or mend them.",
    )


def of_array(name: str, values: Any) -> Iterator[Array]:
    """An array [n, ...] of numpy, torch or Arrow, some rows at a time."""
    array = vector_values(name, values) if not isinstance(values, np.ndarray) else values
    if isinstance(array, np.ma.MaskedArray):
        array = vector_values(name, array)
    if array.ndim == 1 and array.dtype == object:
        array = stacked(name, array)
    if array.ndim < 2:
        raise UsageError(
            "no vectors", name, "an array [n, D]", f"[{', '.join(map(str, array.shape))}]"
        )
    step = max(_BYTES // max(array[:1].nbytes, 1), 1)
    for start in range(0, len(array), step):
        yield array[start : start + step]


def stacked(name: str, cells: Array) -> Array:
    """An array of arrays or lists, one a row, as one; refuses rows of another length."""
    lengths = [-1 if cell is None or np.ndim(cell) == 0 else np.size(cell) for cell in cells]
    wanted = max(lengths, key=lengths.count, default=0)
    wrong = [row for row, length in enumerate(lengths) if length != wanted or length < 0]
    refuse_rows(wrong, "vectors that are missing or of another length", name)
    return np.stack([np.asarray(cell) for cell in cells])


def of_lists(name: str, columns: Iterable[pa.Array | pa.ChunkedArray]) -> Iterator[Array]:
    """Columns of lists, of fixed size or not, as arrays; refuses rows of another length."""
    before = 0
    width: int | None = None
    for column in columns:
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            if not len(chunk):
                continue
            width, values = _of_list(name, chunk, width, before)
            before += len(chunk)
            yield values


def _of_list(
    name: str, chunk: pa.Array, width: int | None, before: int, parts: int = 1
) -> tuple[int, Array]:
    """The length of all lists, and their values [n, length, ...]; `parts` lists are a row."""
    import pyarrow.compute as pc

    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    kind = chunk.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (is_list or pa.types.is_fixed_size_list(kind)):
        raise UsageError("no column of vectors", f"column {name}", "lists of numbers", str(kind))
    lengths = pc.list_value_length(chunk).fill_null(-1).to_numpy(zero_copy_only=False)
    if width is None:
        width = int(np.bincount(lengths[lengths >= 0]).argmax()) if (lengths >= 0).any() else 0
    wrong = np.flatnonzero((lengths != width) | (lengths < 1)) // parts
    _refuse(wrong + before, "vectors that are missing or of another length", name)
    flat = chunk.flatten()
    if flat.null_count:
        gaps = np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False)) // (width * parts)
        _refuse(gaps + before, "vectors with gaps", name)
    if pa.types.is_nested(flat.type):  # a list of lists, as of `Array2D` of Hugging Face
        _, values = _of_list(name, flat, None, before, width * parts)
    else:
        values = flat.to_numpy(zero_copy_only=False)
    return width, values.reshape(len(chunk), width, *values.shape[1:])


def _refuse(rows: Array, what: str, name: str) -> None:
    refuse_rows(np.unique(rows).tolist(), what, f"column {name}")
