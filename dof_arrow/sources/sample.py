"""One input, and what a source of inputs is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.media import array, decode
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.intensity import Pixels
from dof_arrow.media.segment import Bounds
from dof_arrow.system import open_file

Array = npt.NDArray[Any]
Column = Any  # pyarrow.Array, which comes without types
Value = bool | int | float | str | list[int] | None

MAX_FILE_BYTES = 1 << 30
NOT_THERE = "no such file"


@runtime_checkable
class Stored(Protocol):
    """A picture inside something larger: an archive, an array, a table.

    It is read when asked for, from any thread.
    """

    def read(self) -> bytes | Array:
        """The picture's bytes, or its values [h, w], [h, w, c] or [c, h, w].

        Raises PictureError or OSError.
        """

    def stamp(self) -> object:
        """Something printable that changes when the picture does; raises OSError."""


@dataclass(frozen=True, slots=True)
class Refused:
    """In place of a picture: why it cannot be used, known before it is read."""

    reason: str

    def read(self) -> bytes:
        """Raises PictureError with the reason."""
        raise PictureError(self.reason, rule="table")

    def stamp(self) -> str:
        """The reason."""
        return self.reason


@dataclass(frozen=True, slots=True)
class ClipPart:
    """In place of a clip: a segment of it."""

    clip: Data
    bounds: Bounds

    def read(self) -> bytes | Array:
        """The whole clip, as it is stored."""
        return self._whole.load()

    def stamp(self) -> object:
        """The bounds, and what changes when the clip does."""
        return str(self.bounds), self._whole.stamp()

    @property
    def _whole(self) -> Sample:
        return Sample(key="", data=self.clip)


@runtime_checkable
class StoredArray(Stored, Protocol):
    """Stored values, whose shape and type are known before they are read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


Data = Path | bytes | Array | Stored | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One input: its own name, where its picture is (None: nowhere), and what is known of it.

    `target` holds a class index, a number or a list of class indexes under each target's name; None
    where missing.

    >>> Sample(key="a.png", data=b"bytes").load()
    b'bytes'
    """

    key: str
    data: Data
    target: Mapping[str, Value] = field(default_factory=dict)
    group: str | None = None
    split: str | None = None
    kept: Mapping[str, Value] = field(default_factory=dict)

    @property
    def begin(self) -> Fraction | None:
        """Where a segment of a clip starts, in seconds; None for all else."""
        return self.data.bounds.start if isinstance(self.data, ClipPart) else None

    def load(self) -> bytes | Array:
        """The stored picture.

        Raises PictureError with rule `missing`, `unreadable` or `too-large`, which names no path.
        """
        try:
            return self._read()
        except FileNotFoundError:
            raise PictureError(NOT_THERE, rule="missing") from None
        except OSError as error:
            raise PictureError(
                "the file cannot be read", found=error.strerror or "", rule="unreadable"
            ) from None

    def load_picture(self, max_pixels: int | None = None) -> bytes | Array:
        """The same; an array of too many pixels is refused before it is read.

        By default those are too many that would not fit into memory (`array.check_size`).
        """
        if isinstance(self.data, StoredArray):
            array.check_size(self.data.shape, self.data.dtype, max_pixels)
        return self.load()

    def picture(
        self,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        orientation: Literal["exif", "ignore"] = "exif",
        draft: int | None = None,
        reading: decode.ReadingOptions = decode.DEFAULT,
    ) -> tuple[Pixels, PictureFacts]:
        """Pixels uint8 [h, w, 3] or [h, w, 1], and what the stored picture was like.

        Raises PictureError where there are none.
        """
        return decode.decode(
            self.load_picture(reading.max_pixels),
            mode=mode,
            orientation=orientation,
            draft=draft,
            reading=reading,
        )

    def stamp(self) -> object:
        """Something printable that changes when the picture does; None if it is missing.

        Of a file its size and time, of values in memory a digest.
        """
        try:
            return self._stamp()
        except OSError:
            return None

    def _read(self) -> bytes | Array:
        if self.data is None:  # a row of a table whose picture is not there
            raise FileNotFoundError
        if isinstance(self.data, Path):
            return read_bytes(self.data)
        if isinstance(self.data, bytes | np.ndarray):
            return self.data
        return self.data.read()

    def _stamp(self) -> object:
        if self.data is None:
            return None
        if isinstance(self.data, Path):
            return folder_stamp(self.data) if self.data.is_dir() else file_stamp(self.data)
        if isinstance(self.data, bytes):
            return hashlib.sha256(self.data).hexdigest()
        if isinstance(self.data, np.ndarray):
            return hashlib.sha256(np.ascontiguousarray(self.data).data).hexdigest()
        return self.data.stamp()


class Source(Protocol):
    """What can be extracted from: samples in a fixed order, which can be had by index."""

    @property
    def targets(self) -> Mapping[str, Target]:
        """How each entry of a sample's `target` is to be read."""

    @property
    def kept(self) -> Mapping[str, str]:
        """The Arrow type name of each entry of a sample's `kept`."""

    @property
    def has_group(self) -> bool:
        """Whether samples have groups."""

    @property
    def has_split(self) -> bool:
        """Whether samples have splits."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises PictureError for one of more than `MAX_FILE_BYTES`, OSError for what cannot be read.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        check_size(size)
        return file.read(size)  # no more of it, though it may grow meanwhile


def read_start(path: Path, count: int) -> bytes:
    """The first bytes of a file, at most `count`; raises OSError for what cannot be read."""
    with open_file(path) as file:
        return file.read(count)


def check_size(count: int) -> None:
    """Refuse so many bytes for one input if they are more than `MAX_FILE_BYTES`."""
    if count > MAX_FILE_BYTES:
        raise PictureError(
            "the file is too large",
            expected=f"at most {MAX_FILE_BYTES} bytes",
            found=f"{count} bytes",
            rule="too-large",
        )


def folder_stamp(path: Path) -> list[tuple[str, tuple[int, int]]]:
    """The names of a folder's files, with the size and time of change of each.

    Of one that is not there, as where a link leads nowhere, they are those of the link.
    """
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                stamp = file_stamp(entry.path)
            except OSError:
                status = entry.stat(follow_symlinks=False)
                stamp = status.st_size, status.st_mtime_ns
            found.append((entry.name, stamp))
    return sorted(found)


def file_stamp(path: str | Path) -> tuple[int, int]:
    """A file's size in bytes and its time of change in nanoseconds."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
