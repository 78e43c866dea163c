"""`dof repair`: say what a crash left behind, and remove it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import spoken
from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.progress import size

if TYPE_CHECKING:
    pass

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--discard", is_flag=True, help="Remove what was found.")
@spoken
def repair(terminal: Terminal, path: Path, discard: bool) -> int:
    """Say what a crash left beside the output PATH, or beside all outputs of the folder PATH."""
    from dataclasses import asdict

    from dof_arrow.rewrite import repair as repairing

    found = repairing.find(path)
    removed = repairing.discard(found) if discard else []
    rows = [(str(f.path), f.what + (" (in use)" if f.held else ""), size(f.bytes)) for f in found]
    terminal.result(
        [{**asdict(f), "path": str(f.path), "removed": f in removed} for f in found],
        table(rows) if rows else f"{path}: nothing was left behind",
    )
    if removed:
        terminal.say(f"Removed: {len(removed)} of {len(found)}")
    elif found and not discard:
        terminal.say(
            f"Finished outputs do not need it. To go on, repeat the command; to remove it: "
            f"dof repair {path} --discard"
        )
    return DONE
