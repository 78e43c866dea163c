"""The one screen of `dof info`: what a dataset holds, how it came to be, what to do next."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dof_arrow.cli.terminal import table
from dof_arrow.errors import few
from dof_arrow.progress import size

if TYPE_CHECKING:
    from dof_arrow.dataset.dataset import Dataset
    from dof_arrow.format.spec.metadata import CoreMetadata, Provenance, Target

_MOST_CLASSES = 5  # told by name; the bars show them all
_MOST_BARS = 20
_MOST_COLUMNS = 30
_MOST_LETTERS = 16  # of a class's name
_MOST_PARTS = 100  # of a directory whose values are read only to be counted
_BARS = "▁▂▃▄▅▆▇█"

Counts = Mapping[str, Mapping[str, int]]


def counted(ds: Dataset) -> Counts:
    """How many rows each class has, by target, as far as they lie at hand.

    Columns on a store, or of a directory of many parts, are not read for it.
    """
    counts: dict[str, dict[str, int]] = {}
    if not _is_at_hand(ds):
        return counts
    for name, target in ds.metadata.targets.items():
        if target.classes:
            found = ds.value_counts(name)
            # A class may be called `none` itself.
            word = "none" if "none" not in found else "no value"
            missing = {word: found.pop(None)} if None in found else {}
            counts[name] = {str(value): count for value, count in found.items()} | missing
    return counts


def _is_at_hand(ds: Dataset) -> bool:
    """Whether whole columns may be read only to be counted."""
    from pathlib import Path

    return isinstance(ds.path, Path) and len(ds.metadata.parts) <= _MOST_PARTS


def lines(ds: Dataset, counts: Counts) -> list[str]:
    """The screen, line by line; lines fit 80 columns unless a name of the file's own does not."""
    columns = [("column", "role", "type", "layout")]
    for name, column in ds.metadata.columns.items():
        kind = f"{_type(column.dtype)}{list(column.shape) or ''}"
        columns.append((name, column.role, kind, column.layout))
    shown = [*table(list(_facts(ds, counts))), "", *few(table(columns), _MOST_COLUMNS + 1)]
    return [str(ds.path), _extent(ds), "", *shown]


def next_steps(ds: Dataset) -> Iterator[str]:
    """Commands that fit what the dataset has, the most likely first."""
    from shlex import quote

    place = quote(str(ds.path))
    targets = ds.metadata.targets
    taught = [name for name, target in targets.items() if target.kind != "survival"]
    if taught:
        chosen = f" --target {quote(taught[0])}" if len(targets) > 1 else ""
        yield f"dof train {place}{chosen} -o head.onnx"
    elif not targets:
        yield f"dof label {place} --table T.csv --key COLUMN --label COLUMN -o labelled.parquet"
    if ds.metadata.info.title is None:
        yield f"dof edit {place} --set title='…'"
    if not (ds.metadata.privacy and ds.metadata.privacy.audits):
        yield f"dof audit {place}"
    yield f"dof validate --deep {place}"


def bars(counts: Sequence[int]) -> str:
    """Numbers as a line of bars, the largest full; none where the output cannot show them.

    >>> bars([8, 4, 1])
    '█▄▁'
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if not counts or not encoding.lower().startswith("utf"):
        return ""
    most = max(1, *counts)
    return "".join(_BARS[max(0, -(-count * len(_BARS) // most) - 1)] for count in counts)


def _extent(ds: Dataset) -> str:
    """How many rows of how many inputs, and how large."""
    shape = " x ".join(str(length) for length in ds.row_shape())
    parts = ds.metadata.parts
    where = ""
    if parts:
        largest = max(part.rows for part in parts)
        where = f" in {len(parts):,} parts of up to {largest:,} rows"
    rows = "row" if len(ds) == 1 else "rows"
    return f"{len(ds):,} {rows} of {shape} numbers, {size(ds.size)}{where}"


def _type(dtype: str) -> str:
    return "names" if dtype.startswith("dictionary<values=string,") else dtype


def _facts(ds: Dataset, counts: Counts) -> Iterator[tuple[str, str]]:
    about = ds.metadata
    yield "uuid", about.uuid
    yield "title", about.info.title or "none"
    yield "licence", about.info.license or "not stated"
    for name, core in about.cores.items():
        yield f"core of {name}", _core(core)
    for name, claimed in about.claimed_cores.items():
        yield f"core of {name}", f"{claimed.name}: claimed, not verified"
    if about.record.bag is not None:
        count = f"{len(ds.bags()):,}, " if _is_at_hand(ds) else ""
        yield "bags", f"{count}by the column {about.record.bag}"
    if about.provenance:
        yield "inputs", _inputs(about.provenance)
    for name, target in about.targets.items():
        yield f"target {name}", _target(target, counts.get(name))
        if name in counts:
            yield "", _classes(counts[name])
    if about.splits:
        rows = {name: split.rows for name, split in about.splits.items()}
        yield "splits", ", ".join(few(_shares(rows), _MOST_CLASSES))
    yield "privacy", _privacy(ds)


def _core(core: CoreMetadata) -> str:
    licence = core.license or "licence not stated"
    return f"{core.name}, {licence}, sha256 {core.sha256[:12]}…, at {core.cut or 'its output'}"


def _inputs(provenance: Provenance) -> str:
    if provenance.inputs is None:
        return "not known"
    failed = f"{provenance.failed:,} of them failed" if provenance.failed else "none failed"
    return f"{provenance.inputs:,}, {failed}"


def _target(target: Target, counts: Mapping[str, int] | None) -> str:
    if not target.classes:
        return target.kind + (f", in {target.unit}" if target.unit else "")
    classes = f"{target.kind}, {len(target.classes):,} classes"
    if counts is None or len(counts) > _MOST_BARS:
        return classes
    return f"{classes} {bars(list(counts.values()))}"


def _classes(counts: Mapping[str, int]) -> str:
    """The classes with their rows, the most frequent first."""
    told = [f"{_cut(name)} {count:,}" for name, count in counts.items()]
    return ", ".join(few(told, _MOST_CLASSES))


def _cut(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…"


def _shares(rows: Mapping[str, int]) -> list[str]:
    whole = sum(rows.values()) or 1
    return [f"{_cut(name)} {count:,} ({count / whole:.0%})" for name, count in rows.items()]


def _privacy(ds: Dataset) -> str:
    from dof_arrow.publish.audit_line import audit_line

    privacy = ds.metadata.privacy
    if privacy is None:
        return "nothing said of ids; not audited"
    ids = "ids are pseudonyms" if privacy.ids == "pseudonym" else "ids are names"
    return f"{ids}; {audit_line(ds.metadata)}"
