"""`dof duplicates`: the same picture twice, under two patients or in two splits."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE, NO
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.dataset.similarity import ALIKE
from dof_arrow.errors import shown
from dof_arrow.storage.csv_cells import guarded

if TYPE_CHECKING:
    from dof_arrow.dataset.duplicates import Duplicates, Pair

_WIDTH = 26  # characters of a name, as long as pseudonyms are; so rows fit into 80 columns
_HEADER = ("a", "b", "cosine", "group_a", "group_b", "split_a", "split_b")


@click.command()
@click.argument("file", type=DATASET)
@click.argument("other", required=False, type=DATASET)
@click.option(
    "--threshold",
    type=float,
    metavar="COSINE",
    default=ALIKE,
    show_default=True,
    help="From which cosine on two rows are alike.",
)
@click.option("--feature", metavar="COLUMN", help="The feature column [default: the primary one].")
@click.option("--csv", "as_csv", is_flag=True, help="Print every pair as a CSV table.")
@spoken
def duplicates(
    terminal: Terminal,
    file: Path,
    other: Path | None,
    threshold: float,
    feature: str | None,
    as_csv: bool,
) -> int:
    """Find pictures that are alike in FILE, or of FILE in OTHER, by their features.

    Exit code 1 if some are of two groups, of two splits, or of the two files.
    """
    from dof_arrow.dataset.duplicates import duplicates as search

    printing = as_csv and not terminal.as_json
    if printing:
        csv.writer(sys.stdout, lineterminator="\n").writerow(_HEADER)
    each = _print_csv if printing else None
    found = search(file, other, threshold=threshold, name=feature, each=each)
    if printing:
        for line in _counts(found):
            terminal.say(line)
    else:
        terminal.result({"found": found.found, **asdict(found)}, *_lines(found, file, other))
    return NO if found.found else DONE


def _print_csv(pairs: Sequence[Pair]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for pair in pairs:
        texts = [_cell(text) for text in (*pair.names, *pair.groups, *pair.splits)]
        writer.writerow([*texts[:2], f"{pair.cosine:.6f}", *texts[2:]])
    sys.stdout.flush()


def _cell(text: str | None) -> str:
    return "" if text is None else guarded(shown(text))


def _lines(found: Duplicates, file: Path, other: Path | None) -> Iterator[str]:
    yield str(file) if other is None else f"{file} and {other}"
    yield ""
    yield from _counts(found)
    if found.first:
        yield ""
        yield from table([("cosine", "a", "b", "differ in"), *map(_row, found.first)])
    if found.pairs > len(found.first):
        yield f"… and {found.pairs - len(found.first):,} more: --csv prints them all"


def _counts(found: Duplicates) -> list[str]:
    rows = " and ".join(f"{count:,}" for count in found.rows)
    facts = [
        ("rows", rows),
        (f"pairs alike, cosine {found.threshold:g} and more", f"{found.pairs:,}"),
        ("… with the same numbers", f"{found.equal:,}"),
        ("… of two groups", _count(found.across_groups)),
        ("… of two splits", _count(found.across_splits)),
    ]
    return table(facts)


def _count(found: int | None) -> str:
    return "not known: the column is missing" if found is None else f"{found:,}"


def _row(pair: Pair) -> tuple[str, str, str, str]:
    differ = []
    for kind, (ours, theirs) in (("group", pair.groups), ("split", pair.splits)):
        if None not in (ours, theirs) and ours != theirs:
            differ.append(kind)
    names = [_short(name) for name in pair.names]
    return f"{pair.cosine:.6f}", names[0], names[1], ", ".join(differ)


def _short(text: Any) -> str:
    """A name that fits: its end, which tells names of files apart."""
    return text if len(text) <= _WIDTH else f"…{text[1 - _WIDTH :]}"
