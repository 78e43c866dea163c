"""Pictures and clips as rows of a batch, made when they are asked for: decoded, cropped, fitted, augmented.

What happens is the order of `augment`, with the fit behind the crop: so the crop has all of the picture to choose from,
and what comes after works on few pixels. A clip takes one draw. Draws follow from (seed, epoch, position), so that no
two workers draw the same and a batch is the same whoever makes it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import repeat
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.preprocess import Preprocess
from dof_arrow.errors import DofWarning, PictureError, SourceError
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import output_size
from dof_arrow.loader.raw.worker_pool import Crew
from dof_arrow.media import augment, decode
from dof_arrow.media.augment import Augmentation
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Sampling, Watched, chosen
from dof_arrow.media.image import Pixels
from dof_arrow.sampling.permutation import Rows, key
from dof_arrow.sources import clip as motion
from dof_arrow.sources.sample import Data, Sample, Source
from dof_arrow.tables.gather import Filled, Moment

Array = NDArray[Any]

_UNIT = np.float32(1 / 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What rows are: `shape` [h, w, c] of a picture or [frames, h, w, c] of a clip, uint8 0-255 or float32 0-1.

    `wanted` says how pictures are decoded and fitted; `frames` of a clip are spread evenly over it, else all come that
    `sampling` takes.
    """

    wanted: Preprocessing
    shape: tuple[int, ...] = ()
    dtype: Literal["uint8", "float32"] = "uint8"
    sampling: Sampling | None = None
    frames: int | None = None
    augmentation: Augmentation | None = None
    reading: ReadingOptions = decode.DEFAULT

    def first(self, sample: Sample) -> tuple[int, ...]:
        """The shape [h, w, c] that rows have, where it is that of the first picture."""
        if (size := output_size(self.wanted)) is not None:
            return *size, 1 if self.wanted.mode == "L" else 3
        return next(iter(self._pixels(sample))).shape

    def write(self, sample: Sample, out: Array, draw: Mapping[str, float]) -> int:
        """Write a picture or clip to `out` [*shape]; how many frames that are. PictureError if it cannot be read."""
        crop = {name: value for name, value in draw.items() if name.startswith("crop_")}
        rest = {name: value for name, value in draw.items() if name not in crop}
        seen = np.stack([self._fitted(pixels, crop) for pixels in self._pixels(sample)])
        seen = augment.apply(seen, rest) if rest else seen
        rows, count = out if self.sampling else out[None], len(seen)
        np.multiply(seen, _UNIT, out=rows[:count]) if self.dtype == "float32" else np.copyto(
            rows[:count], seen
        )
        rows[count:] = 0
        return count

    def _pixels(self, sample: Sample) -> Iterator[Pixels]:
        how: Any = {
            "mode": self.wanted.mode,
            "orientation": self.wanted.orientation,
            "reading": self.reading,
        }
        if self.sampling is None:
            yield sample.picture(draft=self.wanted.draft, **how)[0]
        elif self.frames is None:
            clip = motion.open_clip(sample, self.sampling, **how)
            yield from (frame.pixels for frame in Watched(clip, self.sampling))
        else:
            yield from _spread(
                motion.open_clip(sample, self.sampling, **how), self.sampling, self.frames
            )

    def _fitted(self, pixels: Pixels, crop: Mapping[str, float]) -> Pixels:
        height, width, channels = self.shape[-3:]
        if pixels.shape != (height, width, channels) and not self.wanted.resize:
            raise PictureError(
                "a picture of another size",
                expected=f"{width} x {height}",
                rule="size",
                found=f"{pixels.shape[1]} x {pixels.shape[0]}",
                hint="Have all fitted: size=(h, w).",
            )
        pixels = augment.apply(pixels, crop) if crop else pixels
        if pixels.shape == (height, width, channels):
            return pixels
        fitted: Pixels = _fitting(self.wanted, height, width)(pixels)
        return fitted


@lru_cache(8)
def _fitting(wanted: Preprocessing, height: int, width: int) -> Preprocess:
    """What fits a picture into the size; the cut-out of one that is left as it is fills its place."""
    return Preprocess(
        wanted if wanted.resize else replace(wanted, fit="squash", resize=(height, width))
    )


