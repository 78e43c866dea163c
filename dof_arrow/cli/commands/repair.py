"""`dof repair`: say what a crash left behind, and remove it; mend false statistics."""

from __future__ import annotations

from pathlib import Path

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import spoken
from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.progress import size


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--discard", is_flag=True, help="Remove what was found.")
@click.option("--statistics", is_flag=True, help="Make the statistics of the file PATH true.")
@spoken
def repair(terminal: Terminal, path: Path, discard: bool, statistics: bool) -> int:
    """Say what a crash left beside the output PATH, or beside all outputs of the folder PATH."""
    if statistics:
        return _mended(terminal, path, discard)
    from dataclasses import asdict

    from dof_arrow.rewrite import repair as repairing

    found = repairing.find(path)
    removed = repairing.discard(found) if discard else []
    values = []
    rows = []
    for each in found:
        values.append({**asdict(each), "path": str(each.path), "removed": each in removed})
        what = f"{each.what} (in use)" if each.held else each.what
        rows.append((str(each.path), what, size(each.bytes)))
    lines = table(rows) if rows else [f"{path}: nothing was left behind"]
    terminal.result(values, *lines)
    if removed:
        terminal.say(f"Removed: {len(removed)} of {len(found)}")
    elif found and not discard:
        terminal.say(
            "Finished outputs do not need it. To go on, repeat the command; to remove it: "
            f"dof repair {path} --discard"
        )
    return DONE


def _mended(terminal: Terminal, path: Path, discard: bool) -> int:
    from dataclasses import asdict

    from dof_arrow.rewrite.edit import carry_out
    from dof_arrow.rewrite.mend_statistics import planned

    if discard:
        raise click.UsageError("--statistics mends a file, --discard removes leftovers: give one")
    plan = planned(path)
    carry_out(plan)
    values = [asdict(change) for change in plan.changes]
    rows = [(each.where, f"{each.old}", f"now {each.new}") for each in plan.changes]
    lines = table(rows) if rows else [f"{path}: its statistics are true"]
    terminal.result(values, *lines)
    if rows:
        terminal.say(f"Mended: {len(rows)}")
    return DONE
