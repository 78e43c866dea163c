"""`dof import`: make a dataset of vectors that others computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import described, describing, paired, spoken
from dof_arrow.cli.report import report_made
from dof_arrow.cli.terminal import Terminal
from dof_arrow.errors import UsageError


@click.command(name="import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The new file.")
@click.option(
    "--vector", metavar="NAME", help="The column or array of vectors [default: the only one]."
)
@describing(
    table="A table, or a folder of Parquet files, whose rows stand in the order of the vectors "
    "[default: the columns beside them].",
    key="The column of ids, each once [default: rows are numbered].",
)
@click.option(
    "--record",
    multiple=True,
    metavar="ROLE=COLUMN",
    help="Which column is the bag, x, y, level, mpp, start or end; repeatable.",
)
@click.option(
    "--survival",
    multiple=True,
    metavar="NAME=TIME,EVENT",
    help="A survival target of two columns; repeatable.",
)
@click.option("--core", metavar="NAME", help="What made the vectors; it is noted, not checked.")
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def import_(terminal: Terminal, source: Path, out: Path, **options: Any) -> int:
    """Write the vectors in SOURCE, a Parquet, .npy, .npz or .safetensors file or a folder of them.

    Rows with NaN are refused, all at once.
    """
    from dof_arrow.rewrite.foreign.import_file import import_file

    options["record"] = dict(paired("--record", options["record"]))
    options["survival"] = dict(_survival(options["survival"]))
    given = {
        name: value for name, value in described(options).items() if value not in (None, (), {})
    }
    with terminal.busy(f"writing {out}"):
        import_file(source, out=out, **given)
    report_made(terminal, out)
    return DONE


def _survival(texts: Sequence[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The two columns of each survival target."""
    for name, columns in paired("--survival", texts):
        time, comma, event = columns.partition(",")
        if not comma or not time or not event:
            raise UsageError("two columns are needed", "--survival", "NAME=TIME,EVENT", columns)
        yield name, (time, event)
