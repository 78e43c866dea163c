"""What a dataset takes over from the one that it is made of: metadata, attachments, rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.spec import file_rules
from dof_arrow.format.spec.arrow import element_type, is_vector
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.writer import Writer
from dof_arrow.tables.amended import Amended

_BATCH_BYTES = 32 << 20  # of vectors, counted as float32
# What the writer makes anew: of the metadata, of a column, of the provenance.
_MADE_ANEW = ("uuid", "errors", "documents", "splits", "version", "parts", "integrity")
_MADE_ANEW_OF_COLUMN = ("dtype", "layout", "statistics")
_MADE_ANEW_OF_PROVENANCE = ("generator", "run", "size")


def carried(rows: Dataset) -> dict[str, Json]:
    """The metadata of a dataset made from another, which is named as its parent."""
    value = renewed(to_json(rows.metadata), rows.schema)
    if isinstance(rows.table, Amended):
        return value  # which names its parent itself
    if rows.seal and not rows.derived:
        value["provenance"]["parents"] = [{"uuid": rows.metadata.uuid, "seal": rows.seal}]
    return value


def renewed(value: Mapping[str, Json], schema: pa.Schema) -> dict[str, Json]:
    """Metadata for another file of the same rows, whose columns are those of `schema`.

    Left out is what belongs to the old file alone, and what names columns that are not there.
    """
    here = set(schema.names)
    columns = {}
    for name, column in value.get("columns", {}).items():
        if name in here:
            columns[name] = _without(column, _MADE_ANEW_OF_COLUMN)
    targets = value.get("targets", {})
    record = value.get("record", {})
    return {
        **_without(value, _MADE_ANEW),
        "columns": columns,
        "targets": {name: target for name, target in targets.items() if name in here},
        "record": {role: name for role, name in record.items() if name in here},
        "provenance": _without(value.get("provenance", {}), _MADE_ANEW_OF_PROVENANCE),
    }


def attach(writer: Writer, rows: Dataset, errors: Sequence[Mapping[str, str]] | None) -> None:
    """Hand documents and errors on, by default all those of the rows.

    Those of a derived copy may be another file's and are not handed on.
    """
    if rows.derived:
        return
    for failure in rows.errors if errors is None else errors:
        writer.fail(**failure)
    for document in rows.metadata.documents:
        writer.attach(document.name, rows.document(document.name), document.media_type)


def write_rows(writer: Writer, rows: Dataset, schema: pa.Schema) -> None:
    """Write all rows of a dataset, its vectors cast to what the schema says.

    Raises UsageError if the schema has no column of ids, OutputError for too many rows.
    """
    layouts.check_rows(schema, len(rows), str(writer.path))
    id_name = rows.metadata.record.id
    wide = [field for field in schema if is_vector(field)]
    flat = [field.name for field in schema if not is_vector(field)]
    if id_name not in flat and len(rows):
        found = ", ".join(flat)
        raise UsageError("a dataset without ids", str(rows.path), f"a column {id_name}", found)
    for batch in batches(rows):
        vectors = {field.name: _cast_vectors(batch, field) for field in wide}
        columns = {name: batch.to_arrow([name]).column(0) for name in flat}
        writer.write(ids=columns.pop(id_name), vectors=vectors, columns=columns)


def check_rules(rows: Dataset, metadata: Metadata, schema: pa.Schema) -> None:
    """Raise FormatError if a file of these rows would not be valid, for whoever copies chunks."""
    where = str(rows.path)
    file_rules.refuse(file_rules.of_columns(metadata, schema), where)
    flat = {}
    for name in sorted(file_rules.named(metadata)):
        flat[name] = rows.to_arrow([name]).column(0).combine_chunks()
    file_rules.refuse(file_rules.of_rows(metadata, flat), where)


def batches(rows: Dataset) -> Iterator[Dataset]:
    """The rows, some 32 MiB of vectors at a time."""
    width = sum(field.type.list_size * 4 for field in rows.schema if is_vector(field))
    step = max(_BATCH_BYTES // max(width, 1), 1)
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _without(value: Mapping[str, Json], names: tuple[str, ...]) -> dict[str, Json]:
    return {name: item for name, item in value.items() if name not in names}


def _cast_vectors(batch: Dataset, field: pa.Field) -> np.ndarray[Any, Any]:
    # What float16 cannot hold becomes infinite, and the writer refuses it.
    with np.errstate(over="ignore"):
        values = batch.to_numpy(field.name).astype(element_type(field), copy=False)
    return values.reshape(len(batch), *batch.row_shape(field.name))
