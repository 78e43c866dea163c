"""A dataset in another form: mapped or compact, float16, JSON, Arrow, numpy, safetensors; and back (rows D4, D5, D15).

What a file is is told by its content, what to write by the name asked for. A dataset's rows may be a selection: so
records are left out by writing what `filter` or `take` gives.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dof_arrow import dataset
from dof_arrow.commit import replacing
from dof_arrow.dataset import Dataset
from dof_arrow.declare import Json, to_json
from dof_arrow.errors import FormatError, UsageError, require
from dof_arrow.metadata import parse
from dof_arrow.schema import VECTOR_TYPES, element_type, is_vector, vector_field
from dof_arrow.writer import Writer

Layout = Literal["mapped", "compact"]
_BATCH_BYTES = 32 << 20
_JSON_FORM = "dof-json-1"
_NOT_CARRIED = ("uuid", "errors", "documents", "splits", "version")  # made anew by the writer


def save(
    rows: Dataset, out: str | os.PathLike[str], *, layout: Layout = "mapped", dtype: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a dataset, or a selection of one, in the form that the name of `out` asks for.

    `.parquet`: a DoF file in `layout`, its vectors cast to `dtype`; `.dof.json`: DoF as JSON; `.arrow`: an Arrow IPC
    file; `.npy`: the primary vectors; `.safetensors`: all vectors and numbers. Lossless unless `dtype` narrows.
    Raises UsageError for another name or type, OutputError if the file cannot be written.
    """
    path = Path(out)
    if path.name.endswith(".dof.json"):
        _save_bytes(path, _json_bytes(rows), overwrite)
    elif path.suffix == ".parquet":
        _save_parquet(rows, path, layout, dtype, overwrite)
    elif path.suffix in _EXPORTS:
        _save_bytes(path, _EXPORTS[path.suffix](rows), overwrite)
    else:
        raise UsageError("no such form", str(path), f".parquet, .dof.json, {', '.join(_EXPORTS)}", path.suffix or "none")
    return path


def convert(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, layout: Layout = "mapped",
    dtype: str | None = None, overwrite: bool = False,
) -> Path:
    """Write a DoF file or its JSON form in another form; see `save`. Raises FormatError for what is neither."""
    path = Path(source)
    if path.is_file() and _starts_with(path, b"{"):
        if Path(out).suffix != ".parquet":
            raise UsageError("JSON becomes a Parquet file first", str(path), "OUT.parquet", str(out))
        return _from_json(path, Path(out), layout, overwrite)
    return save(dataset.open(path), out, layout=layout, dtype=dtype, overwrite=overwrite)


def _save_parquet(rows: Dataset, path: Path, layout: Layout, dtype: str | None, overwrite: bool) -> None:
    if dtype is not None and dtype not in VECTOR_TYPES:
        raise UsageError("no such type of vectors", str(path), " or ".join(VECTOR_TYPES), dtype)
    fields = [_field(rows, f, dtype) for f in rows.schema]
    with Writer(path, _carried(rows), schema=pa.schema(fields), layout=layout, overwrite=overwrite) as writer:
        for failure in rows.errors:
            writer.fail(**failure)
        for document in rows.metadata.documents:
            writer.attach(document.name, rows.document(document.name), document.media_type)
        for batch in _batches(rows):
            vectors = {f.name: _vectors(batch, f) for f in fields if is_vector(f)}
            columns = {f.name: batch.to_arrow([f.name]).column(0) for f in fields if not is_vector(f)}
            writer.write(ids=columns.pop("id"), vectors=vectors, columns=columns)


def _field(rows: Dataset, field: pa.Field, dtype: str | None) -> pa.Field:
    if not is_vector(field):
        return field
    return vector_field(field.name, rows.metadata.columns[field.name].shape, dtype or element_type(field))


def _vectors(batch: Dataset, field: pa.Field) -> np.ndarray:
    shape = batch.metadata.columns[field.name].shape
    return batch.to_numpy(field.name).astype(element_type(field), copy=False).reshape(len(batch), *shape)


