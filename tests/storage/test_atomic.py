"""Outputs appear whole or not at all: locked sibling, fsync, rename."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.dataset import dataset
from dof_arrow.errors import OutputError
from dof_arrow.storage import atomic
from dof_arrow.storage.atomic import Output, replacing
from tests.support import making


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_it_appears_when_the_block_ends(tmp_path: Path) -> None:
    with replacing(tmp_path / "x") as out:
        out.write(b"wh", b"", np.arange(3, dtype=np.uint8), memoryview(b"ole"))
        assert not (tmp_path / "x").exists()
        assert out.size == 8
    assert (tmp_path / "x").read_bytes() == b"wh\x00\x01\x02ole" and _names(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_block_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), replacing(tmp_path / "x") as out:
        out.write(b"half")
        raise error
    assert _names(tmp_path) == []


def test_an_existing_output_stays_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(OutputError, match=r"exists already.*overwrite"), replacing(tmp_path / "x"):
        pytest.fail("begun all the same")
    assert (tmp_path / "x").read_bytes() == b"old"
    with replacing(tmp_path / "x", overwrite=True) as out:
        out.write(b"new")
    assert (tmp_path / "x").read_bytes() == b"new" and _names(tmp_path) == ["x"]


def test_an_output_that_came_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"), replacing(tmp_path / "x") as out:
        out.write(b"mine")
        (tmp_path / "x").write_bytes(b"theirs")
    assert (tmp_path / "x").read_bytes() == b"theirs" and _names(tmp_path) == ["x"]


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OutputError, match="is a folder"), replacing(tmp_path / "x", overwrite=True):
        pass


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="Make the folder first"),
        replacing(tmp_path / "no" / "x"),
    ):
        pass


def test_a_second_writer_is_refused_and_the_first_unharmed(tmp_path: Path) -> None:
    with replacing(tmp_path / "x") as out:
        out.write(b"first")
        with (
            pytest.raises(OutputError, match="another process is working"),
            replacing(tmp_path / "x") as second,
        ):
            second.write(b"second")
        out.write(b" still")
    assert (tmp_path / "x").read_bytes() == b"first still" and _names(tmp_path) == ["x"]


def test_the_lock_is_held_until_the_output_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = os.rename, []

    def renaming(old: Path, new: Path) -> None:
        with (
            pytest.raises(OutputError, match="another process is working"),
            replacing(tmp_path / "x"),
        ):
            pytest.fail("two at once")
        refused.append(new.name)
        real(old, new)

    monkeypatch.setattr(os, "rename", renaming)
    with replacing(tmp_path / "x") as out:
        out.write(b"whole")
    assert refused == ["x"] and (tmp_path / "x").read_bytes() == b"whole"


def test_a_lock_on_a_file_that_is_gone_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever held it may rename or remove it between our opening and our locking it."""
    real, path = fcntl.flock, tmp_path / ".x.partial"

    def late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        path.unlink()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    file = atomic.lock(path, tmp_path / "x")
    assert os.path.samestat(path.stat(), os.fstat(file))
    os.close(file)


def test_a_lock_file_is_gone_before_its_lock_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be another's that is removed, and two would hold a lock of that name."""
    real, refused = Path.unlink, []

    def unlinking(path: Path, missing_ok: bool = False) -> None:
        with (
            pytest.raises(OutputError, match="another process is working"),
            atomic.locked(path, tmp_path / "x"),
        ):
            pytest.fail("two at once")
        refused.append(path.name)
        real(path, missing_ok)

    with atomic.locked(tmp_path / ".x.lock", tmp_path / "x"):
        monkeypatch.setattr(Path, "unlink", unlinking)
    assert refused == [".x.lock"] and _names(tmp_path) == []


def test_a_link_in_the_temporary_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / ".x.partial").symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError), replacing(tmp_path / "x"):
        pytest.fail("a link was followed")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_what_a_crash_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".x.partial").write_bytes(b"left over, and longer than what comes")
    with replacing(tmp_path / "x") as out:
        out.write(b"new")
    assert (tmp_path / "x").read_bytes() == b"new" and _names(tmp_path) == ["x"]


