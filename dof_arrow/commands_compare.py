"""Commands that compare: a dataset with what it came from, and with another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli import DONE, NO
from dof_arrow.options import making, spoken
from dof_arrow.terminal import Terminal, table

if TYPE_CHECKING:
    from dof_arrow.agreement import Agreement
    from dof_arrow.compare import Difference, Some
    from dof_arrow.reproduce import Remark, Reproduction
    from dof_arrow.revise import Change

_SHOWN, _WIDTH = 5, 48
_FACTS = ("column", "rows", "bit-equal", "within", "largest", "relative", "lowest cosine")


def _portion(context: click.Context, option: click.Parameter, value: str) -> int | float:
    """A number of rows, or a share as `0.1`."""
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number of rows nor a share such as 0.1") from None


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--source", required=True, type=click.Path(path_type=Path), help="What it was extracted from.")
@click.option("--core", required=True, multiple=True, metavar="CORE", help="The core of each feature column.")
@making
@click.option("--table", type=click.Path(path_type=Path), help="The CSV file that named the pictures.")
@click.option("--key", metavar="COLUMN", help="The table's column of file names.")
@click.option("--id-key", type=click.Path(path_type=Path), help="The key that made the pseudonyms.")
@click.option("--pictures", metavar="NAME", help="Which pictures, where a container holds several kinds.")
@click.option("--max-pixels", type=click.IntRange(1), metavar="N", help="Refuse larger pictures [default: by memory].")
@click.option("--allow", multiple=True, metavar="WHAT", help="Read what is refused otherwise; the message names it.")
@click.option("--rows", metavar="N|SHARE", default="100", show_default=True, callback=_portion,
              help="How many rows are drawn; 1.0 for all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which rows are drawn.")
@click.option("--tolerance", type=click.FloatRange(0), default=0.001, show_default=True,
              help="Of a row's largest magnitude; 0 for equal numbers.")
@click.option("--workers", type=click.IntRange(1, 256), help="Threads [default: the processors].")
@spoken
def reproduce(terminal: Terminal, dataset: Path, **options: Any) -> int:
    """Make rows of DATASET again from its source, and say how closely the features agree.

    Exit code 1 if a row does not agree, or its input is not there any more.
    """
    from dof_arrow.reproduce import reproduce as again

    with terminal.progress("reproducing") as progress:
        found = again(dataset, progress=progress, **options)
    value = {"agrees": found.agrees, **asdict(found), "columns": _finite(found.columns)}
    terminal.result(value, _told(found))
    for name, (noted, here) in found.libraries.items():
        terminal.say(f"Made with {name} {noted}; here is {here}.")
    if not found.agrees:
        _explain(terminal, found)
    elif found.rows < found.of:
        terminal.say(f"Next, all {found.of:,} rows: the same with --rows 1.0")
    return DONE if found.agrees else NO


def _explain(terminal: Terminal, found: Reproduction) -> None:
    terminal.say(f"{found.lost:,} rows have no input that can be read, {found.differing:,} differ; the first:")
    for remark in found.remarks[:_SHOWN]:
        terminal.say(f"  {_name(remark)}  {remark.reason}")


def _told(found: Reproduction) -> str:
    agreeing = found.rows - found.lost - found.differing
    lines = [f"{agreeing:,} of {found.rows:,} rows, drawn of {found.of:,}, agree within {found.tolerance:g} "
             "of their largest magnitude", "", _agreements(found.columns)]
    if found.skipped:
        lines.append(f"\nNot compared, no core was given: {', '.join(found.skipped)}")
    return "\n".join(lines)


def _name(remark: Remark) -> str:
    return "/".join(str(part) for part in (remark.id, remark.view, remark.frame) if part is not None)


def _agreements(columns: Mapping[str, Agreement]) -> str:
    rows = [(name, f"{a.rows:,}", f"{a.equal:,}", f"{a.close:,}", f"{a.largest:.3g}", f"{a.relative:.3g}",
             f"{a.cosine:.9f}") for name, a in columns.items()]
    return table([_FACTS, *rows])


def _finite(columns: Mapping[str, Agreement]) -> dict[str, dict[str, float | None]]:
    """The same for JSON, which has no infinity."""
    return {name: {k: v if isfinite(v) else None for k, v in asdict(a).items()} for name, a in columns.items()}


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--tolerance", type=click.FloatRange(0), default=0.0, show_default=True,
              help="For features, of a row's largest magnitude; 0.001 for float16 against float32.")
@spoken
def diff(terminal: Terminal, a: Path, b: Path, tolerance: float) -> int:
    """Say what differs between datasets A and B: metadata, rows, values. Exit code 1 if anything does."""
    from dof_arrow.compare import diff as compare

    with terminal.busy("comparing"):
        found = compare(a, b, tolerance=tolerance)
    same = "hold the same" if found.equal else "differ"
    terminal.result({"equal": found.equal, **asdict(found), "features": _finite(found.features)},
                    "\n".join([f"{a} and {b} {same}", *_differences(found)]))
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
        yield "\n" + _agreements(found.features)
    if found.values:
        yield "\n" + table([("column", "rows that differ"), *((n, _some(s)) for n, s in found.values.items())])


def _some(some: Some) -> str:
    return f"{some.rows:,} rows: {', '.join(some.first)}{', …' if some.rows > len(some.first) else ''}"


def _change(change: Change) -> tuple[str, str, str]:
    return change.where, _short(change.old), _short(change.new)


def _short(value: Any) -> str:
    text = "-" if value is None else " ".join(str(value).split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


