"""The columns of a dataset of bags that others made, and the rows of some bags for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.format.parquet.layout import schema_geometry
from dof_arrow.format.spec.arrow import vector_field
from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.foreign.bag import Array
from dof_arrow.rewrite.foreign.bag_blocks import Block, TakenBag
from dof_arrow.rewrite.foreign.survey import Survey

FEATURE = "feature"
_AT_ONCE = 128 << 20  # bytes
_DIGITS = 7  # of a tile's number
_PLACES = {"pixels": ("x", "y"), "um": ("x_um", "y_um")}
_TYPES = {
    "x": pa.int32(),
    "y": pa.int32(),
    "level": pa.int16(),
    "mpp": pa.float64(),
    "x_um": pa.float64(),
    "y_um": pa.float64(),
}


@dataclass(frozen=True)
class BagColumns:
    """The columns of the dataset, by what its inputs are like."""

    known: Survey

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns; one that all inputs fill is required, so that it is mapped."""
        fields = [pa.field("id", pa.string(), nullable=False)]
        if not self._alone:
            fields.append(pa.field("bag", pa.string(), nullable=False))
        for name, is_full in self._beside.items():
            fields.append(pa.field(name, _TYPES[name], nullable=not is_full))
        fields.append(vector_field(FEATURE, (self.known.first.width,), self.known.dtype))
        return pa.schema(fields)

    @cached_property
    def at_once(self) -> int:
        """How many rows are best written together: those of a row group, if it is not huge."""
        width = self.known.first.width * np.dtype(self.known.dtype).itemsize
        return min(schema_geometry(self.schema).rows, max(_AT_ONCE // width, 1))

    def metadata(self, core: str | None) -> dict[str, Json]:
        """Which columns have which roles, and what is claimed of the core."""
        there = [name for name in self._beside if not name.endswith("_um")]
        record = {"id": "id", **{name: name for name in there}}
        if not self._alone:
            record["bag"] = "bag"
        name = core or self.known.core or "not stated"
        return {
            "record": record,
            "primary_column": FEATURE,
            "columns": {FEATURE: {"core": FEATURE}},
            "claimed_cores": {FEATURE: {"name": name, "facts": self.known.facts}},
        }

    def rows(self, block: Block, called: Sequence[str]) -> dict[str, Any]:
        """The rows of a block, as a writer takes them; `called` are the names of all inputs."""
        names = [called[bag.number] for bag in block.bags]
        given: dict[str, Any] = {"ids": names, "vectors": {FEATURE: block.vectors}}
        if self._alone:
            return given
        counts = [bag.form.rows for bag in block.bags]
        columns: dict[str, Any] = {"bag": _repeated(names, counts)}
        for name in self._beside:
            parts = [_part(name, bag) for bag in block.bags]
            columns[name] = _column(_TYPES[name], parts, counts)
        return {**given, "ids": _numbered(names, counts), "columns": columns}

    @property
    def _alone(self) -> bool:
        return self.known.first.alone

    @cached_property
    def _beside(self) -> dict[str, bool]:
        """The columns of places and scales, and whether every input fills them."""
        found = {}
        for unit, names in _PLACES.items():
            some, every = self.known.places_in(unit)
            if some:
                found.update(dict.fromkeys(names, every))
        for name in ("level", "mpp"):
            some, every = self.known.known(name)
            if some:
                found[name] = every
        return found


def _part(name: str, bag: TakenBag) -> Array | float | None:
    """What a bag has for a column: a number for each row, or one for all; None if nothing."""
    if name in ("level", "mpp"):
        found: float | None = getattr(bag.form, name)
        return found
    axes = () if bag.form.unit is None else _PLACES[bag.form.unit]
    if bag.places is None or name not in axes:
        return None
    return bag.places[:, axes.index(name)]


def _column(
    kind: pa.DataType, parts: Iterable[Array | float | None], counts: Sequence[int]
) -> Array | pa.Array:
    """The parts of some bags as a column; what a bag has nothing for is missing.

    >>> _column(pa.int16(), [7, None], [2, 1]).to_pylist()
    [7, 7, None]
    """
    values = np.zeros(sum(counts), kind.to_pandas_dtype())
    missing = np.zeros(len(values), bool)
    start = 0
    for part, count in zip(parts, counts, strict=True):
        rows = slice(start, start + count)
        if part is None:
            missing[rows] = True
        else:
            values[rows] = part
        start += count
    return pa.array(values, kind, mask=missing) if missing.any() else values


def _repeated(names: Sequence[str], counts: Sequence[int]) -> pa.Array:
    """The name of each bag, as often as it has rows."""
    return pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), counts)))


def _numbered(names: Sequence[str], counts: Sequence[int]) -> pa.Array:
    """The ids of bags' rows: a bag's name, a sign, and numbers of seven digits.

    >>> _numbered(["a"], [2]).to_pylist()
    ['a-0000000', 'a-0000001']
    """
    digits = _digits(max(counts))
    letters = []
    widths = []
    for name, count in zip(names, counts, strict=True):
        start = f"{name}-".encode()
        whole = np.empty((count, len(start) + _DIGITS), np.uint8)
        whole[:, : len(start)] = np.frombuffer(start, np.uint8)
        whole[:, len(start) :] = digits[:count]
        letters.append(whole.reshape(-1))
        widths.append(whole.shape[1])
    ends = np.zeros(sum(counts) + 1, np.int64)
    np.cumsum(np.repeat(widths, counts), out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.concatenate(letters))]
    return pa.Array.from_buffers(pa.large_string(), len(ends) - 1, buffers).cast(pa.string())


def _digits(count: int) -> Array:
    """The digits of the numbers below `count`, letters [count, 7]."""
    numbers = np.arange(count, dtype=np.int32)[:, None]
    powers = 10 ** np.arange(_DIGITS - 1, -1, -1, dtype=np.int32)
    return (numbers // powers % 10 + ord("0")).astype(np.uint8)
