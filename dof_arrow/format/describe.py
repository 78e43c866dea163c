"""What a writer says of a file by itself, beside what its caller declares (SPEC section 4)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from dof_arrow.format.parquet.row_groups import content_uuid, generator
from dof_arrow.format.spec.arrow import VECTOR_TYPES, element_type, is_vector
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import VERSION, Metadata, from_json

_RECORD = ("id", "view", "frame", "time", "group", "split")


@dataclass(slots=True)
class SplitCounts:
    """Rows and records of each split, counted as they pass; a record's rows stand together."""

    rows: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    last: str | None = None

    def add(self, ids: pa.Array, splits: pa.Array) -> None:
        """Count some rows: their ids, and the name of each row's split or null."""
        for name, record in zip(splits.to_pylist(), ids.to_pylist(), strict=False):
            if name is not None:
                self.rows[name] += 1
                self.records[name] += record != self.last
            self.last = record

    def sizes(self) -> dict[str, Json]:
        """The sizes as the metadata has them, by name of the split."""
        sizes: dict[str, Json] = {}
        for name in sorted(self.rows):
            sizes[name] = {"rows": self.rows[name], "records": self.records[name]}
        return sizes


def record_columns(declared: Mapping[str, Json], names: Sequence[str]) -> dict[str, str]:
    """Which columns identify the rows: those declared, and those of the usual names.

    >>> record_columns({"record": {"group": "patient"}}, ["id", "view", "patient"])
    {'id': 'id', 'view': 'view', 'group': 'patient'}
    """
    record = {"id": "id"}
    columns = declared.get("columns", {})
    for name in _RECORD:
        # A column of the owner's own may have such a name: the `view` of a radiograph.
        role = columns.get(name, {}).get("role", name)
        if name in names and role == name:
            record[name] = name
    return {**record, **declared.get("record", {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is known of a file's columns when it is finished: all that its metadata is made of.

    `shapes` are those of one row of each feature column; `mapped` names the mapped columns.
    """

    declared: Mapping[str, Json]
    schema: pa.Schema
    shapes: Mapping[str, Sequence[int]]
    mapped: Collection[str]

    def metadata(
        self, placed: Mapping[str, Json], counts: SplitCounts, digests: Sequence[bytes]
    ) -> Metadata:
        """The metadata of the file, with its attachments `placed` and its chunks' `digests`.

        Raises FormatError if what the caller declared is not valid.
        """
        columns = {field.name: self._column(field) for field in self.schema}
        value = {"version": VERSION, **self.declared, **placed, "columns": columns}
        first_feature = next(filter(is_vector, self.schema))
        value.setdefault("primary_column", first_feature.name)
        value["record"] = self._record()
        if counts.rows:
            value["splits"] = counts.sizes()
        cores = [core["sha256"] for core in value.get("cores", {}).values()]
        value["uuid"] = content_uuid(digests, cores)
        provenance = value.get("provenance", {})
        if "inputs" in provenance:  # what failed is known when the last input was met
            failed = placed.get("errors", {}).get("rows", 0)
            provenance = {"failed": failed, **provenance}
        value["provenance"] = {**_created(), **provenance, "generator": generator()}
        return from_json(value)

    def _column(self, field: pa.Field) -> Json:
        layout = "mapped" if field.name in self.mapped else "encoded"
        value: Json = {
            "role": self._role(field),
            "dtype": element_type(field),
            "layout": layout,
        }
        if is_vector(field):
            value["shape"] = self.shapes.get(field.name) or [field.type.list_size]
        declared = self.declared.get("columns", {})
        value.update(declared.get(field.name, {}))
        # These are facts, whatever is declared.
        value.update(dtype=element_type(field), layout=layout)
        return value

    def _role(self, field: pa.Field) -> str:
        if is_vector(field) and element_type(field) in VECTOR_TYPES:
            return "feature"
        for role, name in self._record().items():
            if name == field.name:
                return role
        if field.name == "processing":
            return "processing"
        return "target" if field.name in self.declared.get("targets", {}) else "kept"

    def _record(self) -> dict[str, str]:
        return record_columns(self.declared, self.schema.names)


def _created() -> dict[str, str]:
    # No clock in a file unless the reproducible-builds variable sets it: equal inputs give equal
    # bytes.
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch.isdecimal():
        return {}
    return {"created": datetime.fromtimestamp(int(epoch), UTC).isoformat()}
