"""`dof import`: make a dataset of vectors that others computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import described, describing, spoken
from dof_arrow.cli.report import report_made
from dof_arrow.cli.terminal import Terminal


@click.command(name="import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The new file.")
@click.option("--vector", metavar="NAME", help="The column or array of vectors.")
@describing
@click.option("--core", metavar="NAME", help="What made the vectors; it is noted, not checked.")
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def import_(terminal: Terminal, source: Path, out: Path, **options: Any) -> int:
    """Write the vectors in SOURCE, a Parquet, .npy, .npz or .safetensors file or a folder of them.

    Rows of --table stand in the order of the vectors; --key names its column of ids.
    """
    from dof_arrow.rewrite.foreign.import_file import import_file

    given = {name: value for name, value in described(options).items() if value not in (None, ())}
    with terminal.busy(f"writing {out}"):
        import_file(source, out=out, **given)
    report_made(terminal, out)
    return DONE
