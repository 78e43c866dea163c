"""What JSON Schema cannot say: metadata against the table's schema, and within itself (SPEC sections 3 and 4.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import prod

import pyarrow as pa

from dof_arrow.errors import Problem
from dof_arrow.format.spec.arrow import VECTOR_TYPES, element_type, is_vector
from dof_arrow.format.spec.metadata import Column, Metadata, Target
from dof_arrow.format.spec.rules import problem

_MAX_AXES = 32
_RECORD = ("id", "view", "frame", "time", "group", "split")


def references(metadata: Metadata) -> Iterator[Problem]:
    """Names in the metadata that lead nowhere, whatever the table is."""
    primary = metadata.columns.get(metadata.primary_column)
    if primary is None or primary.role != "feature":
        features = [name for name, column in metadata.columns.items() if column.role == "feature"]
        yield problem(
            "primary-column",
            "$.primary_column",
            " or ".join(features) or "a feature column",
            metadata.primary_column,
        )
    for name, column in metadata.columns.items():
        if column.core is not None and column.core not in metadata.cores:
            known = ", ".join(metadata.cores) or "no cores"
            yield problem("core-unknown", f"$.columns.{name}.core", known, column.core)
    for field, name in _record_names(metadata):
        if name not in metadata.columns:
            yield problem("record-column", f"$.record.{field}", "a column", name)
    for name, target in metadata.targets.items():
        yield from _target_references(name, target, metadata)
    if metadata.splits and metadata.record.split is None:
        yield problem("split-column", "$.splits", "a split column in `record`", "none")
    yield from _document_names([d.name for d in metadata.documents])


def listed(metadata: Metadata, schema: pa.Schema) -> Iterator[Problem]:
    """Differences between the columns that the metadata lists and those of the table, names and order."""
    if list(metadata.columns) == schema.names:
        return
    names, described = set(schema.names), set(metadata.columns)
    for name in sorted(described - names):
        yield problem("columns-listed", f"$.columns.{name}", "a column of the table", "none")
    for name in sorted(names - described):
        yield problem("columns-listed", f"column {name}", f"$.columns.{name}", "nothing")
    if names == described:
        yield problem(
            "columns-listed", "$.columns", ", ".join(schema.names), ", ".join(metadata.columns)
        )


def typed(metadata: Metadata, schema: pa.Schema) -> Iterator[Problem]:
    """Columns whose type, shape or role is not what the metadata says, or not what their role asks for."""
    roles = _roles(metadata)
    for field in schema:
        column = metadata.columns.get(field.name)
        if column is not None:
            yield from _column(field, column, roles.get(field.name))
    for rule, name, expected in _mistyped(metadata, schema):
        yield problem(rule, f"column {name}", expected, _told(schema.field(name)))


def well_typed(metadata: Metadata, schema: pa.Schema) -> set[str]:
    """The columns named by `record` and `targets` that have the types they should."""
    named = {name for _, name in _record_names(metadata)} | metadata.targets.keys()
    return (named & set(schema.names)) - {name for _, name, _ in _mistyped(metadata, schema)}


def _mistyped(metadata: Metadata, schema: pa.Schema) -> Iterator[tuple[str, str, str]]:
    for role, name in _record_names(metadata):
        if name in schema.names and not _RECORD_TYPES[role](schema.field(name)):
            yield "record-type", name, _RECORD_WORDS[role]
    for name, target in metadata.targets.items():
        if name in schema.names and not _TARGET_TYPES[target.kind](schema.field(name).type):
            yield "target-type", name, _TARGET_WORDS[target.kind]


def _column(field: pa.Field, column: Column, role: str | None) -> Iterator[Problem]:
    if column.dtype != element_type(field):
        yield problem(
            "column-dtype", f"$.columns.{field.name}.dtype", element_type(field), column.dtype
        )
    if column.role != role if role else column.role in (*_RECORD, "target"):
        yield problem(
            "column-role", f"$.columns.{field.name}.role", role or "another role", column.role
        )
    if column.role == "feature" and not _is_feature(field):
        expected = "fixed_size_list<element: float or halffloat not null> not null"
        yield problem("vector-type", f"column {field.name}", expected, _told(field))
    if not _shaped(field, column):
        width = field.type.list_size if is_vector(field) else 1
        yield problem(
            "column-shape",
            f"$.columns.{field.name}.shape",
            f"axes whose product is {width}",
            list(column.shape[:_MAX_AXES]),
        )


def _is_feature(field: pa.Field) -> bool:
    if not is_vector(field) or element_type(field) not in VECTOR_TYPES:
        return False
    element = field.type.value_field
    return bool(
        not field.nullable
        and not element.nullable
        and element.name == "element"
        and field.type.list_size > 0
    )


def _shaped(field: pa.Field, column: Column) -> bool:
    if not column.shape:
        return column.role != "feature"
    return (
        len(column.shape) <= _MAX_AXES
        and is_vector(field)
        and prod(column.shape) == field.type.list_size
    )


def _roles(metadata: Metadata) -> dict[str, str]:
    """The role that `targets` and `record` give to columns."""
    return {
        **dict.fromkeys(metadata.targets, "target"),
        **{name: role for role, name in _record_names(metadata)},
    }


def _record_names(metadata: Metadata) -> list[tuple[str, str]]:
    named = [(role, getattr(metadata.record, role)) for role in _RECORD]
    return [(role, name) for role, name in named if name is not None]


def _target_references(name: str, target: Target, metadata: Metadata) -> Iterator[Problem]:
    if name not in metadata.columns:
        yield problem("target-column", f"$.targets.{name}", "a column", "none")
    twice = _twice(target.classes)
    if twice or (not target.classes and target.kind != "regression"):
        found = f"{twice[0]} twice" if twice else "none"
        yield problem(
            "target-classes", f"$.targets.{name}.classes", "class names, each once", found
        )


def _document_names(names: list[str]) -> Iterator[Problem]:
    twice = _twice(names)
    for index, name in enumerate(names):
        if name in twice or name in ("", ".", "..") or any(c in name for c in "/\\\0"):
            yield problem(
                "document-name",
                f"$.documents[{index}].name",
                "a file name of its own",
                repr(name[:100]),
            )


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _told(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}"


def _required(kind: pa.DataType) -> Callable[[pa.Field], bool]:
    return lambda field: bool(field.type == kind and not field.nullable)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type))
    )


_RECORD_TYPES: dict[str, Callable[[pa.Field], bool]] = {
    "id": _required(pa.string()),
    "view": _required(pa.int16()),
    "frame": _required(pa.int32()),
    "time": _required(pa.float64()),
    "group": lambda f: _is_text(f.type),
    "split": lambda f: _is_text(f.type),
}
_RECORD_WORDS = {
    "id": "string not null",
    "view": "int16 not null",
    "frame": "int32 not null",
    "time": "double not null",
    "group": "string",
    "split": "string, or a dictionary of strings",
}
_TARGET_TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "category": pa.types.is_integer,
    "multilabel": lambda kind: pa.types.is_list(kind) and pa.types.is_integer(kind.value_type),
    "regression": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
}
_TARGET_WORDS = {
    "category": "integers, places in `classes`",
    "multilabel": "lists of integers, places in `classes`",
    "regression": "numbers",
}
