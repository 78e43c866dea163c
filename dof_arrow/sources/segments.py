"""Rows of a table that are segments of clips: their bounds, groups, and labels that contradict.

A bound is a number of seconds, `mm:ss` or `hh:mm:ss`, with fractions. A segment is called as its
clip is, with its bounds behind it (`media.segment.Bounds`): `a.mp4#t=1.5,3`. Cells that are no time
stand there with all but letters and digits percent-encoded, so that no two names are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from typing import Any, TypeVar
from urllib.parse import quote

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.media.segment import Bounds
from dof_arrow.sources.asked import MISSING, Asked
from dof_arrow.sources.columns import decoded, pointed
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column

L = TypeVar("L", bound=Listing)

NO_TIME = "expected seconds, mm:ss or hh:mm:ss"
NEGATIVE = "the segment starts or ends before its clip does: a time below 0"
EMPTY = "the segment ends where it starts, or before"

_SECONDS = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_CLOCK = re.compile(r"(?:([0-9]+):(?=[0-5]))?([0-9]+):([0-5][0-9](?:\.[0-9]*)?)", re.ASCII)
_LONGEST = 40  # characters of a time; more is no time that anybody wrote


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segments:
    """The bounds of each row, as they stand in its name, and why it cannot be used; null: it can.

    `starts` and `stops` are float64 seconds to sort by, null where they are not known.
    """

    bounds: Column
    starts: Column
    stops: Column
    refused: Column
    remarks: tuple[str, ...] = ()


def read(cells: Mapping[str, Column], asked: Asked, *, comma: bool) -> Segments:
    """The segments of a table's rows; `comma`: whether a comma may part decimals."""
    remarks: list[str] = []
    count = len(next(iter(cells.values())))
    starts = _texts(asked.start, cells, count, "begin", remarks, comma=comma)
    stops = _texts(asked.end, cells, count, "end", remarks, comma=comma)
    known: dict[tuple[str | None, str | None], _Row] = {}
    rows = []
    for pair in zip(starts, stops, strict=True):
        if pair not in known:
            known[pair] = _row(*pair)
        rows.append(known[pair])
    return Segments(
        bounds=pa.array([row.text for row in rows], pa.large_string()),
        starts=pa.array([row.start for row in rows], pa.float64()),
        stops=pa.array([row.stop for row in rows], pa.float64()),
        refused=pa.array([row.refused for row in rows], pa.string()),
        remarks=tuple(remarks),
    )


def seconds(text: str) -> Fraction | None:
    """The time that a cell says, exactly; None where it says none.

    >>> seconds("1:02.50"), seconds("01:00:00,5"), seconds("-90"), seconds("1:2")
    (Fraction(125, 2), Fraction(7201, 2), Fraction(-90, 1), None)
    """
    sign = -1 if text.startswith("-") else 1
    plain = text[1:] if text[:1] in ("+", "-") else text
    if len(plain) > _LONGEST:
        return None
    if _SECONDS.fullmatch(plain):
        return sign * Fraction(plain)
    clock = _CLOCK.fullmatch(plain.replace(",", "."))
    if clock is None:
        return None
    hours, minutes, rest = clock.groups()
    if hours is not None and len(minutes) != 2:
        return None
    return sign * (3600 * int(hours or 0) + 60 * int(minutes) + Fraction(rest))


@dataclass(frozen=True, slots=True)
class _Row:
    """What a pair of cells says."""

    text: str
    start: float | None = None
    stop: float | None = None
    refused: str | None = None


def _row(start: str | None, stop: str | None) -> _Row:
    found = [None if text is None else seconds(text) for text in (start, stop)]
    reason = _reason((start, stop), found)
    if reason is not None:
        return _Row(text=f"{_quoted(start)},{_quoted(stop)}", refused=reason)
    bounds = Bounds(found[0] or Fraction(0), found[1])
    stops = None if bounds.stop is None else float(bounds.stop)
    return _Row(str(bounds), float(bounds.start), stops)


