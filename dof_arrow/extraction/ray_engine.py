"""The blocks of a run computed by the machines of a Ray cluster.

The run is planned, staged and written where it was started: workers are given numbers of inputs,
read the files themselves, and answer with features. So a worker that dies costs its batch alone, no
disk need be shared for the output, and a run that one engine began is ended by any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from dof_arrow.errors import SourceError
from dof_arrow.extraction.engine import Engine, Progress, Share, stamp_of
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.ray_cluster import ClusterOptions, connected
from dof_arrow.extraction.ray_crew import Crew
from dof_arrow.extraction.ray_worker import Answer
from dof_arrow.extraction.staging import Staging


def compute(job: Job, staging: Staging, progress: Progress, *, options: ClusterOptions) -> None:
    """Compute the blocks of a run that are not staged yet; `progress` is first told what was there.

    Raises as the local engine does; UsageError where there is no such cluster, or where its
    machines have other files or versions; SourceError where workers die again and again.
    """
    _RayEngine(job, staging, progress, options).run()


class _RayEngine(Engine):
    """Has actors of a cluster compute the missing blocks, a few shares ahead of what is taken."""

    def __init__(
        self, job: Job, staging: Staging, progress: Progress, options: ClusterOptions
    ) -> None:
        super().__init__(job, staging, progress)
        self._options = options

    def pictures(self, shares: Iterator[Share]) -> None:
        self._each(shares, self._take_pictures)

    def clips(self, shares: Iterator[Share]) -> None:
        self._each(shares, self._take_clip)

    def _each(self, shares: Iterator[Share], take: Callable[[Share, Answer], None]) -> None:
        with (
            connected(self._options.address) as ray,
            closing(Crew(ray, self.job, self._options)) as crew,
        ):
            for share, answer in crew.answers(shares):
                _check_seen(share, answer)
                take(share, answer)

    def _take_pictures(self, share: Share, answer: Answer) -> None:
        assert answer.made is not None
        self.take(share, answer.made)

    def _take_clip(self, share: Share, answer: Answer) -> None:
        self.staging.put_pieces(share.block.number, iter(answer.pieces), share.stamp)
        self.count(1, int(answer.failed))


def _check_seen(share: Share, answer: Answer) -> None:
    """Raise SourceError where a machine sees other files than this one, or none.

    Files that have changed meanwhile differ too: those are read again at the end, by their stamps.
    """
    if answer.stamp == share.stamp or stamp_of(share.samples) != share.stamp:
        return
    raise SourceError(
        "a machine of the cluster sees other files than this one",
        answer.machine,
        "the same files under the same names",
        share.samples[0].key,
        "All machines must find the inputs under the same paths, as on a disk that they share.",
    )
