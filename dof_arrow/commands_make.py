"""Commands that make datasets and cores: extract, headless, estimate, demo."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli import DONE, SOME_FAILED
from dof_arrow.options import making, running, spoken
from dof_arrow.terminal import Terminal, duration, size, table

if TYPE_CHECKING:
    from dof_arrow.appraise import Appraisal
    from dof_arrow.core import Core
    from dof_arrow.dataset import Dataset
    from dof_arrow.extract import Extraction

_WAYS = """A core is needed, one of
  --core MODEL.onnx --preprocess imagenet   a model of your own, by its path or https://…#sha256=HEX;
                                            a core that dof headless made has its preprocessing inside
  --core hf://OWNER/REPO/FILE.onnx          a model on the Hugging Face hub (pip install 'dof-arrow[hub]');
  --core timm:NAME                          or one of timm's, exported here (pip install 'dof-arrow[timm]')
  --core builtin                            a wavelet network inside this program: for trying out,
                                            not for sharing patients' pictures"""

_SHOWN = 5
_SAMPLE = 16  # pictures of the user's own that a core is measured on


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="A file, or x.dof to add to.")
@click.option("--core", "cores", multiple=True, metavar="CORE",
              help="An ONNX file, https://…, hf://…, timm:NAME or `builtin`; more: more columns.")
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
@click.option("--batch-size", type=click.IntRange(1, 1024), help="Rows that a core runs at a time [default: 2].")
@click.option("--workers", type=click.IntRange(1, 256), metavar="N",
              help="Pictures worked on at a time [default: processors / threads].")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N",
              help="Threads on which each runs the core.")
@running
@click.option("--pictures", metavar="NAME", help="Which pictures, where a container holds several kinds.")
@click.option("--views", type=click.IntRange(1, 1024), default=1, show_default=True, metavar="K",
              help="Rows of each picture: the plain one, and K - 1 augmented ones.")
@click.option("--augment", metavar="xray|photo|SPEC.json", help="What happens to augmented views.")
@click.option("--clips/--no-clips", default=None, help="Whether files are clips [default: by their names].")
@click.option("--fps", type=float, metavar="F", help="Of a clip, the frame that is shown at each 1/F seconds.")
@click.option("--max-frames", type=click.IntRange(1), metavar="N", help="Of a clip, the first N of these.")
@click.option("--window", type=click.IntRange(1), metavar="W", help="Frames that a core with a time axis sees at once.")
@click.option("--stride", type=click.IntRange(1), metavar="N", help="Frames from window to window [default: W].")
@click.option("--crop", metavar="L,T,R,B|all", help="Of a clip's frames, this box [default: DICOM's own regions].")
@click.option("--on-break", type=click.Choice(["fail", "keep"]), default="fail", show_default=True,
              help="Of a damaged clip, list it as failed, or keep what precedes the damage.")
@click.option("--max-pixels", type=click.IntRange(1), metavar="N", help="Refuse larger pictures [default: by memory].")
@click.option("--allow", multiple=True, metavar="WHAT", help="Read what is refused otherwise; the message names it.")
@click.option("--max-errors", type=click.IntRange(0), metavar="N", help="Stop after more failures than this.")
@click.option("--overwrite", is_flag=True, help="Replace the output, or an unfinished run of another kind.")
@click.option("--dry-run", is_flag=True, help="Say everything that will leave; write nothing.")
@spoken
def extract(terminal: Terminal, source: Path, cores: tuple[str, ...], dry_run: bool, keep: str, **options: Any) -> int:
    """Run every picture of SOURCE once through a core and write what it saw as one file.

    Interrupt it and repeat the command: it goes on where it was.
    """
    from dof_arrow.extract import planned
    from dof_arrow.privacy import KEY_BYTES
    from dof_arrow.source import key_file

    if not cores:
        raise click.UsageError(_WAYS)
    _caution(terminal, cores)
    given = {name: value for name, value in options.items() if value is not None}
    key = key_file(options["id_key"])
    there = key.exists()
    given["id_key"] = bytes(KEY_BYTES) if dry_run and not there else key  # a plan makes no key
    with terminal.busy("preparing"):
        run = planned(source, core=list(cores), keep=tuple(filter(None, keep.split(","))), **given)
    if not there:
        terminal.say(f"{'Extracting will make' if dry_run else 'Made'} a key for pseudonyms: {key}. Keep it, and keep "
                     "it secret: with it names can be found again.")
    _note_left_out(terminal, run)
    if dry_run:
        _describe_plan(terminal, run)
        return DONE
    if run.is_done():
        terminal.say(f"{run.out} is complete and unchanged: nothing to do.")
        return _describe_made(terminal, run, run.run(), fresh=False)
    with terminal.progress("extracting") as progress:
        dataset = run.run(progress)
    return _describe_made(terminal, run, dataset, fresh=True)


