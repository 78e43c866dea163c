"""Dataclasses whose fields are declared once: JSON in and out, and every problem of a JSON value.

`json_schema` makes the JSON Schema of the same declarations.
"""

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
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from dof_arrow.errors import FormatError, Problem

Json = Any
T = TypeVar("T")
UNIONS = (Union, types.UnionType)  # the origins of `A | B` and of `Optional[A]`
_JSON_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_TYPE_NAMES = {**_JSON_TYPES, Any: "any"}
_MOST = 1000  # problems listed of one value: a stranger's file may have a million


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


def parsed(text: str | bytes) -> Json:
    """The value of a JSON text that somebody else wrote.

    Raises ValueError for what is none, and for one that is nested too deeply to be read.

    >>> parsed("[" * 100_000)
    Traceback (most recent call last):
    ValueError: nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def to_json(value: Any) -> Json:
    """The JSON form of a declared object; fields at their default are left out."""
    if dataclasses.is_dataclass(value):
        return _object_to_json(value)
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
        for field, hint in declared(typing.cast(Any, kind)):
            yield from _field_problems(value, field, hint, f"{where}.{field.name}")


class _Plain(NamedTuple):
    """A required field of a plain type, with its bounds."""

    name: str
    type: Any
    pattern: re.Pattern[str] | None
    minimum: int | None


@cache
def _plain_fields(kind: Any) -> tuple[_Plain, ...]:
    """The fields of a declared class whose values are all texts and whole numbers; else none.

    A directory lists thousands of its parts in such objects.
    """
    fields = getattr(kind, "__dataclass_fields__", {})
    if not fields or any("pattern" not in field.metadata for field in fields.values()):
        return ()  # not declared with `spec`
    found = []
    for field, hint in declared(kind):
        if hint not in (str, int) or not is_required(field):
            return ()
        pattern = field.metadata["pattern"]
        compiled = re.compile(pattern) if pattern else None
        found.append(_Plain(field.name, hint, compiled, field.metadata["minimum"]))
    return tuple(found)


def _fits_plainly(value: Json, kind: Any) -> bool:
    """Whether an object of plain fields alone has no problem; False where a closer look tells."""
    fields = _plain_fields(kind)
    if not fields or not isinstance(value, dict):
        return False
    for name, wanted, pattern, minimum in fields:
        item: Any = value.get(name)
        if isinstance(item, bool) or not isinstance(item, wanted):
            return False
        if pattern is not None and not pattern.fullmatch(item):
            return False
        if minimum is not None and item < minimum:
            return False
    return True


def json_schema(kind: Any) -> dict[str, Json]:
    """The JSON Schema (2020-12) of a declared type, nested types under `$defs`."""
    defs: dict[str, Json] = {}
    schema = _object_schema(kind, defs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "$defs": dict(sorted(defs.items())),
    }


def schema_name(kind: Any) -> str:
    """What a declared class is called in the schema and the specification.

    That is its own name, unless its class attribute `schema_name` gives another.

    >>> class Core: schema_name = "core"
    >>> schema_name(Core)
    'core'
    """
    return str(getattr(kind, "schema_name", kind.__name__))


def declarations(kind: Any) -> Iterator[tuple[str, str, bool, str, str]]:
    """Rows of a specification table: name, type, required, since, meaning."""
    for field, hint in declared(kind):
        yield (
            field.name,
            type_name(hint),
            is_required(field),
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
        return " or ".join(f"`{choice}`" for choice in args)
    if origin in UNIONS:
        return " or ".join(type_name(choice) for choice in args if choice is not type(None))
    if origin is tuple:
        return f"array of {type_name(args[0])}"
    if origin is Mapping:
        return f"object of {type_name(args[1])}"
    return _TYPE_NAMES.get(hint) or schema_name(hint)


@cache
def declared(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    """The fields of a declared class in order, each with its type."""
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))


def _object_to_json(value: Any) -> Json:
    plain = _plain_fields(typing.cast(Any, type(value)))
    if plain:
        return {name: getattr(value, name) for name, *_ in plain}
    made = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if is_required(field) or item != default_of(field):
            made[field.name] = to_json(item)
    return made


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a field that has one, made anew."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether a field has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def _build(hint: Any, value: Json) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if dataclasses.is_dataclass(hint):
        return _build_object(hint, value)
    if origin is tuple:
        build = _build_object if _plain_fields(args[0]) else _build
        return tuple(build(args[0], item) for item in value)
    if origin is Mapping:
        return {key: _build(args[1], item) for key, item in value.items()}
    if origin in UNIONS:
        return _build(_declared_choice(args) or Any, value)
    return float(value) if hint is float else value


def _build_object(kind: Any, value: dict[str, Json]) -> Any:
    plain = _plain_fields(kind)
    if plain:
        return kind(**{name: value[name] for name, *_ in plain})
    given = {}
    for field, hint in declared(kind):
        if field.name in value:
            given[field.name] = _build(hint, value[field.name])
    return kind(**given)


def _declared_choice(choices: tuple[Any, ...]) -> Any:
    """The declared class among the choices of a union, or None."""
    return next(filter(dataclasses.is_dataclass, choices), None)


def _field_problems(
    value: dict[str, Json], field: dataclasses.Field[Any], hint: Any, where: str
) -> Iterator[Problem]:
    if field.name not in value:
        if is_required(field):
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
        yield Problem(
            rule="metadata-pattern",
            where=where,
            message="wrong form",
            expected=pattern,
            found=repr(value)[:80],
        )
    if minimum is None:
        return
    numbers = value if isinstance(value, list) else [value]
    for number in numbers:
        if number is not None and number < minimum:
            yield Problem(
                rule="metadata-range",
                where=where,
                message="too small",
                expected=f"at least {minimum}",
                found=str(number),
            )


def _type_problems(value: Json, hint: Any, where: str) -> Iterator[Problem]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in UNIONS:
        yield from _union_problems(value, hint, where)
    elif origin is tuple and isinstance(value, list):
        for index, item in enumerate(value):
            if not _fits_plainly(item, args[0]):
                yield from problems(item, args[0], f"{where}[{index}]")
    elif origin is Mapping and isinstance(value, dict):
        for key, item in value.items():
            yield from problems(item, args[1], f"{where}.{key}")
    elif not _matches(value, hint, origin, args):
        yield _wrong_type(where, type_name(hint), value)


def _union_problems(value: Json, hint: Any, where: str) -> Iterator[Problem]:
    """Nothing if one choice fits, else what is wrong by the declared class among the choices."""
    choices = get_args(hint)
    for choice in choices:
        if not list(problems(value, choice, where)):
            return
    declared_class = _declared_choice(choices)
    if declared_class:
        yield from problems(value, declared_class, where)
    else:
        yield _wrong_type(where, type_name(hint), value)


def _matches(value: Json, hint: Any, origin: Any, args: tuple[Any, ...]) -> bool:
    if hint is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in args
    if hint is float:
        return _is_number(value, int | float) and abs(value) <= sys.float_info.max
    if hint is int:
        return _is_number(value, int)
    return origin is None and isinstance(value, hint)


def _is_number(value: Json, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)  # to Python, a bool is an int


def _wrong_type(where: str, expected: str, value: Json) -> Problem:
    return Problem(
        rule="metadata-type",
        where=where,
        message="wrong type or value",
        expected=expected,
        found=json.dumps(value, default=str)[:80],
    )


def _object_schema(kind: Any, defs: dict[str, Json]) -> dict[str, Json]:
    fields = {}
    required = []
    for field, hint in declared(kind):
        fields[field.name] = _field_schema(field, hint, defs)
        if is_required(field):
            required.append(field.name)
    schema = {
        "title": schema_name(kind),
        "description": kind.__doc__.strip(),
        "type": "object",
        "properties": fields,
    }
    if required:
        schema["required"] = required
    return schema


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
        return _reference(hint, defs)
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _hint_schema(args[0], defs)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _hint_schema(args[1], defs)}
    if origin in UNIONS:
        return _union_schema(args, defs)
    return {"type": _JSON_TYPES[hint]} if hint in _JSON_TYPES else {}


def _reference(kind: Any, defs: dict[str, Json]) -> dict[str, Json]:
    name = schema_name(kind)
    if name not in defs:
        defs[name] = None  # a class that holds itself ends here
        defs[name] = _object_schema(kind, defs)
    return {"$ref": f"#/$defs/{name}"}


def _union_schema(choices: tuple[Any, ...], defs: dict[str, Json]) -> dict[str, Json]:
    schemas = [_hint_schema(choice, defs) for choice in choices]
    if all(set(schema) == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}
