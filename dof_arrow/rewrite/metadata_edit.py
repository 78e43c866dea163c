"""The owner's sections of the metadata rewritten, as JSON: what an edit asks for, and what it changes (SPEC 4.1).

Nothing here touches files. The value worked on is the JSON itself, so that fields unknown to this version survive.
A new field goes where its declaration has it: the same content reached by two ways is the same bytes, and what is
set and unset again leaves no trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from os import PathLike
from typing import Any

from dof_arrow.errors import UsageError
from dof_arrow.format.spec import templates
from dof_arrow.format.spec.json_diff import Change
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import Contact, Info, Metadata

_FREE = tuple(templates.SECTIONS)
_LICENCES = ("license", "source_license")
_SPDX = re.compile(r"(DocumentRef-[\w.-]+:)?[A-Za-z0-9][\w.-]*\+?")
_OPERATORS = {"AND", "OR", "WITH"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an edit asks for; what is not named stays. Done in the order of the fields.

    `info` is the whole section anew. `unset` and `set` name fields of it, `keys.NAME` an owner's own key; `unset` may
    name `training` or `performance` too. `contacts` are added, or take the place of the one of that name. `training`
    and `performance` are whole sections; what a template left empty is left out. `detach` names documents, `attach`
    files; a document detached and attached in one edit keeps its place.
    """

    info: Mapping[str, Json] | None = None
    unset: Sequence[str] = ()
    set: Mapping[str, Json] = field(default_factory=dict)
    contacts: Sequence[Contact | Mapping[str, Json]] = ()
    training: Mapping[str, Json] | None = None
    performance: Mapping[str, Json] | None = None
    detach: Sequence[str] = ()
    attach: Sequence[str | PathLike[str]] = ()


def revised(value: Json, wanted: Wanted) -> Json:
    """The metadata with the owner's sections as wanted, documents left as they are.

    Raises UsageError for a field that is not there, with the nearest that is.

    >>> revised({"version": "1.0"}, Wanted(set={"title": "Lungs", "keys.ward": "7"}))
    {'version': '1.0', 'info': {'title': 'Lungs', 'keys': {'ward': '7'}}}
    >>> revised({"version": "1.0"}, Wanted(set={"licence": "MIT"}))
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: info has no such field: expected title, description, contacts, source, \
source_license, license, citation, homepage, notes, keys or keys.NAME, found licence. Did you mean license?
    """
    info = value.get("info", {}) if wanted.info is None else _known(wanted.info)
    for name in wanted.unset:
        if name not in _FREE:
            info = _without(info, _parts(name))
    for name, item in wanted.set.items():
        info = _put(info, _parts(name), item)
    if wanted.contacts:
        info = insert(
            info, "contacts", _contacts(info.get("contacts", []), wanted.contacts), _declared(Info)
        )
    new = section(value, "info", dict(info))
    for name in _FREE:
        given = {} if name in wanted.unset else value.get(name, {})
        asked = getattr(wanted, name)
        new = section(new, name, given if asked is None else templates.filled(asked))
    return new


def insert(
    value: Mapping[str, Json], name: str, item: Json, rank: Callable[[str], Any]
) -> dict[str, Json]:
    """A copy with one field set: where it stood, else before the first that ranks higher (None: no rank), else last.

    >>> insert({"a": 1, "c": 3}, "b", 2, rank=str)
    {'a': 1, 'b': 2, 'c': 3}
    """
    if name in value or rank(name) is None:
        return {**value, name: item}
    names = list(value)
    later = (i for i, n in enumerate(names) if rank(n) is not None and rank(n) > rank(name))
    at = next(later, len(names))
    pairs = list(value.items())
    return dict([*pairs[:at], (name, item), *pairs[at:]])


def section(value: Mapping[str, Json], name: str, item: Json) -> dict[str, Json]:
    """The metadata with one of its sections set; an empty one is left out.

    >>> section({"version": "1.0", "documents": [], "training": {"seed": 1}}, "documents", [])
    {'version': '1.0', 'training': {'seed': 1}}
    """
    return (
        insert(value, name, item, _declared(Metadata))
        if item
        else {k: v for k, v in value.items() if k != name}
    )


def remarks(found: Iterable[Change], new: Json) -> list[str]:
    """What the owner should look at again: licences that are no SPDX expressions, sections unlike their templates."""
    touched = {change.where for change in found}
    licences = [(f"info.{name}", new.get("info", {}).get(name)) for name in _LICENCES]
    said = [
        f"{where}: {text!r} is no SPDX licence expression such as CC-BY-4.0 (see spdx.org/licenses)"
        for where, text in licences
        if where in touched and isinstance(text, str) and not is_spdx(text)
    ]
    for name in _FREE:
        if any(where.split(".")[0] == name for where in touched):
            said += templates.remarks(name, new.get(name, {}))
    return said


def is_spdx(text: str) -> bool:
    """Whether a text has the form of an SPDX licence expression; the names in it are not looked up.

    >>> is_spdx("(MIT OR Apache-2.0) AND LicenseRef-clinic"), is_spdx("CC BY 4.0")
    (True, False)
    """
    words = re.sub("[()]", " ", text).split()
    names, between = words[::2], words[1::2]
    return (
        len(words) % 2 == 1
        and _OPERATORS.issuperset(between)
        and _OPERATORS.isdisjoint(names)
        and all(map(_SPDX.fullmatch, names))
        and text.count("(") == text.count(")")
    )


def _known(info: Mapping[str, Json]) -> dict[str, Json]:
    """A new info section, its fields in the order of their declaration."""
    known: dict[str, Json] = {}
    for name, item in info.items():
        known = _put(known, _parts(name), item)
    return known


def _parts(name: str) -> tuple[str, str | None]:
    """The field of `info` that a name means, and the key of `keys` in it."""
    first, dot, key = name.partition(".")
    names = [f.name for f in fields(Info)]
    if first not in names or (dot and (first != "keys" or not key)):
        near = get_close_matches(first, names, 1)
        raise UsageError(
            "info has no such field",
            expected=", ".join(names) + " or keys.NAME",
            found=name,
            hint=f"Did you mean {near[0]}?" if near else "",
        )
    return first, key or None


def _put(info: Mapping[str, Json], name: tuple[str, str | None], item: Json) -> dict[str, Json]:
    first, key = name
    value = to_json(item)
    if value in (None, [], {}):
        return _without(info, name)  # fields at their default are left out
    if key is not None:
        value = insert(info.get("keys", {}), key, value, str)
    elif first == "keys" and isinstance(value, dict):
        value = dict(sorted(value.items()))
    return insert(info, first, value, _declared(Info))


def _without(info: Mapping[str, Json], name: tuple[str, str | None]) -> dict[str, Json]:
    first, key = name
    keys = {k: v for k, v in info.get("keys", {}).items() if k != key}
    if key is not None and keys:
        return {k: keys if k == "keys" else v for k, v in info.items()}
    return {k: v for k, v in info.items() if k != first}


def _contacts(old: Sequence[Json], new: Iterable[Contact | Mapping[str, Json]]) -> list[Json]:
    found = list(old)
    for contact in map(to_json, new):
        name = contact.get("name")
        place = next((i for i, c in enumerate(found) if c.get("name") == name), len(found))
        found[place : place + 1] = [contact]
    return found


def _declared(kind: Any) -> Callable[[str], int | None]:
    """The place of a field in its declaration; None for an unknown one."""
    return {f.name: place for place, f in enumerate(fields(kind))}.get