def _caution(terminal: Terminal, cores: Iterable[str]) -> None:
    from dof_arrow import builtin

    if any(core.partition(":")[0] == "builtin" for core in cores):
        terminal.say(builtin.CAUTION)


def _note_left_out(terminal: Terminal, run: Extraction) -> None:
    counts = getattr(run.source, "counts", {})
    said = {"ignored": f"Files left out because they are no {_inputs(run)}",
            "without_row": f"{_inputs(run).capitalize()} left out because the table has no row for them",
            "without_file": "Rows of the table whose picture is missing, to be listed as failed"}
    for name, text in said.items():
        if counts.get(name):
            terminal.say(f"{text}: {counts[name]:,}")


def _describe_plan(terminal: Terminal, run: Extraction) -> None:
    from dof_arrow.estimate import leaving, size_of_run

    what = leaving(run)
    what["bytes"] = size_of_run(run)
    columns = [(f"  {c['name']}", c["type"], c["holds"]) for c in what["columns"]]
    lines = [f"Would read {what['inputs']:,} {_inputs(run)} and write {run.out}, {size(what['bytes'])}",
             f"({what['bytes']:,} bytes if all can be read and are of the first one's kind).", "",
             "What leaves, column by column:", table(columns), "",
             "What leaves beside the columns:", *(f"  {text}" for text in what["strings"])]
    terminal.result(what, "\n".join(lines))
    terminal.say("\nNothing was written. To extract: the same command without --dry-run.")


def _inputs(run: Extraction) -> str:
    return "pictures" if run.clips is None else "clips"


def _describe_made(terminal: Terminal, run: Extraction, dataset: Dataset, *, fresh: bool) -> int:
    about = dataset.metadata.provenance
    raw = int(about.raw.get("bytes", 0)) if about else 0
    stored, failed, path = dataset.size, len(dataset.errors), dataset.path
    value = {"path": str(path), "rows": len(dataset), "bytes": stored, "raw_bytes": raw, "failed": failed, "new": fresh,
             "errors": dataset.errors}
    terminal.result(value, f"{path}: {len(dataset):,} rows, {size(stored)}, {size(stored // len(dataset))} a row; "
                           f"the {_inputs(run)} were {size(raw)}")
    if failed:
        _describe_failures(terminal, run, dataset.errors)
    next_step = f"dof train {path} -o head.onnx" if dataset.metadata.targets else f"dof info {path}"
    terminal.say(f"Next: {next_step}")
    return SOME_FAILED if failed else DONE


def _describe_failures(terminal: Terminal, run: Extraction, errors: list[dict[str, str]]) -> None:
    from dof_arrow.errors import OutputError
    from dof_arrow.journal import keep

    terminal.say(f"{len(errors):,} inputs gave no row; the list, with reasons, stands in the file. The first:")
    for error in errors[:_SHOWN]:
        terminal.say(f"  {error['id']}  {error['reason']}")
    try:
        terminal.say(f"Which files these are stands in {keep(run, errors)}, which stays with you.")
    except OutputError as error:  # the dataset is made all the same
        terminal.say(f"Which files these are could not be noted: {error}")


