"""Several rows of one input: view 0 the plain picture, the others augmented, each by numbers of its own (SPEC 3).

What all views have in common stands in the metadata (`augmentation`), what was drawn for a row in its `processing`
column: with both and the input, any row can be made again, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import Core
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.media import augment
from dof_arrow.media.augment import Augmentation
from dof_arrow.media.decode import DEFAULT, ReadingOptions
from dof_arrow.media.image import Pixels
from dof_arrow.sources.sample import Sample

MAX_VIEWS = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPlan:
    """How many rows each input has, and what happens to all but the first.

    >>> Views().drawn, ViewPlan(count=3, augmentation=Augmentation(flip_x=0.5)).drawn
    ({}, {'flip_x': 'int64'})
    """

    count: int = 1
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_VIEWS:
            raise UsageError(
                "no such number of views", expected=f"1 to {MAX_VIEWS}", found=str(self.count)
            )
        if (self.count > 1) != (self.augmentation is not None):
            hint = f"Give both: --views 4 --augment {next(iter(augment.presets()))}, or a JSON file of your own."
            raise UsageError(
                "views and an augmentation need each other", found=f"views {self.count}", hint=hint
            )

    @property
    def drawn(self) -> dict[str, str]:
        """The numbers that are drawn for a row, with their Arrow type names."""
        return augment.columns(self.augmentation) if self.augmentation else {}

    def draws(self, index: int) -> list[dict[str, float]]:
        """What is drawn for each view of an input, by its number; nothing for view 0."""
        if self.augmentation is None:
            return [{}]
        return [augment.draw(self.augmentation, index, view) for view in range(self.count)]

    def to_json(self) -> dict[str, Json]:
        """What the metadata says under `augmentation`."""
        return {"views": self.count, **to_json(self.augmentation)} if self.augmentation else {}

    def columns(self, draws: Sequence[Mapping[str, float]]) -> dict[str, pa.Array]:
        """Columns of a staged block: the number of each row's view, and what was drawn; none if there is one view.

        `draws` are those of whole inputs, one behind the other.
        """
        if self.augmentation is None:
            return {}
        return self.drawn_columns(self.numbers(len(draws) // self.count), draws)

    def drawn_columns(
        self, numbers: Any, draws: Sequence[Mapping[str, float]]
    ) -> dict[str, pa.Array]:
        """The same of rows whose views have these numbers."""
        kind = pa.struct([(name, pa.type_for_alias(alias)) for name, alias in self.drawn.items()])
        return {
            "view": pa.array(numbers, pa.int16()),
            "drawn": pa.array([dict(d) for d in draws], kind),
        }

    def numbers(self, inputs: int) -> pa.Array:
        """The column `view` of so many inputs."""
        return pa.array(np.tile(np.arange(self.count, dtype=np.int16), inputs), pa.int16())


ONE = ViewPlan()


def from_text(count: int, text: str | Augmentation | None) -> ViewPlan:
    """Views as they are asked for: `text` is a preset's name, a JSON file's path or JSON text; UsageError if wrong."""
    return ViewPlan(count=count, augmentation=augment.load(text) if isinstance(text, str) else text)


def remake(
    processing: Mapping[str, Any] | None,
    sample: Sample,
    core: Core,
    reading: ReadingOptions = DEFAULT,
) -> Pixels:
    """The pixels that a row was made of, as its core's preprocessing met them: decoded, then augmented as the row's
    `processing` says. `core(...)` of it gives the row's features again."""
    wanted = core.preprocessing
    pixels, _ = sample.picture(
        mode=wanted.mode, orientation=wanted.orientation, draft=wanted.draft, reading=reading
    )
    return augment.apply(
        pixels, {name: value for name, value in (processing or {}).items() if value is not None}
    )
