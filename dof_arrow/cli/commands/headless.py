"""`dof headless`: cut the head off a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import making, running, spoken
from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.progress import size

if TYPE_CHECKING:
    from dof_arrow.cores.core import Core
    from dof_arrow.cores.measure import Appraisal

_SAMPLE = 16  # pictures of the user's own that a core is measured on


@click.command()
@click.argument("model")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The core to write.")
@click.option("--list", "list_only", is_flag=True, help="Show where the model can be cut.")
@making
@click.option("--license", metavar="SPDX", help="The model's licence, kept with the core.")
@click.option(
    "--measure/--no-measure",
    default=True,
    help="Whether to measure how steady the core is, and what it costs.",
)
@click.option(
    "--sample",
    type=click.Path(path_type=Path),
    help="Measure on these pictures [default: drawn ones].",
)
@running
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def headless(
    terminal: Terminal,
    model: str,
    out: Path | None,
    list_only: bool,
    measure: bool,
    sample: Path | None,
    provider: str,
    overwrite: bool,
    **options: Any,
) -> int:
    """Cut the head off MODEL; what is left is a core: pictures in, features out, preprocessing
    inside.

    MODEL is an ONNX file, https://…, hf://OWNER/REPO/FILE.onnx, timm:NAME, efficientnet-lite0 or
    builtin.
    """
    from dof_arrow.cores.core import headless as make
    from dof_arrow.storage.atomic import refuse_existing, replacing

    options["grey"] = bool(options["grey"])
    if list_only:
        return _list_candidates(terminal, model, options["size"], options["grey"])
    if out is None:
        raise click.UsageError(
            "say where to write the core: -o CORE.onnx, or --list to see the choices"
        )
    refuse_existing(out, overwrite)
    data = make(model, **options)
    bare = options["preprocess"] is None and b"dof.preprocessing.graph" not in data
    about: dict[str, Any] = {}
    lines = ["a core without preprocessing"]
    if not bare:
        about, lines = _tried(data, provider, measure, sample)
    with replacing(out, overwrite=overwrite) as file:
        file.write(data)
    lines[0] = f"{out}: {size(len(data))}, {lines[0]}"
    terminal.result({"path": str(out), "bytes": len(data), **about}, *lines)
    asked = " --preprocess NAME|SPEC.json" if bare else ""
    terminal.say(f"Next: dof extract PICTURES --core {out}{asked} -o OUT.dof.parquet")
    return DONE


def _tried(
    core: bytes, provider: str, measure: bool, sample: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """What a core gives, before it is written: as JSON values and as lines."""
    from dataclasses import asdict

    from dof_arrow.cores.core import Core
    from dof_arrow.cores.measure import appraise

    made = Core(core, provider=provider)
    shape = " x ".join(map(str, made.output_shape))
    about: dict[str, Any] = {"sha256": made.sha256, "shape": made.output_shape}
    lines = [f"features [{shape}], sha256 {made.sha256}"]
    if measure:
        found = appraise(made, _sampled(made, sample) if sample else None)
        about["appraisal"] = asdict(found)
        lines += _appraised(found, drawn=sample is None)
    return about, lines


def _sampled(core: Core, sample: Path) -> list[Any]:
    """The first pictures of a folder, decoded as the core wants them."""
    from dof_arrow.media import decode
    from dof_arrow.sources.open import open_source

    wanted = core.preprocessing
    source = open_source(sample)
    pictures = []
    for place in range(min(len(source), _SAMPLE)):
        data = source[place].load_picture()
        picture, _ = decode.decode(data, mode=wanted.mode, orientation=wanted.orientation)
        pictures.append(picture)
    return pictures


def _appraised(found: Appraisal, drawn: bool) -> list[str]:
    runs = {
        "any": "of any size; no row depends on the others",
        "one by one": "one by one: rows depend on the others",
    }
    kind = "drawn pictures" if drawn else "pictures"
    steadiness = (
        f"1.3% of the pixels one grey level off move features by {found.moved:.2%} "
        f"(median of {found.pictures} {kind}, at most {found.moved_most:.2%})"
    )
    whole = found.preprocessing_ms + found.network_ms
    cost = (
        f"{whole:.1f} ms a picture, {found.preprocessing_ms:.1f} of them preprocessing, "
        f"on one thread: {found.per_second:,.0f} a second"
    )
    return table(
        [
            ("parameters", f"{found.parameters:,}"),
            ("batches", runs.get(found.batch, found.batch)),
            ("steadiness", steadiness),
            ("cost", cost),
        ]
    )


def _list_candidates(terminal: Terminal, model: str, size: str | None, grey: bool) -> int:
    from dataclasses import asdict

    from dof_arrow.cores import core_file, cut, open_input
    from dof_arrow.cores.origins import resolve
    from dof_arrow.format.spec.preprocessing import parse_size

    if model.partition(":")[0] == "builtin":
        raise click.UsageError(f"{model} has no head: there is nothing to cut")
    sides = parse_size(size) if size else None
    original = resolve.find(model).model
    whole = open_input.settled(original, sides, grey=grey)
    found = cut.candidates(whole)
    rows = [(" ", "tensor", "shape", "kind", "why")]
    for each in found:
        mark = "*" if each.chosen else " "
        shape = " x ".join(map(str, each.shape))
        rows.append((mark, each.tensor, shape, each.kind, each.why))
    terminal.result([asdict(each) for each in found], *table(rows))
    if core_file.is_core(original):
        terminal.say(f"{model} is a core already: its output is its features, nothing is cut")
    elif any(each.chosen for each in found):
        terminal.say("* is where dof cuts; another: --at TENSOR")
    else:
        terminal.say("No single place can be defended: choose one with --at TENSOR")
    return DONE
