"""A clip however it is stored -> its frames.

It is a video, a folder of pictures, an array, a DICOM cine or a TIFF file of several pages; which
of them is told by its content. Frame k of a cine is shown from the sum of the frame
times before it on (FrameTimeVector, FrameTime, CineRate, in this order). Grey frames without a
window become 8 bits by one scale for the whole clip, in each of its segments too.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from dof_arrow.errors import PictureError
from dof_arrow.media import decode as picture
from dof_arrow.media.cine import Cine
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.dicom_file import START, is_dicom
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.frame_sequences import ArrayFrames, PictureFrames, TiffFrames, load_array
from dof_arrow.media.frames import EVERY, Cropped, Footage, Sampling
from dof_arrow.media.intensity import Pixels
from dof_arrow.media.segment import Segment
from dof_arrow.media.tiff_pages import is_tiff
from dof_arrow.media.video import Video
from dof_arrow.sources import folder
from dof_arrow.sources.sample import ClipPart, Sample, read_start

_ARRAYS = (b"\x93NUMPY", b"PK\3\4")


def open_clip(
    sample: Sample,
    sampling: Sampling = EVERY,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    orientation: Literal["exif", "ignore"] = "exif",
    reading: ReadingOptions = picture.DEFAULT,
) -> Footage:
    """The clip of a sample, as much of its frames as is to be seen.

    PictureError for what is no clip, MissingExtra without PyAV or pydicom where it is needed.
    """
    if isinstance(sample.data, ClipPart):
        return _segment(sample, sample.data, sampling, mode, orientation, reading)
    return _whole(sample, sampling, mode, orientation, reading)


def _segment(
    sample: Sample,
    part: ClipPart,
    sampling: Sampling,
    mode: Literal["RGB", "L"],
    orientation: Literal["exif", "ignore"],
    reading: ReadingOptions,
) -> Segment:
    whole = replace(sample, data=part.clip)
    start = part.bounds.start
    clip = _whole(whole, sampling, mode, orientation, reading, since=start)
    video = clip.clip if isinstance(clip, Cropped) else clip
    counted = isinstance(video, Video) and not video.is_told
    return Segment(clip, part.bounds, to_the_end=counted)


def _whole(
    sample: Sample,
    sampling: Sampling,
    mode: Literal["RGB", "L"],
    orientation: Literal["exif", "ignore"],
    reading: ReadingOptions,
    since: Fraction | None = None,
) -> Footage:
    """A whole clip, of which nothing is to be seen that is gone before `since`."""
    clip = _opened(sample, sampling, mode, orientation, reading, since)
    box = sampling.box
    # What lies beside the regions of an ultrasound clip may show the patient's name.
    if sampling.crop is None and isinstance(clip, Cine):
        box = clip.region
    return Cropped(clip, box) if box else clip


def _opened(
    sample: Sample,
    sampling: Sampling,
    mode: Literal["RGB", "L"],
    orientation: Literal["exif", "ignore"],
    options: ReadingOptions,
    since: Fraction | None,
) -> Footage:
    def video(stored: Path | bytes) -> Video:
        most = options.max_pixels
        return Video(stored, mode=mode, orientation=orientation, max_pixels=most, since=since)

    stored = sample.data
    if isinstance(stored, Path):
        if stored.is_dir():
            return _of_folder(stored, sampling, mode, orientation, options)
        start = _start(stored)
        if start.startswith(_ARRAYS):
            return ArrayFrames(load_array(stored), mode, sampling.fps, options.max_pixels)
        if not is_dicom(start) and not is_tiff(start):  # a video, which is read as it is decoded
            return video(stored)
    loaded = sample.load()
    if isinstance(loaded, np.ndarray):
        return ArrayFrames(loaded, mode, sampling.fps, options.max_pixels)
    if is_dicom(loaded):
        return Cine(loaded, mode=mode, fps=sampling.fps, reading=options)
    if is_tiff(loaded):
        return TiffFrames(loaded, mode, sampling.fps, orientation, options.max_pixels)
    return video(loaded)


def _start(path: Path) -> bytes:
    try:
        return read_start(path, START)
    except FileNotFoundError:
        raise PictureError("no such file", rule="missing") from None
    except OSError as error:
        raise PictureError(
            "the file cannot be read", found=error.strerror or "", rule="unreadable"
        ) from None


def _of_folder(
    path: Path,
    sampling: Sampling,
    mode: Literal["RGB", "L"],
    orientation: Literal["exif", "ignore"],
    options: ReadingOptions,
) -> PictureFrames:
    paths = list(folder.pictures_only(folder.in_folder(path)).paths())

    def decode(file: Path) -> tuple[Pixels, PictureFacts]:
        data = Sample(key=file.name, data=file).load()
        return picture.decode(data, mode=mode, orientation=orientation, reading=options)

    return PictureFrames(paths, decode, sampling.fps)
