"""The rows of some pictures: decoded, augmented, prepared and run through all cores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dof_arrow.cores.core import Core, wanted
from dof_arrow.errors import DofError
from dof_arrow.extraction.block import Block, Failure, PictureRow
from dof_arrow.extraction.job import Array, Job
from dof_arrow.media import augment, decode
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.intensity import Pixels
from dof_arrow.sources.sample import Sample


@dataclass(slots=True)
class PictureBatch:
    """Features and facts of the inputs of a batch, by number; all views of an input stand together.

    `inputs` counts them. One that fails is listed in `failures` and stops nothing.
    """

    inputs: int
    rows: list[PictureRow]
    failures: list[Failure]
    features: dict[str, Array]


@dataclass(slots=True)
class ReadyBatch:
    """Pictures that were read, and what each core is to see of them."""

    inputs: int
    rows: list[PictureRow]
    failures: list[Failure]
    ready: dict[str, Array | list[Array]]


def batch_of(job: Job, samples: Sequence[tuple[int, Sample]]) -> PictureBatch:
    """The features of some inputs, given with their numbers."""
    return computed(job, read(job, samples))


def read(job: Job, samples: Sequence[tuple[int, Sample]]) -> ReadyBatch:
    """Some inputs decoded, augmented and prepared for all cores, none of which is run."""
    waiting = {}
    for name, core in job.cores.items():
        waiting[name] = _Ready(core, core.room(len(samples) * job.views.count))
    rows: list[PictureRow] = []
    failures: list[Failure] = []
    for number, sample in samples:
        try:
            rows += _prepared(job, number, sample, waiting.values(), len(rows))
        except DofError as error:
            failures.append(failure_of(number, error))
    ready = {name: each.until(len(rows)) for name, each in waiting.items()}
    return ReadyBatch(len(samples), rows, failures, ready)


def computed(job: Job, batch: ReadyBatch) -> PictureBatch:
    """What the cores see in pictures that are ready."""
    features = {name: job.features(name, values) for name, values in batch.ready.items()}
    made = PictureBatch(batch.inputs, batch.rows, batch.failures, features)
    _keep_finite(made, job)
    return made


def _prepared(
    job: Job, number: int, sample: Sample, waiting: Collection[_Ready], place: int
) -> list[PictureRow]:
    """Prepare each view of a sample for all cores; its rows begin at this place."""
    decoded = _decoded(job, sample)
    facts = next(iter(decoded.values()))[1]
    rows: list[PictureRow] = []
    for view, draw in enumerate(job.draws(sample)):
        seen = {}
        for how, (pixels, _) in decoded.items():
            seen[how] = augment.apply(pixels, draw) if draw else pixels
        for ready in waiting:
            ready.add(seen[wanted(ready.core)], place + view)
        rows.append(PictureRow(number, facts, view, draw))
    return rows


def _keep_finite(batch: PictureBatch, job: Job) -> None:
    """Keep the inputs all of whose features are finite; list the others."""
    sound = np.ones(len(batch.rows), bool)
    for values in batch.features.values():
        sound &= np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if sound.all():
        return
    # An input goes as a whole: a missing view would shift those of its neighbours.
    sound = sound.reshape(-1, job.views.count).all(axis=1).repeat(job.views.count)
    reason = f"the core's features are no finite {job.dtype} numbers"
    kept = []
    for row, fine in zip(batch.rows, sound, strict=True):
        if fine:
            kept.append(row)
        elif row.view == 0:
            batch.failures.append(Failure(row.input, "not-finite", reason))
    batch.rows = kept
    batch.features = {name: values[sound] for name, values in batch.features.items()}


def failure_of(number: int, error: DofError) -> Failure:
    """An input that failed, by the error that stopped it."""
    return Failure(number, getattr(error, "rule", "unfit"), str(error))


def block_of(job: Job, parts: Sequence[PictureBatch]) -> Block:
    """A block of all its batches, in order."""
    rows: list[PictureRow] = []
    failures: list[Failure] = []
    for part in parts:
        rows += part.rows
        failures += part.failures
    features = {}
    for name in job.cores:
        features[name] = np.concatenate([part.features[name] for part in parts])
    return Block.of_pictures(rows, features, failures, job.views)


def block_of_failure(job: Job, number: int, error: DofError) -> Block:
    """A block of one input of which there is nothing but the reason why."""
    features = {}
    for name, core in job.cores.items():
        features[name] = np.empty((0, *core.output_shape), job.dtype)
    return Block.of_pictures([], features, [failure_of(number, error)], job.views)


class _Ready:
    """A core's inputs that are ready.

    Where they are of one size they lie in one buffer, so that no batch is copied together.
    """

    def __init__(self, core: Core, room: Array | None) -> None:
        self.core = core
        self._room = room
        self._values: list[Array] = []

    def add(self, pixels: Pixels, place: int) -> None:
        """Prepare a picture; what a failed input has put in this place or behind is overwritten."""
        del self._values[place:]
        out = None if self._room is None else self._room[place]
        self._values.append(self.core.prepare(pixels, out))

    def until(self, place: int) -> Array | list[Array]:
        """The inputs before this place, in one array if they lie in the buffer."""
        if self._room is None:
            return self._values[:place]
        return self._room[:place]


def _decoded(job: Job, sample: Sample) -> Mapping[Any, tuple[Pixels, PictureFacts]]:
    """The picture, decoded once for all cores that want the same pixels."""
    data = sample.load_picture(job.reading.max_pixels)
    decoded = {}
    for core in job.cores.values():
        how = wanted(core)
        if how not in decoded:
            mode, orientation, draft = how
            decoded[how] = decode.decode(
                data,
                mode=mode,
                orientation=orientation,
                draft=draft,
                reading=job.reading,
                grey_once=True,  # it is resized once too
            )
    return decoded
