"""Where each clip lies in a table: rows of one id, and of one view of it, one behind the other."""

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
    """The first row and the end of each clip, int64 [clips] each.

    Raises UsageError where the rows of a clip stand apart.
    """
    names = clip_columns(data.metadata.record)
    table = data.to_arrow(names)
    return bounds([table.column(name) for name in names], where)


def bounds(columns: Sequence[pa.ChunkedArray], where: str = "") -> tuple[Rows, Rows]:
    """The first row and the end of each run of rows that agree in all these columns.

    Raises UsageError where equal rows stand apart.

    >>> [each.tolist() for each in bounds([pa.chunked_array([["a", "a", "b"]])])]
    [[0, 2], [2, 3]]
    """
    codes = np.stack([distinct(column) for column in columns])
    rows = codes.shape[1]
    changes = np.flatnonzero((codes[:, 1:] != codes[:, :-1]).any(axis=0)) + 1
    starts = np.concatenate([[0], changes]).astype(np.int64)[:rows]
    apart = len(starts) - np.unique(codes[:, starts], axis=1).shape[1]
    if apart:
        raise UsageError(
            "the rows of a clip do not stand together",
            where,
            "each clip's rows one behind the other, as they lie in the file",
            f"{apart} clips in pieces",
            "Take whole clips: load the dataset, or a split of it, as it is, or sort the indices.",
        )
    return starts, np.append(starts[1:], rows)[: len(starts)]


def in_pieces(starts: Rows, stops: Rows, longest: int) -> tuple[Rows, Rows]:
    """The same bounds, with each clip cut into pieces of at most `longest` rows.

    >>> [each.tolist() for each in in_pieces(np.array([0, 5]), np.array([5, 7]), 2)]
    [[0, 2, 4, 5], [2, 4, 5, 7]]
    """
    pieces = -(-(stops - starts) // longest)
    first = np.repeat(starts, pieces)
    number = np.arange(len(first)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begins = first + number * longest
    return begins, np.minimum(begins + longest, np.repeat(stops, pieces))
