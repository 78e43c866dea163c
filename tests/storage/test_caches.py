"""The cache of models: what another user may have put there is neither taken over nor believed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import dof_arrow as dof
from dof_arrow.storage import caches

NAME = "0" * 64 + ".onnx"
FOREIGN = "another user may have put this there: expected what only you can write to, found "
OTHER = 65534

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dof-arrow"


def _write(data: bytes = b"mine") -> None:
    with caches.writing(NAME) as out:
        out.write(data)


def test_what_is_written_is_read_and_is_this_users_alone(home: Path) -> None:
    assert caches.read(NAME) is None and not home.exists()
    before = os.umask(0o002)
    try:
        _write()
    finally:
        os.umask(before)
    assert caches.read(NAME) == b"mine"
    made = home.parent, home, home / "models", caches.path_of(NAME)
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700, 0o700, 0o700, 0o600]


def test_what_fails_leaves_nothing(home: Path) -> None:
    with pytest.raises(ValueError, match="no more"), caches.writing(NAME) as out:
        out.write(b"half")
        raise ValueError("no more")
    assert list((home / "models").iterdir()) == []


def test_what_a_crash_left_goes_and_what_is_being_written_stays(home: Path) -> None:
    _write()
    old, new = (home / "models" / f".{NAME}.{name}" for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, time.time() - 2 * 86_400))
    _write(b"again")
    assert (old.exists(), new.exists()) == (False, True) and caches.read(NAME) == b"again"


def test_many_may_write_at_once() -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=_write, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caches.read(NAME) in contents


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _loose(bits: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(path.stat().st_mode | bits)


def _not_mine(path: Path) -> None:
    os.chown(path, OTHER, -1)


DOUBTS = [
    pytest.param(_link, "a link", id="link"),
    pytest.param(_loose(0o020), "mode 0[67]20", id="group"),
    pytest.param(_loose(0o002), "mode 0[67]02", id="world"),
    pytest.param(_not_mine, "a (file|folder) of user 65534", id="owner", marks=root),
]


@pytest.mark.parametrize("part", ["", "models"])
@pytest.mark.parametrize(("change", "found"), DOUBTS)
def test_a_folder_that_may_be_another_users_is_not_used(
    home: Path, part: str, change: Callable[[Path], None], found: str
) -> None:
    _write()
    change(home / part)
    for use in (lambda: caches.read(NAME), lambda: _write(b"taken over")):
        with pytest.raises(dof.OutputError, match=FOREIGN + found):
            use()
    assert (home / "models" / NAME).read_bytes() == b"mine"


@pytest.mark.parametrize(("change", "found"), DOUBTS)
def test_a_file_that_may_be_another_users_is_not_believed(
    change: Callable[[Path], None], found: str
) -> None:
    _write()
    change(caches.path_of(NAME))
    with pytest.raises(dof.OutputError, match=f"{FOREIGN}{found}.* chmod go-w. Else remove it"):
        caches.read(NAME)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_opened(home: Path, make: Callable[[Path], None]) -> None:
    _write()
    caches.path_of(NAME).unlink()
    make(caches.path_of(NAME))
    with pytest.raises(dof.OutputError, match=f"{FOREIGN}no file"):
        caches.read(NAME)


def test_a_place_where_anybody_may_exchange_the_folder_is_not_used(home: Path) -> None:
    _write()
    home.parent.chmod(0o777)
    with pytest.raises(dof.OutputError, match="where anybody may replace it, mode 0777"):
        caches.read(NAME)
    home.parent.chmod(0o1777)  # as /tmp
    assert caches.read(NAME) == b"mine"


def _shared(top: Path) -> Path:
    """A file as huggingface_hub keeps it, by two links."""
    store, blobs, snapshot = (top / name for name in ("blobs/ab", "repo/blobs", "repo/snapshots/c"))
    for folder in (store, blobs, snapshot):
        folder.mkdir(mode=0o755, parents=True)
    (store / "abc").write_bytes(b"theirs")
    (blobs / "tag").symlink_to("../../blobs/ab/abc")
    (snapshot / "x.onnx").symlink_to("../../blobs/tag")
    for path in (top, *top.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return snapshot / "x.onnx"


@pytest.mark.parametrize(
    "part", ["", "repo", "repo/snapshots/c", "repo/blobs", "blobs", "blobs/ab/abc"]
)
@pytest.mark.parametrize(
    "change", [_loose(0o020), _loose(0o002), pytest.param(_not_mine, marks=root)]
)
def test_a_cache_of_others_is_believed_if_nobody_else_can_write_there(
    tmp_path: Path, part: str, change: Callable[[Path], None]
) -> None:
    top = tmp_path / "hub"
    file = _shared(top)
    caches.check_shared(file, top)
    change(top / part)
    with pytest.raises(dof.OutputError, match=f"{FOREIGN}.*chmod -R go-w. Else set HF_HOME"):
        caches.check_shared(file, top)


def test_a_link_out_of_a_cache_of_others_is_not_followed(tmp_path: Path) -> None:
    top = tmp_path / "hub"
    file = _shared(top)
    (tmp_path / "secret").write_bytes(b"mine")
    for target in ("../../../../secret", tmp_path / "secret"):
        file.unlink()
        file.symlink_to(target)
        with pytest.raises(dof.OutputError, match="a link that leads out of the cache"):
            caches.check_shared(file, top)
    file.unlink()
    file.symlink_to(file.name)
    with pytest.raises(dof.OutputError, match="a link"):
        caches.check_shared(file, top)
