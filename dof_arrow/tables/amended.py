"""A table with other columns: some added or replaced, some left out, some called otherwise.

The rows stay what they are. What the new columns are is told by `targets`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.batch import arrow_array, inferred_field, names_field, names_values
from dof_arrow.format.columns import Places
from dof_arrow.format.file import State
from dof_arrow.format.named import from_array
from dof_arrow.format.spec.arrow import element_type, is_vector, numpy_values, with_metadata
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import (
    Column,
    Metadata,
    Parent,
    Provenance,
    Record,
    Target,
    from_json,
)
from dof_arrow.format.spec.names import categories
from dof_arrow.tables.gather import Gather
from dof_arrow.tables.named_columns import check_names
from dof_arrow.tables.selection import Selection
from dof_arrow.tables.split_sizes import check_groups, split_sizes

Array = NDArray[Any]

_OF_ROWS = ("id", "view", "frame")  # what tells rows apart stays
_TAKEN_UP = ("group", "split")  # what a new column of such a name is for


@dataclass(frozen=True, kw_only=True, eq=False)
class Amended:
    """A selection with other columns.

    `names` says for each column its name in the selection, None for one of `fresh`.
    """

    base: Selection
    names: Mapping[str, str | None]
    fresh: Mapping[str, pa.Array]
    schema: pa.Schema
    metadata: Metadata

    @property
    def inner(self) -> Sequence[Selection]:
        """The selection."""
        return [self.base]

    @property
    def path(self) -> Any:
        """The file of the selection."""
        return self.base.table.path

    @property
    def rows(self) -> int:
        """Rows of the selection."""
        return len(self.base)

    @property
    def state(self) -> State:
        """That of the selection's file."""
        return self.base.table.state

    @property
    def seal(self) -> None:
        """None: what is in memory has no seal."""

    def attachment(self, offset: int, length: int) -> bytes:
        """Bytes attached to the selection's file."""
        return self.base.table.attachment(offset, length)

    def values(self, name: str, rows: Places, *, writable: bool = False) -> Array:
        """Rows of a column."""
        own = self.names[name]
        if own is not None:
            return self.base.at(rows).values(own, writable=writable)
        field = self.schema.field(name)
        classes = categories(self.metadata).get(name)
        if classes is None:
            return numpy_values(self.fresh[name], field)[rows]
        named = from_array(self.fresh[name], classes, nullable=field.nullable)
        return named.checked(f"target {name}")[rows]

    def array(self, name: str, rows: Places) -> pa.Array | pa.ChunkedArray:
        """Rows of a column as Arrow has them."""
        own = self.names[name]
        if own is not None:
            return self.base.at(rows).array(own)
        values = self.fresh[name]
        return values[rows] if isinstance(rows, slice) else values.take(pa.array(rows))

    def gather(self, name: str) -> Gather:
        """That of the selection."""
        return self.base.gather(self.names[name] or name)


def with_columns(
    base: Selection, columns: Mapping[str, Any], targets: Mapping[str, Target]
) -> Amended:
    """A selection with columns added or replaced, and with some declared as targets.

    Raises UsageError for values that do not fit, and for columns that tell rows apart or are
    vectors.
    """
    before = _as_amended(base)
    fresh = {name: _fresh(before, name, values) for name, values in columns.items()}
    names: dict[str, str | None] = {**before.names, **dict.fromkeys(fresh)}
    unknown = [name for name in targets if name not in names]
    if unknown:
        raise _no_such(before, unknown)
    _check_apart(before.metadata.record, targets)
    fields = {field.name: field for field in before.schema}
    named = _names(before.metadata, targets)
    for name, values in fresh.items():
        if name in named:
            fields[name] = names_field(name, values, named[name], None)
            fresh[name] = names_values(name, values, named[name])
        else:
            fields[name] = inferred_field(name, values)
            if name in ("group", before.metadata.record.group):
                fields[name] = _text_field(name, values)
    return _amended(before, names, {**before.fresh, **fresh}, fields, targets, [*fresh])


def without_columns(base: Selection, names: Sequence[str]) -> Amended:
    """A selection without some columns; UsageError for those that a dataset needs."""
    before = _as_amended(base)
    unknown = [name for name in names if name not in before.names]
    if unknown:
        raise _no_such(before, unknown)
    kept = {name: own for name, own in before.names.items() if name not in names}
    fields = {name: before.schema.field(name) for name in kept}
    _check_needed(before, names, fields)
    fresh = {name: values for name, values in before.fresh.items() if name in kept}
    return _amended(before, kept, fresh, fields, {}, [])


