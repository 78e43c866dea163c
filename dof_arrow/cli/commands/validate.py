"""`dof validate`: check a file against the specification."""

from __future__ import annotations

from pathlib import Path

import click

from dof_arrow.cli.exit_codes import DONE, NO
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.terminal import Terminal


@click.command()
@click.argument("file", type=DATASET)
@click.option("--deep", is_flag=True, help="Check every byte and every row too.")
@spoken
def validate(terminal: Terminal, file: Path, deep: bool) -> int:
    """Check FILE against the specification; every problem at once. Exit code 1 if there is one."""
    from dataclasses import asdict

    from dof_arrow.format.validation.validate import validate as check

    found = check(file, deep=deep)
    lines = [str(problem) for problem in found]
    if not found:
        lines = [f"{file}: valid, every byte checked" if deep else f"{file}: valid"]
    terminal.result([asdict(problem) for problem in found], *lines)
    if found:
        terminal.say(f"{len(found)} problem(s). Each id stands in schemas/SPEC.md, appendix A.")
    elif not deep:
        terminal.say(f"To check every byte too: dof validate --deep {file}")
    return NO if found else DONE
