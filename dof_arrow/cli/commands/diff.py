"""`dof diff`: what differs between two datasets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dof_arrow.cli.commands.reproduce import WIDTH
from dof_arrow.cli.exit_codes import DONE, NO
from dof_arrow.cli.options import spoken
from dof_arrow.cli.report import agreements, finite
from dof_arrow.cli.terminal import Terminal, table

if TYPE_CHECKING:
    from dof_arrow.dataset.diff import Difference, Some
    from dof_arrow.format.spec.json_diff import Change
import click


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="For features, of a row's largest magnitude; 0.001 for float16 against float32.",
)
@spoken
def diff(terminal: Terminal, a: Path, b: Path, tolerance: float) -> int:
    """Say what differs between datasets A and B: metadata, rows, values. Exit code 1 if anything does."""
    from dof_arrow.dataset.diff import diff as compare

    with terminal.busy("comparing"):
        found = compare(a, b, tolerance=tolerance)
    same = "hold the same" if found.equal else "differ"
    terminal.result(
        {"equal": found.equal, **asdict(found), "features": finite(found.features)},
        "\n".join([f"{a} and {b} {same}", *_differences(found)]),
    )
    for change in found.stored:
        terminal.say(f"Stored otherwise: {change.where} {_short(change.old)}, {_short(change.new)}")
    if found.reordered:
        terminal.say("The rows stand in another order.")
    return DONE if found.equal else NO


def _differences(found: Difference) -> Iterable[str]:
    yield f"\nrows: {found.rows[0]:,} and {found.rows[1]:,}, in both {found.both:,}"
    for which, some in zip("AB", found.only, strict=True):
        if some.rows:
            yield f"only in {which}: {_some(some)}"
    for which, columns in zip("AB", found.columns, strict=True):
        if columns:
            yield f"columns only in {which}: {', '.join(columns)}"
    if found.metadata:
        yield "\n" + table([("metadata", "A", "B"), *map(_change, found.metadata)])
    if found.features:
        yield "\n" + agreements(found.features)
    if found.values:
        yield "\n" + table(
            [("column", "rows that differ"), *((n, _some(s)) for n, s in found.values.items())]
        )


def _some(some: Some) -> str:
    return (
        f"{some.rows:,} rows: {', '.join(some.first)}{', …' if some.rows > len(some.first) else ''}"
    )


def _change(change: Change) -> tuple[str, str, str]:
    return change.where, _short(change.old), _short(change.new)


def _short(value: Any) -> str:
    text = "-" if value is None else " ".join(str(value).split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
