"""From the options of `dof.pictures` to what they mean: frames, sizes, splits, augmentation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import Fit, check
from dof_arrow.loader.raw.options import Augment, RawOptions
from dof_arrow.media import augment
from dof_arrow.media.augment import Augmentation
from dof_arrow.media.frames import EVERY, Sampling
from dof_arrow.sampling import splits
from dof_arrow.sources.folder import holds_clips


def sampling_of(source: Any, asked: RawOptions) -> Sampling | None:
    """Which frames of clips are taken, None where inputs are pictures.

    Raises UsageError where batches could be of any length.
    """
    if asked.frames is not None and asked.frames < 1:
        raise UsageError("frames must be at least 1", found=str(asked.frames))
    sampling = Sampling(fps=asked.fps, max_frames=asked.max_frames)
    clips = asked.clips
    if clips is None:
        clips = sampling != EVERY or asked.frames is not None or _holds_clips(source)
    if not clips:
        return None
    if asked.frames is None and asked.max_frames is None:
        raise UsageError(
            "batches of clips need a bound",
            "pictures",
            "frames=16, or max_frames=64",
            "neither",
            "frames=16 takes 16 of each clip, spread evenly; max_frames=64 the first 64, padded.",
        )
    return sampling


def preprocessing_of(asked: RawOptions) -> Preprocessing:
    """How pictures are decoded and fitted, as a declaration.

    Raises UsageError for options that contradict each other.
    """
    if asked.size is None and asked.fit not in (None, "none"):
        raise UsageError(
            "nothing to fit into", "pictures", "size=(height, width)", f"fit={asked.fit!r} alone"
        )
    box: tuple[int, ...] = ()
    fit: Fit = "none"
    if asked.size is not None:
        box = (asked.size, asked.size) if isinstance(asked.size, int) else tuple(asked.size)
        fit = asked.fit or "crop"
    wanted = Preprocessing(
        mode=asked.mode,
        channels=asked.mode,
        draft=asked.draft,
        fit=fit,
        resize=box,
        layout="NHWC",
        dtype="uint8",
        crop=box if fit in ("crop", "pad") else (),
    )
    check(wanted)
    return wanted


def fractions_of(
    split: str | Mapping[str, float] | None,
) -> tuple[Mapping[str, float] | None, str | None]:
    """The fractions of splits, or else the column that names them."""
    if split is None:
        return None, None
    if not isinstance(split, str):
        return split, None
    if "=" in split:
        return splits.parse_fractions(split), None
    return None, split


def augmentation_of(given: Augment) -> Augmentation | None:
    """What may happen to pictures, None for nothing.

    Raises UsageError that says what cannot be.
    """
    if isinstance(given, Augmentation):
        return given
    if isinstance(given, str):
        return augment.load(given)
    mappings = given if isinstance(given, Sequence) else [given]
    pairs: list[tuple[str, Any]] = []
    for mapping in mappings:
        if not isinstance(mapping, Mapping):
            raise UsageError(
                "augment is not understood",
                "augment",
                "a mapping, several, or the name of a preset",
                ascii(mapping)[:100],
                'Write for example augment=[{"flip_x": 0.5}, {"rotate": (-10, 10)}].',
            )
        pairs += mapping.items()
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise UsageError("a change given twice", "augment", "each name once", ", ".join(names))
    if not pairs:
        return None
    plain = {}
    for name, value in pairs:
        plain[name] = list(value) if isinstance(value, tuple) else value
    return augment.from_mapping(plain)


def _holds_clips(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike)) and holds_clips(Path(source))
