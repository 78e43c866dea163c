"""`dof fuse`: join cores and heads into one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import making, spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import size


@click.command()
@click.option(
    "--core",
    "cores",
    required=True,
    multiple=True,
    metavar="CORE",
    help="The core whose features the heads were trained on; repeat it for heads that read "
    "several.",
)
@making
@click.option(
    "--head",
    "heads",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="A head, its output named after its file; repeatable: all answer in one pass.",
)
@click.option(
    "--batch",
    is_flag=True,
    help="Let the model take several pictures at once, each of its own size.",
)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="The model to write."
)
@click.option("--overwrite", is_flag=True)
@spoken
def fuse(
    terminal: Terminal,
    cores: tuple[str, ...],
    heads: tuple[Path, ...],
    batch: bool,
    out: Path,
    overwrite: bool,
    **options: Any,
) -> int:
    """Join preprocessing, cores and heads into one ONNX file: pictures or clips in, predictions
    out."""
    from dof_arrow.cores import builtin
    from dof_arrow.inference.fuse import fuse as join
    from dof_arrow.storage.atomic import refuse_existing, replacing

    refuse_existing(out, overwrite)
    joined = [builtin.resolve(core, **options) for core in cores]
    data = join(joined, _by_name(heads), batch=batch)
    with replacing(out, overwrite=overwrite) as file:
        file.write(data)
    terminal.result({"path": str(out), "bytes": len(data)}, f"{out}: {size(len(data))}")
    terminal.say(f"Next: dof predict {out} INPUT…")
    return DONE


def _by_name(heads: tuple[Path, ...]) -> dict[str, bytes]:
    from dof_arrow.errors import UsageError

    found = {path.stem: _read(path) for path in heads}
    if len(found) < len(heads):
        raise UsageError(
            "two heads of one name",
            expected="files of different names, which the outputs bear",
            found=", ".join(map(str, heads)),
            hint="Rename one of them.",
        )
    return found


def _read(path: Path) -> bytes:
    from dof_arrow.errors import UsageError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError("cannot be read", str(path), found=error.strerror or "") from None
