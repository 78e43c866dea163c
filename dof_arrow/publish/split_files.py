"""Which rows go into which file: one for each split, called as the hub calls splits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.spec.names import splits_there
from dof_arrow.format.spec.split_names import TEST, TRAIN, VALID, standardised

WHOLE = "data"  # what the file of a dataset without splits is called
UNSPLIT = "unsplit"  # the file of rows that are in no split
_HUB = {TRAIN: "train", VALID: "validation", TEST: "test"}
_TAKEN = ("all",)  # what `datasets` means otherwise
_FILE = re.compile(r"[A-Za-z0-9_]+-[0-9]{5}-of-[0-9]{5}\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRows:
    """The rows of one split: its `name` in the dataset, empty for rows in none, and the hub's."""

    name: str
    hub_name: str
    rows: Dataset

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.hub_name}-00000-of-00001.parquet"


def is_data_file(name: str) -> bool:
    """Whether a published file of this name holds rows.

    >>> is_data_file("train-00000-of-00001.parquet"), is_data_file("README.md")
    (True, False)
    """
    return _FILE.fullmatch(name) is not None


def split_rows(ds: Dataset) -> list[SplitRows]:
    """The rows of each split that has some, and those in none; all of them where there are none."""
    column = ds.metadata.record.split
    if column is None:
        return [SplitRows(name="", hub_name=WHOLE, rows=ds)]
    import pyarrow.compute as pc

    told = ds.to_arrow([column]).column(0).cast(pa.string()).combine_chunks()
    names = standardised(told)
    there = set(pc.unique(names).to_pylist())
    ordered = splits_there(there - {None})
    hub_names = _hub_names(ordered)
    found = []
    for name in ordered:
        places = np.flatnonzero(pc.fill_null(pc.equal(names, name), False).to_numpy(False))
        found.append(SplitRows(name=name, hub_name=hub_names[name], rows=ds.take(places)))
    if None in there:
        places = np.flatnonzero(names.is_null().to_numpy(False))
        hub_name = _free(UNSPLIT, hub_names.values())
        found.append(SplitRows(name="", hub_name=hub_name, rows=ds.take(places)))
    return found or [SplitRows(name="", hub_name=WHOLE, rows=ds)]  # of no rows


def _hub_names(names: Iterable[str]) -> dict[str, str]:
    """What the hub calls each split: letters of ASCII, digits and _, no two alike."""
    found: dict[str, str] = {}
    for name in names:
        plain = _HUB.get(name) or re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
        found[name] = _free(plain, found.values())
    return found


def _free(name: str, taken: Iterable[str]) -> str:
    """The name itself, or one with a number behind it where it is taken, in whatever case."""
    known = {each.casefold() for each in (*taken, *_TAKEN)}
    free = name
    number = 2
    while free.casefold() in known:
        free = f"{name}_{number}"
        number += 1
    return free