@given(st.lists(st.binary(max_size=50), max_size=40), st.data())
def test_short_writes_are_written_on(buffers: list[bytes], data: st.DataObject) -> None:
    """A full disk may write short without an error."""
    import tempfile

    real = os.writev

    def short(file: int, views: list[memoryview]) -> int:
        joined = b"".join(views)
        return real(file, [joined[: data.draw(st.integers(1, len(joined)))]])

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "writev", short)
        with replacing(Path(folder, "x")) as out:
            out.write(*buffers)
        assert Path(folder, "x").read_bytes() == b"".join(buffers)
        assert out.size == sum(map(len, buffers))


def test_more_buffers_than_the_system_takes_at_once(tmp_path: Path) -> None:
    with replacing(tmp_path / "x") as out:
        out.write(*[bytes([i % 256]) for i in range(3000)])
    assert (tmp_path / "x").read_bytes() == bytes(i % 256 for i in range(3000))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.ENOSPC, "the disk is full. Free some space"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EIO, "cannot be written: Input/output error"),
        (errno.EROFS, "Choose a folder on a disk that can be written"),
    ],
)
@pytest.mark.parametrize("call", ["writev", "fsync", "rename"])
def test_every_refusal_is_explained_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    told: str,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    (tmp_path / "x").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with (
            pytest.raises(OutputError, match=told),
            replacing(tmp_path / "x", overwrite=True) as out,
        ):
            out.write(b"new")
    assert (tmp_path / "x").read_bytes() == b"old" and _names(tmp_path) == ["x"]


_LIMITED = """
import resource, signal, sys, numpy
from dof_arrow.errors import OutputError
from dof_arrow.format.writer import Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    with Writer(sys.argv[1]) as w:
        ids = [f"{number:05}" for number in range(9000)]
        w.write(ids=ids, vectors={"feature": numpy.ones((9000, 64), "f4")})
except OutputError as error:
    print(error.what)
"""


def test_a_real_limit_writes_short_first_and_is_told(tmp_path: Path) -> None:
    done = making.run(_LIMITED, tmp_path / "x")
    assert (done.returncode, done.stdout) == (0, "cannot be written: File too large\n"), done.stderr
    assert _names(tmp_path) == []


def test_a_real_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if (
        os.geteuid() != 0
        or subprocess.run(command, capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("no small disk can be mounted here")
    try:
        with pytest.raises(
            OutputError, match=r"the disk is full\. Free some space and repeat the command\."
        ):
            making.write(disk / "x", 9000, making.vectors(9000, 64))
        assert _names(disk) == []
        making.write(disk / "x", 90, making.vectors(90, 64))
        assert len(dataset.open(disk / "x")) == 90
    finally:
        subprocess.run(["umount", str(disk)], check=True)


_ENDLESS = """
import sys, numpy
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer
with Writer(sys.argv[1], overwrite=True, geometry=Geometry(64, 4096)) as w:
    for i in range(10**9):
        w.write(ids=[f"{i:09}"], vectors={"feature": numpy.full((1, 64), i, "f4")})
        if i == 1000:
            print("going", flush=True)
        if i > 50_000:
            import time; time.sleep(60)
"""


@pytest.mark.parametrize("wait", [0.0, 0.05])
def test_a_killed_writer_leaves_the_old_file_whole_and_the_next_succeeds(
    tmp_path: Path, wait: float
) -> None:
    path = making.write(tmp_path / "x", 30, making.vectors(30, 4))
    before = path.read_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=making.ROOT,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "going\n"
        with pytest.raises(OutputError, match="another process is working"):
            making.write(path, 3)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == before and _names(tmp_path) == [".x.partial", "x"]
    making.write(path, 40)
    assert len(dataset.open(path)) == 40 and _names(tmp_path) == ["x"]


def test_an_output_knows_its_size(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        out = Output(tmp_path / "x", file.fileno())
        out.write(np.zeros((3, 5), "float16"), np.zeros((0, 5), "float32"))
    assert out.size == (tmp_path / "x").stat().st_size == 30


def test_a_file_object_counts_bytes(tmp_path: Path) -> None:
    with replacing(tmp_path / "x") as out:
        sink = atomic.Sink(out)
        assert sink.writable() and sink.write(np.zeros(3, "float32")) == 12 == sink.tell()


def test_the_folder_is_synced_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def syncing(file: int) -> None:
        done.append("fsync")
        fsync(file)

    def renaming(old: Path, new: Path) -> None:
        done.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "rename", renaming)
    with replacing(tmp_path / "x") as out:
        out.write(b"x")
    assert done == ["fsync", "rename", "fsync"]
    atomic.sync_folder(tmp_path)