def only_columns(base: Selection, names: Sequence[str]) -> Amended:
    """A selection with these columns, what tells rows apart, and vectors; UsageError as above."""
    before = _as_amended(base)
    unknown = [name for name in names if name not in before.names]
    if unknown:
        raise _no_such(before, unknown)
    record = before.metadata.record
    kept = {*names, *(getattr(record, role) for role in _OF_ROWS)}
    if not any(is_vector(before.schema.field(name)) for name in names):
        kept.add(before.metadata.primary_column)
    return without_columns(base, [name for name in before.names if name not in kept])


def renamed(base: Selection, names: Mapping[str, str]) -> Amended:
    """A selection with columns called otherwise, by their old names; their roles stay."""
    if not isinstance(names, Mapping):
        raise UsageError("no names of columns", "rename", '{"old": "new"}', repr(names)[:80])
    before = _as_amended(base)
    unknown = [name for name in names if name not in before.names]
    if unknown:
        raise _no_such(before, unknown)
    check_names(names.values())
    called = {name: names.get(name, name) for name in before.names}
    _check_distinct(before, list(called.values()))
    fields = {}
    for old, new in called.items():
        fields[new] = before.schema.field(old).with_name(new)
    about = _renamed_metadata(before.metadata, called)
    return Amended(
        base=before.base,
        names={called[name]: own for name, own in before.names.items()},
        fresh={called[name]: values for name, values in before.fresh.items()},
        schema=with_metadata(pa.schema(list(fields.values())), about),
        metadata=about,
    )


def _as_amended(base: Selection) -> Amended:
    """A selection as an amended one; one that is amended already is not wrapped once more."""
    table = base.table
    if isinstance(table, Amended):
        if base.is_whole:
            return table
        fresh = {name: table.array(name, base.places) for name in table.fresh}
        about = _of_some(table.metadata, base)
        return replace(table, base=table.base.at(base.places), fresh=fresh, metadata=about)
    about = replace(table.metadata, provenance=_made_of(base))
    if not base.is_whole:
        about = _of_some(about, base)
    names: dict[str, str | None] = {name: name for name in table.schema.names}
    return Amended(base=base, names=names, fresh={}, schema=table.schema, metadata=about)


def _of_some(about: Metadata, base: Selection) -> Metadata:
    """Metadata without what is said of all rows of the file; splits are those of these rows."""
    return replace(about, errors=None, documents=(), splits=split_sizes(base, about.record))


def _made_of(base: Selection) -> Provenance:
    table = base.table
    about = table.metadata.provenance or Provenance(generator="dof_arrow")
    parents = (Parent(uuid=table.metadata.uuid, seal=table.seal),)
    return replace(about, parents=parents)


def _fresh(before: Amended, name: str, values: Any) -> pa.Array:
    """The values of a new column, one a row."""
    field = before.schema.field(name) if name in before.names else None
    record = before.metadata.record
    needed = {getattr(record, role) for role in _OF_ROWS}
    needed.update(_OF_ROWS)
    if name in needed or (field is not None and is_vector(field)):
        raise UsageError(
            "this column is not replaced",
            f"column {name}",
            "labels, groups, splits and columns of your own",
            "what tells rows apart, or vectors",
            "Write vectors as a file of their own, and put both side by side: ds.join(other).",
        )
    array = arrow_array(name, values)
    if len(array) != before.rows:
        raise UsageError(
            "a column of another length", f"column {name}", f"{before.rows} rows", str(len(array))
        )
    return array


def _text_field(name: str, values: pa.Array) -> pa.Field:
    """The field of groups: integers become texts; UsageError for numbers such as 1.0 and NaN."""
    if pa.types.is_floating(values.type) or pa.types.is_nested(values.type):
        raise UsageError("groups are texts or integers", name, "one a row", str(values.type))
    return pa.field(name, pa.string())


def _names(before: Metadata, targets: Mapping[str, Target]) -> dict[str, tuple[str, ...] | None]:
    """Which new columns hold names: the classes of a category, None for the split."""
    found: dict[str, tuple[str, ...] | None] = {before.record.split or "split": None}
    for name, target in targets.items():
        found[name] = target.classes if target.kind == "category" else ()
    return {name: names for name, names in found.items() if names != ()}


