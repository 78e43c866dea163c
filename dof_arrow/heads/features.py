"""What a head reads: the features of rows, of one core or of several side by side, or whole clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.heads.labels import Labelled, Labels
from dof_arrow.tables.clip_bounds import clip_bounds

Array = NDArray[Any]

_CHUNK = 1 << 12  # rows looked at together
# A column that varies less than this part of its mean is constant up to the rounding of a core's float32 arithmetic,
# and scaled to unit variance it would be noise.
CONSTANT = 1e-5


@dataclass(frozen=True, slots=True)
class RowFeatures:
    """One example a row: features [n, D]."""

    features: Array

    @property
    def width(self) -> int:
        return int(self.features.shape[1])

    def __len__(self) -> int:
        return len(self.features)

    def take(self, places: Array) -> Array:
        """Features float32 [k, D] of these examples."""
        return self.features[places].astype(np.float32, copy=False)

    def rows(self, places: Array) -> Iterator[Array]:
        """The same, a bounded number of rows at a time."""
        return (self.take(places[i : i + _CHUNK]) for i in range(0, len(places), _CHUNK))


@dataclass(frozen=True, slots=True)
class Clips:
    """One example a clip: rows `starts[i]` to `stops[i]` of features [n, D]."""

    features: Array
    starts: Array
    stops: Array

    @property
    def width(self) -> int:
        return int(self.features.shape[1])

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, places: Array) -> list[Array]:
        """Features float32 [T, D] of each of these examples."""
        return [
            self.features[self.starts[i] : self.stops[i]].astype(np.float32, copy=False)
            for i in places
        ]

    def rows(self, places: Array) -> Iterator[Array]:
        """The same, a clip at a time."""
        return iter(self.take(places))


Inputs = RowFeatures | Clips


class Examples(Protocol):
    """Features to learn from: some of the examples, for training; or their rows, a part at a time."""

    @property
    def width(self) -> int: ...

    def __len__(self) -> int: ...

    def take(self, places: Array, /) -> Array | list[Array]: ...

    def rows(self, places: Array, /) -> Iterator[Array]: ...


def read(dataset: Labelled, names: Sequence[str], *, timed: bool) -> Inputs:
    """The features of these columns side by side, as rows or as clips; FormatError where they are not finite.

    Of one float32 column nothing is copied.
    """
    columns = [_finite(dataset, name) for name in names]
    features = (
        columns[0]
        if len(columns) == 1
        else np.concatenate([c.astype(np.float32) for c in columns], axis=1)
    )
    return Clips(features, *_clips(dataset)) if timed else RowFeatures(features)


def columns(dataset: Labelled, names: Sequence[str]) -> tuple[str, ...]:
    """The feature columns that are meant, by default the primary one; UsageError for what is none."""
    known = [name for name, column in dataset.metadata.columns.items() if column.role == "feature"]
    for name in names:
        if name not in known:
            raise UsageError(
                "no such feature column",
                expected=f"one of {', '.join(known)}",
                found=name,
                hint=f"Use --feature {known[0]}",
            )
    if len(set(names)) < len(names):
        raise UsageError(
            "a feature column is named twice", found=", ".join(names), hint="Name each once"
        )
    return tuple(names) or (dataset.metadata.primary_column,)


def by_clip(labels: Labels, clips: Clips) -> Labels:
    """The labels of clips: those of their rows, which must agree; FormatError where they do not."""
    clip = np.searchsorted(clips.starts, labels.rows, side="right") - 1
    found, first, place = np.unique(clip, return_index=True, return_inverse=True)
    differing = np.unique(
        clip[np.not_equal(labels.values, labels.values[first][place]).reshape(len(clip), -1).any(1)]
    )
    if differing.size:
        raise FormatError(
            "the frames of a clip have different labels",
            f"target {labels.name}",
            "one label a clip",
            f"{differing.size} of {len(found)} clips with several",
            "Train on single frames: --head mlp, or label whole clips",
        )
    return replace(
        labels,
        rows=found,
        values=labels.values[first],
        groups=labels.groups[first],
        splits=labels.splits[first],
        missing=len(clips) - len(found),
    )


def moments(inputs: Examples, places: Array) -> tuple[Array, Array]:
    """Mean and 1 / standard deviation float32 [D] over all rows of these examples; 0 for columns that do not vary."""
    count, total = 0, np.zeros(inputs.width)
    for part in inputs.rows(places):
        count, total = count + len(part), total + part.sum(axis=0, dtype=np.float64)
    mean = (total / count).astype(np.float32)
    squares = np.zeros(inputs.width)
    for part in inputs.rows(places):
        squares += np.square(part - mean, dtype=np.float64).sum(axis=0)
    spread = np.sqrt(squares / count)
    spread[spread <= CONSTANT * np.abs(mean)] = np.inf
    return mean, (1 / spread).astype(np.float32)


def sampling(metadata: Metadata) -> dict[str, Any]:
    """Which frames of its clips, or windows of them, a dataset has; nothing where it is of pictures."""
    about = metadata.provenance
    return dict(about.raw.get("clips") or {}) if about else {}


def _finite(dataset: Labelled, name: str) -> Array:
    """A feature column as [n, D]; FormatError where it is not finite."""
    primary = name == dataset.metadata.primary_column
    found = dataset.to_numpy(None if primary else name)
    flat = found.reshape(len(found), -1)
    with np.errstate(invalid="ignore", over="ignore"):
        strange = sum(
            int((~np.isfinite(part.sum(axis=1, dtype=np.float64))).sum())
            for part in (flat[i : i + _CHUNK] for i in range(0, len(flat), _CHUNK))
        )
    if strange:
        raise FormatError(
            "features are not finite",
            where=f"column {name}",
            expected="numbers",
            found=f"NaN or infinity in {strange} of {len(flat)} rows",
            hint="Leave these rows out, or extract them again",
        )
    return flat


def _clips(dataset: Labelled) -> tuple[Array, Array]:
    """Where each clip's rows start and stop; UsageError where no clip has more than one row."""
    starts, stops = clip_bounds(dataset)
    if len(starts) == len(dataset):
        raise UsageError(
            "the dataset has no clips",
            expected="several rows of one id",
            found=f"{len(starts)} ids",
            hint="Use --head linear or mlp, or extract from videos",
        )
    return starts, stops
