"""`dof compact`: join the small parts of a directory."""

from __future__ import annotations

from pathlib import Path

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.report import report_made
from dof_arrow.cli.terminal import Terminal


@click.command()
@click.argument("directory", type=DATASET)
@click.option("--rows", type=click.IntRange(1), metavar="N", help="A part holds at most N rows.")
@click.option(
    "--bytes",
    type=click.IntRange(1),
    metavar="N",
    help="A part holds at most N bytes [default: 256 MiB].",
)
@spoken
def compact(terminal: Terminal, directory: Path, rows: int | None, bytes: int | None) -> int:
    """Join neighbouring small parts of DIRECTORY; rows and their order stay."""
    from dof_arrow.rewrite.compact import compact as join

    with terminal.busy(f"writing {directory}"):
        join(directory, rows=rows, bytes=bytes)
    report_made(terminal, directory)
    return DONE
