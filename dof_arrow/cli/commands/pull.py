"""`dof pull`: fetch a dataset that was pushed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.report import report_made
from dof_arrow.cli.terminal import Terminal


@click.command()
@click.argument("source", type=DATASET)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="The file that is made."
)
@click.option("--with-core", is_flag=True, help="Fetch the cores too, into the folder cores.")
@click.option(
    "--layout",
    type=click.Choice(["mapped", "compact"]),
    default="mapped",
    show_default=True,
    help="For use in place, or small.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def pull(terminal: Terminal, source: Path, out: Path, **options: Any) -> int:
    """Fetch what `dof push` put at SOURCE (hf://OWNER/NAME, or a folder) as one file. Every file is
    compared with its digest; a command that was stopped goes on when it is repeated."""
    from dof_arrow.publish.pull import pull as fetch

    fetch(source, out, **options)
    report_made(terminal, out)
    return DONE
