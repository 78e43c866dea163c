"""Datasets with different columns as one: columns by name, numbers widened, classes by name.

What a column is to be follows from what it is declared as in each dataset. Two hospitals need not
have the same columns or classes; they need the same cores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.arrow import element_type, is_vector, with_metadata
from dof_arrow.format.spec.metadata import TYPES, Column, CoreMetadata, Metadata, Record, Target
from dof_arrow.tables.selection import Selection, United, chunked

Array = NDArray[Any]

_ROLES = ("id", "view", "frame", "time", "group", "split", "target", "kept", "processing")
_LISTED = 20
_TOLERANCE = 1e-3  # of a row's largest magnitude (SPEC section 10)
_AT_ONCE = 1 << 14  # rows whose vectors are compared at a time
# What makes a core what it is; its name, source and licence may be told in other words.
_CORE = ("sha256", "preprocessing", "input", "pool")


def are_alike(parts: Sequence[Selection]) -> bool:
    """Whether all have the same columns, and mean the same by them."""
    first = parts[0].table
    for part in parts[1:]:
        other = part.table
        if not first.schema.equals(other.schema, check_metadata=False):
            return False
        if first.metadata.targets != other.metadata.targets:
            return False
        if _problems(first, other):
            return False
    return True


def united(parts: Sequence[Selection]) -> tuple[United, list[str]]:
    """The rows of all, one after the other, and sentences on what is missing or was widened.

    Raises UsageError that names all that cannot be united.
    """
    check(parts)
    form = _Form(parts)
    flat = form.flat()
    about = form.metadata()
    schema = with_metadata(pa.schema(form.fields()), about)
    return United(parts=parts, flat=flat, schema=schema, metadata=about), form.notes


def check(parts: Sequence[Selection]) -> None:
    """Raise UsageError unless the rows can stand in one dataset; it names all that is against it."""
    first = parts[0].table
    for part in parts[1:]:
        found = _problems(first, part.table)
        if found:
            raise _other_kind(str(part.table.path), str(first.path), found)


def _other_kind(where: str, whose: str, found: Sequence[str]) -> UsageError:
    shown = list(found[:_LISTED])
    if len(found) > _LISTED:
        shown.append(f"and {len(found) - _LISTED} more")
    return UsageError(
        "of another kind, the columns differ",
        where,
        f"what {whose} is",
        "; ".join(shown),
        "Extract both with the same cores. A kept column of another type: correct the table, or "
        "leave it out of --keep.",
    )


# What cannot be united


def _problems(first: Any, other: Any) -> list[str]:
    ours, theirs = first.metadata, other.metadata
    found = _record_problems(ours, theirs)
    found += _feature_problems(first, other)
    found += _target_problems(ours, theirs)
    for name in first.schema.names:
        if name in other.schema.names and _is_plain(first, name) and _is_plain(other, name):
            kinds = (first.schema.field(name).type, other.schema.field(name).type)
            if _widened(*kinds) is None:
                found.append(f"the column {name}: {kinds[1]} instead of {kinds[0]}")
    return found


def _record_problems(ours: Metadata, theirs: Metadata) -> list[str]:
    found = []
    if ours.privacy and theirs.privacy and ours.privacy.ids != theirs.privacy.ids:
        found.append(f"how records are named: {theirs.privacy.ids} instead of {ours.privacy.ids}")
    for role in ("id", "view", "frame", "time", "group", "split"):
        names = (getattr(ours.record, role), getattr(theirs.record, role))
        both = None not in names or role in ("frame", "time")
        if both and names[0] != names[1]:
            found.append(
                f"the column of the role {role}: {names[1] or 'none'} instead of "
                f"{names[0] or 'none'}"
            )
    return found


def _feature_problems(first: Any, other: Any) -> list[str]:
    ours, theirs = _features(first), _features(other)
    found = []
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in ours or name not in theirs:
            whose = first if name in ours else other
            found.append(f"the feature column {name} is in {whose.path.name} alone")
            continue
        widths = (ours[name].type.list_size, theirs[name].type.list_size)
        shapes = (_shape(first.metadata, name), _shape(other.metadata, name))
        if widths[0] != widths[1] or shapes[0] != shapes[1]:
            found.append(f"the column {name}: {widths[1]} numbers a row instead of {widths[0]}")
        found += _core_problems(name, first.metadata, other.metadata)
    return found


def _core_problems(name: str, ours: Metadata, theirs: Metadata) -> list[str]:
    first, other = _core(ours, name), _core(theirs, name)
    if first is None or other is None:
        if first is other:
            return []
        return [f"the core of {name} is named in one of them alone"]
    if first.sha256 != other.sha256:
        return [
            f"the column {name} is of the core {other.name}, sha256 {other.sha256[:16]}…, instead "
            f"of {first.name}, sha256 {first.sha256[:16]}…"
        ]
    parted = [each for each in _CORE if getattr(first, each) != getattr(other, each)]
    return [f"the core of {name}: its {each} is another" for each in parted]


def _target_problems(ours: Metadata, theirs: Metadata) -> list[str]:
    found = []
    for name in dict.fromkeys([*ours.columns, *theirs.columns]):
        if name not in ours.columns or name not in theirs.columns:
            continue
        roles = (ours.columns[name].role, theirs.columns[name].role)
        targets = (ours.targets.get(name), theirs.targets.get(name))
        if roles[0] != roles[1]:
            found.append(f"the column {name} is {roles[1]} instead of {roles[0]}")
        elif targets[0] and targets[1] and _kind(targets[0]) != _kind(targets[1]):
            found.append(f"the target {name}: {_kind(targets[1])} instead of {_kind(targets[0])}")
    return found


def _kind(target: Target) -> str:
    return f"{target.kind} in {target.unit}" if target.unit else target.kind


def _features(table: Any) -> dict[str, pa.Field]:
    return {each.name: each for each in table.schema if is_vector(each)}


def _is_plain(table: Any, name: str) -> bool:
    """Whether a column's values mean the same by themselves: no vector, class or processing."""
    each = table.schema.field(name)
    target = table.metadata.targets.get(name)
    has_classes = target is not None and bool(target.classes)
    return not (is_vector(each) or has_classes or _is_processing(table.metadata, each))


