"""Files of DoF 1.0: a zip of two JSON texts and a pickle for each input."""

from __future__ import annotations

from typing import Any

from dof_arrow.format.spec import json_model
from dof_arrow.rewrite.legacy.content import Content, Element, expect, unfit
from dof_arrow.storage import restricted_pickle
from dof_arrow.storage.bounded_zip import Archive
from dof_arrow.storage.torch_tensors import TORCH

FOLDER = ".dofinfo/"
DATASET = f"{FOLDER}dataset.json"
ELEMENTS = f"{FOLDER}elementslist.json"


def is_version_1(archive: Archive) -> bool:
    """Whether an archive is a file of DoF 1.0."""
    return DATASET in archive and ELEMENTS in archive


def read(archive: Archive, where: str) -> Content:
    """What a file of DoF 1.0 holds; FormatError or SourceError where it is not sound."""
    info = expect(parsed(archive.read(DATASET), where), dict, where, DATASET)
    listed = expect(parsed(archive.read(ELEMENTS), where), list, where, ELEMENTS)
    rows = len(listed)
    content = Content(form="1.0 zip", info=info, is_numbered=False, next_id=2 * rows)
    paths = 0
    for row, item in enumerate(listed):
        if not isinstance(item, list) or not 1 <= len(item) <= 3:
            raise unfit(where, f"{ELEMENTS}: [y], [y, info] or [y, info, path]", item)
        told = item[1] if len(item) > 1 else None
        if told is not None:
            told = expect(told, dict, where, "information on a record")
        paths += len(item) == 3
        content.elements.append(_input(archive, row, told, where))
        content.elements.append(Element(id=rows + row, is_x=False, value=item[0]))
        content.links.append((row, rows + row))
    if paths:
        content.warnings.append(
            f"{paths:,} records name a file elsewhere, which was not looked at; its path is left "
            "out"
        )
    _tell_others(archive, rows, content)
    return content


def _input(archive: Archive, row: int, info: Any, where: str) -> Element:
    name = f"{row}.out"
    if name not in archive:
        return Element(id=row, is_x=True, value=None, info=info, elsewhere=True)
    data = archive.read(name)
    value = restricted_pickle.load(data, where=f"{where}, {name}", allowed=TORCH)
    return Element(id=row, is_x=True, value=value, info=info)


def _tell_others(archive: Archive, rows: int, content: Content) -> None:
    """Warn of members that are nothing of 1.0's, such as inputs beyond the list."""
    known = {DATASET, ELEMENTS, *(f"{row}.out" for row in range(rows))}
    others = [name for name in archive.names if name not in known]
    if others:
        content.warnings.append(
            f"{len(others):,} files in it belong to no record and are left out, such as "
            f"{others[0]!a}"
        )


def parsed(data: bytes, where: str) -> Any:
    """A JSON text, in which NaN may stand; FormatError for anything else."""
    try:
        return json_model.parsed(data.decode("utf-8-sig"))
    except ValueError as error:
        raise unfit(where, "JSON", f"{type(error).__name__}: {error}") from None
