"""Manners of the command line: results on stdout, everything else on stderr, progress where it can be seen."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
        print(json.dumps(value, ensure_ascii=False, indent=2, default=str) if self.as_json else text, flush=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int, int], None]]:
        """A function to call with things done, things in all, things that failed; shows rate and time left."""
        if self.quiet:
            yield lambda done, total, failed: None
        elif sys.stderr.isatty():
            with _bar(what) as update:
                yield update
        else:
            yield _Lines(what, self.say)


class _Lines:
    """Progress as a plain line now and then: for logs."""

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what, self._say = what, say
        self._start = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int, failed: int) -> None:
        now = time.monotonic()
        self._first = done if self._first is None else self._first
        if done < total and now - self._last < _PLAIN_EVERY:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._start, 1e-9)
        left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
        self._say(f"{self._what}: {done:,} of {total:,}, {rate:.1f} a second{left}"
                  + (f", {failed:,} failed" if failed else ""))


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    speed, failures = TextColumn("{task.fields[speed]}"), TextColumn("[red]{task.fields[failed]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn(), failures)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None, speed="", failed="")

        def update(done: int, total: int, failed: int) -> None:
            rate = progress.tasks[0].speed
            progress.update(task, completed=done, total=total, speed=f"{rate:.1f}/s" if rate else "",
                            failed=f"{failed:,} failed" if failed else "")

        yield update


def duration(seconds: float) -> str:
    """A span of time as people say it.

    >>> duration(75), duration(4000)
    ('1 min 15 s', '1 h 6 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """A number of bytes as people say it.

    >>> size(999), size(2_100_000)
    ('999 B', '2.1 MB')
    """
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows of text in columns, aligned with spaces.

    >>> print(table([("a", "1"), ("long", "2")]))
    a     1
    long  2
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
