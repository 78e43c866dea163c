"""`dof info`: what a dataset holds and how it came to be."""

from __future__ import annotations

from pathlib import Path

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.terminal import Terminal


@click.command()
@click.argument("file", type=DATASET)
@spoken
def info(terminal: Terminal, file: Path) -> int:
    """Say what FILE holds and how it came to be."""
    from dof_arrow.cli import summary
    from dof_arrow.dataset import dataset, display

    ds = dataset.open(file)
    counts = summary.counted(ds)
    terminal.result({**display.described(ds), "values": counts}, *summary.lines(ds, counts))
    terminal.say()
    terminal.say("Next:")
    for command in summary.next_steps(ds):
        terminal.say(f"  {command}")
    return DONE
