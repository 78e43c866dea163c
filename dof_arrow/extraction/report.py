"""What became of every input and of every row of the table, and which option would change it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import few
from dof_arrow.extraction.run import Extraction
from dof_arrow.extraction.standing import Standing
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources.counted import COUNTED
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.table_keys import offered
from dof_arrow.tables import value_counts as by_value

_SHOWN = 12  # classes or kinds of failure that are told one by one
TOGETHER = "in a directory, rows stand by extraction: it tells which inputs came together"
_DETAIL = re.compile(r": (expected|found) .*$", re.DOTALL)  # which differs from input to input
_OPTIONS = {
    "burned-in": "--allow burned-in",
    "deflated": "--allow deflated",
    "too-large": "--max-pixels N",
    "crop": "--crop all",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How many inputs or rows one thing became of, and the option that changes it, if any.

    >>> str(Line(count=12, what="failed: an empty file"))
    '       12  failed: an empty file'
    """

    count: int
    what: str
    option: str = ""

    def __str__(self) -> str:
        option = f" ({self.option})" if self.option else ""
        return f"{self.count:9,}  {self.what}{option}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The account of a run, planned or done.

    `inputs` says what became of inputs and of rows of the table, `values` how many rows each class
    or split has, by column, `remarks` what was decided without being asked for.
    """

    inputs: Sequence[Line]
    values: Mapping[str, Mapping[str, int]]
    remarks: Sequence[str]

    def to_json(self) -> dict[str, Json]:
        """The report as JSON."""
        lines = []
        for line in self.inputs:
            lines.append({"count": line.count, "what": line.what, "option": line.option})
        values = {name: dict(counts) for name, counts in self.values.items()}
        return {"inputs": lines, "values": values, "remarks": list(self.remarks)}

    def lines(self) -> Iterator[str]:
        """The report for a person."""
        yield from map(str, self.inputs)
        for name, counts in self.values.items():
            yield f"{name}: {_told(counts)}"
        yield from self.remarks


def of_plan(run: Extraction) -> Report:
    """What is known before anything is read; rows that cannot be used are told as failing."""
    known = run.source.known_failures() if isinstance(run.source, Listing) else Counter()
    usable = len(run.source) - known.total()
    first = Line(count=usable, what=f"{run.kind} to be read")
    failing = [Line(count=count, what=f"will fail: {why}") for why, count in _most(known)]
    columns = {name: run.table.known(name) for name in run.source.targets}
    if run.splits is not None:
        columns["split"] = run.splits
    return _report(run, [first, *failing], columns)


def of_run(run: Extraction, dataset: Dataset) -> Report:
    """What became of all inputs of a run that is done, and whose rows `dataset` holds."""
    if run.nothing_new:
        return _report(run, [], {})
    if run.destination.part:  # of a directory, what this run added
        dataset = run.destination.made_by(run.run_digest) or dataset
    errors = dataset.errors
    first = Line(count=len(run.source) - len(errors), what=f"{run.kind} read")
    names = [name for name in (*run.source.targets, "split") if name in dataset.columns]
    columns = {name: dataset.to_arrow([name])[name] for name in names}
    return _report(run, [first, *_failed(errors)], columns)


def _report(run: Extraction, first: Sequence[Line], columns: Mapping[str, Any]) -> Report:
    values = {}
    for name, column in columns.items():
        values[name] = value_counts(column, run.source.targets.get(name))
    offers = offered(getattr(run.source, "offers", {}))
    remarks = [*getattr(run.source, "remarks", ()), *([offers] if offers else [])]
    if not run.nothing_new:
        remarks += run.table.split_remarks
    remarks += run.standing.remarks
    if run.destination.part:
        remarks.append(TOGETHER)
    lines = [*first, *_standing(run.standing), *_left_out(run)]
    return Report(inputs=lines, values=values, remarks=remarks)


def _standing(standing: Standing) -> Iterator[Line]:
    """The inputs that were passed over, because the directory has them."""
    if standing.rows:
        yield Line(count=standing.rows, what="inputs already there")
    if standing.failed:
        yield Line(count=standing.failed, what="failed before, and not tried again")


def _failed(errors: Sequence[Mapping[str, str]]) -> Iterator[Line]:
    """The failures by kind, the most frequent first."""
    options: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    for error in errors:
        # A sentence of what is wrong, and mostly one of what to do.
        what, _, hint = error["reason"].partition(". ")
        kind = _DETAIL.sub("", what)
        kinds[kind] += 1
        options[kind] = _OPTIONS.get(error["rule"]) or hint.rstrip(".")
    for kind, count in _most(kinds):
        yield Line(count=count, what=f"failed: {kind}", option=options[kind])


def _left_out(run: Extraction) -> Iterator[Line]:
    counts = getattr(run.source, "counts", {})
    for name, text in COUNTED.items():
        if counts.get(name):
            inputs = "pictures" if run.clips is None else "clips"
            yield Line(count=counts[name], what=text.format(inputs=inputs))


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first; equally frequent ones by name, so that equal runs say the same."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def value_counts(column: Any, target: Target | None) -> dict[str, int]:
    """How many rows have each class, split or number, and how many none."""
    import pyarrow.compute as pc

    if target is not None and target.kind == "regression":
        present = column.drop_null()
        bounds = pc.min_max(present)
        found = {f"numbers {bounds['min']} to {bounds['max']}": len(present)}
    else:
        found = _by_class(column, target)
    if column.null_count:
        found["none"] = column.null_count
    return found


def _by_class(column: Any, target: Target | None) -> dict[str, int]:
    # A category is codes before the run, and names in the file.
    counts = by_value.value_counts(column, target.classes if target else None)
    if target is not None:
        return counts
    return {str(name): counts[name] for name in sorted(counts)}


def _told(counts: Mapping[str, int]) -> str:
    told = [f"{name} ({count:,})" for name, count in counts.items()]
    return ", ".join(few(told, _SHOWN))
