"""`dof drop`: take parts or rows out of a directory."""

from __future__ import annotations

from pathlib import Path

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.report import report_made
from dof_arrow.cli.terminal import Terminal


@click.command()
@click.argument("directory", type=DATASET)
@click.argument("parts", nargs=-1)
@click.option(
    "--ids",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Drop the rows of these ids: a text file, one id a line, as they stand in the dataset.",
)
@spoken
def drop(terminal: Terminal, directory: Path, parts: tuple[str, ...], ids: Path | None) -> int:
    """Take whole PARTS (data-000003.parquet) out of DIRECTORY, or rows by their ids."""
    from dof_arrow.rewrite.drop import drop as take_out

    names = [] if ids is None else _lines(ids)
    with terminal.busy(f"writing {directory}"):
        take_out(directory, parts=parts, ids=names)
    report_made(terminal, directory)
    return DONE


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    from dof_arrow.errors import UsageError
    from dof_arrow.system import open_file

    try:
        with open_file(path) as file:
            text = file.read().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", str(path)) from None
    except UnicodeDecodeError:
        raise UsageError("no text in UTF-8", str(path), "one id a line", "other bytes") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
