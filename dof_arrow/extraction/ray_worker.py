"""What runs on the machines of a cluster: pictures read, cores run, clips done.

Every answer says what the files were like there, so that a machine which sees others is found out.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dof_arrow.extraction import clip_features, picture_features
from dof_arrow.extraction.block import Block
from dof_arrow.extraction.engine import stamp_of
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.picture_features import PictureBatch, ReadyBatch
from dof_arrow.extraction.versions import LIBRARIES, versions
from dof_arrow.sources.sample import Sample

_JOBS: dict[str, Job] = {}  # of this process: that of the run whose pictures it reads


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a share: rows of pictures, or the pieces of a clip and whether it failed.

    `stamp` is that of the files as they are on `machine`.
    """

    machine: str
    stamp: str
    made: PictureBatch | None = None
    pieces: Sequence[Block] = ()
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """Pictures that were read on `machine`, and the stamp of their files there."""

    machine: str
    stamp: str
    batch: ReadyBatch


class RayWorker:
    """An actor: the cores of a run, loaded once, and what is done with them.

    `folder` is where the run was started, for names of files that are relative to it.
    """

    def __init__(self, job: Job, folder: str) -> None:
        _enter(folder)
        self._job = job

    def ready(self) -> tuple[str, dict[str, str]]:
        """The machine, and the versions here of what features depend on; loads the cores."""
        for core in self._job.cores.values():
            core.load_session()
        return platform.node(), versions(LIBRARIES)

    def pictures(self, inputs: range) -> Answer:
        """The features of some pictures, from the files."""
        return self.features(_read(self._job, inputs))

    def features(self, read: Read) -> Answer:
        """The features of pictures that were read elsewhere."""
        made = picture_features.computed(self._job, read.batch)
        return Answer(read.machine, read.stamp, made)

    def clip(self, inputs: range) -> Answer:
        """The rows of one clip; one that fails leaves none."""
        (number,) = inputs
        sample = self._job.source[number]
        stamp = stamp_of([sample])
        failed = False
        try:
            pieces = list(clip_features.pieces(number, sample, self._job, lambda: False))
        except clip_features.FAILURES as error:
            pieces = [picture_features.block_of_failure(self._job, number, error)]
            failed = True
        return Answer(platform.node(), stamp, pieces=pieces, failed=failed)


def read_pictures(shared: Sequence[Any], folder: str, inputs: range) -> Read:
    """Some pictures of the run whose job is `shared`, a reference to it in a list, read here."""
    import ray

    (reference,) = shared
    name = reference.hex()
    if name not in _JOBS:
        _JOBS.clear()
        _JOBS[name] = ray.get(reference)
    _enter(folder)
    return _read(_JOBS[name], inputs)


def _read(job: Job, inputs: range) -> Read:
    samples: list[tuple[int, Sample]] = [(number, job.source[number]) for number in inputs]
    # Stamped before they are read, as where the run was started.
    stamp = stamp_of(sample for _, sample in samples)
    return Read(platform.node(), stamp, picture_features.read(job, samples))


def _enter(folder: str) -> None:
    """Go to the folder; where it is not there, the stamps tell that files are not either."""
    with suppress(OSError):
        os.chdir(folder)
