"""What a footer says of values: how many are missing, the smallest, the largest (SPEC 6.8).

Readers leave row groups out by it: where a value lies outside of what is said, rows get lost in
silence. So here it is made of the values alone, and here a file's own is held against them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import types

from dof_arrow.format.parquet.compact import BINARY, I64, STRUCT, TRUE, Struct, get, items
from dof_arrow.format.parquet.footer import ColumnMeta
from dof_arrow.format.parquet.layout import Fixed, fixed

_MAX_BOUND = 256  # bytes of a text that is a bound; longer ones are left out
_DAY = 86_400_000  # date64 counts milliseconds, and is stored in days
_INT32, _INT64, _FIXED_BYTES = 1, 2, 7  # physical types of parquet.thrift


# What a chunk says of its values, or where it says more of them.
CLAIMS = (
    ColumnMeta.STATISTICS,
    ColumnMeta.INDEX_PAGE,
    ColumnMeta.BLOOM_FILTER,
    ColumnMeta.BLOOM_LENGTH,
    ColumnMeta.GEOGRAPHY,
)


class Statistics:
    """Field ids of a chunk's statistics."""

    OLD_LARGEST = 1
    OLD_SMALLEST = 2
    NULLS = 3
    LARGEST = 5
    SMALLEST = 6
    LARGEST_IS_EXACT = 7
    SMALLEST_IS_EXACT = 8


class Ends(NamedTuple):
    """The smallest and the largest of some values: numbers, or bytes of texts."""

    smallest: Any
    largest: Any


class Flaw(NamedTuple):
    """What is false of statistics: what should be said, and what is."""

    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class _Present:
    """The values that are there, each at least once, and how many are missing."""

    values: pa.Array
    nulls: int


def of_numbers(column: Fixed, pieces: Sequence[np.ndarray]) -> Struct | None:
    """The statistics of a flat mapped column, whose stored values are `pieces`.

    None for vectors, and where there are no values. float16 and NaN have no order that all readers
    share: then the missing values alone are counted.
    """
    filled = [piece for piece in pieces if len(piece)]
    if column.nested or not filled:
        return None
    if column.memory.itemsize == column.stored.itemsize:
        # Unsigned numbers are stored in the bits of signed ones; their order is their own.
        filled = [piece.view(column.memory) for piece in filled]
    ends = None if column.memory == np.float16 else _ends_of_numbers(filled)
    return _stated(0, _widened(ends), column)


def of_names(texts: Sequence[str]) -> Struct:
    """The statistics of rows without missing values, of which these are the different texts."""
    found = sorted(text.encode() for text in texts)
    ends = Ends(found[0], found[-1]) if found else None
    return _stated(0, ends, None)


def of_values(values: pa.ChunkedArray) -> Struct | None:
    """The statistics of a column of one row group; None for lists, structs and maps.

    >>> get(of_values(pa.chunked_array([[1.5, None, float("nan")]])), Statistics.NULLS)
    1
    """
    if types.is_nested(values.type):
        return None
    present = _present(values)
    kind = present.values.type
    column = None if types.is_null(kind) else fixed(pa.field("", kind, nullable=False))
    if types.is_float16(kind) or not (column or _is_binary(kind)):
        return _stated(present.nulls, None, None)
    return _stated(present.nulls, _widened(_ends(present.values)), column)


def restated(meta: Struct, statistics: Mapping[str, Struct]) -> Struct:
    """The description of a chunk that is copied, without what it claims of its values.

    It has the statistics of its column, by name, if there are any: those made anew.
    """
    kept = {field: value for field, value in meta.items() if field not in CLAIMS}
    path = items(meta, ColumnMeta.PATH)
    name = path[0].decode()
    if len(path) == 1 and name in statistics:
        kept[ColumnMeta.STATISTICS] = (STRUCT, statistics[name])
    return kept


def flaws(stated: Struct, values: pa.ChunkedArray, physical: int, *, rows: bool) -> Iterator[Flaw]:
    """What is false of the statistics of a chunk whose values these are.

    `physical` is the chunk's physical type. `rows`: each row has one value, so that it is known
    what counts as missing.
    """
    present = _present(values)
    nulls = get(stated, Statistics.NULLS)
    if rows and nulls is not None and nulls != present.nulls:
        yield Flaw(f"{present.nulls} missing values", str(nulls))
    for side in _SIDES:
        if side.field in stated and len(present.values):
            yield from side.flaws(stated, present.values, physical)


