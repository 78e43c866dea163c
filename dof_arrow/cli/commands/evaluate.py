"""`dof evaluate`: judge a head on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, judging, spoken
from dof_arrow.cli.report import say_warnings, score_lines, write_report
from dof_arrow.cli.terminal import Terminal


@click.command()
@click.argument("head", type=click.Path(path_type=Path))
@click.argument("dataset", type=DATASET)
@click.option("--split", metavar="NAME", help="Only the rows of this split.")
@judging
@spoken
def evaluate(
    terminal: Terminal, head: Path, dataset: Path, report: Path | None, **options: Any
) -> int:
    """Judge HEAD on the labelled rows of DATASET, whose features are of the same core."""
    from dof_arrow.dataset.dataset import open as open_dataset
    from dof_arrow.heads.evaluate import evaluate as judge
    from dof_arrow.heads.scoring import summary

    rows = open_dataset(dataset)
    with terminal.busy(f"judging on {len(rows):,} rows"):
        found = judge(head, rows, **options)
    write_report(report, found)
    terminal.result(found, *score_lines(f"{head}: {summary(found)}", found))
    say_warnings(terminal, found)
    return DONE
