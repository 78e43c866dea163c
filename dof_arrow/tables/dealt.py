"""Rows dealt into folds or to two sides, groups kept together."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError, whole_number
from dof_arrow.sampling import splits
from dof_arrow.tables import targets
from dof_arrow.tables.targets import Tabular

Array = NDArray[Any]


def folds(data: Tabular, k: int, group: str | None, stratify: str | None, seed: int) -> Array:
    """The fold int64 [n] of each row.

    Rows of a group are in one fold; the classes of the column `stratify` are spread evenly. Raises
    UsageError where there are fewer groups than folds.
    """
    group = _group(data, group)
    groups = targets.distinct(_names(data, group))
    count = len(np.unique(groups))
    if not 2 <= whole_number("k", k) <= count:
        raise UsageError(
            "folds cannot be made",
            "folds",
            f"2 to {count}",
            str(k),
            f"There are {count} different values of {group}.",
        )
    strata = None
    if stratify is not None:
        strata, _ = targets.strata(data, stratify)
    return splits.folds(groups, k, strata=strata, seed=seed)


def share(size: float, rows: int) -> float:
    """The share of rows that a size asks for, which is a share or a number of rows.

    >>> share(0.25, 8), share(2, 8)
    (0.25, 0.25)
    """
    found = 0.0
    if isinstance(size, Integral) and not isinstance(size, bool):
        found = int(size) / max(rows, 1)
    elif isinstance(size, Real) and not isinstance(size, bool):
        found = float(size)
    if not 0 < found < 1:
        raise UsageError(
            "a size that cannot be",
            "test_size",
            f"a share between 0 and 1, or 1 to {rows - 1} rows",
            str(size),
        )
    return found


def second_side(
    data: Tabular, share: float, group: str | None, stratify: str | None, seed: int
) -> Array:
    """Which rows are on the second of two sides, which gets this share of them, bool [n].

    Rows of a group are on one side. Which side a group is on depends on the names of all groups and
    their sizes, not on the order of the rows. Raises UsageError where a side would stay empty.
    """
    group = _group(data, group)
    names = _names(data, group)
    strata = None
    if stratify is not None:
        codes, _ = targets.strata(data, stratify)
        strata = codes.tolist()
    fractions = {"train": 1 - share, "test": share}
    sides = splits.split_by_fraction(names.to_pylist(), fractions, seed=seed, stratify=strata)
    second = np.asarray(sides, object) == "test"
    if second.all() or not second.any():
        count = names.combine_chunks().unique()
        raise UsageError(
            "one side would have no rows",
            "train_test_split",
            "groups for both sides",
            f"{len(names)} rows in {len(count)} groups of {group}",
            "Choose another test_size, or another column as group=.",
        )
    return np.asarray(second, bool)


def _group(data: Tabular, group: str | None) -> str:
    """The column of groups: by default what the metadata names, else the bag or the record."""
    return targets.known(data, group or data.metadata.record.together)


def _names(data: Tabular, group: str) -> pa.ChunkedArray:
    """The group of each row as a text; one without is with its bag or record."""
    import pyarrow.compute as pc

    named = _texts(data, group)
    if not named.null_count:
        return named
    record = data.metadata.record
    records = _texts(data, record.bag or record.id)
    # The sign keeps a record apart from a group that is called alike.
    nothing, sign = pa.scalar("", pa.large_string()), pa.scalar("\0", pa.large_string())
    alone = pc.binary_join_element_wise(records, nothing, sign)
    return pc.coalesce(named, alone)


def _texts(data: Tabular, name: str) -> pa.ChunkedArray:
    column = targets.by_name(data.to_arrow([name])).column(0)
    try:
        return column.cast(pa.large_string())
    except pa.ArrowException:
        raise UsageError(
            "rows cannot be grouped by this column", name, "texts or numbers", str(column.type)
        ) from None
