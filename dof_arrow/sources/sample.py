"""One input, and what a source of them is."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dof_arrow import errors
from dof_arrow.format.spec.metadata import Target
from dof_arrow.media import decode, facts, image

Array = npt.NDArray[Any]
Column = Any  # pyarrow.Array, which comes without types
Value = bool | int | float | str | list[int] | None

MAX_FILE_BYTES = 1 << 30


@runtime_checkable
class Stored(Protocol):
    """A picture inside something larger: an archive, an array, a table. Read when asked for, from any thread."""

    def read(self) -> bytes | Array:
        """The picture's bytes, or its values [h, w], [h, w, c] or [c, h, w]; raises PictureError or OSError."""

    def stamp(self) -> object:
        """Something printable that changes when the picture does; raises OSError."""


Data = Path | bytes | Array | Stored | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One input: its own name, where its picture is (None: nowhere), and what is known of it.

    `target` holds a class index, a number or a list of class indexes under each target's name; None where missing.

    >>> Sample(key="a.png", data=b"bytes").load()
    b'bytes'
    """

    key: str
    data: Data
    target: Mapping[str, Value] = field(default_factory=dict)
    group: str | None = None
    split: str | None = None
    kept: Mapping[str, Value] = field(default_factory=dict)

    def load(self) -> bytes | Array:
        """The stored picture; PictureError with rule `missing`, `unreadable` or `too-large`, which names no path."""
        try:
            if self.data is None:
                raise FileNotFoundError
            if isinstance(self.data, Path):
                return read_bytes(self.data)
            return self.data if isinstance(self.data, (bytes, np.ndarray)) else self.data.read()
        except FileNotFoundError:
            raise errors.PictureError("no such file", rule="missing") from None
        except OSError as error:
            raise errors.PictureError(
                "the file cannot be read", found=error.strerror or "", rule="unreadable"
            ) from None

    def picture(
        self,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        orientation: Literal["exif", "ignore"] = "exif",
        draft: int | None = None,
        reading: decode.ReadingOptions = decode.DEFAULT,
    ) -> tuple[image.Pixels, facts.PictureFacts]:
        """Pixels uint8 [h, w, 3] or [h, w, 1], and what the stored picture was like; PictureError if there are none."""
        return decode.decode(
            self.load(), mode=mode, orientation=orientation, draft=draft, reading=reading
        )

    def stamp(self) -> object:
        """Something printable that changes when the picture does: a file's size and time, a digest; None if missing."""
        try:
            if isinstance(self.data, Path):
                return folder_stamp(self.data) if self.data.is_dir() else file_stamp(self.data)
            if isinstance(self.data, (bytes, np.ndarray)):
                values = (
                    np.frombuffer(self.data, np.uint8)
                    if isinstance(self.data, bytes)
                    else self.data
                )
                return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
            return self.data.stamp() if self.data is not None else None
        except OSError:
            return None


class Source(Protocol):
    """What can be extracted from; samples stand in a fixed order and can be asked for by index, in any order."""

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
    """A file's bytes; PictureError for one of more than `MAX_FILE_BYTES`, OSError for what cannot be read."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        expected, found = f"at most {MAX_FILE_BYTES} bytes", f"{status.st_size} bytes"
        raise errors.PictureError("the file is too large", "", expected, found, rule="too-large")
    return path.read_bytes()


def folder_stamp(path: Path) -> list[tuple[str, tuple[int, int]]]:
    """The names of a folder's files, with the size and time of change of each."""
    return sorted((entry.name, file_stamp(entry.path)) for entry in os.scandir(path))


def file_stamp(path: str | Path) -> tuple[int, int]:
    """A file's size and time of change."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
