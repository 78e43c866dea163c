"""The columns of a dataset as the fields of a Croissant record set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import pyarrow as pa

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.spec.arrow import element_type, holds_texts, is_vector
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import Column, Target
from dof_arrow.format.spec.names import is_names
from dof_arrow.publish.column_words import meaning, target_words

SPLIT_NAMES = "split-names"  # the record set that says what splits mean; no split is called so
# Types of values, each with the test of Arrow that tells it.
_KINDS = (
    (pa.types.is_boolean, "sc:Boolean"),
    (pa.types.is_date, "sc:Date"),
    (pa.types.is_timestamp, "sc:DateTime"),
    (pa.types.is_time, "sc:Time"),
    (pa.types.is_decimal, "sc:Float"),
    (holds_texts, "sc:Text"),
    (is_names, "sc:Text"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a record set is read: its name, which file or files it is of, how many rows it has."""

    record_set: str
    source: Mapping[str, Json]
    rows: int

    def of(self, *names: str) -> str:
        """The identifier of a field, or of one inside another."""
        return "/".join([quote(self.record_set), *(quote(name, safe="") for name in names)])


def fields(ds: Dataset, reading: Reading, has_splits: bool) -> tuple[list[Json], list[str]]:
    """A field for each column, and the names of those columns that have no type there."""
    found: list[Json] = []
    left_out: list[str] = []
    for column in ds.schema:
        field = _field(ds, column, reading, left_out)
        if field is None:
            left_out.append(column.name or "one without a name")
            continue
        if has_splits and column.name == ds.metadata.record.split:
            field["references"] = {"field": {"@id": f"{SPLIT_NAMES}/name"}}
        found.append(field)
    return found, left_out


def _field(
    ds: Dataset, column: pa.Field, reading: Reading, left_out: list[str]
) -> dict[str, Json] | None:
    """A column as a field; None where there is no type for it.

    The names of those inside a struct that have none are added to `left_out`.
    """
    name = column.name
    about = ds.metadata.columns[name]
    target = ds.metadata.targets.get(name)
    field = {"@type": "cr:Field", "@id": reading.of(name), "name": name}
    field["description"] = _description(ds, name, about, target)
    if not name:
        return None
    if pa.types.is_struct(column.type):
        inner = {part.name: _part(name, part, reading) for part in column.type}
        field["subField"] = [part for part in inner.values() if part is not None]
        if not field["subField"]:
            return None
        left_out += [f"{name}.{part}" for part, found in inner.items() if found is None]
        return field
    kind = _shaped(column, target)
    if kind is None:
        return None
    source = {**reading.source, "extract": {"column": name}}
    return {**field, **kind, "source": source}


def _part(outer: str, part: pa.Field, reading: Reading) -> Json | None:
    """A field inside a struct, read out of its column; None where there is no type for it."""
    kind = value_type(part.type)
    if kind is None or not part.name.isidentifier():  # what a path in JSON may be made of
        return None
    source = {**reading.source, "extract": {"column": outer}}
    source["transform"] = {"jsonPath": part.name}
    return {
        "@type": "cr:Field",
        "@id": reading.of(outer, part.name),
        "name": part.name,
        "dataType": kind,
        "source": source,
    }


def _shaped(column: pa.Field, target: Target | None) -> dict[str, Json] | None:
    """Type and shape of a column's values; None where there is no type for them."""
    if is_vector(column):
        kind = f"cr:{element_type(column).capitalize()}"
        return {"dataType": kind, "isArray": True, "arrayShape": str(column.type.list_size)}
    outer = column.type
    is_list = pa.types.is_list(outer) or pa.types.is_large_list(outer)
    inner = value_type(outer.value_type if is_list else outer)
    if inner is None:
        return None
    shaped: dict[str, Json] = {"dataType": [inner, "cr:Label"] if target else inner}
    if is_list:
        shaped |= {"isArray": True, "arrayShape": "-1"}
    return shaped


def value_type(kind: pa.DataType) -> str | None:
    """What Croissant calls a type of single values; None where it has none.

    >>> value_type(pa.int16()), value_type(pa.date32()), value_type(pa.binary())
    ('cr:Int16', 'sc:Date', None)
    """
    for test, name in _KINDS:
        if test(kind):
            return name
    if pa.types.is_integer(kind):
        return f"cr:{'U' if pa.types.is_unsigned_integer(kind) else ''}Int{kind.bit_width}"
    if pa.types.is_floating(kind):
        return f"cr:Float{kind.bit_width}"
    return None


def _description(ds: Dataset, name: str, about: Column, target: Target | None) -> str:
    if target is not None:
        return " ".join(_of_target(target))
    told = meaning(about, None, ds.metadata)
    if about.role == "feature":
        core = ds.metadata.cores.get(about.core or "")
        told += f", SHA-256 {core.sha256}" if core else ""
        if len(about.shape) > 1:
            told += f"; flattened from {list(about.shape)}, row-major"
    return f"{told[0].upper()}{told[1:]}."


def _of_target(target: Target) -> Iterator[str]:
    if target.kind == "category":
        yield f"One of these classes: {', '.join(target.classes)}."
    elif target.kind == "multilabel":
        yield f"Places, from 0, of the classes that hold: {', '.join(target.classes)}."
    else:
        told = target_words(target)
        yield f"{told[0].upper()}{told[1:]}."
