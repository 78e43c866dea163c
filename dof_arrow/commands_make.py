"""Commands that make datasets and cores: extract, headless, estimate, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli import SOME_FAILED
from dof_arrow.options import making, spoken
from dof_arrow.terminal import Terminal, duration, size, table

if TYPE_CHECKING:
    from dof_arrow.dataset import Dataset
    from dof_arrow.extract import Extraction

_THREE_WAYS = """a core is needed, one of
  --core MODEL.onnx --preprocess imagenet   a model of your own; dof headless --list MODEL.onnx shows where it is cut
  --core hf://OWNER/REPO/FILE.onnx          from a hub (download it first: this version reads files)
  --core builtin                            a wavelet network inside this program: for trying out,
                                            not for sharing patients' pictures"""


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--core", "cores", multiple=True, metavar="CORE", help="An ONNX file or `builtin`; again for more columns.")
@making
@click.option("--table", type=click.Path(path_type=Path), help="A CSV file with a row for each picture.")
@click.option("--key", metavar="COLUMN", help="The table's column of file names.")
@click.option("--label", metavar="COLUMN|folder", help="The target: a column, or `folder` for class folders.")
@click.option("--group", metavar="COLUMN", help="What must stay on one side of a split: the patient.")
@click.option("--split", metavar="COLUMN|train=0.8,…", help="A column, or fractions.")
@click.option("--keep", metavar="A,B", default="", help="More columns to copy; nothing else is copied.")
@click.option("--ids", type=click.Choice(["pseudonym", "name"]), default="pseudonym", show_default=True)
@click.option("--id-key", type=click.Path(path_type=Path), help="The key for pseudonyms (made on first use).")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True)
@click.option("--layout", type=click.Choice(["mapped", "compact"]), default="mapped", show_default=True)
@click.option("--batch-size", type=click.IntRange(1, 1024), default=8, show_default=True, help="Pictures a core run.")
@click.option("--workers", type=click.IntRange(1, 256), help="Threads [default: the processors].")
@click.option("--max-errors", type=click.IntRange(0), metavar="N", help="Stop after more failures than this.")
@click.option("--overwrite", is_flag=True, help="Replace the output, or an unfinished run of another kind.")
@click.option("--dry-run", is_flag=True, help="Say everything that will leave; write nothing.")
@spoken
def extract(terminal: Terminal, source: Path, cores: tuple[str, ...], dry_run: bool, keep: str, **options: Any) -> int:
    """Run every picture of SOURCE once through a core and write what it saw as one file.

    Interrupt it and repeat the command: it goes on where it was.
    """
    from dof_arrow.extract import planned

    if not cores:
        raise click.UsageError(_THREE_WAYS)
    _introduce(terminal, cores, options["id_key"])
    given = {name: value for name, value in options.items() if value is not None}
    run = planned(source, core=list(cores), keep=tuple(filter(None, keep.split(","))), **given)
    if dry_run:
        _describe_plan(terminal, run)
        return 0
    if run.is_done():
        terminal.say(f"{run.out} is complete and unchanged: nothing to do.")
        return 0
    with terminal.progress("extracting") as progress:
        dataset = run.run(progress)
    return _describe_made(terminal, dataset)


def _introduce(terminal: Terminal, cores: tuple[str, ...], id_key: Path | None) -> None:
    from dof_arrow import builtin
    from dof_arrow.source import load_or_make_key

    if any(core.partition(":")[0] == "builtin" for core in cores):
        terminal.say(builtin.CAUTION)
    _, made, path = load_or_make_key(id_key)
    if made:
        terminal.say(f"Made a key for pseudonyms: {path}. Keep it, and keep it secret: with it, names can be found again.")


def _describe_plan(terminal: Terminal, run: Extraction) -> None:
    from dof_arrow.estimate import size_of_run
    from dof_arrow.leaving import leaving

    what = leaving(run)
    what["bytes"] = size_of_run(run)
    lines = [f"Would read {what['inputs']:,} pictures and write {run.out}, about {size(what['bytes'])} "
             f"({what['bytes']:,} bytes if every picture can be read and all are of one kind).", ""]
    lines += ["What leaves, column by column:", table([(f"  {c['name']}", c["type"], c["holds"]) for c in what["columns"]])]
    lines += ["", "What leaves beside the columns:", *(f"  {text}" for text in what["strings"])]
    lines += ["", "Nothing was written. Repeat without --dry-run to extract."]
    terminal.result(what, "\n".join(lines))


