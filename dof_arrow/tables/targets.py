"""Columns as a loader gives them: targets by the kind that is declared, others as stored.

A category is stored as names, or as codes in files of other makers; here it is codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec.arrow import holds_texts, numpy_values
from dof_arrow.format.spec.metadata import Metadata, Target
from dof_arrow.format.spec.names import UnknownName, code_array, holds_names
from dof_arrow.sampling.permutation import Rows
from dof_arrow.tables.tensor_values import exact

Array = NDArray[Any]
Learned = Literal["category", "multilabel", "regression"]

# Up to so many labels are checked at once, which takes a millisecond; more of them as they come.
_CHECKED = 1 << 18
_EXACT_FLOAT32 = 2**24  # whole numbers up to it are exact as float32


class Tabular(Protocol):
    """What is needed of a dataset here."""

    @property
    def metadata(self) -> Metadata: ...

    @property
    def columns(self) -> list[str]: ...

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table: ...


class Values(Protocol):
    """The values of a column, by row."""

    def take(self, rows: Rows) -> Array:
        """The values of these rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """A category: class indexes int64 [k]."""

    name: str
    codes: Array
    classes: tuple[str, ...]

    def take(self, rows: Rows) -> Array:
        """Class indexes; FormatError for one that is no class."""
        codes = self.codes[rows].astype(np.int64, copy=False)
        last = len(self.classes) - 1
        if len(codes) and (codes.min() < 0 or codes.max() > last):
            wrong = codes[(codes < 0) | (codes > last)]
            raise _unfit(self.name, f"0 to {last}, one for each class", str(wrong[0]))
        return codes


@dataclass(frozen=True, slots=True, eq=False)
class Flags:
    """A multilabel target: 0 and 1 for each class, float32 [k, classes].

    Row r has the classes `codes[starts[r]:starts[r + 1]]`.
    """

    name: str
    codes: Array
    starts: Array
    classes: tuple[str, ...]

    def take(self, rows: Rows) -> Array:
        """Multi-hot flags; FormatError for a code that is no class."""
        count = len(rows)
        first = self.starts[rows]
        sizes = self.starts[rows + 1] - first
        before = np.cumsum(sizes) - sizes  # codes of the rows before, among those taken
        of_row = np.repeat(np.arange(count), sizes)
        places = (first - before)[of_row] + np.arange(len(of_row))
        codes = Codes(self.name, self.codes, self.classes).take(places)
        flags = np.zeros((count, len(self.classes)), np.float32)
        flags[of_row, codes] = 1
        return flags


@dataclass(frozen=True, slots=True, eq=False)
class NumberTarget:
    """Numbers to learn: float64 [k] where they are stored as float64, or float32 would round whole
    ones; else float32."""

    name: str
    values: Array

    def take(self, rows: Rows) -> Array:
        """Numbers as floats; FormatError for NaN or infinity."""
        values = self.stored(rows)
        if values.dtype == np.float64:
            return values
        return values.astype(np.float32, copy=False)

    def stored(self, rows: Rows) -> Array:
        """Numbers in their stored type; FormatError for NaN or infinity."""
        values = self.values[rows]
        strange = int(np.count_nonzero(~np.isfinite(values)))
        if strange:
            raise FormatError(
                "labels that cannot be learned",
                f"target {self.name}",
                "numbers, null where unknown",
                f"{strange} of {len(values)} NaN or infinite",
                f"Leave such rows out: ds.filter(pc.is_finite(pc.field({self.name!r})))",
            )
        return values


TargetValues = Codes | Flags | NumberTarget


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """A column that is no target, as stored: numbers, booleans, texts as Python strings."""

    values: Array

    def take(self, rows: Rows) -> Array:
        """The values."""
        return np.asarray(self.values[rows])


def target(data: Tabular, name: str) -> TargetValues:
    """A column to learn: by its declared kind, or as numbers if none is declared.

    Raises UsageError for an unknown column, rows without a value, and texts that are not a declared
    target; FormatError for labels that do not agree with the metadata.
    """
    array = _array(data, name)
    if array.null_count:
        raise UsageError(
            "labels that cannot be learned",
            name,
            "a value in every row",
            f"{array.null_count} of {len(array)} rows without one",
            f"Leave them out: ds.filter(pc.field({name!r}).is_valid())",
        )
    values = read(array, name, data.metadata.targets)
    if len(array) <= _CHECKED:
        values.take(np.arange(len(array)))
    return values


def labelled(data: Tabular, name: str) -> tuple[Array, TargetValues]:
    """Which rows have a label, bool [n], and the labels of those rows.

    Raises what `target` raises, except for rows without a value.
    """
    array = _array(data, name)
    valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
    return valid, read(array.drop_null(), name, data.metadata.targets)


def read(array: pa.Array, name: str, declared: Mapping[str, Target]) -> TargetValues:
    """The values of a column without nulls, by the kind that the metadata declares for it."""
    about = declared.get(name)
    if about is None:
        return _undeclared(array, name, declared)
    kind = learned_kind(name, about)
    if not _FITS[kind](array.type):
        raise _unfit(name, _STORED[kind], str(array.type))
    return _READERS[kind](array, name, about.classes)


def learned_kind(name: str, target: Target) -> Learned:
    """The kind of a target that heads learn; UsageError for survival, which they do not.

    >>> learned_kind("age", Target(kind="regression"))
    'regression'
    """
    if target.kind == "survival":
        raise UsageError(
            "heads for survival are not trained here",
            f"target {name}",
            "a category, multilabel or regression target",
            "a survival target: times and events",
            f"Take vectors and times to a library of survival models: ds.to_arrow([{name!r}])",
        )
    return target.kind


