"""Folders with links, pipes and faults of every kind: read to the end, and nothing left out unsaid."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dof_arrow.errors import SourceError
from dof_arrow.sources import walk
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Sample
from dof_arrow.system import open_file
from tests.sources.listed import Make, keys, rule

BAD_NAME = os.fsdecode(b"\xff.png")


def counts(root: Path) -> dict[str, int]:
    return {name: count for name, count in open_source(root).counts.items() if count}


def test_links_to_files_are_followed_wherever_they_lead(folder: Make, tmp_path: Path) -> None:
    root = folder("a.png", "sub/b.png")
    store = tmp_path / "store" / "blobs"
    store.mkdir(parents=True)
    (store / "0f3a").write_bytes(b"blob")
    (root / "c.png").symlink_to(store / "0f3a")
    (root / "d.png").symlink_to("../store/blobs/0f3a")
    (root / "e.png").symlink_to("sub/b.png")
    source = open_source(root)
    assert keys(source) == ["a.png", "c.png", "d.png", "e.png", "sub/b.png"]
    assert [source[i].load() for i in (1, 2, 3)] == [b"blob", b"blob", b"sub/b.png"]


def test_a_link_into_a_hidden_store_of_the_tree_is_followed(folder: Make) -> None:
    root = folder(".git/annex/objects/x.png", ".git/annex/folder/y.png")
    (root / "x.png").symlink_to(".git/annex/objects/x.png")
    (root / "linked").symlink_to(".git/annex/folder")
    assert keys(open_source(root)) == ["linked/y.png", "x.png"]
    assert counts(root) == {"hidden": 1}


def test_linked_folders_are_read_once_each(folder: Make, tmp_path: Path) -> None:
    root = folder("in/a.png")
    away = tmp_path / "away"
    (away / "deep").mkdir(parents=True)
    (away / "b.png").write_bytes(b"b")
    (away / "deep" / "c.png").write_bytes(b"c")
    (root / "again").symlink_to(root / "in")  # read where it lies
    (root / "m").symlink_to(away)
    (root / "n").symlink_to(away)
    (root / "p").symlink_to(away / "deep")
    source = open_source(root)
    assert keys(source) == ["in/a.png", "m/b.png", "m/deep/c.png"] and source[2].load() == b"c"
    assert counts(root) == {"linked_folders": 3}


def test_loops_end_and_are_counted(folder: Make, tmp_path: Path) -> None:
    root = folder("a.png", "sub/b.png")
    away = tmp_path / "away"
    away.mkdir()
    (away / "c.png").write_bytes(b"c")
    (away / "back").symlink_to(root)
    (root / "self").symlink_to(".")
    (root / "up").symlink_to("..")
    (root / "all").symlink_to("/")
    (root / "sub" / "up").symlink_to("..")
    (root / "away").symlink_to(away)
    assert keys(open_source(root)) == ["a.png", "away/c.png", "sub/b.png"]
    assert counts(root) == {"loops": 5}


def test_links_that_lead_nowhere_fail_by_name(folder: Make) -> None:
    root = folder("a.png")
    (root / "gone.png").symlink_to("nothing.png")
    (root / "self.png").symlink_to("self.png")
    (root / "notes.txt").symlink_to("nothing")
    source = open_source(root)
    assert keys(source) == ["a.png", "gone.png", "self.png"] and source.counts == {"ignored": 1}
    assert rule(source[1]) == "missing" and rule(source[2]) == "unreadable"
    assert source[1].stamp() is source[2].stamp() is None


def test_pipes_sockets_and_devices_are_left_out_and_never_waited_for(
    folder: Make, tmp_path: Path
) -> None:
    root = folder("a.png")
    os.mkfifo(root / "pipe.png")
    (root / "null.png").symlink_to("/dev/zero")
    (root / "piped.png").symlink_to("pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "s.png"))
        assert counts(root) == {"special": 4} and keys(open_source(root)) == ["a.png"]
    for path in (root / "pipe.png", Path("/dev/zero"), root):
        with pytest.raises(OSError, match="not a regular file"):
            open_file(path)
        with pytest.raises(SourceError):
            open_source(root / "pipe.png")
    assert rule(Sample(key="k", data=root / "pipe.png")) == "unreadable"


def test_names_that_are_not_utf8_are_counted_wherever_they_lie(folder: Make) -> None:
    root = folder("a.png", "sub/b.png")
    try:
        (root / BAD_NAME).write_bytes(b"")
    except OSError:
        pytest.skip("this file system keeps names in Unicode")
    (root / os.fsdecode(b"d\xe9")).mkdir()
    (root / os.fsdecode(b"d\xe9") / "c.png").write_bytes(b"")
    assert keys(open_source(root)) == ["a.png", "sub/b.png"] and counts(root) == {"not_utf8": 2}
    assert not walk.is_utf8(BAD_NAME)


class Failing:
    """`os.scandir`, failing for some folders at once or after their first entry."""

    def __init__(self, at_once: str = "", later: str = "") -> None:
        self.at_once = at_once
        self.later = later
        self.scandir = os.scandir

    def __call__(self, path: Any) -> Any:
        name = os.path.basename(os.fspath(path).rstrip("/"))
        if name == self.at_once:
            raise PermissionError(13, "Permission denied")
        return _Entries(self.scandir(path), fails=name == self.later)


class _Entries:
    def __init__(self, entries: Any, fails: bool) -> None:
        self.entries = entries
        self.fails = fails

    def __enter__(self) -> Iterator[os.DirEntry[str]]:
        return self._given()

    def __exit__(self, *_: object) -> None:
        self.entries.close()

    close = __exit__

    def _given(self) -> Iterator[os.DirEntry[str]]:
        for entry in sorted(self.entries, key=lambda entry: str(entry.name)):
            yield entry
            if self.fails:
                raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (Failing(at_once="shut"), ["a.png", "broken/b.png", "broken/c.png"]),
        (Failing(later="broken"), ["a.png", "broken/b.png", "shut/d.png"]),
    ],
)
def test_folders_that_cannot_be_read_are_counted_and_the_others_go_on(
    folder: Make, monkeypatch: pytest.MonkeyPatch, fault: Failing, left: list[str]
) -> None:
    root = folder("a.png", "broken/b.png", "broken/c.png", "shut/d.png")
    monkeypatch.setattr(walk.os, "scandir", fault)
    assert keys(open_source(root)) == left and counts(root) == {"unreadable": 1}


def test_a_folder_that_vanishes_during_the_walk_is_counted(
    folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder("a.png", "gone/b.png")
    real = os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if os.fspath(path).endswith("gone/"):
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, **options)

    monkeypatch.setattr(walk.os, "stat", stat)
    assert keys(open_source(root)) == ["a.png"] and counts(root) == {"unreadable": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_one_may_not_read(folder: Make) -> None:
    root = folder("a.png", "b.png", "shut/c.png")
    (root / "b.png").chmod(0)
    (root / "shut").chmod(0)
    try:
        source = open_source(root)
        assert keys(source) == ["a.png", "b.png"] and rule(source[1]) == "unreadable"
        assert counts(root) == {"unreadable": 1}
    finally:
        (root / "shut").chmod(0o700)


def test_the_folder_itself_must_be_readable(folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder("a.png")
    monkeypatch.setattr(walk.os, "scandir", Failing(at_once="pictures"))
    with pytest.raises(SourceError, match="the folder cannot be read: found Permission denied"):
        open_source(root)


def test_all_faults_in_one_folder(folder: Make, tmp_path: Path) -> None:
    root = folder("a.png", ".DS_Store", "readme.txt", "DICOMDIR", "x/b.png")
    (root / "loop").symlink_to("..")
    (root / "twice").symlink_to("x")
    (root / "gone.png").symlink_to("gone")
    os.mkfifo(root / "x" / "pipe")
    with suppress(OSError):
        (root / "x" / BAD_NAME).write_bytes(b"")
    found = counts(root)
    found.pop("not_utf8", None)
    assert found == dict.fromkeys(
        ("dicomdir", "hidden", "ignored", "linked_folders", "loops", "special"), 1
    )
    assert keys(open_source(root)) == ["a.png", "gone.png", "x/b.png"]


def test_every_order_of_a_folder_gives_the_same_listing(
    folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder("a.png")
    away = tmp_path / "away"
    away.mkdir()
    (away / "b.png").write_bytes(b"b")
    for name in "zyx":
        (root / name).symlink_to(away)
    expected = keys(open_source(root))
    assert expected == ["a.png", "x/b.png"]
    real = os.scandir

    def reversed_scandir(path: Any) -> Any:
        return _Listed(sorted(real(path), key=lambda entry: str(entry.name), reverse=True))

    monkeypatch.setattr(walk.os, "scandir", reversed_scandir)
    assert keys(open_source(root)) == expected


class _Listed(list[Any]):
    def __enter__(self) -> _Listed:
        return self

    def __exit__(self, *_: object) -> None: ...

    close: Callable[..., None] = __exit__


def test_clips_in_folders_with_links(folder: Make, tmp_path: Path) -> None:
    root = folder("one/a.png", "one/notes.txt", "two/b.png")
    (root / "two" / "gone.png").symlink_to("nothing")
    source = open_source(root, clips=True)
    assert keys(source) == ["one", "two"] and source.counts == {"ignored": 1}
    before = source[1].stamp()
    (root / "two" / "b.png").write_bytes(b"longer than before")
    assert before is not None and source[1].stamp() != before
