"""Worker processes: none outlives its loader or its owner, and what goes wrong in one is told."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import dof_arrow as dof
from dof_arrow.errors import SourceError, UsageError
from dof_arrow.loader.raw import worker_pool
from dof_arrow.loader.raw.pictures import Pictures
from tests.support.making import ROOT
from tests.support.pictures import Memory


def _running(of: int | None = None) -> list[int]:
    """Processes of one that serve a crew."""
    children = psutil.Process(of).children()
    return [
        child.pid
        for child in children
        if "dof_arrow.loader.raw.worker_pool" in " ".join(child.cmdline())
    ]


def _gone(pids: list[int]) -> bool:
    _, alive = psutil.wait_procs(
        [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=20
    )
    return not alive


class Shy(Memory):
    """A source whose pictures are of a class that no other process knows."""

    def data(self, index: int) -> Any:
        class Own:
            read = staticmethod(lambda: b"P6 4 4 255 " + bytes(48))
            stamp = staticmethod(lambda: index)

        return Own()


_OWN_CLASS = """
import dof_arrow as dof
from tests.support.pictures import Memory

class Own:
    def read(self):
        return b"P6 4 4 255 " + bytes(48)
    def stamp(self):
        return 0

Memory.data = lambda *_: Own()
try:
    list(dof.pictures(Memory(3)).loader(workers=1))
except dof.UsageError as error:
    print(error)
"""


def test_what_cannot_be_sent_to_a_process_is_said(tmp_path: Path) -> None:
    pics = dof.pictures(Shy(3))
    assert next(iter(pics.loader())).shape == (3, 4, 4, 3)
    loader = pics.loader(workers=1)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"worker process.*leave out workers="):
            list(loader)
    command = [sys.executable, "-c", _OWN_CLASS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "leave out workers=" in done.stdout and not done.stderr, done.stderr
    with pytest.raises(UsageError, match="label"):
        dof.pictures(Shy(3), label="x")


def test_g2_no_process_outlives_its_loader(pics: Pictures) -> None:
    """Dropped midway, at an error, at the end: none is left; between epochs they are kept."""
    before = set(_running())
    loader = pics.loader(batch_size=8, workers=2)
    begun = iter(loader)
    next(begun)
    pids = [pid for pid in _running() if pid not in before]
    assert len(pids) == 2
    del begun
    list(loader)
    assert [pid for pid in _running() if pid not in before] == pids
    del loader
    gc.collect()
    assert _gone(pids)


def test_a_process_that_dies_is_an_error(pics: Pictures) -> None:
    before = set(_running())
    loader = pics.loader(batch_size=8, workers=1)
    list(loader)
    (pid,) = set(_running()) - before
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SourceError, match=r"worker process has ended.*-9"):
        list(loader)


def test_what_work_raises_reaches_the_caller(pics: Pictures) -> None:
    helper = worker_pool.WorkerProcess(_fails, 1 << 12)
    with pytest.raises(UsageError, match="no such thing"):
        helper([1], np.zeros((1, 4), np.uint8))
    assert helper([], np.zeros((0, 4), np.uint8)) == []


def _fails(tasks: Any, out: Any) -> list[Any]:
    print("printed text is no answer")
    if tasks:
        raise UsageError("no such thing")
    return []


_SCRIPT = """
import sys, time
import dof_arrow as dof
loader = dof.pictures(sys.argv[1]).loader(batch_size=4, workers=2, shuffle=True, augment="photo")
print("begun", flush=True)
while True:
    for x in loader:
        print("batch", flush=True)
"""


@pytest.fixture
def endless(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A script without a main guard that trains on and on."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_owner(
    endless: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert endless.stdout is not None
    while endless.stdout.readline() != "batch\n":
        assert endless.poll() is None
    pids = _running(endless.pid)
    assert len(pids) == 2
    os.killpg(endless.pid, number)
    _, said = endless.communicate(timeout=30)
    assert _gone(pids) and said.count("Traceback") == (number == signal.SIGINT), said


_MEMORY = """
import sys, dof_arrow as dof
from pathlib import Path
def held():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])
pics = dof.pictures(sys.argv[1], size=(400, 600)).take(list(range(44)) * 10)
loader = pics.loader(batch_size=16, shuffle=True, workers=1)
before, most = held(), 0
for x in loader:
    most = max(most, held())
print(x[0].nbytes * len(loader) * 16 >> 20, (most - before) >> 10)
"""


def test_g1_memory_is_bounded_by_batches_not_by_the_epoch(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(folder)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    epoch, held = map(int, done.stdout.split())
    assert epoch > 280 and held < 100
