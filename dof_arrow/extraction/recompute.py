"""Rows of a dataset made again from their inputs: pictures in batches, the rows of a clip in one pass over it.

A row needs its input, its core and the numbers that were drawn for it, which stand in its `processing`; what else was
extracted with it does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import wanted
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofError, SourceError
from dof_arrow.extraction import clip_features
from dof_arrow.extraction.job import Array, Job
from dof_arrow.extraction.staging import blocks
from dof_arrow.extraction.views import remake
from dof_arrow.format.spec.metadata import COUNTED
from dof_arrow.security.pseudonyms import pseudonyms
from dof_arrow.sources.input_table import Roster
from dof_arrow.sources.sample import Sample, Source

_AT_ONCE = 65_536  # names looked up at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a row is made again from: its id, view and frame, what was noted of its input, its input's number."""

    id: str
    view: int | None
    frame: int | None
    processing: Mapping[str, Any]
    input: int | None


class Remade(NamedTuple):
    """Some rows by their numbers: features [n, *shape] by column of those that were made, why the others were not."""

    numbers: Sequence[int]
    features: Mapping[str, Array]
    lost: Sequence[tuple[int, str]]


def rows_of(data: Dataset, source: Source, key: bytes | None) -> list[Row]:
    """The rows of a dataset with their places in a source, None where that has no input of this name.

    `key` is the one that made the ids, None where they are the inputs' own names.
    """
    record = data.metadata.record
    names = {
        "id": record.id,
        "view": record.view,
        "frame": record.frame,
        "processing": "processing",
    }
    there = {role: name for role, name in names.items() if name in data.columns}
    table = data.to_arrow(list(there.values())).rename_columns(list(there))
    places = _places(table["id"].combine_chunks(), source, key)
    return [
        Row(
            id=row["id"],
            view=row.get("view"),
            frame=row.get("frame"),
            processing=row.get("processing") or {},
            input=place,
        )
        for row, place in zip(table.to_pylist(), places, strict=True)
    ]


def remade(rows: Sequence[Row], job: Job) -> Iterator[Remade]:
    """The rows made again, as many at once as the job has workers; those of a clip come together."""
    make = partial(_pictures if job.clips is None else _frames, rows, job)
    pool = ThreadPoolExecutor(job.workers)
    try:
        yield from pool.map(make, _batches(rows, job))
    finally:
        pool.shutdown(cancel_futures=True)


def changed(row: Row, noted: Mapping[str, Any], job: Job) -> str:
    """In what a row's picture is not as it was noted; empty if in nothing, or if it is a clip."""
    if job.clips is not None or row.input is None:
        return ""
    facts = asdict(job.source[row.input].picture(reading=job.reading)[1])
    before = {**noted, **row.processing}
    return ", ".join(
        f"{name} {facts[name]}, was {before[name]}"
        for name in COUNTED
        if name in before and not isinstance(before[name], dict) and facts[name] != before[name]
    )


def _places(ids: pa.Array, source: Source, key: bytes | None) -> list[int | None]:
    import pyarrow.compute as pc

    found = np.full(len(ids), -1)
    names = Roster.of(source).keys
    for start in range(0, len(names), _AT_ONCE):
        some = names.slice(start, _AT_ONCE).to_pylist()
        called = pa.array(some if key is None else pseudonyms(key, "id", some), ids.type)
        place = pc.index_in(ids, value_set=called).fill_null(-1).to_numpy(zero_copy_only=False)
        found = np.where(place >= 0, place + start, found)
    return [None if place < 0 else place for place in found.tolist()]


def _batches(rows: Sequence[Row], job: Job) -> list[Sequence[int]]:
    """Numbers of rows that are made together: as many as a core runs at once, or those of a view of a clip."""
    if job.clips is None:
        return list(blocks(len(rows), job.rows))
    clips: dict[Any, list[int]] = {}
    for number, row in enumerate(rows):
        clips.setdefault((row.id, row.view), []).append(number)
    return list(clips.values())


def _pictures(rows: Sequence[Row], job: Job, numbers: Sequence[int]) -> Remade:
    kept, ready, lost = list[int](), list[Mapping[str, Array]](), list[tuple[int, str]]()
    for number in numbers:
        try:
            ready.append(_prepared(rows[number], job))
            kept.append(number)
        except DofError as error:
            lost.append((number, str(error)))
    return Remade(kept, _features(ready, job), lost)


def _prepared(row: Row, job: Job) -> dict[str, Array]:
    """What each core is to see of a row's picture, decoded once for cores that want the same pixels."""
    sample, seen = _sample(row, job), dict[Any, Array]()
    for core in job.cores.values():
        if wanted(core) not in seen:
            seen[wanted(core)] = remake(row.processing, sample, core, job.reading)
    return {name: core.prepare(seen[wanted(core)]) for name, core in job.cores.items()}


def _frames(rows: Sequence[Row], job: Job, numbers: Sequence[int]) -> Remade:
    """Rows of one view of one clip; those behind the place where it breaks are lost."""
    first, by_frame = rows[numbers[0]], {rows[number].frame or 0: number for number in numbers}
    kept, waiting, lost = list[int](), list[Mapping[str, Array]](), list[tuple[int, str]]()
    parts = [_features([], job)]
    drawn = {name: value for name, value in first.processing.items() if value is not None}
    try:
        for frame, prepared in clip_features.chosen_rows(by_frame, drawn, _sample(first, job), job):
            kept.append(by_frame[frame])
            waiting.append(prepared)
            if len(waiting) == job.rows:
                parts.append(_features(waiting, job))
                waiting.clear()
    except DofError as error:
        lost += [(number, str(error)) for number in numbers if number not in kept]
    parts.append(_features(waiting, job))
    return Remade(
        kept, {name: np.concatenate([part[name] for part in parts]) for name in job.cores}, lost
    )


def _sample(row: Row, job: Job) -> Sample:
    if row.input is None:
        raise SourceError("the source has no input of this name")
    return job.source[row.input]


def _features(ready: Sequence[Mapping[str, Array]], job: Job) -> dict[str, Array]:
    return {name: job.features(name, [prepared[name] for prepared in ready]) for name in job.cores}
