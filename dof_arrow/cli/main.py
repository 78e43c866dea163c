"""The command `dof`: exit codes, manners, the list of commands. What a command needs loads when it is called."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dof_arrow.cli.exit_codes import DONE, INTERRUPTED, WRONG_USE
from dof_arrow.cli.help import overview

if TYPE_CHECKING:
    from click import ClickException


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the answer is no, 2 wrong use, 3 some inputs failed,
    130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [a for a in given if a != "--debug"]
    if given in ([], ["-h"], ["--help"]):  # without click: help is instant
        print(overview())
        return DONE
    with _polite():
        return _run(given, debug)


def _run(given: list[str], debug: bool) -> int:
    try:
        import click

        from dof_arrow.cli.group import dof

        try:
            return int(dof.main(given, prog_name="dof", standalone_mode=False) or DONE)
        except click.ClickException as error:
            return _misused(error)
        except click.Abort:
            raise KeyboardInterrupt from None
    except KeyboardInterrupt:
        return _interrupted(given)
    except (
        BrokenPipeError,
        SystemExit,
    ):  # whoever read stdout has left; click turns that into SystemExit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE
    except Exception as error:
        return _failed(error, debug)


@contextmanager
def _polite() -> Iterator[None]:
    """A polite kill ends like Ctrl-C, nothing half-written; warnings are plain lines."""
    import warnings

    from dof_arrow.errors import DofWarning

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DofWarning)
            warnings.showwarning = lambda message, *_, **__: _complain(f"note: {message}")
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _misused(error: ClickException) -> int:
    from click import UsageError

    context = error.ctx if isinstance(error, UsageError) else None
    _complain(f"{error.format_message()}\nTry: {context.command_path if context else 'dof'} --help")
    return WRONG_USE


def _interrupted(given: list[str]) -> int:
    going_on = given[:1] == ["extract"] and "--dry-run" not in given
    _complain(
        "interrupted"
        + ("; what is done is kept: the same command goes on from there" if going_on else "")
    )
    return INTERRUPTED


def _failed(error: Exception, debug: bool) -> int:
    from dof_arrow.errors import DofError

    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, (DofError, OSError, MemoryError)):
        _complain(str(error) or "the memory is full")
    else:
        _complain(
            f"our own mistake: {type(error).__name__}: {error}\nRepeat with --debug and report what it shows."
        )
    return WRONG_USE


def _complain(text: str) -> None:
    print(f"dof: {text}", file=sys.stderr, flush=True)
