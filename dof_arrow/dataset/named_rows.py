"""The rows of inputs by their own names, which only the owner of the key can find."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset.selected_rows import SelectedRows
from dof_arrow.errors import UsageError
from dof_arrow.security.keys import existing_key
from dof_arrow.security.pseudonyms import pseudonyms

_LISTED = 5
_WHY = "Only who has the key that extraction used can find inputs by name: id_key=FILE."


def rows_named(
    data: SelectedRows, names: Sequence[str], key: str | os.PathLike[str] | bytes | None
) -> NDArray[np.int64]:
    """The numbers of the rows of some inputs, in the order of the names, int64 [n].

    An input has a row for each of its views, frames or windows. Raises UsageError where ids are
    pseudonyms and there is no key, and for names that no row bears, all at once.
    """
    ids = _called(data, names, key)
    stored = data.to_arrow([data.metadata.record.id]).column(0).combine_chunks()
    place = _places(stored, ids)
    found = np.flatnonzero(place >= 0)
    there = np.zeros(len(ids), bool)
    there[place[found]] = True
    if not there.all():
        raise _unknown(data, [names[number] for number in np.flatnonzero(~there).tolist()])
    return found[np.argsort(place[found], kind="stable")]


def _called(data: SelectedRows, names: Sequence[str], key: Any) -> list[str]:
    """What inputs of these names are called in the dataset."""
    privacy = data.metadata.privacy
    if privacy is None or privacy.ids == "name":
        return list(names)
    return pseudonyms(existing_key(key, _WHY), "id", names)


def _places(stored: pa.Array, ids: Sequence[str]) -> NDArray[np.int64]:
    """Where the id of each row stands among the wanted ones, -1 for one that is not wanted."""
    import pyarrow.compute as pc

    place = pc.index_in(stored, value_set=pa.array(ids, stored.type))
    return np.asarray(place.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


def _unknown(data: SelectedRows, names: Sequence[str]) -> UsageError:
    shown = ", ".join(map(repr, names[:_LISTED]))
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return UsageError(
        "no row is of these inputs",
        str(data.path),
        "names as they were when the dataset was made, and the key that made it",
        shown + more,
        "Inputs of a folder are called by their path in it; those with a site have its name "
        "and a slash in front. Failed inputs have no rows: see `errors`.",
    )
