"""Arrays of pictures [n, h, w], [n, h, w, c] or [n, c, h, w] in .npy, .npz or HDF5 files, with arrays of n beside them.

The array of pictures is the one of three or more axes and as many rows as no other has, or the one that is named.
Columns are arrays of as many rows: labels, names, groups, co-factors; one of two axes [n, k] is k columns, or a
multilabel. Arrays named `train_x`, `val_x`, `test_x` (as MedMNIST's) are one, `x`, and make a column `split`.
Pictures stay in the file until they are asked for, unless an .npz is compressed. Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dof_arrow.errors import PictureError, SourceError, UsageError, require
from dof_arrow.sources.listing import SPLITS, Listing, numbered
from dof_arrow.sources.sample import Column, file_stamp
from dof_arrow.sources.table import place as column_place

Array = npt.NDArray[Any]

MAX_UNPACKED = 4 << 30  # bytes of a compressed .npz that are held in memory
_LOCAL_HEADER = 30  # bytes before the name in a zip member's own header (APPNOTE 4.3.7)


class StoredArray(Protocol):
    """An array in a file: what it is like, and some of its rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def paths(self) -> tuple[Path, ...]: ...

    def rows(self, start: int, stop: int) -> Array:
        """The rows from start to stop."""


@dataclass(frozen=True, slots=True)
class Npy:
    """An .npy array in a file; `offset` is where its values begin."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its file."""
        return (self.path,)

    def rows(self, start: int, stop: int) -> Array:
        """The rows from start to stop, read without a map: a file that shrinks meanwhile is an error, not a crash."""
        if self.fortran:
            return np.array(
                np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")[start:stop]
            )
        width = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset + start * width)
            values = np.fromfile(file, self.dtype, (stop - start) * math.prod(self.shape[1:]))
        if values.nbytes != (stop - start) * width:
            raise PictureError("the array's file ends too early", rule="truncated")
        return values.reshape(stop - start, *self.shape[1:])


@dataclass(frozen=True, slots=True, eq=False)
class Unpacked:
    """An array that was compressed, in memory."""

    path: Path
    values: Array

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its file."""
        return (self.path,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type."""
        return self.values.dtype

    def rows(self, start: int, stop: int) -> Array:
        """The rows from start to stop."""
        return self.values[start:stop]


@dataclass(frozen=True, slots=True)
class Hdf5:
    """A dataset in an HDF5 file."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its file."""
        return (self.path,)

    def rows(self, start: int, stop: int) -> Array:
        """The rows from start to stop; texts as objects."""
        dataset = _hdf5(self.path, file_stamp(self.path))[self.name]
        try:
            return np.asarray((dataset.asstr() if self.dtype.hasobject else dataset)[start:stop])
        except TypeError:
            raise SourceError(
                "a dataset holds neither numbers nor texts", str(self.path), found=self.name
            ) from None


