"""Inversion: thumbnails of the pictures, rebuilt from their features by an attacker who has others.

Z. Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads import intervals
from dof_arrow.privacy.attacks.finding import (
    Clock,
    Finding,
    Measured,
    dealt,
    mean_of,
    measured,
    numbered,
)
from dof_arrow.privacy.attacks.ridge import predicted

Array = NDArray[Any]

KNOWS = "pictures and features of other groups, of the same core"

_WINDOW = 7  # pixels on a side
_STEADY = (0.01**2, 0.03**2)  # for pixels of 0 to 1


def invert(features: Array, pictures: Array, groups: Array, seed: int = 0) -> list[Finding]:
    """How well grey pictures float [n, h, w] of 0 to 1 are rebuilt from features float [n, D].

    Told by R2, the share of the variance around the mean picture, and by SSIM. Raises UsageError
    for too few groups.
    """
    clock = Clock()
    codes, count = numbered(groups)
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    said, mean = predicted(features, flat, codes, seed)
    other, _ = predicted(features[dealt(len(features), seed)], flat, codes, seed)
    shape = pictures.shape
    told: list[tuple[str, Measured, Measured, float]] = [
        ("R2", _r2(flat, said, mean, codes), _r2(flat, other, mean, codes), 0.0),
    ]
    if min(shape[1:]) >= _WINDOW:
        truth = flat.reshape(shape)
        reached = mean_of(ssim(truth, said.reshape(shape)), codes)
        control = mean_of(ssim(truth, other.reshape(shape)), codes)
        baseline = float(ssim(truth, mean.reshape(shape)).mean())
        told.append(("SSIM", reached, control, baseline))
    seconds = clock.seconds()
    findings = []
    for metric, reached, control, baseline in told:
        finding = Finding(
            attack="inversion",
            of=f"{shape[2]} x {shape[1]} thumbnail",
            attacker="ridge",
            knows=KNOWS,
            metric=metric,
            reached=reached,
            control=control,
            baseline=baseline,
            rows=len(flat),
            groups=count,
            seed=seed,
            seconds=seconds,
        )
        findings.append(finding)
    return findings


def _r2(truth: Array, said: Array, mean: Array, groups: Array) -> Measured:
    missed = np.square(truth - said).sum(axis=1)
    total = np.square(truth - mean).sum(axis=1)
    return measured(intervals.explained(missed, total, groups))


def ssim(truth: Array, said: Array) -> Array:
    """The structural similarity float64 [n] of pictures [n, h, w] of 0 to 1, over 7 x 7 windows.

    >>> ssim(np.ones((1, 8, 8)), np.ones((1, 8, 8))).tolist()
    [1.0]
    """
    ours = _means(truth)
    theirs = _means(said)
    our_spread = _means(truth * truth) - ours * ours
    their_spread = _means(said * said) - theirs * theirs
    together = _means(truth * said) - ours * theirs
    light, contrast = _STEADY
    above = (2 * ours * theirs + light) * (2 * together + contrast)
    below = (ours**2 + theirs**2 + light) * (our_spread + their_spread + contrast)
    return np.asarray((above / below).mean(axis=(1, 2)))


def _means(pictures: Array) -> Array:
    """The mean of each whole window."""
    found = pictures
    for axis in (1, 2):
        windows = np.lib.stride_tricks.sliding_window_view(found, _WINDOW, axis=axis)
        found = windows.mean(axis=-1)
    return found