@click.command()
@click.argument("model")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The core to write.")
@click.option("--list", "list_only", is_flag=True, help="Show where the model can be cut.")
@making
@click.option("--license", metavar="SPDX", help="The model's licence, kept with the core.")
@click.option("--measure/--no-measure", default=True, help="Whether to measure how steady and how dear the core is.")
@click.option("--sample", type=click.Path(path_type=Path), help="Measure on these pictures [default: drawn ones].")
@running
@click.option("--overwrite", is_flag=True)
@spoken
def headless(
    terminal: Terminal, model: str, out: Path | None, list_only: bool, measure: bool, sample: Path | None,
    provider: str, overwrite: bool, **options: Any,
) -> int:
    """Cut the head off MODEL; what is left is a core: pictures in, features out, preprocessing inside.

    MODEL is an ONNX file, https://…, hf://OWNER/REPO/FILE.onnx or timm:NAME.
    """
    if list_only:
        return _list_candidates(terminal, model)
    if out is None:
        raise click.UsageError("say where to write the core: -o CORE.onnx, or --list to see the choices")
    from dof_arrow.commit import refuse_existing, replacing
    from dof_arrow.core import headless as make

    refuse_existing(out, overwrite)
    data = make(model, **options)
    bare = options["preprocess"] is None and b"dof.preprocessing.graph" not in data
    about, text = ({}, "a core without preprocessing") if bare else _tried(data, provider, measure, sample)
    with replacing(out, overwrite=overwrite) as file:
        file.write(data)
    terminal.result({"path": str(out), "bytes": len(data), **about}, f"{out}: {size(len(data))}, {text}")
    asked = " --preprocess imagenet" if bare else ""
    terminal.say(f"Next: dof extract PICTURES --core {out}{asked} -o OUT.dof.parquet")
    return DONE


def _tried(core: bytes, provider: str, measure: bool, sample: Path | None) -> tuple[dict[str, Any], str]:
    """What a core gives, before it is written: as JSON values and as text."""
    from dataclasses import asdict

    from dof_arrow.appraise import appraise
    from dof_arrow.core import Core

    made = Core(core, provider=provider)
    shape = " x ".join(map(str, made.output_shape))
    about, text = {"sha256": made.sha256, "shape": made.output_shape}, f"features [{shape}], sha256 {made.sha256}"
    if not measure:
        return about, text
    found = appraise(made, _sampled(made, sample) if sample else None)
    return {**about, "appraisal": asdict(found)}, f"{text}\n{_appraised(found, drawn=sample is None)}"


def _sampled(core: Core, sample: Path) -> list[Any]:
    """The first pictures of a folder, decoded as the core wants them."""
    from dof_arrow import picture
    from dof_arrow.source import open_source

    wanted, source = core.preprocessing, open_source(sample)
    return [picture.decode(source[i].load(), mode=wanted.mode, orientation=wanted.orientation)[0]
            for i in range(min(len(source), _SAMPLE))]


def _appraised(found: Appraisal, drawn: bool) -> str:
    runs = {"any": "of any size; no row depends on the others", "one by one": "one by one: rows depend on the others"}
    kind = "drawn pictures" if drawn else "pictures"
    return table([
        ("parameters", f"{found.parameters:,}"), ("batches", runs.get(found.batch, found.batch)),
        ("steadiness", f"1.3% of the pixels one grey level off move features by {found.moved:.2%} "
                       f"(median of {found.pictures} {kind}, at most {found.moved_most:.2%})"),
        ("cost", f"{found.preprocessing_ms + found.network_ms:.1f} ms a picture, {found.preprocessing_ms:.1f} of them "
                 f"preprocessing, on one thread: {found.per_second:,.0f} a second"),
    ])


def _list_candidates(terminal: Terminal, model: str) -> int:
    from dataclasses import asdict

    from dof_arrow import cut, origins

    found = cut.candidates(origins.find(model).model)
    rows = [("*" if c.chosen else " ", c.tensor, " x ".join(map(str, c.shape)), c.kind, c.why) for c in found]
    terminal.result([asdict(c) for c in found], table([(" ", "tensor", "shape", "kind", "why"), *rows]))
    terminal.say("* is where dof cuts; another: --at TENSOR")
    return DONE


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
    """Say how large a file of so many rows will be; of pictures that are there: dof extract --dry-run."""
    from dof_arrow import builtin
    from dof_arrow.estimate import size_of_rows

    if (core is None) == (width is None):
        raise click.UsageError("give either --core or --width")
    given = {name: value for name, value in options.items() if value is not None}
    made = builtin.resolve(core, **given) if core is not None else None
    shape = made.output_shape if made else (width or 1,)
    with terminal.busy("counting"):
        count = size_of_rows(rows, shape, core=made, dtype=dtype, label=label, group=group)
    vectors = rows * prod(shape) * (4 if dtype == "float32" else 2)
    terminal.result({"bytes": count, "vector_bytes": vectors, "ratio": count / vectors},
                    f"{count:,} bytes ({size(count)}), {count / vectors:.4f} of the vectors alone; "
                    "class names and other metadata come on top")
    terminal.say("Next, for real pictures: dof extract PICTURES --core CORE -o OUT.dof.parquet --dry-run")
    return DONE


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
    return DONE
