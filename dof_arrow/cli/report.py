"""How results are told: scores, comparisons, files made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.progress import size

if TYPE_CHECKING:
    pass
if TYPE_CHECKING:
    from dof_arrow.dataset.agreement import Agreement


_FACTS = ("column", "rows", "bit-equal", "within", "largest", "relative", "lowest cosine")


def agreements(columns: Mapping[str, Agreement]) -> str:
    """A table of how closely the columns of two datasets agree."""
    rows = [
        (
            name,
            f"{a.rows:,}",
            f"{a.equal:,}",
            f"{a.close:,}",
            f"{a.largest:.3g}",
            f"{a.relative:.3g}",
            f"{a.cosine:.9f}",
        )
        for name, a in columns.items()
    ]
    return table([_FACTS, *rows])


def finite(columns: Mapping[str, Agreement]) -> dict[str, dict[str, float | None]]:
    """The same for JSON, which has no infinity."""
    return {
        name: {k: v if isfinite(v) else None for k, v in asdict(a).items()}
        for name, a in columns.items()
    }


def judging(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that train and evaluate share."""
    for option in (
        click.option(
            "--report", type=click.Path(path_type=Path), help="Write all scores as JSON too."
        ),
        click.option(
            "--by",
            multiple=True,
            metavar="COLUMN",
            help="Scores for each value of it too; repeatable.",
        ),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option(
            "--target",
            metavar="COLUMN",
            help="What is to be predicted, where there are several targets.",
        ),
    ):
        function = option(function)
    return function


def written(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, if a path is given."""
    from dof_arrow.storage.atomic import replacing

    if path is not None:
        with replacing(path, overwrite=True) as file:
            file.write(json.dumps(report, ensure_ascii=False, indent=2).encode())


def text(first: str, report: Mapping[str, Any]) -> str:
    """The report as lines: every score, then those of each class and of each value of a column."""
    scores = report["scores"]
    part = scores if "score" in next(iter(scores.values())) else list(scores.values())[-1]
    rows = [
        ("", "score", "95% interval", "baseline"),
        *(_row(name, score) for name, score in part.items()),
    ]
    for name, each in report.get("by_class", {}).items():
        rows.append(_row(f"recall of {name}", each["recall"]))
    for column, values in report.get("by", {}).items():
        rows += [
            _row(f"{report['metric']} where {column} is {value}", each[report["metric"]])
            for value, each in values.items()
        ]
    return f"{first}\n\n{table(rows)}"


def _row(name: str, score: Mapping[str, Any]) -> tuple[str, str, str, str]:
    interval = score["interval"]
    return (
        name,
        _number(score["score"]),
        f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
        _number(score["baseline"]),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def noted(terminal: Terminal, report: Mapping[str, Any]) -> None:
    """Say the warnings of a report."""
    for warning in report.get("warnings", []):
        terminal.say(f"Note: {warning}")


def report_made(terminal: Terminal, out: Path) -> None:
    """Say what file or directory was made, and what to type next."""
    from dof_arrow.dataset import dataset
    from dof_arrow.format.directory import is_directory

    if out.suffix != ".parquet" and not is_directory(out):
        count = out.stat().st_size
        terminal.result({"path": str(out), "bytes": count}, f"{out}: {size(count)}")
        return
    made = dataset.open(out)
    terminal.result(
        {"path": str(out), "rows": len(made), "bytes": made.size},
        f"{out}: {len(made):,} rows, {size(made.size)}",
    )
    terminal.say(f"Next: dof info {out}")
