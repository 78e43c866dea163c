"""Pictures in an array [n, h, w], [n, h, w, c] or [n, c, h, w], with arrays of n beside them.

The array of pictures is the one that is named, or else the only one of three or more axes. Columns
are arrays of as many rows: labels, names, groups, co-factors; one of two axes [n, k] is k columns,
or a multilabel. Arrays named `train_x`, `val_x`, `test_x` (as MedMNIST's) are one, `x`, and make a
column `split`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.split_names import SPELLINGS, standard_or_own
from dof_arrow.sources.array_files import (
    Array,
    ChainedArrays,
    Npy,
    StoredArray,
    Unpacked,
    in_memory,
    read_arrays,
)
from dof_arrow.sources.columns import flat_texts, places
from dof_arrow.sources.columns import place as column_place
from dof_arrow.sources.listing import Listing, numbered
from dof_arrow.sources.sample import Column, check_size, file_stamp


@dataclass(frozen=True, slots=True)
class Plane:
    """One picture of an array."""

    array: StoredArray
    index: int

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes one picture of an array that is in memory, not all of them."""
        if not in_memory(self.array):
            return Plane, (self.array, self.index)
        values = self.array.rows(self.index, self.index + 1)
        own = Unpacked(self.array.paths[0], values)
        return Plane, (own, 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, that of a row."""
        return self.array.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type."""
        return self.array.dtype

    def read(self) -> Array:
        """Its values; PictureError for too many bytes."""
        check_size(math.prod(self.shape) * self.dtype.itemsize)
        values: Array = self.array.rows(self.index, self.index + 1)[0]
        return values

    def stamp(self) -> tuple[int, ...]:
        """Its number, and the size and time of each file."""
        numbers = [self.index]
        for path in self.array.paths:
            numbers += file_stamp(path)
        return tuple(numbers)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planes(Listing):
    """Pictures of an array by number, with the arrays beside it."""

    pictures: StoredArray
    beside: Mapping[str, StoredArray]

    def stored(self, key: str, place: int) -> Plane:
        """One of the pictures."""
        return Plane(self.pictures, place)

    def files(self) -> Iterator[Path]:
        """The file of the pictures."""
        yield from self.pictures.paths

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """Arrays of as many rows, as texts; those of several columns as structs."""
        path = self.pictures.paths[0]
        rows = self.pictures.shape[0]
        fitting: dict[str, StoredArray] = {}
        for name, array in self.beside.items():
            if array.shape[:1] == (rows,):
                fitting[name] = array
        found: dict[str, Column] = {}
        places(names, list(fitting), path)
        for name in names:
            values = fitting[name].rows(0, rows)
            found[name] = _cells(values, path, name)
        return found


def open_arrays(path: Path, pictures: str | None = None) -> Planes:
    """The pictures in an .npy, .npz or HDF5 file, or in a folder of .npy files.

    `pictures` names their array. Raises SourceError where no array or several could be meant,
    UsageError for a name that is not there, MissingExtra without h5py.
    """
    arrays = _joined(read_arrays(path))
    # What is asked for, else the array of the file that was given, else the only one it can be.
    name = pictures or _of_its_own_file(arrays, path) or _chosen(arrays, path)
    if name not in arrays:
        column_place(name, list(arrays), path)  # raises, and names those that are near
    chosen = arrays.pop(name)
    if len(chosen.shape) < 3 or not math.prod(chosen.shape):
        raise SourceError(
            "an array that holds no pictures",
            str(path),
            "[n, h, w] or [n, h, w, c]",
            f"{name} {list(chosen.shape)}",
        )
    names = numbered(chosen.shape[0])
    return Planes(names=names, pictures=chosen, beside=arrays, counts={"ignored": 0})


def _of_its_own_file(arrays: Mapping[str, StoredArray], path: Path) -> str | None:
    """The name of the array that is the .npy file at `path`, beside which others may lie."""
    own = path.is_file() and isinstance(arrays.get(path.stem), Npy)
    return path.stem if own else None


def _chosen(arrays: Mapping[str, StoredArray], path: Path) -> str:
    likely = [name for name, array in arrays.items() if _may_be_pictures(array)]
    if len(likely) == 1:
        return likely[0]
    if likely:
        what = "several arrays could be the pictures"
        hint = f"Choose with --pictures {likely[0]}"
    else:
        what = "no array could be the pictures"
        hint = "Give an array [n, h, w] or [n, h, w, c]."
    shapes = [f"{name} {list(array.shape)}" for name, array in arrays.items()]
    raise SourceError(what, str(path), found=", ".join(shapes) or "no arrays", hint=hint)


def _may_be_pictures(array: StoredArray) -> bool:
    # Labels may come as [n, 1, 1, 1]: one number each.
    one_each = math.prod(array.shape[1:]) == 1
    return len(array.shape) >= 3 and not one_each and array.dtype.kind in "buif"


def _joined(arrays: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
    """The arrays, those of `train_`, `val_` and `test_` joined where each has its part."""
    parts = _parts(arrays)
    alike = _in_every_part(arrays, parts)
    if not alike:
        return dict(arrays)
    joined: dict[str, StoredArray] = {}
    taken: set[str] = set()
    for name in alike:
        names = [f"{part}_{name}" for part in parts]
        joined[name] = ChainedArrays(tuple(arrays[each] for each in names))
        taken.update(names)
    rest = {name: array for name, array in arrays.items() if name not in taken}
    # A column `split` of the file's own says more than the names of its arrays.
    if "split" not in rest:
        joined["split"] = _splits(arrays, parts, alike[0])
    return {**rest, **joined}


def _parts(arrays: Mapping[str, StoredArray]) -> list[str]:
    """The names of splits with which names of arrays begin."""
    begun = {name.partition("_")[0] for name in arrays if "_" in name}
    order = list(SPELLINGS)
    known = [part for part in begun if part.lower() in SPELLINGS]
    return sorted(known, key=lambda part: (order.index(part.lower()), part))


def _in_every_part(arrays: Mapping[str, StoredArray], parts: Sequence[str]) -> list[str]:
    """The names `x` of which every part has an array, all of one shape but for their rows."""
    if len(parts) < 2:
        return []
    first = f"{parts[0]}_"
    found = []
    for whole in sorted(arrays):
        name = whole.removeprefix(first)
        if not whole.startswith(first) or name in arrays:
            continue
        members = [f"{part}_{name}" for part in parts]
        if all(member in arrays for member in members):
            shapes = {arrays[member].shape[1:] for member in members}
            if len(shapes) == 1:
                found.append(name)
    return found


def _splits(arrays: Mapping[str, StoredArray], parts: Sequence[str], name: str) -> StoredArray:
    """The split of each row of a joined array."""
    members = [arrays[f"{part}_{name}"] for part in parts]
    sizes = [array.shape[0] for array in members]
    values = np.repeat([standard_or_own(part) for part in parts], sizes)
    return Unpacked(members[0].paths[0], values)


def _cells(values: Array, path: Path, name: str) -> Column:
    """A column's values as texts; several columns as a struct of them."""
    if values.dtype.names:  # a structured array, such as a table in HDF5
        return _struct({field: values[field] for field in values.dtype.names})
    if sum(length > 1 for length in values.shape[1:]) > 1:
        raise UsageError(
            "an array of too many axes for a column",
            str(path),
            "[n] or [n, k]; axes of length 1 do not count",
            f"{name} {list(values.shape)}",
        )
    columns = values.reshape(len(values), -1).T
    if len(columns) == 1:
        return _texts(columns[0])
    return _struct({str(number): column for number, column in enumerate(columns)})


def _struct(columns: Mapping[str, Array]) -> Column:
    texts = [_texts(values) for values in columns.values()]
    return pa.StructArray.from_arrays(texts, list(columns))


def _texts(values: Array) -> Column:
    if values.dtype.kind not in "SUO":  # numbers; texts are bytes, strings or objects
        return flat_texts(pa.array(np.ascontiguousarray(values)))
    texts: list[str | None] = []
    for value in values.tolist():
        text = value.decode() if isinstance(value, bytes) else str(value)
        texts.append(text.strip() or None)
    return pa.array(texts, pa.string())
