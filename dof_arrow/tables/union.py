"""Datasets with different columns as one: columns by name, numbers widened, classes by name.

What a column is to be follows from what it is declared as in each dataset. Two hospitals need not
have the same columns or classes; they need the same cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError, few
from dof_arrow.format.spec.arrow import element_type, is_vector, with_metadata
from dof_arrow.format.spec.metadata import (
    TYPES,
    ClaimedCore,
    Column,
    CoreMetadata,
    Metadata,
    Record,
    Target,
)
from dof_arrow.format.spec.names import (
    NAMES,
    UnknownName,
    code_array,
    codes_or_missing,
    holds_names,
    names_array,
    text_array,
)
from dof_arrow.format.spec.references import RECORD_ROLES
from dof_arrow.tables.selection import Selection, Table, United, chunked

Array = NDArray[Any]
AnyCore = CoreMetadata | ClaimedCore

_ROLES = (*RECORD_ROLES, "target", "kept", "processing")
_SHARED_ROLES = ("bag", "frame", "time")  # that all have or none has
_LISTED = 20
_LISTS = pa.list_(pa.int64())
_ROOMY = (NAMES, pa.int64(), _LISTS)  # types of classes that hold any number of them
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
    about = form.metadata
    schema = with_metadata(pa.schema(form.fields()), about)
    return United(parts=parts, flat=flat, schema=schema, metadata=about), form.notes


def check(parts: Sequence[Selection]) -> None:
    """Raise UsageError unless the rows can stand in one dataset; it names all against it."""
    first = parts[0].table
    for part in parts[1:]:
        found = _problems(first, part.table)
        if found:
            raise _other_kind(str(part.table.path), str(first.path), found)


def check_comparable(first: Table, other: Table, name: str | None = None) -> None:
    """Raise UsageError unless vectors of both can be compared: of one core, and of one width.

    `name` is the feature column in both; by default the primary one of each.
    """
    ours = name or first.metadata.primary_column
    theirs = name or other.metadata.primary_column
    left = _features(first).get(ours)
    right = _features(other).get(theirs)
    if left is None or right is None:
        table, missing = (first, ours) if left is None else (other, theirs)
        known = ", ".join(_features(table))
        raise UsageError("no such feature column", str(table.path), known, missing)
    found = _core_problems(theirs, _core(first.metadata, ours), _core(other.metadata, theirs))
    if left.type.list_size != right.type.list_size:
        widths = (_numbers(right, other.metadata), _numbers(left, first.metadata))
        found.insert(0, f"the column {theirs}: {widths[0]} a row instead of {widths[1]}")
    if found:
        raise UsageError(
            "vectors that cannot be compared",
            str(other.path),
            f"features of the core of {first.path}",
            "; ".join(found),
            "Extract both with the same core.",
        )


def _other_kind(where: str, whose: str, found: Sequence[str]) -> UsageError:
    return UsageError(
        "of another kind, the columns differ",
        where,
        f"what {whose} is",
        "; ".join(few(found, _LISTED)),
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
        if name not in other.schema.names:
            continue
        if not (_is_plain(first, name) and _is_plain(other, name)):
            continue
        left = first.schema.field(name).type
        right = other.schema.field(name).type
        if _widened(left, right) is None:
            found.append(f"the column {name}: {right} instead of {left}")
    return found


def _record_problems(ours: Metadata, theirs: Metadata) -> list[str]:
    found = []
    left, right = ours.privacy, theirs.privacy
    if left and right and left.ids != right.ids:
        found.append(f"how records are named: {right.ids} instead of {left.ids}")
    for role in RECORD_ROLES:
        name = getattr(ours.record, role)
        other = getattr(theirs.record, role)
        may_lack = role not in _SHARED_ROLES
        if may_lack and None in (name, other):
            continue
        if name != other:
            found.append(
                f"the column of the role {role}: {other or 'none'} instead of {name or 'none'}"
            )
    return found


def _feature_problems(first: Any, other: Any) -> list[str]:
    ours, theirs = _features(first), _features(other)
    found = []
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in theirs:
            found.append(f"the feature column {name} is in {first.path.name} alone")
            continue
        if name not in ours:
            found.append(f"the feature column {name} is in {other.path.name} alone")
            continue
        left = _numbers(ours[name], first.metadata)
        right = _numbers(theirs[name], other.metadata)
        if left != right:
            found.append(f"the column {name}: {right} a row instead of {left}")
        cores = (_core(first.metadata, name), _core(other.metadata, name))
        found += _core_problems(name, *cores)
    return found


def _numbers(field: pa.Field, about: Metadata) -> str:
    """How many numbers a vector has, and how they are arranged."""
    count = f"{field.type.list_size} numbers"
    shape = _shape(about, field.name)
    if shape is None:
        return count
    return f"{count} in the shape {list(shape)}"


def _core_problems(name: str, first: AnyCore | None, other: AnyCore | None) -> list[str]:
    if first is None or other is None:
        if first is other:
            return []
        return [f"the core of {name} is named in one of them alone"]
    if isinstance(first, ClaimedCore) or isinstance(other, ClaimedCore):
        if first == other:
            return []
        return [f"the column {name} is of {_told(other)}, instead of {_told(first)}"]
    if first.sha256 != other.sha256:
        return [f"the column {name} is of {_told(other)}, instead of {_told(first)}"]
    parted = [each for each in _CORE if getattr(first, each) != getattr(other, each)]
    return [f"the core of {name}: its {each} is another" for each in parted]


def _told(core: AnyCore) -> str:
    """A core in a message."""
    if isinstance(core, ClaimedCore):
        return f"a core that is claimed to be {core.name}"
    return f"the core {core.name}, sha256 {core.sha256[:16]}…"


def _target_problems(ours: Metadata, theirs: Metadata) -> list[str]:
    found = []
    for name, column in ours.columns.items():
        if name not in theirs.columns:
            continue
        role = theirs.columns[name].role
        left = _kind(ours.targets.get(name))
        right = _kind(theirs.targets.get(name))
        if role != column.role:
            found.append(f"the column {name} is {role} instead of {column.role}")
        elif left != right:
            found.append(f"the target {name}: {right} instead of {left}")
    return found


def _kind(target: Target | None) -> str:
    if target is None:
        return "none"
    if target.unit:
        return f"{target.kind} in {target.unit}"
    return target.kind


def _features(table: Any) -> dict[str, pa.Field]:
    found = {}
    for field in table.schema:
        if is_vector(field):
            found[field.name] = field
    return found


def _is_plain(table: Any, name: str) -> bool:
    """Whether a column's values mean the same by themselves: no vector, class or processing."""
    each = table.schema.field(name)
    target = table.metadata.targets.get(name)
    if target is not None and target.classes:
        return False
    if is_vector(each):
        return False
    return not _is_processing(table.metadata, each)


