"""A dataset with new labels, from a table or from its own columns; its vectors are not touched.

A table's keys are the names of the inputs, of which the owner's key makes the pseudonyms that the
file has, or the ids of the file themselves; where there are bags, names of bags just so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.extraction.report import Line, Report, value_counts
from dof_arrow.loader.options import from_keywords
from dof_arrow.rewrite.convert import save
from dof_arrow.rewrite.exports import save_plain
from dof_arrow.rewrite.record_names import RecordNames, Rows, named_by
from dof_arrow.security.pseudonyms import pseudonyms
from dof_arrow.sources import table_keys
from dof_arrow.sources.asked import TableOptions, parted
from dof_arrow.sources.counted import COUNTED
from dof_arrow.sources.input_table import target_type
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.open import check_key, with_columns_of, with_table
from dof_arrow.sources.sample import NOT_THERE
from dof_arrow.storage.addresses import on_disk

PathLike = str | os.PathLike[str]

_WITHOUT_ROW = "{inputs} without a row in the table: what it would say of them is missing"
_NOT_HERE = "rows of the table left out: no {what} has their name"


def label(
    file: PathLike,
    *,
    out: PathLike,
    split: str | None = None,
    target: str | Sequence[str] = (),
    id_key: PathLike | bytes | None = None,
    source: PathLike | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Dataset:
    """Write a dataset with labels added, or replaced, and return it, opened.

    - `options`: those of `sources.asked.TableOptions`, as `extract` takes them: `table` and `key`,
      then `label`, `group`, `keep`, `map` and so on. `split` names the table's column of splits.
    - `target`: what a label is to be called; without a `label` the names of the dataset's own
      columns that become targets.
    - `id_key`: the key for pseudonyms that the dataset was made with, by default the user's own.
    - `source`: the folder that it was made of. Only needed where the table has no whole names.

    Of a dataset with bags the table may name the bags: what it says of one is true of all its rows.
    Records that the table does not name have no value. The vectors of a file are copied as bytes.

    Raises UsageError for what cannot be asked, SourceError for a table that does not fit,
    FormatError for a damaged file, OutputError if the output cannot be written.
    """
    plan = planned(file, split=split, target=target, id_key=id_key, source=source, **options)
    return plan.write(out, overwrite=overwrite)


def planned(
    file: PathLike,
    *,
    split: str | None = None,
    target: str | Sequence[str] = (),
    id_key: PathLike | bytes | None = None,
    source: PathLike | None = None,
    **options: Any,
) -> Labelling:
    """What `label` would do with the same arguments, not yet done. Raises as it does."""
    given = from_keywords(TableOptions, options, "label")
    targets = parted(target)
    data = dataset.open(file)
    _check_asked(given, split, targets, data)
    if given.table is None:
        own = with_columns_of(Rows.of(data), replace(given, label=targets), Path(str(data.path)))
        return Labelling(data=data, found=own, ids=None, key=b"")
    check_key(given)
    names = named_by(data, given, id_key, source)
    found = with_table(names.listing, given, split)
    if targets and given.label:
        found = _called(found, targets[0])
    return Labelling(data=data, found=found, ids=names, key=names.key)


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelling:
    """New columns for a dataset: read, checked, not yet written.

    `found` is what is known of records, or of rows where `ids` is None.
    """

    data: Dataset
    found: Listing
    ids: RecordNames | None
    key: bytes

    @cached_property
    def columns(self) -> dict[str, pa.Array]:
        """The new columns, one value a row."""
        found = self.found
        columns = dict(found.columns)
        for name, values in found.labels.items():
            columns[name] = values.cast(target_type(found.targets[name]))
        record = self.data.metadata.record
        if found.groups is not None:
            columns[record.group or "group"] = self._groups(found.groups)
        if found.splits is not None:
            columns[record.split or "split"] = found.splits
        places = self._places
        return {name: values.take(places) for name, values in columns.items()}

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset with them."""
        return self.data.with_columns(self.columns, targets=self.found.targets)

    @cached_property
    def report(self) -> Report:
        """What became of records and of rows of the table."""
        values = {}
        for name, target in self.found.targets.items():
            values[name] = value_counts(self.columns[name], target)
        offers = table_keys.offered(self.found.offers)
        remarks = [*self.found.remarks, *([offers] if offers else [])]
        return Report(inputs=list(self._lines()), values=values, remarks=remarks)

    def write(self, out: PathLike, *, overwrite: bool = False) -> Dataset:
        """Write the dataset with its new columns; raises as `label` does."""
        return dataset.open(save(self.dataset, out, overwrite=overwrite))

    def write_labels(self, out: PathLike, *, overwrite: bool = False) -> None:
        """Write the new columns alone, beside the ids, as a Parquet file that `Dataset.join` takes.

        Raises OutputError if it cannot be written.
        """
        record = self.data.metadata.record
        tell_apart = [name for name in (record.id, record.view, record.frame) if name]
        new = self.columns or self.found.targets
        names = dict.fromkeys([*tell_apart, *new])
        save_plain(self.dataset, list(names), on_disk(out), overwrite=overwrite)

    @cached_property
    def _places(self) -> pa.Array:
        """For each row the row of `found` that speaks of it, null where none does."""
        if self.ids is None:
            return pa.array(np.arange(len(self.data)))
        spoken = self._spoken
        place = np.full(self.ids.count, -1, np.int64)
        place[self.found.place.filter(spoken).to_numpy()] = np.flatnonzero(spoken)
        of_row = place[self.ids.record_of_row]
        return pa.array(of_row, mask=of_row < 0)

    @property
    def _spoken(self) -> Any:
        """Which rows of `found` can be used."""
        spoken = self.found.place.is_valid().to_numpy(zero_copy_only=False)
        if self.found.refused is not None:
            spoken &= self.found.refused.is_null().to_numpy(zero_copy_only=False)
        return spoken

    def _groups(self, groups: pa.Array) -> pa.Array:
        """Groups as the file calls them: by pseudonyms if it calls records so."""
        if not self.key:
            return groups
        coded = groups.dictionary_encode()
        names = pseudonyms(self.key, "group", coded.dictionary.to_pylist())
        return pa.array(names, pa.string()).take(coded.indices)

    def _lines(self) -> Iterator[Line]:
        if self.ids is None:
            yield Line(count=len(self.data), what="rows")
            return
        what = self.ids.what
        yield Line(count=int(self._spoken.sum()), what=f"{what}s that the table names")
        failures = self.found.known_failures()
        for reason, count in sorted(failures.items(), key=lambda pair: (-pair[1], pair[0])):
            is_lost = reason == NOT_THERE
            lost = _NOT_HERE.format(what=what)
            yield Line(count=count, what=lost if is_lost else f"rows left out: {reason}")
        texts: Mapping[str, str] = {**COUNTED, "without_row": _WITHOUT_ROW}
        for name, text in texts.items():
            if self.found.counts.get(name):
                yield Line(count=self.found.counts[name], what=text.format(inputs=f"{what}s"))


