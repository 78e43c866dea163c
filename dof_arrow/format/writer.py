"""Vectors and columns in, one DoF file out: chunks placed by us, errors and documents inside, sealed (SPEC 5 to 7).

Memory stays at one row group whatever the number of rows. Equal rows give equal bytes however they were batched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.parquet.row_groups import RowGroupWriter, content_uuid, generator
from dof_arrow.format.spec.arrow import (
    VECTOR_TYPES,
    element_type,
    finite,
    is_vector,
    storable,
    vector_field,
    with_metadata,
)
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import VERSION, Metadata, from_json
from dof_arrow.storage.atomic import explained, replacing

Values: TypeAlias = Any  # numpy array of a mapped column, Arrow array of another
_RECORD_TYPES = {"id": pa.string(), "view": pa.int16(), "frame": pa.int32(), "time": pa.float64()}
_RECORD = ("id", "view", "frame", "time", "group", "split")


@dataclass(slots=True)
class _Batch:
    """Some rows: mapped columns as arrays of their stored type, the others as Arrow arrays."""

    rows: int
    values: dict[str, Values]

    def slice(self, start: int, stop: int) -> _Batch:
        return _Batch(stop - start, {k: v[start:stop] for k, v in self.values.items()})

    def owned(self) -> _Batch:
        """A copy that does not change when the caller reuses its arrays."""
        return _Batch(
            self.rows,
            {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in self.values.items()},
        )


@dataclass(slots=True)
class _Counts:
    """Rows and records of each split, counted as they pass; a record's rows stand together."""

    rows: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    last: str | None = None

    def add(self, ids: pa.Array, splits: pa.Array | None) -> None:
        names = splits.to_pylist() if isinstance(splits, pa.Array) else []
        for name, record in zip(names, ids.to_pylist(), strict=False):
            if name is not None:
                self.rows[name] = self.rows.get(name, 0) + 1
                self.records[name] = self.records.get(name, 0) + (record != self.last)
            self.last = record