def _is_processing(about: Metadata, each: pa.Field) -> bool:
    if not pa.types.is_struct(each.type):
        return False
    return _role(about, each.name) == "processing"


# What metadata says of a column; that of a file that another tool wrote may not name it.


def _role(about: Metadata, name: str) -> str:
    column = about.columns.get(name)
    return "kept" if column is None else column.role


def _shape(about: Metadata, name: str) -> Any:
    column = about.columns.get(name)
    return None if column is None else column.shape


def _core(about: Metadata, name: str) -> AnyCore | None:
    column = about.columns.get(name)
    if column is None or column.core is None:
        return None
    return about.cores.get(column.core) or about.claimed_cores.get(column.core)


def _widened(ours: pa.DataType, theirs: pa.DataType) -> pa.DataType | None:
    """The type that holds values of both, None if there is none.

    >>> _widened(pa.int32(), pa.int64()), _widened(pa.int8(), pa.float32())
    (DataType(int64), DataType(double))
    """
    if ours == theirs or pa.types.is_null(theirs):
        return ours
    if pa.types.is_null(ours):
        return theirs
    if holds_names(ours) and holds_names(theirs):
        for kind in (NAMES, pa.large_string()):
            if kind in (ours, theirs):
                return kind
        return pa.string()
    if pa.types.is_integer(ours) and pa.types.is_integer(theirs):
        return pa.int64()
    if _is_number(ours) and _is_number(theirs):
        return pa.float64()
    return None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


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
                place = len(_ROLES)
                if role in _ROLES:
                    place = _ROLES.index(role)
                found.setdefault(each.name, place)
        return sorted(found, key=found.__getitem__)

    @cached_property
    def targets(self) -> dict[str, Target]:
        """All targets; classes in the order of the first dataset that has them."""
        found: dict[str, Target] = {}
        for about in self._abouts:
            for name, target in about.targets.items():
                known = found.setdefault(name, target)
                new = [each for each in target.classes if each not in known.classes]
                if new:
                    self.notes.append(f"{name}: the classes {', '.join(new)} are new")
                found[name] = replace(known, classes=(*known.classes, *new))
        return found

    @cached_property
    def metadata(self) -> Metadata:
        """What holds for all rows; sizes of splits are left out."""
        columns = {}
        for name in self.names:
            described = self._column(name)
            if described is not None:
                columns[name] = described
        roles: dict[str, str] = {}
        for about in self._abouts:
            for role in Record.__slots__:
                name = getattr(about.record, role)
                if name is not None:
                    roles.setdefault(role, name)
        return replace(
            self._abouts[0],
            columns=columns,
            targets={name: self.targets[name] for name in self.names if name in self.targets},
            record=Record(**roles),
        )

    def _column(self, name: str) -> Column | None:
        """What the first dataset that describes a column says of it, but for its values."""
        told = [about.columns[name] for about in self._abouts if name in about.columns]
        if not told:
            return None
        field = self._field(name)
        described = replace(
            told[0],
            dtype=element_type(field),
            statistics={},
        )
        if is_vector(field):
            return described
        return replace(described, layout="encoded")

    def _fields_of(self, name: str) -> list[pa.Field]:
        return [field for _, field in self._described(name)]

    def _field(self, name: str) -> pa.Field:
        """The field of a column, wide enough for all; nullable where a dataset lacks it."""
        given = self._fields_of(name)
        nullable = any(each.nullable for each in given)
        if len(given) < len(self._parts):
            nullable = True
        if name in self._never_null:
            nullable = False
        return pa.field(name, self._kind(name, given), nullable)

    @property
    def _never_null(self) -> set[str | None]:
        found: set[str | None] = set()
        for about in self._abouts:
            found.add(about.record.id)
            found.add(about.record.view)
        return found

    def _kind(self, name: str, given: Sequence[pa.Field]) -> pa.DataType:
        if any(map(is_vector, given)):
            return max((each.type for each in given), key=_element_width)
        if all(_is_processing(about, each) for about, each in self._described(name)):
            return _struct([each.type for each in given])
        if name in self.targets and self.targets[name].classes:
            return _class_type([each.type for each in given], self._has_grown(name))
        kind = given[0].type
        for each in given[1:]:
            kind = _widened(kind, each.type) or kind
        return kind

    def _has_grown(self, name: str) -> bool:
        """Whether a dataset's codes of a target are others than those of all."""
        united = self.targets[name].classes
        for about in self._abouts:
            target = about.targets.get(name)
            if target is not None and target.classes != united:
                return True
        return False

    def _described(self, name: str) -> list[tuple[Metadata, pa.Field]]:
        found = []
        for part in self._parts:
            table = part.table
            if name in table.schema.names:
                found.append((table.metadata, table.schema.field(name)))
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
        try:
            if target is not None and target.classes:
                return _recoded(column, target.classes, self.targets[name].classes, field.type)
            return column.cast(field.type)
        except UnknownName as error:
            found = f"the column {name}: {error.found[:100]} is none of its classes"
        except pa.ArrowInvalid as error:
            found = f"the column {name}: {str(error)[:200]}"
        raise _other_kind(str(part.table.path), str(self._parts[0].table.path), [found])

    def _absent(self, part: Selection, field: pa.Field) -> pa.Array:
        """Values of a column that a dataset does not have: missing; its rows are plain views."""
        name = field.name
        count = len(part)
        if name == self.metadata.record.view:
            plain = pa.array(np.zeros(count, np.int16))
            return plain.cast(field.type)
        if _is_processing(self.metadata, field):
            return _common(part.table.metadata, field.type, count)
        self.notes.append(f"{part.table.path.name} has no column {name}: missing in its rows")
        return pa.nulls(count, field.type)


