"""A clip however it is stored -> its frames: video, a folder of pictures, an array, a DICOM cine; told by content.

Frame k of a cine is shown from the sum of the frame times before it on (FrameTimeVector, FrameTime, CineRate, in this
order). Grey frames without a window become 8 bits by one scale for the whole clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property, partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from dof_arrow import dicom, footage, media, picture
from dof_arrow.dicom import Moving
from dof_arrow.footage import Box, Cropped, Footage, Frames, Pictures, Sampling, Still, steady, unseen
from dof_arrow.media import PictureError, PictureFacts, Pixels
from dof_arrow.picture import Reading
from dof_arrow.sample import Sample, read_bytes
from dof_arrow.video import Video

_ARRAYS = (b"\x93NUMPY", b"PK\3\4")


def open_clip(
    sample: Sample, sampling: Sampling = footage.EVERY, *, mode: Literal["RGB", "L"] = "RGB",
    orientation: Literal["exif", "ignore"] = "exif", reading: Reading = picture.DEFAULT,
) -> Footage:
    """The clip of a sample, as much of its frames as is to be seen.

    PictureError for what is no clip, MissingExtra without PyAV or pydicom where it is needed.
    """
    clip = _opened(sample, sampling, mode, orientation, reading)
    own = clip.region if isinstance(clip, Cine) and sampling.crop is None else None
    box = sampling.box or own
    return Cropped(clip, box) if box else clip


def _opened(
    sample: Sample, sampling: Sampling, mode: Literal["RGB", "L"], orientation: Literal["exif", "ignore"],
    reading: Reading,
) -> Footage:
    data = sample.data
    if isinstance(data, Path) and data.is_dir():
        return _of_folder(data, sampling, mode, orientation, reading)
    start = _start(data) if isinstance(data, Path) else b""
    if isinstance(data, Path) and start.startswith(_ARRAYS):
        return Frames(footage.load_array(data), mode, sampling.fps)
    streamed = isinstance(data, Path) and not dicom.is_dicom(start)
    stored = data if streamed and isinstance(data, Path) else sample.load()
    if isinstance(stored, np.ndarray):
        return Frames(stored, mode, sampling.fps)
    if isinstance(stored, bytes) and dicom.is_dicom(stored):
        return Cine(stored, mode=mode, fps=sampling.fps, reading=reading)
    return Video(stored, mode=mode, orientation=orientation, max_pixels=reading.max_pixels)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(132)
    except FileNotFoundError:
        raise PictureError("no such file", rule="missing") from None
    except OSError as error:
        raise PictureError("the file cannot be read", found=error.strerror or "", rule="unreadable") from None


def _of_folder(
    folder: Path, sampling: Sampling, mode: Literal["RGB", "L"], orientation: Literal["exif", "ignore"],
    reading: Reading,
) -> Pictures:
    from dof_arrow import files

    found = files.pictures_only(files.in_folder(folder))

    def decode(path: Path) -> tuple[media.Pixels, media.PictureFacts]:
        return picture.decode(read_bytes(path), mode=mode, orientation=orientation, reading=reading)

    return Pictures([folder / name for name in found.names.to_pylist()], decode, sampling.fps)


class Cine:
    """A clip in the bytes of a DICOM file; frames are decoded one by one.

    Raises PictureError where the file is refused or cannot be read (see `dicom.decode`), MissingExtra without pydicom.
    """

    def __init__(
        self, data: bytes, *, mode: Literal["RGB", "L"] = "RGB", fps: float | None = None,
        reading: Reading = picture.DEFAULT,
    ) -> None:
        self._data, self._mode, self._fps, self._reading = data, mode, fps, reading

    @cached_property
    def _about(self) -> Moving:
        return dicom.moving(self._data, self._reading.allow)

    @property
    def region(self) -> Box | None:
        """The box that holds the pictures, where the file says so: what lies beside may name the patient."""
        return self._about.region

    @cached_property
    def facts(self) -> PictureFacts:
        """What the file is like."""
        return self._decoded(0)[1]

    def stills(self) -> Iterator[Still]:
        """All frames, in order."""
        return (still._replace(pixels=partial(self._seen, k)) for k, still in enumerate(self.times()))

    def times(self) -> Iterator[Still]:
        """The same, without pixels."""
        if not self._about.lasting:
            return steady(self._about.frames, self._fps, unseen)
        ends = accumulate((Fraction(str(seconds)) for seconds in self._about.lasting), initial=Fraction(0))
        return (Still(start, stop, unseen) for start, stop in pairwise(ends))

    def _seen(self, frame: int) -> Pixels:
        return self._decoded(frame)[0]

    def _decoded(self, frame: int) -> tuple[Pixels, PictureFacts]:
        return dicom.decode(self._data, mode=self._mode, frame=frame, max_pixels=self._reading.max_pixels,
                            allow=self._reading.allow, limits=self._limits)

    @cached_property
    def _limits(self) -> tuple[int, int] | None:
        """What becomes black and white in all frames; only asked for where no window says so."""
        if self._about.limits is not None or self._about.frames == 1:
            return self._about.limits
        found = [dicom.extremes(self._data, k, self._reading.allow) for k in range(self._about.frames)]
        return min(low for low, _ in found), max(high for _, high in found)
