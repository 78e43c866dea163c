"""A dataset in another form: mapped or compact, float16, several files, JSON, Arrow, numpy, safetensors; and back.

What a file is is told by its content, what to write by the name asked for. A dataset's rows may be a selection: so
records are left out by writing what `filter` or `take` gives. (Rows D4, D5, D15.)
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import OutputError, UsageError
from dof_arrow.format.append import growing, waiting_mode
from dof_arrow.format.directory import is_directory
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.spec.arrow import VECTOR_TYPES, element_type, is_vector, vector_field
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite import json_form
from dof_arrow.storage.atomic import Output, Sink, replacing
from dof_arrow.tables import selection

Layout = Literal["mapped", "compact"]
PathLike = str | os.PathLike[str]
_BATCH_BYTES = 32 << 20
_NOT_CARRIED = (
    "uuid",
    "errors",
    "documents",
    "splits",
    "version",
    "parts",
    "integrity",
)  # made anew by the writer
_FORMS = (".parquet", ".dof.json", ".arrow", ".npy", ".safetensors", ".dof (a directory)")
_SAFE = {
    "f4": "F32",
    "f2": "F16",
    "f8": "F64",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    "u8": "U64",
}


def save(
    rows: Dataset,
    out: PathLike,
    *,
    layout: Layout | None = None,
    dtype: str | None = None,
    rows_per_part: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a dataset, or a selection of one, in the form that the name of `out` asks for.

    `.parquet`: a DoF file in `layout`, by default mapped, its vectors cast to `dtype`; `.dof`: a directory of such
    files of at most `rows_per_part` rows each, which map as one array; `.dof.json`: DoF as JSON; `.arrow`: an Arrow IPC
    file; `.npy`: the primary vectors; `.safetensors`: all vectors and numbers. Lossless unless `dtype` narrows.
    Raises UsageError for another name or type, OutputError if the file cannot be written, FormatError for damage met.

    >>> import numpy, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.parquet")) as w:
    ...         w.write(ids=["a", "b"], vectors={"feature": numpy.eye(2, dtype="f4")})
    ...     kept = save(dataset.open(Path(folder, "x.parquet"))[:1], Path(folder, "y.parquet"))
    ...     len(dataset.open(kept))
    1
    """
    path = Path(out)
    _check_options(path, layout, dtype, rows_per_part)
    for file in selection.files(rows.table):
        file.check()  # a new seal would hide damage
    if is_directory(path):
        _save_directory(
            rows, path, _schema(rows, dtype), layout or "mapped", rows_per_part, overwrite
        )
    elif path.suffix == ".parquet":
        with Writer(
            path,
            carried(rows),
            schema=_schema(rows, dtype),
            layout=layout or "mapped",
            overwrite=overwrite,
        ) as writer:
            _attach(writer, rows)
            write_rows(writer, rows, _schema(rows, dtype))
    else:
        _export(rows, path, overwrite)
    return path


