"""`dof convert`: write a dataset in another form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import spoken
from dof_arrow.cli.report import report_made
from dof_arrow.cli.terminal import Terminal

if TYPE_CHECKING:
    pass

import click


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Choice(["mapped", "compact"]),
    help="For use in place, or for slow links.",
)
@click.option(
    "--dtype", type=click.Choice(["float32", "float16"]), help="Another type of the vectors."
)
@click.option(
    "--rows-per-part", type=click.IntRange(1), metavar="N", help="Rows of each file of a directory."
)
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def convert(terminal: Terminal, source: Path, out: Path, **options: Any) -> int:
    """Write SOURCE in another form, told by the name of OUT.

    \b
    x.parquet       a DoF file               x.arrow        an Arrow IPC file
    x.dof           a directory of files     x.npy          the vectors alone
    x.dof.json      DoF as JSON              x.safetensors  vectors and numbers
    """
    from dof_arrow.rewrite.convert import convert as write

    with terminal.busy(f"writing {out}"):
        write(source, out, **options)
    report_made(terminal, out)
    return DONE
