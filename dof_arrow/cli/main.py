"""The command `dof` from its arguments to its exit code. What a command needs loads when called."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dof_arrow.cli.exit_codes import DONE, INTERRUPTED, OUR_FAULT, WRONG_USE
from dof_arrow.cli.help import overview
from dof_arrow.cli.terminal import abandon, forgiving, tell

if TYPE_CHECKING:
    from click import ClickException


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 done, 1 the answer is no, 2 wrong use, 3 some inputs failed, 70 a fault of this program, 130
    interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    forgiving(sys.stdout, sys.stderr)
    with _polite():
        return _run(given, debug, is_own_process=arguments is None)


def _run(given: list[str], debug: bool, *, is_own_process: bool) -> int:
    try:
        if given in ([], ["-h"], ["--help"]):  # without click: help is instant
            print(overview(), flush=True)
            return DONE
        return _called(given, is_own_process)
    except KeyboardInterrupt:
        return _interrupted(given)
    except (BrokenPipeError, SystemExit):
        # Whoever read stdout has left; click turns that into SystemExit.
        abandon(sys.stdout)
        return DONE
    except Exception as error:
        return _failed(error, debug)


def _called(given: list[str], is_own_process: bool) -> int:
    """Run a command through click; returns its exit code."""
    import click

    from dof_arrow.cli.group import dof

    try:
        done = dof.main(given, prog_name="dof", standalone_mode=False, obj=is_own_process)
        return int(done or DONE)
    except click.ClickException as error:
        return _misused(error)
    except click.Abort:
        raise KeyboardInterrupt from None


@contextmanager
def _polite() -> Iterator[None]:
    """Let a polite kill end like Ctrl-C, with nothing half-written, and print warnings as lines."""
    import warnings

    from dof_arrow.errors import DofWarning, shown

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        _complain(f"note: {shown(message)}")

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DofWarning)
            warnings.showwarning = note
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _misused(error: ClickException) -> int:
    from click import UsageError

    context = error.ctx if isinstance(error, UsageError) else None
    _complain(error.format_message())
    tell(f"Try: {context.command_path if context else 'dof'} --help")
    return WRONG_USE


def _interrupted(given: list[str]) -> int:
    if given[:1] == ["extract"] and "--dry-run" not in given:
        _complain("interrupted; what is done is kept: the same command goes on from there")
    else:
        _complain("interrupted")
    return INTERRUPTED


def _failed(error: Exception, debug: bool) -> int:
    from dof_arrow.errors import DofError, shown

    if debug:
        import traceback

        for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
            tell(line)
    if isinstance(error, DofError):
        _complain(str(error))
    elif isinstance(error, (OSError, MemoryError)):
        _complain(shown(error) or "the memory is full")
        _drop_unwritten()
    else:
        _complain(f"our own mistake: {type(error).__name__}: {shown(error)}")
        tell("Repeat with --debug and report what it shows.")
        return OUR_FAULT
    return WRONG_USE


def _drop_unwritten() -> None:
    """Drop what stdout cannot write: Python would end with an exit code of its own, 120."""
    try:
        print(end="", flush=True)
    except OSError:
        abandon(sys.stdout)


def _complain(text: str) -> None:
    """Say what went wrong; line breaks here are ours, those of values are escaped already."""
    for line in f"dof: {text}".split("\n"):
        tell(line)
