"""Manners of the command line: results on stdout, everything else on stderr, progress where it can be seen."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dof_arrow.progress import Update, duration

_PLAIN_EVERY = 10.0  # seconds between lines of progress where stderr is no terminal


class Terminal:
    """Where a command speaks: `quiet` silences all but results and errors, `as_json` makes results JSON."""

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json

    def say(self, text: str = "") -> None:
        """A message for the person at the terminal."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def result(self, value: Any, text: str) -> None:
        """What the command was asked for: `value` under --json, else `text`."""
        print(_json(value, 2) if self.as_json else text, flush=True)

    def results(self, values: Iterable[tuple[Any, str]]) -> None:
        """Many results, each printed when it comes: under --json the elements of one array, else lines."""
        if not self.as_json:
            for _, text in values:
                print(text, flush=True)
            return
        before = "["
        for value, _ in values:
            print(f"{before}\n{_json(value)}", end="", flush=True)
            before = ","
        print("[]" if before == "[" else "\n]", flush=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Update]:
        """A function to be told things done, things in all, things that failed; shows rate and time left."""
        if self.quiet:
            yield lambda done, total, failed: None
        elif sys.stderr.isatty():
            with _bar(what) as update:
                yield update
        else:
            yield _Lines(what, self.say)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Show that work of unknown length goes on, and for how long it has."""
        if self.quiet:
            yield
        elif sys.stderr.isatty():
            with _spinner(what):
                yield
        else:
            with _ticking(what, self.say):
                yield


class _Lines:
    """Progress as a plain line now and then: for logs. The first update says what was done before."""

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what, self._say = what, say
        self._start: tuple[float, int] | None = None
        self._last = (time.monotonic(), 0)

    def __call__(self, done: int, total: int | None, failed: int) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = self._last = now, done
        if done != total and now - self._last[0] < _PLAIN_EVERY:
            return
        since, before = (
            self._start if done == total else self._last
        )  # at the end the whole, else how fast it is now
        rate = (done - before) / max(now - since, 1e-9)
        self._last = now, done
        left = (
            f", {duration((total - done) / rate)} left" if total and rate and done < total else ""
        )
        self._say(
            f"{self._what}: {_share(done, total)}"
            + (f", {rate:,.1f} a second" if rate else "")
            + left
            + (f", {failed:,} failed" if failed else "")
        )


def _share(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,} of {total:,}"


@contextmanager
def _bar(what: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    speed, failures = TextColumn("{task.fields[speed]}"), TextColumn("[red]{task.fields[failed]}")
    text, count = TextColumn("{task.description}"), MofNCompleteColumn()
    shown = (text, BarColumn(), count, speed, TimeRemainingColumn(), failures)
    with Progress(*shown, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None, speed="", failed="")

        def update(done: int, total: int | None, failed: int) -> None:
            rate = progress.tasks[0].speed
            progress.update(
                task,
                completed=done,
                total=total,
                speed=f"{rate:,.1f}/s" if rate else "",
                failed=f"{failed:,} failed" if failed else "",
            )

        yield update


@contextmanager
def _spinner(what: str) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    shown = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield


@contextmanager
def _ticking(what: str, say: Callable[[str], None]) -> Iterator[None]:
    start, over = time.monotonic(), threading.Event()

    def tick() -> None:
        while not over.wait(_PLAIN_EVERY):
            say(f"{what}: {duration(time.monotonic() - start)} so far")

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of text in columns, aligned with spaces.

    >>> print(table([("a", "1"), ("long", "2")]))
    a     1
    long  2
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )
