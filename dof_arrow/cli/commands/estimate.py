"""`dof estimate`: how large a file will be."""

from __future__ import annotations

from math import prod
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import making, spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import size

_BYTES = {"float32": 4, "float16": 2}


@click.command()
@click.option("--rows", type=click.IntRange(1), required=True)
@click.option("--core", metavar="CORE", help="The core, for the width of its features.")
@click.option("--width", type=click.IntRange(1), help="The width itself.")
@making
@click.option(
    "--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True
)
@click.option("--label/--no-label", default=True, help="With a column of labels.")
@click.option("--group", is_flag=True, help="With a column of pseudonymous groups.")
@spoken
def estimate(
    terminal: Terminal,
    rows: int,
    core: str | None,
    width: int | None,
    dtype: str,
    label: bool,
    group: bool,
    **options: Any,
) -> int:
    """Say how large a file of so many rows will be; of pictures that are there: dof extract
    --dry-run."""
    from dof_arrow.cores import builtin
    from dof_arrow.extraction.dry_run import size_of_rows

    if (core is None) == (width is None):
        raise click.UsageError("give either --core or --width")
    given = {name: value for name, value in options.items() if value is not None}
    made = builtin.resolve(core, **given) if core is not None else None
    shape = made.output_shape if made else (width or 1,)
    with terminal.busy("counting"):
        count = size_of_rows(rows, shape, core=made, dtype=dtype, label=label, group=group)
    vectors = rows * prod(shape) * _BYTES[dtype]
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
