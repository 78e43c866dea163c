"""The metadata's columns against the table's: names, types, shapes, roles (SPEC 3 and 4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import pyarrow as pa
from pyarrow import types

from dof_arrow.errors import Problem
from dof_arrow.format.spec.arrow import VECTOR_TYPES, element_type, is_vector
from dof_arrow.format.spec.metadata import Column, Metadata
from dof_arrow.format.spec.references import RECORD_ROLES, record_names
from dof_arrow.format.spec.rules import problem

Mistyped = tuple[str, str, str]  # the rule, the column, and what is expected of it

_MAX_AXES = 32
_FEATURE = "fixed_size_list<element: float or halffloat not null> not null"
_REQUIRED = {
    "id": pa.string(),
    "bag": pa.string(),
    "view": pa.int16(),
    "frame": pa.int32(),
    "time": pa.float64(),
}
_MAY_LACK = {  # null where it is not known
    "start": pa.float64(),
    "end": pa.float64(),
    "x": pa.int32(),
    "y": pa.int32(),
    "level": pa.int16(),
    "mpp": pa.float64(),
}
RECORD_TYPES = {**_REQUIRED, **_MAY_LACK}
_RECORD_WORDS = {
    "id": "string not null",
    "bag": "string not null",
    "view": "int16 not null",
    "frame": "int32 not null",
    "time": "double not null",
    "start": "double",
    "end": "double",
    "x": "int32",
    "y": "int32",
    "level": "int16",
    "mpp": "double",
    "group": "string",
    "split": "string, or a dictionary of strings",
}
_TARGET_WORDS = {
    "category": "a dictionary of strings, or integers, places in `classes`",
    "multilabel": "lists of integers, places in `classes`",
    "regression": "numbers",
    "survival": "structs of `time`, a number, and `event`, a boolean",
}


def listed(metadata: Metadata, schema: pa.Schema) -> Iterator[Problem]:
    """Differences between the metadata's columns and the table's, in names and order."""
    if list(metadata.columns) == schema.names:
        return
    names = set(schema.names)
    described = set(metadata.columns)
    for name in sorted(described - names):
        yield problem("columns-listed", f"$.columns.{name}", "a column of the table", "none")
    for name in sorted(names - described):
        yield problem("columns-listed", f"column {name}", f"$.columns.{name}", "nothing")
    if names == described:
        expected = ", ".join(schema.names)
        yield problem("columns-listed", "$.columns", expected, ", ".join(metadata.columns))


def typed(metadata: Metadata, schema: pa.Schema) -> Iterator[Problem]:
    """Columns whose type, shape or role is not what the metadata says, or what their role needs."""
    roles = _roles(metadata)
    for field in schema:
        column = metadata.columns.get(field.name)
        if column is not None:
            yield from _column(field, column, roles.get(field.name))
    for rule, name, expected in _mistyped(metadata, schema):
        found = told_type(schema.field(name))
        yield problem(rule, f"column {name}", expected, found)


def well_typed(metadata: Metadata, schema: pa.Schema) -> set[str]:
    """The columns named by `record` and `targets` that have the types they should have."""
    named = {name for _, name in record_names(metadata)}
    named.update(metadata.targets)
    wrong = {name for _, name, _ in _mistyped(metadata, schema)}
    return (named & set(schema.names)) - wrong


def told_type(field: pa.Field) -> str:
    """A column's type in a message."""
    if field.nullable:
        return str(field.type)
    return f"{field.type} not null"


def _roles(metadata: Metadata) -> dict[str, str]:
    """The role that `targets` or `record` gives to a column."""
    roles = dict.fromkeys(metadata.targets, "target")
    for role, name in record_names(metadata):
        roles[name] = role
    return roles


def _column(field: pa.Field, column: Column, role: str | None) -> Iterator[Problem]:
    where = f"$.columns.{field.name}"
    dtype = element_type(field)
    if column.dtype != dtype:
        yield problem("column-dtype", f"{where}.dtype", dtype, column.dtype)
    if not _has_role(column, role):
        expected = role or "another role"
        yield problem("column-role", f"{where}.role", expected, column.role)
    if column.role == "feature" and not _is_feature(field):
        found = told_type(field)
        yield problem("vector-type", f"column {field.name}", _FEATURE, found)
    if not _is_shaped(field, column):
        width = field.type.list_size if is_vector(field) else 1
        yield problem(
            "column-shape",
            where=f"{where}.shape",
            expected=f"axes whose product is {width}",
            found=list(column.shape[:_MAX_AXES]),
        )


def _has_role(column: Column, role: str | None) -> bool:
    """Whether a column states its role; with no role here, none that is given elsewhere."""
    if role is not None:
        return column.role == role
    return column.role not in (*RECORD_ROLES, "target")


def _is_feature(field: pa.Field) -> bool:
    if not is_vector(field) or element_type(field) not in VECTOR_TYPES:
        return False
    element = field.type.value_field
    required = not field.nullable and not element.nullable
    if not required or element.name != "element":
        return False
    return bool(field.type.list_size > 0)


def _is_shaped(field: pa.Field, column: Column) -> bool:
    if not column.shape:
        return column.role != "feature"
    if not is_vector(field) or len(column.shape) > _MAX_AXES:
        return False
    return bool(prod(column.shape) == field.type.list_size)


def _mistyped(metadata: Metadata, schema: pa.Schema) -> Iterator[Mistyped]:
    """Columns of a wrong type for `record` or `targets`."""
    fields = {field.name: field for field in schema}
    for role, name in record_names(metadata):
        field = fields.get(name)
        if field is not None and not _fits_record(role, field):
            yield "record-type", name, _RECORD_WORDS[role]
    for name, target in metadata.targets.items():
        field = fields.get(name)
        if field is not None and not _fits_target(target.kind, field.type):
            yield "target-type", name, _TARGET_WORDS[target.kind]


def _fits_record(role: str, field: pa.Field) -> bool:
    if role in _MAY_LACK:
        return bool(field.type == _MAY_LACK[role])
    wanted = _REQUIRED.get(role)
    if wanted is None:
        return _is_text(field.type)
    return bool(field.type == wanted and not field.nullable)


def _is_text(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind))


def _fits_target(target: str, kind: pa.DataType) -> bool:
    if target == "multilabel":
        return bool(types.is_list(kind) and types.is_integer(kind.value_type))
    if target == "category":
        return bool(_is_text(kind) or types.is_integer(kind))
    if target == "survival":
        return is_survival(kind)
    return _is_number(kind)


def is_survival(kind: pa.DataType) -> bool:
    """Whether values are what a survival target has: a time, and whether the event was seen.

    >>> is_survival(pa.struct([("time", pa.float64()), ("event", pa.bool_())]))
    True
    """
    if not types.is_struct(kind) or [field.name for field in kind] != ["time", "event"]:
        return False
    return _is_number(kind.field("time").type) and types.is_boolean(kind.field("event").type)


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))
