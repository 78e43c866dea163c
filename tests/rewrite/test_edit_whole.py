"""What an edit must neither lose nor hide: fields unknown to us, damage, signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dof_arrow.errors import FormatError, OutputError
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import BINARY, I32, FileMetaData, RowGroup, Struct, get, items
from dof_arrow.format.validation.validate import validate
from tests.support import editing
from tests.support.editing import edit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return editing.write(tmp_path / "x.dof.parquet")


def test_unknown_fields_survive(path: Path) -> None:
    def unknown(struct: Struct) -> None:
        struct[100] = (I32, 7)
        items(struct, FileMetaData.GROUPS)[0][101] = (BINARY, b"later")
        pairs = items(struct, FileMetaData.KEYS)
        pairs[0][9] = (I32, 1)
        footer.put(
            struct, FileMetaData.KEYS, (footer.STRUCT, [*pairs, {1: (BINARY, b"valueless")}])
        )

    editing.with_json(
        path, lambda value: (value.update(later={"a": 1}), value["info"].update(mood="good"))
    )
    editing.resealed(path, unknown)
    original = path.read_bytes()
    edit.edit(path, set={"notes": "n"})
    struct, _, _ = editing.parts(path)
    pairs, keys = items(struct, FileMetaData.KEYS), dict(footer.key_values(struct))
    assert struct[100] == (I32, 7) and items(struct, FileMetaData.GROUPS)[0][101] == (
        BINARY,
        b"later",
    )
    assert pairs[0][9] == (I32, 1) and {1: (BINARY, b"valueless")} in pairs
    assert (
        json.loads(keys[b"dof"])["later"] == {"a": 1}
        and json.loads(keys[b"dof"])["info"]["mood"] == "good"
    )
    assert get(items(struct, FileMetaData.GROUPS)[0], RowGroup.ROWS) == 300
    edit.edit(path, unset=["notes"])
    assert path.read_bytes() == original


def test_the_writer_stays_the_generator(path: Path) -> None:
    def elder(struct: Struct) -> None:
        footer.put(struct, FileMetaData.CREATED_BY, b"another writer")

    editing.with_json(path, lambda value: value["provenance"].update(generator="another writer"))
    editing.resealed(path, elder)
    assert edit.edit(path, set={"title": "x"}).metadata.provenance.generator == "another writer"  # type: ignore[union-attr]
    assert get(editing.parts(path)[0], FileMetaData.CREATED_BY) == b"another writer"


def _refused(path: Path, match: str, **wanted: Any) -> None:
    before = path.read_bytes()
    with pytest.raises((FormatError, OutputError), match=match):
        edit.edit(path, **(wanted or {"set": {"title": "x"}}))
    assert path.read_bytes() == before and not list(path.parent.glob(".*"))


def test_a_broken_seal_is_not_made_good(path: Path) -> None:
    data = path.read_bytes()
    editing.flip(path, data.rindex(b"Lungs"))
    _refused(path, "its seal is false.*dof validate --deep")


def test_a_copy_by_another_program_is_refused(path: Path) -> None:
    pq.write_table(pq.read_table(path), path)
    _refused(path, "another program rewrote it")


def test_damage_of_data_stays_detectable(path: Path) -> None:
    editing.flip(path, editing.parts(path)[1] - 5)
    found = [p.rule for p in validate(path, deep=True)]
    assert "digest-false" in found
    edit.edit(path, set={"title": "x"})
    assert [p.rule for p in validate(path, deep=True)] == found


def test_a_damaged_attachment_is_not_kept(path: Path) -> None:
    data = path.read_bytes()
    editing.flip(path, data.rindex(b"how it was done"))
    _refused(path, "an attachment is damaged.*--detach protocol.txt")
    edit.edit(path, detach=["protocol.txt"])
    assert validate(path, deep=True) == []
    editing.flip(path, path.read_bytes().rindex(b"the picture ends"))
    _refused(path, "an attachment is damaged.*undamaged copy")


def test_bytes_that_nobody_lists_are_not_lost_in_silence(path: Path) -> None:
    editing.resealed(path, lambda struct: None, tail=b"for a later version")
    _refused(path, "attachment-bounds")


def test_an_attachment_out_of_place_is_refused(path: Path) -> None:
    editing.with_json(
        path,
        lambda value: value["errors"].update(
            offset=value["errors"]["offset"] + 1, length=value["errors"]["length"] - 1
        ),
    )
    _refused(path, "attachment-bounds")


@pytest.mark.parametrize(
    ("break_", "rule"),
    [
        (lambda s: items(s, FileMetaData.KEYS)[0].update({1: (BINARY, b"dof.x")}), "schema-arrow"),
        (lambda s: footer.put(items(s, FileMetaData.KEYS)[2], 2, b"AAAA"), "digests-count"),
        (lambda s: footer.put(s, FileMetaData.ROWS, 7), "rows-count"),
    ],
)
def test_a_sealed_file_that_is_wrong_is_refused(
    path: Path, break_: Callable[[Struct], None], rule: str
) -> None:
    editing.resealed(path, break_)
    _refused(path, rule)


def test_a_signature_is_dropped_only_when_asked(path: Path) -> None:
    original = path.read_bytes()
    signature = {1: (BINARY, b"dof.signature"), 2: (BINARY, b"signed")}
    editing.resealed(path, lambda struct: get(struct, FileMetaData.KEYS)[1].append(signature))
    _refused(path, "signed.*--drop-signature")
    edit.edit(path, drop_signature=True)
    assert path.read_bytes() == original