def _describe_made(terminal: Terminal, dataset: Dataset) -> int:
    about = dataset.metadata.provenance
    raw = int(about.raw.get("bytes", 0)) if about else 0
    stored, failed = dataset.path.stat().st_size, len(dataset.errors)
    text = (f"{dataset.path}: {len(dataset):,} rows, {size(stored)}, {size(stored // len(dataset))} a row; "
            f"the pictures were {size(raw)}")
    reasons = [f"  {e['id']}  {e['reason']}" for e in dataset.errors[:5]]
    if failed:
        text += "\n" + "\n".join([f"{failed:,} inputs gave no row; they are listed inside the file, the first:", *reasons])
    value = {"path": str(dataset.path), "rows": len(dataset), "bytes": stored, "raw_bytes": raw, "failed": failed}
    terminal.result(value, text)
    targets = list(dataset.metadata.targets)
    terminal.say(f"Next: dof train {dataset.path} -o head.onnx" if targets else f"Next: dof info {dataset.path}")
    return SOME_FAILED if failed else 0


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The core to write.")
@click.option("--list", "list_only", is_flag=True, help="Show where the model can be cut.")
@making
@click.option("--license", metavar="SPDX", help="The model's licence, kept with the core.")
@click.option("--overwrite", is_flag=True)
@spoken
def headless(terminal: Terminal, model: Path, out: Path | None, list_only: bool, overwrite: bool, **options: Any) -> int:
    """Cut the head off MODEL; what is left is a core: pictures in, features out, preprocessing inside."""
    if list_only:
        return _list_candidates(terminal, model)
    if out is None:
        raise click.UsageError("say where to write the core: -o CORE.onnx, or --list to see the choices")
    from dof_arrow.commit import replacing
    from dof_arrow.core import Core
    from dof_arrow.core import headless as make

    data = make(model, **options)
    with replacing(out, overwrite=overwrite) as file:
        file.write(data)
    if options["preprocess"] is None and b"dof.preprocessing.graph" not in data:
        terminal.result({"path": str(out), "bytes": len(data)}, f"{out}: a core without preprocessing, {size(len(data))}")
        terminal.say(f"Next: dof extract PICTURES --core {out} --preprocess imagenet -o OUT.dof.parquet")
        return 0
    core = Core(data)
    about = {"path": str(out), "sha256": core.sha256, "shape": core.output_shape, "bytes": len(data)}
    shape = " x ".join(map(str, core.output_shape))
    terminal.result(about, f"{out}: features [{shape}], {size(len(data))}, sha256 {core.sha256}")
    terminal.say(f"Next: dof extract PICTURES --core {out} -o OUT.dof.parquet")
    return 0


def _list_candidates(terminal: Terminal, model: Path) -> int:
    from dataclasses import asdict

    from dof_arrow import cut, graph

    found = cut.candidates(graph.load(model))
    rows = [("*" if c.chosen else " ", c.tensor, " x ".join(map(str, c.shape)), c.kind, c.why) for c in found]
    terminal.result([asdict(c) for c in found], table([(" ", "tensor", "shape", "kind", "why"), *rows]))
    terminal.say("* is where dof cuts; another: --at TENSOR")
    return 0


@click.command()
@click.option("--rows", type=click.IntRange(1), required=True)
@click.option("--core", metavar="CORE", help="The core, for the width of its features.")
@click.option("--width", type=click.IntRange(1), help="The width itself.")
@making
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True)
@click.option("--label/--no-label", default=True, help="With a column of class codes.")
@click.option("--group", is_flag=True, help="With a column of pseudonymous groups.")
@spoken
def estimate(terminal: Terminal, rows: int, core: str | None, width: int | None, dtype: str, label: bool, group: bool,
             **options: Any) -> int:
    """Say how large a file of so many rows will be; for a folder of pictures use dof extract --dry-run."""
    from math import prod

    from dof_arrow import builtin
    from dof_arrow.estimate import size_of_rows

    if (core is None) == (width is None):
        raise click.UsageError("give either --core or --width")
    given = {name: value for name, value in options.items() if value is not None}
    width = width or prod(builtin.resolve(core or "", **given).output_shape)
    count = size_of_rows(rows, width, dtype=dtype, label=label, group=group)
    vectors = rows * width * (4 if dtype == "float32" else 2)
    terminal.result({"bytes": count, "vector_bytes": vectors, "ratio": count / vectors},
                    f"{count:,} bytes ({size(count)}), {count / vectors:.4f} of the vectors alone")
    return 0


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--out", default=Path("dof-demo"), type=click.Path(path_type=Path), show_default=True,
              help="Where the demo's files go.")
@spoken
def demo(terminal: Terminal, folder: Path | None, out: Path) -> int:
    """The whole job on real pictures: handwritten digits, or FOLDER with a folder of pictures for each class."""
    from dof_arrow.demo import run

    report = run(folder, out, terminal.say)
    terminal.result(report, f"Done in {duration(report['seconds'])}: {report['score']}")
    return 0
