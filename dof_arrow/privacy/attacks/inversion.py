"""Inversion: thumbnails of the pictures, rebuilt from their features by an attacker who has others.

Z. Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads import intervals
from dof_arrow.privacy.attacks.decoder import decoded
from dof_arrow.privacy.attacks.finding import (
    Clock,
    Finding,
    Measured,
    dealt,
    mean_of,
    measured,
    numbered,
)

Array = NDArray[Any]
Score = tuple[str, Measured, Measured, float]

KNOWS = "pictures and features of other groups, of the same core"

_WINDOW = 7  # pixels on a side
_STEADY = (0.01**2, 0.03**2)  # for pixels of 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was found, and the pictures float64 [n, h, w] that attackers rebuilt.

    Each was rebuilt by attackers taught on other groups; `shuffled` by the decoder, from features
    that were dealt to other rows.
    """

    findings: list[Finding]
    ridge: Array
    decoder: Array
    shuffled: Array


def invert(features: Array, pictures: Array, groups: Array, seed: int = 0) -> list[Finding]:
    """How well grey pictures float [n, h, w] of 0 to 1 are rebuilt from features float [n, D].

    Rebuilt by ridge, and by a small decoder. Told by R2, the share of the variance around the mean
    picture, and by SSIM. Raises UsageError for too few groups, or where all pictures are equal.
    """
    return rebuild(features, pictures, groups, seed).findings


def rebuild(features: Array, pictures: Array, groups: Array, seed: int = 0) -> Rebuilt:
    """The same with the pictures that were rebuilt, for the eye."""
    clock = Clock()
    codes, count = numbered(groups)
    if (pictures == pictures[0]).all():
        raise UsageError("nothing to rebuild", expected="different pictures", found="equal ones")
    own = decoded(features, pictures, codes, seed)
    other = decoded(features[dealt(len(features), seed)], pictures, codes, seed)
    shape = pictures.shape
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    told = []
    for attacker, said, control in (
        ("ridge", own.linear, other.linear),
        ("decoder", own.decoder, other.decoder),
    ):
        for score in _scores(flat, said, control, own.mean, shape, codes):
            told.append((attacker, score))
    seconds = clock.seconds()
    findings = []
    for attacker, (metric, reached, chance, baseline) in told:
        finding = Finding(
            attack="inversion",
            of=f"{shape[2]} x {shape[1]} thumbnail",
            attacker=attacker,
            knows=KNOWS,
            metric=metric,
            reached=reached,
            control=chance,
            baseline=baseline,
            rows=len(pictures),
            groups=count,
            seed=seed,
            seconds=seconds,
        )
        findings.append(finding)
    return Rebuilt(
        findings=findings,
        ridge=own.linear.reshape(shape),
        decoder=own.decoder.reshape(shape),
        shuffled=other.decoder.reshape(shape),
    )


def _scores(
    truth: Array, said: Array, other: Array, mean: Array, shape: tuple[int, ...], codes: Array
) -> Iterator[Score]:
    """What an attacker reached, beside its control and the baseline, by each metric."""
    yield "R2", _r2(truth, said, mean, codes), _r2(truth, other, mean, codes), 0.0
    if min(shape[1:]) < _WINDOW:
        return
    pictures = truth.reshape(shape)
    reached = mean_of(ssim(pictures, said.reshape(shape)), codes)
    control = mean_of(ssim(pictures, other.reshape(shape)), codes)
    yield "SSIM", reached, control, float(ssim(pictures, mean.reshape(shape)).mean())


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
