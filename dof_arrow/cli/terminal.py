"""How a command speaks: results on stdout, all else on stderr, every line safe for a terminal."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from dof_arrow.errors import UNSAFE, DofWarning, shown
from dof_arrow.progress import Update, duration

_NARROWEST = 40  # columns of a screen on which lines are parted
_INDENT = 2
_COMMAND = re.compile(r" *((Next|Then|Try): )?(dof|python|pip) ")
_PLAIN_EVERY = 10.0  # seconds between lines of progress where stderr is no terminal


class Terminal:
    """Where a command speaks.

    `quiet` silences all but results and errors, `as_json` makes results JSON. Every text given here
    is one line; a line break inside it is shown as an escape, so that no text from a file can begin
    a line of its own.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json

    def say(self, text: str = "") -> None:
        """A line for the person at the terminal."""
        if not self.quiet:
            tell(text)

    def result(self, value: Any, *lines: str) -> None:
        """What the command was asked for: `value` under --json, else these lines."""
        if self.as_json:
            print(as_json_text(value, 2), flush=True)
        else:
            print("\n".join(_fitting(shown(line), sys.stdout) for line in lines), flush=True)

    def documents(self, texts: Mapping[str, str]) -> None:
        """Texts of files by their names, as they stand there: no line of them is parted."""
        if not self.as_json:
            for name, text in texts.items():
                lines = ["", f"{name}:", *text.splitlines()]
                print("\n".join(map(shown, lines)), flush=True)

    def results(self, values: Iterable[tuple[Any, str]]) -> None:
        """Many results, each printed when it comes: elements of an array under --json, or lines."""
        if not self.as_json:
            for _, line in values:
                print(_fitting(shown(line), sys.stdout), flush=True)
            return
        before = "["
        for value, _ in values:
            print(f"{before}\n{as_json_text(value)}", end="", flush=True)
            before = ","
        print("[]" if before == "[" else "\n]", flush=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Update]:
        """A function to be told things done, in all, and failed; shows rate and time left."""
        if self.quiet:
            yield lambda done, total, failed: None
        elif _on_screen():
            with _bar(what) as update:
                yield update
        else:
            yield _Lines(what, self.say)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Show that work of unknown length goes on, and for how long it has."""
        if self.quiet:
            yield
        elif _on_screen():
            with _spinner(what):
                yield
        else:
            with _ticking(what, self.say):
                yield


@contextmanager
def heard() -> Iterator[list[str]]:
    """A list of the warnings that are said meanwhile; they are shown as ever."""
    notes: list[str] = []
    show = warnings.showwarning

    def note(message: Warning | str, *others: Any, **options: Any) -> None:
        if isinstance(message, DofWarning):
            notes.append(str(message))
        show(message, *others, **options)

    warnings.showwarning = note
    try:
        yield notes
    finally:
        warnings.showwarning = show


def tell(text: str) -> None:
    """Print a line on stderr; where nobody can read it, work goes on without.

    A closed pipe or a full disk behind stderr must not turn a good result into a failure.
    """
    if sys.stderr is None:  # so Python starts where stderr is closed
        return
    try:
        print(_fitting(shown(text), sys.stderr), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        abandon(sys.stderr)


def _fitting(line: str, stream: TextIO) -> str:
    """A line as it goes to a stream: on a screen, parted where it would be too wide."""
    if not stream.isatty():
        return line
    with suppress(OSError, ValueError):
        return "\n".join(wrapped(line, os.get_terminal_size(stream.fileno()).columns))
    return line


def wrapped(line: str, width: int) -> list[str]:
    """A line as lines of at most so many characters, parted between words.

    What is left goes below the last column that begins with two spaces, else in by two, so that it
    is not taken for a line of its own. Commands stay whole, to be copied.

    >>> print("\\n".join(wrapped("core  efficientnet-lite0, cut at its features", 40)))
    core  efficientnet-lite0, cut at its
          features
    """
    if len(line) <= width or width < _NARROWEST or _COMMAND.match(line):
        return [line]
    column = line.rfind("  ", 0, width * 2 // 3) + 2
    indent = max(column if line[:column].strip() else 0, _INDENT)
    made = textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return made or [line]


def abandon(stream: TextIO | None) -> None:
    """Drop what a stream could not write, so that Python's last flush does not fail over it."""
    if stream is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def forgiving(*streams: TextIO | None) -> None:
    """Let streams write characters that their encoding lacks as escapes, rather than fail."""
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def as_json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON for stdout; what disturbs a terminal, or cannot be written, is escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    ascii_only = not encoding.lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent, default=str)
    return "\n".join(UNSAFE.sub(_json_escape, line) for line in text.split("\n"))


def _json_escape(found: Any) -> str:
    return f"\\u{ord(found[0]):04x}"


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of text as lines, in columns aligned with spaces.

    >>> print("\\n".join(table([("a", "1"), ("long", "2")])))
    a     1
    long  2
    """
    safe = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*safe, strict=True)]
    lines = []
    for row in safe:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


class _Lines:
    """Progress as a plain line now and then, for logs.

    The first update says what was done before.
    """

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what = what
        self._say = say
        self._start: tuple[float, int] | None = None
        self._last = (time.monotonic(), 0)

    def __call__(self, done: int, total: int | None, failed: int) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = (now, done)
            self._last = (now, done)
        if done != total and now - self._last[0] < _PLAIN_EVERY:
            return
        # At the end the rate of the whole, else how fast it is now.
        since, before = self._start if done == total else self._last
        self._last = (now, done)
        rate = (done - before) / max(now - since, 1e-9)
        self._say(f"{self._what}: {', '.join(_parts(done, total, failed, rate))}")


def _parts(done: int, total: int | None, failed: int, rate: float) -> list[str]:
    parts = [f"{done:,}" if total is None else f"{done:,} of {total:,}"]
    if rate:
        parts.append(f"{rate:,.1f} a second")
    if total and rate and done < total:
        parts.append(f"{duration((total - done) / rate)} left")
    if failed:
        parts.append(f"{failed:,} failed")
    return parts


def _on_screen() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def _bar(what: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(escape(shown(what)), total=None, speed="", failed="")

        def update(done: int, total: int | None, failed: int) -> None:
            rate = progress.tasks[0].speed
            speed = f"{rate:,.1f}/s" if rate else ""
            failures = f"{failed:,} failed" if failed else ""
            progress.update(task, completed=done, total=total, speed=speed, failed=failures)

        yield update


@contextmanager
def _spinner(what: str) -> Iterator[None]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(escape(shown(what)), total=None)
        yield


@contextmanager
def _ticking(what: str, say: Callable[[str], None]) -> Iterator[None]:
    start = time.monotonic()
    over = threading.Event()

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
