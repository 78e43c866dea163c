"""Arrays in .npy, .npz and HDF5 files, by name; their rows are read when they are asked for.

Values stay in the file until then, unless an .npz is compressed. Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError, SourceError, require
from dof_arrow.sources.sample import file_stamp
from dof_arrow.system import open_file

Array = npt.NDArray[Any]

_MATLAB = b"MATLAB"  # begins the user block of a MATLAB file
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_UNPACKED = 4 << 30  # bytes of a compressed .npz that are held in memory
# Bytes before the name in a zip member's own header; the last four are the lengths of the name and
# of the extra field, which may differ from those in the archive's directory (APPNOTE 4.3.7).
_MOST_DEFLATED = 1032  # bytes that one byte of deflate may stand for
_LOCAL_HEADER = 30


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
    """An .npy array in a file; `offset` is the byte at which its values begin."""

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
        """The rows from start to stop; PictureError where the file ends before them.

        They are read without a map: a file that shrinks meanwhile is an error, not a crash.
        """
        if self.fortran:  # rows do not lie in one piece
            whole = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")
            return native(np.array(whole[start:stop]))
        count = math.prod(self.shape[1:])
        width = count * self.dtype.itemsize
        with open_file(self.path) as file:
            file.seek(self.offset + start * width)
            values = np.fromfile(file, self.dtype, (stop - start) * count)
        if values.nbytes != (stop - start) * width:
            raise PictureError("the array's file ends too early", rule="truncated")
        return native(values.reshape(stop - start, *self.shape[1:]))


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
        return native(self.values[start:stop])


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
        """The rows from start to stop, texts as objects; SourceError for objects of other kinds."""
        dataset = _hdf5(self.path, file_stamp(self.path))[self.name]
        try:
            values = dataset.asstr() if self.dtype.hasobject else dataset
            return native(np.asarray(values[start:stop]))
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
        """The files of all, each once."""
        found: dict[Path, None] = {}
        for part in self.parts:
            found.update(dict.fromkeys(part.paths))
        return tuple(found)

    @property
    def shape(self) -> tuple[int, ...]:
        """Their shape together."""
        rows = sum(part.shape[0] for part in self.parts)
        return (rows, *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the first."""
        return self.parts[0].dtype

    def rows(self, start: int, stop: int) -> Array:
        """The rows from start to stop."""
        found: list[Array] = []
        first = 0
        for part in self.parts:
            low = max(start - first, 0)
            high = min(stop - first, part.shape[0])
            if low < high:
                found.append(part.rows(low, high))
            first += part.shape[0]
        return found[0] if len(found) == 1 else np.concatenate(found)


