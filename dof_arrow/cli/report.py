"""How commands show results that several of them have: scores, agreements, files made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.progress import size
from dof_arrow.storage.addresses import Location

if TYPE_CHECKING:
    from dof_arrow.tables.agreement import Agreement

_FACTS = ("column", "rows", "bit-equal", "within", "largest", "relative", "lowest cosine")


def agreements(columns: Mapping[str, Agreement]) -> list[str]:
    """A table of how closely the columns of two datasets agree."""
    rows = [_FACTS]
    for name, found in columns.items():
        row = (
            name,
            f"{found.rows:,}",
            f"{found.equal:,}",
            f"{found.close:,}",
            f"{found.largest:.3g}",
            f"{found.relative:.3g}",
            f"{found.cosine:.9f}",
        )
        rows.append(row)
    return table(rows)


def finite(columns: Mapping[str, Agreement]) -> dict[str, dict[str, float | None]]:
    """The same for JSON, which has no infinity."""
    return {name: _finite(found) for name, found in columns.items()}


def _finite(found: Agreement) -> dict[str, float | None]:
    facts = asdict(found)
    return {name: value if isfinite(value) else None for name, value in facts.items()}


def write_report(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, if a path is given."""
    from dof_arrow.storage.atomic import replacing

    if path is not None:
        with replacing(path, overwrite=True) as file:
            file.write(json.dumps(report, ensure_ascii=False, indent=2).encode())


def score_lines(first: str, report: Mapping[str, Any]) -> list[str]:
    """A report as lines: every score, then those of each class and of each value of a column."""
    rows = [("", "score", "95% interval", "baseline")]
    for name, score in _overall(report["scores"]).items():
        rows.append(_row(name, score))
    for name, each in report.get("by_class", {}).items():
        rows.append(_row(f"recall of {name}", each["recall"]))
    metric = report["metric"]
    for column, values in report.get("by", {}).items():
        for value, each in values.items():
            rows.append(_row(f"{metric} where {column} is {value}", each[metric]))
    return [first, "", *table(rows)]


def _overall(scores: Mapping[str, Any]) -> Mapping[str, Any]:
    """The scores themselves, or those of the last split where they are told by split."""
    each = list(scores.values())
    return scores if "score" in each[0] else each[-1]


def _row(name: str, score: Mapping[str, Any]) -> tuple[str, str, str, str]:
    interval = score["interval"]
    told = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
    return name, _number(score["score"]), told, _number(score["baseline"])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def say_warnings(terminal: Terminal, report: Mapping[str, Any]) -> None:
    """Say the warnings of a report."""
    for warning in report.get("warnings", []):
        terminal.say(f"Note: {warning}")


def report_made(terminal: Terminal, out: Location, notes: Sequence[str] = ()) -> None:
    """Say what file or directory was made, and what to type next.

    `notes` are warnings that were said while it was made: JSON repeats them.
    """
    from dof_arrow.dataset import dataset
    from dof_arrow.format.directory import is_directory

    warned = {"warnings": list(notes)} if notes else {}
    if isinstance(out, Path) and out.suffix != ".parquet" and not is_directory(out):
        count = out.stat().st_size
        facts = {"path": str(out), "bytes": count}
        terminal.result({**facts, **warned}, f"{out}: {size(count)}")
        return
    made = dataset.open(out)
    terminal.result(
        {"path": str(out), "rows": len(made), "bytes": made.size, **warned},
        f"{out}: {len(made):,} rows, {size(made.size)}",
    )
    terminal.say(f"Next: dof info {out}")
