"""Rows on their way into a file: values as callers give them, and as the file stores them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.parquet.names_chunk import can_be_mapped
from dof_arrow.format.spec.names import (
    NAMES,
    UnknownName,
    code_array,
    codes_or_missing,
    holds_names,
    names_array,
    split_order,
    text_array,
)
from dof_arrow.format.spec.split_names import standardised
from dof_arrow.format.vector_values import native

Values: TypeAlias = Any  # numpy array of a mapped column of numbers, Arrow array of another

_RECORD_TYPES = {"id": pa.string(), "view": pa.int16(), "frame": pa.int32(), "time": pa.float64()}
# Arrow integers as wide as numbers of each kind: their bits are the same, missing values apart.
_INTEGER = {
    f"{kind}{size}": pa.type_for_alias(f"int{8 * size}") for kind in "iuf" for size in (1, 2, 4, 8)
}

_TENSORS = ("torch", "jax", "jaxlib", "tensorflow")  # libraries whose arrays Arrow does not know
_LISTED = 10  # classes in a message
_MAX_SHOWN = 100  # letters of a value in a message


@dataclass(slots=True)
class Batch:
    """Some rows: mapped numbers as arrays of their stored type, the others as Arrow arrays."""

    rows: int
    values: dict[str, Values]

    def slice(self, start: int, stop: int) -> Batch:
        """The rows from `start` up to `stop`, not copied."""
        values = {name: item[start:stop] for name, item in self.values.items()}
        return Batch(stop - start, values)

    def owned(self) -> Batch:
        """A copy that does not change when the caller reuses its arrays."""
        values = {name: owned_values(item) for name, item in self.values.items()}
        return Batch(self.rows, values)


def owned_values(item: Values) -> Values:
    """A copy of the values of a column; an Arrow array, too, may stand over a caller's memory."""
    if isinstance(item, np.ndarray):
        return item.copy()
    return pa.concat_arrays([item, item[:0]])  # of one piece alone nothing is copied


def split_batches(batches: list[Batch], rows: int) -> tuple[list[Batch], list[Batch]]:
    """The first `rows` rows and the rest; a batch that lies across the border is cut in two."""
    first: list[Batch] = []
    rest = list(batches)
    while rows:
        batch = rest.pop(0)
        if batch.rows > rows:
            rest.insert(0, batch.slice(rows, batch.rows))
            batch = batch.slice(0, rows)
        first.append(batch)
        rows -= batch.rows
    return first, rest


def inferred_field(name: str, value: Any) -> pa.Field:
    """The field for a column that no schema declares, made of its first values.

    It is required where no value is missing and its type can be mapped.
    """
    if name in _RECORD_TYPES:
        return pa.field(name, _RECORD_TYPES[name], nullable=False)
    array = arrow_array(name, value)
    if pa.types.is_null(array.type):
        return pa.field(name, array.type)
    required = pa.field(name, array.type, nullable=False)
    if array.null_count == 0 and layouts.fixed(required):
        return required
    return required.with_nullable(True)


def arrow_array(name: str, value: Any, kind: pa.DataType | None = None) -> pa.Array:
    """The values of a column as an Arrow array, of type `kind` if it is given.

    Raises UsageError if they do not fit.
    """
    value = listed(name, native(value))
    try:
        if not isinstance(value, pa.Array | pa.ChunkedArray):
            value = _as_arrow(value, kind)
        if isinstance(value, pa.ChunkedArray):
            value = value.combine_chunks()
        return value.cast(kind or without_views(value.type))
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        expected = str(kind or "values of one type, one a row")
        raise UsageError("values do not fit the column", name, expected, str(error)[:200]) from None


def listed(name: str, value: Any) -> Any:
    """Values one a row, tensors as arrays of numpy; UsageError for what has no value a row."""
    if isinstance(value, str | bytes | Mapping | Set):
        found = f"a {type(value).__name__}"
        raise UsageError("values do not fit the column", name, "a list, one value a row", found)
    if hasattr(value, "detach"):  # a tensor of torch
        value = value.detach().cpu()
    library = type(value).__module__.partition(".")[0]
    return np.asarray(value) if library in _TENSORS else value


