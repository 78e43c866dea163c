"""A DoF file as a table that lies on disk: opened at once, mapped, sliced, handed to any framework.

Rows are selected by slices (views of the mapped memory, no copy) or by indices (gathered). Nothing
here writes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from dof_arrow.dataset import display
from dof_arrow.dataset.bags import Bags
from dof_arrow.dataset.classes import Classes
from dof_arrow.dataset.clips import Clip
from dof_arrow.dataset.row_choices import RowChoices
from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.format.spec.file_rules import failures
from dof_arrow.storage.addresses import Address, location
from dof_arrow.tables.clip_bounds import clip_bounds
from dof_arrow.tables.selection import Selection, Table, opened

if TYPE_CHECKING:
    from dof_arrow.dataset.nearest import Neighbours
    from dof_arrow.dataset.similarity import Metric
    from dof_arrow.loader.clip_loader import ClipLoader
    from dof_arrow.loader.loader import Loader
    from dof_arrow.loader.typed import ClipLoaderOptions, LoaderOptions
    from dof_arrow.tables.declared_targets import Declared

_AT_ONCE = 1000  # rows that are read together where all are passed through
_DERIVED = {
    "unsealed": "was rewritten by another tool: its metadata may be stale and its integrity "
    "cannot be checked",
    "broken": "does not agree with its seal: it was changed after it was written, or is damaged",
}


def open(path: str | os.PathLike[str] | Address, *, filesystem: Any = None) -> Dataset:
    """Open a DoF file, or a directory of them, at once and without reading its data.

    The path may be an address on a store: `s3://`, `gs://`, `az://`, `hf://`, `https://` (extra
    `remote`), or one in a `filesystem` of pyarrow or fsspec. Then bytes are fetched as they are
    asked for; see docs/remote.md.

    Raises UsageError if there is no such file, FormatError if it is not DoF. A file whose seal is
    missing or false opens too, with a DofWarning; `dof validate` says what is wrong with it.

    >>> open("no-such.parquet")
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: no-such.parquet: no such file
    """
    file = opened(location(path, filesystem))
    if file.state != "sealed":
        warnings.warn(f"{file.path} {_DERIVED[file.state]}", DofWarning, stacklevel=2)
    return _whole(file)


class Dataset(RowChoices):
    """Rows of a DoF file. Slices, splits, filters and takes are Datasets too.

    It speaks the Arrow PyCapsule protocol, so `pyarrow.table(ds)`, `polars.DataFrame(ds)`,
    `duckdb.sql("from ds")` and `pandas.DataFrame.from_arrow(ds)` take it as it is, over the same
    memory.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _dataset, (self._selection,)

    def __repr__(self) -> str:
        return display.line(self)

    def _repr_html_(self) -> str:
        return display.html(self)

    @cached_property
    def errors(self) -> list[dict[str, str]]:
        """Inputs that gave no row: `id`, `rule` and `reason` of each."""
        where = self.metadata.errors
        if where is None:
            return []
        return failures(self._file.attachment(where.offset, where.length), str(self.path))

    def document(self, name: str) -> bytes:
        """The bytes of an attached document."""
        for document in self.metadata.documents:
            if document.name == name:
                return self._file.attachment(document.offset, document.length)
        known = ", ".join(document.name for document in self.metadata.documents)
        raise UsageError("no such document", str(self.path), known or "none", name)

    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: str) -> np.ndarray: ...
    @overload
    def __getitem__(
        self, key: slice | Sequence[int] | Sequence[bool] | list[str] | np.ndarray
    ) -> Dataset: ...
    def __getitem__(self, key: Any) -> Any:
        """A row as a dict, a column by its name, some rows, or some columns by their names.

        `ds[name][i]` is `ds[i][name]`: names in a category and a split, None where one is missing,
        and vectors [n, *row_shape]. All other columns are what `to_numpy` gives.
        """
        if isinstance(key, (int, np.integer)):
            return self._row(int(key))
        if isinstance(key, str):
            return self._column(key)
        if isinstance(key, slice):
            return self._slice(key)
        return self.select(key)

    def __contains__(self, name: object) -> bool:
        """Whether there is a column of this name."""
        return name in self.schema.names

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._slice(slice(start, start + _AT_ONCE))._rows()

    def select(self, *what: Any) -> Dataset:
        """Some columns by their names, as in Polars, or some rows by number, as in HF datasets.

        Names are given one by one or as a list. What tells rows apart stays, and the primary
        vectors where no vectors are named. Numbers and masks are those of `take`. Raises
        UsageError for columns or rows that are not there.
        """
        wanted = what[0] if len(what) == 1 else what
        if isinstance(wanted, str):
            wanted = [wanted]
        if not _are_texts(wanted):
            return self.take(wanted)
        from dof_arrow.tables import amended

        return _whole(amended.only_columns(self._selection, wanted))

    def join(
        self,
        other: Any,
        *,
        on: str = "id",
        targets: Declared = (),
        suffix: str = "_right",
    ) -> Dataset:
        """This dataset's rows that `other` has too, in this order, with the columns of both.

        `other` is a dataset, or a plain table with a column of ids, called `on`: an Arrow table, a
        frame of pandas or Polars, or the path of a Parquet file. Rows meet by id, and by view and
        frame where both have them. A column of `other` whose name exists here gets the suffix.

        Splits and groups are those of this dataset; where it has none, those of `other`.

        `targets` says which columns of a table are to be learned, as in `with_columns`; a table
        that `to_arrow` gave says so itself. Where both hold the same rows in the same order no
        vector is copied. Raises UsageError if several rows of `other` have the same id, or if a
        row is in one split here and in another there.
        """
        from dof_arrow.tables import join as combine
        from dof_arrow.tables.joined_table import join_table

        if isinstance(other, Dataset):
            return _whole(combine.join(self._selection, other._selection, suffix))
        found = join_table(self._selection, other, on, targets, suffix)
        return _dataset(found.rows).with_columns(found.columns, targets=found.targets)

    def with_columns(
        self,
        columns: Any,
        *,
        targets: Declared = (),
    ) -> Dataset:
        """These rows with columns added, or replaced, from values one a row, in this order.

        `columns` are values by name, a data frame or an Arrow table; rows meet by their places.
        `targets` names those that are to be learned, where need be with what they are: `category`,
        `multilabel`, `regression`, or a `Target` with its classes and unit. Texts become classes in
        the order of the alphabet, or of their ordered Categorical; integers are places in the
        classes of a `Target`, where it has some. A target with new values stays what it is, if it
        is not named. A column `group` or `split` is taken for what its name says. Saved with
        `dof.save`, a whole file keeps its vectors' bytes. Raises UsageError for values that do not
        fit.
        """
        from dof_arrow.tables import amended, declared_targets

        read, known = declared_targets.read(self, columns, targets)
        return _whole(amended.with_columns(self._selection, read, known))

    def map(
        self,
        function: Callable[[Any], Mapping[str, Any]],
        *,
        batched: bool = False,
        batch_size: int = 1000,
        targets: Declared = (),
    ) -> Dataset:
        """These rows with columns that a function computes, added as `with_columns` adds them.

        The function gets each row as a dict, and gives a dict of values by name; what it gives back
        untouched of the row is left as it is. With `batched` it gets datasets of `batch_size` rows,
        of which it reads `batch["age"]`, say, and gives one value a row. Raises UsageError for what
        is no such dict, for values that do not fit, and for a dataset without rows.
        """
        from dof_arrow.dataset import computed

        if not len(self):
            raise UsageError("no rows to compute columns of", str(self.path), "one row or more")
        if batched:
            return self.with_columns(computed.by_batch(self, function, batch_size), targets=targets)
        return self.with_columns(computed.by_row(self, function), targets=targets)

    def value_counts(self, name: str) -> dict[Any, int]:
        """How many rows have each value of a column, the most frequent first.

        Classes are named, those without rows are 0; a row of several classes counts for each. Rows
        without a value are counted under None. Raises UsageError for vectors, and for values that
        cannot be counted, such as pairs.
        """
        from dof_arrow.tables.value_counts import value_counts

        if is_vector(self.schema.field(self._known(name))):
            raise UsageError("vectors are not counted", str(self.path), "another column", name)
        column = self.to_arrow([name]).column(0)
        target = self.metadata.targets.get(name)
        found = value_counts(column, target.classes if target and target.classes else None)
        if column.null_count:
            found[None] = column.null_count
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def classes(self, name: str) -> Classes:
        """The names of a target's classes, in the order of their codes, and the way between both.

        `ds.classes("label").names(codes)` and `.codes(names)` translate. Raises UsageError for a
        column that has no classes.
        """
        target = self.metadata.targets.get(self._known(name))
        if target is None or not target.classes:
            known = [name for name, each in self.metadata.targets.items() if each.classes]
            raise UsageError("no classes", str(self.path), ", ".join(known) or "none", name)
        return Classes(target.classes)

    def drop_columns(self, *names: str | Sequence[str]) -> Dataset:
        """These rows without some columns, named one by one or in a list; UsageError for those that
        a dataset needs."""
        from dof_arrow.tables import amended
        from dof_arrow.tables.named_columns import check_names

        wanted: list[str] = []
        check_names(names, list, tuple)
        for each in names:
            wanted += [each] if isinstance(each, str) else each
        return _whole(amended.without_columns(self._selection, wanted))

    def rename(self, names: Mapping[str, str]) -> Dataset:
        """These rows with columns called otherwise, as `{"old": "new"}`."""
        from dof_arrow.tables import amended

        return _whole(amended.renamed(self._selection, names))

    def sequences(self) -> Iterator[Clip]:
        """The clips of a video dataset, in order, each a slice of the file's memory.

        Raises UsageError if the rows of a clip do not stand together, as they do in the file.
        """
        starts, stops = clip_bounds(self, str(self.path))
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            yield Clip(self._slice(slice(start, stop)))

    def bags(self) -> Bags:
        """The bags of this dataset by name, in order, each a slice of the file's memory.

        Raises UsageError for a dataset without bags, or if the rows of a bag do not stand together,
        as they do in the file.
        """
        return Bags(self)

    def statistics(
        self, split: str | None = None, name: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, float64 [D] each, of a feature column.

        Over a split **of the whole file**, or over this dataset's own rows if none is named. Raises
        UsageError if there are no rows.
        """
        from dof_arrow.tables import join as combine

        rows = self if split is None else _whole(self._file).split(split)
        if not len(rows):
            raise UsageError(
                "statistics of no rows",
                str(self.path),
                "a split with rows",
                split or "an empty dataset",
            )
        return combine.statistics(rows.gather(name), len(rows), prod(self.row_shape(name)))

    def nearest(
        self, vectors: Any, k: int = 10, metric: Metric = "cosine", *, name: str | None = None
    ) -> Neighbours:
        """The `k` nearest rows of a vector [D], of vectors [q, D] or of each row of a dataset.

        Exact: every row of this dataset is compared, in float64 where it matters; of equally near
        ones the lower row comes first. `cosine` and `dot` are more for nearer rows, `l2` (the
        distance) less. A vector of zeros has cosine 1 with another such one and 0 with the rest.
        Memory is bounded, whatever the layout. Raises UsageError for vectors that are not finite,
        or of another core or width, and for a `k` beyond the number of rows; FormatError where rows
        are not finite.
        """
        from dof_arrow.dataset.nearest import nearest

        return nearest(self, vectors, k, metric, name)

    def loader(self, **options: Unpack[LoaderOptions]) -> Loader:
        """Batches for training: shuffled, balanced, resumable.

        The options are those of `dof_arrow.loader.options.Options`. Raises UsageError for options
        that are unknown or cannot be, and says what to do.
        """
        from dof_arrow.loader.loader import Loader
        from dof_arrow.loader.options import Options, from_keywords

        return Loader(self, from_keywords(Options, options, "loader"))

    def clip_loader(self, **options: Unpack[ClipLoaderOptions]) -> ClipLoader:
        """Padded batches of clips with their lengths.

        The options are those of `dof_arrow.loader.options.ClipOptions`. Raises UsageError for
        options that are unknown or cannot be.
        """
        from dof_arrow.loader.clip_loader import ClipLoader
        from dof_arrow.loader.options import ClipOptions, from_keywords

        return ClipLoader(self, from_keywords(ClipOptions, options, "clip_loader"))

    def to_torch_dataset(
        self,
        *,
        feature: str | None = None,
        target: str | None = None,
        columns: Sequence[str] = (),
        normalize: str | tuple[np.ndarray, np.ndarray] | None = None,
        clips: bool = False,
    ) -> Any:
        """A map-style torch `Dataset`: a dict for each row, or for each clip (extra `torch`).

        For torch's samplers and the trainers of others; `loader` is faster, balances and augments.
        See `dof_arrow.loader.torch_rows.torch_rows`.
        """
        from dof_arrow.loader.torch_rows import torch_rows

        make: Any = self.clip_loader if clips else self.loader
        loader = make(feature=feature, target=target, columns=columns, normalize=normalize)
        return torch_rows(loader)

    def _row(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        return next(self._slice(slice(index, index + 1))._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        names = self.columns
        columns = [self._values(name) for name in names]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))

    def _values(self, name: str) -> Iterable[Any]:
        values: Iterable[Any]
        if is_vector(self.schema.field(name)):
            return self._column(name)
        values = self._selection.array(name).to_pylist()
        return values


def _are_texts(wanted: Any) -> bool:
    """Whether columns are asked for, and not rows."""
    if not isinstance(wanted, list | tuple | set | dict) or not wanted:
        return False
    return all(isinstance(each, str) for each in wanted)


def concat(datasets: Sequence[Dataset], *, once: bool = False) -> Dataset:
    """Datasets of the same cores, one after the other, as one dataset; no vector is copied yet.

    Columns are united by name: numbers are widened, classes united by name, and what a dataset
    lacks is missing in its rows. `once` takes an input that is in several of them once, with what
    each says of it; without it rows are kept as they are given, repeated ones too.

    Raises UsageError that names all that cannot be united: other cores, columns of other types;
    with `once` also one id with different features, and a group that is in two splits.
    """
    return union(datasets, once=once)[0]


def union(datasets: Sequence[Dataset], *, once: bool) -> tuple[Dataset, list[str]]:
    """As `concat`, with sentences on what is missing, what is new, what was taken once."""
    from dof_arrow.tables import join as combine

    if isinstance(datasets, Dataset) or not all(isinstance(each, Dataset) for each in datasets):
        found = type(datasets).__name__
        raise UsageError("no datasets to put together", "concat", "a list of datasets", found)
    table, notes = combine.chain([dataset._selection for dataset in datasets], once)
    return _whole(table), notes


def _whole(table: Table) -> Dataset:
    return Dataset(table, slice(0, table.rows))


def _dataset(selection: Selection) -> Dataset:
    return Dataset(selection.table, selection.places)
