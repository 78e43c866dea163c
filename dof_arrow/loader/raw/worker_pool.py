"""Rows written by helpers beside each other: threads of this process, or worker processes through shared memory.

What is to be done goes to a process through a pipe, what comes of it lies in nameless memory that both have mapped, so
that no pixel is pickled. A process is a fresh interpreter: nothing is forked beside running threads, and the main
script is not imported again. It ends when its pipe does, so that none outlives its owner, however that ends.
"""

from __future__ import annotations

import mmap
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import current_process
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.system import processors

Array = NDArray[Any]
Work = Callable[
    [Sequence[Any], Array], list[Any]
]  # tasks and a row [k, *shape] for each; what is to be said of each

_SLOT = 4 << 20  # bytes of rows that a helper writes at a time
_EACH = 3  # pieces that a helper has of a batch: the last ones are over at about the same time
_PATIENCE = 5.0  # seconds for a process to end by itself
_START = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from dof_arrow.loader.raw.worker_pool import serve; serve()"


class Crew:
    """Helpers that do the same work on parts of a batch: so many processes, threads (None), or none but the caller (0).

    `work` is called with tasks and their rows, and must pickle for processes, as tasks and answers must. Helpers start
    with the first batch and end with the crew. In a process that is a worker itself there are none.
    """

    def __init__(self, work: Work, workers: int | None = None) -> None:
        self._work, self._workers = work, workers
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._idle: SimpleQueue[Work] = SimpleQueue()
        self._owner = 0

    def each(self, tasks: Sequence[Any], out: Array) -> list[Any]:
        """Do the tasks, a row of `out` [k, *shape] each; the answers in order."""
        if self._workers == 0 or current_process().daemon:
            return self._work(tasks, out)
        count, pool = self._workers or processors(), self._helpers(out.nbytes // max(len(out), 1))
        size = max(
            min(-(-len(tasks) // (_EACH * count)), _SLOT * len(out) // max(out.nbytes, 1)), 1
        )
        parts = [slice(i, i + size) for i in range(0, len(tasks), size)]
        waiting = [pool.submit(self._part, tasks[part], out[part]) for part in parts]
        try:
            return [answer for future in waiting for answer in future.result()]
        finally:
            for future in waiting:
                future.cancel()

    def _part(self, tasks: Sequence[Any], out: Array) -> list[Any]:
        helper = self._idle.get()
        try:
            return helper(tasks, out)
        finally:
            self._idle.put(helper)

    def _helpers(self, row: int) -> ThreadPoolExecutor:
        """The threads, each of which does the work or waits for a process; made anew in a forked process."""
        with self._lock:
            if self._pool is None or self._owner != os.getpid():
                count, self._owner, self._idle = (
                    self._workers or processors(),
                    os.getpid(),
                    SimpleQueue(),
                )
                for _ in range(count):
                    self._idle.put(
                        Helper(self._work, max(_SLOT, row)) if self._workers else self._work
                    )
                self._pool = ThreadPoolExecutor(count, "dof-crew")
            return self._pool


class Helper:
    """A worker process, which writes rows of at most `size` bytes together into memory that it shares with this one."""

    def __init__(self, work: Work, size: int) -> None:
        file = _nameless(size)
        # In a group of its own it does not get the Ctrl-C that is meant for this process.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(file,),
            process_group=0,
        )
        self._memory = np.frombuffer(mmap.mmap(file, size), np.uint8)
        os.close(file)
        weakref.finalize(self, _end, self._process, os.getpid())
        self._send(sys.path)
        self._send(pickle.dumps(work))

    def __call__(self, tasks: Sequence[Any], out: Array) -> list[Any]:
        """Have the tasks done; raises what the work raises, SourceError if the process has ended, UsageError for tasks
        that cannot be sent to it."""
        try:
            task = pickle.dumps((tasks, out.shape, out.dtype.str))
        except Exception as error:  # pickling runs the source's own code
            raise _unknown(error) from None
        self._send(task)
        answer = self._answer()
        if isinstance(answer, BaseException):
            raise answer
        out[...] = self._memory[: out.nbytes].view(out.dtype).reshape(out.shape)
        return list(answer)

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer that does not come says it
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            code = self._process.wait(_PATIENCE)
            raise SourceError(
                "a worker process has ended",
                found=f"exit code {code}",
                hint="It may have been out of memory: try fewer workers.",
            ) from None


def _unknown(error: Exception) -> UsageError:
    return UsageError(
        "what stands for a picture cannot be sent to a worker process",
        found=str(error),
        hint="Put its class into a module of its own, or leave out workers=, for threads.",
    )


def _nameless(size: int) -> int:
    """The descriptor of memory without a name, which is gone with the last process that has it."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("dof-crew")
    else:
        with tempfile.TemporaryFile() as opened:
            file = os.dup(opened.fileno())
    os.ftruncate(file, size)
    return file


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:  # a forked copy of the owner, which goes on with it
        return
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            pipe.close()  # type: ignore[union-attr]
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve() -> None:
    """Do what the owner of this process asks for, until its pipe ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    memory = np.frombuffer(mmap.mmap(int(sys.argv[1]), 0), np.uint8)
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        work = pickle.loads(pickle.load(sys.stdin.buffer))
        while True:
            pickle.dump(_done(work, memory, pickle.load(sys.stdin.buffer)), answers)
            answers.flush()


def _done(work: Work, memory: Array, asked: bytes) -> Any:
    try:
        tasks, shape, dtype = pickle.loads(asked)
    except Exception as error:  # the main script's own classes, say
        return _unknown(error)
    out = memory[: int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
    try:
        return work(tasks, out)
    except Exception as error:  # it belongs to whoever asked
        return error
