"""The rows of inputs by their own names, which only the owner of the key can find."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset.selected_rows import SelectedRows
from dof_arrow.errors import UsageError, few
from dof_arrow.security.keys import existing_key
from dof_arrow.security.pseudonyms import pseudonyms

_LISTED = 5
_WHY = "Only who has the key that extraction used can find inputs by name: id_key=FILE."


def rows_named(
    data: SelectedRows, names: Sequence[str], key: str | os.PathLike[str] | bytes | None
) -> NDArray[np.int64]:
    """The numbers of the rows of some inputs, in the order of the names, int64 [n].

    An input has a row for each of its views, frames or windows, or is a bag of rows; one that is
    named twice has them twice. Raises UsageError where ids are pseudonyms and there is no key, and
    for names that no row bears, all at once.
    """
    wanted = _texts(names)
    different = list(dict.fromkeys(wanted))
    ids = _called(data, different, key)
    record = data.metadata.record
    place = np.full(len(data), -1)
    for column in filter(None, (record.id, record.bag)):
        stored = data.to_arrow([column]).column(0).combine_chunks()
        place = np.maximum(place, _places(stored, ids))
    found = np.flatnonzero(place >= 0)
    found = found[np.argsort(place[found], kind="stable")]
    ends = np.searchsorted(place[found], np.arange(len(ids)), side="right")
    rows = dict(zip(different, np.split(found, ends[:-1]), strict=False))
    unknown = [name for name in different if not len(rows[name])]
    if unknown:
        raise _unknown(data, unknown)
    return np.concatenate([found[:0], *(rows[name] for name in wanted)])


def _texts(names: Sequence[str]) -> list[str]:
    wanted = [names] if isinstance(names, str) else list(names)
    others = [name for name in wanted if not isinstance(name, str)]
    if others:
        raise UsageError(
            "inputs have texts for names",
            "names",
            "texts",
            ", ".join(few([repr(name) for name in others], _LISTED)),
        )
    return wanted


def _called(data: SelectedRows, names: Sequence[str], key: Any) -> list[str]:
    """What inputs of these names are called in the dataset."""
    made = data.metadata.pseudonyms
    if made is None:
        return list(names)
    return pseudonyms(existing_key(key, _WHY, made.key), "id", names)


def _places(stored: pa.Array, ids: Sequence[str]) -> NDArray[np.int64]:
    """Where the id of each row stands among the wanted ones, -1 for one that is not wanted."""
    import pyarrow.compute as pc

    place = pc.index_in(stored, value_set=pa.array(ids, stored.type))
    return np.asarray(place.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


def _unknown(data: SelectedRows, names: Sequence[str]) -> UsageError:
    return UsageError(
        "no row is of these inputs",
        str(data.path),
        "names as they were when the dataset was made, and the key that made it",
        ", ".join(few([repr(name) for name in names], _LISTED)),
        "Inputs of a folder are called by their path in it; those with a site have its name "
        "and a slash in front. Failed inputs have no rows: see `errors`.",
    )
