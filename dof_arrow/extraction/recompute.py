"""Rows of a dataset made again from their inputs.

Pictures are made in batches, the rows of a clip in one pass over it. A row needs its input, its
core and the numbers that were drawn for it, which stand in its `processing`; what else was
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
from dof_arrow.extraction import clip_rows
from dof_arrow.extraction.job import Array, Job
from dof_arrow.extraction.output_table import PROCESSING
from dof_arrow.extraction.staging import blocks
from dof_arrow.extraction.views import draw_of, remake
from dof_arrow.format.spec.metadata import COUNTED
from dof_arrow.security.pseudonyms import pseudonyms
from dof_arrow.sources.input_table import Roster, at_site
from dof_arrow.sources.sample import Sample, Source

_AT_ONCE = 65_536  # names looked up at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a row is made again from; `input` is its number, None where the source lacks it."""

    id: str
    view: int | None
    frame: int | None
    processing: Mapping[str, Any]
    input: int | None


class Remade(NamedTuple):
    """Some rows made again.

    `numbers` are the rows that could be made, `features` theirs, [n, *shape] by column; `lost` are
    the others, each with the reason.
    """

    numbers: Sequence[int]
    features: Mapping[str, Array]
    lost: Sequence[tuple[int, str]]


def rows_of(data: Dataset, source: Source, key: bytes | None, site: str | None = None) -> list[Row]:
    """The rows of a dataset with the numbers of their inputs, None for one that the source lacks.

    `key` is the one that made the ids, None where they are the inputs' own names; `site` stands
    before these.
    """
    record = data.metadata.record
    names = {
        "id": record.id,
        "view": record.view,
        "frame": record.frame,
        "processing": PROCESSING,
    }
    there = {role: name for role, name in names.items() if name in data.columns}
    table = data.to_arrow(list(there.values())).rename_columns(list(there))
    places = _places(table["id"].combine_chunks(), source, key, site)
    rows = []
    for row, place in zip(table.to_pylist(), places, strict=True):
        rows.append(
            Row(
                id=row["id"],
                view=row.get("view"),
                frame=row.get("frame"),
                processing=row.get("processing") or {},
                input=place,
            )
        )
    return rows


def remade(rows: Sequence[Row], job: Job) -> Iterator[Remade]:
    """The rows made again, a batch by each worker; the rows of a clip come together."""
    make = _pictures if job.clips is None else _frames
    pool = ThreadPoolExecutor(job.workers)
    try:
        yield from pool.map(partial(make, rows, job), _batches(rows, job))
    finally:
        pool.shutdown(cancel_futures=True)


def changed(row: Row, noted: Mapping[str, Any], job: Job) -> str:
    """In what a row's picture is not as it was noted; empty if in nothing, or if it is a clip."""
    if job.clips is not None or row.input is None:
        return ""
    _, seen = job.source[row.input].picture(reading=job.reading)
    facts = asdict(seen)
    before = {**noted, **row.processing}
    other = []
    for name in COUNTED:
        was = before.get(name, facts[name])
        # A range or counts are noted of several inputs, and say nothing of this one.
        if not isinstance(was, dict) and facts[name] != was:
            other.append(f"{name} {facts[name]}, was {was}")
    return ", ".join(other)


def _places(ids: pa.Array, source: Source, key: bytes | None, site: str | None) -> list[int | None]:
    """The number of the input of each id, None where the source has none of this name."""
    import pyarrow.compute as pc

    found = np.full(len(ids), -1)
    names = at_site(Roster.of(source).keys, site)
    for start in range(0, len(names), _AT_ONCE):
        some = names.slice(start, _AT_ONCE).to_pylist()
        if key is not None:
            some = pseudonyms(key, "id", some)
        place = pc.index_in(ids, value_set=pa.array(some, ids.type))
        place = place.fill_null(-1).to_numpy(zero_copy_only=False)
        found = np.where(place >= 0, place + start, found)
    return [None if place < 0 else place for place in found.tolist()]


def _batches(rows: Sequence[Row], job: Job) -> list[Sequence[int]]:
    """Numbers of rows made together: as many as a core runs at once, or a view of a clip."""
    if job.clips is None:
        return list(blocks(len(rows), job.rows))
    # All frames of a view were made with the same draw, in one pass over the clip.
    clips: dict[Any, list[int]] = {}
    for number, row in enumerate(rows):
        clips.setdefault((row.id, row.view), []).append(number)
    return list(clips.values())


def _pictures(rows: Sequence[Row], job: Job, numbers: Sequence[int]) -> Remade:
    kept: list[int] = []
    ready: list[Mapping[str, Array]] = []
    lost: list[tuple[int, str]] = []
    for number in numbers:
        try:
            ready.append(_prepared(rows[number], job))
            kept.append(number)
        except DofError as error:
            lost.append((number, str(error)))
    return Remade(kept, _features(ready, job), lost)


def _prepared(row: Row, job: Job) -> dict[str, Array]:
    """What each core is to see of a row's picture; cores that want the same pixels share them."""
    sample = _sample(row, job)
    seen: dict[Any, Array] = {}
    prepared = {}
    for name, core in job.cores.items():
        how = wanted(core)
        if how not in seen:
            seen[how] = remake(row.processing, sample, core, job.reading)
        prepared[name] = core.prepare(seen[how])
    return prepared


def _frames(rows: Sequence[Row], job: Job, numbers: Sequence[int]) -> Remade:
    """Rows of one view of one clip; those behind the place where it breaks are lost."""
    first = rows[numbers[0]]
    by_frame = {rows[number].frame or 0: number for number in numbers}
    draw = draw_of(first.processing)
    kept: list[int] = []
    waiting: list[Mapping[str, Array]] = []
    lost: list[tuple[int, str]] = []
    parts = [_features([], job)]
    try:
        for row in clip_rows.chosen_rows(by_frame, draw, _sample(first, job), job):
            kept.append(by_frame[row.frame])
            waiting.append(row.prepared)
            if len(waiting) == job.rows:
                parts.append(_features(waiting, job))
                waiting.clear()
    except DofError as error:
        lost += [(number, str(error)) for number in numbers if number not in kept]
    parts.append(_features(waiting, job))
    features = {}
    for name in job.cores:
        features[name] = np.concatenate([part[name] for part in parts])
    return Remade(kept, features, lost)


def _sample(row: Row, job: Job) -> Sample:
    if row.input is None:
        raise SourceError("the source has no input of this name")
    return job.source[row.input]


def _features(ready: Sequence[Mapping[str, Array]], job: Job) -> dict[str, Array]:
    features = {}
    for name in job.cores:
        features[name] = job.features(name, [prepared[name] for prepared in ready])
    return features
