"""Editing what a file says of itself (rows D6, D11, D12).

Data are untouched, the edit is atomic, nothing is hidden, and no trace is left.
"""

from __future__ import annotations

import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dof_arrow.cli import main
from dof_arrow.dataset import dataset
from dof_arrow.errors import DofWarning, FormatError, OutputError, UsageError
from dof_arrow.format.file import File
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet.footer import FileMetaData
from dof_arrow.format.spec.metadata import Contact
from dof_arrow.format.validation.validate import validate
from dof_arrow.storage import copy
from tests.support import editing, making
from tests.support.editing import edit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return editing.write(tmp_path / "x.dof.parquet")


# What can be said


def test_the_information_section_is_rewritten_d6(path: Path) -> None:
    before = dataset.open(path).metadata
    contact = {"name": "A. Tester", "role": "author", "email": "a@example.org"}
    after = edit.edit(
        path,
        set={
            "title": "Chests",
            "source": "https://example.org/raw",
            "source_license": "MIT",
            "keys.core family": "ResNet",
        },
        unset=["license"],
        contacts=[contact],
    ).metadata
    assert (
        after.info.title == "Chests"
        and after.info.license is None
        and after.info.source_license == "MIT"
    )
    assert after.info.keys == {"ward": "7", "core family": "ResNet"}
    assert after.info.contacts == (Contact(name="A. Tester", role="author", email="a@example.org"),)
    assert (after.uuid, after.provenance, after.columns) == (
        before.uuid,
        before.provenance,
        before.columns,
    )
    assert validate(path, deep=True) == []


def test_a_whole_section_comes_from_a_mapping_or_a_file_d6(path: Path, tmp_path: Path) -> None:
    info = {"notes": "x", "title": "New", "keys": {"b": "2", "a": "1"}, "license": None}
    (tmp_path / "info.json").write_text(json.dumps(info))
    other = editing.write(tmp_path / "y.dof.parquet")
    edit.edit(path, info={**info, "keys": {"a": "1", "b": "2"}}, set={"title": "Newer"})
    after = edit.edit(other, info=tmp_path / "info.json", set={"title": "Newer"}).metadata.info
    assert (after.title, after.notes, after.license, dict(after.keys)) == (
        "Newer",
        "x",
        None,
        {"a": "1", "b": "2"},
    )
    assert path.read_bytes() == other.read_bytes()


def test_contacts_are_added_replaced_and_removed_d12(path: Path) -> None:
    edit.edit(path, contacts=[Contact(name="A"), Contact(name="B")])
    edit.edit(path, contacts=[Contact(name="A", email="a@example.org"), Contact(name="C")])
    contacts = dataset.open(path).metadata.info.contacts
    assert [(c.name, c.email) for c in contacts] == [
        ("A", "a@example.org"),
        ("B", None),
        ("C", None),
    ]
    after = edit.edit(path, unset=["contacts"], contacts=[Contact(name="D")]).metadata.info
    assert [c.name for c in after.contacts] == ["D"]


