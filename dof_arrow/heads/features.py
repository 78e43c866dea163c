"""What a head reads: the features of rows or whole clips, of one core or several side by side."""

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

_CHUNK = 1 << 12  # rows looked at together,
_CHUNK_BYTES = 1 << 27  # and bytes of them
# A column that varies by less than this part of its mean is constant up to the rounding of a core's
# float32 arithmetic; scaled to unit variance it would be noise.
CONSTANT = 1e-5


@dataclass(frozen=True, slots=True)
class RowFeatures:
    """Examples that are rows of features [n, D]."""

    features: Array

    @property
    def width(self) -> int:
        return int(self.features.shape[1])

    def __len__(self) -> int:
        return len(self.features)

    def take(self, places: Array) -> Array:
        """Features float32 [k, D] of the examples at `places`."""
        return self.features[places].astype(np.float32, copy=False)

    def rows(self, places: Array) -> Iterator[Array]:
        """The same, a bounded number of rows at a time."""
        step = min(_CHUNK, max(_CHUNK_BYTES // (4 * self.width), 1))
        for start in range(0, len(places), step):
            yield self.take(places[start : start + step])


@dataclass(frozen=True, slots=True)
class Clips:
    """Examples that are clips: clip i has the rows `starts[i]` to `stops[i]` of features [n, D]."""

    features: Array
    starts: Array
    stops: Array

    @property
    def width(self) -> int:
        return int(self.features.shape[1])

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, places: Array) -> list[Array]:
        """Features float32 [T, D] of each of the examples at `places`."""
        clips = []
        for place in places:
            start, stop = self.starts[place], self.stops[place]
            clip = self.features[start:stop]
            clips.append(clip.astype(np.float32, copy=False))
        return clips

    def rows(self, places: Array) -> Iterator[Array]:
        """The same, a clip at a time."""
        return iter(self.take(places))


Inputs = RowFeatures | Clips


class Examples(Protocol):
    """Features to learn from: `take` gives some of the examples, `rows` their rows in parts."""

    @property
    def width(self) -> int: ...

    def __len__(self) -> int: ...

    def take(self, places: Array, /) -> Array | list[Array]: ...

    def rows(self, places: Array, /) -> Iterator[Array]: ...


def read(dataset: Labelled, names: Sequence[str], *, timed: bool) -> Inputs:
    """Read feature columns side by side, as rows, or as clips if `timed`.

    A single column is not copied. Raises FormatError for features that are not finite, UsageError
    for clips of a dataset that has none.
    """
    columns = [_finite(dataset, name) for name in names]
    if len(columns) == 1:
        features = columns[0]
    else:
        columns = [column.astype(np.float32) for column in columns]
        features = np.concatenate(columns, axis=1)
    if not timed:
        return RowFeatures(features)
    starts, stops = _clips(dataset)
    return Clips(features, starts, stops)


def columns(dataset: Labelled, names: Sequence[str]) -> tuple[str, ...]:
    """The feature columns that `names` asks for, by default the primary one.

    Raises UsageError for a name that is no feature column, or that occurs twice.
    """
    metadata = dataset.metadata
    known = [name for name, column in metadata.columns.items() if column.role == "feature"]
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
    return tuple(names) or (metadata.primary_column,)


def by_clip(labels: Labels, clips: Clips) -> Labels:
    """The labels of clips: those of their rows, which must agree; FormatError where they do not."""
    # Clips stand one after the other, so a row is of the last one that begins before it.
    clip_of = np.searchsorted(clips.starts, labels.rows, side="right") - 1
    # For each clip with a label: its first labelled row. `inverse` leads from a row to its clip.
    found, first, inverse = np.unique(clip_of, return_index=True, return_inverse=True)
    values = labels.values[first]
    differs = np.not_equal(labels.values, values[inverse])
    by_row = differs.reshape(len(clip_of), -1)  # flags have several columns
    differing = np.unique(clip_of[by_row.any(axis=1)])
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
        values=values,
        groups=labels.groups[first],
        splits=labels.splits[first],
        missing=len(clips) - len(found),
    )


def moments(inputs: Examples, places: Array) -> tuple[Array, Array]:
    """Mean and 1 / standard deviation, float32 [D] each, over all rows of these examples.

    The second is 0 for columns that do not vary. Two passes, so that no digits are lost.
    """
    count = 0
    total = np.zeros(inputs.width)
    for part in inputs.rows(places):
        count += len(part)
        total += part.sum(axis=0, dtype=np.float64)
    mean = (total / count).astype(np.float32)
    squares = np.zeros(inputs.width)
    for part in inputs.rows(places):
        part_squares = np.square(part - mean, dtype=np.float64)
        squares += part_squares.sum(axis=0)
    deviation = np.sqrt(squares / count)
    constant = deviation <= CONSTANT * np.abs(mean)
    deviation[constant] = np.inf
    return mean, (1 / deviation).astype(np.float32)


def sampling(metadata: Metadata) -> dict[str, Any]:
    """Which frames of its clips, or windows of them, a dataset has; empty for pictures."""
    about = metadata.provenance
    if about is None:
        return {}
    return dict(about.raw.get("clips") or {})


def _finite(dataset: Labelled, name: str) -> Array:
    """A feature column as [n, D]; FormatError where it is not finite."""
    primary = name == dataset.metadata.primary_column
    found = dataset.to_numpy(None if primary else name)
    flat = found.reshape(len(found), -1)
    strange = _strange_rows(flat)
    if strange:
        raise FormatError(
            "features are not finite",
            where=f"column {name}",
            expected="numbers",
            found=f"NaN or infinity in {strange} of {len(flat)} rows",
            hint="Leave these rows out, or extract them again",
        )
    return flat


def _strange_rows(features: Array) -> int:
    """How many rows hold NaN or infinity: their sum in float64 does, and is a number a row."""
    strange = 0
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(features), _CHUNK):
            part = features[start : start + _CHUNK]
            sums = part.sum(axis=1, dtype=np.float64)
            strange += len(part) - int(np.isfinite(sums).sum())
    return strange


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
