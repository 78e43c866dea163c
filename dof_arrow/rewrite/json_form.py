"""DoF as JSON: a whole dataset in one text, for small sets and tools without Parquet (row D4).

    {"form": "dof-json-1", "dof": metadata,
     "vectors": {name: {"dtype", "shape", "base64"}}, "columns": {name: [...]},
     "schema": the Arrow schema in base64,
     "errors": [...], "documents": {name: {"media_type", "base64"}}}

`json_values` says how the values of columns are written. A text to be read may leave `schema` out,
and give vectors as lists of numbers.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec import metadata
from dof_arrow.format.spec.arrow import VECTOR_TYPES, element_type, is_vector, vector_field
from dof_arrow.format.spec.json_model import Json, parsed
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite import json_values
from dof_arrow.rewrite.carry import carried
from dof_arrow.storage.atomic import replacing

FORM = "dof-json-1"
MAX_BYTES = 1 << 30  # of a text, which takes several times as much in memory

# What reading a text of another form may raise.
_UNFIT = (KeyError, ValueError, TypeError, AttributeError, RecursionError, pa.ArrowException)


def save(rows: Dataset, path: Path, *, overwrite: bool = False) -> None:
    """Write a dataset as one JSON text; UsageError if it is too large or has no JSON form."""
    with replacing(path, overwrite=overwrite) as out:
        out.write(encode(rows, carried(rows)))


def encode(rows: Dataset, about: Mapping[str, Json]) -> bytes:
    """The dataset as JSON, `about` being its metadata.

    Raises UsageError if it is too large or a column has no JSON form.
    """
    vectors: dict[str, Json] = {}
    columns: dict[str, Json] = {}
    for field in rows.schema:
        if is_vector(field):
            vectors[field.name] = _encoded_vectors(rows, field.name)
        else:
            column = rows.to_arrow([field.name]).column(0)
            columns[field.name] = json_values.to_json(column, field)
    value: dict[str, Json] = {
        "form": FORM,
        "dof": about,
        "vectors": vectors,
        "columns": columns,
        "schema": _base64(rows.schema.remove_metadata().serialize()),
    }
    if not rows.derived:  # errors and documents of a derived copy may be another file's
        value["errors"] = rows.errors
        value["documents"] = _encoded_documents(rows)
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def write(path: Path, open_writer: Callable[[Json, pa.Schema], Writer]) -> None:
    """Read the dataset in a JSON file and write it through a writer.

    `open_writer` makes the writer of metadata and schema. Raises FormatError if the file is no DoF
    as JSON; then nothing is written.
    """
    try:
        content = _read(path)
    except _UNFIT as error:
        found = f"{type(error).__name__}: {error}"[:200]
        raise FormatError(
            "not a DoF dataset as JSON",
            str(path),
            f"form {FORM}",
            found,
            "What it is like: dof convert ANY.parquet ANY.dof.json",
        ) from None
    with open_writer(content.about, content.schema) as writer:
        for failure in content.failures:
            writer.fail(**failure)
        for document in content.documents:
            writer.attach(*document)
        writer.write(ids=content.ids, vectors=content.vectors, columns=content.columns)


def is_text(path: Path) -> bool:
    """Whether a file begins like JSON."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """A dataset as read from its JSON form, ready for a writer."""

    about: Json
    schema: pa.Schema
    ids: pa.Array
    vectors: Mapping[str, np.ndarray[Any, Any]]
    columns: Mapping[str, pa.Array]
    failures: list[dict[str, str]]
    documents: list[tuple[str, bytes, str]]


def _read(path: Path) -> _Content:
    """All of a JSON file; raises one of `_UNFIT` where it is not of this form."""
    value = _parsed(path)
    about = value["dof"]
    flat = {name: _decoded_vectors(item) for name, item in value["vectors"].items()}
    schema = _schema(value, flat)
    for name, item in value["vectors"].items():
        if isinstance(item, list):  # whose type the schema alone tells
            flat[name] = flat[name].astype(element_type(schema.field(name)), copy=False)
    columns: dict[str, pa.Array] = {}
    for field in schema:
        if field.name not in flat:
            columns[field.name] = json_values.from_json(value["columns"][field.name], field)
    failures = [_failure(item) for item in value.get("errors", [])]
    documents = [_document(*item) for item in value.get("documents", {}).items()]
    _check_metadata(about, path)
    id_name = about.get("record", {}).get("id", "id")
    return _Content(
        about=about,
        schema=schema,
        ids=columns.pop(id_name),
        vectors={name: _as_tensors(about, name, values) for name, values in flat.items()},
        columns=columns,
        failures=failures,
        documents=documents,
    )


def _parsed(path: Path) -> Json:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size:,} bytes, at most {MAX_BYTES:,}")
    value = parsed(path.read_bytes().decode("utf-8-sig"))
    if value["form"] != FORM:
        raise ValueError(f"form {value['form']!r}"[:100])
    return value


def _check_metadata(about: Json, path: Path) -> None:
    # What a writer adds by itself may be missing.
    found = metadata.problems(about)
    wrong = [problem for problem in found if problem.rule != "metadata-missing"]
    if wrong:
        raise FormatError("its metadata are not valid", str(path), problems=wrong)


def _encoded_vectors(rows: Dataset, name: str) -> Json:
    values = rows.to_numpy(name)
    if values.nbytes * 4 // 3 > MAX_BYTES:
        raise UsageError(
            "too large for JSON",
            str(rows.path),
            f"at most {MAX_BYTES:,} bytes",
            f"{values.nbytes:,}",
            "Keep it as .parquet.",
        )
    little = values.dtype.newbyteorder("<")
    data = np.ascontiguousarray(values).astype(little, copy=False)
    return {
        "dtype": str(values.dtype),
        "shape": list(values.shape),
        "base64": _base64(data.data),
    }


def _decoded_vectors(about: Json) -> np.ndarray[Any, Any]:
    """Vectors [n, ...] from their JSON form, or from plain lists of numbers."""
    if not isinstance(about, dict):
        return np.asarray(about, np.float32).reshape(len(about), -1)
    dtype = about["dtype"]
    if dtype not in VECTOR_TYPES:
        raise ValueError(f"vectors of type {dtype}"[:100])
    data = base64.b64decode(about["base64"], validate=True)
    values = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
    return values.reshape(about["shape"]).astype(dtype, copy=False)


def _as_tensors(about: Json, name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Vectors in the shape that the metadata gives a row, if it gives one."""
    width = values.shape[1:]
    shape = about.get("columns", {}).get(name, {}).get("shape") or width
    if math.prod(shape) != math.prod(width):
        wrong = f"vectors {name} of {width} numbers, by the metadata {tuple(shape)}"
        raise ValueError(wrong[:200])
    return values.reshape(len(values), *shape)