def test_documents_are_attached_replaced_and_detached_d12(path: Path, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7 results")
    (tmp_path / "empty").write_bytes(b"")
    edit.edit(path, attach=[tmp_path / "report.pdf", tmp_path / "empty"])
    ds = dataset.open(path)
    assert [(d.name, d.media_type, d.length) for d in ds.metadata.documents] == [
        ("protocol.txt", "text/plain", 15),
        ("report.pdf", "application/pdf", 16),
        ("empty", "application/octet-stream", 0),
    ]
    assert (
        ds.document("report.pdf") == b"%PDF-1.7 results"
        and ds.document("protocol.txt") == b"how it was done"
    )
    assert ds.errors == [{"id": "lost", "rule": "truncated", "reason": "the picture ends too soon"}]
    (tmp_path / "protocol.txt").write_bytes(b"how it was really done")
    after = edit.edit(path, detach=["protocol.txt", "empty"], attach=[tmp_path / "protocol.txt"])
    assert [d.name for d in after.metadata.documents] == ["protocol.txt", "report.pdf"]
    assert after.document("protocol.txt") == b"how it was really done"
    assert validate(path, deep=True) == []


def test_training_and_performance_are_said_and_unsaid_d11(path: Path, tmp_path: Path) -> None:
    original = path.read_bytes()
    performance = {"f1": 0.4, "roc": {"auc": 0.8, "thresholds": []}, "note": None}
    training = {"intended_use": "screening", "device_limitations": "", "batch_size": 256}
    (tmp_path / "t.json").write_text(json.dumps(training))
    after = edit.edit(path, training=tmp_path / "t.json", performance=performance).metadata
    assert after.training == {"intended_use": "screening", "batch_size": 256}
    assert after.performance == {"f1": 0.4, "roc": {"auc": 0.8}}
    assert validate(path, deep=True) == []
    assert edit.edit(path, training={"frozen": 1}).metadata.training == {"frozen": 1}
    assert edit.edit(path, training={"frozen": True}).metadata.training["frozen"] is True
    edit.edit(path, unset=["training", "performance"])
    assert path.read_bytes() == original


def test_unusual_licences_and_sections_are_remarked_not_refused(path: Path) -> None:
    with pytest.warns(DofWarning, match=r"'CC BY 4.0' is no SPDX"):
        edit.edit(path, set={"license": "CC BY 4.0"})
    with pytest.warns(DofWarning, match="did you mean batch_size"):
        edit.edit(path, training={"batchsize": 7})
    edit.edit(path, set={"title": "no word about an old licence"})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"set": {"licence": "MIT"}}, "Did you mean license?"),
        ({"set": {"title.x": "a"}}, "no such field"),
        ({"set": {"keys.": "a"}}, "no such field"),
        ({"unset": ["tilte"]}, "Did you mean title?"),
        ({"info": {"titel": "a"}}, "Did you mean title?"),
        ({"set": {"title": 7}}, r"\$.info.title.*expected string, found 7"),
        ({"set": {"keys.n": 7}}, r"\$.info.keys.n"),
        ({"contacts": [{"email": "a@example.org"}]}, r"contacts\[0\].name"),
        ({"training": {"x": float("nan")}}, "no JSON"),
        ({"training": {"x": object()}}, "no JSON"),
        ({"set": {"title": "\udcff"}}, "no JSON"),
        ({"detach": ["x.pdf"]}, "no such document: expected protocol.txt"),
        ({"attach": ["no-such-file"]}, "no such file"),
        ({"attach": ["protocol.txt"]}, "--detach protocol.txt --attach protocol.txt"),
        ({"attach": ["a.txt", "folder/a.txt"]}, "document-name"),
        ({"attach": ["back\\slash"]}, "document-name"),
        ({"info": "broken.json"}, "not readable as JSON"),
        ({"info": "list.json"}, "not readable as JSON"),
        ({"info": "no-such-file"}, "no such file"),
    ],
)
def test_what_cannot_be_said(
    path: Path, wanted: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    Path("folder").mkdir()
    for name in ("a.txt", "folder/a.txt", "back\\slash", "protocol.txt"):
        Path(name).write_text("x")
    Path("broken.json").write_text('{"a": NaN}')
    Path("list.json").write_text("[]")
    before, there = path.read_bytes(), sorted(os.listdir())
    with pytest.raises((UsageError, FormatError), match=message):
        edit.edit(path, **wanted)
    assert path.read_bytes() == before and sorted(os.listdir()) == there


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        edit.edit(tmp_path / "none.parquet", set={"title": "x"})
    assert not list(tmp_path.iterdir())


# Bytes


def test_data_bytes_and_row_groups_stay(path: Path) -> None:
    before, (old, end, _) = path.read_bytes(), editing.parts(path)
    edit.edit(path, set={"title": "x" * 100_000}, detach=["protocol.txt"])
    new, new_end, _ = editing.parts(path)
    assert new_end == end and path.read_bytes()[:end] == before[:end]
    assert {**new, FileMetaData.KEYS: None} == {**old, FileMetaData.KEYS: None}
    old_keys, new_keys = dict(footer.key_values(old)), dict(footer.key_values(new))
    kept = [digests.decode_digests(k[digests.DIGESTS]) for k in (old_keys, new_keys)]
    assert kept[0] and kept[1] and kept[0][:-1] == kept[1][:-1] and kept[0][-1] != kept[1][-1]
    assert pq.read_table(path).schema.metadata[b"dof"] == new_keys[b"dof"]


def test_data_are_not_hashed_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    real = digests.hashlib.sha256

    class Counting:
        def __init__(self, data: bytes = b"") -> None:
            self.state = real(data)
            hashed.append(len(data))

        def update(self, data: bytes) -> None:
            self.state.update(data)
            hashed.append(len(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.state, name)

    monkeypatch.setattr(digests.hashlib, "sha256", Counting)
    edit.edit(path, set={"title": "x"})
    _, end, _ = editing.parts(path)
    footers = 3 * (path.stat().st_size - end)
    assert 0 < sum(hashed) < footers < end


@pytest.mark.parametrize("kind", ["compact", "groups", "no rows"])
def test_other_layouts(tmp_path: Path, kind: str) -> None:
    if kind == "groups":
        path = making.write(tmp_path / "x.parquet", 3000, making.vectors(3000, 4), group=1024)
        assert pq.read_metadata(path).num_row_groups == 3
    else:
        path = editing.write(
            tmp_path / "x.parquet",
            rows=0 if kind == "no rows" else 300,
            layout="mapped" if kind == "no rows" else "compact",
        )
    original, title = path.read_bytes(), dataset.open(path).metadata.info.title
    edit.edit(path, set={"notes": "n", "title": "t"}, attach=[__file__])
    assert validate(path, deep=True) == []
    edit.edit(path, set={"title": title}, unset=["notes"], detach=["test_edit.py"])
    assert path.read_bytes() == original


WAYS = ("the system's", "short", "interrupted", "none", "shared")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_copying_gives_the_same_bytes(
    path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = path.with_name("expected")
    edit.edit(path, set={"title": "x"}, out=expected)
    real, calls = os.copy_file_range, iter(range(10**6))

    def copying(old: int, new: int, count: int, at: int, to: int) -> int:
        if way == "none" or (way == "interrupted" and next(calls) == 3):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return real(old, new, min(count, 1000), at, to)

    def cloning(new: int, request: int, old: int) -> None:
        assert request == 0x40049409
        os.pwrite(new, os.pread(old, os.fstat(old).st_size, 0), 0)

    if way == "shared":
        monkeypatch.setattr("fcntl.ioctl", cloning)
    elif way != "the system's":
        monkeypatch.setattr(os, "copy_file_range", copying)
    edit.edit(path, set={"title": "x"})
    assert path.read_bytes() == expected.read_bytes()


def test_a_short_read_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, real = bytes(range(256)) * 20, os.pread
    (tmp_path / "x").write_bytes(data)
    with (tmp_path / "x").open("rb") as file:
        monkeypatch.setattr(os, "pread", lambda f, count, at: real(f, min(count, 1000), at))
        assert b"".join(copy.blocks(file.fileno(), 7, len(data) + 9)) == data[7:]


def test_a_file_that_becomes_shorter_is_no_copy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    monkeypatch.setattr("dof_arrow.storage.copy._copied", lambda old, new, size: 0)
    monkeypatch.setattr("dof_arrow.storage.copy.blocks", lambda *_: [before[:10]])
    with pytest.raises(OutputError, match="became shorter"):
        edit.edit(path, set={"title": "x"})
    assert path.read_bytes() == before


def test_the_order_of_edits_leaves_no_trace(path: Path) -> None:
    other = path.with_name("other")
    edit.edit(path, out=other)
    assert other.read_bytes() == path.read_bytes()
    edit.edit(
        path,
        set={"keys.b": "2", "notes": "n", "description": "d", "keys.a": "1"},
        training={"seed": 1},
    )
    for wanted in ({"keys.a": "1"}, {"description": "d"}, {"notes": "n"}, {"keys.b": "2"}):
        edit.edit(other, set=wanted)
    edit.edit(other, training={"seed": 1})
    assert other.read_bytes() == path.read_bytes()


def test_nothing_to_do_writes_nothing(path: Path) -> None:
    before = path.stat()
    edit.edit(path, set=dict(title="Lungs"), unset=["notes", "keys.none"])
    assert path.stat().st_ino == before.st_ino and path.stat().st_mtime_ns == before.st_mtime_ns


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
FIELDS = st.sampled_from(
    ["title", "description", "source", "license", "citation", "homepage", "notes"]
)
KEYS = st.builds("keys.{}".format, st.text("abcwz.é", min_size=1, max_size=4))


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(FIELDS | KEYS, TEXTS, max_size=6),
    st.sampled_from([{}, editing.INFO]),
    st.integers(0, 99),
)
@pytest.mark.filterwarnings("ignore::dof_arrow.errors.DofWarning")
def test_what_is_set_and_set_back_leaves_the_original_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    wanted: dict[str, str],
    start: dict[str, Any],
    seed: int,
) -> None:
    path = editing.write(tmp_path_factory.getbasetemp() / "property.dof.parquet", start, rows=3)
    original = path.read_bytes()
    held = {k: v for k, v in start.items() if k != "keys"}
    held.update({f"keys.{k}": v for k, v in start.get("keys", {}).items()})
    edit.edit(path, set=wanted)
    assert dict(dataset.open(path).metadata.info.keys) == {
        k[5:]: v for k, v in {**held, **wanted}.items() if k.startswith("keys.")
    }
    back = list(wanted)
    random.Random(seed).shuffle(back)
    for name in back:
        if name in held:
            edit.edit(path, set={name: held[name]})
        else:
            edit.edit(path, unset=[name])
    assert path.read_bytes() == original


# The command


def _dof(*arguments: object) -> int:
    return main.main([str(a) for a in arguments])


def test_command_d6_d12(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.pdf").write_bytes(b"%PDF")
    before = path.read_bytes()
    wanted = [
        "--set",
        "title=Chests = lungs",
        "--set",
        "keys.ward=9",
        "--unset",
        "license",
        "--attach",
        tmp_path / "report.pdf",
        "--detach",
        "protocol.txt",
        "--contact",
        "name=Doe, Jane,email=j@example.org",
    ]
    assert _dof("edit", path, *wanted, "--dry-run", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert path.read_bytes() == before and report["written"] is False
    assert {c["where"]: (c["old"], c["new"]) for c in report["changes"]} == {
        "info.title": ("Lungs", "Chests = lungs"),
        "info.license": ("CC-BY-4.0", None),
        "info.keys.ward": ("7", "9"),
        "info.contacts": (None, [{"name": "Doe, Jane", "email": "j@example.org"}]),
        "documents.report.pdf": (None, f"application/pdf, 4 bytes, from {tmp_path / 'report.pdf'}"),
        "documents.protocol.txt": ("text/plain, 15 bytes", None),
    }
    assert _dof("edit", path, *wanted) == 0
    said = capsys.readouterr()
    assert "Chests = lungs" in said.out and f"dof info {path}" in said.err
    assert dataset.open(path).metadata.info.contacts[0].name == "Doe, Jane"
    assert _dof("edit", path, "--set", "keys.ward=9") == 0
    assert "nothing to change" in capsys.readouterr().out


def test_command_templates_d11(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _dof("edit", "--template", "performance") == 0
    said = capsys.readouterr()
    template = json.loads(said.out)
    assert "roc.auc" in said.err and template["confusion_matrix"] and template["f1"] is None
    template["f1"] = 0.4
    (tmp_path / "filled.json").write_text(json.dumps(template))
    assert _dof("edit", path, "--performance", tmp_path / "filled.json") == 0
    assert dataset.open(path).metadata.performance == {"f1": 0.4}
    capsys.readouterr()
    assert _dof("edit", path, "--template", "performance") == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 0.4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "title"], "NAME=TEXT"),
        (["--set", "licence=MIT"], "Did you mean license?"),
        (["--contact", "email=a@example.org"], "no name="),
        (["--detach", "x"], "no such document"),
        (["--from", "none.json"], "no such file"),
    ],
)
def test_command_misused(
    path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = path.read_bytes()
    assert _dof("edit", path, *arguments) == 2
    assert message in capsys.readouterr().err and path.read_bytes() == before


def test_command_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert _dof("edit") == 2
    assert "FILE" in capsys.readouterr().err


def test_the_plan_says_what_changes(path: Path) -> None:
    plan = edit.prepare(path, edit.Wanted(set={"title": "x"}))
    assert plan.changes == [edit.Change(where="info.title", old="Lungs", new="x")]
    assert isinstance(plan.source, File) and plan.source.json["info"]["title"] == "Lungs"
