"""Rows of a batch written in parallel: by threads, or by worker processes through shared memory.

Tasks go to a process through a pipe, and rows come back in nameless memory that both have mapped,
so that no pixel is pickled. A process is a fresh interpreter: nothing is forked beside running
threads, and the main script is not imported again. It ends when its pipe does, so none outlives its
owner, however that ends.
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
# Tasks, and a row [k, *shape] for each; what is to be said of each.
Work = Callable[[Sequence[Any], Array], list[Any]]

_SHARED = 4 << 20  # bytes of rows that a worker writes at a time
_PARTS = 3  # parts of a batch for each worker, so that all end at about the same time
_PATIENCE = 5.0  # seconds for a process to end by itself
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from dof_arrow.loader.raw.worker_pool import serve; serve()"
)


class WorkerPool:
    """Workers that do the same work on parts of a batch.

    `workers` is a number of processes, None for threads of this one, or 0 for the caller alone.
    `work` is called with tasks and their rows; for processes it must pickle, as tasks and answers
    must. Workers start with the first batch and end with the pool. In a process that is a worker
    itself there are none.
    """

    def __init__(self, work: Work, workers: int | None = None) -> None:
        self._work = work
        self._workers = workers
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._idle: SimpleQueue[Work] = SimpleQueue()
        self._owner = 0

    def each(self, tasks: Sequence[Any], out: Array) -> list[Any]:
        """Do the tasks, a row of `out` [k, *shape] for each; the answers in order."""
        # A worker of a DataLoader may have no processes of its own, and needs no threads.
        if self._workers == 0 or current_process().daemon:
            return self._work(tasks, out)
        row_bytes = out.nbytes // max(len(out), 1)
        threads = self._started(row_bytes)
        size = self._part_size(len(tasks), row_bytes)
        parts = [slice(start, start + size) for start in range(0, len(tasks), size)]
        waiting = [threads.submit(self._part, tasks[part], out[part]) for part in parts]
        try:
            answers: list[Any] = []
            for future in waiting:
                answers += future.result()
            return answers
        finally:
            for future in waiting:
                future.cancel()

    def _part_size(self, tasks: int, row_bytes: int) -> int:
        """How many tasks make a part: a fair share, whose rows fit into the shared memory."""
        share = -(-tasks // (_PARTS * self._count()))
        fitting = _SHARED // max(row_bytes, 1)
        return max(min(share, fitting), 1)

    def _count(self) -> int:
        return self._workers or processors()

    def _part(self, tasks: Sequence[Any], out: Array) -> list[Any]:
        worker = self._idle.get()
        try:
            return worker(tasks, out)
        finally:
            self._idle.put(worker)

    def _started(self, row_bytes: int) -> ThreadPoolExecutor:
        """The threads, each of which does the work or waits for a process.

        They are made anew in a forked process, where none of them runs.
        """
        with self._lock:
            if self._threads is None or self._owner != os.getpid():
                self._owner = os.getpid()
                self._idle = SimpleQueue()
                for _ in range(self._count()):
                    self._idle.put(self._worker(row_bytes))
                self._threads = ThreadPoolExecutor(self._count(), "dof-worker")
            return self._threads

    def _worker(self, row_bytes: int) -> Work:
        if self._workers is None:
            return self._work
        return WorkerProcess(self._work, max(_SHARED, row_bytes))


class WorkerProcess:
    """A process that writes rows of at most `size` bytes into memory shared with this one."""

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
        self._send(sys.path)  # so that it finds modules where this process does
        self._send(pickle.dumps(work))

    def __call__(self, tasks: Sequence[Any], out: Array) -> list[Any]:
        """Have the tasks done; the answers in order.

        Raises what the work raises, SourceError if the process has ended, UsageError for tasks that
        cannot be sent to it.
        """
        # Pickled before it is sent: an error then leaves nothing half written in the pipe.
        try:
            task = pickle.dumps((tasks, out.shape, out.dtype.str))
        except Exception as error:  # pickling runs the source's own code
            raise _unsendable(error) from None
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


def _unsendable(error: Exception) -> UsageError:
    return UsageError(
        "what stands for a picture cannot be sent to a worker process",
        found=str(error),
        hint="Put its class into a module of its own, or leave out workers=, for threads.",
    )


def _nameless(size: int) -> int:
    """The descriptor of memory without a name, which is gone with the last process that has it."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("dof-rows")
    else:
        with tempfile.TemporaryFile() as opened:
            file = os.dup(opened.fileno())
    os.ftruncate(file, size)
    return file


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """End a worker process, by the end of its pipe if it listens."""
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
            asked = pickle.load(sys.stdin.buffer)
            pickle.dump(_done(work, memory, asked), answers)
            answers.flush()


def _done(work: Work, memory: Array, asked: bytes) -> Any:
    """The answers to tasks, or the error to be raised by whoever asked."""
    try:
        tasks, shape, dtype = pickle.loads(asked)
    except Exception as error:  # the main script's own classes, say
        return _unsendable(error)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    out = memory[:size].view(dtype).reshape(shape)
    try:
        return work(tasks, out)
    except Exception as error:
        return error
