"""A DoF file as a table that lies on disk: opened at once, mapped, sliced, handed to any framework.

Rows are selected by slices (views of the mapped memory, no copy) or by indices (gathered). Nothing
here writes.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
import pyarrow as pa

from dof_arrow.dataset.clips import Clip
from dof_arrow.dataset.named_rows import rows_named
from dof_arrow.dataset.selected_rows import SelectedRows
from dof_arrow.errors import DofWarning, FormatError, UsageError
from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.format.spec.names import categories, is_names
from dof_arrow.format.spec.split_names import standard_or_own
from dof_arrow.storage.addresses import Address, location
from dof_arrow.tables.clip_bounds import clip_bounds
from dof_arrow.tables.selection import Selection, Table, opened
from dof_arrow.tables.targets import by_name

if TYPE_CHECKING:
    from dof_arrow.format.spec.metadata import Target
    from dof_arrow.loader.clip_loader import ClipLoader
    from dof_arrow.loader.loader import Loader
    from dof_arrow.loader.typed import ClipLoaderOptions, LoaderOptions

_DERIVED = {
    "unsealed": "was rewritten by another tool: its metadata may be stale and its integrity "
    "cannot be checked",
    "broken": "does not agree with its seal: it was changed after it was written, or is damaged",
}
_ROW = "dof_row"  # a column that `filter` adds for itself: the number of each row


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


class Dataset(SelectedRows):
    """Rows of a DoF file. Slices, splits, filters and takes are Datasets too.

    It speaks the Arrow PyCapsule protocol, so `pyarrow.table(ds)`, `polars.DataFrame(ds)`,
    `duckdb.sql("from ds")` and `pandas.DataFrame.from_arrow(ds)` take it as it is, over the same
    memory.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _dataset, (self._selection,)

    def __repr__(self) -> str:
        shape = " x ".join(str(size) for size in self._shape(self._known(None)))
        columns = ", ".join(self.columns)
        rows = f"{len(self):,} rows"
        return f"<Dataset {self.path.name}: {rows}, {self.primary} [{shape}], {columns}>"

    @cached_property
    def errors(self) -> list[dict[str, str]]:
        """Inputs that gave no row: `id`, `rule` and `reason` of each."""
        where = self.metadata.errors
        if where is None:
            return []
        try:
            lines = self._file.attachment(where.offset, where.length).splitlines()
            return [json.loads(line) for line in lines]
        except ValueError:
            raise FormatError(
                "the errors table cannot be read", str(self.path), hint="dof validate --deep"
            ) from None

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
    def __getitem__(self, key: slice | Sequence[int] | Sequence[bool] | np.ndarray) -> Dataset: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            return self._row(int(key))
        if isinstance(key, slice):
            return self._slice(key)
        return self.take(key)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self._row(index) for index in range(len(self)))

    def take(self, indices: Sequence[int] | Sequence[bool] | np.ndarray) -> Dataset:
        """The rows at these places, in this order; a mask of booleans takes rows where it is true.

        Raises UsageError for a place that does not exist, or a mask of another length.
        """
        places = np.asarray(indices)
        if places.dtype == bool:
            places = self._masked(places)
        return Dataset(self._file, self._places()[self._checked(places)])

    def by_names(
        self, names: Sequence[str], *, id_key: str | os.PathLike[str] | bytes | None = None
    ) -> Dataset:
        """All rows of some inputs by their own names, in the order of the names.

        Only the owner can ask: names lead to rows by the key for pseudonyms, `id_key` or the user's
        own. Raises UsageError without that key, and for names that no row bears.
        """
        return self.take(rows_named(self, names, id_key))

    def split(self, name: str) -> Dataset:
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

    def filter(self, condition: Any) -> Dataset:
        """The rows where a pyarrow expression is true, such as `pc.field("age") > 60`.

        It may name any column but vectors. A category is compared by name, as in
        `pc.field("label") == "covid"`, or by code where the file has integers. Row groups whose
        statistics exclude the condition are not read, nor are columns that it does not name. Raises
        UsageError if it cannot be evaluated.
        """
        flat = [field.name for field in self.schema if not is_vector(field)]
        named = [name for name in flat if name in str(condition)] or flat
        found = [np.empty(0, np.int64)]
        try:
            for run in self._selection.may_match(condition):
                found.append(self._matching(condition, named, run))
        except (pa.ArrowException, TypeError) as error:
            raise UsageError(
                "this condition cannot be evaluated",
                str(self.path),
                f"an expression over {', '.join(flat)}",
                str(error).splitlines()[0][:200],
                self._hint(named),
            ) from None
        return self.take(np.concatenate(found))

    def folds(
        self,
        k: int = 5,
        *,
        group: str | None = None,
        stratify: str | None = None,
        seed: int = 0,
    ) -> list[tuple[Dataset, Dataset]]:
        """`k` pairs (training, validation) in which each row validates once.

        Rows of a group are never on both sides. `group` is by default what the metadata names, else
        the record: its views and frames stay together. `stratify` gives every fold its share of
        each class. Raises UsageError where there are fewer groups than folds.
        """
        from dof_arrow.tables import join as combine

        record = self.metadata.record
        fold = combine.folds(self, k, group or record.group or record.id, stratify, seed)
        pairs = []
        for number in range(k):
            validates = fold == number
            pairs.append((self._where(~validates), self._where(validates)))
        return pairs

    def join(self, other: Dataset, *, suffix: str = "_right") -> Dataset:
        """This dataset's rows that `other` has too, in this order, with the columns of both.

        Rows meet by `id`, and by `view` and `frame` where both have them. A column of `other` whose
        name exists here gets the suffix. Where both hold the same rows in the same order nothing is
        copied. Raises UsageError if several rows of `other` have the same id.
        """
        from dof_arrow.tables import join as combine

        return _whole(combine.join(self._selection, other._selection, suffix))

    def with_columns(
        self,
        columns: Mapping[str, Any],
        *,
        targets: str | Sequence[str] | Mapping[str, Target | str] = (),
    ) -> Dataset:
        """These rows with columns added, or replaced, from values one a row, in this order.

        `targets` names those that are to be learned, where need be with what they are: `category`,
        `multilabel`, `regression`, or a `Target` with its classes and unit. Texts become classes in
        the order of the alphabet; integers are places in the classes of a `Target`, where it has
        some. A target with new values stays what it is, if it is not named. A column `group` or
        `split` is taken for what its name says. Saved with `dof.save`, a whole file keeps its
        vectors' bytes. Raises UsageError for values that do not fit.
        """
        from dof_arrow.tables import amended, declared_targets

        read, known = declared_targets.read(self, columns, targets)
        return _whole(amended.with_columns(self._selection, read, known))

    def drop_columns(self, *names: str) -> Dataset:
        """These rows without some columns; UsageError for those that a dataset needs."""
        from dof_arrow.tables import amended

        return _whole(amended.without_columns(self._selection, names))

    def rename(self, names: Mapping[str, str]) -> Dataset:
        """These rows with columns called otherwise, as `{"old": "new"}`."""
        from dof_arrow.tables import amended

        return _whole(amended.renamed(self._selection, names))

    def labelled(self, target: str) -> Dataset:
        """The rows that have a value in a column, such as a target; UsageError if there is none."""
        column = self.to_arrow([self._known(target)]).column(0)
        return self._where(column.is_valid().to_numpy())

    def sequences(self) -> Iterator[Clip]:
        """The clips of a video dataset, in order, each a slice of the file's memory.

        Raises UsageError if the rows of a clip do not stand together, as they do in the file.
        """
        starts, stops = clip_bounds(self, str(self.path))
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            yield Clip(self._slice(slice(start, stop)))

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
        return combine.statistics(rows.gather(name), len(rows), prod(self.shape(name)))

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
        one = self._slice(slice(index, index + 1))
        return {name: one._value(name) for name in self.columns}

    def _value(self, name: str) -> Any:
        if is_vector(self.schema.field(name)):
            return self._numpy(name, writable=False).reshape(self._shape(name))
        return self._selection.array(name)[0].as_py()

    def _slice(self, key: slice) -> Dataset:
        start, stop, step = key.indices(len(self))
        if step == 1:
            return _dataset(self._selection.at(slice(start, max(start, stop))))
        return Dataset(self._file, self._places()[key])

    def _places(self) -> np.ndarray:
        places = self._selection.places
        if isinstance(places, slice):
            return np.arange(places.start, places.stop)
        return places

    def _where(self, mask: np.ndarray) -> Dataset:
        """The rows where a mask is true, as a slice where they stand together."""
        places = np.flatnonzero(mask)
        if len(places) and places[-1] - places[0] + 1 == len(places):
            return self._slice(slice(int(places[0]), int(places[-1]) + 1))
        return self.take(places)

    def _masked(self, mask: np.ndarray) -> np.ndarray:
        if mask.shape != (len(self),):
            raise UsageError(
                "a mask of another length", str(self.path), f"{len(self)} rows", str(mask.size)
            )
        return np.flatnonzero(mask)

    def _checked(self, places: np.ndarray) -> np.ndarray:
        if places.size == 0:
            return places.astype(np.int64)
        if places.dtype.kind not in "iu" or places.ndim != 1:
            raise UsageError(
                "rows are taken by whole numbers or booleans",
                str(self.path),
                "integers [k]",
                f"{places.dtype} of {places.ndim} axes",
            )
        if places.min() < -len(self) or places.max() >= len(self):
            raise UsageError(
                "a row that is not there",
                str(self.path),
                f"0 to {len(self) - 1}",
                f"{places.min()} to {places.max()}",
            )
        return places.astype(np.int64)

    def _hint(self, columns: Sequence[str]) -> str:
        """How conditions on categories are written, where some of these columns are such."""
        for name, classes in categories(self.metadata).items():
            if name in columns and classes and is_names(self.schema.field(name).type):
                return f"Categories have names: pc.field({name!r}) == {classes[0]!r}"
        return ""

    def _matching(self, condition: Any, columns: Sequence[str], run: slice) -> np.ndarray:
        """Places of the rows of a run where the condition is true."""
        table = by_name(self._slice(run).to_arrow(columns))
        numbers = pa.array(np.arange(run.start, run.stop))
        table = table.append_column(_ROW, numbers).filter(condition)
        return np.asarray(table.column(_ROW).to_numpy())


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

    table, notes = combine.chain([dataset._selection for dataset in datasets], once)
    return _whole(table), notes


def _whole(table: Table) -> Dataset:
    return Dataset(table, slice(0, table.rows))


def _dataset(selection: Selection) -> Dataset:
    return Dataset(selection.table, selection.places)


def describe(dataset: Dataset) -> Mapping[str, Any]:
    """What `dof info` shows of a dataset, as JSON values."""
    from dof_arrow.format.spec.json_model import to_json

    return {
        "path": str(dataset.path),
        "rows": len(dataset),
        "derived": dataset.derived,
        "bytes": dataset.size,
        "metadata": to_json(dataset.metadata),
    }
