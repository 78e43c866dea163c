"""Each input once: rows of one id in several datasets, brought together in one row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.tables.agreement import TOLERANCE, Tally
from dof_arrow.tables.selection import Selection, United

Array = NDArray[Any]

_AT_ONCE = 1 << 14  # rows whose vectors are compared at a time


def unique(parts: Sequence[Selection], whole: United) -> tuple[United, list[str]]:
    """The rows, each input's once: of rows of one id the first, with what later ones add to it.

    Raises UsageError where one id has different vectors, or one group is in two splits.
    """
    sizes = [len(part) for part in parts]
    owner = np.repeat(np.arange(len(parts)), sizes)
    first = _first_rows(whole)
    later = np.flatnonzero(owner[first] < owner)  # rows of one dataset are left as they are
    _check_vectors(whole, first[later], later, parts, owner)
    flat = _filled(whole, first[later], later, parts, owner)
    _check_groups(whole, flat, parts, owner)
    if not len(later):
        return whole, []
    kept = np.ones(len(first), bool)
    kept[later] = False
    chosen = []
    for number, part in enumerate(parts):
        places = np.flatnonzero(kept[owner == number])
        chosen.append(part.at(places))
    mask = pa.array(kept)
    remaining = {name: column.filter(mask) for name, column in flat.items()}
    note = f"{len(later):,} rows are in several datasets: taken once"
    return replace(whole, parts=chosen, flat=remaining), [note]


def _first_rows(whole: United) -> Array:
    """The first row of the same id, view and frame, for each row."""
    record = whole.metadata.record
    codes = np.zeros(whole.rows, np.int64)
    for name in (record.id, record.view, record.frame):
        if name is None or name not in whole.flat:
            continue
        column = whole.flat[name].combine_chunks()
        encoded = column.dictionary_encode(null_encoding="encode")
        own = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        codes *= len(encoded.dictionary)
        codes += own
    _, starts, inverse = np.unique(
        codes,
        return_index=True,
        return_inverse=True,
    )
    return np.asarray(starts[inverse])


def _check_vectors(
    whole: United, first: Array, later: Array, parts: Sequence[Selection], owner: Array
) -> None:
    differing = np.zeros(len(later), bool)
    for field in whole.schema:
        if is_vector(field):
            for start in range(0, len(later), _AT_ONCE):
                some = slice(start, start + _AT_ONCE)
                ours = whole.values(field.name, first[some]).astype(np.float32)
                theirs = whole.values(field.name, later[some]).astype(np.float32)
                differing[some] |= Tally(TOLERANCE).add(ours, theirs) > TOLERANCE
    if differing.any():
        rows = (first[differing], later[differing])
        raise UsageError(
            "different inputs under one id",
            str(parts[owner[rows[1][0]]].table.path),
            f"ids that {parts[owner[rows[0][0]]].table.path} does not have, or equal features",
            f"{len(rows[0]):,} rows whose features are others",
            "Two folders with equal names give equal ids under one key: extract one of them anew "
            "with --site NAME, which goes into its ids.",
        )


def _filled(
    whole: United, first: Array, later: Array, parts: Sequence[Selection], owner: Array
) -> dict[str, pa.ChunkedArray]:
    """The flat columns, where later rows of an input say what the first one leaves open.

    Raises UsageError for what they say otherwise.
    """
    flat = dict(whole.flat)
    if not len(later):
        return flat
    contradicted = []
    for name, column in flat.items():
        is_processing = pa.types.is_struct(column.type) and name not in whole.metadata.targets
        if is_processing or name == whole.metadata.record.time:
            continue
        ours = column.take(pa.array(first))
        theirs = column.take(pa.array(later))
        missing = _nulls_of(ours) & ~_nulls_of(theirs)
        count = _contradictions(ours, theirs)
        if count:
            contradicted.append(f"{name} in {count:,}")
        if missing.any():
            places = np.arange(len(column))
            places[first[missing]] = later[missing]
            flat[name] = column.take(pa.array(places))
    if contradicted:
        raise UsageError(
            "rows of one id say different things",
            str(parts[owner[later[0]]].table.path),
            f"what {parts[owner[first[0]]].table.path} says of the same inputs, or nothing",
            ", ".join(contradicted),
            "Correct one of the tables and extract it anew, or leave these rows out.",
        )
    return flat


def _contradictions(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> int:
    """In how many rows both have a value, and not the same one; NaN is NaN."""
    count = 0
    for left, right in zip(ours.to_pylist(), theirs.to_pylist(), strict=True):
        if left is None or right is None:
            continue
        if left != right and not (left != left and right != right):
            count += 1
    return count


def _nulls_of(column: pa.ChunkedArray) -> Array:
    return np.asarray(column.is_null().to_numpy())


def _check_groups(
    whole: United,
    flat: Mapping[str, pa.ChunkedArray],
    parts: Sequence[Selection],
    owner: Array,
) -> None:
    """Raise UsageError where a group is in one split here and in another there."""
    record = whole.metadata.record
    if record.group is None or record.split is None:
        return
    groups = flat[record.group].to_pylist()
    sides = flat[record.split].to_pylist()
    known: defaultdict[str, dict[str, int]] = defaultdict(dict)
    parted: dict[str, int] = {}
    for group, side, number in zip(groups, sides, owner.tolist(), strict=True):
        if group is None or side is None:
            continue
        owners = known[group]
        owners.setdefault(side, number)
        if any(other != number for other in owners.values()) and len(owners) > 1:
            parted.setdefault(group, number)
    if parted:
        raise UsageError(
            "groups that are in another split elsewhere",
            str(parts[next(iter(parted.values()))].table.path),
            "each group in one split",
            f"{len(parted):,} groups in several",
            f"Extract it anew with --split-from {parts[0].table.path}, which keeps their splits.",
        )
