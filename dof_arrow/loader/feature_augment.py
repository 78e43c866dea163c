"""Changes of features while a head is trained, drawn by (seed, change, epoch, position): never by worker or batch.

Whatever a declaration names, the order is

    interpolate   a random part, up to that share, of the way towards another row of the same class
    mixup         a mixture with any other row, and of their targets; its share is Beta(a, a) distributed
                  (Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018)
    normalize     not of this module: what follows is in its units
    noise         Gaussian, of that standard deviation
    dropout       each number set to 0 with that probability, the others scaled up to make up for it
                  (Srivastava et al., Dropout, JMLR 15, 2014)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
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
class Jitter:
    """What may happen to features; 0 is nothing."""

    interpolate: float = 0.0
    mixup: float = 0.0
    noise: float = 0.0
    dropout: float = 0.0


def declared(given: Sequence[Mapping[str, float]] | Mapping[str, float]) -> Jitter:
    """A checked declaration from mappings; UsageError says what cannot be.

    >>> declared([{"noise": 0.1}, {"dropout": 0.5}])
    Jitter(interpolate=0.0, mixup=0.0, noise=0.1, dropout=0.5)
    """
    names = [f.name for f in fields(Jitter)]
    pairs = [
        pair
        for part in ([given] if isinstance(given, Mapping) else given)
        for pair in _pairs(part, names)
    ]
    if len(dict(pairs)) < len(pairs):
        raise UsageError(
            "a change given twice",
            "augment",
            "each name once",
            ", ".join(n for n, _ in pairs),
            _HINT,
        )
    made = Jitter(**dict(pairs))
    for name, value in asdict(made).items():
        if not 0 <= value < (1 if name == "dropout" else np.inf) or (
            name == "interpolate" and value > 1
        ):
            raise UsageError(
                "a change of features that cannot be",
                f"augment {name}",
                "0 or more, a share below 1",
                str(value),
                _HINT,
            )
    return made


def _pairs(part: Any, names: Sequence[str]) -> list[tuple[str, float]]:
    if not isinstance(part, Mapping) or set(part) - {*names}:
        raise UsageError(
            "augment names what features do not know", "augment", ", ".join(names), str(part), _HINT
        )
    return [(name, float(value)) for name, value in part.items()]


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
        place = scatter(
            moment.positions, self.starts[code + 1] - start, _seed(moment, "interpolate")
        )
        return np.asarray(self.order[start + place])


def kin(codes: Rows) -> ClassIndex:
    """The rows of each class, from the class of each row.

    >>> kin(np.array([0, 1, 0])).starts.tolist()
    [0, 2, 3]
    """
    return ClassIndex(codes, *by_code(codes, int(codes.max()) + 1))


def others(moment: Moment, length: int) -> Rows:
    """For each position another of the epoch's `length`, to mix with."""
    return scatter(moment.positions, length, _seed(moment, "partner"))


def parts(moment: Moment, limit: float) -> Float:
    """How far each row moves towards another of its class: uniform in [0, limit), float32 [k, 1]."""
    return _cells(moment, "part", lambda random, size: random.uniform(0, limit, (size, 1)))


def mixtures(moment: Moment, alpha: float) -> Float:
    """The share of the other row in each mixture, float32 [k, 1]; the row itself has the larger one."""
    drawn = _cells(moment, "mixup", lambda random, size: random.beta(alpha, alpha, (size, 1)))
    return np.minimum(drawn, 1 - drawn)


def towards(x: Float, other: Float, share: Float) -> None:
    """Move `x` that share of the way to `other`, in place.

    >>> x = np.zeros((1, 2), np.float32)
    >>> towards(x, np.ones((1, 2), np.float32), np.full((1, 1), 0.25, np.float32))
    >>> x.tolist()
    [[0.25, 0.25]]
    """
    other -= x
    other *= share
    x += other


def disturb(x: Float, jitter: Jitter, moment: Moment) -> None:
    """Add noise and drop numbers, in place."""
    width = x.shape[1]
    if jitter.noise:
        noise = _cells(
            moment, "noise", lambda random, size: random.standard_normal((size, width), np.float32)
        )
        noise *= np.float32(jitter.noise)
        x += noise
    if jitter.dropout:
        kept = _cells(
            moment, "dropout", lambda random, size: random.random((size, width), np.float32)
        )
        x *= (kept >= jitter.dropout) * np.float32(1 / (1 - jitter.dropout))


def _cells(moment: Moment, name: str, draw: Callable[[np.random.Generator, int], Array]) -> Float:
    """Numbers of each position, whatever batch it is in: cells of positions have a generator each."""
    cells, place = np.divmod(moment.positions, _CELL)
    found, code = np.unique(cells, return_inverse=True)
    drawn = [
        draw(np.random.default_rng(key(_seed(moment, name), cell)), _CELL)
        for cell in found.tolist()
    ]
    return np.concatenate(drawn)[code * _CELL + place].astype(np.float32, copy=False)


def _seed(moment: Moment, name: str) -> int:
    return key(moment.seed, moment.epoch, name)
