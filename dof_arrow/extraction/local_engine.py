"""The blocks of a run computed by threads of this process.

Threads decode, prepare and run batches; the calling thread puts blocks together and stages them.
Decoding and inference both let go of the interpreter lock, so threads suffice and nothing is copied
between processes. A batch is done by one thread from file to features: threads wait for nobody, not
for the disk that a finished block goes to either, and share out the last batches as evenly as all
others.
"""

from __future__ import annotations

from collections.abc import Iterator

from dof_arrow.extraction import clip_features, picture_features
from dof_arrow.extraction.engine import Engine, Progress, Share
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.picture_features import PictureBatch
from dof_arrow.extraction.staging import Staging


def compute(job: Job, staging: Staging, progress: Progress) -> None:
    """Compute the blocks of a run that are not staged yet; `progress` is first told what was there.

    Raises SourceError when more inputs fail than `job.max_errors`, and whatever a batch raises: the
    others then stop. An interrupt leaves whole blocks behind.
    """
    _LocalEngine(job, staging, progress).run()


class _LocalEngine(Engine):
    """Has threads compute the missing blocks, a few batches ahead of what is taken from them."""

    def pictures(self, shares: Iterator[Share]) -> None:
        self.threads.each(shares, self._computed, self._taken)

    def clips(self, shares: Iterator[Share]) -> None:
        self.threads.each(shares, self._clip, lambda share, failed: self.count(1, failed))

    def _computed(self, share: Share) -> PictureBatch | None:
        if self.threads.is_stopped():
            return None
        samples = list(zip(share.inputs, share.samples, strict=True))
        return picture_features.batch_of(self.job, samples)

    def _taken(self, share: Share, part: PictureBatch | None) -> None:
        if part is not None:
            self.take(share, part)

    def _clip(self, share: Share) -> int:
        """Stage a block of one clip and say how many failed; a clip that fails leaves no rows."""
        block = share.block
        (sample,) = block.samples
        try:
            pieces = clip_features.pieces(block.number, sample, self.job, self.threads.is_stopped)
            self.staging.put_pieces(block.number, pieces, block.stamp)
        except clip_features.Stopped:
            return 0
        except clip_features.FAILURES as error:
            failed = picture_features.block_of_failure(self.job, block.number, error)
            self.staging.put(block.number, failed, block.stamp)
            return 1
        return 0