def _is_processing(about: Metadata, each: pa.Field) -> bool:
    return _role(about, each.name) == "processing" and pa.types.is_struct(each.type)


# What metadata says of a column; that of a file that another tool wrote may not name it.


def _role(about: Metadata, name: str) -> str:
    return about.columns[name].role if name in about.columns else "kept"


def _shape(about: Metadata, name: str) -> Any:
    return about.columns[name].shape if name in about.columns else None


def _core(about: Metadata, name: str) -> CoreMetadata | None:
    column = about.columns.get(name)
    return None if column is None else about.cores.get(column.core or "")


def _widened(ours: pa.DataType, theirs: pa.DataType) -> pa.DataType | None:
    """The type that holds values of both, None if there is none.

    >>> _widened(pa.int32(), pa.int64()), _widened(pa.int8(), pa.float32())
    (DataType(int64), DataType(double))
    """
    if ours == theirs or pa.types.is_null(theirs):
        return ours
    if pa.types.is_null(ours):
        return theirs
    if _is_text(ours) and _is_text(theirs):
        return pa.large_string() if pa.large_string() in (ours, theirs) else pa.string()
    if pa.types.is_integer(ours) and pa.types.is_integer(theirs):
        return pa.int64()
    numbers = [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (ours, theirs)]
    return pa.float64() if all(numbers) else None


def _is_text(kind: pa.DataType) -> bool:
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(values) or pa.types.is_large_string(values))


# What the whole is


