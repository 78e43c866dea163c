"""Vectors and columns in, one sealed DoF file out (SPEC sections 5 to 7).

Memory stays at one row group and what has rules over all rows (ids, splits, targets), however many
rows there are. What the validator would report is refused before the seal. Equal rows give equal
bytes, however they were batched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.batch import (
    Batch,
    Values,
    arrow_array,
    check_classes,
    inferred_field,
    joined_dims,
    names_field,
    names_values,
    owned_values,
    split_batches,
    stored_array,
    without_views,
)
from dof_arrow.format.describe import Description, SplitCounts, record_columns
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.parquet.names_chunk import NamesColumn, can_be_mapped
from dof_arrow.format.parquet.row_groups import RowGroupWriter, error_line
from dof_arrow.format.spec import file_rules
from dof_arrow.format.spec.arrow import (
    element_type,
    finite,
    flat_array,
    is_vector,
    storable,
    vector_field,
    with_metadata,
)
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.vector_values import vector_values
from dof_arrow.storage.atomic import explained, replacing


class Writer:
    """Writes one DoF file atomically; the first batch says what `metadata` does not declare.

    Vectors are float32 or float16 [n, *shape]; other columns are numpy arrays, Arrow arrays or
    lists. A column of numbers without missing values is required and mapped. A category target of
    the metadata is given as names, as codes or as any dictionary of names; the file has names, as
    it has those of splits. Nothing appears at `path` before `close`. A `part` of a directory is
    aligned as one of many row groups even if it has but one, so that it maps beside the others.
    `mode` is the file's mode, by default that of any new file.

    Raises OutputError if the file cannot be written, UsageError for rows that do not fit,
    FormatError for a file that would not be valid: ids that stand twice, targets of another type.

    >>> import numpy, tempfile, dof_arrow.dataset.dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     vectors = {"feature": numpy.eye(2, dtype="f4")}
    ...     with Writer(Path(folder, "x.dof.parquet")) as writer:
    ...         writer.write(ids=["a", "b"], vectors=vectors, columns={"label": [1, 0]})
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
        self._declared: dict[str, Json] = {} if metadata is None else dict(to_json(metadata))
        self._fields: dict[str, pa.Field] = {}
        for field in schema or ():
            self._fields[field.name] = field.with_type(without_views(field.type))
        self._allow_nonfinite = allow_nonfinite
        self._mapped = layout == "mapped"
        self._given_geometry = geometry
        self._part = part
        self._mode = mode
        self._schema: pa.Schema | None = None
        self._closed = False
        self._pending: list[Batch] = []
        self._counts = SplitCounts()
        self._ruled: dict[str, list[pa.Array]] = {}
        self._errors: list[Json] = []
        self._documents: list[tuple[Json, bytes]] = []
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
        columns = columns or {}
        id_name = self._record()["id"]
        twice = {id_name, *vectors} & {*columns}
        if twice:
            names = ", ".join(sorted(twice))
            raise UsageError("a column given twice", str(self.path), "each name once", names)
        given = {id_name: ids, **columns}
        vectors = {name: vector_values(name, values) for name, values in vectors.items()}
        if self._schema is None:
            self._begin(given, vectors)
        batch = self._batch(given, vectors)
        self._keep_ruled(batch)
        split = self._record().get("split")
        splits = None if split is None else batch.values.get(split)
        if isinstance(splits, pa.Array):
            self._counts.add(batch.values[id_name], splits)
        self._pending.append(batch)
        self._flush_full()
        if self._pending:
            self._pending[-1] = self._pending[-1].owned()

    def fail(self, id: str, rule: str, reason: str, group: str | None = None) -> None:
        """List an input that gave no row: its pseudonym, a stable rule id, and the reason.

        With the group that it belongs to it can go when the group's rows do. Nothing private goes
        in, such as a path or a text from the input. Raises UsageError for what is no text, or too
        long.
        """
        error = {"id": id, "rule": rule, "reason": reason}
        if group is not None:
            error["group"] = group
        self._errors.append(error)
        try:
            is_sound = file_rules.is_error(error_line(error))
        except (TypeError, ValueError):
            is_sound = False
        if not is_sound:
            self._errors.pop()
            raise UsageError(
                "an input that failed has an id, a rule and a reason",
                str(self.path),
                "texts, of 64 KiB together",
                "others",
            )

    def attach(self, name: str, data: bytes, media_type: str) -> None:
        """Put a document into the file; `name` is a file name without folders."""
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            expected = "a file name without folders"
            raise UsageError("not a document's name", str(self.path), expected, name)
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
            self._flush(self._pending_rows())
            placed = self._file.attach(self._errors, self._documents)
            description = self._description(self._schema)
            metadata = description.metadata(placed, self._counts, self._file.digests)
            self._check(metadata, self._schema)
            self._file.finish(with_metadata(self._schema, metadata))
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
        """Fix schema and geometry, by the declared schema and the first batch."""
        fields = self._known_fields(given, vectors)
        if not any(map(is_vector, fields)):
            raise UsageError(
                "no feature column", str(self.path), "vectors={name: float32 [n, ...]}", "none"
            )
        self._schema = pa.schema(map(storable, fields))
        self._check_declared(self._schema)
        self._shapes = {name: list(np.shape(item)[1:]) for name, item in vectors.items()}
        self._geometry = self._given_geometry or layouts.schema_geometry(self._schema)
        columns = list(filter(None, map(layouts.fixed, self._schema)))
        mapped = columns if self._mapped else []
        named = self._names_columns(self._schema)
        self._file.begin(self._schema, mapped, self._geometry.alignment, named)
        metadata = self._description(self._schema).metadata({}, SplitCounts(), [])
        file_rules.refuse(file_rules.of_columns(metadata, self._schema), str(self.path))
        self._ruled = {name: [] for name in file_rules.named(metadata)}

    def _description(self, schema: pa.Schema) -> Description:
        return Description(
            declared=self._declared,
            schema=schema,
            shapes=self._shapes,
            mapped=self._file.mapped,
        )

    def _keep_ruled(self, batch: Batch) -> None:
        """Keep the columns that have rules over all rows: ids, splits, targets and so on."""
        assert self._schema is not None
        for name, pieces in self._ruled.items():
            values = batch.values[name]
            if isinstance(values, np.ndarray):  # the caller may reuse it
                field = self._schema.field(name)
                memory = self._file.fixed[name].memory
                values = flat_array(values.astype(memory), field.type)
            else:
                values = owned_values(values)
            pieces.append(values)

    def _check(self, metadata: Metadata, schema: pa.Schema) -> None:
        """Raise FormatError for what the validator would report: such a file is not sealed."""
        file_rules.refuse(file_rules.of_columns(metadata, schema), str(self.path))
        flat = {}
        for name, pieces in self._ruled.items():
            kind = schema.field(name).type
            flat[name] = pa.concat_arrays(pieces) if pieces else pa.array([], kind)
        file_rules.refuse(file_rules.of_rows(metadata, flat), str(self.path))

    def _names(self, columns: Iterable[str]) -> dict[str, tuple[str, ...] | None]:
        """The columns of names among these: a category's classes, None for the split."""
        found: dict[str, tuple[str, ...] | None] = {}
        for name, target in self._declared.get("targets", {}).items():
            if target.get("kind") == "category" and target.get("classes"):
                found[name] = tuple(target["classes"])
        split = record_columns(self._declared, list(columns)).get("split")
        if split is not None:
            found[split] = None
        return found

    def _names_columns(self, schema: pa.Schema) -> list[NamesColumn]:
        columns = []
        for name, names in self._names(schema.names).items():
            mapped = self._mapped and can_be_mapped(schema.field(name), names)
            columns.append(NamesColumn(name, names, mapped))
        return columns

    def _known_fields(
        self, given: Mapping[str, Any], vectors: Mapping[str, np.ndarray]
    ) -> list[pa.Field]:
        """The declared fields, and those inferred for columns that are not declared."""
        fields = dict.fromkeys([*given, *vectors])
        if self._fields.keys() >= fields.keys():
            fields = {}
        fields.update(self._fields)
        names = self._names(fields)
        for name, field in fields.items():
            if name in names:
                fields[name] = names_field(name, given.get(name), names[name], field)
            elif field is None and name in vectors:
                array = vectors[name]
                fields[name] = vector_field(name, array.shape[1:], str(array.dtype))
            elif field is None:
                fields[name] = inferred_field(name, given[name])
        return list(fields.values())

    def _check_declared(self, schema: pa.Schema) -> None:
        """Raise UsageError if the metadata names columns that are not there or do not fit."""
        record = self._record()
        named = {*self._declared.get("targets", {}), *record.values()}
        named.add(self._declared.get("primary_column"))
        unknown = named - {*schema.names, None}
        if unknown:
            raise UsageError(
                "the metadata names columns that are not there",
                str(self.path),
                ", ".join(schema.names),
                ", ".join(sorted(unknown)),
            )
        for name, names in self._names(()).items():
            check_classes(name, names or ())

    def _batch(self, given: Mapping[str, Any], vectors: Mapping[str, np.ndarray]) -> Batch:
        assert self._schema is not None
        columns = {**given, **vectors}
        if columns.keys() != set(self._schema.names):
            raise UsageError(
                "the columns of this batch differ from the first's",
                str(self.path),
                ", ".join(self._schema.names),
                ", ".join(columns),
            )
        values = {field.name: self._column(field, columns[field.name]) for field in self._schema}
        rows = {len(item) for item in values.values()}
        if len(rows) != 1:
            raise UsageError(
                "the columns of this batch differ in length",
                str(self.path),
                "one length",
                str(rows),
            )
        return Batch(rows.pop(), values)

    def _column(self, field: pa.Field, value: Any) -> Values:
        fixed = self._file.fixed.get(field.name)
        if is_vector(field):
            return self._vector(field, value, fixed)
        names = self._file.names.get(field.name)
        if names is not None:
            array = names_values(field.name, value, names.names)
        else:
            array = arrow_array(field.name, value, field.type)
        if array.null_count and not field.nullable:
            raise UsageError(
                "a missing value in a required column",
                field.name,
                "a value in every row",
                "none",
                "Declare the column nullable in schema=.",
            )
        return stored_array(array, fixed) if fixed else array

    def _vector(self, field: pa.Field, value: Any, fixed: layouts.Fixed | None) -> Values:
        array = vector_values(field.name, value)
        self._check_shape(field, array)
        flat = np.ascontiguousarray(array).reshape(len(array), field.type.list_size)
        if not self._allow_nonfinite and not finite(flat):
            raise UsageError(
                "NaN or infinity among the vectors",
                field.name,
                "finite numbers",
                "some that are not",
                "Mend the core, or pass allow_nonfinite=True.",
            )
        if fixed:
            return flat
        return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=field.type)

    def _check_shape(self, field: pa.Field, array: np.ndarray) -> None:
        """Raise UsageError unless vectors have the type and the shape of those before them."""
        dtype = element_type(field)
        shape = self._shapes.setdefault(field.name, list(array.shape[1:]))
        if str(array.dtype) != dtype or list(array.shape[1:]) != shape or not array.ndim:
            raise UsageError(
                "vectors do not fit the column",
                field.name,
                f"{dtype} [n, {joined_dims(shape)}]",
                f"{array.dtype} [{joined_dims(array.shape)}]",
            )

    def _pending_rows(self) -> int:
        return sum(batch.rows for batch in self._pending)

    def _flush_full(self) -> None:
        # A full last group waits for one more row, so that a file's bytes do not depend on how
        # rows were batched.
        while self._pending_rows() > self._geometry.rows:
            self._flush(self._geometry.rows)

    def _flush(self, rows: int) -> None:
        """Write the first pending rows as a row group."""
        if not rows:
            return
        first, self._pending = split_batches(self._pending, rows)
        pieces = {}
        for name in first[0].values:
            pieces[name] = [batch.values[name] for batch in first]
        one_of_many = self._part or self._pending or self._file.groups
        self._file.place(pieces, rows, alone=not one_of_many)

    def _record(self) -> dict[str, str]:
        names = self._schema.names if self._schema else []
        return record_columns(self._declared, names)