def _check_asked(
    given: TableOptions, split: str | None, targets: Sequence[str], data: Dataset
) -> None:
    labels = [given.label] if isinstance(given.label, str) else list(given.label or ())
    wanted = [*labels, given.group, split, *parted(given.keep)]
    if given.table is None and (any(wanted) or not targets):
        raise UsageError(
            "new labels need a table",
            str(data.path),
            "--table FILE.csv --key COLUMN --label COLUMN, or --target of a column that is there",
            hint=f"Its columns are {', '.join(data.columns)}.",
        )
    if given.start or given.end:
        raise UsageError(
            "segments are cut when a dataset is made",
            str(given.table),
            "a row of the table for each record",
            "start, or end",
        )
    if given.table is not None and not any(wanted):
        raise UsageError(
            "no column of the table is asked for", str(given.table), "--label COLUMN, or --keep"
        )
    if "folder" in wanted or "=" in (split or ""):
        raise UsageError(
            "labels and splits are columns of the table",
            str(given.table),
            found="folder, or =",
            hint="Name a column.",
        )
    if labels and len(targets) > min(len(labels), 1):
        raise UsageError(
            "one label can be called otherwise", found=", ".join(targets), hint="Leave --target."
        )
    if labels and targets and len(labels) > 1:
        raise UsageError(
            "one label can be called otherwise", found=", ".join(labels), hint="Leave --target."
        )


def _called(found: Listing, name: str) -> Listing:
    """A listing whose one label is called so."""
    (target,) = found.targets.values()
    (values,) = found.labels.values()
    return replace(found, targets={name: target}, labels={name: values})
