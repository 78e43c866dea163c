"""What several datasets say as one: whether they go together at all, and the metadata of their rows one after another.

A directory's manifest and a merged file speak for all their parts (SPEC section 8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import COUNTED, Metadata

_SHARED = (
    "primary_column",
    "columns",
    "cores",
    "record",
    "targets",
)  # what all parts and the manifest agree on
_AGREED = ("augmentation", "head", "training", "performance")  # kept where no part says otherwise
_ADDED = ("bytes", "broken")  # numbers in `provenance.raw` that are sums
_LISTED = 8  # different numbers that are counted one by one; of more, only the range is said


def differences(ours: Metadata, theirs: Metadata, schema: pa.Schema, other: pa.Schema) -> list[str]:
    """What keeps rows of two files out of one dataset; how their columns are laid out is no difference."""
    found = [name for name in _SHARED if _meaning(ours, name) != _meaning(theirs, name)]
    if ours.privacy and theirs.privacy and ours.privacy.ids != theirs.privacy.ids:
        found.append("how records are named")
    return found if schema.equals(other) else [*found, _first_difference(schema, other)]


def check_alike(
    ours: Metadata, theirs: Metadata, schema: pa.Schema, other: pa.Schema, where: str, whose: str
) -> None:
    """Raise UsageError unless rows of the two can stand in one dataset."""
    if found := differences(ours, theirs, schema, other):
        raise UsageError(
            "of another kind",
            where,
            f"what {whose} is",
            f"a difference in {', '.join(found)}",
            "Extract both with the same cores, columns and class names.",
        )


def check_laid_out(ours: Metadata, theirs: Metadata, where: str) -> None:
    """Raise UsageError unless the same columns are mapped in both, as parts of one directory must have it."""
    layouts = [
        {name: column.layout for name, column in each.columns.items()} for each in (ours, theirs)
    ]
    if layouts[0] != layouts[1]:
        kind = "mapped" if "mapped" in layouts[0].values() else "compact"
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

    double = sum(pc.sum(pc.is_in(new, value_set=ids)).as_py() or 0 for ids in known)
    if double:
        raise UsageError(
            f"records that {whose} holds already",
            where,
            "new ids",
            f"{double:,} rows with old ones",
            "Each record is added once: leave these out.",
        )


def together(values: Sequence[Json]) -> dict[str, Json]:
    """The metadata of several datasets' rows, without what depends on the file: uuid, errors, documents, parents.

    The first speaks for the owner (`info`); counts and sizes are added; measured leaks hold for no whole.
    """
    first = {
        k: v
        for k, v in values[0].items()
        if k not in ("uuid", "errors", "documents", "parts", *_AGREED)
    }
    said = {name: _different(v.get(name) for v in values) for name in _AGREED}
    agreed = {name: found[0] for name, found in said.items() if len(found) == 1}
    splits = split_sizes([v.get("splits", {}) for v in values])
    made = {
        **first,
        **agreed,
        "splits": splits,
        "provenance": _provenance([v.get("provenance", {}) for v in values]),
    }
    if privacy := [v["privacy"] for v in values if "privacy" in v]:
        made["privacy"] = _privacy(privacy)
    return made


def split_sizes(parts: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Rows and records of each split, added.

    >>> split_sizes([{"train": {"rows": 4, "records": 2}}, {"train": {"rows": 1, "records": 1}}])
    {'train': {'rows': 5, 'records': 3}}
    """
    total: dict[str, Counter[str]] = {}
    for part in parts:
        for name, size in part.items():
            total.setdefault(name, Counter()).update({k: size[k] for k in ("rows", "records")})
    return {name: dict(total[name]) for name in sorted(total)}


def _meaning(metadata: Metadata, name: str) -> Json:
    value = to_json(getattr(metadata, name))
    if name != "columns":
        return value
    return {
        n: {k: v for k, v in column.items() if k not in ("layout", "statistics")}
        for n, column in value.items()
    }


def _first_difference(schema: pa.Schema, other: pa.Schema) -> str:
    names = [*schema.names, *(n for n in other.names if n not in schema.names)]
    for name in names:
        ours, theirs = ([f for f in s if f.name == name] for s in (schema, other))
        if ours != theirs:
            return f"the column {name}: {_told(theirs)} instead of {_told(ours)}"
    return "the order of the columns"


def _told(fields: Sequence[pa.Field]) -> str:
    return " and ".join(f"{f.type}{'' if f.nullable else ' not null'}" for f in fields) or "none"


def _different(values: Iterable[Json]) -> list[Json]:
    found: list[Json] = []
    for value in values:
        if value and value not in found:
            found.append(value)
    return found


def _privacy(parts: Sequence[Json]) -> Json:
    shared = [
        m for m in parts[0].get("measures", []) if all(m in p.get("measures", []) for p in parts)
    ]
    named = any(p.get("ids") == "name" for p in parts)
    audits = parts[0].get("audits", []) if len(parts) == 1 else []
    return {"ids": "name" if named else "pseudonym", "measures": shared, "audits": audits}


def _provenance(parts: Sequence[Json]) -> Json:
    counts = {
        n: sum(p[n] for p in parts) for n in ("inputs", "failed") if all(n in p for p in parts)
    }
    rows = [p.get("inputs", 0) - p.get("failed", 0) for p in parts]
    facts = [p.get("raw", {}) for p in parts]
    raw = {
        n: _raw(n, [f.get(n) for f in facts], rows)
        for n in dict.fromkeys(n for f in facts for n in f)
    }
    parents = _different(parent for p in parts for parent in p.get("parents", []))
    noted = [p.get("libraries", {}) for p in parts]
    used = {
        n: ", ".join(_different(v.get(n) for v in noted))
        for n in dict.fromkeys(n for v in noted for n in v)
    }
    made = [p.get("providers", {}) for p in parts]
    providers = {
        c: sorted({name for m in made for name in m.get(c, ["cpu"])})
        for c in dict.fromkeys(chain(*made))
    }
    return {
        **counts,
        "parents": parents,
        "libraries": used,
        "raw": {n: v for n, v in raw.items() if v is not None},
        "providers": providers,
    }


def _raw(name: str, values: Sequence[Any], rows: Sequence[int]) -> Json:
    """What raw inputs were like, of all parts: a value that all share, else how many had which, else a range."""
    if name in _ADDED:
        return sum(v or 0 for v in values)
    if all(v == values[0] for v in values) and (
        name not in COUNTED or not isinstance(values[0], dict)
    ):
        return values[0]
    if name not in COUNTED:
        return None
    if any(isinstance(v, dict) and "min" in v for v in values):
        return _range(values)
    seen: Counter[str] = Counter()
    for value, count in zip(values, rows, strict=True):
        seen.update(
            value if isinstance(value, dict) else {"none" if value is None else str(value): count}
        )
    return _range(values) if len(seen) > _LISTED and all(map(_is_number, seen)) else dict(seen)


def _range(values: Sequence[Any]) -> Json:
    texts = [
        t
        for v in values
        for t in (
            [v["min"], v["max"]]
            if isinstance(v, dict) and "min" in v
            else v
            if isinstance(v, dict)
            else [v]
        )
    ]
    numbers = [float(t) for t in texts if _is_number(t)]
    return {"min": _whole(min(numbers)), "max": _whole(max(numbers))} if numbers else None


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() else number


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True