def convert(
    source: PathLike,
    out: PathLike,
    *,
    layout: Layout | None = None,
    dtype: str | None = None,
    rows_per_part: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a DoF file or directory, or its JSON form, in another form; see `save`. Raises FormatError for neither."""
    path, target = Path(source), Path(out)
    if not json_form.is_text(path):
        return save(
            dataset.open(path),
            out,
            layout=layout,
            dtype=dtype,
            rows_per_part=rows_per_part,
            overwrite=overwrite,
        )
    if target.suffix != ".parquet" or dtype is not None or rows_per_part is not None:
        raise UsageError(
            "JSON becomes a Parquet file first",
            str(path),
            "OUT.parquet",
            str(out),
            f"First: dof convert {path} {target.stem}.parquet",
        )
    json_form.write(
        path,
        lambda about, schema: Writer(
            target,
            _renewed(about, schema),
            schema=schema,
            layout=layout or "mapped",
            overwrite=overwrite,
        ),
    )
    return target


def carried(rows: Dataset) -> dict[str, Json]:
    """The metadata of a dataset made from another: what was said of the rows, and which file they came from."""
    value = _renewed(to_json(rows.metadata), rows.schema)
    if rows.seal and not rows.derived:
        value["provenance"]["parents"] = [{"uuid": rows.metadata.uuid, "seal": rows.seal}]
    return value


def write_rows(writer: Writer, rows: Dataset, schema: pa.Schema) -> None:
    """Write all rows of a dataset, vectors cast to what the schema says."""
    id_name = rows.metadata.record.id
    for batch in batches(rows):
        vectors = {f.name: _vectors(batch, f) for f in schema if is_vector(f)}
        columns = {f.name: batch.to_arrow([f.name]).column(0) for f in schema if not is_vector(f)}
        if id_name not in columns:
            raise UsageError(
                "a dataset without ids", str(rows.path), f"a column {id_name}", ", ".join(columns)
            )
        writer.write(ids=columns.pop(id_name), vectors=vectors, columns=columns)


def batches(rows: Dataset) -> Iterator[Dataset]:
    """The rows, some 32 MiB of vectors at a time."""
    width = sum(f.type.list_size * 4 for f in rows.schema if is_vector(f))
    step = max(_BATCH_BYTES // max(width, 1), 1)
    return (rows[start : start + step] for start in range(0, len(rows), step))


def part_rows(schema: pa.Schema, wanted: int | None) -> int:
    """Rows of each part of a directory but the last, such that all parts map as one array: whole groups' units.

    By default four groups of 64 MiB.
    """
    widths = [c.width for c in map(layouts.fixed, schema) if c]
    chosen = layouts.geometry(widths)
    unit = max((chosen.alignment // gcd(w, chosen.alignment) for w in widths), default=1)
    if wanted is None:
        return 4 * chosen.rows
    if wanted < unit:
        raise UsageError(
            "parts of so few rows do not map as one array",
            expected=f"{unit:,} rows or more",
            found=f"{wanted:,}",
            hint=f"--rows-per-part {unit}",
        )
    return min(wanted // unit * unit, layouts.MAX_GROUPS * chosen.rows)


def _check_options(
    path: Path, layout: Layout | None, dtype: str | None, rows_per_part: int | None
) -> None:
    plain, several = path.suffix == ".parquet", is_directory(path)
    if not (
        plain
        or several
        or path.name.endswith(".dof.json")
        or path.suffix in (".arrow", ".npy", ".safetensors")
    ):
        raise UsageError("no such form", str(path), ", ".join(_FORMS), path.suffix or "none")
    if dtype is not None and dtype not in VECTOR_TYPES:
        raise UsageError("no such type of vectors", str(path), " or ".join(VECTOR_TYPES), dtype)
    if layout not in (None, "mapped", "compact"):
        raise UsageError("no such layout", str(path), "mapped or compact", str(layout))
    if (layout or dtype) and not (plain or several):
        raise UsageError(
            "layout and type are chosen for .parquet only",
            str(path),
            "OUT.parquet or OUT.dof",
            path.name,
        )
    if rows_per_part is not None and (not several or rows_per_part < 1):
        raise UsageError(
            "only a directory has parts", str(path), "OUT.dof, and 1 row a part or more", path.name
        )


def _save_directory(
    rows: Dataset,
    path: Path,
    schema: pa.Schema,
    layout: Layout,
    rows_per_part: int | None,
    overwrite: bool,
) -> None:
    if path.exists() and not overwrite:
        raise OutputError(
            "the output exists already",
            str(path),
            hint="Give another name, or --overwrite; to add to it: dof merge.",
        )
    step = part_rows(schema, rows_per_part)
    with growing(path, overwrite=overwrite) as growth:
        for start in range(0, max(len(rows), 1), step):
            part = rows[start : start + step]
            with Writer(
                growth.spare,
                carried(rows),
                schema=schema,
                layout=layout,
                overwrite=True,
                part=True,
                mode=waiting_mode(growth.spare),
            ) as writer:
                _attach(writer, rows, first=start == 0)
                write_rows(writer, part, schema)
            growth.add(growth.spare, take=True, new_ids=True)
            growth.spare.unlink()


def _attach(writer: Writer, rows: Dataset, *, first: bool = True) -> None:
    """Carry errors and documents, which stand once in a dataset; those of a derived copy may be another file's."""
    if rows.derived or not first:
        return
    for failure in rows.errors:
        writer.fail(**failure)
    for document in rows.metadata.documents:
        writer.attach(document.name, rows.document(document.name), document.media_type)


def _export(rows: Dataset, path: Path, overwrite: bool) -> None:
    with replacing(path, overwrite=overwrite) as out:
        if path.suffix == ".arrow":
            arrow(batches(rows), rows.schema, out)
        elif path.suffix == ".npy":
            npy(rows, batches(rows), out)
        elif path.suffix == ".safetensors":
            safetensors(rows, lambda: batches(rows), out)
        else:
            out.write(json_form.encode(rows, carried(rows)))


def _schema(rows: Dataset, dtype: str | None) -> pa.Schema:
    return pa.schema([_field(rows, f, dtype) for f in rows.schema])


def _field(rows: Dataset, field: pa.Field, dtype: str | None) -> pa.Field:
    if not is_vector(field):
        return field
    return vector_field(field.name, rows.shape(field.name), dtype or element_type(field))


def _vectors(batch: Dataset, field: pa.Field) -> np.ndarray[Any, Any]:
    with np.errstate(
        over="ignore"
    ):  # what float16 cannot hold becomes infinite, and is refused by the writer
        values = batch.to_numpy(field.name).astype(element_type(field), copy=False)
    return values.reshape(len(batch), *batch.shape(field.name))


def _renewed(value: Mapping[str, Json], schema: pa.Schema) -> dict[str, Json]:
    """Metadata of another file of the same columns: without what is that file's own, or names columns not there."""
    names: Sequence[str] = schema.names
    value = {k: v for k, v in value.items() if k not in _NOT_CARRIED}
    columns = {
        n: {k: v for k, v in c.items() if k not in ("dtype", "layout", "statistics")}
        for n, c in value.get("columns", {}).items()
        if n in names
    }
    targets = {n: t for n, t in value.get("targets", {}).items() if n in names}
    record = {role: n for role, n in value.get("record", {}).items() if n in names}
    provenance = {
        k: v for k, v in value.get("provenance", {}).items() if k not in ("generator", "run")
    }
    return {
        **value,
        "columns": columns,
        "targets": targets,
        "record": record,
        "provenance": provenance,
    }


def arrow(batches: Iterable[Dataset], schema: pa.Schema, out: Output) -> None:
    """An Arrow IPC file of all columns; the schema carries the metadata."""
    with pa.ipc.new_file(pa.PythonFile(Sink(out), "w"), schema) as writer:
        for batch in batches:
            writer.write_table(batch.to_arrow())


def npy(rows: Dataset, batches: Iterable[Dataset], out: Output) -> None:
    """A numpy file of the primary vectors [n, D]."""
    like = rows[:0].to_numpy()
    about = {
        "descr": like.dtype.newbyteorder("<").str,
        "fortran_order": False,
        "shape": (len(rows), *like.shape[1:]),
    }
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, about)
    out.write(head.getvalue())
    _write(batches, rows.primary, out)


