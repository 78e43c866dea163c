"""The command `dof`: parse, call one function, print. Commands load when they are called, so that help is instant."""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from dof_arrow import __version__

DONE, NO, WRONG_USE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

# Sections of the help, each command with the module that holds it and its line. What is not here does not exist.
COMMANDS = {
    "Everyday": {
        "extract": ("make", "Run pictures once through a core; write their features as one file."),
        "train": ("use", "Train a head on a dataset; judge it; write it as ONNX."),
        "predict": ("use", "Predict on new pictures with a fused model."),
        "fuse": ("use", "Join core and heads into one ONNX file."),
        "info": ("use", "Say what a dataset holds and how it came to be."),
        "validate": ("use", "Check a file against the specification."),
    },
    "More": {
        "headless": ("make", "Cut the head off a model; keep its preprocessing with it."),
        "estimate": ("make", "Say how large a file will be."),
        "demo": ("make", "The whole job on real pictures, in half a minute."),
        "doctor": ("use", "Say what is installed, and what to install."),
    },
}


class _Sections(click.Group):
    """A group whose commands are imported when called and listed by section."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                module = importlib.import_module(f"dof_arrow.commands_{section[cmd_name][0]}")
                command: click.Command = getattr(module, cmd_name)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            raise click.UsageError(error.message + (f" Did you mean {near[0]}?" if near else ""), ctx) from None


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dof")
def dof() -> None:
    """Share what a frozen deep model saw instead of the pictures themselves.

    Start with: dof demo
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the answer is no, 2 wrong use, 3 some inputs failed,
    130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [a for a in given if a != "--debug"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends like Ctrl-C: nothing half-written
    try:
        return int(dof.main(given, prog_name="dof", standalone_mode=False) or DONE)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return DONE
    except click.ClickException as error:
        error.show()
        return WRONG_USE
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted; the same command goes on where it was" if given[:1] == ["extract"] else "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except Exception as error:
        return _failed(error, debug)


def _failed(error: Exception, debug: bool) -> int:
    from dof_arrow.errors import DofError

    if debug:
        traceback.print_exception(error)
    elif isinstance(error, (DofError, OSError)):
        _complain(str(error))
    else:
        _complain(f"an error of our own: {type(error).__name__}: {error}\nRepeat with --debug and report what it shows.")
    return WRONG_USE


def _complain(text: str) -> None:
    print(f"dof: {text}", file=sys.stderr)
