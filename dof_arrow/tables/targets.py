"""Columns as a loader gives them: targets as the metadata says they are to be read, others as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec.arrow import holds_texts
from dof_arrow.format.spec.metadata import Metadata, Target
from dof_arrow.sampling.permutation import Rows

Array = NDArray[Any]

_CHECKED = (
    1 << 18
)  # labels up to this many are checked at once, in a millisecond; more of them as they come


class Tabular(Protocol):
    """What is asked of a dataset here."""

    @property
    def metadata(self) -> Metadata: ...

    @property
    def columns(self) -> list[str]: ...

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table: ...


class Values(Protocol):
    """A column, rows of which can be had."""

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
        if len(codes) and not (codes.min() >= 0 and codes.max() < len(self.classes)):
            wrong = codes[(codes < 0) | (codes >= len(self.classes))]
            raise _unfit(
                self.name, f"0 to {len(self.classes) - 1}, one for each class", str(wrong[0])
            )
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
        first, sizes = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        places = np.repeat(first - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
        codes = Codes(self.name, self.codes, self.classes).take(places)
        flags = np.zeros((len(rows), len(self.classes)), np.float32)
        flags[np.repeat(np.arange(len(rows)), sizes), codes] = 1
        return flags


@dataclass(frozen=True, slots=True, eq=False)
class NumberTarget:
    """Numbers to learn: floats [k] of the width they are stored in, float32 at least."""

    name: str
    values: Array

    def take(self, rows: Rows) -> Array:
        """Numbers as floats; FormatError for NaN or infinity."""
        values = self.stored(rows)
        return values.astype(np.float64 if values.dtype == np.float64 else np.float32, copy=False)

    def stored(self, rows: Rows) -> Array:
        """Numbers of the type that they are stored in; FormatError for NaN or infinity."""
        values = self.values[rows]
        strange = int((~np.isfinite(values)).sum())
        if strange:
            finite = f"ds.filter(pc.is_finite(pc.field({self.name!r})))"
            raise FormatError(
                "labels that cannot be learned",
                f"target {self.name}",
                "numbers, null where unknown",
                f"{strange} of {len(values)} NaN or infinite",
                f"Leave such rows out: {finite}",
            )
        return values


TargetValues = Codes | Flags | NumberTarget


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """Any other column as it is: numbers, booleans, texts as Python strings."""

    values: Array

    def take(self, rows: Rows) -> Array:
        """The values."""
        return np.asarray(self.values[rows])


def target(data: Tabular, name: str) -> TargetValues:
    """A column to learn: as its declared kind, or as numbers where none is declared.

    Raises UsageError for an unknown column, rows without a value, and texts that are no declared
    target; FormatError for labels that are not what the metadata says.
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

    Raises what `target` raises, but for rows without a value.
    """
    array = _array(data, name)
    valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
    return valid, read(array.drop_null(), name, data.metadata.targets)


def read(array: pa.Array, name: str, declared: Mapping[str, Target]) -> TargetValues:
    """The values of a column without nulls, by the kind that the metadata declares for it."""
    about = declared.get(name)
    kind = about.kind if about is not None else "regression"
    if not _FITS[kind](array.type):
        if about is not None:
            raise _unfit(name, _STORED[kind], str(array.type))
        raise UsageError(
            "this column cannot be learned",
            name,
            f"numbers or a declared target ({', '.join(declared) or 'none'})",
            str(array.type),
        )
    return _READERS[kind](array, name, about.classes if about is not None else ())


def column(data: Tabular, name: str) -> Values:
    """A column that goes along with a batch: a declared target encoded, any other as it is."""
    if name in data.metadata.targets:
        return target(data, name)
    array = _array(data, name)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    return Plain(_numpy(array))


def strata(data: Tabular, name: str) -> tuple[Array, tuple[str, ...]]:
    """A code int64 [n] for each row by the value of a column, and what the codes stand for.

    Raises UsageError for measured numbers: those have bins, not classes.
    """
    if data.metadata.targets.get(name) is not None:
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
    return codes.astype(np.int64), tuple(map(str, names))


def known(data: Tabular, name: str) -> str:
    """The name, if there is such a column.

    Raises UsageError that lists the columns there are.
    """
    if name not in data.columns:
        raise UsageError("no such column", name, ", ".join(data.columns), name)
    return name


def distinct(texts: pa.ChunkedArray) -> Rows:
    """A number int64 [n] for each value, equal where values are.

    >>> distinct(pa.chunked_array([["b", "a", "b"]])).tolist()
    [0, 1, 0]
    """
    array = pa.chunked_array([texts]) if isinstance(texts, pa.Array) else texts
    encoded = array.dictionary_encode().unify_dictionaries().combine_chunks()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    return _numpy(encoded.indices).astype(np.int64)


def one_hot(codes: Array, classes: int) -> Array:
    """Class indexes as float32 [k, classes].

    >>> one_hot(np.array([1, 0]), 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return np.eye(classes, dtype=np.float32)[codes]


def _array(data: Tabular, name: str) -> pa.Array:
    chunks = data.to_arrow([known(data, name)]).column(0)
    array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _numpy(array: pa.Array) -> Array:
    number = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    if number and not array.null_count and len(array):
        return np.from_dlpack(
            array
        )  # the same memory; `to_numpy` would import pandas, which takes 0.3 s
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _lists_integers(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_integer(kind.value_type))


def _codes(array: pa.Array, name: str, classes: tuple[str, ...]) -> Codes:
    return Codes(name, _numpy(array), classes)


def _flags(array: pa.Array, name: str, classes: tuple[str, ...]) -> Flags:
    starts = _numpy(array.offsets).astype(np.int64)
    codes = array.flatten()
    if codes.null_count:
        raise _unfit(name, _STORED["multilabel"], "a list with a null inside")
    return Flags(name, _numpy(codes), starts - starts[0], classes)


def _numbers(array: pa.Array, name: str, _: tuple[str, ...]) -> NumberTarget:
    return NumberTarget(name, _numpy(array))


_READERS: Mapping[str, Callable[[pa.Array, str, tuple[str, ...]], TargetValues]] = {
    "category": _codes,
    "multilabel": _flags,
    "regression": _numbers,
}
_FITS: Mapping[str, Callable[[pa.DataType], bool]] = {
    "category": pa.types.is_integer,
    "multilabel": _lists_integers,
    "regression": _is_number,
}
_STORED = {
    "category": "integers, a class's place in `classes`",
    "multilabel": "lists of integers, the places of a row's classes in `classes`",
    "regression": "numbers",
}


def _discrete(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_boolean(kind)
        or holds_texts(kind)
        or types.is_dictionary(kind)
    )


def _unfit(name: str, expected: str, found: str, hint: str = "") -> FormatError:
    mend = hint or "Correct the table and extract again, or choose another target."
    return FormatError(
        "labels are not what the metadata says", f"target {name}", expected, found, mend
    )
