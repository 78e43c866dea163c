"""What rows of a batch of pictures or clips are: decoded, cropped, fitted, augmented.

Changes are made in the order of `dof_arrow.media.augment`, with the fit behind the crop: so the
crop has all of the picture to choose from, and what comes after works on few pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import repeat
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.preprocess import Preprocess
from dof_arrow.errors import PictureError
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import output_size
from dof_arrow.media import augment, decode
from dof_arrow.media.augment import Augmentation
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Footage, Sampling, Watched, chosen, lost_at_start
from dof_arrow.media.intensity import Pixels
from dof_arrow.sources.clip import open_clip
from dof_arrow.sources.sample import Sample

Array = NDArray[Any]

_UNIT = np.float32(1 / 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureForm:
    """What rows are: uint8 0-255 or float32 0-1 of `shape`.

    `shape` is [h, w, c] of a picture or [frames, h, w, c] of a clip. `wanted` says how pictures are
    decoded and fitted. `frames` of a clip are spread evenly over it; without it all come that
    `sampling` takes.
    """

    wanted: Preprocessing
    shape: tuple[int, ...] = ()
    dtype: Literal["uint8", "float32"] = "uint8"
    sampling: Sampling | None = None
    frames: int | None = None
    augmentation: Augmentation | None = None
    reading: ReadingOptions = decode.DEFAULT

    @property
    def varies(self) -> bool:
        """Whether rows are clips of different lengths."""
        return self.sampling is not None and self.frames is None

    def picture_shape(self, sample: Sample) -> tuple[int, ...]:
        """The shape [h, w, c] of all pictures; without a size, that of this sample's first one.

        Raises PictureError if it cannot be read.
        """
        size = output_size(self.wanted)
        if size is not None:
            return *size, 1 if self.wanted.mode == "L" else 3
        first = next(iter(self._pixels(sample)))
        return first.shape

    def write(self, sample: Sample, out: Array, draw: Mapping[str, float]) -> int:
        """Write a picture or clip to `out` [*shape]; how many frames that are.

        `draw` holds the numbers of its augmentation. Raises PictureError if it cannot be read.
        """
        crop: dict[str, float] = {}
        others: dict[str, float] = {}
        for name, number in draw.items():
            where = crop if name.startswith("crop_") else others
            where[name] = number
        seen = np.stack([self._fitted(pixels, crop) for pixels in self._pixels(sample)])
        if others:
            seen = augment.apply(seen, others)
        count = len(seen)
        rows = out[None] if self.sampling is None else out
        if self.dtype == "float32":
            np.multiply(seen, _UNIT, out=rows[:count])
        else:
            np.copyto(rows[:count], seen)
        rows[count:] = 0  # behind the end of a clip, where another one lay before
        return count

    def _pixels(self, sample: Sample) -> Iterator[Pixels]:
        """The picture, or the frames of the clip."""
        if self.sampling is None:
            pixels, _ = sample.picture(
                mode=self.wanted.mode,
                orientation=self.wanted.orientation,
                draft=self.wanted.draft,
                reading=self.reading,
            )
            yield pixels
            return
        clip = open_clip(
            sample,
            self.sampling,
            mode=self.wanted.mode,
            orientation=self.wanted.orientation,
            reading=self.reading,
        )
        if self.frames is None:
            for frame in Watched(clip, self.sampling):
                yield frame.pixels
        else:
            yield from _spread(clip, self.sampling, self.frames)

    def _fitted(self, pixels: Pixels, crop: Mapping[str, float]) -> Pixels:
        """A picture cut out and brought to the size of all."""
        height, width, channels = self.shape[-3:]
        if pixels.shape != (height, width, channels) and not self.wanted.resize:
            raise PictureError(
                "a picture of another size",
                expected=f"{width} x {height}",
                rule="size",
                found=f"{pixels.shape[1]} x {pixels.shape[0]}",
                hint="Have all fitted: size=(h, w).",
            )
        if crop:
            pixels = augment.apply(pixels, crop)
        if pixels.shape == (height, width, channels):
            return pixels
        fitted: Pixels = _fitting(self.wanted, height, width)(pixels)
        return fitted


@lru_cache(8)
def _fitting(wanted: Preprocessing, height: int, width: int) -> Preprocess:
    """What fits a picture into the size.

    Where pictures are left as they are, only a cut-out needs it, and fills the size.
    """
    if not wanted.resize:
        wanted = replace(wanted, fit="squash", resize=(height, width))
    return Preprocess(wanted)


def _spread(clip: Footage, sampling: Sampling, count: int) -> Iterator[Pixels]:
    """So many frames, each from the middle of an equal part of those that are taken.

    Of few frames some come again.
    """
    total = _count(clip, sampling)
    # The middle of the k-th of n parts is at (k + 1/2) / n of the whole.
    wanted = Counter((2 * part + 1) * total // (2 * count) for part in range(count))
    last = max(wanted)
    with closing(clip.stills()) as stills:  # type: ignore[type-var]
        for place, (_, _, still) in enumerate(chosen(stills, sampling)):
            if not place:
                lost_at_start(clip, sampling)
            if wanted[place]:
                yield from repeat(still.pixels(), wanted[place])
            if place == last:
                return
    raise PictureError("a clip without frames, or that ends too early", rule="empty")


def _count(clip: Footage, sampling: Sampling) -> int:
    """How many frames are taken; of a clip that may break and be kept, those before it breaks."""
    if sampling.on_break == "fail":
        return sum(1 for _ in chosen(clip.times(), sampling))
    count = 0
    with closing(clip.stills()) as stills, suppress(PictureError):  # type: ignore[type-var]
        for _ in chosen(stills, sampling):
            count += 1
    return count