def _as_arrow(value: Any, kind: pa.DataType | None) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.array(value, kind, from_pandas=False)
    except (pa.ArrowException, ValueError, TypeError):
        if not hasattr(value, "__arrow_c_stream__"):
            raise
        return pa.chunked_array(value)  # columns of lists of other libraries, such as Polars


def without_views(kind: pa.DataType) -> pa.DataType:
    """A type without views, which Parquet does not know: readers differ in what they make of them.

    >>> str(without_views(pa.list_(pa.string_view())))
    'list<item: string>'
    """
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = kind.value_field
        plain = item.with_type(without_views(item.type))
        return pa.list_(plain) if pa.types.is_list(kind) else pa.large_list(plain)
    return kind


def check_classes(name: str, names: Sequence[str]) -> None:
    """Raise UsageError for a class name that stands twice: which of the two is meant?"""
    twice = [each for each, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(
            "a class name that stands twice",
            f"target {name}",
            "each name once",
            ", ".join(twice)[:100],
        )


def names_field(
    name: str, value: Any, names: Sequence[str] | None, declared: pa.Field | None
) -> pa.Field:
    """The field of a column of names; without a declared one required if no value is missing."""
    if declared is not None:
        return declared.with_type(NAMES)
    array = names_values(name, value, names)
    required = pa.field(name, NAMES, nullable=False)
    is_required = array.null_count == 0 and can_be_mapped(required, names)
    return required.with_nullable(not is_required)


def names_values(name: str, value: Any, names: Sequence[str] | None) -> pa.DictionaryArray:
    """The values of a column of names: a category's, given as names or codes, or a split's.

    A split has no names of its own (`names` is None): the values say them. Raises UsageError for
    what is no name or code.
    """
    array = arrow_array(name, value)
    is_split = names is None
    if is_split and not (holds_names(array.type) or pa.types.is_null(array.type)):
        raise UsageError("a split column holds names", name, "string", str(array.type))
    if names is None:
        array = _standard_splits(array)
        names = split_order(filter(None, array.unique().to_pylist()))
    try:
        codes = codes_or_missing(code_array(array, names))
    except UnknownName as error:
        raise _no_class(name, names, error.found) from None
    except (TypeError, pa.ArrowException):
        raise UsageError(
            "values do not fit the target",
            name,
            "names of classes, or their places from 0",
            str(array.type),
        ) from None
    return names_array(codes, text_array(names), NAMES)


def _standard_splits(array: pa.Array) -> pa.Array:
    """Splits by their standard names: a file of ours holds no other spelling of these."""
    if pa.types.is_null(array.type):
        return array
    texts = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    return standardised(texts)


def _no_class(name: str, names: Sequence[str], found: str) -> UsageError:
    listed = ", ".join(names[:_LISTED])
    more = f" … ({len(names):,})" if len(names) > _LISTED else ""
    return UsageError(
        "a value that is no class of the target",
        f"target {name}",
        f"{listed}{more}, or 0 to {len(names) - 1}",
        found[:_MAX_SHOWN],
        "Name all classes in the target's `classes`; leave out what is unknown (None).",
    )


def stored_array(array: pa.Array, fixed: layouts.Fixed) -> np.ndarray:
    """The values of a required Arrow array as numpy values of the type that the file stores."""
    # Arrow gives no numpy view of some types, such as timestamps; of integers it does.
    kind = _INTEGER[fixed.memory.str[1:]]
    bits = pa.Array.from_buffers(kind, len(array), array.buffers(), offset=array.offset)
    values = bits.to_numpy(zero_copy_only=True).view(fixed.memory)
    return np.ascontiguousarray(values.astype(fixed.stored, copy=False))


def joined_dims(shape: Sequence[int]) -> str:
    """A shape as messages say it.

    >>> joined_dims((7, 7, 512))
    '7, 7, 512'
    """
    return ", ".join(map(str, shape))