def _reason(texts: tuple[str | None, str | None], found: Sequence[Fraction | None]) -> str | None:
    for name, text, time in zip(("start", "end"), texts, found, strict=True):
        if text is not None and time is None:
            return f"the segment's {name} is no time: {NO_TIME}"
    start, stop = found[0] or Fraction(0), found[1]
    if start < 0 or (stop is not None and stop < 0):
        return NEGATIVE
    return EMPTY if stop is not None and stop <= start else None


def _quoted(text: str | None) -> str:
    return quote(text or "", safe=":")


def _texts(
    name: str | None,
    cells: Mapping[str, Column],
    count: int,
    meant: str,
    remarks: list[str],
    *,
    comma: bool,
) -> list[str | None]:
    """The cells of a column of times, None where they are empty."""
    if name is None:
        return [None] * count
    if pa.types.is_nested(cells[name].type):
        raise UsageError(
            "a column of several values a row", found=name, hint="Choose one with one value a row."
        )
    column = decoded(cells[name])
    found: list[str | None] = (pointed(column) if comma else column).to_pylist()
    missing = sum(text in MISSING for text in found)
    if missing:
        words = ", ".join(sorted({text for text in found if text in MISSING and text is not None}))
        remarks.append(f"{name}: {missing:,} cells, {words}, are taken as the clip's {meant}")
    return [None if text in MISSING else text for text in found]


# What segments of one clip have to do with one another


def grouped(listed: L) -> L:
    """A listing of segments, sorted by clip, in which no segment is without a group.

    It has that of its clip's other segments, or is called as its clip is: they show one person.
    """
    names = listed.names.to_pylist()
    groups = [None] * len(names) if listed.groups is None else listed.groups.to_pylist()
    parted = 0
    for start, stop in _clips(names):
        own = list(dict.fromkeys(group for group in groups[start:stop] if group is not None))
        parted += len(own) > 1
        for row in range(start, stop):
            if groups[row] is None:
                groups[row] = own[0] if own else names[start]
    remarks = listed.remarks
    if parted:
        remarks = (
            *remarks,
            f"{parted:,} clips have segments of several groups, which a split may part",
        )
    return replace(listed, groups=pa.array(groups, pa.string()), remarks=remarks)


def contradicting(listed: Listing) -> list[str]:
    """A remark on segments that overlap another of their clip whose label differs."""
    if listed.bounds is None:
        return []
    bounds = listed.bounds.to_pylist()
    refused = listed.refused.to_pylist()
    labels = [column.to_pylist() for column in listed.labels.values()]
    found: set[int] = set()
    for start, stop in _clips(listed.names.to_pylist()):
        rows = [row for row in range(start, stop) if refused[row] is None]
        if len(rows) > 1 and labels:
            found |= _contradicting([(row, Bounds.parse(bounds[row])) for row in rows], labels)
    if not found:
        return []
    return [f"{len(found):,} segments overlap others of their clip whose labels differ"]


def _contradicting(rows: Sequence[tuple[int, Bounds]], labels: Sequence[Sequence[Any]]) -> set[int]:
    """Those of a clip's rows, sorted by their start, that contradict one another."""
    found: set[int] = set()
    running: list[tuple[int, Bounds]] = []
    for row, bounds in rows:
        running = [
            (other, its) for other, its in running if its.stop is None or its.stop > bounds.start
        ]
        for other, _ in running:
            if _differ(row, other, labels):
                found |= {row, other}
        running.append((row, bounds))
    return found


def _differ(row: int, other: int, labels: Sequence[Sequence[Any]]) -> bool:
    """Whether both rows say something of a label, and not the same."""
    pairs = ((values[row], values[other]) for values in labels)
    return any(one != two for one, two in pairs if one is not None and two is not None)


def _clips(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the rows of each clip begin and end, among rows sorted by clip."""
    start = 0
    for _, rows in groupby(names):
        stop = start + sum(1 for _ in rows)
        yield start, stop
        start = stop
