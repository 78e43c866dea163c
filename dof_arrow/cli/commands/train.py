"""`dof train`: train a head on a dataset, judge it, write it as ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, judging, spoken
from dof_arrow.cli.report import say_warnings, score_lines, write_report
from dof_arrow.cli.terminal import Terminal
from dof_arrow.heads import training
from dof_arrow.heads.named import HEADS

if TYPE_CHECKING:
    from dof_arrow.dataset.dataset import Dataset
    from dof_arrow.heads.train import TrainingMonitor

_NUMBERS = ("epochs", "batch", "rate", "patience")


@click.command()
@click.argument("datasets", nargs=-1, required=True, type=DATASET)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="The head to write."
)
@click.option(
    "--head",
    type=click.Choice(HEADS),
    default="linear",
    show_default=True,
    help="rnn (a GRU) and lstm read clips, mean their mean over time, statistics also how each "
    "feature varies; suggested is what the dataset's author wrote into it.",
)
@click.option(
    "--feature",
    "features",
    multiple=True,
    metavar="COLUMN",
    help="The feature column [default: the primary one]; several are read side by side.",
)
@click.option("--balance", is_flag=True, help="Weigh classes by the inverse of their frequency.")
@click.option(
    "--cv",
    type=click.IntRange(2),
    metavar="K",
    help="Folds, where there are no splits [default: 5; of more than 100,000 rows one of them is "
    "judged].",
)
@click.option(
    "--epochs", type=click.IntRange(1), metavar="N", help="At most so many [default: 200]."
)
@click.option("--batch", type=click.IntRange(1), metavar="N", help="Examples a step [default: 64].")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="Learning rate [default: 0.001].",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    metavar="N",
    help="Stop after so many epochs without progress [default: 20].",
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path),
    help="Every epoch as JSON lines, and drawn as SVG.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@judging
@spoken
def train(
    terminal: Terminal,
    datasets: tuple[Path, ...],
    out: Path,
    overwrite: bool,
    metrics: Path | None,
    report: Path | None,
    **options: Any,
) -> int:
    """Train a head on DATASETS, judge it on rows that it has not seen, and write it as ONNX.

    Several, files or directories, are united as `dof merge` does; nothing of them is written.

    Networks (all but linear) go on where they were when the same command is repeated after a kill.
    """
    from dof_arrow.heads import train as heads
    from dof_arrow.storage.atomic import refuse_existing, replacing

    refuse_existing(out, overwrite)
    asked = _training_options(options)
    ds = _opened(terminal, datasets)
    with (
        replacing(out, overwrite=overwrite) as file,
        _watched(terminal, ds, options["head"], out, metrics) as monitor,
    ):
        trained = heads.train(ds, options=asked, monitor=monitor, **options)
        file.write(trained.onnx)
    write_report(report, trained.report)
    lines = score_lines(f"{out}: {trained}", trained.report)
    terminal.result({"path": str(out), **trained.report}, *lines)
    say_warnings(terminal, trained.report)
    features = options["features"] or [ds.primary]
    cores = " ".join(f"--core {_core_of(ds, name)}" for name in features)
    terminal.say(f"Next: dof fuse {cores} --head {out} -o model.onnx")
    return DONE


def _opened(terminal: Terminal, paths: tuple[Path, ...]) -> Dataset:
    """One dataset as it is, several united."""
    from dof_arrow.dataset import dataset

    opened = [dataset.open(path) for path in paths]
    if len(opened) == 1:
        return opened[0]
    whole, notes = dataset.union(opened, once=True)
    for note in notes:
        terminal.say(note)
    return whole


def _training_options(options: dict[str, Any]) -> training.TrainingOptions:
    """The numbers among the options, which are taken out of them."""
    given = {}
    for name in _NUMBERS:
        value = options.pop(name)
        if value is not None:
            given[name] = value
    return training.TrainingOptions(**given)


@contextmanager
def _watched(
    terminal: Terminal, ds: Dataset, head: str, out: Path, metrics: Path | None
) -> Iterator[TrainingMonitor | None]:
    """What follows the training: a progress bar over epochs, and a checkpoint beside the output."""
    from dof_arrow.heads.train import TrainingMonitor

    if head == "linear":
        with terminal.busy(f"training on {len(ds):,} rows"):
            yield None
        return
    checkpoint = out.with_name(f".{out.name}.training")
    with terminal.progress("training, epochs") as update:
        yield TrainingMonitor(checkpoint=checkpoint, metrics=metrics, progress=update)


def _core_of(ds: Dataset, feature: str) -> str:
    """What to type for the core that made a feature column."""
    from dof_arrow.cores.origins import efficientnet_lite

    name = ds.metadata.columns[feature].core
    core = ds.metadata.cores.get(name or "")
    source = (core.source if core else None) or ""
    if source == efficientnet_lite.SOURCE:
        source = efficientnet_lite.NAME
    elif not source.startswith("builtin"):
        return "CORE.onnx"
    return f"{source} --pool {core.pool}" if core and core.pool else source
