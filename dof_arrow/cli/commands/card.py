"""`dof card`: a page that says what a dataset is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import size


@click.command()
@click.argument("dataset", type=DATASET)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="The page to write."
)
@click.option("--feature", metavar="COLUMN", help="The feature column [default: the primary one].")
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A head whose scores are told; repeatable.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A fused model that the page runs on the reader's own picture.",
)
@click.option(
    "--onnxruntime-web",
    metavar="FILE.tgz|FOLDER",
    type=click.Path(path_type=Path),
    help="What runs it in a browser, as `npm pack onnxruntime-web` gets it.",
)
@click.option(
    "--sheets",
    metavar="SHEET.png",
    type=click.Path(path_type=Path),
    help="A sheet of `dof audit --sheets`; it shows pictures of the source.",
)
@click.option("--names", is_flag=True, help="Call rows by their whole ids.")
@click.option("--overwrite", is_flag=True)
@spoken
def card(terminal: Terminal, dataset: Path, out: Path, **options: Any) -> int:
    """Write one page that says what DATASET is: it opens from the disk and loads nothing."""
    from dof_arrow.publish.card import card as write

    with terminal.busy("making the card"):
        made = write(dataset, out, **options)
    written = out.stat().st_size
    rows = made.map
    value = {"path": str(out), "bytes": written, "rows": rows.of, "drawn": rows.rows}
    terminal.result(value, f"{out}: {size(written)}, {rows.rows:,} of {rows.of:,} rows drawn")
    if options["sheets"]:
        terminal.say("The page shows pictures of the source: it is for those who may see them.")
    terminal.say("Next: open it in a browser")
    return DONE
