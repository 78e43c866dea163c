"""Pictures and clips decoded when a batch asks for them.

Draws of the augmentation follow from (seed, epoch, position): no two workers draw the same, and a
batch is the same whoever makes it. A clip takes one draw.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import DofWarning, SourceError
from dof_arrow.loader.raw.picture_form import PictureForm
from dof_arrow.loader.raw.worker_pool import WorkerPool
from dof_arrow.media import augment
from dof_arrow.sampling.permutation import Rows, key
from dof_arrow.sources.sample import Data, Sample, Source
from dof_arrow.tables.gather import Filled, Moment

Array = NDArray[Any]


class Draw(NamedTuple):
    """What numbers of an augmentation follow from."""

    seed: int
    number: int


class Ask(NamedTuple):
    """A stored picture, and the draw of its augmentation, None for the plain picture."""

    data: Data
    draw: Draw | None


def write_all(form: PictureForm, asks: Sequence[Ask], out: Array) -> list[int | SourceError]:
    """Write pictures or clips to the rows of `out`.

    Of each, how many frames it has, or why it cannot be read.
    """
    return [_written(form, ask, row) for ask, row in zip(asks, out, strict=True)]


def _written(form: PictureForm, ask: Ask, out: Array) -> int | SourceError:
    numbers: Mapping[str, float] = {}
    if form.augmentation is not None and ask.draw is not None:
        seeded = replace(form.augmentation, seed=ask.draw.seed)
        numbers = augment.draw(seeded, ask.draw.number, 1)
    try:
        return form.write(Sample(key="", data=ask.data), out, numbers)
    except SourceError as error:
        out[...] = 0  # what lay in the memory may be no number
        return error


class LiveDecoder:
    """The gather of a source's pictures: rows are decoded when a batch asks for them.

    `places` are the samples that rows stand for. With `skip`, what cannot be read is left out and
    noted in `errors` by its name; else SourceError, which names it, is raised.
    """

    blocks = None
    window = 1

    def __init__(
        self,
        source: Source,
        places: Rows,
        form: PictureForm,
        *,
        workers: int | None,
        skip: bool,
        errors: dict[str, SourceError],
    ) -> None:
        self._source = source
        self._places = places
        self._form = form
        self._skip = skip
        self._errors = errors
        self._pool = WorkerPool(partial(write_all, form), workers)

    def expect(self, blocks: Sequence[int]) -> None:
        """Nothing: each picture can be had alone."""

    def fill(self, rows: Rows, out: Array, moment: Moment | None = None) -> Filled | None:
        """Write these rows to `out` [k, width], augmented where a moment is given."""
        samples = [self._source[place] for place in self._places[rows].tolist()]
        draws = self._draws(moment, len(rows))
        asks = [Ask(sample.data, draw) for sample, draw in zip(samples, draws, strict=True)]
        found = self._pool.each(asks, out.reshape(len(rows), *self._form.shape))
        lengths = np.zeros(len(rows), np.int32)
        for place, answer in enumerate(found):
            if isinstance(answer, SourceError):
                self._failed(samples[place].key, answer)
            else:
                lengths[place] = answer
        if self._form.varies or not lengths.all():
            return Filled(lengths, self._form.varies)
        return None

    def _draws(self, moment: Moment | None, count: int) -> Sequence[Draw | None]:
        if moment is None or self._form.augmentation is None:
            return [None] * count
        seed = key(moment.seed, moment.epoch, "picture", self._form.augmentation.seed)
        return [Draw(seed, position) for position in moment.positions.tolist()]

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
