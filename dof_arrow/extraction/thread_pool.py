"""Work done by threads, a few items ahead of what is taken of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


class ThreadPool:
    """So many threads, which are told to stop once an error has stopped all."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._stop = threading.Event()

    def is_stopped(self) -> bool:
        """Whether an error has stopped all, so that long work is to end at once."""
        return self._stop.is_set()

    def each(
        self,
        items: Iterable[Item],
        work: Callable[[Item], Made],
        take: Callable[[Item, Made], None],
    ) -> None:
        """Have threads do the work for every item, and take the results in this one.

        The first error stops all.
        """
        pool = ThreadPoolExecutor(self._workers)
        waiting: dict[Future[Made], tuple[int, Item]] = {}
        try:
            for number, item in enumerate(items):
                waiting[pool.submit(work, item)] = number, item
                # Enough to keep all threads busy, and few enough to hold little in memory.
                if len(waiting) >= 2 * self._workers:
                    _collect(waiting, take)
            while waiting:
                _collect(waiting, take)
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _collect(
    waiting: dict[Future[Made], tuple[int, Item]], take: Callable[[Item, Made], None]
) -> None:
    """Wait, and take what ended, or raise the error of the earliest among it."""
    finished = wait(waiting, return_when=FIRST_COMPLETED).done
    for future in sorted(finished, key=lambda future: waiting[future][0]):
        _, item = waiting.pop(future)
        take(item, future.result())
