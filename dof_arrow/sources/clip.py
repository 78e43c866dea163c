"""A clip however it is stored -> its frames: video, a folder of pictures, an array, a DICOM cine; told by content.

Frame k of a cine is shown from the sum of the frame times before it on (FrameTimeVector, FrameTime, CineRate, in this
order). Grey frames without a window become 8 bits by one scale for the whole clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from dof_arrow.errors import PictureError
from dof_arrow.media import decode as picture
from dof_arrow.media import dicom, facts, frames, image
from dof_arrow.media.cine import Cine
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Cropped, Footage, Frames, PictureFrames, Sampling
from dof_arrow.media.video import Video
from dof_arrow.sources.sample import Sample, read_bytes

_ARRAYS = (b"\x93NUMPY", b"PK\3\4")


def open_clip(
    sample: Sample,
    sampling: Sampling = frames.EVERY,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    orientation: Literal["exif", "ignore"] = "exif",
    reading: ReadingOptions = picture.DEFAULT,
) -> Footage:
    """The clip of a sample, as much of its frames as is to be seen.

    PictureError for what is no clip, MissingExtra without PyAV or pydicom where it is needed.
    """
    clip = _opened(sample, sampling, mode, orientation, reading)
    own = clip.region if isinstance(clip, Cine) and sampling.crop is None else None
    box = sampling.box or own
    return Cropped(clip, box) if box else clip


def _opened(
    sample: Sample,
    sampling: Sampling,
    mode: Literal["RGB", "L"],
    orientation: Literal["exif", "ignore"],
    reading: ReadingOptions,
) -> Footage:
    data = sample.data
    if isinstance(data, Path) and data.is_dir():
        return _of_folder(data, sampling, mode, orientation, reading)
    start = _start(data) if isinstance(data, Path) else b""
    if isinstance(data, Path) and start.startswith(_ARRAYS):
        return Frames(frames.load_array(data), mode, sampling.fps)
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
        raise PictureError(
            "the file cannot be read", found=error.strerror or "", rule="unreadable"
        ) from None


def _of_folder(
    folder: Path,
    sampling: Sampling,
    mode: Literal["RGB", "L"],
    orientation: Literal["exif", "ignore"],
    reading: ReadingOptions,
) -> PictureFrames:
    from dof_arrow.sources import folder as files

    found = files.pictures_only(files.in_folder(folder))

    def decode(path: Path) -> tuple[image.Pixels, facts.PictureFacts]:
        return picture.decode(read_bytes(path), mode=mode, orientation=orientation, reading=reading)

    return PictureFrames([folder / name for name in found.names.to_pylist()], decode, sampling.fps)