def _undeclared(array: pa.Array, name: str, declared: Mapping[str, Target]) -> TargetValues:
    if not _is_number(array.type):
        raise UsageError(
            "this column cannot be learned",
            name,
            f"numbers or a declared target ({', '.join(declared) or 'none'})",
            str(array.type),
        )
    return _numbers(array, name, ())


def column(data: Tabular, name: str) -> Values:
    """A column that goes along with a batch: a declared target is encoded, any other as stored."""
    if name in data.metadata.targets:
        return target(data, name)
    array = _array(data, name)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if array.null_count and pa.types.is_integer(array.type) and not exact(array):
        raise UsageError(
            "whole numbers that would be rounded",
            name,
            "numbers up to 2**53 beside missing ones, which are NaN",
            "larger ones",
            f"Leave such rows out: ds.labelled({name!r})",
        )
    if pa.types.is_nested(array.type):
        return Plain(numpy_values(array, pa.field(name, array.type)))
    return Plain(_numpy(array))


def strata(data: Tabular, name: str) -> tuple[Array, tuple[str, ...]]:
    """A code int64 [n] for each row by the value of a column, and what each code stands for.

    Raises UsageError for measured numbers: they need bins, not classes.
    """
    if name in data.metadata.targets:
        values = target(data, name)
        if isinstance(values, Codes):
            return values.take(np.arange(len(values.codes))), values.classes
    array = _array(data, name)
    if array.null_count or not _discrete(array.type):
        raise UsageError(
            "rows cannot be balanced by this column",
            name,
            "a class in every row",
            f"{array.type}, {array.null_count} missing",
            f"Try uniform={{{name!r}: 20}}.",
        )
    names, codes = np.unique(_numpy(array), return_inverse=True)
    return codes.astype(np.int64), tuple(str(each) for each in names)


def known(data: Tabular, name: str) -> str:
    """The name, if there is such a column; else a UsageError that lists the columns."""
    if name not in data.columns:
        raise UsageError("no such column", name, ", ".join(data.columns), name)
    return name


def distinct(texts: pa.ChunkedArray) -> Rows:
    """A number int64 [n] for each value, equal where values are.

    >>> distinct(pa.chunked_array([["b", "a", "b"]])).tolist()
    [0, 1, 0]
    """
    array = pa.chunked_array([texts]) if isinstance(texts, pa.Array) else texts
    encoded = array.dictionary_encode().unify_dictionaries()
    return _numpy(_one_chunk(encoded).indices).astype(np.int64)


def by_name(table: pa.Table) -> pa.Table:
    """A table whose dictionaries are plain columns, so that every function takes their values."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.name, plain)
    return table


def without_halves(table: pa.Table) -> pa.Table:
    """A table whose float16 columns are float32, which Arrow compares and sorts."""
    for place, field in enumerate(table.schema):
        if pa.types.is_float16(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.float32()))
    return table


def one_hot(codes: Array, classes: int) -> Array:
    """Class indexes as float32 [k, classes].

    >>> one_hot(np.array([1, 0]), 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return np.eye(classes, dtype=np.float32)[codes]


def _array(data: Tabular, name: str) -> pa.Array:
    return _one_chunk(data.to_arrow([known(data, name)]).column(0))


def _one_chunk(array: pa.ChunkedArray) -> pa.Array:
    """A chunked array as one array, without a copy where it is one chunk."""
    return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()


def _numpy(array: pa.Array) -> Array:
    if _is_number(array.type) and not array.null_count and len(array):
        # The same memory; `to_numpy` would import pandas, which takes 0.3 s.
        return np.from_dlpack(array)
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _lists_integers(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_integer(kind.value_type))


def _codes(array: pa.Array, name: str, classes: tuple[str, ...]) -> Codes:
    if holds_names(array.type):
        try:
            array = code_array(array, classes)
        except UnknownName as error:
            raise _unfit(name, "names of its classes", error.found[:100]) from None
    return Codes(name, _numpy(array), classes)


def _flags(array: pa.Array, name: str, classes: tuple[str, ...]) -> Flags:
    starts = _numpy(array.offsets).astype(np.int64)
    codes = array.flatten()
    if codes.null_count:
        raise _unfit(name, _STORED["multilabel"], "a list with a null inside")
    return Flags(name, _numpy(codes), starts - starts[0], classes)


def _numbers(array: pa.Array, name: str, _: tuple[str, ...]) -> NumberTarget:
    if not pa.types.is_integer(array.type) or exact(array, _EXACT_FLOAT32):
        return NumberTarget(name, _numpy(array))
    if not exact(array):
        found = "larger ones"
        raise _unfit(name, "numbers that float64 holds, whole ones up to 2**53", found)
    return NumberTarget(name, _numpy(array).astype(np.float64))


def _fits_category(kind: pa.DataType) -> bool:
    return holds_names(kind) or bool(pa.types.is_integer(kind))


_READERS: Mapping[str, Callable[[pa.Array, str, tuple[str, ...]], TargetValues]] = {
    "category": _codes,
    "multilabel": _flags,
    "regression": _numbers,
}
_FITS: Mapping[str, Callable[[pa.DataType], bool]] = {
    "category": _fits_category,
    "multilabel": _lists_integers,
    "regression": _is_number,
}
_STORED = {
    "category": "names of `classes`, or integers, their places there",
    "multilabel": "lists of integers, the places of a row's classes in `classes`",
    "regression": "numbers",
}


def _discrete(kind: pa.DataType) -> bool:
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return True
    return holds_texts(kind) or bool(pa.types.is_dictionary(kind))


def _unfit(name: str, expected: str, found: str) -> FormatError:
    return FormatError(
        "labels are not what the metadata says",
        f"target {name}",
        expected,
        found,
        "Correct the table and extract again, or choose another target.",
    )
