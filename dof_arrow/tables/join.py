"""Datasets brought together and cut apart: joined by record, chained, dealt into folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.arrow import with_metadata
from dof_arrow.format.spec.metadata import Metadata, Parent, Provenance, Record
from dof_arrow.sampling import splits
from dof_arrow.tables import targets as encode
from dof_arrow.tables.gather import Gather
from dof_arrow.tables.selection import Chained, JoinedRows, Selection, chunked
from dof_arrow.tables.targets import Tabular

Array = NDArray[Any]

_CHUNK = 1 << 12  # rows looked at at a time


def join(left: Selection, right: Selection, suffix: str) -> JoinedRows:
    """The rows of the left that the right has too, with the columns of both; see `Dataset.join`."""
    keys = record_keys(left.table.metadata.record, right.table.metadata.record)
    here, there = _matched(left, right, keys)
    if here is not None:
        left = left.at(here)
    if there is not None:
        right = right.at(there)
    names = _names(
        left.table.schema.names, right.table.schema.names, [own for _, own in keys], suffix
    )
    about = _beside(left.table.metadata, right.table.metadata, names)
    fields = [
        (left if side else right).table.schema.field(own).with_name(name)
        for name, (side, own) in names.items()
    ]
    return JoinedRows(
        left=left,
        right=right,
        names=names,
        schema=with_metadata(pa.schema(fields), about),
        metadata=about,
    )


def chain(parts: Sequence[Selection]) -> Chained:
    """Several choices of rows with the same columns, one after the other; see `dataset.concat`."""
    if not parts:
        raise UsageError("nothing to put together", "concat", "one dataset or more", "none")
    first = parts[0].table
    for part in parts[1:]:
        _check_alike(
            first.schema,
            first.metadata,
            part.table.schema,
            part.table.metadata,
            str(part.table.path),
        )
    uuid = _derived([part.table.metadata for part in parts])
    about = replace(
        first.metadata,
        uuid=uuid,
        splits=_splits(parts),
        errors=None,
        documents=(),
        provenance=_made_from([part.table.metadata for part in parts]),
    )
    return Chained(
        parts=parts, schema=with_metadata(first.schema.remove_metadata(), about), metadata=about
    )


def record_keys(left: Record, right: Record) -> list[tuple[str, str]]:
    """The columns by which rows meet, as named on either side."""
    pairs = [(left.id, right.id), (left.view, right.view), (left.frame, right.frame)]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def row_names(columns: Sequence[pa.ChunkedArray]) -> pa.Array:
    """One text a row from all key columns.

    >>> row_names([pa.chunked_array([["a", "b"]]), pa.chunked_array([[0, 7]])]).to_pylist()
    ['a/0', 'b/7']
    """
    import pyarrow.compute as pc

    texts = [column.combine_chunks().cast(pa.large_string()) for column in columns]
    joined = (
        pc.binary_join_element_wise(*texts, pa.scalar("/", pa.large_string()))
        if len(texts) > 1
        else texts[0]
    )
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def folds(data: Tabular, k: int, group: str, stratify: str | None, seed: int) -> Array:
    """The fold int64 [n] of each row; rows of equal `group` are in one, `stratify` spreads its classes evenly.

    Raises UsageError unless there are as many groups as folds.
    """
    groups = encode.distinct(data.to_arrow([encode.known(data, group)]).column(0))
    count = len(np.unique(groups))
    if not 2 <= k <= count:
        raise UsageError(
            "folds cannot be made",
            "folds",
            f"2 to {count}",
            str(k),
            f"There are {count} different values of {group}.",
        )
    strata = encode.strata(data, stratify)[0] if stratify is not None else None
    return splits.folds(groups, k, strata=strata, seed=seed)


def statistics(gather: Gather, rows: int, width: int) -> tuple[Array, Array]:
    """Mean and standard deviation, float64 [width] each, in one pass and bounded memory.

    Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979.
    """
    mean, squares, seen = np.zeros(width), np.zeros(width), 0
    buffer = np.empty((min(_CHUNK, rows), width), np.float32)
    for start in range(0, rows, _CHUNK):
        x = buffer[: min(_CHUNK, rows - start)]
        gather.fill(np.arange(start, start + len(x)), x)
        own = x.mean(axis=0, dtype=np.float64)
        step, seen = own - mean, seen + len(x)
        squares += np.square(x - own).sum(axis=0) + step * step * (len(x) * (seen - len(x)) / seen)
        mean += step * (len(x) / seen)
    return mean, np.sqrt(squares / seen)


def _matched(
    left: Selection, right: Selection, keys: Sequence[tuple[str, str]]
) -> tuple[Array | None, Array | None]:
    """Places of the rows that meet on either side; None where all of a side stand as they are."""
    import pyarrow.compute as pc

    a, b = (
        row_names([chunked(rows.array(pair[side])) for pair in keys])
        for side, rows in enumerate((left, right))
    )
    if pc.count_distinct(b).as_py() != len(b):
        raise UsageError(
            "rows to join with are not unique",
            str(right.table.path),
            "each id once",
            "several rows of one id",
            "Take one of them: other.filter(pc.field('view') == 0)",
        )
    if a.equals(b):
        return None, None
    place = pc.index_in(a, b)
    here = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
    return here, place.drop_null().to_numpy().astype(np.int64)


def _names(
    left: Sequence[str], right: Sequence[str], keys: Sequence[str], suffix: str
) -> dict[str, tuple[bool, str]]:
    names = {name: (True, name) for name in left}
    for own in right:
        if own not in keys:
            name = own + suffix if own in names else own
            if name in names:
                raise UsageError(
                    "two columns of one name",
                    "join",
                    "another suffix",
                    name,
                    'Write suffix="_b", say.',
                )
            names[name] = (False, own)
    return names


def _beside(left: Metadata, right: Metadata, names: Mapping[str, tuple[bool, str]]) -> Metadata:
    """The metadata of joined rows: the left's, with what the right's columns bring along."""
    theirs = {own: name for name, (side, own) in names.items() if not side}
    cores = {
        n: (n if left.cores.get(n, c) == c else f"{n}_{c.sha256[:8]}")
        for n, c in right.cores.items()
    }
    columns = {
        name: replace(
            right.columns[own],
            role=_role(right.columns[own].role),
            core=cores.get(right.columns[own].core or ""),
        )
        for own, name in theirs.items()
    }
    targets = {name: right.targets[own] for own, name in theirs.items() if own in right.targets}
    return replace(
        left,
        uuid=_derived([left, right]),
        columns={**left.columns, **columns},
        targets={**left.targets, **targets},
        cores={**left.cores, **{cores[n]: core for n, core in right.cores.items()}},
        splits={},
        errors=None,
        documents=(),
        provenance=_made_from([left, right]),
    )


def _role(role: Any) -> Any:
    return role if role in ("feature", "target") else "kept"


def _derived(parts: Sequence[Metadata]) -> str:
    return str(uuid5(UUID(parts[0].uuid), " ".join(part.uuid for part in parts)))


def _made_from(parts: Sequence[Metadata]) -> Provenance:
    return Provenance(
        generator="dof_arrow", parents=tuple(Parent(uuid=part.uuid) for part in parts)
    )


def _splits(parts: Sequence[Selection]) -> Any:
    """Sizes of the splits of all parts; their rows are counted by whoever needs them."""
    found: dict[str, Any] = {}
    for part in parts:
        for name, split in part.table.metadata.splits.items():
            old = found.get(name)
            found[name] = (
                split
                if old is None
                else replace(old, rows=old.rows + split.rows, records=old.records + split.records)
            )
    return found


def _check_alike(
    schema: pa.Schema, about: Metadata, other: pa.Schema, others: Metadata, where: str
) -> None:
    if not schema.equals(other, check_metadata=False):
        ours, theirs = (", ".join(f"{f.name} {f.type}" for f in s) for s in (schema, other))
        raise UsageError(
            "the columns differ", where, ours, theirs, "Keep the same columns when extracting."
        )
    if about.targets != others.targets:
        raise UsageError(
            "the classes of a target differ",
            where,
            str(dict(about.targets))[:300],
            str(dict(others.targets))[:300],
            "Extract with the same class names.",
        )