class _Form:
    """The columns that several datasets have together."""

    def __init__(self, parts: Sequence[Selection]) -> None:
        self._parts = parts
        self.notes: list[str] = []

    @cached_property
    def _abouts(self) -> list[Metadata]:
        return [part.table.metadata for part in self._parts]

    @cached_property
    def names(self) -> list[str]:
        """All columns: those of each role as the datasets have them, the vectors last."""
        found: dict[str, int] = {}
        for part in self._parts:
            for each in part.table.schema:
                role = _role(part.table.metadata, each.name)
                place = _ROLES.index(role) if role in _ROLES else len(_ROLES)
                found.setdefault(each.name, place)
        return sorted(found, key=lambda name: found[name])

    @cached_property
    def targets(self) -> dict[str, Target]:
        """All targets; classes in the order of the first dataset that has them."""
        found: dict[str, Target] = {}
        for about in self._abouts:
            for name, target in about.targets.items():
                known = found.setdefault(name, target)
                classes = tuple(dict.fromkeys([*known.classes, *target.classes]))
                if len(classes) > len(known.classes):
                    new = ", ".join(classes[len(known.classes) :])
                    self.notes.append(f"{name}: the classes {new} are new")
                found[name] = replace(known, classes=classes)
        return found

    def metadata(self) -> Metadata:
        """What holds for all rows; sizes of splits are left out."""
        columns = {}
        for name in self.names:
            if any(name in about.columns for about in self._abouts):
                columns[name] = self._column(name)
        roles: dict[str, str] = {}
        for about in self._abouts:
            for role in Record.__slots__:
                if getattr(about.record, role) is not None:
                    roles.setdefault(role, getattr(about.record, role))
        return replace(
            self._abouts[0],
            columns=columns,
            targets={name: self.targets[name] for name in self.names if name in self.targets},
            record=Record(**roles),
        )

    def _column(self, name: str) -> Column:
        about = next(about for about in self._abouts if name in about.columns)
        field = self._field(name)
        described = replace(about.columns[name], dtype=element_type(field), statistics={})
        return described if is_vector(field) else replace(described, layout="encoded")

    def _fields_of(self, name: str) -> list[pa.Field]:
        schemas = [part.table.schema for part in self._parts]
        return [schema.field(name) for schema in schemas if name in schema.names]

    def _field(self, name: str) -> pa.Field:
        """The field of a column, wide enough for all; nullable where a dataset lacks it."""
        given = self._fields_of(name)
        nullable = len(given) < len(self._parts) or any(each.nullable for each in given)
        if name in self._never_null:
            nullable = False
        return pa.field(name, self._kind(name, given), nullable)

    @property
    def _never_null(self) -> set[str | None]:
        records = [about.record for about in self._abouts]
        return set(chain.from_iterable((each.id, each.view) for each in records))

    def _kind(self, name: str, given: Sequence[pa.Field]) -> pa.DataType:
        if any(map(is_vector, given)):
            return max(given, key=lambda each: each.type.value_type.bit_width).type
        if all(_is_processing(about, each) for about, each in self._described(name)):
            return _struct([each.type for each in given])
        kind = given[0].type
        for each in given[1:]:
            kind = _widened(kind, each.type) or kind
        if name in self.targets and self.targets[name].classes:
            kind = given[0].type
            if pa.types.is_integer(kind) and len(given) > 1:
                kind = max((each.type for each in given), key=_width)
        return kind

    def _described(self, name: str) -> list[tuple[Metadata, pa.Field]]:
        found = []
        for part in self._parts:
            if name in part.table.schema.names:
                found.append((part.table.metadata, part.table.schema.field(name)))
        return found

    def fields(self) -> list[pa.Field]:
        """All columns, in order."""
        return [self._field(name) for name in self.names]

    def flat(self) -> dict[str, pa.ChunkedArray]:
        """All columns but vectors, of all datasets, one after the other."""
        found: dict[str, pa.ChunkedArray] = {}
        for name in self.names:
            field = self._field(name)
            if is_vector(field):
                continue
            chunks: list[pa.Array] = []
            for part in self._parts:
                chunks += chunked(self._brought(part, field)).chunks
            found[name] = pa.chunked_array(chunks, field.type)
        return found

    def _brought(self, part: Selection, field: pa.Field) -> Any:
        """A column of one dataset in the type of all."""
        about, schema = part.table.metadata, part.table.schema
        name = field.name
        if name not in schema.names:
            return self._absent(part, field)
        column = part.array(name)
        if _is_processing(about, schema.field(name)):
            return _refitted(column, field.type, about)
        target = about.targets.get(name)
        if target is not None and target.classes:
            return _recoded(column, target.classes, self.targets[name].classes, field.type)
        try:
            return column.cast(field.type)
        except pa.ArrowInvalid as error:
            raise _other_kind(
                str(part.table.path),
                str(self._parts[0].table.path),
                [f"the column {name}: {str(error)[:200]}"],
            ) from None

    def _absent(self, part: Selection, field: pa.Field) -> pa.Array:
        """Values of a column that a dataset does not have: missing; its rows are plain views."""
        name, count = field.name, len(part)
        if name == self.metadata().record.view:
            return pa.array(np.zeros(count, np.int16)).cast(field.type)
        if pa.types.is_struct(field.type):
            return _common(part.table.metadata, field.type, count)
        self.notes.append(f"{part.table.path.name} has no column {name}: missing in its rows")
        return pa.nulls(count, field.type)