class Writer:
    """Writes one DoF file atomically; what `metadata` does not declare is inferred from the first batch.

    Vectors are float32 or float16 [n, *shape]; other columns are numpy arrays, Arrow arrays or lists. A column given
    as a numpy array without missing values is required and mapped. Nothing appears at `path` before `close`. A `part`
    of a directory is aligned as one of many row groups even if it has but one, so that it maps beside the others.
    `mode`: the file's, by default that of any new file.

    Raises OutputError if the file cannot be written, UsageError for rows that do not fit.

    >>> import numpy, tempfile, dof_arrow.dataset.dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.dof.parquet")) as w:
    ...         w.write(ids=["a", "b"], vectors={"feature": numpy.eye(2, dtype="f4")}, columns={"label": [1, 0]})
    ...     len(dof_arrow.dataset.dataset.open(Path(folder, "x.dof.parquet")))
    2
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        metadata: Metadata | Mapping[str, Json] | None = None,
        *,
        schema: pa.Schema | None = None,
        overwrite: bool = False,
        allow_nonfinite: bool = False,
        layout: Literal["mapped", "compact"] = "mapped",
        geometry: layouts.Geometry | None = None,
        part: bool = False,
        mode: int | None = None,
    ) -> None:
        self.path = Path(path)
        self._declared: dict[str, Json] = dict(to_json(metadata)) if metadata is not None else {}
        self._fields: dict[str, pa.Field] = {f.name: f for f in schema or ()}
        self._allow_nonfinite, self._mapped, self._given_geometry = (
            allow_nonfinite,
            layout == "mapped",
            geometry,
        )
        self._schema: pa.Schema | None = None
        self._closed, self._part, self._mode = False, part, mode
        self._pending: list[_Batch] = []
        self._counts, self._errors, self._documents = (
            _Counts(),
            list[Json](),
            list[tuple[Json, bytes]](),
        )
        self._stack = ExitStack()
        self._file = self._open(overwrite)

    def write(
        self,
        *,
        ids: Sequence[str] | pa.Array,
        vectors: Mapping[str, np.ndarray],
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        """Append rows: their ids, one array [n, *shape] a feature column, and the other columns."""
        columns, id_name = columns or {}, self._record()["id"]
        if twice := {id_name, *vectors} & {*columns}:
            raise UsageError(
                "a column given twice", str(self.path), "each name once", ", ".join(sorted(twice))
            )
        given = {id_name: ids, **columns}
        vectors = {name: np.asarray(values) for name, values in vectors.items()}
        if self._schema is None:
            self._begin(given, vectors)
        batch = self._batch(given, vectors)
        self._counts.add(batch.values[id_name], batch.values.get(self._record().get("split", "")))
        self._pending.append(batch)
        self._flush_full()
        if self._pending:
            self._pending[-1] = self._pending[-1].owned()

    def fail(self, id: str, rule: str, reason: str) -> None:
        """List an input that gave no row: its pseudonym, a stable rule, and the reason; no path, no private text."""
        self._errors.append({"id": id, "rule": rule, "reason": reason})

    def attach(self, name: str, data: bytes, media_type: str) -> None:
        """Put a document into the file; `name` is a file name without folders."""
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise UsageError(
                "not a document's name", str(self.path), "a file name without folders", name
            )
        about = {"name": name, "media_type": media_type}
        self._documents.append((about, data))

    def close(self) -> Path:
        """Write what is left, the footer and the seal, and commit the file."""
        if self._closed:
            return self.path
        self._closed = True
        with self._stack:
            if self._schema is None:
                self._begin({self._record()["id"]: pa.array([], pa.string())}, {})
            self._flush(sum(b.rows for b in self._pending))
            placed = self._file.attach(self._errors, self._documents)
            self._file.finish(with_metadata(self._schema, self._metadata(placed)))
        return self.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._stack.__exit__(kind, error, at)

    def _open(self, overwrite: bool) -> RowGroupWriter:
        out = self._stack.enter_context(replacing(self.path, overwrite=overwrite, mode=self._mode))
        self._stack.enter_context(explained(self.path))
        return RowGroupWriter(out, self._stack.enter_context(ThreadPoolExecutor(1)))

    def _begin(self, given: Mapping[str, Any], vectors: Mapping[str, np.ndarray]) -> None:
        flat = {k: self._fields.get(k) or _infer(k, v) for k, v in given.items()}
        wide = {
            k: self._fields.get(k) or vector_field(k, np.shape(v)[1:], str(v.dtype))
            for k, v in vectors.items()
        }
        fields = (
            self._fields
            if self._fields.keys() >= {*flat, *wide}
            else {**flat, **wide, **self._fields}
        )
        if not any(is_vector(f) for f in fields.values()):
            raise UsageError(
                "no feature column", str(self.path), "vectors={name: float32 [n, ...]}", "none"
            )
        self._schema = pa.schema([storable(f) for f in fields.values()])
        self._check_declared(self._schema.names)
        fixed = [c for c in map(layouts.fixed, self._schema) if c] if self._mapped else []
        self._shapes = {k: list(np.shape(v)[1:]) for k, v in vectors.items()}
        self._geometry = self._given_geometry or layouts.geometry(
            [c.width for c in fixed] or self._decoded_widths()
        )
        self._file.begin(self._schema, fixed, self._geometry.alignment)

    def _check_declared(self, columns: list[str]) -> None:
        named = {
            *self._declared.get("targets", {}),
            *self._record().values(),
            self._declared.get("primary_column"),
        }
        if unknown := named - {*columns, None}:
            raise UsageError(
                "the metadata names columns that are not there",
                str(self.path),
                ", ".join(columns),
                ", ".join(sorted(unknown)),
            )
        split = next((f for f in self._schema or () if f.name == self._record().get("split")), None)
        if split is not None and layouts.fixed(split.with_nullable(False)):
            raise UsageError("a split column holds names", split.name, "string", str(split.type))

    def _decoded_widths(self) -> list[int]:
        columns = map(layouts.fixed, self._schema or ())
        return [c.width for c in columns if c and c.nested] or [1]

    def _batch(self, given: Mapping[str, Any], vectors: Mapping[str, np.ndarray]) -> _Batch:
        assert self._schema is not None
        missing = [f.name for f in self._schema if f.name not in given and f.name not in vectors]
        extra = [k for k in (*given, *vectors) if k not in self._schema.names]
        if missing or extra:
            raise UsageError(
                "the columns of this batch differ from the first's",
                str(self.path),
                ", ".join(self._schema.names),
                ", ".join([*given, *vectors]),
            )
        values = {f.name: self._column(f, {**given, **vectors}[f.name]) for f in self._schema}
        rows = {len(v) for v in values.values()}
        if len(rows) != 1:
            raise UsageError(
                "the columns of this batch differ in length",
                str(self.path),
                "one length",
                str(rows),
            )
        return _Batch(rows.pop(), values)

    def _column(self, field: pa.Field, value: Any) -> Values:
        fixed = self._file.fixed.get(field.name)
        if is_vector(field):
            return self._vector(field, value, fixed)
        array = _array(field.name, value, field.type)
        if array.null_count and not field.nullable:
            raise UsageError(
                "a missing value in a required column",
                field.name,
                "a value in every row",
                "none",
                "Declare the column nullable in schema=.",
            )
        return _stored(array, fixed) if fixed else array

    def _vector(self, field: pa.Field, value: Any, fixed: layouts.Fixed | None) -> Values:
        dtype = element_type(field)
        array = np.asarray(value)
        shape = self._shapes.setdefault(field.name, list(array.shape[1:]))
        if str(array.dtype) != dtype or list(array.shape[1:]) != shape or not array.ndim:
            raise UsageError(
                "vectors do not fit the column",
                field.name,
                f"{dtype} [n, {_dims(shape)}]",
                f"{array.dtype} [{_dims(array.shape)}]",
            )
        flat = np.ascontiguousarray(array).reshape(len(array), field.type.list_size)
        if not self._allow_nonfinite and not finite(flat):
            raise UsageError(
                "NaN or infinity among the vectors",
                field.name,
                "finite numbers",
                "some that are not",
                "Mend the core, or pass allow_nonfinite=True.",
            )
        return (
            flat
            if fixed
            else pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=field.type)
        )

    def _flush_full(self) -> None:
        # A full last group waits for one more row, so that a file's bytes do not depend on how rows were batched.
        while sum(b.rows for b in self._pending) > self._geometry.rows:
            self._flush(self._geometry.rows)

    def _flush(self, rows: int) -> None:
        if rows:
            first, self._pending = _split(self._pending, rows)
            pieces = {name: [b.values[name] for b in first] for name in first[0].values}
            self._file.place(
                pieces, rows, alone=not (self._part or self._pending or self._file.groups)
            )

    def _record(self) -> dict[str, str]:
        names = self._schema.names if self._schema else []
        roles = self._declared.get(
            "columns", {}
        )  # an owner's column may bear such a name: `view` of a radiograph
        known = {k: k for k in _RECORD if k in names and roles.get(k, {}).get("role", k) == k}
        return {"id": "id", **known, **self._declared.get("record", {})}

    def _metadata(self, placed: Mapping[str, Json]) -> Metadata:
        assert self._schema is not None
        columns = {f.name: self._describe(f) for f in self._schema}
        value = {"version": VERSION, **self._declared, **placed, "columns": columns}
        value.setdefault("primary_column", next(f.name for f in self._schema if is_vector(f)))
        value["record"] = self._record()
        if self._counts.rows:
            value["splits"] = {
                k: {"rows": self._counts.rows[k], "records": self._counts.records[k]}
                for k in sorted(self._counts.rows)
            }
        value["uuid"] = content_uuid(
            self._file.digests, [c["sha256"] for c in value.get("cores", {}).values()]
        )
        value["provenance"] = {
            **_created(),
            **value.get("provenance", {}),
            "generator": generator(),
        }
        return from_json(value)

    def _describe(self, field: pa.Field) -> Json:
        layout_name = "mapped" if field.name in self._file.fixed else "encoded"
        value: Json = {
            "role": self._role(field),
            "dtype": element_type(field),
            "layout": layout_name,
        }
        if is_vector(field):
            value["shape"] = self._shapes.get(field.name) or [field.type.list_size]
        return {
            **value,
            **self._declared.get("columns", {}).get(field.name, {}),
            "layout": layout_name,
        }

    def _role(self, field: pa.Field) -> str:
        if is_vector(field) and element_type(field) in VECTOR_TYPES:
            return "feature"
        role = next((r for r, name in self._record().items() if name == field.name), None)
        if role or field.name == "processing":
            return role or "processing"
        return "target" if field.name in self._declared.get("targets", {}) else "kept"


def _created() -> dict[str, str]:
    # No clock in a file unless the reproducible-builds variable sets it: equal inputs give equal bytes.
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return (
        {"created": datetime.fromtimestamp(int(epoch), UTC).isoformat()}
        if epoch.isdecimal()
        else {}
    )


def _infer(name: str, value: Any) -> pa.Field:
    if name in _RECORD_TYPES:
        return pa.field(name, _RECORD_TYPES[name], nullable=False)
    array = _array(name, value)
    return pa.field(
        name,
        array.type,
        nullable=array.null_count > 0
        or not layouts.fixed(pa.field(name, array.type, nullable=False)),
    )


def _array(name: str, value: Any, kind: pa.DataType | None = None) -> pa.Array:
    try:
        array = (
            value
            if isinstance(value, (pa.Array, pa.ChunkedArray))
            else pa.array(value, kind, from_pandas=False)
        )
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        return array.cast(kind) if kind else array
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        expected = str(kind or "values of one type, one a row")
        raise UsageError("values do not fit the column", name, expected, str(error)[:200]) from None


def _stored(array: pa.Array, fixed: layouts.Fixed) -> np.ndarray:
    bits = pa.Array.from_buffers(
        _INTEGER[fixed.memory.str[1:]], len(array), array.buffers(), offset=array.offset
    )
    values = bits.to_numpy(zero_copy_only=True).view(fixed.memory)
    return np.ascontiguousarray(values.astype(fixed.stored, copy=False))


_INTEGER = {
    f"{kind}{size}": pa.type_for_alias(f"int{8 * size}") for kind in "iuf" for size in (1, 2, 4, 8)
}


def _split(batches: list[_Batch], rows: int) -> tuple[list[_Batch], list[_Batch]]:
    first: list[_Batch] = []
    rest = list(batches)
    while rows:
        batch = rest.pop(0)
        if batch.rows > rows:
            rest.insert(0, batch.slice(rows, batch.rows))
            batch = batch.slice(0, rows)
        first.append(batch)
        rows -= batch.rows
    return first, rest


def _dims(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
