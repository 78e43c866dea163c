"""`dof fuse`: join cores and heads into one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import making, spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import size
from dof_arrow.system import open_file

if TYPE_CHECKING:
    from dof_arrow.cores.core import Core


@click.command()
@click.option(
    "--core",
    "cores",
    multiple=True,
    metavar="CORE",
    help="The core whose features the heads were trained on; repeat it for heads that read "
    "several [default: found by digest].",
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
@click.option("--overwrite", is_flag=True, help="Replace the output.")
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
    from dof_arrow.inference.fuse import fuse as join
    from dof_arrow.storage.atomic import refuse_existing, replacing

    refuse_existing(out, overwrite)
    named = _by_name(heads)
    joined = _made(cores, options) if cores else _found(heads, named, options)
    data = join(joined, named, batch=batch)
    with replacing(out, overwrite=overwrite) as file:
        file.write(data)
    terminal.result({"path": str(out), "bytes": len(data)}, f"{out}: {size(len(data))}")
    terminal.say(f"Next: dof predict {out} INPUT…")
    return DONE


def _made(cores: tuple[str, ...], options: dict[str, Any]) -> list[Core]:
    from dof_arrow.cores import builtin

    return [builtin.resolve(core, **options) for core in cores]


def _found(heads: tuple[Path, ...], named: dict[str, bytes], options: dict[str, Any]) -> list[Core]:
    """The cores that the heads were trained on, by their digests."""
    from dof_arrow.errors import UsageError
    from dof_arrow.inference.head_cores import cores_of

    given = [f"--{option}" for option, value in options.items() if value is not None]
    if given:
        raise UsageError(
            "no model is named that a core could be made of",
            found=", ".join(given),
            hint="Name it, --core MODEL.onnx; or leave these options out.",
        )
    return cores_of({path: named[path.stem] for path in heads})


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
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise UsageError("cannot be read", str(path), found=error.strerror or "") from None
