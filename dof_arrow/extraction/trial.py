"""How long a run will take on this machine, by running a few of its inputs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dof_arrow.extraction.run import Extraction
from dof_arrow.extraction.staging import Staging
from dof_arrow.sources.remaining import only

_SECONDS = 5.0  # about how long a trial takes
_MOST = 2000  # inputs: so many small pictures tell enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a few inputs took: `inputs` of `total`, of which `failed` could not be read."""

    inputs: int
    failed: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Inputs a second."""
        return self.inputs / self.seconds

    @property
    def remaining(self) -> float:
        """Seconds that all inputs will take, as far as they are like those that were tried."""
        return self.total / self.rate


def tried(run: Extraction, seconds: float = _SECONDS) -> Trial:
    """Run inputs that lie evenly over the source, for about so many seconds; nothing is kept.

    Reads, decodes, prepares and runs as the run itself would, on as many workers. Raises CoreError
    if the core cannot be run.
    """
    total = len(run.source)
    first = min(total, 4 * run.workers)
    started, _ = _timed(run, _spread(total, first))  # which also readies sessions and threads
    count = round(min(_MOST, max(first, seconds * first / started)))
    chosen = _spread(total, min(total, count))
    taken, failed = _timed(run, chosen)
    return Trial(inputs=len(chosen), failed=failed, total=total, seconds=taken)


def _spread(total: int, count: int) -> list[int]:
    """So many of the numbers below `total`, evenly.

    >>> _spread(10, 3)
    [0, 3, 6]
    """
    return [place * total // count for place in range(count)]


def _timed(run: Extraction, inputs: Sequence[int]) -> tuple[float, int]:
    """Seconds that some inputs take, and how many of them fail."""
    job = replace(run.job, source=only(run.source, inputs), numbers=None, max_errors=None)
    failures = 0

    def count(done: int, total: int, failed: int) -> None:
        nonlocal failures
        failures = failed

    with (
        tempfile.TemporaryDirectory() as folder,
        Staging(Path(folder) / "trial").held({}) as staging,
    ):
        start = time.perf_counter()
        run.compute(job, staging, count)
        return time.perf_counter() - start, failures
