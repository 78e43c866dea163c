"""Digests that are remembered: read once, and again after any change."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dof_arrow.storage import caches
from dof_arrow.storage.file_digests import FileDigests


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dof-arrow" / "models"


def _remembered(path: Path) -> FileDigests:
    digests = FileDigests()
    assert digests.read(path, path.stat()) == hashlib.sha256(path.read_bytes()).hexdigest()
    digests.save()
    return FileDigests()


def test_a_digest_is_remembered_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"one")
    digests = _remembered(path)
    assert digests.known(path, path.stat()) == hashlib.sha256(b"one").hexdigest()


def test_a_changed_file_is_read_again_though_its_time_was_set_back(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"one")
    before = path.stat()
    digests = _remembered(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert digests.known(path, path.stat()) is None
    assert digests.read(path, path.stat()) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("damaged", [b"", b"[1]", b"{", b'{"a": 5}', b"\xff"])
def test_what_is_damaged_is_forgotten(damaged: bytes, tmp_path: Path, home: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"one")
    _remembered(path)
    (home / "digests.json").write_bytes(damaged)
    assert FileDigests().known(path, path.stat()) is None
    _remembered(path)


def test_a_cache_that_others_can_write_to_is_not_believed(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"one")
    _remembered(path)
    (home / "digests.json").chmod(0o666)
    assert FileDigests().known(path, path.stat()) is None


def test_notes_do_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dof_arrow.storage.file_digests._MOST_NOTES", 2)
    paths = [tmp_path / f"{number}.onnx" for number in range(3)]
    for path in paths:
        path.write_bytes(path.name.encode())
        digests = _remembered(path)
    known = [digests.known(path, path.stat()) is not None for path in paths]
    assert known == [False, True, True]
    assert caches.read("digests.json") is not None
