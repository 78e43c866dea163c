"""Random datasets put together from small files, each beside the rows that it must hold.

A row knows its number, which its vector holds, and what was said of it. Steps choose rows, give
labels, join, chain, merge and save; the list of rows is changed in plain Python.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset, concat
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.rewrite.convert import save
from dof_arrow.rewrite.label import label
from dof_arrow.rewrite.merge import merge
from tests.support.making_rows import TARGETS, columns, made

ROWS = 60
OTHER = 40  # rows of the second file: the first of the same ids
CLASSES = tuple(TARGETS["label"]["classes"])
FORMS = ("x.dof.parquet", "x.dof.parquet", "x.dof")
MOST_STEPS = 4


class Row(NamedTuple):
    """A row: the number in its vector, its label by name, its age and its split."""

    number: int
    label: str
    age: int
    split: str

    @property
    def id(self) -> str:
        """Its id in the file."""
        return f"r{self.number:05d}"


@dataclass(frozen=True)
class Composed:
    """A dataset, the rows that it must hold, and the classes in the order of their codes."""

    ds: Dataset
    rows: list[Row]
    classes: tuple[str, ...] = CLASSES

    def at(self, ds: Dataset, places: Any) -> Composed:
        """Some of the rows."""
        return replace(self, ds=ds, rows=[self.rows[place] for place in places])

    @property
    def repeats(self) -> bool:
        """Whether a record stands twice, which a file may not have."""
        return len({row.number for row in self.rows}) < len(self.rows)

    def relabelled(self, ds: Dataset, labels: list[str], classes: tuple[str, ...]) -> Composed:
        """The rows with other labels."""
        rows = []
        for row, name in zip(self.rows, labels, strict=True):
            rows.append(row._replace(label=name))
        return Composed(ds, rows, classes)


def rows_of_file(number: int) -> list[Row]:
    """The rows of a file of so many."""
    known = columns(number)
    rows = []
    for row in range(number):
        name = CLASSES[known["label"][row]]
        rows.append(Row(row, name, int(known["age"][row]), known["split"][row]))
    return rows


class Maker:
    """Two files, and what is made of them by random steps in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole = Composed(made(folder / "a.parquet", ROWS, group_rows=16), rows_of_file(ROWS))
        other = made(folder / "b.parquet", OTHER, layout="compact")
        self.other = Composed(other, rows_of_file(OTHER))
        self._numbers = count()
        self._made = folder / "made"
        self.steps: list[Callable[[Composed, np.random.Generator], Composed]] = [
            self.chosen,
            self.chosen,
            self.of_a_split,
            self.labelled,
            self.labelled_by_file,
            self.joined,
            self.joined_to_table,
            self.chained,
            self.saved,
        ]

    def drawn(self, random: np.random.Generator) -> Composed:
        """A dataset made in up to `MOST_STEPS` steps."""
        made_so_far = self.merged(random) if random.random() < 0.15 else self.whole
        for _ in range(random.integers(MOST_STEPS + 1)):
            step = self.steps[random.integers(len(self.steps))]
            made_so_far = step(made_so_far, random)
        return made_so_far

    def chosen(self, before: Composed, random: np.random.Generator) -> Composed:
        """Rows taken, filtered, sliced or masked."""
        rows = before.rows
        kind = random.integers(4)
        if kind == 0:
            places = random.permutation(len(rows))[: random.integers(len(rows) + 1)]
            return before.at(before.ds.take(places), places)
        if kind == 1:
            age = int(random.integers(20, 80))
            places = [place for place, row in enumerate(rows) if row.age > age]
            return before.at(before.ds.filter(pc.field("age") > age), places)
        if kind == 2:
            start, stop = sorted(random.integers(0, len(rows) + 1, 2).tolist())
            return before.at(before.ds[start:stop], range(start, stop))
        mask = random.random(len(rows)) < 0.7
        return before.at(before.ds[mask], np.flatnonzero(mask))

    def of_a_split(self, before: Composed, random: np.random.Generator) -> Composed:
        """The rows of one of the splits that have some."""
        names = sorted({row.split for row in before.rows})
        if not names:
            return before
        name = str(random.choice(names))
        places = [place for place, row in enumerate(before.rows) if row.split == name]
        return before.at(before.ds.split(name), places)

    def labelled(self, before: Composed, random: np.random.Generator) -> Composed:
        """New labels of classes in any order."""
        classes = tuple(random.permutation(CLASSES).tolist())
        labels = random.choice(classes, len(before.rows)).tolist()
        target = Target(kind="category", classes=classes)
        values = pa.array(labels, pa.string())
        ds = before.ds.with_columns({"label": values}, targets={"label": target})
        return before.relabelled(ds, labels, classes)

    def labelled_by_file(self, before: Composed, random: np.random.Generator) -> Composed:
        """New labels from a table, as `dof label` gives them: classes in the alphabet's order."""
        if before.repeats:
            return before
        before = self.saved(before, random)
        by_id = {row.id: str(random.choice(CLASSES)) for row in self.whole.rows}
        table = self._path("t.csv")
        pd.DataFrame({"id": [*by_id], "state": [*by_id.values()]}).to_csv(table, index=False)
        labels = [by_id[row.id] for row in before.rows]
        if len(set(labels)) < len(CLASSES):
            return before
        ds = label(
            before.ds.path,
            table=table,
            key="id",
            label="state",
            target="label",
            id_key=bytes(32),
            out=self._path("x.dof.parquet"),
        )
        return before.relabelled(ds, labels, tuple(ds.metadata.targets["label"].classes))

    def joined(self, before: Composed, random: np.random.Generator) -> Composed:
        """Joined with the other file, whose splits differ in some rows; in any order."""
        order = random.permutation(OTHER)
        other = self.other.ds.take(order) if random.random() < 0.5 else self.other.ds
        met = [place for place, row in enumerate(before.rows) if row.number < OTHER]
        clashes = any(
            before.rows[place].split != self.other.rows[before.rows[place].number].split
            for place in met
        )
        suffix = f"_{next(self._numbers)}"
        try:
            ds = before.ds.join(other, suffix=suffix)
            assert not clashes, "rows in two splits were joined"
        except UsageError:
            if not clashes:
                raise
            ds = before.ds.join(other.drop_columns("split"), suffix=suffix)
        return before.at(ds, met)

    def joined_to_table(self, before: Composed, random: np.random.Generator) -> Composed:
        """Joined with a plain table that has other labels for some of the ids."""
        order = random.permutation(ROWS)[: random.integers(1, ROWS + 1)].tolist()
        classes = tuple(random.permutation(CLASSES).tolist())
        names = dict(zip(order, random.choice(classes, len(order)).tolist(), strict=True))
        table = pa.table({"id": [f"r{row:05d}" for row in order], "label": [*names.values()]})
        target = Target(kind="category", classes=classes)
        given = table if random.random() < 0.5 else table.to_pandas()
        ds = before.ds.drop_columns("label").join(given, targets={"label": target})
        met = [place for place, row in enumerate(before.rows) if row.number in names]
        found = before.at(ds, met)
        return found.relabelled(ds, [names[row.number] for row in found.rows], classes)

    def chained(self, before: Composed, random: np.random.Generator) -> Composed:
        """One after the other with rows of a file; the first one's classes come first."""
        after = self.chosen(self.other if random.random() < 0.5 else self.whole, random)
        if random.random() < 0.3:
            after = self.labelled(after, random)
        joined = [name for name in before.ds.columns if name.startswith("feature_")]
        ds = before.ds.drop_columns(*joined) if joined else before.ds
        return replace(before, ds=concat([ds, after.ds]), rows=before.rows + after.rows)

    def saved(self, before: Composed, random: np.random.Generator) -> Composed:
        """Written as a file or a directory, and opened."""
        return self.written(before, "compact" if random.random() < 0.3 else None, random)

    def written(self, before: Composed, layout: Any, random: np.random.Generator) -> Composed:
        """Written in a layout, by default as is usual, and opened."""
        if before.repeats:
            return before
        path = self._path(str(random.choice(FORMS)))
        return replace(before, ds=dataset.open(save(before.ds, path, layout=layout)))

    def merged(self, random: np.random.Generator) -> Composed:
        """Two selections of one file, merged: each input once."""
        layout = str(random.choice(["mapped", "compact"]))  # parts of a directory have one
        parts = [self.chosen(self.whole, random) for _ in range(2)]
        parts = [self.written(part, layout, random) for part in parts]
        out = self._path(str(random.choice(FORMS)))
        ds = merge([part.ds.path for part in parts], out)
        first, second = (part.rows for part in parts)
        return Composed(ds, first + [row for row in second if row not in first])

    def clear(self) -> None:
        """Remove what was written since."""
        shutil.rmtree(self._made, ignore_errors=True)

    def _path(self, name: str) -> Path:
        folder = self._made / str(next(self._numbers))
        folder.mkdir(parents=True)
        return folder / name
