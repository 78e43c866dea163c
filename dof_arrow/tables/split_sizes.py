"""The splits of rows: how large each is, whether they part a group, or contradict others."""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Record, Split
from dof_arrow.format.spec.split_names import standardised
from dof_arrow.sampling import splits
from dof_arrow.tables.selection import Selection, chunked

Column: TypeAlias = pa.Array | pa.ChunkedArray


def split_sizes(rows: Selection, record: Record) -> dict[str, Split]:
    """How many rows and records each split has among some rows; nothing where there is none."""
    if record.split is None:
        return {}
    names = _texts(rows.array(record.split))
    table = pa.table({"split": names, "id": chunked(rows.array(record.id))})
    counts: list[Any] = [("id", "count"), ("id", "count_distinct")]
    # Without threads, as in `conditions.rows_where`.
    counted = table.group_by("split", use_threads=False).aggregate(counts).sort_by("split")
    sizes = {}
    for each in counted.to_pylist():
        if each["split"] is not None:
            sizes[each["split"]] = Split(rows=each["id_count"], records=each["id_count_distinct"])
    return sizes


def check_groups(rows: Selection, record: Record) -> None:
    """Raise UsageError where rows of one group are in different splits."""
    if record.group is None or record.split is None:
        return
    groups = _texts(rows.array(record.group)).to_pylist()
    names = _texts(rows.array(record.split)).to_pylist()
    splits.check_groups(groups, names)


def check_sides(ours: Column, theirs: Column, where: str, hint: str) -> None:
    """Raise UsageError where rows that meet are in one split here and in another there.

    A row that is in no split on one of the sides does not count.
    """
    import pyarrow.compute as pc

    here = standardised(_texts(ours).combine_chunks())
    there = standardised(_texts(theirs).combine_chunks())
    places = pc.indices_nonzero(pc.not_equal(here, there))
    if not len(places):
        return
    first = places[0].as_py()
    raise UsageError(
        "rows that are in another split there",
        where,
        "each row in one split",
        f"{len(places):,} rows, the first {here[first]} here and {there[first]} there",
        hint,
    )


def _texts(array: Column) -> pa.ChunkedArray:
    """Names as texts, however they are stored."""
    return chunked(array).cast(pa.string())
