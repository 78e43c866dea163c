"""`dof diff`: what differs between two datasets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE, NO
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.report import agreements, finite
from dof_arrow.cli.terminal import Terminal, table

if TYPE_CHECKING:
    from dof_arrow.dataset.diff import Difference, Some
    from dof_arrow.format.spec.json_diff import Change

_WIDTH = 48  # characters of a value in the table of metadata


@click.command()
@click.argument("a", type=DATASET)
@click.argument("b", type=DATASET)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    metavar="X",
    default=0.0,
    show_default=True,
    help="How far a number of a feature may be off, in parts of its row's largest magnitude; 0.001 "
    "for float16 against float32.",
)
@spoken
def diff(terminal: Terminal, a: Path, b: Path, tolerance: float) -> int:
    """Say what differs between datasets A and B: metadata, rows, values. Exit code 1 if anything
    does."""
    from dof_arrow.dataset.diff import diff as compare

    with terminal.busy("comparing"):
        found = compare(a, b, tolerance=tolerance)
    same = "hold the same" if found.equal else "differ"
    terminal.result(
        {"equal": found.equal, **asdict(found), "features": finite(found.features)},
        f"{a} and {b} {same}",
        *_differences(found),
    )
    for change in found.stored:
        terminal.say(f"Stored otherwise: {change.where} {_short(change.old)}, {_short(change.new)}")
    if found.reordered:
        terminal.say("The rows stand in another order.")
    return DONE if found.equal else NO


def _differences(found: Difference) -> Iterable[str]:
    yield ""
    yield f"rows: {found.rows[0]:,} and {found.rows[1]:,}, in both {found.both:,}"
    for which, some in zip("AB", found.only, strict=True):
        if some.rows:
            yield f"only in {which}: {_some(some)}"
    for which, columns in zip("AB", found.columns, strict=True):
        if columns:
            yield f"columns only in {which}: {', '.join(columns)}"
    if found.metadata:
        yield ""
        yield from table([("metadata", "A", "B"), *map(_change, found.metadata)])
    if found.features:
        yield ""
        yield from agreements(found.features)
    if found.values:
        rows = [(name, _some(some)) for name, some in found.values.items()]
        yield ""
        yield from table([("column", "rows that differ"), *rows])


def _some(some: Some) -> str:
    names = list(some.first)
    if some.rows > len(names):
        names.append("…")
    return f"{some.rows:,} rows: {', '.join(names)}"


def _change(change: Change) -> tuple[str, str, str]:
    return change.where, _short(change.old), _short(change.new)


def _short(value: Any) -> str:
    text = "-" if value is None else " ".join(str(value).split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
