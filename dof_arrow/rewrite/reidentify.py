"""Which input or group a pseudonym is of, for the owner of the key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.security.keys import existing_key
from dof_arrow.security.pseudonyms import pseudonyms
from dof_arrow.sources.input_table import at_site
from dof_arrow.sources.open import open_source
from dof_arrow.storage import owned
from dof_arrow.storage.atomic import Sink, replacing

PathLike = str | os.PathLike[str]

_WHY = "Only who has the key that extraction used can read pseudonyms back: --id-key FILE."


def reidentify(
    file: PathLike | Dataset,
    *,
    source: PathLike | None = None,
    names: Sequence[str] = (),
    id_key: PathLike | bytes | None = None,
    site: str | None = None,
) -> pa.Table:
    """The names behind a dataset's ids and groups, as far as they are among those given.

    Pseudonyms cannot be undone, but the key makes them again: of the inputs of the `source` that
    the dataset was made of, at `site`, and of a list of `names`, of inputs or groups. The table has
    the columns `kind` (`id`, `bag`, `group` or `failed`), `pseudonym` and `name`.

    Raises UsageError where ids are no pseudonyms, the key is missing, or no name fits; SourceError
    if the source cannot be read.
    """
    data = file if isinstance(file, Dataset) else dataset.open(file)
    made = data.metadata.pseudonyms
    if made is None:
        raise UsageError("ids are no pseudonyms", str(data.path), hint="They are the names.")
    known = list(names)
    if source is not None:
        known += at_site(open_source(Path(source)).names, site).to_pylist()
    if not known:
        raise UsageError("no names to compare", str(data.path), "a source, or a list of names")
    key = existing_key(id_key, _WHY, made.key)
    record = data.metadata.record
    failed = pa.array([failure["id"] for failure in data.errors], pa.string())
    found = [
        _matched("id", _values(data, record.id), pseudonyms(key, "id", known), known),
        _matched("bag", _values(data, record.bag), pseudonyms(key, "id", known), known),
        _matched("group", _values(data, record.group), pseudonyms(key, "group", known), known),
        _matched("failed", failed, pseudonyms(key, "id", known), known),
    ]
    table = pa.concat_tables(found)
    if not len(table):
        raise UsageError(
            "no name fits a pseudonym of the dataset",
            str(data.path),
            "the key and the names that it was made with",
            f"{len(known):,} names",
        )
    return table


def write_pairs(pairs: pa.Table, out: PathLike, *, overwrite: bool = False) -> None:
    """Write the pairs as a CSV file that only its owner may read. Raises OutputError."""
    from pyarrow import csv

    with replacing(out, overwrite=overwrite, mode=owned.FILE) as output:
        csv.write_csv(pairs, Sink(output))


def _values(data: Dataset, column: str | None) -> pa.Array:
    if column is None:
        return pa.array([], pa.string())
    return data.to_arrow([column]).column(0).combine_chunks().cast(pa.string())


def _matched(kind: str, there: pa.Array, made: Sequence[str], names: Sequence[str]) -> pa.Table:
    """The pairs of pseudonym and name, in the order of the names, each once."""
    import pyarrow.compute as pc

    pairs = pa.table({"pseudonym": pa.array(made), "name": pa.array(names, pa.string())})
    fits = pairs.filter(pc.is_in(pairs["pseudonym"], value_set=there.unique()))
    kinds = pa.array([kind] * len(fits), pa.string())
    return fits.add_column(0, "kind", kinds)
