"""Selected rows of a table, handed to NumPy, Arrow and other frameworks over the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.dataset.clips import as_tensors
from dof_arrow.dataset.numpy_values import as_named, as_numpy, has_own_form
from dof_arrow.errors import UsageError, require
from dof_arrow.format.columns import Places
from dof_arrow.format.spec.arrow import element_type, is_vector
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.names import categories, is_names
from dof_arrow.storage.addresses import Location
from dof_arrow.storage.memory_map import is_mapped
from dof_arrow.tables.gather import Gather
from dof_arrow.tables.selection import Selection, Table, files
from dof_arrow.tables.tensor_values import as_jax, check_tensor

_CPU = (1, 0)  # kDLCPU, and the number of the device


class SelectedRows:
    """Rows of a table: what they are, and how other libraries get them.

    It speaks the Arrow PyCapsule protocol, so `pyarrow.table(ds)`, `polars.DataFrame(ds)`,
    `duckdb.sql("from ds")` and `pandas.DataFrame.from_arrow(ds)` take it as it is, over the same
    memory.
    """

    def __init__(self, file: Table, rows: Places) -> None:
        self._file = file
        self._selection = Selection(file, rows)
        self._searched: dict[str, Any] = {}  # what a search over these rows keeps, by column

    def __len__(self) -> int:
        return len(self._selection)

    @property
    def metadata(self) -> Metadata:
        """What the file says about itself (SPEC section 4)."""
        return self._file.metadata

    @property
    def derived(self) -> bool:
        """Whether another tool rewrote the file, or it is damaged: its metadata may be stale."""
        return self._file.state != "sealed"

    @property
    def path(self) -> Location:
        """The file, or the directory of files."""
        return self._file.path

    @property
    def table(self) -> Table:
        """The table of these rows: a file, a directory, or the result of `join` or `concat`."""
        return self._file

    @property
    def size(self) -> int:
        """Bytes of the files that the rows lie in, however many of the rows are selected."""
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
        """The feature column that is used when none is named."""
        return self.metadata.primary_column

    @property
    def shape(self) -> tuple[int, int]:
        """The shape [n, D] of the primary vectors, as `to_numpy` and `np.asarray` give them."""
        return len(self), self.schema.field(self.primary).type.list_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the primary vectors' numbers, as they are stored."""
        return np.dtype(element_type(self.schema.field(self.primary)))

    def gather(self, name: str | None = None) -> Gather:
        """Where a loader gets the rows of a feature column from."""
        return self._selection.gather(self._vector(name))

    def row_shape(self, name: str | None = None) -> tuple[int, ...]:
        """The shape of one row of a feature column, by default the primary one."""
        return self._shape(self._vector(name))

    def batch_dtype(self, name: str | None = None) -> np.dtype[Any]:
        """The type in which a loader gives a feature column: float32, however it is stored."""
        return np.dtype(np.float32)

    def to_numpy(self, name: str | None = None) -> np.ndarray:
        """A column as an array; the primary vectors [n, D] if none is named.

        A category target is given as codes, places in the `classes` of its target: uint8, uint16
        for more than 256 classes, or int32 with -1 for a missing one where the column may have
        such. The names are in `to_arrow`, `to_pandas`, `to_polars` and `ds[i]`.

        In the mapped layout, and for a slice of rows, it is a read-only view of the file's memory:
        nothing is copied.

        The type follows from the column's, whatever its values are: dates are datetime64; integers
        and booleans of a column that may have missing values are a masked array.
        """
        name = self._known(name)
        field = self.schema.field(name)
        if not is_vector(field) and has_own_form(field):
            return as_numpy(self._selection.array(name), field)
        return self._numpy(name, writable=False)

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> np.ndarray[Any, Any]:
        """The primary vectors [n, D] for `np.asarray(ds)`: what `to_numpy` gives.

        Raises ValueError for `copy=False`, as numpy wants it, where the rows do not lie in mapped
        memory one after the other, or have another type.
        """
        values = self.to_numpy()
        if copy is False and not is_mapped(values):
            raise ValueError(
                f"{self.path}: rows that are gathered or decoded are a copy: leave copy=False out"
            )
        return np.array(values, dtype=dtype, copy=copy)

    def to_torch(self, name: str | None = None) -> Any:
        """A column as a torch tensor over the same memory (extra `torch`).

        Categories are codes of int64, as losses want them. Missing numbers are NaN. What is written
        into it stays in this process. Raises UsageError for texts, times, lists and what else is no
        number, and for missing values of which no float can tell.
        """
        torch = require("torch", extra="torch")
        return torch.from_numpy(self._exportable(self._known(name)))

    def to_jax(self, name: str | None = None) -> Any:
        """A column as a JAX array (extra `jax`), as `to_torch` gives it.

        It lies over the same memory if that starts at a multiple of 64 bytes. Raises UsageError as
        `to_torch`, and for whole numbers of 64 bits that JAX would cut: it has 32 bits unless
        `jax_enable_x64` is set.
        """
        name = self._known(name)
        return as_jax(self._exportable(name), name)

    def to_tf(self, name: str | None = None) -> Any:
        """A column as a TensorFlow tensor over the same memory, as `to_torch` gives it (needs
        tensorflow)."""
        tensorflow = require("tensorflow", extra="keras")
        values = self._exportable(self._known(name))
        return tensorflow.experimental.dlpack.from_dlpack(values.__dlpack__())

    def to_arrow(self, columns: Sequence[str] | None = None, *, tensors: bool = False) -> pa.Table:
        """The rows as an Arrow table; vectors and other mapped numbers lie over the file's memory.

        Categories and splits are dictionaries: their values are names.

        `tensors`: feature columns become `arrow.fixed_shape_tensor` of their shape, as Ray Data
        wants them.
        """
        names = self.columns
        if columns is not None:
            wanted = [columns] if isinstance(columns, str) else columns
            names = [self._known(name) for name in wanted]
        fields = [self.schema.field(name) for name in names]
        arrays = [self._selection.array(name) for name in names]
        schema = pa.schema(fields, self.schema.metadata)
        table = pa.Table.from_arrays(arrays, schema=schema)
        if not tensors:
            return table
        return as_tensors(table, {name: self._shape(name) for name in names})

    def to_pandas(self, **options: Any) -> Any:
        """The rows as a pandas DataFrame (needs pandas).

        A cell of a feature column is its vector, a read-only array over the same memory as
        `to_numpy`, in the form that `ds[i]` gives; `np.stack(frame["feature"])` makes one array of
        them. Names are pandas' categories, all else is Arrow-backed. `options` are those of
        `pyarrow.Table.to_pandas`.
        """
        pandas = require("pandas", extra="dev")
        vectors = [name for name in self.columns if is_vector(self.schema.field(name))]
        others = [name for name in self.columns if name not in vectors]

        def backed(kind: pa.DataType) -> Any:
            # pandas cannot read back what it writes of a dictionary of Arrow.
            return None if pa.types.is_dictionary(kind) else pandas.ArrowDtype(kind)

        frame = self.to_arrow(others).to_pandas(**{"types_mapper": backed, **options})
        for name in vectors:
            cells = pandas.Series(list(self._column(name)), frame.index, dtype=object)
            frame.insert(self.columns.index(name), name, cells)
        return frame

    def to_polars(self) -> Any:
        """The rows as a Polars DataFrame (needs polars)."""
        return require("polars", extra="dev").DataFrame(self)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        if requested_schema is None:
            return self._streamed(self.columns).__arrow_c_stream__()
        # It names the columns that are wanted, and their types, which Arrow casts to where it can.
        wanted = pa.Schema._import_from_c_capsule(requested_schema)
        return self._streamed(wanted.names).cast(wanted).__arrow_c_stream__()

    def _streamed(self, names: Sequence[str]) -> pa.Table:
        """Columns as a table for a stream.

        A stream is cut wherever a chunk of any column ends. So the small columns, which lie apart
        in each row group, are joined, and the vectors stay one chunk.
        """
        table = self.to_arrow(names)
        vectors = [field.name for field in table.schema if is_vector(field)]
        if any(table[name].num_chunks > 1 for name in vectors):
            return table
        for place, field in enumerate(table.schema):
            if table[place].num_chunks > 1:
                table = table.set_column(place, field, self._in_one(field))
        return table

    def _in_one(self, field: pa.Field) -> pa.Array:
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        if is_number and not field.nullable:
            return pa.array(self.to_numpy(field.name))  # which is joined once
        column = self.to_arrow([field.name]).column(0).combine_chunks()
        return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __dlpack__(self, **options: Any) -> object:
        """The primary vectors for any framework, such as `torch.from_dlpack(ds)`."""
        return self._exportable(self.primary).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU

    def _numpy(self, name: str, *, writable: bool) -> np.ndarray:
        return self._selection.values(name, writable=writable)

    def _column(self, name: str) -> np.ndarray:
        """A column of which each element is what the row has, names for categories and splits."""
        field = self.schema.field(self._known(name))
        if is_vector(field):
            return self.to_numpy(name).reshape(len(self), *self._shape(name))
        if is_names(field.type):
            return as_named(self._selection.array(name))
        return self.to_numpy(name)

    def _exportable(self, name: str) -> np.ndarray:
        """An array that DLPack takes: writable; what is written stays in this process."""
        field = self.schema.field(name)
        if not is_vector(field) and name not in categories(self.metadata):
            check_tensor(self._selection.array(name), name)
        values = self._numpy(name, writable=True)
        if name in categories(self.metadata) and values.dtype.kind in "iu":
            values = values.astype(np.int64, copy=False)
        if values.dtype.kind not in "biuf":
            raise UsageError("a column that is no tensor", name, "numbers", str(field.type))
        return values if values.flags.writeable else values.copy()

    def _shape(self, name: str) -> tuple[int, ...]:
        field = self.schema.field(name)
        if not is_vector(field):
            return ()
        width = field.type.list_size
        column = self.metadata.columns.get(name)
        if column and prod(column.shape) == width:
            return column.shape
        return (width,)  # a column that another tool added, or changed

    def _known(self, name: str | None) -> str:
        """The name of a column that exists: the primary one if none is named."""
        name = self.primary if name is None else name
        if name not in self.schema.names:
            raise UsageError("no such column", str(self.path), ", ".join(self.columns), name)
        return name

    def _vector(self, name: str | None) -> str:
        """The name of a feature column that exists."""
        name = self._known(name)
        if not is_vector(self.schema.field(name)):
            vectors = ", ".join(field.name for field in self.schema if is_vector(field))
            raise UsageError("not a feature column", str(self.path), vectors, name)
        return name