def _width(kind: pa.DataType) -> int:
    return int(kind.bit_width)


# Columns brought into the form of all


def _recoded(
    column: Any, ours: Sequence[str], classes: Sequence[str], kind: pa.DataType
) -> pa.ChunkedArray:
    """A category's or a multilabel's values by the united classes."""
    column = chunked(column)
    if column.type == kind and tuple(ours) == tuple(classes) and not pa.types.is_dictionary(kind):
        return column
    place = {name: code for code, name in enumerate(classes)}
    new = pa.array([place[name] for name in ours], pa.int64())
    if pa.types.is_list(kind):
        return pa.chunked_array([_relisted(each, new, kind) for each in column.chunks], kind)
    chunks = [_as_kind(new.take(_codes(each, ours)), classes, kind) for each in column.chunks]
    return pa.chunked_array(chunks, kind)


def _codes(column: pa.Array, classes: Sequence[str]) -> pa.Array:
    """The code of each value, which is a code or a name."""
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type):
        return column
    names = column.cast(pa.string())
    return pc.index_in(names, value_set=pa.array(classes, pa.string()), skip_nulls=True)


def _as_kind(codes: pa.Array, classes: Sequence[str], kind: pa.DataType) -> pa.Array:
    if pa.types.is_integer(kind):
        return codes.cast(kind)
    names = pa.array(classes, pa.string())
    if not pa.types.is_dictionary(kind):
        return names.take(codes).cast(kind)
    return pa.DictionaryArray.from_arrays(codes.cast(kind.index_type), names.cast(kind.value_type))


def _relisted(column: pa.Array, new: pa.Array, kind: pa.DataType) -> pa.Array:
    values = new.take(column.flatten()).cast(kind.value_type)
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    offsets = pa.array(ends, mask=np.append(_nulls(column), False))
    return pa.ListArray.from_arrays(offsets, values).cast(kind)


def _nulls(column: pa.Array) -> Array:
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def _struct(kinds: Sequence[pa.DataType]) -> pa.DataType:
    """A struct with the fields of all: facts in their usual order, then what was drawn."""
    fields: dict[str, pa.DataType] = {}
    for each in chain.from_iterable(kinds):
        kind = _widened(fields.get(each.name, each.type), each.type)
        fields[each.name] = kind or each.type
    names = sorted(fields, key=lambda name: [*TYPES, name].index(name))
    return pa.struct([(name, fields[name]) for name in names])


def _refitted(column: Any, kind: pa.DataType, about: Metadata) -> pa.ChunkedArray:
    """A struct with more fields; a fact that all inputs of a dataset share stands in each row."""
    chunks = []
    for chunk in chunked(column).chunks:
        own = {each.name: chunk.field(each.name) for each in chunk.type}
        values = []
        for each in kind:
            value = own.get(each.name)
            if value is None:
                value = _shared(about, each, len(chunk))
            values.append(value.cast(each.type))
        chunks.append(pa.StructArray.from_arrays(values, fields=list(kind)))
    return pa.chunked_array(chunks, kind)


def _common(about: Metadata, kind: pa.DataType, count: int) -> pa.Array:
    values = [_shared(about, each, count) for each in kind]
    return pa.StructArray.from_arrays(values, fields=list(kind))


def _shared(about: Metadata, field: pa.Field, count: int) -> pa.Array:
    raw = {} if about.provenance is None else about.provenance.raw
    value = raw.get(field.name)
    if value is None or isinstance(value, dict) or field.name not in TYPES:
        return pa.nulls(count, field.type)
    return pa.repeat(pa.scalar(value, field.type), count)


# One row for each input


def unique(parts: Sequence[Selection], whole: United) -> tuple[United, list[str]]:
    """The rows, each input's once: of rows of one id the first, with what later ones add to it.

    Raises UsageError where one id has different vectors, or one group is in two splits.
    """
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    first = _first_rows(whole)
    later = np.flatnonzero((first < np.arange(len(first))) & (owner[first] < owner))
    _check_vectors(whole, first[later], later, parts, owner)
    flat = _filled(whole, first[later], later, parts, owner)
    _check_groups(whole, flat, parts, owner)
    if not len(later):
        return whole, []
    kept = np.ones(len(first), bool)
    kept[later] = False
    chosen = []
    for number, part in enumerate(parts):
        chosen.append(part.at(np.flatnonzero(kept[owner == number])))
    remaining = {name: column.filter(pa.array(kept)) for name, column in flat.items()}
    note = f"{len(later):,} rows are in several datasets: taken once"
    return replace(whole, parts=chosen, flat=remaining), [note]