@dataclass(frozen=True, slots=True)
class _Side:
    """One bound in statistics: its field, that which says whether it is exact, its sign."""

    field: int
    exact: int
    is_largest: bool

    def flaws(self, stated: Struct, values: pa.Array, physical: int) -> Iterator[Flaw]:
        """What is false of this bound of some values."""
        ends = _ends(values)
        if ends is None:
            yield Flaw("no bounds: NaN, or values without an order", _word(self.is_largest))
            return
        end = ends.largest if self.is_largest else ends.smallest
        bound = _decoded(get(stated, self.field), values.type, physical)
        if bound is None:
            yield Flaw(f"{_word(self.is_largest)} {end!r}", "bytes of another length")
        elif self._excludes(bound, end) or (get(stated, self.exact) and bound != end):
            yield Flaw(f"{_word(self.is_largest)} {end!r}", repr(bound))

    def _excludes(self, bound: Any, end: Any) -> bool:
        if bound != bound:
            return True
        if bound == end:  # a zero of one sign does not hold that of the other
            return isinstance(end, float) and self._is_inside(end, bound)
        return bool(bound < end if self.is_largest else bound > end)

    def _is_inside(self, end: float, bound: float) -> bool:
        inner = np.signbit(bound) if self.is_largest else not np.signbit(bound)
        return bool(inner and np.signbit(bound) != np.signbit(end))


_SIDES = (
    _Side(Statistics.SMALLEST, Statistics.SMALLEST_IS_EXACT, is_largest=False),
    _Side(Statistics.LARGEST, Statistics.LARGEST_IS_EXACT, is_largest=True),
    # Of early writers; what says that a bound is exact came later.
    _Side(Statistics.OLD_SMALLEST, 0, is_largest=False),
    _Side(Statistics.OLD_LARGEST, 0, is_largest=True),
)


def _word(is_largest: bool) -> str:
    return "largest" if is_largest else "smallest"


def _present(values: pa.ChunkedArray) -> _Present:
    pieces = []
    nulls = 0
    for chunk in values.chunks:
        if types.is_dictionary(chunk.type):
            chunk, missing = _used(chunk)
            nulls += missing
        nulls += chunk.null_count
        pieces.append(chunk.drop_null())
    kind = values.type
    if types.is_dictionary(kind):
        kind = kind.value_type
    return _Present(pa.concat_arrays(pieces) if pieces else pa.array([], kind), nulls)


def _used(chunk: pa.DictionaryArray) -> tuple[pa.Array, int]:
    """The values of a dictionary that rows use, and how many rows use none."""
    if chunk.dictionary.null_count:
        return chunk.dictionary_decode(), 0
    used = chunk.indices.drop_null().unique()
    return chunk.dictionary.take(used), chunk.indices.null_count


def _ends(values: pa.Array) -> Ends | None:
    """The ends of values of which none is missing; None where they have no order."""
    kind = values.type
    if isinstance(kind, pa.ExtensionType):
        return _ends(values.storage)
    if not len(values):
        return None
    if _is_binary(kind):
        return Ends(*map(_bytes, _min_max(values)))
    if types.is_decimal(kind):
        return Ends(*map(_unscaled, _min_max(values)))
    numbers = _numbers(values)
    return None if numbers is None else _ends_of_numbers([numbers])


def _ends_of_numbers(pieces: Sequence[np.ndarray]) -> Ends | None:
    """The ends of numbers; None if NaN is among them. Zeros have the sign that lies outside."""
    # numpy's min and max let a NaN of any piece through, Python's only that of the first.
    smallest = np.min([piece.min() for piece in pieces])
    largest = np.max([piece.max() for piece in pieces])
    if smallest.dtype.kind != "f":
        return Ends(int(smallest), int(largest))
    if np.isnan(smallest) or np.isnan(largest):
        return None
    ends = Ends(float(smallest), float(largest))
    return Ends(_zero(ends.smallest, pieces, True), _zero(ends.largest, pieces, False))


