"""The metadata of several datasets as one: whether they go together, and what holds for all rows.

A directory's manifest and a merged file speak for all their parts (SPEC section 8). `merge_raw`
puts together what is said of the raw inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.merge_raw import merged_raw
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import Metadata

# What all parts and the manifest agree on.
_SHARED = ("primary_column", "columns", "cores", "claimed_cores", "record", "targets")
# Kept where no part says otherwise.
_AGREED = ("augmentation", "head", "training", "performance")
# What depends on one file.
_OWN = ("uuid", "errors", "documents", "parts")


def differences(ours: Metadata, theirs: Metadata, schema: pa.Schema, other: pa.Schema) -> list[str]:
    """What keeps the rows of two files out of one dataset; the layout of columns is no difference.

    `schema` is the schema of ours, `other` that of theirs.
    """
    found = []
    for name in _SHARED:
        if _meaning(ours, name) != _meaning(theirs, name):
            found.append(name)
    if ours.privacy and theirs.privacy and ours.privacy.ids != theirs.privacy.ids:
        found.append("how records are named")
    if not schema.equals(other):
        found.append(_first_difference(schema, other))
    return found


def check_alike(
    ours: Metadata, theirs: Metadata, schema: pa.Schema, other: pa.Schema, where: str, whose: str
) -> None:
    """Raise UsageError unless rows of the two can stand in one dataset.

    `where` names the file of theirs in the message, `whose` the file of ours.
    """
    found = differences(ours, theirs, schema, other)
    if found:
        raise UsageError(
            "of another kind",
            where,
            f"what {whose} is",
            f"a difference in {', '.join(found)}",
            _hint(schema, other, where, whose),
        )


def _hint(schema: pa.Schema, other: pa.Schema, where: str, whose: str) -> str:
    """What to do about a difference: where a file only lacks no values, it is soon written so."""
    fits = schema.names == other.names
    for ours, theirs in zip(schema, other, strict=False):
        fits &= theirs == ours or (ours.nullable and theirs.with_nullable(True) == ours)
    if fits and not schema.equals(other):
        return f"To write its rows in that form and add them: dof merge {where} -o {whose}"
    return "Extract both with the same cores, columns and class names."


def check_laid_out(ours: Metadata, theirs: Metadata, where: str) -> None:
    """Raise UsageError unless the same columns are mapped in both, as in parts of one directory."""
    wanted = _layouts(ours)
    if wanted != _layouts(theirs):
        kind = "mapped" if "mapped" in wanted.values() else "compact"
        raise UsageError(
            "of another layout than the other parts",
            where,
            kind,
            "another",
            f"First: dof convert {where} NEW.parquet --layout {kind}",
        )


def check_new(known: Iterable[pa.Array], new: pa.Array, where: str, whose: str) -> None:
    """Raise UsageError if an id of `new` is among those known already."""
    import pyarrow.compute as pc

    double = 0
    for ids in known:
        count = pc.sum(pc.is_in(new, value_set=ids)).as_py()
        double += count or 0  # the sum of no values is null
    if double:
        raise UsageError(
            f"records that {whose} holds already",
            where,
            "new ids",
            f"{double:,} rows with old ones",
            "Each record is added once: leave these out.",
        )


def together(values: Sequence[Json]) -> dict[str, Json]:
    """The metadata of several datasets' rows, without what depends on one file.

    The first speaks for the owner (`info`); counts and sizes are added; measured leaks are left
    out, because they do not hold for the whole.
    """
    made = dict(values[0])
    for name in (*_OWN, *_AGREED):
        made.pop(name, None)
    for name in _AGREED:
        said = _different(_of_all(values, name))
        if len(said) == 1:
            made[name] = said[0]
    made["splits"] = split_sizes(_of_all(values, "splits"))
    made["provenance"] = _provenance(_of_all(values, "provenance"))
    privacy = [value["privacy"] for value in values if "privacy" in value]
    if privacy:
        made["privacy"] = _privacy(privacy)
    return made


def split_sizes(parts: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Rows and records of each split, added.

    >>> split_sizes([{"train": {"rows": 4, "records": 2}}, {"train": {"rows": 1, "records": 1}}])
    {'train': {'rows': 5, 'records': 3}}
    """
    sizes: dict[str, dict[str, int]] = {}
    for name in sorted(set(chain(*parts))):
        held = [part[name] for part in parts if name in part]
        rows = sum(size["rows"] for size in held)
        records = sum(size["records"] for size in held)
        sizes[name] = {"rows": rows, "records": records}
    return sizes


