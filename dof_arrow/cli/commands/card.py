"""`dof card`: a page that says what a dataset is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import size

if TYPE_CHECKING:
    from dof_arrow.dataset.dataset import Dataset


@click.command()
@click.argument("dataset", type=DATASET)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The page to write.")
@click.option(
    "--croissant",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="A Croissant description to write, for catalogues.",
)
@click.option(
    "--readme",
    type=click.Path(path_type=Path),
    metavar="README.md",
    help="A README to write, as `dof push` would send it.",
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
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def card(
    terminal: Terminal,
    dataset: Path,
    out: Path | None,
    croissant: Path | None,
    readme: Path | None,
    **options: Any,
) -> int:
    """Write one page that says what DATASET is: it opens from the disk and loads nothing.

    --croissant and --readme say the same to catalogues and hubs."""
    from dof_arrow.dataset.dataset import open
    from dof_arrow.publish import descriptions

    if out is None and croissant is None and readme is None:
        raise click.UsageError("nothing to write: give -o card.html, --croissant or --readme")
    ds = open(dataset)
    # All is known before anything is written: what is refused leaves no half of the answer.
    overwrite = options["overwrite"]
    described = descriptions.texts(
        ds, croissant_out=croissant, readme_out=readme, overwrite=overwrite
    )
    value: dict[str, Any] = {}
    lines = []
    if out is not None:
        value, line = _page(terminal, ds, out, options)
        lines.append(line)
    descriptions.write(described, overwrite=overwrite)
    for name, path in (("croissant", croissant), ("readme", readme)):
        if path is not None:
            value[name] = str(path)
            lines.append(f"{path}: {size(path.stat().st_size)}")
    terminal.result(value, *lines)
    if options["sheets"]:
        terminal.say("The page shows pictures of the source: it is for those who may see them.")
    terminal.say(f"Next: {'open it in a browser' if out else f'dof push {dataset} TARGET'}")
    return DONE


def _page(
    terminal: Terminal, ds: Dataset, out: Path, options: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Write the page; what it is, as JSON values and as a line."""
    from dof_arrow.publish.card import card as write

    with terminal.busy("making the card"):
        made = write(ds, out, **options)
    written = out.stat().st_size
    rows = made.map
    value = {"path": str(out), "bytes": written, "rows": rows.of, "drawn": rows.rows}
    return value, f"{out}: {size(written)}, {rows.rows:,} of {rows.of:,} rows drawn"
