"""The command `dof`: exit codes, manners, the list of commands. What a command needs loads when it is called."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from click import ClickException

DONE, NO, WRONG_USE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

# Sections of the help, each command with the module that holds it and its line. What is not here does not exist.
COMMANDS = {
    "Everyday": {
        "extract": ("make", "Run pictures once through a core; write their features as one file."),
        "train": ("train", "Train a head on a dataset; judge it; write it as ONNX."),
        "predict": ("use", "Predict on new pictures with a fused model."),
        "fuse": ("use", "Join core and heads into one ONNX file."),
        "info": ("use", "Say what a dataset holds and how it came to be."),
        "validate": ("use", "Check a file against the specification."),
    },
    "Share": {
        "edit": ("share", "Rewrite what a file says of itself; its data stay."),
        "convert": ("share", "Write a dataset in another form, or back."),
    },
    "More": {
        "evaluate": ("train", "Judge a head on another dataset of the same core."),
        "headless": ("make", "Cut the head off a model; keep its preprocessing with it."),
        "reproduce": ("compare", "Make rows again from their source; say how closely they agree."),
        "diff": ("compare", "Say what differs between two datasets."),
        "merge": ("share", "Put datasets together in one file or directory."),
        "repair": ("share", "Say what a crash left behind, and remove it."),
        "estimate": ("make", "Say how large a file will be."),
        "demo": ("make", "The whole job on real pictures, in half a minute."),
        "doctor": ("use", "Say what is installed, and what to install."),
    },
}

_HELP = """Usage: dof COMMAND [OPTIONS] …

Share what a frozen deep model saw instead of the pictures themselves.
Start with: dof demo
"""
_OPTIONS = """
Of each command: dof COMMAND --help. Of all: --json (the result as JSON), --quiet, --debug; dof --version.
Exit codes: 0 done; 1 the answer is no; 2 wrong use; 3 done, but some inputs failed; 130 interrupted."""


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


def overview() -> str:
    """What `dof --help` prints: the commands, section by section."""
    width = max(len(name) for section in COMMANDS.values() for name in section)
    lines = [_HELP]
    for title, commands in COMMANDS.items():
        lines += [f"{title}:", *(f"  {name:{width}}  {line}" for name, (_, line) in commands.items()), ""]
    return "\n".join(lines).rstrip() + "\n" + _OPTIONS


def _run(given: list[str], debug: bool) -> int:
    try:
        import click

        from dof_arrow.commands import dof

        try:
            return int(dof.main(given, prog_name="dof", standalone_mode=False) or DONE)
        except click.ClickException as error:
            return _misused(error)
        except click.Abort:
            raise KeyboardInterrupt from None
    except KeyboardInterrupt:
        return _interrupted(given)
    except (BrokenPipeError, SystemExit):  # whoever read stdout has left; click turns that into SystemExit
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
    _complain("interrupted" + ("; what is done is kept: the same command goes on from there" if going_on else ""))
    return INTERRUPTED


def _failed(error: Exception, debug: bool) -> int:
    from dof_arrow.errors import DofError

    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, (DofError, OSError, MemoryError)):
        _complain(str(error) or "the memory is full")
    else:
        _complain(f"our own mistake: {type(error).__name__}: {error}\nRepeat with --debug and report what it shows.")
    return WRONG_USE


def _complain(text: str) -> None:
    print(f"dof: {text}", file=sys.stderr, flush=True)
