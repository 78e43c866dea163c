"""Clips without a clock of their own: folders of pictures, pages of a TIFF file, and arrays.

Frame k is shown from k / fps on, or from second k on where no `fps` is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import ZipInfo

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError
from dof_arrow.media import array, image
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.frames import Still, steady, unseen
from dof_arrow.media.intensity import Pixels, rule_for

Array = npt.NDArray[Any]

_MOST_UNPACKED = 4 << 30  # bytes of an .npz that are held in memory


@dataclass(frozen=True, slots=True)
class PictureFrames:
    """A clip that is a folder of pictures, in the order of `paths`.

    `decode` gives the pixels and the facts of one.
    """

    paths: Sequence[Path]
    decode: Callable[[Path], tuple[Pixels, PictureFacts]]
    fps: float | None = None

    @property
    def facts(self) -> PictureFacts:
        """Those of the first picture, but for how many there are, and their bytes."""
        first = self.decode(self.paths[0])[1]
        size = sum(map(_size, self.paths))
        return replace(first, frames=len(self.paths), bytes=size)

    @property
    def lost(self) -> str:
        """No frames: each is stored by itself."""
        return ""

    def stills(self) -> Iterator[Still]:
        """One frame a picture."""
        return steady(len(self.paths), self.fps, self._seen)

    times = stills

    def _seen(self, number: int) -> Pixels:
        return self.decode(self.paths[number])[0]


def _size(path: Path) -> int:
    """The bytes of a file; 0 where there is none, which is said when it is decoded."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class TiffFrames:
    """A clip that is the bytes of a TIFF file, a page a frame; PictureError where it is damaged.

    Levels of a pyramid and masks are no frames (`tiff_pages`).
    """

    data: bytes
    mode: Literal["RGB", "L"] = "RGB"
    fps: float | None = None
    orientation: Literal["exif", "ignore"] = "exif"
    max_pixels: int | None = None

    @property
    def facts(self) -> PictureFacts:
        """Those of the first page, but for how many there are."""
        return self._pages().decode(0)[1]

    @property
    def lost(self) -> str:
        """No frames: each page is stored by itself."""
        return ""

    def stills(self) -> Iterator[Still]:
        """One frame a page."""
        pages = self._pages()
        return steady(len(pages.numbers), self.fps, lambda number: pages.decode(number)[0])

    def times(self) -> Iterator[Still]:
        """The same, without decoding."""
        return steady(len(self._pages().numbers), self.fps, unseen)

    def _pages(self) -> image.TiffPages:
        return image.TiffPages(
            self.data, mode=self.mode, orientation=self.orientation, max_pixels=self.max_pixels
        )


@dataclass(frozen=True, slots=True)
class ArrayFrames:
    """A clip that is an array [frames, h, w] or [frames, h, w, c], mapped or in memory.

    Numbers become 8 bits by the range of the whole clip (`media.intensity`). Raises PictureError
    for arrays of other shapes.
    """

    values: Array
    mode: Literal["RGB", "L"] = "RGB"
    fps: float | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.values.ndim not in (3, 4) or not self.values.size:
            raise PictureError(
                "an array that is no clip",
                expected="[frames, h, w] or [frames, h, w, c]",
                found=str(list(self.values.shape)),
                rule="unsupported-mode",
            )
        array.check_size(self.values.shape[1:], self.values.dtype, self.max_pixels)

    @property
    def facts(self) -> PictureFacts:
        """Those of the first frame, but for how many there are, and their bytes."""
        first = array.decode(self.values[0], mode=self.mode)[1]
        return replace(first, frames=len(self.values), bytes=self.values.nbytes)

    @property
    def lost(self) -> str:
        """No frames: each is stored by itself."""
        return ""

    def stills(self) -> Iterator[Still]:
        """One frame a row."""
        # One range for all frames, or the clip would flicker.
        to_bytes = rule_for(self.values.dtype, self.values)

        def see(number: int) -> Pixels:
            frame = to_bytes(self.values[number])
            return array.decode(frame, mode=self.mode)[0]

        return steady(len(self.values), self.fps, see)

    def times(self) -> Iterator[Still]:
        """The same, without looking at the values."""
        return steady(len(self.values), self.fps, unseen)


def load_array(path: Path) -> Array:
    """The array of an .npy file, mapped, or the only clip in an .npz; nothing is unpickled.

    Raises PictureError for files that cannot be read, and for an .npz of no clip or several.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            _check_packed(found.zip.infolist())
            return _only_clip([found[name] for name in found.files])
    except PictureError:
        raise
    # A damaged header may claim any size, and a damaged archive raises what its parsing does.
    except Exception:
        raise PictureError("the array cannot be read") from None


def _check_packed(members: Sequence[ZipInfo]) -> None:
    """Refuse an .npz that would take too much memory, before any of it is unpacked."""
    size = sum(member.file_size for member in members)
    if size > _MOST_UNPACKED:
        raise PictureError(
            "too large an .npz",
            expected=f"at most {_MOST_UNPACKED} bytes",
            found=f"{size} bytes",
            hint="Save the clip as .npy.",
            rule="too-large",
        )


def _only_clip(arrays: Sequence[Array]) -> Array:
    fitting = [values for values in arrays if values.ndim in (3, 4)]
    if len(fitting) != 1:
        raise PictureError(
            "the file holds no clip, or several",
            expected="one array of 3 or 4 axes",
            found=str(len(fitting)),
            rule="unsupported-mode",
        )
    return fitting[0]