def _schema(value: Json, vectors: Mapping[str, np.ndarray[Any, Any]]) -> pa.Schema:
    """The schema that the text gives, or else one made of its columns and vectors."""
    if "schema" in value:
        data = base64.b64decode(value["schema"], validate=True)
        return pa.ipc.read_schema(pa.py_buffer(data))
    fields = []
    for name, column in value["columns"].items():
        fields.append(pa.field(name, pa.array(column).type, nullable=name != "id"))
    for name, array in vectors.items():
        fields.append(vector_field(name, array.shape[1:], str(array.dtype)))
    return pa.schema(fields)


def _failure(value: Json) -> dict[str, str]:
    failure = {name: value[name] for name in ("id", "rule", "reason")}
    return failure | ({"group": value["group"]} if "group" in value else {})


def _document(name: str, value: Json) -> tuple[str, bytes, str]:
    return name, base64.b64decode(value["base64"], validate=True), value["media_type"]


def _encoded_documents(rows: Dataset) -> Json:
    encoded: dict[str, Json] = {}
    for document in rows.metadata.documents:
        data = _base64(rows.document(document.name))
        encoded[document.name] = {"media_type": document.media_type, "base64": data}
    return encoded


def _base64(data: Any) -> str:
    return base64.b64encode(data).decode()
