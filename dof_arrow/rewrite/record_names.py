"""The records of a dataset by the names that a table may call them by."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import SourceError
from dof_arrow.format.spec.names import holds_names
from dof_arrow.security.keys import existing_key, key_file, load_or_make_key
from dof_arrow.security.pseudonyms import fingerprint, pseudonyms
from dof_arrow.sources import table, table_keys
from dof_arrow.sources.asked import TableOptions
from dof_arrow.sources.columns import texts
from dof_arrow.sources.listing import Listing, numbered
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Column, Data

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Records(Listing):
    """Records of a dataset, of which nothing but the names is asked."""

    def stored(self, key: str, place: int) -> Data:
        """Nothing: pictures are not in the dataset."""
        return None

    def files(self) -> Iterator[str | Path]:
        """No file."""
        return iter(())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows(Records):
    """The rows of a dataset, whose columns can be read as those of a table are."""

    data: Dataset

    @classmethod
    def of(cls, data: Dataset) -> Rows:
        """The rows, by number."""
        return cls(names=numbered(len(data)), data=data)

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """Columns of the dataset as texts, classes of a target by their codes."""
        found: dict[str, Column] = {}
        for name in names:
            column = self.data.to_arrow([name]).column(0)
            if self.classes(name) and holds_names(column.type):
                column = pa.array(self.data.to_numpy(name))
            found[name] = texts(column, self.data.path, name)
        return found

    def classes(self, name: str) -> tuple[str, ...]:
        """The classes of a column that is a target already."""
        target = self.data.metadata.targets.get(name)
        return () if target is None else target.classes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordNames:
    """The names of a dataset's `count` records as a listing, and the record of each row.

    `key` is that for pseudonyms, empty where records are called by their names.
    """

    listing: Records
    record_of_row: Any
    key: bytes

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self.listing)


def named_by(
    data: Dataset,
    given: TableOptions,
    id_key: PathLike | bytes | None,
    source: PathLike | None,
) -> RecordNames:
    """The records, called as the table calls them where its keys lead to them, else by their ids.

    Raises SourceError where no key leads to a record.
    """
    column = data.to_arrow([data.metadata.record.id]).column(0).combine_chunks()
    coded = column.dictionary_encode()
    ids = coded.dictionary.cast(pa.large_string())
    made = data.metadata.pseudonyms
    key = b"" if made is None else _key(id_key, made.key)
    names = ids
    if key:
        names = _with_names(ids, _candidates(given, ids, source), key)
        _check_some(data, given, ids, names)
    return RecordNames(
        listing=Records(names=names),
        record_of_row=coded.indices.to_numpy(),
        key=key,
    )


def _key(id_key: PathLike | bytes | None, made_by: str | None) -> bytes:
    """The owner's key; empty where there is none, or the user's own made no pseudonym of these."""
    if id_key is not None:
        return existing_key(id_key, "Name the key that made the file.", made_by)
    path = key_file()
    key = load_or_make_key(path)[0] if path.exists() else b""
    return b"" if key and made_by not in (None, fingerprint(key)) else key


def _candidates(given: TableOptions, ids: Column, source: PathLike | None) -> Column:
    """What the records' names may be: those of the source, else those that the table has."""
    import pyarrow.compute as pc

    if source is not None:
        return open_source(Path(source)).names.cast(pa.large_string())
    assert given.table is not None
    keys = _keys(given)
    spellings = [keys.unique(), table_keys.spelled(keys).unique()]
    found = pa.concat_arrays(spellings).unique().drop_null()
    return found.filter(pc.not_equal(found, ""))


def _keys(given: TableOptions) -> Column:
    path = Path(given.table or "")
    wanted = [] if given.key is None else [given.key]
    cells = table.read(path, wanted, given.encoding).cells
    keys = next(iter(cells.values()))
    if pa.types.is_dictionary(keys.type):
        keys = keys.dictionary_decode()
    return keys.cast(pa.large_string())


def _with_names(ids: Column, candidates: Column, key: bytes) -> Column:
    """For each id the name that it is the pseudonym of, else the id."""
    import pyarrow.compute as pc

    made = pa.array(pseudonyms(key, "id", candidates.to_pylist()), pa.large_string())
    place = pc.index_in(ids, value_set=made)
    return pc.coalesce(candidates.take(place), ids)


def _check_some(data: Dataset, given: TableOptions, ids: Column, names: Column) -> None:
    import pyarrow.compute as pc

    if not names.equals(ids) or not len(ids):
        return
    if np.any(pc.is_in(_keys(given), value_set=ids).to_numpy(zero_copy_only=False)):
        return
    raise SourceError(
        "no row of the table names a record of the file",
        str(given.table),
        "names as they were when the file was made, or its ids",
        "neither",
        "Is --key the right column, and --id-key the key that the file was made with? Where the "
        f"table has file names alone, add --source FOLDER, of which {data.path.name} was made.",
    )
