"""DoF as JSON: a whole dataset in one text, for small sets and for tools that know no Parquet (row D4).

    {"form": "dof-json-1", "dof": metadata, "vectors": {name: {"dtype", "shape", "base64"}}, "columns": {name: [...]},
     "schema": the Arrow schema in base64, "errors": [...], "documents": {name: {"media_type", "base64"}}}

Dates and timestamps (ISO 8601) and decimals are texts, spans and times of day whole numbers of their unit, bytes are
base64, what is missing is null; NaN and the infinities are the texts "NaN", "Infinity" and "-Infinity". To be read,
`schema` may be absent and vectors may be lists.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec import metadata
from dof_arrow.format.spec.arrow import VECTOR_TYPES, holds_texts, is_vector, vector_field
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.writer import Writer

FORM = "dof-json-1"
MAX_BYTES = 1 << 30  # of a text, which takes several times as much in memory
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def encode(rows: Dataset, about: Mapping[str, Json]) -> bytes:
    """The dataset as JSON, `about` being its metadata; UsageError if it is too large or a column has no JSON form."""
    flat = [f for f in rows.schema if not is_vector(f)]
    vectors = {f.name: _numbers(rows, f.name) for f in rows.schema if is_vector(f)}
    columns = {f.name: _listed(rows.to_arrow([f.name]).column(0), f) for f in flat}
    schema = base64.b64encode(rows.schema.remove_metadata().serialize()).decode()
    value: dict[str, Json] = {
        "form": FORM,
        "dof": about,
        "vectors": vectors,
        "columns": columns,
        "schema": schema,
    }
    if not rows.derived:
        value |= {
            "errors": rows.errors,
            "documents": {d.name: _document(rows, d) for d in rows.metadata.documents},
        }
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def write(path: Path, open_writer: Callable[[Json, pa.Schema], Writer]) -> None:
    """Write the dataset in a JSON file through the writer that `open_writer` makes of metadata and schema.

    Raises FormatError if the file is no DoF as JSON.
    """
    try:
        value = _parsed(path)
        vectors = {name: _vectors(about) for name, about in value["vectors"].items()}
        schema = _schema(value, vectors)
        columns = {
            n: _column(value["columns"][n], schema.field(n))
            for n in schema.names
            if n not in vectors
        }
        about = value["dof"]
        failures = [{k: f[k] for k in ("id", "rule", "reason")} for f in value.get("errors", [])]
        documents = [
            (name, base64.b64decode(d["base64"], validate=True), d["media_type"])
            for name, d in value.get("documents", {}).items()
        ]
        if wrong := [p for p in metadata.problems(about) if p.rule != "metadata-missing"]:
            raise FormatError("its metadata are not valid", str(path), problems=wrong)
        shapes = {n: _shape(about, n, v) for n, v in vectors.items()}
        id_name = about.get("record", {}).get("id", "id")
        ids = columns.pop(id_name)
    except (
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        pa.ArrowException,
    ) as error:
        found = f"{type(error).__name__}: {error}"[:200]
        raise FormatError(
            "not a DoF dataset as JSON",
            str(path),
            f"form {FORM}",
            found,
            "What it is like: dof convert ANY.parquet ANY.dof.json",
        ) from None
    with open_writer(about, schema) as writer:
        for failure in failures:
            writer.fail(**failure)
        for document in documents:
            writer.attach(*document)
        writer.write(
            ids=ids, vectors={n: v.reshape(shapes[n]) for n, v in vectors.items()}, columns=columns
        )


def is_text(path: Path) -> bool:
    """Whether a file begins like JSON."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _parsed(path: Path) -> Json:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.stat().st_size:,} bytes, at most {MAX_BYTES:,}")
    value = json.loads(path.read_bytes().decode("utf-8-sig"))
    if value["form"] != FORM:
        raise ValueError(f"form {value['form']!r}"[:100])
    return value


def _numbers(rows: Dataset, name: str) -> Json:
    values = rows.to_numpy(name)
    if values.nbytes * 4 // 3 > MAX_BYTES:
        raise UsageError(
            "too large for JSON",
            str(rows.path),
            f"at most {MAX_BYTES:,} bytes",
            f"{values.nbytes:,}",
            "Keep it as .parquet.",
        )
    data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    return {
        "dtype": str(values.dtype),
        "shape": list(values.shape),
        "base64": base64.b64encode(data.data).decode(),
    }


