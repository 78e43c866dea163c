"""`dof erase`: take people or inputs out of a dataset, and out of all that counted them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.terminal import Terminal

if TYPE_CHECKING:
    from dof_arrow.rewrite.erase import Erasure


@click.command()
@click.argument("file", type=DATASET)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The new file.")
@click.option(
    "--names",
    type=click.Path(path_type=Path),
    metavar="LIST.txt",
    help="A text file of inputs' names (or ids of FILE), one a line.",
)
@click.option(
    "--groups",
    type=click.Path(path_type=Path),
    metavar="LIST.txt",
    help="A text file of groups' names (or groups of FILE), one a line: all rows of each go.",
)
@click.option(
    "--id-key",
    type=click.Path(path_type=Path),
    help="The key for pseudonyms that FILE was made with.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def erase(
    terminal: Terminal,
    file: Path,
    out: Path,
    names: Path | None,
    groups: Path | None,
    id_key: Path | None,
    overwrite: bool,
) -> int:
    """Write FILE without some inputs or whole groups: rows, failures and what counted them.

    Names stand in a file, since command lines are kept in histories. FILE itself stays as it is.
    """
    from dof_arrow.rewrite.erase import erase
    from dof_arrow.rewrite.name_list import names_in

    with terminal.busy(f"writing {out}"):
        done = erase(
            file,
            out,
            names=[] if names is None else names_in(names),
            groups=[] if groups is None else names_in(groups),
            id_key=id_key,
            overwrite=overwrite,
        )
    terminal.result(_value(done), _told(done))
    for line in _remarks(file, done):
        terminal.say(line)
    return DONE


def _value(done: Erasure) -> dict[str, Any]:
    return {
        "path": str(done.path),
        "rows": done.rows,
        "records": done.records,
        "groups": done.groups,
        "failures": done.failures,
        "unknown": done.unknown,
        "dropped": list(done.dropped),
        "empty_classes": list(done.empty_classes),
        "documents": list(done.documents),
        "heads": [str(path) for path in done.heads],
    }


def _told(done: Erasure) -> str:
    return (
        f"{done.path}: without {done.rows:,} rows of {done.records:,} inputs "
        f"and {done.failures:,} failures"
    )


def _remarks(file: Path, done: Erasure) -> Iterator[str]:
    """What became of the rest, and what cannot be undone."""
    if done.unknown:
        yield f"{done.unknown:,} of the names are not in {file}"
    if done.dropped:
        yield f"dropped, since it counted them: {', '.join(done.dropped)}"
    if done.empty_classes:
        yield f"classes that no row has any more: {', '.join(done.empty_classes)}"
    if done.documents:
        yield f"look at the documents yourself, they are as they were: {', '.join(done.documents)}"
    yield f"What cannot be undone: {file} itself and its copies. Remove them, and tell who has one."
    if done.heads:
        heads = ", ".join(str(path) for path in done.heads)
        yield f"Heads trained on {file} remember something of its rows. Train them anew: {heads}"
    else:
        yield f"Heads trained on {file} remember something of its rows. Train them anew."
