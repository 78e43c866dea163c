"""Dataclasses whose fields are declared once: JSON in and out, every problem, JSON Schema and tables from one place."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from functools import cache
from itertools import islice
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dof_arrow.errors import FormatError, Problem

Json = Any
T = TypeVar("T")
_MOST = 1000  # problems told of one value: a stranger's file may have a million


def spec(
    doc: str,
    *,
    default: Any = MISSING,
    factory: Any = MISSING,
    since: str = "1.0",
    pattern: str | None = None,
    minimum: int | None = None,
) -> Any:
    """Declare one field: its meaning, default, first version and bounds."""
    about = {"doc": doc, "since": since, "pattern": pattern, "minimum": minimum}
    if factory is not MISSING:
        return dataclasses.field(default_factory=factory, metadata=about)
    return dataclasses.field(default=default, metadata=about)


def to_json(value: Any) -> Json:
    """The JSON form of a declared object; fields at their default are left out."""
    if dataclasses.is_dataclass(value):
        return {
            f.name: to_json(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if _is_required(f) or getattr(value, f.name) != _default(f)
        }
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    return value


def from_json(value: Json, kind: type[T]) -> T:
    """Build a declared object from its JSON form; FormatError lists every problem at once."""
    found = list(islice(problems(value, kind), _MOST))
    if found:
        raise FormatError("the dof metadata is not valid", problems=found)
    return typing.cast(T, _build(kind, value))


def problems(value: Json, kind: Any, where: str = "$") -> Iterator[Problem]:
    """Every difference between a JSON value and its declaration, depth first."""
    if not dataclasses.is_dataclass(kind):
        yield from _type_problems(value, kind, where)
    elif not isinstance(value, dict):
        yield _wrong_type(where, "an object", value)
    else:
        for field, hint in _declared(typing.cast(Any, kind)):
            yield from _field_problems(value, field, hint, f"{where}.{field.name}")


def json_schema(kind: Any) -> dict[str, Json]:
    """The JSON Schema (2020-12) of a declared type, nested types under `$defs`."""
    defs: dict[str, Json] = {}
    schema = _object_schema(kind, defs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "$defs": dict(sorted(defs.items())),
    }


def declarations(kind: Any) -> Iterator[tuple[str, str, bool, str, str]]:
    """Rows of a specification table: name, type, required, since, meaning."""
    for field, hint in _declared(kind):
        yield (
            field.name,
            type_name(hint),
            _is_required(field),
            field.metadata["since"],
            field.metadata["doc"],
        )


def type_name(hint: Any) -> str:
    """How a declared type is called in the specification.

    >>> type_name(tuple[int, ...])
    'array of integer'
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(a) for a in args if a is not type(None))
    if origin is tuple:
        return f"array of {type_name(args[0])}"
    if origin is Mapping:
        return f"object of {type_name(args[1])}"
    return {str: "string", int: "integer", float: "number", bool: "boolean", Any: "any"}.get(
        hint
    ) or hint.__name__


@cache
def _declared(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _build(hint: Any, value: Json) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if dataclasses.is_dataclass(hint):
        return typing.cast(Any, hint)(
            **{
                f.name: _build(h, value[f.name])
                for f, h in _declared(typing.cast(Any, hint))
                if f.name in value
            }
        )
    if origin is tuple:
        return tuple(_build(args[0], item) for item in value)
    if origin is Mapping:
        return {key: _build(args[1], item) for key, item in value.items()}
    if origin in (Union, types.UnionType):
        return _build(next((a for a in args if dataclasses.is_dataclass(a)), Any), value)
    return float(value) if hint is float else value


def _field_problems(
    value: dict[str, Json], field: dataclasses.Field[Any], hint: Any, where: str
) -> Iterator[Problem]:
    if field.name not in value:
        if _is_required(field):
            yield Problem(
                rule="metadata-missing",
                where=where,
                message="required field is missing",
                expected=type_name(hint),
                found="nothing",
            )
        return
    item = value[field.name]
    wrong = list(problems(item, hint, where))
    yield from wrong or _bound_problems(item, field.metadata, where)


def _bound_problems(value: Json, about: Mapping[str, Any], where: str) -> Iterator[Problem]:
    pattern, minimum = about["pattern"], about["minimum"]
    if pattern and isinstance(value, str) and not re.fullmatch(pattern, value):
        found = repr(value)[:80]
        yield Problem(
            rule="metadata-pattern",
            where=where,
            message="wrong form",
            expected=pattern,
            found=found,
        )
    if minimum is not None:
        for item in value if isinstance(value, list) else [value]:
            if item is not None and item < minimum:
                yield Problem(
                    rule="metadata-range",
                    where=where,
                    message="too small",
                    expected=f"at least {minimum}",
                    found=str(item),
                )


def _type_problems(value: Json, hint: Any, where: str) -> Iterator[Problem]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if not any(not list(problems(value, a, where)) for a in args):
            inner = next((a for a in args if dataclasses.is_dataclass(a)), None)
            yield from (
                problems(value, inner, where)
                if inner
                else [_wrong_type(where, type_name(hint), value)]
            )
    elif origin is tuple and isinstance(value, list):
        for index, item in enumerate(value):
            yield from problems(item, args[0], f"{where}[{index}]")
    elif origin is Mapping and isinstance(value, dict):
        for key, item in value.items():
            yield from problems(item, args[1], f"{where}.{key}")
    elif not _matches(value, hint, origin, args):
        yield _wrong_type(where, type_name(hint), value)


def _matches(value: Json, hint: Any, origin: Any, args: tuple[Any, ...]) -> bool:
    if hint is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in args
    if hint is float:
        return (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and abs(value) <= sys.float_info.max
        )
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return origin is None and isinstance(value, hint)


def _wrong_type(where: str, expected: str, value: Json) -> Problem:
    found = json.dumps(value, default=str)[:80]
    return Problem(
        rule="metadata-type",
        where=where,
        message="wrong type or value",
        expected=expected,
        found=found,
    )


def _object_schema(kind: Any, defs: dict[str, Json]) -> dict[str, Json]:
    fields = {f.name: _field_schema(f, h, defs) for f, h in _declared(kind)}
    required = [f.name for f, _ in _declared(kind) if _is_required(f)]
    return {
        "title": kind.__name__,
        "description": kind.__doc__.strip(),
        "type": "object",
        "properties": fields,
        **({"required": required} if required else {}),
    }


def _field_schema(
    field: dataclasses.Field[Any], hint: Any, defs: dict[str, Json]
) -> dict[str, Json]:
    schema = {**_hint_schema(hint, defs), "description": field.metadata["doc"]}
    bounded = schema["items"] if schema.get("type") == "array" else schema
    for key in ("pattern", "minimum"):
        if field.metadata[key] is not None:
            bounded[key] = field.metadata[key]
    return schema


def _hint_schema(hint: Any, defs: dict[str, Json]) -> dict[str, Json]:
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        name = typing.cast(Any, hint).__name__
        if name not in defs:
            defs[name] = None
            defs[name] = _object_schema(hint, defs)
        return {"$ref": f"#/$defs/{name}"}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _hint_schema(args[0], defs)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _hint_schema(args[1], defs)}
    if origin in (Union, types.UnionType):
        return _union_schema(args, defs)
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    return {"type": names[hint]} if hint in names else {}


def _union_schema(args: tuple[Any, ...], defs: dict[str, Json]) -> dict[str, Json]:
    parts = [_hint_schema(a, defs) for a in args]
    if all(set(p) == {"type"} for p in parts):
        return {"type": [p["type"] for p in parts]}
    return {"anyOf": parts}