def _vectors(about: Json) -> np.ndarray[Any, Any]:
    """Vectors from their JSON form, or from plain lists of numbers."""
    if not isinstance(about, dict):
        return np.asarray(about, np.float32).reshape(len(about), -1)
    if about["dtype"] not in VECTOR_TYPES:
        raise ValueError(f"vectors of type {about['dtype']}"[:100])
    values = np.frombuffer(
        base64.b64decode(about["base64"], validate=True), np.dtype(about["dtype"]).newbyteorder("<")
    )
    return values.reshape(about["shape"]).astype(about["dtype"], copy=False)


def _shape(about: Json, name: str, values: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """That of all rows, as tensors of the shape that the metadata gives."""
    shape = about.get("columns", {}).get(name, {}).get("shape") or values.shape[1:]
    if math.prod(shape) != math.prod(values.shape[1:]):
        raise ValueError(
            f"vectors {name} of {values.shape[1:]} numbers, by the metadata {tuple(shape)}"[:200]
        )
    return (len(values), *shape)


def _schema(value: Json, vectors: Mapping[str, np.ndarray[Any, Any]]) -> pa.Schema:
    if "schema" in value:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value["schema"], validate=True)))
    flat = {name: pa.array(values) for name, values in value["columns"].items()}
    fields = [pa.field(n, a.type, nullable=n != "id") for n, a in flat.items()]
    return pa.schema(
        [*fields, *(vector_field(n, v.shape[1:], str(v.dtype)) for n, v in vectors.items())]
    )


def _document(rows: Dataset, document: Any) -> Json:
    return {
        "media_type": document.media_type,
        "base64": base64.b64encode(rows.document(document.name)).decode(),
    }


def _listed(column: pa.ChunkedArray, field: pa.Field) -> list[Json]:
    plain = _plain(field.type)
    if plain is None:
        raise UsageError(
            "a column that has no JSON form",
            field.name,
            found=str(field.type),
            hint="Leave it out, or keep the dataset as .parquet.",
        )
    texts = column.cast(plain)
    if plain == pa.string() != field.type and not texts.cast(field.type).equals(column):
        raise UsageError(
            "values that no text gives back",
            field.name,
            "times of the years 1 to 9999",
            str(field.type),
        )
    return [_to_json(value) for value in texts.to_pylist()]


def _column(values: list[Json], field: pa.Field) -> pa.Array:
    if _plain(field.type) is None:
        raise ValueError(f"a column of type {field.type}")
    return _array(values, field.type)


def _array(values: list[Json], kind: pa.DataType) -> pa.Array:
    """Values as they stand in JSON as an Arrow array. Nested ones are put together from their parts: Arrow casts what
    lies under a missing struct too, and cannot."""
    missing = pa.array([value is None for value in values], pa.bool_())
    if pa.types.is_struct(kind):
        parts = [_array([None if v is None else v[f.name] for v in values], f.type) for f in kind]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=missing)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        ends = np.cumsum([0, *(len(v or ()) for v in values)])
        inner = _array([item for v in values for item in v or ()], kind.value_type)
        return pa.LargeListArray.from_arrays(pa.array(ends), inner, mask=missing).cast(kind)
    plain = _plain(kind)
    return pa.array([_from_json(v, plain) for v in values], plain).cast(kind)


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """The type as which values of a column are written, one that casts to and from it without loss; None for none."""
    types = pa.types
    if types.is_struct(kind):
        fields = [(f, _plain(f.type)) for f in kind]
        return (
            pa.struct([f.with_type(t) for f, t in fields])
            if all(t is not None for _, t in fields)
            else None
        )
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _plain(kind.value_type)
        return None if inner is None else pa.list_(kind.value_field.with_type(inner))
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_decimal(kind):
        return pa.string()
    if types.is_duration(kind) or types.is_time(kind):  # Arrow reads no time of day from a text
        return pa.int32() if types.is_time32(kind) else pa.int64()
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_float16(kind):
        return pa.float32()
    return kind if types.is_primitive(kind) or holds_texts(kind) else None


def _to_json(value: Any) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    return {k: _to_json(item) for k, item in value.items()} if isinstance(value, dict) else value


def _from_json(value: Json, kind: pa.DataType) -> Any:
    if isinstance(value, str) and pa.types.is_floating(kind):
        return _NUMBERS[value]
    if isinstance(value, str) and pa.types.is_binary(kind):
        return base64.b64decode(value, validate=True)
    return value
