"""Commands that make and judge heads: train, evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import spoken
from dof_arrow.cli.report import judging, noted, text, written
from dof_arrow.cli.terminal import Terminal
from dof_arrow.heads import training

_NUMBERS = ("epochs", "batch", "rate", "patience")


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="The head to write."
)
@click.option(
    "--head",
    type=click.Choice(["linear", "mlp", "rnn", "lstm", "mean", "suggested"]),
    default="linear",
    show_default=True,
    help="rnn (a GRU) and lstm read clips, mean their mean over time; suggested is what "
    "the dataset's author wrote into it.",
)
@click.option(
    "--feature", "features", multiple=True, metavar="COLUMN", help="Several are read side by side."
)
@click.option("--balance", is_flag=True, help="Weigh classes by the inverse of their frequency.")
@click.option(
    "--cv",
    type=click.IntRange(2),
    default=5,
    show_default=True,
    help="Folds, where there are no splits.",
)
@click.option("--epochs", type=click.IntRange(1), help="At most so many; 200 if not given.")
@click.option("--batch", type=click.IntRange(1), help="Examples a step; 64 if not given.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Learning rate; 0.001 if not given."
)
@click.option(
    "--patience", type=click.IntRange(1), help="Stop after so many epochs without progress; 20."
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path),
    help="Every epoch as JSON lines, and drawn as SVG.",
)
@click.option("--overwrite", is_flag=True)
@judging
@spoken
def train(
    terminal: Terminal,
    dataset: Path,
    out: Path,
    overwrite: bool,
    metrics: Path | None,
    report: Path | None,
    **options: Any,
) -> int:
    """Train a head on DATASET, judge it on rows that it has not seen, and write it as ONNX.

    Networks (all but linear) go on where they were when the same command is repeated after a kill.
    """
    from dof_arrow.dataset.dataset import open as open_dataset
    from dof_arrow.heads import train as heads
    from dof_arrow.storage.atomic import refuse_existing, replacing

    refuse_existing(out, overwrite)
    manners = training.TrainingOptions(
        **{n: v for n in _NUMBERS if (v := options.pop(n)) is not None}
    )
    ds = open_dataset(dataset)
    with (
        replacing(out, overwrite=overwrite) as file,
        _watched(terminal, ds, options["head"], out, metrics) as watch,
    ):
        trained = heads.train(ds, manners=manners, watch=watch, **options)
        file.write(trained.onnx)
    written(report, trained.report)
    terminal.result({"path": str(out), **trained.report}, text(f"{out}: {trained}", trained.report))
    noted(terminal, trained.report)
    cores = " ".join(f"--core {_core_of(ds, name)}" for name in options["features"] or [ds.primary])
    terminal.say(f"Next: dof fuse {cores} --head {out} -o model.onnx")
    return DONE


@contextmanager
def _watched(
    terminal: Terminal, ds: Any, head: str, out: Path, metrics: Path | None
) -> Iterator[Any]:
    """Who looks on: a progress bar over epochs, and a checkpoint beside the output."""
    from dof_arrow.heads.train import TrainingMonitor

    if head == "linear":
        with terminal.busy(f"training on {len(ds):,} rows"):
            yield None
        return
    with terminal.progress("training, epochs") as update:
        yield TrainingMonitor(
            checkpoint=out.with_name(f".{out.name}.training"), metrics=metrics, progress=update
        )


def _core_of(ds: Any, feature: str) -> str:
    """What to type for the core that made a feature column."""
    core = ds.metadata.cores.get(ds.metadata.columns[feature].core or "")
    source = (core.source if core else None) or ""
    if core is None or not source.startswith("builtin"):
        return "CORE.onnx"
    return f"{source} --pool {core.pool}" if core.pool else source