def _element_width(kind: pa.DataType) -> int:
    return int(kind.value_type.bit_width)


# Columns brought into the form of all


def _class_type(kinds: Sequence[pa.DataType], grown: bool) -> pa.DataType:
    """The type of a column of classes: names for a category, codes in lists for a multilabel."""
    first = kinds[0]
    alike = all(kind == first for kind in kinds)
    if alike and (first in _ROOMY or not grown):
        return first
    return _LISTS if _is_list(first) else NAMES


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _recoded(
    column: Any, ours: Sequence[str], classes: Sequence[str], kind: pa.DataType
) -> pa.ChunkedArray:
    """A category's or a multilabel's values by the united classes.

    Raises UnknownName for a value that is none of its own classes.
    """
    column = chunked(column)
    if column.type == kind and tuple(ours) == tuple(classes) and kind != NAMES:
        return column
    place = {name: code for code, name in enumerate(classes)}
    new = np.array([place[name] for name in ours], np.int32)
    chunks = []
    for chunk in column.chunks:
        if _is_list(chunk.type):
            chunks.append(_relisted(chunk, ours, new, kind))
        else:
            codes = _placed(code_array(chunk, ours), new)
            chunks.append(_as_kind(codes, classes, kind))
    return pa.chunked_array(chunks, kind)


