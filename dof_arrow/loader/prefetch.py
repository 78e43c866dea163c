"""Work done ahead by threads and delivered in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice, pairwise
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered(items: Iterable[T], work: Callable[[T], R], threads: int, ahead: int) -> Iterator[R]:
    """The results of `work` in the order of the items, computed by threads up to `ahead` items
    early.

    The caller computes the first result, which is the quickest way to it, and any other that it
    would have to wait for; with no threads all of them. An error of `work` is raised in its place.
    Threads end when the iterator ends, is closed or forgotten.

    >>> list(ordered(range(4), abs, threads=2, ahead=3))
    [0, 1, 2, 3]
    """
    items = iter(items)
    yield from map(work, islice(items, 1))
    if threads:
        yield from _threaded(items, work, threads, ahead)
    else:
        yield from map(work, items)


def beside(items: Iterable[T], work: Callable[[T], object]) -> Iterator[T]:
    """The items, while a thread does `work` on the one after, if it finds the time.

    Nobody waits for it.

    >>> list(beside(range(4), str))
    [0, 1, 2, 3]
    """
    todo: SimpleQueue[Any] = SimpleQueue()
    thread = threading.Thread(target=_run, args=(todo, work), daemon=True)
    thread.start()
    try:
        for item, after in pairwise(chain(items, [None])):
            if after is not None:
                todo.put((after, SimpleQueue()))
            yield item  # type: ignore[misc]  # only the last is None, never the first of a pair
    finally:
        _stop(todo, [thread])


def _threaded(items: Iterator[T], work: Callable[[T], R], threads: int, ahead: int) -> Iterator[R]:
    todo: SimpleQueue[tuple[T, SimpleQueue[Any]] | None] = SimpleQueue()
    waiting: deque[SimpleQueue[Any]] = deque()

    def more(count: int) -> None:
        for item in islice(items, count):
            result: SimpleQueue[Any] = SimpleQueue()
            waiting.append(result)
            todo.put((item, result))

    running = []
    for _ in range(threads):
        thread = threading.Thread(target=_run, args=(todo, work), daemon=True)
        thread.start()
        running.append(thread)
    try:
        more(ahead)
        while waiting:
            while waiting[0].empty() and _worked(todo, work):
                pass  # the caller, who would only wait, does what no thread has begun
            result, error = waiting.popleft().get()
            if error is not None:
                raise error
            more(1)
            yield result
            del result  # else its buffer could not go round
    finally:
        _stop(todo, running)


def _run(todo: SimpleQueue[Any], work: Callable[[Any], Any]) -> None:
    """Do what comes, until None does."""
    while (task := todo.get()) is not None:
        _do(work, *task)
        del task  # while it waits, it keeps nothing of the last


def _worked(todo: SimpleQueue[Any], work: Callable[[Any], Any]) -> bool:
    """Do one task that no thread has begun; whether there was one."""
    try:
        task = todo.get_nowait()
    except Empty:
        return False
    _do(work, *task)
    return True


def _do(work: Callable[[Any], Any], item: Any, done: SimpleQueue[Any]) -> None:
    try:
        done.put((work(item), None))
    except BaseException as error:  # it belongs to whoever asks for the result
        done.put((None, error))
        if not isinstance(error, Exception):
            raise  # Ctrl-C, while the caller works, must not wait for other results


def _stop(todo: SimpleQueue[Any], running: list[threading.Thread]) -> None:
    """Take back what no thread has begun, and wait for the threads to end."""
    with suppress(Empty):
        while True:
            todo.get_nowait()
    for _ in running:
        todo.put(None)
    for thread in running:
        thread.join()