def _meaning(metadata: Metadata, name: str) -> Json:
    """A field of the metadata without what may differ between parts: layouts, statistics."""
    value = to_json(getattr(metadata, name))
    if name == "columns":
        for column in value.values():
            column.pop("layout", None)
            column.pop("statistics", None)
    return value


def _layouts(metadata: Metadata) -> dict[str, str]:
    return {name: column.layout for name, column in metadata.columns.items()}


def _first_difference(schema: pa.Schema, other: pa.Schema) -> str:
    for name in [*schema.names, *other.names]:
        ours = _fields(schema, name)
        theirs = _fields(other, name)
        if ours != theirs:
            return f"the column {name}: {_types(theirs)} instead of {_types(ours)}"
    return "the order of the columns"


def _fields(schema: pa.Schema, name: str) -> list[pa.Field]:
    return [field for field in schema if field.name == name]


def _types(fields: Sequence[pa.Field]) -> str:
    told = []
    for field in fields:
        told.append(str(field.type) if field.nullable else f"{field.type} not null")
    return " and ".join(told) or "none"


def _different(values: Iterable[Json]) -> list[Json]:
    """The values without repetitions, in order; empty ones say nothing and are left out."""
    found: list[Json] = []
    for value in values:
        if value and value not in found:
            found.append(value)
    return found


def _privacy(parts: Sequence[Json]) -> Json:
    """What protects the people in all parts: only what was done to each of them."""
    measures = list(parts[0].get("measures", []))
    for done in _of_all(parts, "measures"):
        measures = [measure for measure in measures if measure in done]
    kinds = [part.get("ids") for part in parts]
    keys = {part.get("key") for part in parts}
    return {
        "ids": "name" if "name" in kinds else "pseudonym",
        "key": keys.pop() if len(keys) == 1 else None,
        "measures": measures,
        "audits": parts[0].get("audits", []) if len(parts) == 1 else [],
    }


def _provenance(parts: Sequence[Json]) -> Json:
    made: dict[str, Json] = {}
    for name in ("inputs", "failed"):
        if all(name in part for part in parts):
            made[name] = sum(part[name] for part in parts)
    rows = [part.get("inputs", 0) - part.get("failed", 0) for part in parts]
    made["parents"] = _different(chain(*_of_all(parts, "parents")))
    made["libraries"] = _libraries(_of_all(parts, "libraries"))
    made["raw"] = merged_raw(_of_all(parts, "raw"), rows)
    made["providers"] = _providers(_of_all(parts, "providers"))
    made["batches"] = _batches(_of_all(parts, "batches"))
    return made


def _of_all(parts: Sequence[Json], name: str) -> list[Json]:
    """A field of each part, empty where a part does not have it."""
    return [part.get(name, {}) for part in parts]


def _libraries(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The versions of each library, all that were used."""
    used = {}
    for name in dict.fromkeys(chain(*parts)):
        versions = _different(part.get(name) for part in parts)
        used[name] = ", ".join(versions)
    return used


def _batches(parts: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, list[int]]:
    """The rows that were run at a time for each feature column, in all parts that tell."""
    used: dict[str, set[int]] = {}
    for part in parts:
        for column, sizes in part.items():
            used.setdefault(column, set()).update(sizes)
    return {column: sorted(sizes) for column, sizes in used.items()}


def _providers(parts: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """The execution providers of each feature column; a part that names none used the CPU."""
    used = {}
    for column in dict.fromkeys(chain(*parts)):
        names: set[str] = set()
        for part in parts:
            names.update(part.get(column, ["cpu"]))
        used[column] = sorted(names)
    return used