def _placed(codes: pa.Array, new: Array) -> Array:
    """The new code of each code, -1 where one is missing."""
    old = codes_or_missing(codes)
    return np.append(new, np.int32(-1))[old]


def _as_kind(codes: Array, classes: Sequence[str], kind: pa.DataType) -> pa.Array:
    """Codes as names, or as codes of a type."""
    if pa.types.is_dictionary(kind):
        return names_array(codes, text_array(classes), kind)
    if holds_names(kind):
        named = names_array(codes, text_array(classes), NAMES)
        return named.cast(kind)
    return pa.array(codes, kind, mask=codes < 0)


def _relisted(column: pa.Array, ours: Sequence[str], new: Array, kind: pa.DataType) -> pa.Array:
    """Lists of codes as lists of the new ones."""
    import pyarrow.compute as pc

    codes = _placed(code_array(column.flatten(), ours), new)
    lengths = pc.list_value_length(column).fill_null(0)
    ends = np.zeros(len(column) + 1, np.int32)
    np.cumsum(lengths.to_numpy(), out=ends[1:])
    lists = pa.ListArray.from_arrays(
        pa.array(ends),
        pa.array(codes, mask=codes < 0),
        mask=column.is_null(),
    )
    return lists.cast(kind)


def _struct(kinds: Sequence[pa.DataType]) -> pa.DataType:
    """A struct with the fields of all: facts in their usual order, then what was drawn."""
    fields: dict[str, pa.DataType] = {}
    for each in chain.from_iterable(kinds):
        kind = _widened(fields.get(each.name, each.type), each.type)
        fields[each.name] = kind or each.type
    facts = [name for name in TYPES if name in fields]
    drawn = [name for name in fields if name not in TYPES]
    return pa.struct([(name, fields[name]) for name in (*facts, *drawn)])


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
    value = None
    if about.provenance is not None and field.name in TYPES:
        value = about.provenance.raw.get(field.name)
    if value is None or isinstance(value, dict):
        return pa.nulls(count, field.type)
    return pa.repeat(pa.scalar(value, field.type), count)