def _first_rows(whole: United) -> Array:
    """The first row of the same id, view and frame, for each row."""
    record = whole.metadata.record
    keys = (record.id, record.view, record.frame)
    names = [name for name in keys if name is not None and name in whole.flat]
    codes = np.zeros(whole.rows, np.int64)
    for name in names:
        encoded = whole.flat[name].combine_chunks().dictionary_encode()
        own = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        codes = codes * (len(encoded.dictionary) + 1) + own
    _, starts, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.asarray(starts[inverse])


def _check_vectors(
    whole: United, first: Array, later: Array, parts: Sequence[Selection], owner: Array
) -> None:
    differing = np.zeros(len(later), bool)
    for field in whole.schema:
        if is_vector(field):
            for start in range(0, len(later), _AT_ONCE):
                some = slice(start, start + _AT_ONCE)
                ours = whole.values(field.name, first[some]).astype(np.float32)
                theirs = whole.values(field.name, later[some]).astype(np.float32)
                largest = np.abs(ours).max(axis=1, initial=0)
                off = np.abs(ours - theirs).max(axis=1, initial=0)
                differing[some] |= ~(off <= _TOLERANCE * largest)
    if differing.any():
        rows = (first[differing], later[differing])
        raise UsageError(
            "different inputs under one id",
            str(parts[owner[rows[1][0]]].table.path),
            f"ids that {parts[owner[rows[0][0]]].table.path} does not have, or equal features",
            f"{len(rows[0]):,} rows whose features are others",
            "Two folders with equal names give equal ids under one key: extract one of them anew "
            "with --site NAME, which goes into its ids.",
        )


def _filled(
    whole: United, first: Array, later: Array, parts: Sequence[Selection], owner: Array
) -> dict[str, pa.ChunkedArray]:
    """The flat columns, where later rows of an input say what the first one leaves open.

    Raises UsageError for what they say otherwise.
    """
    flat = dict(whole.flat)
    if not len(later):
        return flat
    contradicted = []
    for name, column in flat.items():
        if pa.types.is_struct(column.type) or name in (whole.metadata.record.time,):
            continue
        ours, theirs = column.take(pa.array(first)), column.take(pa.array(later))
        missing = _nulls_of(ours) & ~_nulls_of(theirs)
        both = ~_nulls_of(ours) & ~_nulls_of(theirs)
        unequal = [a != b for a, b in zip(ours.to_pylist(), theirs.to_pylist(), strict=True)]
        count = int((both & np.array(unequal)).sum())
        if count:
            contradicted.append(f"{name} in {count:,}")
        if missing.any():
            places = np.arange(len(column))
            places[first[missing]] = later[missing]
            flat[name] = column.take(pa.array(places))
    if contradicted:
        raise UsageError(
            "rows of one id say different things",
            str(parts[owner[later[0]]].table.path),
            f"what {parts[owner[first[0]]].table.path} says of the same inputs, or nothing",
            ", ".join(contradicted),
            "Correct one of the tables and extract it anew, or leave these rows out.",
        )
    return flat


def _nulls_of(column: pa.ChunkedArray) -> Array:
    return np.asarray(column.is_null().to_numpy())


def _check_groups(
    whole: United,
    flat: Mapping[str, pa.ChunkedArray],
    parts: Sequence[Selection],
    owner: Array,
) -> None:
    """Raise UsageError where a group is in one split here and in another there."""
    record = whole.metadata.record
    if record.group is None or record.split is None:
        return
    groups = flat[record.group].to_pylist()
    sides = flat[record.split].to_pylist()
    known: defaultdict[str, dict[str, int]] = defaultdict(dict)
    parted: dict[str, int] = {}
    for group, side, number in zip(groups, sides, owner.tolist(), strict=True):
        if group is None or side is None:
            continue
        owners = known[group]
        owners.setdefault(side, number)
        if any(other != number for other in owners.values()) and len(owners) > 1:
            parted.setdefault(group, number)
    if parted:
        raise UsageError(
            "groups that are in another split elsewhere",
            str(parts[next(iter(parted.values()))].table.path),
            "each group in one split",
            f"{len(parted):,} groups in several",
            f"Extract it anew with --split-from {parts[0].table.path}, which keeps their splits.",
        )
