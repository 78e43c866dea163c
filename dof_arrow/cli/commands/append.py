"""`dof append`: add files to a directory."""

from __future__ import annotations

from pathlib import Path

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.report import report_made
from dof_arrow.cli.terminal import Terminal


@click.command()
@click.argument("directory", type=DATASET)
@click.argument("files", nargs=-1, required=True, type=DATASET)
@spoken
def append(terminal: Terminal, directory: Path, files: tuple[Path, ...]) -> int:
    """Add DoF FILES to DIRECTORY (x.dof) as its next parts, all or none; it is made if it is not
    there. An id that it has already is refused."""
    from dof_arrow.format.append import append as add

    with terminal.busy(f"adding to {directory}"):
        add(directory, *files)
    report_made(terminal, directory)
    return DONE