def native(values: Array) -> Array:
    """Values in this machine's byte order, which Arrow and ONNX Runtime ask for.

    >>> native(np.array([1], ">i4")).dtype == np.int32
    True
    """
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5: its signature stands at byte 0, 512, 1024, 2048 and so on.

    What lies before is a block of the user's own (HDF5 file format, II.A).
    """
    size = path.stat().st_size
    at = 0
    with path.open("rb") as file:
        while at + len(HDF5_MAGIC) <= size:
            file.seek(at)
            if file.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
                return True
            at = 2 * at or 512
    return False


def in_memory(array: StoredArray) -> bool:
    """Whether an array, or a part of it, is held in memory."""
    if isinstance(array, ChainedArrays):
        return any(in_memory(part) for part in array.parts)
    return isinstance(array, Unpacked)


def read_arrays(path: Path) -> dict[str, StoredArray]:
    """The arrays of a file or folder by name; beside an .npy file, those of its folder too.

    Raises SourceError for what cannot be read or holds pickled objects, MissingExtra without h5py.
    """
    try:
        return _read(path)
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


def _read(path: Path) -> dict[str, StoredArray]:
    if path.is_dir():
        return _npys(sorted(path.glob("*.npy")))
    with open_file(path) as file:
        magic = file.read(8)
    if is_hdf5(path):
        _check_axes(path, magic)
        return _datasets(path)
    if magic.startswith(b"PK"):  # an .npz is a zip archive of .npy files
        return _npz(path)
    beside = [file for file in sorted(path.parent.glob("*.npy")) if file != path]
    return _npys([path, *beside])


def _check_axes(path: Path, start: bytes) -> None:
    """Refuse a MATLAB file: what it calls [h, w, n] is [n, w, h] in HDF5, every picture turned."""
    if start.startswith(_MATLAB):
        raise SourceError(
            "a MATLAB file, whose arrays have their axes in reverse order",
            str(path),
            "an .npy, .npz or HDF5 file of pictures [n, h, w]",
            hint="Write it again in Python: numpy.save(PATH, numpy.transpose(array)).",
        )


def _npys(paths: Sequence[Path]) -> dict[str, StoredArray]:
    return {path.stem: _npy(path) for path in paths}


def _npy(path: Path) -> Npy:
    with open_file(path) as file:
        shape, fortran, dtype = _header(file)
        found = Npy(path, file.tell(), shape, dtype, fortran)
    # Told when the source is opened, not when its last picture is read.
    if found.offset + math.prod(shape) * dtype.itemsize > path.stat().st_size:
        raise EOFError
    return found


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and dtype; ValueError for pickled objects."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except (TokenError, OverflowError, RecursionError, MemoryError):
        raise ValueError("a header that cannot be read") from None
    if dtype.hasobject:
        raise ValueError("pickled objects")
    return shape, fortran, dtype


def _npz(path: Path) -> dict[str, StoredArray]:
    found: dict[str, StoredArray] = {}
    with zipfile.ZipFile(path) as archive:
        _check_packed(archive, path)
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                found[info.filename.removesuffix(".npy")] = _member(path, archive, info)
    return found


def _check_packed(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive that would take too much memory, before any of it is unpacked."""
    packed = 0
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            packed += info.file_size
    if packed > MAX_UNPACKED:
        raise SourceError(
            "too large a compressed .npz",
            str(path),
            f"at most {MAX_UNPACKED} bytes",
            str(packed),
            "Save it with numpy.savez, not savez_compressed.",
        )


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> StoredArray:
    """One array of an .npz: where it lies in the file, or its values if it is compressed."""
    with archive.open(info) as member:
        shape, fortran, dtype = _claimed(member, info)
        header = member.tell()
        size = info.file_size - header
        if info.compress_type != zipfile.ZIP_STORED:
            values = np.frombuffer(member.read(size), dtype)
            return Unpacked(path, values.reshape(shape, order="F" if fortran else "C"))
    with open_file(path) as file:
        start = _member_start(file, info)
    return Npy(path, start + header, shape, dtype, fortran)


def _claimed(member: Any, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """What the header of an .npz's array says; ValueError where its bytes cannot be as many.

    A header that claims more than there is must not make us allocate it, nor a directory that
    claims more than could ever be unpacked.
    """
    shape, fortran, dtype = _header(member)
    size = member.tell() + math.prod(shape) * dtype.itemsize
    if size != info.file_size or size > _MOST_DEFLATED * (info.compress_size + 1):
        raise ValueError("sizes differ")
    return shape, fortran, dtype


def _member_start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """The byte at which a member's data begin."""
    behind_header = info.header_offset + _LOCAL_HEADER
    file.seek(behind_header - 4)
    lengths = np.frombuffer(file.read(4), "<u2")
    return behind_header + int(lengths.sum())


def _datasets(path: Path) -> dict[str, StoredArray]:
    """Datasets of an HDF5 file, those left out whose values lie in other files."""
    h5py = require("h5py", extra="hdf5")
    found: dict[str, StoredArray] = {}

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or not item.shape:
            return
        # An HDF5 file of a stranger must not read other files of this machine.
        if not item.external and not item.is_virtual:
            found[name] = Hdf5(path, name, item.shape, item.dtype)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


@lru_cache(8)
def _hdf5(path: Path, stamp: tuple[int, int]) -> Any:
    """The open file; a file that has changed is opened anew."""
    return require("h5py", extra="hdf5").File(path, "r")