def safetensors(rows: Dataset, batches: Callable[[], Iterable[Dataset]], out: Output) -> None:
    """A safetensors file of all vectors, as tensors of their shapes, and of all numbers.

    Source: the format's own description, github.com/huggingface/safetensors, section "Format".
    """
    tensors, end = dict[str, Any](), 0
    for name in (f.name for f in rows.schema if _is_tensor(f)):
        like = rows[:0].to_numpy(name)
        shape = [len(rows), *(rows.shape(name) if is_vector(rows.schema.field(name)) else ())]
        start, end = end, end + like.dtype.itemsize * int(np.prod(shape))
        tensors[name] = {
            "dtype": _SAFE[like.dtype.str[1:]],
            "shape": shape,
            "data_offsets": [start, end],
        }
    out.write(_safe_head(tensors))
    for name in tensors:
        _write(batches(), name, out)


def _safe_head(tensors: Mapping[str, Any]) -> bytes:
    head = json.dumps(tensors, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head


def _is_tensor(field: pa.Field) -> bool:
    kind = field.type
    return is_vector(field) or (
        not field.nullable and (pa.types.is_integer(kind) or pa.types.is_floating(kind))
    )


def _write(batches: Iterable[Dataset], name: str, out: Output) -> None:
    for batch in batches:
        values = np.ascontiguousarray(batch.to_numpy(name))
        out.write(values.astype(values.dtype.newbyteorder("<"), copy=False))
