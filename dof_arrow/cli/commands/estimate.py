"""`dof estimate`: how large a file will be, and how long it will take to make."""

from __future__ import annotations

import tempfile
from math import prod
from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import making, spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import duration, size

_BYTES = {"float32": 4, "float16": 2}


@click.command()
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option(
    "--rows", type=click.IntRange(1), metavar="N", help="How many rows, where there is no SOURCE."
)
@click.option("--core", metavar="CORE", help="The core, for the width of its features.")
@click.option("--width", type=click.IntRange(1), metavar="N", help="The width itself.")
@making
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="The type of the vectors.",
)
@click.option("--label/--no-label", default=True, help="With a column of labels.")
@click.option("--group", is_flag=True, help="With a column of pseudonymous groups.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Pictures worked on at a time [default: the processors].",
)
@spoken
def estimate(
    terminal: Terminal,
    source: Path | None,
    rows: int | None,
    core: str | None,
    width: int | None,
    dtype: str,
    label: bool,
    group: bool,
    workers: int | None,
    **options: Any,
) -> int:
    """Say how large a file of so many rows will be; of a SOURCE also how long it will take, by a
    short trial that keeps nothing."""
    if (source is None) == (rows is None):
        raise click.UsageError("give either SOURCE or --rows")
    given = {name: value for name, value in options.items() if value is not None}
    if source is not None:
        if core is None or width is not None:
            raise click.UsageError("a trial needs --core, which also says the width")
        given = {**given, "core": core, "dtype": dtype, "workers": workers}
        return _of_source(terminal, source, given)
    if (core is None) == (width is None):
        raise click.UsageError("give either --core or --width")
    assert rows is not None
    return _of_rows(terminal, rows, core, width, given, dtype=dtype, label=label, group=group)


def _of_source(terminal: Terminal, source: Path, given: dict[str, Any]) -> int:
    from dof_arrow.extraction.dry_run import size_of_run
    from dof_arrow.extraction.extract import planned
    from dof_arrow.extraction.trial import tried

    with tempfile.TemporaryDirectory() as folder, terminal.busy("trying some inputs"):
        run = planned(source, out=Path(folder) / "trial.parquet", ids="name", **given)
        count = size_of_run(run)
        trial = tried(run)
    failed = f", {trial.failed:,} of them failed" if trial.failed else ""
    terminal.result(
        {
            "inputs": trial.total,
            "tried": trial.inputs,
            "failed": trial.failed,
            "rate": trial.rate,
            "seconds": trial.remaining,
            "bytes": count,
        },
        f"{trial.total:,} {run.kind} at {trial.rate:,.1f} a second: about "
        f"{duration(trial.remaining)} on this machine (tried: {trial.inputs:,}{failed})",
        f"{count:,} bytes ({size(count)}) without a table's columns",
    )
    terminal.say(
        f"Next: dof extract {source} --core {given['core']} -o OUT.dof.parquet --dry-run, "
        "which tells all that will leave"
    )
    return DONE


def _of_rows(
    terminal: Terminal,
    rows: int,
    core: str | None,
    width: int | None,
    given: dict[str, Any],
    **columns: Any,
) -> int:
    from dof_arrow.cores import builtin
    from dof_arrow.extraction.dry_run import size_of_rows

    made = builtin.resolve(core, **given) if core is not None else None
    shape = made.output_shape if made else (width or 1,)
    with terminal.busy("counting"):
        count = size_of_rows(rows, shape, core=made, **columns)
    vectors = rows * prod(shape) * _BYTES[columns["dtype"]]
    ratio = count / vectors
    terminal.result(
        {"bytes": count, "vector_bytes": vectors, "ratio": ratio},
        f"{count:,} bytes ({size(count)}), {ratio:.4f} of the vectors alone; "
        "class names and other metadata come on top",
    )
    terminal.say(
        "Next, for real pictures: dof extract PICTURES --core CORE -o OUT.dof.parquet --dry-run"
    )
    return DONE
