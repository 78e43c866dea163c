"""Changes of features while a head is trained.

They are drawn by (seed, change, epoch, position), never by worker or batch. Whatever the order in a
declaration, changes are made in this one:

    interpolate   a random part, up to that share, of the way towards another row of the same class
    mixup         a mixture with any other row, and of their targets; its share is Beta(a, a)
                  distributed (Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018)
    normalize     not of this module: what follows is in its units
    noise         Gaussian, of that standard deviation
    dropout       each number set to 0 with that probability, the others scaled up to make up for it
                  (Srivastava et al., Dropout, JMLR 15, 2014)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.sampling.permutation import Rows, key, scatter
from dof_arrow.sampling.samplers import by_code
from dof_arrow.tables.gather import Moment

Array = NDArray[Any]
Float = NDArray[np.float32]

_CELL = 64  # positions that share a generator: one a position would cost more than the numbers
_HINT = 'Write for example augment=[{"noise": 0.1}, {"mixup": 0.2}].'


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureAugmentation:
    """What may happen to features; 0 is nothing."""

    interpolate: float = 0.0
    mixup: float = 0.0
    noise: float = 0.0
    dropout: float = 0.0


NOTHING = FeatureAugmentation()


def declared(given: Sequence[Mapping[str, float]] | Mapping[str, float]) -> FeatureAugmentation:
    """A checked declaration from one mapping or several.

    Raises UsageError for a name that is not known or comes twice, and for a number that cannot be.

    >>> declared([{"noise": 0.1}, {"dropout": 0.5}])
    FeatureAugmentation(interpolate=0.0, mixup=0.0, noise=0.1, dropout=0.5)
    """
    several = isinstance(given, Sequence) and not isinstance(given, str)
    mappings: Sequence[Any] = given if several else [given]  # type: ignore[assignment]
    pairs: list[tuple[str, float]] = []
    for mapping in mappings:
        pairs += _pairs(mapping)
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise UsageError(
            "a change given twice", "augment", "each name once", ", ".join(names), _HINT
        )
    for name, value in pairs:
        if not _can_be(name, value):
            raise UsageError(
                "a change of features that cannot be",
                f"augment {name}",
                "0 or more, a share below 1",
                str(value),
                _HINT,
            )
    return FeatureAugmentation(**dict(pairs))


def _pairs(mapping: Any) -> list[tuple[str, float]]:
    """The changes of one mapping, each with its number."""
    names = [field.name for field in fields(FeatureAugmentation)]
    if not isinstance(mapping, Mapping) or not set(mapping) <= set(names):
        raise UsageError(
            "augment names what features do not know",
            "augment",
            ", ".join(names),
            str(mapping),
            _HINT,
        )
    try:
        return [(name, float(value)) for name, value in mapping.items()]
    except (TypeError, ValueError):
        raise UsageError(
            "a change of features needs a number", "augment", "a number", str(mapping), _HINT
        ) from None


def _can_be(name: str, value: float) -> bool:
    if name == "dropout":  # by 1 nothing would be left to scale up
        return 0 <= value < 1
    if name == "interpolate":
        return 0 <= value <= 1
    return 0 <= value < np.inf


@dataclass(frozen=True, slots=True)
class ClassIndex:
    """Rows by class, to find another row of the same class."""

    codes: Rows
    order: Rows
    starts: Rows

    def other(self, rows: Rows, moment: Moment) -> Rows:
        """For each row one of its class, drawn by the moment."""
        code = self.codes[rows]
        start = self.starts[code]
        count = self.starts[code + 1] - start
        place = scatter(moment.positions, count, _seed(moment, "interpolate"))
        return np.asarray(self.order[start + place])


def class_index(codes: Rows) -> ClassIndex:
    """The rows of each class, from the class of each row.

    >>> class_index(np.array([0, 1, 0])).starts.tolist()
    [0, 2, 3]
    """
    order, starts = by_code(codes, int(codes.max()) + 1)
    return ClassIndex(codes, order, starts)


def partners(moment: Moment, length: int) -> Rows:
    """For each position another of the epoch's `length` positions, to mix with."""
    return scatter(moment.positions, length, _seed(moment, "partner"))


def interpolations(moment: Moment, limit: float) -> Float:
    """How far each row moves towards another of its class: float32 [k, 1] in [0, limit)."""

    def draw(random: np.random.Generator, size: int) -> Array:
        return random.uniform(0, limit, (size, 1))

    return _by_position(moment, "part", draw)


def mixtures(moment: Moment, alpha: float) -> Float:
    """The share of the other row in each mixture, float32 [k, 1], at most a half.

    So the row itself has the larger share.
    """

    def draw(random: np.random.Generator, size: int) -> Array:
        return random.beta(alpha, alpha, (size, 1))

    drawn = _by_position(moment, "mixup", draw)
    return np.minimum(drawn, 1 - drawn)


def move_towards(x: Float, other: Float, share: Float) -> None:
    """Move `x` that share of the way to `other`, in place; `other` is used up.

    >>> x = np.zeros((1, 2), np.float32)
    >>> move_towards(x, np.ones((1, 2), np.float32), np.full((1, 1), 0.25, np.float32))
    >>> x.tolist()
    [[0.25, 0.25]]
    """
    other -= x
    other *= share
    x += other


def disturb(x: Float, augmentation: FeatureAugmentation, moment: Moment) -> None:
    """Add noise and drop numbers, in place."""
    width = x.shape[1]
    if augmentation.noise:
        noise = _by_position(moment, "noise", partial(_normal, width))
        noise *= np.float32(augmentation.noise)
        x += noise
    if augmentation.dropout:
        kept = _by_position(moment, "dropout", partial(_uniform, width)) >= augmentation.dropout
        x *= kept * np.float32(1 / (1 - augmentation.dropout))


def _normal(width: int, random: np.random.Generator, size: int) -> Array:
    return random.standard_normal((size, width), np.float32)


def _uniform(width: int, random: np.random.Generator, size: int) -> Array:
    return random.random((size, width), np.float32)


def _by_position(
    moment: Moment, name: str, draw: Callable[[np.random.Generator, int], Array]
) -> Float:
    """The random numbers of each position, the same in whatever batch it is.

    Positions are in cells of `_CELL`, each of which has a generator.
    """
    cells, place = np.divmod(moment.positions, _CELL)
    found, code = np.unique(cells, return_inverse=True)
    seed = _seed(moment, name)
    drawn = [draw(np.random.default_rng(key(seed, cell)), _CELL) for cell in found.tolist()]
    numbers = np.concatenate(drawn)[code * _CELL + place]
    return numbers.astype(np.float32, copy=False)


def _seed(moment: Moment, name: str) -> int:
    return key(moment.seed, moment.epoch, name)
