"""Models found by their SHA-256: in folders and in the cache, with bounds."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dof_arrow.cores.origins import by_digest
from dof_arrow.storage.file_digests import FileDigests


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dof-arrow" / "models"


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder with files of one name and other content, at several depths."""
    folder = tmp_path / "data"
    for place in (".", "cores", "cores/deeper", "other"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "core.onnx").write_bytes(place.encode())
    (folder / "cores.txt").write_bytes(b"text")
    return folder


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_files_of_one_name_are_told_apart_by_their_bytes(beside: Path) -> None:
    for place in (".", "cores"):
        looked = by_digest.look({digest(place.encode())}, [beside])
        assert list(looked.found.values()) == [(beside / place / "core.onnx").resolve()]


def test_a_look_goes_one_folder_deep_and_to_onnx_files_alone(beside: Path) -> None:
    hidden = {digest(data) for data in (b"cores/deeper", b"other", b"text")}
    looked = by_digest.look(hidden, [beside, beside])
    assert (looked.found, looked.files) == ({}, 2)
    assert looked.folders == [beside.resolve(), beside.resolve() / "cores"]


def test_no_more_is_read_than_is_allowed(beside: Path) -> None:
    """The small file is read, the large one named; a remembered digest costs nothing."""
    large = beside / "large.onnx"
    large.write_bytes(bytes(1000))
    wanted = {digest(large.read_bytes())}
    looked = by_digest.look(wanted, [beside], most_bytes=999)
    assert (looked.found, looked.skipped) == ({}, [large.resolve()])
    digests = FileDigests()
    digests.read(large.resolve(), large.stat())
    digests.save()
    looked = by_digest.look(wanted, [beside], most_bytes=999)
    assert (list(looked.found.values()), looked.skipped) == ([large.resolve()], [])


@pytest.mark.skipif(os.name == "nt", reason="no pipes")
def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "gone.onnx").symlink_to(tmp_path / "nothing")
    assert by_digest.look({"0" * 64}, [tmp_path, tmp_path / "none"]).files == 0


def test_what_is_kept_is_found_and_kept_once(home: Path) -> None:
    by_digest.keep(b"a core")
    assert by_digest.cached(digest(b"a core")) == home / f"{digest(b'a core')}.onnx"
    assert by_digest.cached(digest(b"another")) is None
    before = os.stat(home / f"{digest(b'a core')}.onnx").st_mtime_ns
    by_digest.keep(b"a core")
    assert os.stat(home / f"{digest(b'a core')}.onnx").st_mtime_ns == before


def test_a_download_is_found_by_its_note_and_not_kept_twice(home: Path) -> None:
    by_digest.keep(b"something")
    (home / "address.onnx").write_bytes(b"a core")
    (home / "address.sha256").write_text(f"{digest(b'a core')}  address.onnx\n")
    assert by_digest.cached(digest(b"a core")) == home / "address.onnx"
    by_digest.keep(b"a core")
    assert not (home / f"{digest(b'a core')}.onnx").exists()


def test_a_damaged_file_of_the_cache_is_not_taken(home: Path) -> None:
    by_digest.keep(b"a core")
    (home / f"{digest(b'a core')}.onnx").write_bytes(b"a c0re")
    assert by_digest.cached(digest(b"a core")) is None


def test_where_nothing_can_be_kept_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    by_digest.keep(b"a core")
