"""The commands of `dof` as a click group: each loads when it is called."""

from __future__ import annotations

import importlib
from keyword import iskeyword
from typing import Any

import click

from dof_arrow._version import __version__
from dof_arrow.cli.help import COMMANDS, EXAMPLES, overview


class _Sections(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                return _command(cmd_name)
        return None

    def get_help(self, ctx: click.Context) -> str:
        return overview()

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            message = error.message
            near = _nearest(args[0], self.list_commands(ctx))
            if near:
                message += f" Did you mean {near}?"
            raise click.UsageError(message, ctx) from None


@click.group(
    cls=_Sections,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="dof")
def dof() -> None:
    """Share what a frozen deep model saw instead of the pictures themselves."""


def _command(name: str) -> click.Command:
    place = f"{name}_" if iskeyword(name) else name
    module = importlib.import_module(f"dof_arrow.cli.commands.{place}")
    command: click.Command = getattr(module, place)
    command.epilog = f"\b\nExample:\n  {EXAMPLES[name]}"  # \b keeps its lines as they are
    return command


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, known, 1)
    return found[0] if found else ""
