"""A part is recognised by its seal; whatever the manifest says wrongly of it is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import dof_arrow as dof
from dof_arrow.errors import FormatError
from dof_arrow.format import directory, file
from dof_arrow.format.part import Part
from dof_arrow.format.spec.json_model import Json
from tests.conformance import directories
from tests.conformance.directories import FIRST, SECOND, Files
from tests.conformance.spoil import spoiled


def _folder(tmp_path: Path, files: Files) -> Path:
    folder = tmp_path / "x.dof"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _part(**changes: Callable[..., None]) -> Files:
    """The second part spoiled, and listed with its new size and seal."""
    data = spoiled(directories._made()[SECOND], **changes)
    return {**directories._listing(SECOND, data), SECOND: data}


def _understood(value: Json) -> None:
    value["must_understand"] = ["colour"]


def _later(value: Json) -> None:
    value["version"] = "2.0"


def _rows(value: Json) -> None:
    value["parts"][1]["rows"] += 1


_WRONG: dict[str, tuple[Callable[[], Files], str]] = {
    "columns": (directories._renamed, "does not belong"),
    "rows": (lambda: directories._manifest(_rows), "another rows"),
    "understood": (lambda: _part(meta=_understood), "later version"),
    "version": (lambda: _part(meta=_later), "later version"),
}


@pytest.mark.parametrize("many", [0, 256])
@pytest.mark.parametrize("kind", _WRONG)
def test_a_part_that_is_listed_and_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, many: int
) -> None:
    make, message = _WRONG[kind]
    monkeypatch.setattr(directory, "MANY", many)
    monkeypatch.setattr("dof_arrow.tables.selection.MANY", many)
    folder = _folder(tmp_path, make())
    with pytest.raises(FormatError, match=message):
        _ = dof.open(folder)[256]


def test_any_bit_of_a_footer_turned_is_noticed(tmp_path: Path) -> None:
    files = directories._made()
    folder = _folder(tmp_path, files)
    data = files[SECOND]
    tail = len(file.File(folder / SECOND).tail)
    for place in range(len(data) - tail, len(data), 7):
        turned = bytearray(data)
        turned[place] ^= 1 << place % 8
        (folder / SECOND).write_bytes(turned)
        with pytest.raises(FormatError):
            dof.open(folder)


def test_parts_that_are_as_listed_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path, directories._made())
    made = directory.Directory(folder)
    monkeypatch.setattr(file, "parquet_metadata", None)
    monkeypatch.setattr("dof_arrow.format.part.parquet_metadata", None)
    assert [part.path.name for part in made.parts] == [FIRST, SECOND]
    assert all(isinstance(part, Part) for part in made.parts)
    monkeypatch.undo()
    whole = file.File(folder / FIRST)
    assert made.parts[0].json == whole.json
    assert made.parts[0].parquet.equals(whole.parquet)
    assert made.parts[0].outline.rows == whole.outline.rows
