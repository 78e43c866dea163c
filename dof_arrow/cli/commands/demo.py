"""`dof demo`: the whole job on real pictures."""

from __future__ import annotations

from pathlib import Path

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import duration


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--core",
    metavar="CORE",
    help="Its core [default: of FOLDER efficientnet-lite0 where it is installed, else builtin].",
)
@click.option(
    "-o",
    "--out",
    default=Path("dof-demo"),
    type=click.Path(path_type=Path),
    show_default=True,
    help="Where the demo's files go.",
)
@spoken
def demo(terminal: Terminal, folder: Path | None, core: str | None, out: Path) -> int:
    """The whole job on real pictures: handwritten digits, or FOLDER with a folder of pictures for
    each class."""
    from dof_arrow.cli.demo import run

    report = run(folder, out, terminal.say, core)
    terminal.result(report, f"Done in {duration(report['seconds'])}: {report['score']}")
    return DONE
