"""Commands that make and judge heads: train, evaluate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dof_arrow.cli import DONE
from dof_arrow.options import spoken
from dof_arrow.terminal import Terminal, table

_NUMBERS = ("epochs", "batch", "rate", "patience")


def _judging(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that train and evaluate share."""
    for option in (
        click.option("--report", type=click.Path(path_type=Path), help="Write all scores as JSON too."),
        click.option("--by", multiple=True, metavar="COLUMN", help="Scores for each value of it too; repeatable."),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--target", metavar="COLUMN", help="What is to be predicted, where there are several targets."),
    ):
        function = option(function)
    return function


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The head to write.")
@click.option("--head", type=click.Choice(["linear", "mlp", "rnn", "lstm", "mean", "suggested"]), default="linear",
              show_default=True, help="rnn (a GRU) and lstm read clips, mean their mean over time; suggested is what "
                                      "the dataset's author wrote into it.")
@click.option("--feature", "features", multiple=True, metavar="COLUMN", help="Several are read side by side.")
@click.option("--balance", is_flag=True, help="Weigh classes by the inverse of their frequency.")
@click.option("--cv", type=click.IntRange(2), default=5, show_default=True, help="Folds, where there are no splits.")
@click.option("--epochs", type=click.IntRange(1), help="At most so many; 200 if not given.")
@click.option("--batch", type=click.IntRange(1), help="Examples a step; 64 if not given.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Learning rate; 0.001 if not given.")
@click.option("--patience", type=click.IntRange(1), help="Stop after so many epochs without progress; 20.")
@click.option("--metrics", type=click.Path(path_type=Path), help="Every epoch as JSON lines, and drawn as SVG.")
@click.option("--overwrite", is_flag=True)
@_judging
@spoken
def train(
    terminal: Terminal, dataset: Path, out: Path, overwrite: bool, metrics: Path | None, report: Path | None,
    **options: Any,
) -> int:
    """Train a head on DATASET, judge it on rows that it has not seen, and write it as ONNX.

    Networks (all but linear) go on where they were when the same command is repeated after a kill.
    """
    from dof_arrow import heads
    from dof_arrow.commit import refuse_existing, replacing
    from dof_arrow.dataset import open as open_dataset

    refuse_existing(out, overwrite)
    manners = heads.Manners(**{n: v for n in _NUMBERS if (v := options.pop(n)) is not None})
    ds = open_dataset(dataset)
    with replacing(out, overwrite=overwrite) as file, _watched(terminal, ds, options["head"], out, metrics) as watch:
        trained = heads.train(ds, manners=manners, watch=watch, **options)
        file.write(trained.onnx)
    _written(report, trained.report)
    terminal.result({"path": str(out), **trained.report}, _text(f"{out}: {trained}", trained.report))
    _noted(terminal, trained.report)
    cores = " ".join(f"--core {_core_of(ds, name)}" for name in options["features"] or [ds.primary])
    terminal.say(f"Next: dof fuse {cores} --head {out} -o model.onnx")
    return DONE


@click.command()
@click.argument("head", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--split", metavar="NAME", help="Only the rows of this split.")
@_judging
@spoken
def evaluate(terminal: Terminal, head: Path, dataset: Path, report: Path | None, **options: Any) -> int:
    """Judge HEAD on the labelled rows of DATASET, whose features are of the same core."""
    from dof_arrow.dataset import open as open_dataset
    from dof_arrow.evaluate import evaluate as judge
    from dof_arrow.judge import summary

    ds = open_dataset(dataset)
    with terminal.busy(f"judging on {len(ds):,} rows"):
        found = judge(head, ds, **options)
    _written(report, found)
    terminal.result(found, _text(f"{head}: {summary(found)}", found))
    _noted(terminal, found)
    return DONE


@contextmanager
def _watched(terminal: Terminal, ds: Any, head: str, out: Path, metrics: Path | None) -> Iterator[Any]:
    """Who looks on: a progress bar over epochs, and a checkpoint beside the output."""
    from dof_arrow.heads import Watch

    if head == "linear":
        with terminal.busy(f"training on {len(ds):,} rows"):
            yield None
        return
    with terminal.progress("training, epochs") as update:
        yield Watch(checkpoint=out.with_name(f".{out.name}.training"), metrics=metrics, progress=update)


def _written(path: Path | None, report: Mapping[str, Any]) -> None:
    from dof_arrow.commit import replacing

    if path is not None:
        with replacing(path, overwrite=True) as file:
            file.write(json.dumps(report, ensure_ascii=False, indent=2).encode())


def _text(first: str, report: Mapping[str, Any]) -> str:
    """The report as lines: every score, then those of each class and of each value of a column."""
    scores = report["scores"]
    part = scores if "score" in next(iter(scores.values())) else list(scores.values())[-1]
    rows = [("", "score", "95% interval", "baseline"), *(_row(name, score) for name, score in part.items())]
    for name, each in report.get("by_class", {}).items():
        rows.append(_row(f"recall of {name}", each["recall"]))
    for column, values in report.get("by", {}).items():
        rows += [_row(f"{report['metric']} where {column} is {value}", each[report["metric"]])
                 for value, each in values.items()]
    return f"{first}\n\n{table(rows)}"


def _row(name: str, score: Mapping[str, Any]) -> tuple[str, str, str, str]:
    interval = score["interval"]
    return (name, _number(score["score"]), f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
            _number(score["baseline"]))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _noted(terminal: Terminal, report: Mapping[str, Any]) -> None:
    for warning in report.get("warnings", []):
        terminal.say(f"Note: {warning}")


def _core_of(ds: Any, feature: str) -> str:
    """What to type for the core that made a feature column."""
    core = ds.metadata.cores.get(ds.metadata.columns[feature].core or "")
    source = (core.source if core else None) or ""
    if core is None or not source.startswith("builtin"):
        return "CORE.onnx"
    return f"{source} --pool {core.pool}" if core.pool else source
