"""What long work reports to: a listener, such as the command line; in plain Python nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

# Takes how many things are done, how many there are (None: not known), how many failed.
Update = Callable[[int, int | None, int], None]


class Listener(Protocol):
    """What hears of long work; `dof_arrow.cli.terminal.Terminal` is one."""

    def say(self, text: str = "") -> None:
        """Take a message for a person."""

    def progress(self, what: str) -> AbstractContextManager[Update]:
        """Give a function that is told, while the block runs, how far the work `what` has come."""


class Nobody:
    """A listener that hears nothing."""

    def say(self, text: str = "") -> None:
        """Drop the message."""

    def progress(self, what: str) -> AbstractContextManager[Update]:
        """Give a function that does nothing."""
        return nullcontext(unheard)


def unheard(done: int, total: int | None, failed: int) -> None:
    """An update that nobody listens to."""


NOBODY = Nobody()
_LISTENING: ContextVar[Listener] = ContextVar("listening", default=NOBODY)


def listening() -> Listener:
    """The present listener: the command that runs, or `NOBODY` in plain Python."""
    return _LISTENING.get()


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Make a listener the present one while the block runs."""
    before = _LISTENING.set(listener)
    try:
        yield
    finally:
        _LISTENING.reset(before)


def duration(seconds: float) -> str:
    """A span of time as people say it.

    >>> duration(75), duration(4000)
    ('1 min 15 s', '1 h 6 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """A number of bytes as people say it.

    >>> size(999), size(2_100_000)
    ('999 B', '2.1 MB')
    """
    if count < 1000:
        return f"{count} B"
    amount = count / 1000
    for unit in ("kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
