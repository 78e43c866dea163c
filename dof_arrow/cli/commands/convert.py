"""`dof convert`: write a dataset in another form."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.report import report_made
from dof_arrow.cli.terminal import Terminal, heard
from dof_arrow.rewrite.forms import FORMS
from dof_arrow.storage.addresses import Location


def _help() -> str:
    """The help text, with all forms in two columns."""
    half = (len(FORMS) + 1) // 2
    lines = [f"x{form.suffix:15}{form.help:25}" for form in FORMS[:half]]
    for index, form in enumerate(FORMS[half:]):
        lines[index] += f"x{form.suffix:14}{form.help}"
    # click leaves the line breaks of a paragraph alone after \b.
    table = "\n".join(["\b", *lines])
    older = (
        "SOURCE may also be DoF as JSON, a file of DoF 1.0 or 2.x, or vectors of others: HDF5 of "
        "TRIDENT, CLAM or STAMP, .pt files, tars of .npy members, folders of them. OUT is then a "
        ".parquet."
    )
    return f"Write SOURCE in another form, told by the name of OUT.\n\n{table}\n\n{older}"


@click.command(help=_help())
@click.argument("source", type=DATASET)
@click.argument("out", type=DATASET)
@click.option(
    "--layout",
    type=click.Choice(["mapped", "compact"]),
    help="For use in place, or for slow links.",
)
@click.option(
    "--dtype", type=click.Choice(["float32", "float16"]), help="Another type of the vectors."
)
@click.option(
    "--rows-per-part", type=click.IntRange(1), metavar="N", help="Rows of each file of a directory."
)
@click.option("--ids", type=click.Choice(["pseudonym", "name"]), help="Of slides of others.")
@click.option("--id-key", type=click.Path(path_type=Path), help="The key for their pseudonyms.")
@click.option("--core", metavar="NAME", help="What made their vectors; it is noted as a claim.")
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def convert(terminal: Terminal, source: Path, out: Path, **options: Any) -> int:
    """Write SOURCE in another form, told by the name of OUT."""
    from dof_arrow.rewrite.convert import convert as write

    given = {name: value for name, value in options.items() if value is not None}
    with _waiting(terminal, source, out), heard() as notes:
        write(source, out, **given)
    report_made(terminal, out, notes)
    return DONE


def _waiting(terminal: Terminal, source: Location, out: Location) -> AbstractContextManager[None]:
    """What is shown meanwhile; of many inputs each is told of by itself."""
    from dof_arrow.rewrite.foreign.convert import may_be_foreign

    if isinstance(source, Path) and may_be_foreign(source):
        return nullcontext()
    return terminal.busy(f"writing {out}")
