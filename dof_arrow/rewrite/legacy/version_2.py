"""Files of DoF 2.x as a pickle, and as a zip of pickles.

The classes of the old package are known by name alone: of their objects only attributes are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dof_arrow.rewrite.legacy.content import (
    SECTIONS,
    Content,
    Element,
    LegacyDocument,
    expect,
    unfit,
)
from dof_arrow.storage import restricted_pickle
from dof_arrow.storage.bounded_zip import Archive
from dof_arrow.storage.pickled_values import Record
from dof_arrow.storage.torch_tensors import TORCH

BASE = "dataset.base"
_INFO = "elements.info"
_LINKS = "elements.links"
_OBJECT = re.compile(r"(0|[1-9]\d{0,15})\.obj")
_KNOWN = (
    BASE,
    _INFO,
    _LINKS,
    "dof.documents",
    "dof.basepath",
    "dof.info",
    "dof.modelinfo",
)

_CLASSES = {
    "dof.file": ("DofFile",),
    "dof.core": ("DofObject",),
    "dof.data": ("Dataset", "DataElement", "LinkEngine"),
    "dof.information": (
        "Contact",
        "ContainerInfo",
        "DataElementInfo",
        "Document",
        "DocumentContainer",
        "Information",
        "InformationStrict",
        "ModelInfo",
    ),
}
ALLOWED: dict[str, Any] = dict(TORCH)
for _module, _names in _CLASSES.items():
    ALLOWED.update({f"{_module}.{_name}": None for _name in _names})


def load(data: bytes, where: str) -> Any:
    """The value of a pickle that may hold objects of the old package."""
    return restricted_pickle.load(data, where=where, allowed=ALLOWED)


def of_pickle(data: bytes, where: str) -> Content:
    """What a pickled file of DoF 2.x holds; FormatError or SourceError where it is not sound."""
    file = _object(load(data, where), "dof.file.DofFile", where)
    dataset = _object(_of(file, "dataset"), "dof.data.Dataset", where)
    content = Content(form="2.x pickle")
    elements = expect(_of(dataset, "elements"), dict, where, "elements")
    for number, element in elements.items():
        number = expect(number, int, where, "the number of an element")
        if element is None:
            content.deleted.append(number)
        else:
            content.elements.append(_element(number, element, where))
    linker = _object(_of(dataset, "linker"), "dof.data.LinkEngine", where)
    content.links = links(_of(linker, "links"), where)
    content.next_id = len(elements)
    tell_base(content, _of(file, "dof_basepath"), _of(dataset, "is_dof"))
    _add_information(content, _of(file, "info"), _of(file, "documents"), where)
    _add_model(content, _of(file, "model_info"), where)
    return content


def is_version_2(archive: Archive) -> bool:
    """Whether an archive is a file of DoF 2.x."""
    return BASE in archive and _INFO in archive


def of_zip(archive: Archive, where: str) -> Content:
    """What a zip of DoF 2.x holds; FormatError or SourceError where it is not sound."""

    def part(name: str) -> Any:
        return load(archive.read(name), f"{where}, {name}") if name in archive else None

    base = expect(part(BASE), dict, where, BASE)
    told = expect(part(_INFO), dict, where, _INFO)
    count = expect(base.get("next_id"), int, where, "next_id")
    content = Content(form="2.x zip", next_id=count)
    here = [int(found[1]) for found in map(_OBJECT.fullmatch, archive.names) if found]
    for number in sorted(here):
        about = expect(told.get(number), dict, where, f"element {number} in {_INFO}")
        value = part(f"{number}.obj")
        info = about.get("element_info")
        content.elements.append(
            element(number, about.get("element_type"), value, _content_of(info), where)
        )
    content.deleted = deleted({*here, *told}, {*here}, count, where)
    linked = expect(part(_LINKS), dict, where, _LINKS)
    content.links = links(linked.get("content"), where)
    tell_base(content, part("dof.basepath"), base.get("is_dof"))
    _add_information(content, part("dof.info"), part("dof.documents"), where)
    _add_model(content, part("dof.modelinfo"), where)
    others = [name for name in archive.names if not _OBJECT.fullmatch(name) and name not in _KNOWN]
    if others:
        content.warnings.append(
            f"{len(others):,} files in it are none of DoF's and are left out, such as {others[0]!a}"
        )
    return content


def element(number: int, kind: Any, data: Any, info: Any, where: str) -> Element:
    """An element, of which `data` is a value or an object of the old package that wraps one."""
    if kind not in ("x", "y"):
        raise unfit(where, f"element {number}: x or y", ascii(kind))
    if info is not None:
        info = texts(info, where)
    return Element(
        id=number, is_x=kind == "x", value=unwrapped(data), info=info, elsewhere=is_elsewhere(data)
    )


def deleted(told: set[Any], here: set[int], next_id: int, where: str) -> list[int]:
    """The numbers that were given, but have no element any more."""
    if next_id > 2 * len(here) + 1_000_000:
        raise unfit(where, "next_id near the number of elements", f"{next_id:,}")
    given = told.union(range(next_id))
    return sorted(number for number in given - here if isinstance(number, int))


def links(value: Any, where: str) -> list[tuple[int, int]]:
    """Pairs of the numbers of an X and of a Y."""
    found = []
    for pair in expect(value, list, where, "links"):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise unfit(where, "links: pairs of numbers", pair)
        x, y = (expect(number, int, where, "a linked number") for number in pair)
        found.append((x, y))
    return found


def texts(value: Any, where: str) -> dict[str, Any]:
    """Information: entries by their names, of an object of the old package or a dictionary."""
    entries = value.entries if isinstance(value, Record) else value
    entries = expect(entries, dict, where, "information")
    for name in entries:
        expect(name, str, where, "the name of information")
    return dict(entries)


def unwrapped(value: Any) -> Any:
    """What an object of the old package wraps; any other value as it is."""
    if isinstance(value, Record) and value.name == "dof.core.DofObject":
        return value.state.get("_DofObject__data")
    return value


def is_elsewhere(value: Any) -> bool:
    """Whether an object wraps nothing but the place of a file or a link."""
    if not isinstance(value, Record) or value.state.get("_DofObject__data") is not None:
        return False
    state = value.state
    return bool(state.get("_DofObject__local_path") or state.get("_DofObject__online_link"))


def tell_base(content: Content, path: Any, is_dof: Any) -> None:
    """Note whether the elements are features, and warn of a folder that is left out."""
    if is_dof is False:
        content.notes["is_dof"] = False
        content.warnings.append("the file says of itself that it holds no features of a core")
    if path:
        content.warnings.append("the folder in which it was made is left out")


def _object(value: Any, name: str, where: str) -> Record:
    if not isinstance(value, Record) or value.name != name:
        found = value.name if isinstance(value, Record) else type(value).__name__
        raise unfit(where, name, found)
    return value


def _of(record: Record, name: str) -> Any:
    """An attribute, by its name without the class that Python puts before it."""
    _, _, kind = record.name.rpartition(".")
    return record.state.get(f"_{kind}__{name}")


def _element(number: int, value: Any, where: str) -> Element:
    record = _object(value, "dof.data.DataElement", where)
    data = _of(record, "data")
    return element(number, _of(record, "element_type"), data, _of(record, "info"), where)


def _content_of(told: Any) -> Any:
    """The entries of information that is written as a node of JSON."""
    return told.get("content") if isinstance(told, Mapping) and "instance" in told else told


def _add_information(content: Content, info: Any, documents: Any, where: str) -> None:
    if info is not None:
        content.info = texts(info, where)
    if documents is None:
        return
    items = documents.items if isinstance(documents, Record) else documents
    for item in expect(items, list, where, "documents"):
        record = _object(item, "dof.information.Document", where)
        data = unwrapped(_of(record, "document"))
        content.documents.append(LegacyDocument(data=data, info=texts(record, where)))


def _add_model(content: Content, model: Any, where: str) -> None:
    if model is None:
        return
    record = _object(model, "dof.information.ModelInfo", where)
    for section in SECTIONS:
        found = _of(record, section)
        if found:
            entries = texts(found, where)
            content.model[section] = {name: unwrapped(value) for name, value in entries.items()}
