"""The owner's sections of the metadata rewritten, as JSON (SPEC 4.1).

Nothing here touches files. The value worked on is the JSON itself, so that fields unknown to this
version survive. A new field goes where its declaration has it: the same content reached by two ways
is the same bytes, and what is set and unset again leaves no trace.
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
    """What an edit asks for, done in the order of the fields; what is not named stays.

    `info` replaces the whole section. `unset` and `set` name fields of it, `keys.NAME` a key of the
    owner's own; `unset` may also name `training` or `performance`. `contacts` are added, or replace
    the contact of the same name. `training` and `performance` are whole sections; fields that a
    template left empty are left out. `detach` names documents, `attach` files; a document detached
    and attached in one edit keeps its place. `audits` replace those of the section `privacy`.
    """

    info: Mapping[str, Json] | None = None
    unset: Sequence[str] = ()
    set: Mapping[str, Json] = field(default_factory=dict)
    contacts: Sequence[Contact | Mapping[str, Json]] = ()
    training: Mapping[str, Json] | None = None
    performance: Mapping[str, Json] | None = None
    detach: Sequence[str] = ()
    attach: Sequence[str | PathLike[str]] = ()
    audits: Sequence[Mapping[str, Json]] | None = None


def revised(value: Json, wanted: Wanted) -> Json:
    """The metadata with the owner's sections as wanted, documents left as they are.

    Raises UsageError for a field that is not there, with the nearest that is.

    >>> revised({"version": "1.0"}, Wanted(set={"title": "Lungs", "keys.ward": "7"}))
    {'version': '1.0', 'info': {'title': 'Lungs', 'keys': {'ward': '7'}}}
    >>> revised({"version": "1.0"}, Wanted(set={"licence": "MIT"}))
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: info has no such field: expected title, description, contacts, \
source, source_license, license, citation, homepage, notes, keys or keys.NAME, found licence. \
Did you mean license?
    """
    info = value.get("info", {}) if wanted.info is None else _known(wanted.info)
    for name in wanted.unset:
        if name not in _FREE:
            info = _without(info, _parts(name))
    for name, item in wanted.set.items():
        info = _put(info, _parts(name), item)
    if wanted.contacts:
        contacts = _contacts(info.get("contacts", []), wanted.contacts)
        info = insert(info, "contacts", contacts, _declared(Info))
    new = section(value, "info", dict(info))
    for name in _FREE:
        new = section(new, name, _free_section(name, value, wanted))
    if wanted.audits is not None:
        # Of a dataset that says nothing of its ids they are taken as they are.
        privacy = dict(value.get("privacy") or {"ids": "name"})
        privacy["audits"] = [dict(each) for each in wanted.audits]
        new = section(new, "privacy", privacy)
    return new


def insert(
    value: Mapping[str, Json], name: str, item: Json, rank: Callable[[str], Any]
) -> dict[str, Json]:
    """A copy with one field set, in its old place, or before the first field that ranks higher.

    `rank` gives None for a field without a rank. A field that fits nowhere goes last.

    >>> insert({"a": 1, "c": 3}, "b", 2, rank=str)
    {'a': 1, 'b': 2, 'c': 3}
    """
    if name in value or rank(name) is None:
        return {**value, name: item}
    copy: dict[str, Json] = {}
    for other, old in value.items():
        other_rank = rank(other)
        if name not in copy and other_rank is not None and other_rank > rank(name):
            copy[name] = item
        copy[other] = old
    copy.setdefault(name, item)
    return copy


def section(value: Mapping[str, Json], name: str, item: Json) -> dict[str, Json]:
    """The metadata with one of its sections set; an empty one is left out.

    >>> section({"version": "1.0", "documents": [], "training": {"seed": 1}}, "documents", [])
    {'version': '1.0', 'training': {'seed': 1}}
    """
    if item:
        return insert(value, name, item, _declared(Metadata))
    return _except(value, name)


def remarks(found: Iterable[Change], new: Json) -> list[str]:
    """What the owner should look at again among the changed fields of the metadata `new`.

    Licences that are no SPDX expressions, and sections that differ from their templates.
    """
    touched = {change.where for change in found}
    said = []
    for name in _LICENCES:
        where = f"info.{name}"
        text = new.get("info", {}).get(name)
        if where in touched and isinstance(text, str) and not is_spdx(text):
            said.append(
                f"{where}: {text!r} is no SPDX licence expression such as CC-BY-4.0 "
                "(see spdx.org/licenses)"
            )
    sections = {where.partition(".")[0] for where in touched}
    for name in _FREE:
        if name in sections:
            said += templates.remarks(name, new.get(name, {}))
    return said


def is_spdx(text: str) -> bool:
    """Whether a text has the form of an SPDX licence expression; the names in it are not looked up.

    >>> is_spdx("(MIT OR Apache-2.0) AND LicenseRef-clinic"), is_spdx("CC BY 4.0")
    (True, False)
    """
    words = re.sub("[()]", " ", text).split()
    if len(words) % 2 == 0 or text.count("(") != text.count(")"):
        return False
    names, between = words[::2], words[1::2]
    if not _OPERATORS.issuperset(between) or not _OPERATORS.isdisjoint(names):
        return False
    return all(map(_SPDX.fullmatch, names))


def _free_section(name: str, value: Json, wanted: Wanted) -> Json:
    """A free section as it is to be: as asked for, emptied, or as it was."""
    asked = getattr(wanted, name)
    if asked is not None:
        return templates.filled(asked)
    return {} if name in wanted.unset else value.get(name, {})


def _known(info: Mapping[str, Json]) -> dict[str, Json]:
    """A new info section, its fields in the order of their declaration."""
    known: dict[str, Json] = {}
    for name, item in info.items():
        known = _put(known, _parts(name), item)
    return known


def _parts(name: str) -> tuple[str, str | None]:
    """The field of `info` that a name means, and the key of `keys` in it."""
    first, dot, key = name.partition(".")
    names = [field.name for field in fields(Info)]
    is_key = first == "keys" and key
    if first not in names or (dot and not is_key):
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
    if key is not None:
        keys = _except(info.get("keys", {}), key)
        if keys:
            return {**info, "keys": keys}
    return _except(info, first)


def _except(value: Mapping[str, Json], name: str) -> dict[str, Json]:
    """A copy without one field."""
    return {other: item for other, item in value.items() if other != name}


def _contacts(old: Sequence[Json], new: Iterable[Contact | Mapping[str, Json]]) -> list[Json]:
    """The old contacts and the new ones; a new one replaces the first of its name."""
    contacts = list(old)
    for contact in map(to_json, new):
        names = [other.get("name") for other in contacts]
        name = contact.get("name")
        if name in names:
            contacts[names.index(name)] = contact
        else:
            contacts.append(contact)
    return contacts


def _declared(kind: Any) -> Callable[[str], int | None]:
    """A function that gives the place of a field in its declaration, None for an unknown field."""
    return {field.name: place for place, field in enumerate(fields(kind))}.get
