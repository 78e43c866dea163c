"""Rows chosen from rows: by number, split, condition, order, chance, or dealt to sides."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa

from dof_arrow.dataset import places
from dof_arrow.dataset.named_rows import rows_named
from dof_arrow.dataset.selected_rows import SelectedRows
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.split_names import standard_or_own


class RowChoices(SelectedRows):
    """Rows of a table from which others are chosen: slices are views, all else is gathered."""

    def take(self, indices: Sequence[int] | Sequence[bool] | np.ndarray) -> Self:
        """The rows at these places, in this order; a mask of booleans takes rows where it is true.

        Raises UsageError for a place that does not exist, or a mask of another length.
        """
        found = places.taken(indices, len(self), str(self.path))
        return type(self)(self._file, self._places()[found])

    def by_names(
        self, names: Sequence[str], *, id_key: str | os.PathLike[str] | bytes | None = None
    ) -> Self:
        """All rows of some inputs by their own names, in the order of the names.

        Only the owner can ask: names lead to rows by the key for pseudonyms, `id_key` or the user's
        own. Raises UsageError without that key, and for names that no row bears.
        """
        return self.take(rows_named(self, names, id_key))

    def split(self, name: str) -> Self:
        """The rows of one split: `train`, `valid`, `test` or a name of the owner's own.

        All spellings of one of the three are one split. Raises UsageError if the dataset has no
        splits or not this one.
        """
        column = self.metadata.record.split
        known = list(self.metadata.splits)
        spellings = [each for each in known if standard_or_own(each) == standard_or_own(name)]
        if column is None or not spellings:
            raise UsageError("no such split", str(self.path), ", ".join(known) or "none", name)
        import pyarrow.compute as pc

        names = self.to_arrow([column]).column(0).cast(pa.string())
        return self._where(pc.is_in(names, value_set=pa.array(spellings)).to_numpy())

    def filter(self, condition: Any) -> Self:
        """The rows where a pyarrow expression is true, such as `pc.field("age") > 60`.

        It may name any column but vectors. A category is compared by name, as in
        `pc.field("label") == "covid"`, or by code where the file has integers. Row groups whose
        statistics exclude the condition are not read, nor are columns that it does not name. Raises
        UsageError if it cannot be evaluated.
        """
        return self.take(places.matching(self, self._runs, condition))

    def labelled(self, target: str) -> Self:
        """The rows that have a value in a column, such as a target; UsageError if there is none."""
        column = self.to_arrow([self._known(target)]).column(0)
        return self._where(column.is_valid().to_numpy())

    def sort(self, by: str | Sequence[str], *, descending: bool = False) -> Self:
        """The rows in the order of a column, or of several; equal ones stay in their order.

        Classes are sorted as the target lists them, splits as train, valid, test. Rows without a
        value come last. Raises UsageError for columns that have no order.
        """
        names = [self._known(name) for name in ([by] if isinstance(by, str) else by or [])]
        return self.take(places.in_order(self, names, descending=descending))

    def sample(self, n: int, *, seed: int = 0) -> Self:
        """`n` different rows in the order in which the seed draws them; all of them are shuffled.

        Equal seeds give equal rows. Raises UsageError for more rows than there are.
        """
        return self.take(places.drawn(n, len(self), seed, str(self.path)))

    def folds(
        self,
        k: int = 5,
        *,
        group: str | None = None,
        stratify: str | None = None,
        seed: int = 0,
    ) -> list[tuple[Self, Self]]:
        """`k` pairs (training, validation) in which each row validates once.

        Rows of a group are never on both sides. `group` is by default what the metadata names, else
        the record: its views and frames stay together. `stratify` gives every fold its share of
        each class. Raises UsageError where there are fewer groups than folds.
        """
        from dof_arrow.tables import dealt

        fold = dealt.folds(self, k, group, stratify, seed)
        pairs = []
        for number in range(k):
            validates = fold == number
            pairs.append((self._where(~validates), self._where(validates)))
        return pairs

    def train_test_split(
        self,
        test_size: float = 0.25,
        *,
        group: str | None = None,
        stratify: str | None = None,
        seed: int = 0,
    ) -> tuple[Self, Self]:
        """These rows as two datasets (train, test); rows of a group are never on both sides.

        `test_size` is the share of the rows for testing, or how many; both sides miss their share
        by less than the largest group. `group` is by default what the metadata names, else the
        record: its views and frames stay together. `stratify` gives both sides their share of each
        class. Which side a group is on does not depend on the order of the rows. Raises UsageError
        for a size that cannot be, and where a side would be empty.
        """
        from dof_arrow.tables import dealt

        share = dealt.share(test_size, len(self))
        tests = dealt.second_side(self, share, group, stratify, seed)
        return self._where(~tests), self._where(tests)

    def _runs(self, condition: Any, columns: Sequence[str]) -> Iterator[tuple[int, Self]]:
        """Runs of rows in which a condition over columns may be true, each with its first place."""
        for run in self._selection.may_match(condition, columns):
            yield run.start, self._slice(run)

    def _slice(self, key: slice) -> Self:
        start, stop, step = key.indices(len(self))
        if step == 1:
            at = self._selection.at(slice(start, max(start, stop)))
            return type(self)(at.table, at.places)
        return type(self)(self._file, self._places()[key])

    def _places(self) -> np.ndarray:
        own = self._selection.places
        if isinstance(own, slice):
            return np.arange(own.start, own.stop)
        return own

    def _where(self, mask: np.ndarray) -> Self:
        """The rows where a mask is true, as a slice where they stand together."""
        found = np.flatnonzero(mask)
        if len(found) and found[-1] - found[0] + 1 == len(found):
            return self._slice(slice(int(found[0]), int(found[-1]) + 1))
        return self.take(found)
