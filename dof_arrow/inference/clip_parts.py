"""The frames of a clip in parts, so that memory does not grow with the length of the clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import SourceError

Array = NDArray[Any]


def parts(frames: Iterable[Array], size: int) -> Iterator[list[Array]]:
    """Frames in order, at most `size` at a time; a part holds frames of one shape.

    >>> [len(part) for part in parts([np.zeros(2)] * 5, 2)]
    [2, 2, 1]
    """
    part: list[Array] = []
    for frame in frames:
        full = len(part) == size
        if full or (part and frame.shape != part[0].shape):
            yield part
            part = []
        part.append(frame)
    if part:
        yield part


def whole(frames: Iterable[Array]) -> Iterator[list[Array]]:
    """All frames as one part, none if there are no frames; SourceError if they differ in size."""
    part: list[Array] = []
    for frame in frames:
        _check_size(part, frame)
        part.append(frame)
    if part:
        yield part


def windows(frames: Iterable[Array], length: int, stride: int, count: int) -> Iterator[list[Array]]:
    """Frames in order, those of `count` whole windows at a time, at the end of fewer.

    A window has `length` frames and begins `stride` frames after the one before; the frames that
    the windows of two parts share are in both. Raises SourceError for a clip that is shorter than a
    window, or whose frames differ in size.

    >>> found = windows([np.array(number) for number in range(9)], 3, 2, 2)
    >>> [[int(frame) for frame in part] for part in found]
    [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]
    """
    size = (count - 1) * stride + length
    to_next = count * stride
    part: list[Array] = []
    given = False
    skipped = 0  # frames that lie between two windows, still to be passed over
    for frame in frames:
        if skipped:
            skipped -= 1
            continue
        _check_size(part, frame)
        part.append(frame)
        if len(part) == size:
            yield part
            given = True
            part = part[to_next:]
            skipped = max(to_next - size, 0)
    if len(part) >= length:
        yield part
    elif part and not given:
        raise SourceError(
            "the clip is shorter than a window", expected=f"{length} frames", found=str(len(part))
        )


def mean_answer(answers: Iterable[Mapping[str, Array]]) -> dict[str, Array] | None:
    """The mean over the rows of all answers, as one row; None if there are no answers.

    >>> mean_answer([{"way": np.array([[0.0], [3.0]])}, {"way": np.array([[6.0]])}])
    {'way': array([[3.]])}
    """
    total: dict[str, Array] = {}
    rows = 0
    for answer in answers:
        for name, value in answer.items():
            sums = value.sum(axis=0, dtype=np.float64)
            total[name] = sums + total.get(name, 0)
        rows += len(next(iter(answer.values())))
    if not rows:
        return None
    return {name: value[None] / rows for name, value in total.items()}


def _check_size(part: list[Array], frame: Array) -> None:
    if part and frame.shape != part[0].shape:
        raise SourceError(
            "the frames of a clip differ in size",
            expected="one size",
            hint="Give each clip a folder.",
        )
