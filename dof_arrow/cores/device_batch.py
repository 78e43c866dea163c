"""How many rows a core runs at a time on a device, such as a GPU: as many as its memory holds."""

from __future__ import annotations

from collections.abc import Iterable

from dof_arrow.cores.core import BATCH, Core
from dof_arrow.cores.graph import runtime
from dof_arrow.cores.graph.session import OutOfMemory
from dof_arrow.format.spec.preprocessing import output_size

MOST = 256  # rows: more gain nothing


def batch_for(cores: Iterable[Core], most: int = MOST) -> int:
    """The rows that these cores run at a time: on processors few, on a device what it can hold.

    >>> from dof_arrow.cores import builtin
    >>> batch_for([builtin.load()])
    2
    """
    found = [rows_at_once(core, most) for core in cores if runtime.is_device(core.provider)]
    return min(found, default=BATCH)


def rows_at_once(core: Core, most: int = MOST) -> int:
    """The most rows, `most` halved until they fit, that a core can run at a time where it runs.

    They are tried on black pictures, so that nobody need know what the model takes; the runtime
    keeps the memory that this took. Raises OutOfMemory where not even one row fits.
    """
    if core.fixed_batch is not None:
        return core.fixed_batch
    if core.batch_dependent or output_size(core.preprocessing) is None:
        return BATCH  # one row at a time, or pictures of their own sizes: nothing can be tried
    rows = most
    while True:
        try:
            core.run(core.blank(rows))
        except OutOfMemory:
            if rows == 1:
                raise
            rows //= 2
        else:
            return rows
