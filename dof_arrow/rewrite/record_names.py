"""The records, or the bags, of a dataset by the names that a table may call them by."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import SourceError
from dof_arrow.format.spec.names import holds_names
from dof_arrow.security.keys import existing_key, key_file, load_or_make_key
from dof_arrow.security.pseudonyms import fingerprint, pseudonyms
from dof_arrow.sources import table, table_keys
from dof_arrow.sources.asked import TableOptions, parted
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

    `what` they are: `record`, or `bag` where the table speaks of bags. `key` is that for
    pseudonyms, empty where they are called by their names. `known`: names, not pseudonyms alone.
    """

    listing: Records
    record_of_row: Any
    key: bytes
    what: str
    known: bool

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

    Where more keys of the table lead to bags than to records, the bags. Raises SourceError where
    no key leads to either.
    """
    made = data.metadata.pseudonyms
    key = b"" if made is None else _key(id_key, made.key)
    keys = cache(partial(_keys, given))  # most files need no look at them
    candidates = _candidates(keys(), source) if key else None
    record = data.metadata.record
    found = _called(data, record.id, "record", candidates, key)
    readings = parted(given.match)
    if record.bag is not None:
        bags = _called(data, record.bag, "bag", candidates, key)
        fitting = [
            table_keys.fitting(keys(), each.listing.names, readings) for each in (found, bags)
        ]
        if fitting[1] > fitting[0] or (not any(fitting) and bags.known and not found.known):
            found = bags
    if not found.known and len(data) and not table_keys.fitting(keys(), found.listing.names):
        raise _nothing_named(data, given)
    return found


def _called(
    data: Dataset, column: str, what: str, candidates: Column | None, key: bytes
) -> RecordNames:
    """What the values of a column are called: by the candidates that they are pseudonyms of."""
    coded = data.to_arrow([column]).column(0).combine_chunks().dictionary_encode()
    stored = coded.dictionary.cast(pa.large_string())
    names = stored if candidates is None else _with_names(stored, candidates, key)
    return RecordNames(
        listing=Records(names=names),
        record_of_row=coded.indices.to_numpy(),
        key=key,
        what=what,
        known=candidates is None or not names.equals(stored),
    )


def _key(id_key: PathLike | bytes | None, made_by: str | None) -> bytes:
    """The owner's key; empty where there is none, or the user's own made no pseudonym of these."""
    if id_key is not None:
        return existing_key(id_key, "Name the key that made the file.", made_by)
    path = key_file()
    key = load_or_make_key(path)[0] if path.exists() else b""
    return b"" if key and made_by not in (None, fingerprint(key)) else key


def _candidates(keys: Column, source: PathLike | None) -> Column:
    """What the records' names may be: those of the source, else those that the table has."""
    import pyarrow.compute as pc

    if source is not None:
        return open_source(Path(source)).names.cast(pa.large_string())
    spelled = table_keys.spelled(keys)
    # Bags are called by the names of their files without the suffix.
    spellings = [keys.unique(), spelled.unique(), table_keys.stems(spelled).unique()]
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


def _nothing_named(data: Dataset, given: TableOptions) -> SourceError:
    has_bags = data.metadata.record.bag is not None
    return SourceError(
        f"no row of the table names a record{' or a bag' if has_bags else ''} of the file",
        str(given.table),
        f"names as they were when the file was made, or its ids{' or bags' if has_bags else ''}",
        "neither",
        "Is --key the right column, and --id-key the key that the file was made with? Where the "
        f"table has file names alone, add --source FOLDER, of which {data.path.name} was made.",
    )
