"""What differs between two JSON values, place by place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dof_arrow.format.spec.json_model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that differs: where, and what stood and stands there; None for nothing."""

    where: str
    old: Json
    new: Json


def changes(old: Json, new: Json) -> list[Change]:
    """What differs between two JSON objects, field by field.

    >>> changes({"info": {"title": "a"}}, {"info": {"title": "b", "notes": "c"}})
    [Change(where='info.title', old='a', new='b'), Change(where='info.notes', old=None, new='c')]
    """
    before, after = dict(_leaves(old)), dict(_leaves(new))
    found = []
    for where in {**before, **after}:
        change = Change(where=where, old=before.get(where), new=after.get(where))
        if _text(change.old) != _text(change.new):
            found.append(change)
    return found


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)  # in Python, but not in JSON, 1 equals true


def _leaves(value: Json, where: str = "") -> Iterator[tuple[str, Json]]:
    """Each value that is no object, or an empty one, with its place."""
    if isinstance(value, Mapping) and (value or not where):
        for name, item in value.items():
            yield from _leaves(item, f"{where}.{name}" if where else name)
    else:
        yield where, value