def _batches(rows: Dataset) -> Iterator[Dataset]:
    width = max(f.type.list_size * 4 for f in rows.schema if is_vector(f))
    step = max(_BATCH_BYTES // width, 1)
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _carried(rows: Dataset) -> dict[str, Json]:
    """The metadata of a dataset made from another: what was said of the rows, and which file they came from."""
    value: dict[str, Json] = {k: v for k, v in to_json(rows.metadata).items() if k not in _NOT_CARRIED}
    value["columns"] = {n: {k: v for k, v in c.items() if k not in ("dtype", "layout", "statistics")}
                        for n, c in value["columns"].items()}
    parent = {"uuid": rows.metadata.uuid, **({"seal": rows.seal} if rows.seal else {})}
    provenance = {k: v for k, v in value.get("provenance", {}).items() if k not in ("generator", "run")}
    return {**value, "provenance": {**provenance, "parents": [parent]}}


def _save_bytes(path: Path, data: Any, overwrite: bool) -> None:
    with replacing(path, overwrite=overwrite) as out:
        out.write(data)


def _json_bytes(rows: Dataset) -> bytes:
    """DoF as JSON: the metadata, vectors in base64 of their little-endian bytes, the other columns as lists."""
    vectors = {f.name: _encoded(rows.to_numpy(f.name)) for f in rows.schema if is_vector(f)}
    table = rows.to_arrow([f.name for f in rows.schema if not is_vector(f)])
    types = base64.b64encode(table.schema.remove_metadata().serialize()).decode()
    value = {"form": _JSON_FORM, "dof": {**_carried(rows), "info": to_json(rows.metadata.info)}, "vectors": vectors,
             "columns": table.to_pydict(), "schema": types, "errors": rows.errors,
             "documents": {d.name: _document(rows, d) for d in rows.metadata.documents}}
    return json.dumps(value, ensure_ascii=False, default=str).encode()


def _document(rows: Dataset, document: Any) -> Json:
    return {"media_type": document.media_type, "base64": base64.b64encode(rows.document(document.name)).decode()}


def _encoded(values: np.ndarray) -> Json:
    data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
    text = base64.b64encode(data.tobytes()).decode()
    return {"dtype": str(values.dtype), "shape": list(values.shape), "base64": text}


def _from_json(path: Path, out: Path, layout: Layout, overwrite: bool) -> Path:
    try:
        value = json.loads(path.read_bytes())
        if value["form"] != _JSON_FORM:
            raise ValueError(f"form {value['form']!r}")
        vectors = {name: _decoded(about) for name, about in value["vectors"].items()}
        types = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value["schema"], validate=True)))
        columns = {f.name: pa.array(value["columns"][f.name], f.type) for f in types}
        declared = parse(json.dumps(value["dof"]).encode())
    except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise FormatError("not a DoF dataset as JSON", str(path), f"form {_JSON_FORM}", str(error)[:200]) from None
    for name, shape in ((n, declared.get("columns", {}).get(n, {}).get("shape")) for n in vectors):
        vectors[name] = vectors[name].reshape(len(vectors[name]), *(shape or vectors[name].shape[1:]))
    with Writer(out, declared, schema=types, layout=layout, overwrite=overwrite) as writer:
        for failure in value["errors"]:
            writer.fail(**failure)
        for name, about in value["documents"].items():
            writer.attach(name, base64.b64decode(about["base64"]), about["media_type"])
        writer.write(ids=columns.pop("id"), vectors=vectors, columns=columns)
    return out


def _decoded(about: Mapping[str, Json]) -> np.ndarray:
    if about["dtype"] not in VECTOR_TYPES:
        raise ValueError(f"vectors of type {about['dtype']}")
    data = base64.b64decode(about["base64"], validate=True)
    values = np.frombuffer(data, np.dtype(about["dtype"]).newbyteorder("<"))
    return values.reshape(about["shape"]).astype(about["dtype"])


def _arrow_bytes(rows: Dataset) -> pa.Buffer:
    sink, table = pa.BufferOutputStream(), rows.to_arrow()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _npy_bytes(rows: Dataset) -> bytes:
    import io

    sink = io.BytesIO()
    np.save(sink, np.ascontiguousarray(rows.to_numpy()), allow_pickle=False)
    return sink.getvalue()


def _safetensors_bytes(rows: Dataset) -> bytes:
    numpy = require("safetensors.numpy", extra="dev")
    names = [f.name for f in rows.schema if is_vector(f) or (pa.types.is_primitive(f.type) and not f.nullable)]
    return bytes(numpy.save({n: np.ascontiguousarray(rows.to_numpy(n)) for n in names}))


_EXPORTS = {".arrow": _arrow_bytes, ".npy": _npy_bytes, ".safetensors": _safetensors_bytes}


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(magic)
