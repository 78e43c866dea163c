"""`dof reproduce`: make rows again from their source, and compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE, NO
from dof_arrow.cli.options import DATASET, making, naming, reading, spoken
from dof_arrow.cli.report import agreements, finite
from dof_arrow.cli.terminal import Terminal

if TYPE_CHECKING:
    from dof_arrow.extraction.reproduce import Remark, Reproduction

_SHOWN = 5  # rows that do not agree, of which the reasons are told


def _portion(context: click.Context, option: click.Parameter, value: str) -> int | float:
    """A number of rows, or a share as `0.1`."""
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither a number of rows nor a share such as 0.1"
        ) from None


@click.command()
@click.argument("dataset", type=DATASET)
@click.option(
    "--source", required=True, type=click.Path(path_type=Path), help="What it was extracted from."
)
@click.option(
    "--core",
    multiple=True,
    metavar="CORE",
    help="The core of each feature column [default: found by digest].",
)
@making
@naming
@click.option(
    "--pictures", metavar="NAME", help="Which pictures, where a container holds several kinds."
)
@reading
@click.option(
    "--rows",
    metavar="N|SHARE",
    default="100",
    show_default=True,
    callback=_portion,
    help="How many rows are drawn; 1.0 for all.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Which rows are drawn."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    metavar="X",
    default=0.001,
    show_default=True,
    help="How far a number may be off, in parts of its row's largest magnitude; 0 for equal "
    "numbers.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Threads [default: the processors].",
)
@spoken
def reproduce(terminal: Terminal, dataset: Path, **options: Any) -> int:
    """Make rows of DATASET again from its source, and say how closely the features agree.

    Exit code 1 if a row does not agree, or its input is not there any more.
    """
    from dof_arrow.extraction.reproduce import reproduce as again

    with terminal.progress("reproducing") as progress:
        found = again(dataset, progress=progress, **options)
    value = {"agrees": found.agrees, **asdict(found), "columns": finite(found.columns)}
    terminal.result(value, *_lines(found))
    for name, (noted, here) in found.libraries.items():
        terminal.say(f"Made with {name} {noted}; here is {here}.")
    for name, (then, now) in found.providers.items():
        terminal.say(f"{name} was made by the provider {then}; here by {now}.")
    if not found.agrees:
        _explain(terminal, found)
    elif found.rows < found.of:
        terminal.say(f"Next, all {found.of:,} rows: the same with --rows 1.0")
    return DONE if found.agrees else NO


def _explain(terminal: Terminal, found: Reproduction) -> None:
    terminal.say(
        f"{found.lost:,} rows have no input that can be read, {found.differing:,} differ; "
        "the first:"
    )
    for remark in found.remarks[:_SHOWN]:
        terminal.say(f"  {_name(remark)}  {remark.reason}")


def _lines(found: Reproduction) -> Iterator[str]:
    agreeing = found.rows - found.lost - found.differing
    yield (
        f"{agreeing:,} of {found.rows:,} rows, drawn of {found.of:,}, "
        f"agree within {found.tolerance:g} of their largest magnitude"
    )
    yield ""
    yield from agreements(found.columns)
    if found.skipped:
        yield ""
        yield f"Not compared, no core was given: {', '.join(found.skipped)}"


def _name(remark: Remark) -> str:
    parts = (remark.id, remark.view, remark.frame)
    return "/".join(str(part) for part in parts if part is not None)
