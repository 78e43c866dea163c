"""Where each clip lies in a table; the rows of a clip, or of one view of it, stand together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Record
from dof_arrow.sampling.permutation import Rows
from dof_arrow.tables.targets import Tabular, distinct


def clip_columns(record: Record) -> list[str]:
    """The columns that tell one clip from another: the id, and the view where there are views."""
    return [name for name in (record.id, record.view) if name]


def clip_bounds(data: Tabular, where: str = "") -> tuple[Rows, Rows]:
    """The first row of each clip and the row after its last one, int64 [clips] each.

    Raises UsageError where the rows of a clip do not stand together.
    """
    names = clip_columns(data.metadata.record)
    table = data.to_arrow(names)
    return bounds([table.column(name) for name in names], where)


def bounds(
    columns: Sequence[pa.ChunkedArray], where: str = "", what: str = "clip"
) -> tuple[Rows, Rows]:
    """The first row and the end of each run of rows that agree in all these columns.

    Raises UsageError where equal rows do not stand together.

    >>> [each.tolist() for each in bounds([pa.chunked_array([["a", "a", "b"]])])]
    [[0, 2], [2, 3]]
    """
    codes = np.stack([distinct(column) for column in columns])
    rows = codes.shape[1]
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    before = codes[:, :-1]
    after = codes[:, 1:]
    changed = np.flatnonzero((before != after).any(axis=0))
    inner = changed + 1  # rows at which another clip starts
    starts = np.concatenate([[0], inner]).astype(np.int64)
    stops = np.concatenate([inner, [rows]]).astype(np.int64)
    _check_together(codes[:, starts], where, what)
    return starts, stops


def _check_together(codes: Rows, where: str, what: str) -> None:
    """Raise UsageError unless each run of rows, a column of these codes, is a clip of its own."""
    runs = codes.shape[1]
    clips = np.unique(codes, axis=1).shape[1]
    if runs > clips:
        raise UsageError(
            f"the rows of a {what} do not stand together",
            where,
            f"each {what}'s rows one behind the other, as they lie in the file",
            f"{runs - clips} {what}s in pieces",
            f"Take whole {what}s: load the dataset, or a split of it, as it is, or sort the "
            "indices.",
        )


def in_pieces(starts: Rows, stops: Rows, longest: int) -> tuple[Rows, Rows]:
    """The same bounds, with each clip cut into pieces of at most `longest` rows.

    >>> [each.tolist() for each in in_pieces(np.array([0, 5]), np.array([5, 7]), 2)]
    [[0, 2, 4, 5], [2, 4, 5, 7]]
    """
    pieces = -(-(stops - starts) // longest)  # of each clip
    before = np.cumsum(pieces) - pieces  # of all clips before it
    clip = np.repeat(np.arange(len(starts)), pieces)
    number = np.arange(len(clip)) - before[clip]
    begins = starts[clip] + number * longest
    ends = np.minimum(begins + longest, stops[clip])
    return begins, ends