@dataclass(frozen=True, slots=True)
class ChainedArrays:
    """Several arrays, one behind the other."""

    parts: tuple[StoredArray, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of all."""
        return tuple(dict.fromkeys(path for part in self.parts for path in part.paths))

    @property
    def shape(self) -> tuple[int, ...]:
        """Their shape together."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the first."""
        return self.parts[0].dtype

    def rows(self, start: int, stop: int) -> Array:
        """The rows from start to stop."""
        found, first = [], 0
        for part in self.parts:
            low, high = max(start - first, 0), min(stop - first, part.shape[0])
            if low < high:
                found.append(part.rows(low, high))
            first += part.shape[0]
        return np.concatenate(found) if len(found) != 1 else found[0]


@dataclass(frozen=True, slots=True)
class Plane:
    """One picture of an array."""

    array: StoredArray
    index: int

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes one picture of an array that is in memory, not all of them."""
        if not _in_memory(self.array):
            return Plane, (self.array, self.index)
        return Plane, (
            Unpacked(self.array.paths[0], self.array.rows(self.index, self.index + 1)),
            0,
        )

    def read(self) -> Array:
        """Its values."""
        values: Array = self.array.rows(self.index, self.index + 1)[0]
        return values

    def stamp(self) -> tuple[int, ...]:
        """Its number, and the file's size and time."""
        return self.index, *(number for path in self.array.paths for number in file_stamp(path))


def _in_memory(array: StoredArray) -> bool:
    return isinstance(array, Unpacked) or (
        isinstance(array, ChainedArrays) and any(map(_in_memory, array.parts))
    )


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
        rows = self.pictures.shape[0]
        fitting = {name: array for name, array in self.beside.items() if array.shape[:1] == (rows,)}
        for name in names:
            column_place(name, list(fitting), self.pictures.paths[0])
        return {
            name: _cells(fitting[name].rows(0, rows), self.pictures.paths[0], name)
            for name in names
        }


def open_arrays(path: Path, pictures: str | None = None) -> Planes:
    """The pictures in an .npy, .npz or HDF5 file, or in a folder of .npy files; `pictures` names their array.

    Raises SourceError where no array or several could be meant, MissingExtra without h5py.
    """
    arrays = _joined(_read(path))
    if (
        path.is_file()
        and pictures is None
        and path.stem in arrays
        and isinstance(arrays[path.stem], Npy)
    ):
        pictures = path.stem
    name = pictures or _chosen(arrays, path)
    if name not in arrays:
        column_place(name, list(arrays), path)
    chosen = arrays.pop(name)
    count = chosen.shape[0] if chosen.shape else 0
    if len(chosen.shape) < 3 or not math.prod(chosen.shape):
        raise SourceError(
            "an array that holds no pictures",
            str(path),
            "[n, h, w] or [n, h, w, c]",
            f"{name} {list(chosen.shape)}",
        )
    return Planes(names=numbered(count), pictures=chosen, beside=arrays, counts={"ignored": 0})


def _chosen(arrays: Mapping[str, StoredArray], path: Path) -> str:
    likely = [
        name
        for name, array in arrays.items()
        if len(array.shape) >= 3 and array.dtype.kind in "buif"
    ]
    if len(likely) == 1:
        return likely[0]
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    what = "several arrays could be the pictures" if likely else "no array could be the pictures"
    hint = (
        f"Choose with --pictures {likely[0]}"
        if likely
        else "Give an array [n, h, w] or [n, h, w, c]."
    )
    raise SourceError(what, str(path), found=shapes or "no arrays", hint=hint)


def _joined(arrays: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
    """The arrays, those of `train_`, `val_` and `test_` joined where each has its part."""
    parts = [part for part in SPLITS if any(name.startswith(f"{part}_") for name in arrays)]
    names = {
        part: {n.removeprefix(f"{part}_") for n in arrays if n.startswith(f"{part}_")}
        for part in parts
    }
    shared = set.intersection(*names.values()) if len(parts) > 1 else set()
    alike = sorted(
        n
        for n in shared
        if len({arrays[f"{p}_{n}"].shape[1:] for p in parts}) == 1 and n not in arrays
    )
    if not alike:
        return dict(arrays)
    joined: dict[str, StoredArray] = {
        n: ChainedArrays(tuple(arrays[f"{p}_{n}"] for p in parts)) for n in alike
    }
    rest = {
        n: a for n, a in arrays.items() if not any(n == f"{p}_{j}" for p in parts for j in alike)
    }
    sizes = [arrays[f"{p}_{alike[0]}"].shape[0] for p in parts]
    split = np.repeat([SPLITS[p] for p in parts], sizes)
    path = joined[alike[0]].paths[0]
    return {**rest, **joined, **({} if "split" in rest else {"split": Unpacked(path, split)})}


def _read(path: Path) -> dict[str, StoredArray]:
    """The arrays of a file or folder by name."""
    try:
        if path.is_dir():
            return {file.stem: _npy(file) for file in sorted(path.glob("*.npy"))}
        with path.open("rb") as file:
            magic = file.read(8)
        if magic == b"\x89HDF\r\n\x1a\n":
            return _datasets(path)
        if magic.startswith(b"PK"):
            return _npz(path)
        return {
            path.stem: _npy(path),
            **{f.stem: _npy(f) for f in sorted(path.parent.glob("*.npy")) if f != path},
        }
    except OSError as error:
        raise SourceError(
            "the arrays cannot be read", str(path), found=error.strerror or "a damaged file"
        ) from None
    except (ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        raise SourceError(
            "the arrays cannot be read",
            str(path),
            found="a damaged file, or pickled objects",
            hint="Save arrays of numbers or texts with numpy.save.",
        ) from None


def _npy(path: Path) -> Npy:
    with path.open("rb") as file:
        shape, fortran, dtype = _header(file)
        found = Npy(path, file.tell(), shape, dtype, fortran)
    if found.offset + math.prod(shape) * dtype.itemsize > path.stat().st_size:
        raise EOFError
    return found


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read: Callable[[Any], Any] = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("pickled objects")
    return shape, fortran, dtype


def _npz(path: Path) -> dict[str, StoredArray]:
    found: dict[str, StoredArray] = {}
    with zipfile.ZipFile(path) as archive:
        packed = sum(
            info.file_size
            for info in archive.infolist()
            if info.compress_type != zipfile.ZIP_STORED
        )
        if packed > MAX_UNPACKED:
            raise SourceError(
                "too large a compressed .npz",
                str(path),
                f"at most {MAX_UNPACKED} bytes",
                str(packed),
                "Save it with numpy.savez, not savez_compressed.",
            )
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                found[info.filename.removesuffix(".npy")] = _member(path, archive, info)
    return found


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> StoredArray:
    with archive.open(info) as file:
        shape, fortran, dtype = _header(file)
        header, size = file.tell(), math.prod(shape) * dtype.itemsize
        if header + size != info.file_size:
            raise ValueError("sizes differ")
        if info.compress_type != zipfile.ZIP_STORED:
            values = np.frombuffer(file.read(size), dtype).reshape(
                shape, order="F" if fortran else "C"
            )
            return Unpacked(path, values)
    with path.open("rb") as raw:
        raw.seek(info.header_offset + _LOCAL_HEADER - 4)
        lengths = np.frombuffer(raw.read(4), "<u2")
    start = info.header_offset + _LOCAL_HEADER + int(lengths.sum())
    return Npy(path, start + header, shape, dtype, fortran)


def _datasets(path: Path) -> dict[str, StoredArray]:
    """Datasets of an HDF5 file, those left out whose values lie in other files."""
    h5py = require("h5py", extra="hdf5")
    found: dict[str, StoredArray] = {}

    def visit(name: str, item: Any) -> None:
        if (
            isinstance(item, h5py.Dataset)
            and item.shape
            and not item.external
            and not item.is_virtual
        ):
            found[name] = Hdf5(path, name, item.shape, item.dtype)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


@lru_cache(8)
def _hdf5(path: Path, stamp: tuple[int, int]) -> Any:
    return require("h5py", extra="hdf5").File(path, "r")


def _cells(values: Array, path: Path, name: str) -> Column:
    """A column's values as texts; several columns as a struct of them."""
    if values.dtype.names:
        return _struct({field: values[field] for field in values.dtype.names})
    flat = values.reshape(len(values), -1)
    if values.ndim > 2:
        raise UsageError(
            "an array of too many axes for a column",
            str(path),
            "[n] or [n, k]",
            f"{name} {list(values.shape)}",
        )
    return (
        _texts(flat[:, 0])
        if flat.shape[1] == 1
        else _struct({str(i): flat[:, i] for i in range(flat.shape[1])})
    )


def _struct(columns: Mapping[str, Array]) -> Column:
    return pa.StructArray.from_arrays(
        [_texts(values) for values in columns.values()], list(columns)
    )


def _texts(values: Array) -> Column:
    if values.dtype.kind in "SUO":
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]
        return pa.array([text.strip() or None for text in texts], pa.string())
    return pa.array(np.ascontiguousarray(values)).cast(pa.string())