def _amended(
    before: Amended,
    names: Mapping[str, str | None],
    fresh: Mapping[str, pa.Array],
    fields: Mapping[str, pa.Field],
    targets: Mapping[str, Target],
    new: Sequence[str],
) -> Amended:
    fresh = dict(fresh)
    for name in fresh:
        fresh[name] = arrow_array(name, fresh[name], fields[name].type)
    about = _metadata(before.metadata, fields, targets, new)
    made = Amended(
        base=before.base,
        names=names,
        fresh=fresh,
        schema=with_metadata(pa.schema(list(fields.values())), about),
        metadata=about,
    )
    if about.record.split not in new:
        return made
    rows = Selection(made, slice(0, made.rows))
    check_groups(rows, about.record)
    about = replace(about, splits=split_sizes(rows, about.record))
    return replace(made, metadata=about, schema=with_metadata(made.schema, about))


def _metadata(
    before: Metadata,
    fields: Mapping[str, pa.Field],
    targets: Mapping[str, Target],
    new: Sequence[str],
) -> Metadata:
    """The metadata of the columns `fields`, of which `new` are not what they were."""
    known = {name: target for name, target in before.targets.items() if name not in new}
    known = {name: target for name, target in {**known, **targets}.items() if name in fields}
    record = {"id": before.record.id}
    for role, name in to_json(before.record).items():
        if name in fields and name not in known:
            record[role] = name
    for role in _TAKEN_UP:
        if role in new and role not in known:
            record.setdefault(role, role)
    roles = {name: role for role, name in record.items()}
    columns = {}
    for name, field in fields.items():
        own = "target" if name in known else roles.get(name, "kept")
        columns[name] = _column(before.columns.get(name), field, own, name in new)
    features = [name for name, column in columns.items() if column.role == "feature"]
    primary = before.primary_column
    return replace(
        before,
        uuid=str(uuid5(UUID(before.uuid), " ".join([*fields, "/", *new]))),
        primary_column=primary if primary in features else features[0],
        columns=columns,
        targets=known,
        record=from_json(record, type(before.record)),
        splits=before.splits if before.record.split in record.values() else {},
    )


def _column(before: Column | None, field: pa.Field, role: Any, is_new: bool) -> Column:
    if before is None or is_new:
        return Column(role=role, dtype=element_type(field), layout="encoded")
    if before.role in ("feature", "processing"):
        return before
    return replace(before, role=role)


def _check_apart(record: Record, targets: Mapping[str, Target]) -> None:
    """Refuse a target that says which rows belong together: they would be parted without it."""
    for role in _TAKEN_UP:
        name = getattr(record, role)
        if name in targets:
            raise UsageError(
                f"the column of {role}s is no target",
                f"target {name}",
                "a column of its own",
                hint=f'ds.with_columns({{"label": ds.to_arrow([{name!r}])[{name!r}]}}, '
                'targets="label") has both.',
            )


def _check_needed(before: Amended, names: Sequence[str], fields: Mapping[str, pa.Field]) -> None:
    record = before.metadata.record
    needed = {getattr(record, role) for role in _OF_ROWS}
    left = [field for field in fields.values() if is_vector(field)]
    wrong = [name for name in names if name in needed]
    if wrong or not left:
        raise UsageError(
            "a dataset needs these columns",
            str(before.path),
            "columns that neither tell rows apart nor are the last vectors",
            ", ".join(wrong or names),
        )


def _check_distinct(before: Amended, names: Sequence[str]) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UsageError("two columns of one name", str(before.path), found=", ".join(twice))


def _renamed_metadata(before: Metadata, called: Mapping[str, str]) -> Metadata:
    record = {role: called.get(name, name) for role, name in to_json(before.record).items()}
    columns = {called[name]: column for name, column in before.columns.items() if name in called}
    targets = {called[name]: target for name, target in before.targets.items() if name in called}
    return replace(
        before,
        uuid=str(uuid5(UUID(before.uuid), " ".join(columns))),
        primary_column=called.get(before.primary_column, before.primary_column),
        columns=columns,
        targets=targets,
        record=from_json({"id": called.get("id", "id"), **record}, type(before.record)),
    )


def _no_such(before: Amended, names: Sequence[str]) -> UsageError:
    known = ", ".join(before.names)
    return UsageError("no such column", str(before.path), known, ", ".join(map(str, names)))
