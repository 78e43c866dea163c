"""`dof merge`: put datasets together."""

from __future__ import annotations

from pathlib import Path

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.report import report_made
from dof_arrow.cli.terminal import Terminal


@click.command()
@click.argument("parts", nargs=-1, required=True, type=DATASET)
@click.option(
    "-o",
    "--out",
    required=True,
    type=DATASET,
    help="One file, or a directory x.dof.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def merge(terminal: Terminal, parts: tuple[Path, ...], out: Path, overwrite: bool) -> int:
    """Put datasets together, rows one after the other: columns and classes are united by name, an
    input that is in several is taken once. To a directory that is there already, they are added."""
    from dof_arrow.rewrite.merge import merge as write

    notes: list[str] = []
    with terminal.busy(f"writing {out}"):
        write(parts, out, overwrite=overwrite, say=notes.append)
    for note in notes:
        terminal.say(note)
    report_made(terminal, out)
    return DONE
