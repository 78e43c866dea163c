"""What can be asked of `dof.pictures` and of its loader: the options, each with its meaning.

`loader/raw/typed.py` is written from these classes: `python -m tests.support.typed_options`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from dof_arrow.format.spec.preprocessing import Fit
from dof_arrow.loader.options import Options, RowOptions
from dof_arrow.media.augment import Augmentation
from dof_arrow.sources.asked import TableOptions

Augment = str | Augmentation | Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawOptions(TableOptions):
    """Which pictures or clips are loaded, what is known of them, and how they are decoded."""

    split: str | Mapping[str, float] | None = None
    """A column, or fractions as `"train=0.8,valid=0.2"` or a mapping; they never part a group."""

    seed: int = 0
    """The seed of a split by fractions."""

    size: tuple[int, int] | int | None = None
    """(height, width) or one side that all are resized to, as extraction does it. Without it all
    must be as large as the first."""

    fit: Fit | None = None
    """How pictures of other proportions fit into `size`: `crop` (the default), `pad`, `squash`."""

    mode: Literal["RGB", "L"] = "RGB"
    """Colours, or grey levels."""

    dtype: Literal["uint8", "float32"] = "uint8"
    """Numbers 0 to 255 as uint8, or 0 to 1 as float32, which a loader can `normalize`."""

    draft: int | None = None
    """JPEG is decoded at a smaller size at once, with sides of at least so many pixels."""

    clips: bool | None = None
    """Whether inputs are clips, where neither their names nor the options of clips say it."""

    fps: float | None = None
    """Frames of a clip that are taken in a second; without it, each frame once."""

    max_frames: int | None = None
    """Of these the first so many; batches are padded."""

    frames: int | None = None
    """So many frames, spread evenly over each clip."""

    on_error: Literal["fail", "skip"] = "fail"
    """What becomes of what cannot be read: an error, or it is left out and listed in `errors`."""

    max_pixels: int | None = None
    """Pictures with more pixels are refused; by default those that memory is too small for."""

    allow: Sequence[str] = ()
    """What is read that would else be refused, see `dof_arrow.media.dicom.PERMISSIONS`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawBatchOptions(RowOptions):
    """How batches of pictures or clips are made."""

    batch_size: int = 32
    """Pictures or clips in a batch."""

    target: str | None = None
    """The column to learn. `picture` (of clips: `clip`) gives the inputs themselves."""

    augment: Augment = ()
    """What happens to each picture anew in each epoch: an `Augmentation`, its JSON form in one
    mapping or in several, the name of a preset (`xray`, `photo`), a JSON file or JSON text. The
    frames of a clip are all treated alike."""

    workers: int | None = None
    """Processes that decode, by default threads of this one; 0 decodes in the calling thread.
    Batches are the same with any number."""

    def without_augment(self) -> Options:
        """The same for a loader of rows, which does nothing to them: the pictures are changed."""
        common = {field.name: getattr(self, field.name) for field in fields(RowOptions)}
        return Options(**common)
