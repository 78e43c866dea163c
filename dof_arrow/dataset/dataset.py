"""A DoF file as a table that happens to be on disk: opened at once, mapped, sliced, handed to any framework.

Rows are chosen by slices (views of the mapped memory, no copy) or by indices (gathered). Nothing here writes.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa

from dof_arrow.dataset.clips import Clip, as_tensors
from dof_arrow.errors import DofWarning, FormatError, UsageError, require
from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.tables.clip_bounds import clip_bounds
from dof_arrow.tables.gather import Gather
from dof_arrow.tables.selection import Places, Selection, Table, files, opened

if TYPE_CHECKING:
    from dof_arrow.loader.clip_loader import ClipLoader
    from dof_arrow.loader.loader import Loader

_DERIVED = {
    "unsealed": "was rewritten by another tool: its metadata may be stale and its integrity cannot be checked",
    "broken": "does not agree with its seal: it was changed after it was written, or is damaged",
}


def open(path: str | os.PathLike[str]) -> Dataset:  # dof.open is the promised name
    """Open a DoF file, or a directory of them, at once and without reading its data.

    Raises UsageError if there is no such file, FormatError if it is not DoF. A file whose seal is missing or false
    opens too, with a DofWarning; `dof validate` says what is wrong with it.

    >>> open("no-such.parquet")
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: no-such.parquet: no such file
    """
    file = opened(Path(path))
    if file.state != "sealed":
        warnings.warn(f"{path} {_DERIVED[file.state]}", DofWarning, stacklevel=2)
    return Dataset(file, slice(0, file.rows))


class Dataset:
    """Rows of a DoF file. Slices, splits, filters and takes are Datasets too.

    It speaks the Arrow PyCapsule protocol, so `pyarrow.table(ds)`, `polars.DataFrame(ds)`, `duckdb.sql("from ds")`
    and `pandas.DataFrame.from_arrow(ds)` take it as it is, over the same memory.
    """

    def __init__(self, file: Table, rows: Places) -> None:
        self._file, self._rows = file, rows

    def __reduce__(self) -> tuple[Any, ...]:
        return _dataset, (self._chosen,)

    @property
    def metadata(self) -> Metadata:
        """What the file says about itself (SPEC section 4)."""
        return self._file.metadata

    @property
    def derived(self) -> bool:
        """Whether the file is a copy rewritten by other tools, or damaged: its metadata may be stale."""
        return self._file.state != "sealed"

    @property
    def path(self) -> Path:
        """The file, or the directory of files."""
        return self._file.path

    @property
    def table(self) -> Table:
        """What the rows are rows of: a file, a directory, or what `join` and `concat` made of several."""
        return self._file

    @property
    def size(self) -> int:
        """Bytes of the files that it lies in, whatever rows of them are chosen."""
        return sum(file.size for file in files(self._file))

    @property
    def seal(self) -> str | None:
        """The 64 digits that cover every byte, if the file has them (SPEC section 7)."""
        return self._file.seal

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, metadata included."""
        return self._file.schema

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.schema.names)

    @property
    def primary(self) -> str:
        """The feature column that is meant when none is named."""
        return self.metadata.primary_column

    @cached_property
    def errors(self) -> list[dict[str, str]]:
        """Inputs that gave no row: `id`, `rule` and `reason` each."""
        where = self.metadata.errors
        if where is None:
            return []
        try:
            return [
                json.loads(line)
                for line in self._file.attachment(where.offset, where.length).splitlines()
            ]
        except ValueError:
            raise FormatError(
                "the errors table cannot be read", str(self.path), hint="dof validate --deep"
            ) from None

    def document(self, name: str) -> bytes:
        """The bytes of an attached document."""
        for document in self.metadata.documents:
            if document.name == name:
                return self._file.attachment(document.offset, document.length)
        known = ", ".join(d.name for d in self.metadata.documents) or "none"
        raise UsageError("no such document", str(self.path), known, name)

    def __len__(self) -> int:
        if isinstance(self._rows, slice):
            return len(range(self._rows.start, self._rows.stop))
        return len(self._rows)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self._shape(self._known(None))))
        return f"<Dataset {self.path.name}: {len(self):,} rows, {self.primary} [{shape}], {', '.join(self.columns)}>"

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
        return (self._row(i) for i in range(len(self)))

    def take(self, indices: Sequence[int] | Sequence[bool] | np.ndarray) -> Dataset:
        """The rows at these places, in this order; a mask of booleans takes where it is true."""
        chosen = np.asarray(indices)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise UsageError(
                    "a mask of another length",
                    str(self.path),
                    f"{len(self)} rows",
                    str(len(chosen)),
                )
            chosen = np.flatnonzero(chosen)
        return Dataset(self._file, self._places()[self._checked(chosen)])

    def split(self, name: str) -> Dataset:
        """The rows of one split: `train`, `valid`, `test` or the owner's own.

        Raises UsageError if the dataset has no splits or not this one.
        """
        column = self.metadata.record.split
        known = ", ".join(self.metadata.splits) or "none"
        if column is None or name not in self.metadata.splits:
            raise UsageError("no such split", str(self.path), known, name)
        return self._where(np.asarray(self.to_numpy(column) == name))

    def filter(self, condition: Any) -> Dataset:
        """The rows where a pyarrow expression over the columns that are no vectors is true, `pc.field("age") > 60`.

        Row groups whose statistics exclude the condition are not looked at, nor columns that it does not name.
        """
        flat = [f.name for f in self.schema if not is_vector(f)]
        named = [name for name in flat if name in str(condition)] or flat
        try:
            found = [
                self._matching(condition, named, run) for run in self._chosen.may_match(condition)
            ]
        except (pa.ArrowException, TypeError) as error:
            raise UsageError(
                "this condition cannot be evaluated",
                str(self.path),
                f"an expression over {', '.join(flat)}",
                str(error).splitlines()[0][:200],
            ) from None
        return self.take(np.concatenate([np.empty(0, np.int64), *found]))

    def folds(
        self,
        k: int = 5,
        *,
        group: str | None = None,
        stratify: str | None = None,
        seed: int = 0,
    ) -> list[tuple[Dataset, Dataset]]:
        """`k` pairs (training, validation): each row validates once, and rows of a group are never on both sides.

        `group` is by default what the metadata names, else the record: its views and frames stay together. `stratify`
        gives every fold its share of each class. Raises UsageError where groups are fewer than folds.
        """
        from dof_arrow.tables import join as combine

        fold = combine.folds(
            self, k, group or self.metadata.record.group or self.metadata.record.id, stratify, seed
        )
        return [(self._where(fold != i), self._where(fold == i)) for i in range(k)]

    def join(self, other: Dataset, *, suffix: str = "_right") -> Dataset:
        """This dataset's rows that `other` has too, in this order, with the columns of both beside each other.

        Rows meet by `id`, and by `view` and `frame` where both have them. Columns whose names both have get the suffix
        on the right. Where both hold the same rows in the same order nothing is copied. Raises UsageError if a row of
        `other` is not the only one of its id.
        """
        from dof_arrow.tables import join as combine

        return _whole(combine.join(self._chosen, other._chosen, suffix))

    def sequences(self) -> Iterator[Clip]:
        """The clips of a video dataset, in order, each a slice of the file's memory.

        Raises UsageError if the rows of a clip do not stand together, as they do in the file.
        """
        starts, stops = clip_bounds(self, str(self.path))
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            yield Clip(self._slice(slice(start, stop)))

    def gather(self, name: str | None = None) -> Gather:
        """Where a loader gets the rows of a feature column from."""
        return self._chosen.gather(self._vector(name))

    def shape(self, name: str | None = None) -> tuple[int, ...]:
        """The shape of one row of a feature column."""
        return self._shape(self._vector(name))

    def dtype(self, name: str | None = None) -> np.dtype[Any]:
        """The type in which a loader gives a feature column: float32, whatever it is stored as."""
        return np.dtype(np.float32)

    def statistics(
        self, split: str | None = None, name: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, float64 [D] each, of a feature column over a split **of the whole file**, or
        over this dataset's own rows if none is named."""
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

    def loader(self, **options: Any) -> Loader:
        """Batches for training, shuffled, balanced, resumable: see `dof_arrow.loader.options.Options` for what can be asked.

        Raises UsageError for options that cannot be, and says what to do.
        """
        from dof_arrow.loader.loader import Loader
        from dof_arrow.loader.options import Options

        return Loader(self, Options(**options))

    def clip_loader(self, **options: Any) -> ClipLoader:
        """Padded batches of clips with their lengths: see `dof_arrow.loader.clip_loader.ClipOptions` for what can be asked.

        Raises UsageError for options that cannot be.
        """
        from dof_arrow.loader.clip_loader import ClipLoader, ClipOptions

        return ClipLoader(self, ClipOptions(**options))

    def to_numpy(self, name: str | None = None) -> np.ndarray:
        """A column as an array, the primary vectors [n, D] if none is named.

        In the mapped layout and for a slice of rows it is a read-only view of the file's memory: nothing is copied.
        """
        return self._numpy(self._known(name), writable=False)

    def to_torch(self, name: str | None = None) -> Any:
        """A column as a torch tensor over the same memory; writes into it stay in this process (extra `torch`)."""
        torch = require("torch", extra="torch")
        values = self._numpy(self._known(name), writable=True)
        return torch.from_numpy(values if values.flags.writeable else values.copy())

    def to_jax(self, name: str | None = None) -> Any:
        """A column as a JAX array, over the same memory if that starts at a multiple of 64 bytes (extra `jax`)."""
        return require("jax", extra="jax").numpy.from_dlpack(self._exportable(self._known(name)))

    def to_tf(self, name: str | None = None) -> Any:
        """A column as a TensorFlow tensor over the same memory (needs tensorflow)."""
        tensorflow = require("tensorflow", extra="keras")
        return tensorflow.experimental.dlpack.from_dlpack(
            self._exportable(self._known(name)).__dlpack__()
        )

    def to_arrow(self, columns: Sequence[str] | None = None, *, tensors: bool = False) -> pa.Table:
        """The rows as an Arrow table, vectors and other mapped columns over the file's memory.

        `tensors`: feature columns as `arrow.fixed_shape_tensor` of their shape, as Ray Data wants them.
        """
        names = [self._known(c) for c in columns] if columns is not None else self.columns
        schema = pa.schema([self.schema.field(n) for n in names], self.schema.metadata)
        table = pa.Table.from_arrays([self._chosen.array(n) for n in names], schema=schema)
        return as_tensors(table, {n: self._shape(n) for n in names}) if tensors else table

    def to_pandas(self, **options: Any) -> Any:
        """The rows as a pandas DataFrame of Arrow-backed columns (needs pandas)."""
        pandas = require("pandas", extra="dev")
        return self.to_arrow().to_pandas(types_mapper=pandas.ArrowDtype, **options)

    def to_polars(self) -> Any:
        """The rows as a Polars DataFrame (needs polars)."""
        return require("polars", extra="dev").DataFrame(self)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        if requested_schema is None:
            return self.to_arrow().__arrow_c_stream__()
        wanted = pa.Schema._import_from_c_capsule(
            requested_schema
        )  # chooses columns, and their types where Arrow can
        return self.to_arrow(wanted.names).cast(wanted).__arrow_c_stream__()

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __dlpack__(self, **options: Any) -> object:
        """The primary vectors for any framework: `torch.from_dlpack(ds)`, `numpy.from_dlpack(ds)`."""
        return self._exportable(self.primary).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # kDLCPU

    @property
    def _chosen(self) -> Selection:
        return Selection(self._file, self._rows)

    def _row(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        one = (
            self._slice(slice(index, index + 1 or None))
            if index < 0
            else self._slice(slice(index, index + 1))
        )
        return {name: one._value(name) for name in self.columns}

    def _value(self, name: str) -> Any:
        if is_vector(self.schema.field(name)):
            return self._numpy(name, writable=False).reshape(self._shape(name))
        return self._chosen.array(name)[0].as_py()

    def _slice(self, key: slice) -> Dataset:
        start, stop, step = key.indices(len(self))
        if step == 1:
            return _dataset(self._chosen.at(slice(start, max(start, stop))))
        return Dataset(self._file, self._places()[key])

    def _places(self) -> np.ndarray:
        return (
            np.arange(self._rows.start, self._rows.stop)
            if isinstance(self._rows, slice)
            else self._rows
        )

    def _where(self, mask: np.ndarray) -> Dataset:
        chosen = np.flatnonzero(mask)
        if len(chosen) and chosen[-1] - chosen[0] + 1 == len(chosen):
            return self._slice(slice(int(chosen[0]), int(chosen[-1]) + 1))
        return self.take(chosen)

    def _checked(self, chosen: np.ndarray) -> np.ndarray:
        if chosen.size == 0:
            return chosen.astype(np.int64)
        if chosen.dtype.kind not in "iu" or chosen.ndim != 1:
            raise UsageError(
                "rows are taken by whole numbers or booleans",
                str(self.path),
                "integers [k]",
                f"{chosen.dtype} of {chosen.ndim} axes",
            )
        if chosen.min() < -len(self) or chosen.max() >= len(self):
            raise UsageError(
                "a row that is not there",
                str(self.path),
                f"0 to {len(self) - 1}",
                f"{chosen.min()} to {chosen.max()}",
            )
        return chosen.astype(np.int64)

    def _shape(self, name: str) -> tuple[int, ...]:
        if not is_vector(self.schema.field(name)):
            return ()
        width, column = self.schema.field(name).type.list_size, self.metadata.columns.get(name)
        return (
            column.shape if column and prod(column.shape) == width else (width,)
        )  # another tool may have added it

    def _known(self, name: str | None) -> str:
        name = self.primary if name is None else name
        if name not in self.schema.names:
            raise UsageError("no such column", str(self.path), ", ".join(self.columns), name)
        return name

    def _vector(self, name: str | None) -> str:
        name = self._known(name)
        if not is_vector(self.schema.field(name)):
            vectors = ", ".join(f.name for f in self.schema if is_vector(f))
            raise UsageError("not a feature column", str(self.path), vectors, name)
        return name

    def _numpy(self, name: str, *, writable: bool) -> np.ndarray:
        return self._chosen.values(name, writable=writable)

    def _exportable(self, name: str) -> np.ndarray:
        """An array that DLPack takes: writable; what is written stays in this process."""
        values = self._numpy(name, writable=True)
        return values if values.flags.writeable else values.copy()

    def _matching(self, condition: Any, columns: Sequence[str], run: slice) -> np.ndarray:
        table = self._slice(run).to_arrow(columns)
        table = table.append_column("dof_row", pa.array(np.arange(run.start, run.stop)))
        return np.asarray(table.filter(condition).column("dof_row").to_numpy())


def concat(datasets: Sequence[Dataset]) -> Dataset:
    """Datasets of the same columns, one after the other, as one; nothing is copied before it is asked for.

    Raises UsageError where columns, their types, or the classes of targets differ.
    """
    from dof_arrow.tables import join as combine

    return _whole(combine.chain([dataset._chosen for dataset in datasets]))


def _whole(table: Table) -> Dataset:
    return Dataset(table, slice(0, table.rows))


def _dataset(chosen: Selection) -> Dataset:
    return Dataset(chosen.table, chosen.places)


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