def _zero(end: float, pieces: Sequence[np.ndarray], negative: bool) -> float:
    """An end of some numbers; a zero is -0.0, or 0.0 if not `negative`, where there is one."""
    if end != 0:
        return end
    for piece in pieces:
        signs = np.signbit(piece[piece == 0])
        if (signs == negative).any():
            return -0.0 if negative else 0.0
    return 0.0 if negative else -0.0


def _widened(ends: Ends | None) -> Ends | None:
    """Ends that hold the zeros of both signs: they are equal, but have other bits.

    None where all values are zeros: of equal ends pyarrow takes every value for the smallest, and
    does not find 0.0 where that is -0.0.
    """
    if ends is None or not isinstance(ends.smallest, float):
        return ends
    if ends.smallest == ends.largest == 0:
        return None
    smallest = -0.0 if ends.smallest == 0 else ends.smallest
    return Ends(smallest, 0.0 if ends.largest == 0 else ends.largest)


def _stated(nulls: int, ends: Ends | None, column: Fixed | None) -> Struct:
    """Statistics; `column` is that of numbers, None for texts."""
    stated: Struct = {Statistics.NULLS: (I64, nulls)}
    if ends is None:
        return stated
    smallest, largest = (end if column is None else _plain(end, column) for end in ends)
    if max(len(smallest), len(largest)) > _MAX_BOUND:
        return stated
    return {
        **stated,
        Statistics.LARGEST: (BINARY, largest),
        Statistics.SMALLEST: (BINARY, smallest),
        Statistics.LARGEST_IS_EXACT: (TRUE, True),
        Statistics.SMALLEST_IS_EXACT: (TRUE, True),
    }


def _plain(value: Any, column: Fixed) -> bytes:
    """A number in Parquet's PLAIN encoding."""
    return np.asarray(value, column.memory).astype(column.stored).tobytes()


def _decoded(data: bytes, kind: pa.DataType, physical: int) -> Any:
    """A bound as `Ends` has it; None where it cannot be one of this type."""
    if isinstance(kind, pa.ExtensionType):
        return _decoded(data, kind.storage_type, physical)
    if _is_binary(kind):
        return data
    if types.is_decimal(kind) and physical not in (_INT32, _INT64):
        return int.from_bytes(data, "big", signed=True) if data else None
    if types.is_boolean(kind):
        return data[0] if len(data) == 1 else None
    sizes = {_INT32: 4, _INT64: 8, 4: 4, 5: 8, _FIXED_BYTES: 2}
    if len(data) != sizes.get(physical):
        return None
    if types.is_floating(kind):
        return float(np.frombuffer(data, f"<f{len(data)}")[0])
    return int.from_bytes(data, "little", signed=not types.is_unsigned_integer(kind))


def _numbers(values: pa.Array) -> np.ndarray | None:
    """Values as numpy numbers in Parquet's order; None for those that have none."""
    kind = values.type
    if types.is_boolean(kind):
        values = values.cast(pa.uint8())
    elif types.is_date64(kind):
        return np.asarray(values.view(pa.int64())) // _DAY
    elif types.is_temporal(kind) and not types.is_interval(kind):
        values = values.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    elif not (types.is_integer(kind) or types.is_floating(kind)):
        return None
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _min_max(values: pa.Array) -> tuple[Any, Any]:
    import pyarrow.compute as pc

    found = pc.min_max(values)
    return found["min"], found["max"]


def _bytes(value: Any) -> bytes:
    return bytes(value.as_buffer())


def _unscaled(value: Any) -> int:
    """The integer that a decimal is stored as, whatever its scale."""
    data = pa.array([value], value.type).buffers()[1]
    return int.from_bytes(data[: value.type.byte_width], "little", signed=True)


def _is_binary(kind: pa.DataType) -> bool:
    """Whether values are texts or bytes, whose order is that of their bytes."""
    is_long = types.is_large_string(kind) or types.is_large_binary(kind)
    return bool(is_long or types.is_string(kind) or types.is_binary(kind) or _is_fixed(kind))


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(types.is_fixed_size_binary(kind) and not types.is_decimal(kind))
