"""Folders and single files as sources, and what a sample is."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import pytest

from dof_arrow.errors import OutputError, SourceError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.security.keys import load_or_make_key
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Sample, Source
from tests.sources.listed import Make, column, keys, png, rule


def test_a_folder_in_order_at_any_depth_with_hidden_and_other_files_left_out(folder: Make) -> None:
    files = open_source(
        folder("b.png", "a/x.JPG", "a/.hidden.png", ".git/c.png", "a.png", "notes.txt", "é/ü.tif")
    )
    assert keys(files) == ["a.png", "a/x.JPG", "b.png", "é/ü.tif"]
    assert files.counts == {"hidden": 2, "ignored": 1} and files[1].load() == b"a/x.JPG"
    assert (files.targets, files.kept, files.has_group, files.has_split) == ({}, {}, False, False)
    with pytest.raises(IndexError):
        files[4]


def test_class_folders_when_asked(folder: Make) -> None:
    files = open_source(folder("dog/1.png", "cat/2.png", "cat/deep/0.png"), label="folder")
    assert files.targets == {"label": Target(kind="category", classes=("cat", "dog"))}
    assert column(files, "label") == [0, 0, 1]
    with pytest.raises(SourceError, match="1 at the top"):
        open_source(folder("loose.png"), label="folder")


def test_one_picture_is_a_source_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "picture.bin").write_bytes(png())
    files = open_source(tmp_path / "picture.bin")
    assert keys(files) == ["picture.bin"] and files[0].load() == png()
    (tmp_path / "text.png").write_bytes(b"hello")
    with pytest.raises(SourceError, match="not a picture"):
        open_source(tmp_path / "text.png")


def test_folders_that_hold_nothing(folder: Make, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        open_source(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="an empty folder"):
        open_source(tmp_path / "empty")
    with pytest.raises(SourceError, match=r"2 other files.*--table"):
        open_source(folder("a.txt", "b.csv"))


def test_the_folder_itself_may_be_a_link(folder: Make, tmp_path: Path) -> None:
    root = folder("a.png", "b.png")
    (root / "c.png").symlink_to("a.png")
    (tmp_path / "link").symlink_to(root)
    assert len(open_source(tmp_path / "link")) == 3


def test_a_file_that_cannot_be_read_names_no_path(folder: Make, tmp_path: Path) -> None:
    files = open_source(folder("a.png"))
    (files.root / "a.png").unlink()
    assert rule(files[0]) == "missing"
    (files.root / "a.png").mkdir()
    assert rule(files[0]) == "unreadable"
    os.mkfifo(tmp_path / "pipe")
    assert rule(Sample(key="pipe", data=tmp_path / "pipe")) == "unreadable"


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 31)
    assert rule(open_source(tmp_path)[0]) == "too-large"


def test_samples_and_sources_cross_processes(folder: Make) -> None:
    files = open_source(folder("a/x.png"), label="folder")
    assert pickle.loads(pickle.dumps(files[0])) == files[0] == pickle.loads(pickle.dumps(files))[0]


def test_a_source_of_ones_own_takes_ten_lines() -> None:
    class Mine:
        targets = {"digit": Target(kind="category", classes=("0", "1"))}
        kept: dict[str, str] = {}
        has_group = has_split = False

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Sample:
            return Sample(key=f"{index}", data=png(), target={"digit": index})

    source: Source = Mine()
    assert keys(source) == ["0", "1"] and source[1].load() == png()


def test_a_key_is_made_once_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    key, made, path = load_or_make_key()
    assert made and len(key) == 32 and path == tmp_path / "config" / "dof-arrow" / "id.key"
    assert path.stat().st_mode & 0o777 == 0o600 and path.read_text() == key.hex() + "\n"
    assert load_or_make_key() == (key, False, path) and os.listdir(path.parent) == ["id.key"]


def test_without_an_xdg_folder_the_key_lies_under_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_or_make_key()[2] == tmp_path / ".config" / "dof-arrow" / "id.key"


def test_processes_that_race_for_a_key_share_one(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        results = pool.map(load_or_make_key, [tmp_path / "id.key"] * 32, chunksize=1)
    assert len({key for key, _, _ in results}) == 1
    assert sum(made for _, made, _ in results) == 1
    assert os.listdir(tmp_path) == ["id.key"]


@pytest.mark.parametrize("content", [b"", b"secret words", b"ab" * 31, b"\xff" * 64])
def test_a_file_that_holds_no_key_is_neither_used_nor_quoted(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "id.key").write_bytes(content)
    with pytest.raises(UsageError, match="64 hexadecimal digits") as caught:
        load_or_make_key(tmp_path / "id.key")
    assert "secret" not in str(caught.value) and (tmp_path / "id.key").read_bytes() == content


def test_a_key_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="--id-key"):
        load_or_make_key(tmp_path / "file" / "id.key")
