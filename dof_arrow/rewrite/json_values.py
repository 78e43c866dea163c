"""The values of an Arrow column as JSON, and back without loss.

Dates, timestamps and decimals are texts; durations and times of day are whole numbers of their
unit; bytes are base64; a missing value is null; NaN and the infinities are texts.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.arrow import holds_texts
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.names import holds_names

_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(column: pa.ChunkedArray, field: pa.Field) -> list[Json]:
    """The values of a column as JSON; UsageError if JSON cannot hold them.

    >>> to_json(pa.chunked_array([[1.5, None, math.inf]]), pa.field("age", pa.float64()))
    [1.5, None, 'Infinity']
    """
    plain = _plain(field.type)
    if plain is None:
        raise UsageError(
            "a column that has no JSON form",
            field.name,
            found=str(field.type),
            hint="Leave it out, or keep the dataset as .parquet.",
        )
    values = column.cast(plain)
    made_text = plain == pa.string() and not holds_names(field.type)
    if made_text and not values.cast(field.type).equals(column):
        raise UsageError(
            "values that no text gives back",
            field.name,
            "times of the years 1 to 9999",
            str(field.type),
        )
    return [_value_to_json(value) for value in values.to_pylist()]


def from_json(values: list[Json], field: pa.Field) -> pa.Array:
    """The column that `to_json` made these values of; ValueError or TypeError if they do not fit.

    >>> from_json(["2020-02-29", None], pa.field("day", pa.date32())).to_pylist()
    [datetime.date(2020, 2, 29), None]
    """
    if _plain(field.type) is None:
        raise ValueError(f"a column of type {field.type}")
    return _array(values, field.type)


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """The type in which values of a column are written, or None if JSON has none for them.

    Values are cast to it and back without loss.
    """
    if types.is_struct(kind):
        return _plain_struct(kind)
    if _is_list(kind):
        inner = _plain(kind.value_type)
        return None if inner is None else pa.list_(kind.value_field.with_type(inner))
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_decimal(kind):
        return pa.string()
    if types.is_duration(kind) or types.is_time64(kind):
        return pa.int64()  # Arrow reads no time of day from a text
    if types.is_time32(kind):
        return pa.int32()
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_primitive(kind) or holds_texts(kind):
        return kind
    return None


def _plain_struct(kind: pa.DataType) -> pa.DataType | None:
    fields = []
    for field in kind:
        inner = _plain(field.type)
        if inner is None:
            return None
        fields.append(field.with_type(inner))
    return pa.struct(fields)


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _array(values: list[Json], kind: pa.DataType) -> pa.Array:
    """JSON values as an Arrow array; nested ones are put together from their parts.

    Arrow itself casts what lies under a missing struct too, and fails there.
    """
    if types.is_struct(kind):
        return _struct_array(values, kind)
    if _is_list(kind):
        return _list_array(values, kind)
    plain = _plain(kind)
    return pa.array([_value_from_json(value, plain) for value in values], plain).cast(kind)


def _struct_array(values: list[Json], kind: pa.DataType) -> pa.Array:
    parts = []
    for field in kind:
        inner = [None if value is None else value[field.name] for value in values]
        parts.append(_array(inner, field.type))
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=_missing(values))


def _list_array(values: list[Json], kind: pa.DataType) -> pa.Array:
    lengths = [0 if value is None else len(value) for value in values]
    ends = np.cumsum([0, *lengths])
    items: list[Json] = []
    for value in values:
        if value is not None:
            items.extend(value)
    inner = _array(items, kind.value_type)
    return pa.LargeListArray.from_arrays(pa.array(ends), inner, mask=_missing(values)).cast(kind)


def _missing(values: list[Json]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())


def _value_to_json(value: Any) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return "NaN"
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_value_to_json(item) for item in value]
    if isinstance(value, dict):
        return {name: _value_to_json(item) for name, item in value.items()}
    return value


def _value_from_json(value: Json, kind: pa.DataType) -> Any:
    if isinstance(value, str) and types.is_floating(kind):
        return _NUMBERS[value]
    if isinstance(value, str) and types.is_binary(kind):
        return base64.b64decode(value, validate=True)
    return value
