"""Several rows of one input: view 0 the plain picture, the others augmented (SPEC section 3).

What all views have in common stands in the metadata (`augmentation`), what was drawn for a row in
its column `processing`: with both and the input, any row can be made again, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from dof_arrow.media.intensity import Pixels
from dof_arrow.sources.sample import Sample

MAX_VIEWS = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPlan:
    """How many rows each input has, and what happens to all but the first.

    >>> ViewPlan().drawn, ViewPlan(count=3, augmentation=Augmentation(flip_x=0.5)).drawn
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
            preset = next(iter(augment.presets()))
            raise UsageError(
                "views and an augmentation need each other",
                found=f"views {self.count}",
                hint=f"Give both: --views 4 --augment {preset}, or a JSON file of your own.",
            )

    @property
    def drawn(self) -> dict[str, str]:
        """The numbers that are drawn for a row, with their Arrow type names."""
        return augment.columns(self.augmentation) if self.augmentation else {}

    @property
    def drawn_type(self) -> pa.DataType:
        """The same as an Arrow struct."""
        kinds = {}
        for name, alias in self.drawn.items():
            kinds[name] = pa.type_for_alias(alias)
        return pa.struct(kinds)

    def draws(self, index: int) -> list[dict[str, float]]:
        """What is drawn for each view of an input, by a number of its own; nothing for view 0."""
        if self.augmentation is None:
            return [{}]
        return [augment.draw(self.augmentation, index, view) for view in range(self.count)]

    def to_json(self) -> dict[str, Json]:
        """What the metadata says under `augmentation`."""
        if self.augmentation is None:
            return {}
        return {"views": self.count, **to_json(self.augmentation)}

    def numbers(self, inputs: int) -> pa.Array:
        """The number of each row's view, for so many whole inputs."""
        of_one = np.arange(self.count, dtype=np.int16)
        return pa.array(np.tile(of_one, inputs))


ONE = ViewPlan()


def from_text(count: int, text: str | Augmentation | None) -> ViewPlan:
    """Views from options: `text` is a preset's name, a JSON file's path or JSON text.

    Raises UsageError if it is none of these.
    """
    declared = augment.load(text) if isinstance(text, str) else text
    return ViewPlan(count=count, augmentation=declared)


def remake(
    processing: Mapping[str, Any] | None,
    sample: Sample,
    core: Core,
    reading: ReadingOptions = DEFAULT,
) -> Pixels:
    """The pixels that a row was made of, decoded, then augmented as the row's `processing` says.

    They are as the core's preprocessing met them: `core([pixels])` gives the row's features again.
    """
    wanted = core.preprocessing
    pixels, _ = sample.picture(
        mode=wanted.mode, orientation=wanted.orientation, draft=wanted.draft, reading=reading
    )
    return augment.apply(pixels, draw_of(processing or {}))


def draw_of(processing: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a row's `processing`, without those that it has not: view 0 has none."""
    return {name: value for name, value in processing.items() if value is not None}