def _spread(clip: Any, sampling: Sampling, count: int) -> Iterator[Pixels]:
    """So many frames, each from the middle of an equal part of those that are taken; of few some come again."""
    total = sum(1 for _ in chosen(clip.times(), sampling))
    wanted = Counter((2 * k + 1) * total // (2 * count) for k in range(count))
    with closing(clip.stills()) as stills:
        for place, (_, _, still) in enumerate(chosen(stills, sampling)):
            if wanted[place]:
                yield from repeat(still.pixels(), wanted[place])
            if place == max(wanted):
                return
    raise PictureError("a clip without frames, or that ends too early", rule="empty")


class Ask(NamedTuple):
    """A stored picture, and the seed and number by which its augmentation is drawn, None for none."""

    data: Data
    drawn: tuple[int, int] | None


def write_all(form: Form, asks: Sequence[Ask], out: Array) -> list[int | SourceError]:
    """Write pictures or clips to the rows of `out`; of each how many frames, or why it cannot be read."""
    return [_written(form, ask, row) for ask, row in zip(asks, out, strict=True)]


def _written(form: Form, ask: Ask, out: Array) -> int | SourceError:
    draw: Mapping[str, float] = {}
    if form.augmentation is not None and ask.drawn is not None:
        draw = augment.draw(replace(form.augmentation, seed=ask.drawn[0]), ask.drawn[1], 1)
    try:
        return form.write(Sample(key="", data=ask.data), out, draw)
    except SourceError as error:
        out[...] = 0  # what lay in the memory may be no number
        return error


class Live:
    """The gather of a source's pictures: rows are decoded when a batch asks for them.

    `places` are the samples that rows stand for. `skip` leaves out what cannot be read and notes it in `errors`, by
    name; else it raises SourceError, which names it.
    """

    blocks, window = None, 1

    def __init__(
        self,
        source: Source,
        places: Rows,
        form: Form,
        *,
        workers: int | None,
        skip: bool,
        errors: dict[str, SourceError],
    ) -> None:
        self._source, self._places, self._form, self._skip, self._errors = (
            source,
            places,
            form,
            skip,
            errors,
        )
        self._crew = Crew(partial(write_all, form), workers)

    def expect(self, blocks: Sequence[int]) -> None:
        """Nothing: each picture can be had alone."""

    def fill(self, rows: Rows, out: Array, moment: Moment | None = None) -> Filled | None:
        """Write these rows to `out` [k, width], augmented where a moment is given."""
        samples = [self._source[place] for place in self._places[rows].tolist()]
        asks = [
            Ask(sample.data, drawn)
            for sample, drawn in zip(samples, self._drawn(moment, len(rows)), strict=True)
        ]
        found = self._crew.each(asks, out.reshape(len(rows), *self._form.shape))
        for sample, answer in zip(samples, found, strict=True):
            if isinstance(answer, SourceError):
                self._failed(sample.key, answer)
        lengths = np.array([0 if isinstance(n, SourceError) else n for n in found], np.int32)
        padded = self._form.sampling is not None and self._form.frames is None
        return Filled(lengths, padded) if padded or not lengths.all() else None

    def _drawn(self, moment: Moment | None, count: int) -> Sequence[tuple[int, int] | None]:
        if moment is None or self._form.augmentation is None:
            return [None] * count
        seed = key(moment.seed, moment.epoch, "picture", self._form.augmentation.seed)
        return [(seed, position) for position in moment.positions.tolist()]

    def _failed(self, name: str, error: SourceError) -> None:
        if not self._skip:
            raise SourceError(
                error.what,
                name,
                error.expected,
                error.found,
                error.hint or 'Mend or remove it, or leave such pictures out: on_error="skip".',
            )
        if not self._errors:
            warnings.warn(
                f"{name} is left out: {error}. Others that cannot be read are too; see `errors`",
                DofWarning,
                stacklevel=2,
            )
        self._errors[name] = error
