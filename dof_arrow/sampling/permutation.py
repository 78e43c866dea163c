"""A shuffled order, computed where it is needed: a keyed permutation of [0, n) without memory.

Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002 (the generalised
Feistel network with cycle walking). Its rounds only have to mix, not to keep a secret.
"""

from __future__ import annotations

import hashlib
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

# A round mixes both halves of a number once; small halves need more rounds.
_ROUNDS = 3
_MANY_ROUNDS = 8
_SMALL = 1 << 12
_FIRST = np.uint64(0x9E3779B97F4A7C15)  # odd multipliers with about as many ones as zeros
_SECOND = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


def key(*parts: int | str) -> int:
    """A number of 64 bits for a seed, an epoch and a purpose; other parts give an unrelated one.

    >>> key(0, 1, "shuffle") == key(0, 1, "shuffle") != key(0, 2, "shuffle")
    True
    """
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def scatter(numbers: Rows, below: int | Rows, seed: int) -> Rows:
    """A pseudo-random number in [0, below) for each number, by a 64-bit key.

    `below` is at most 2**32.

    >>> scatter(np.arange(5), 10, seed=7).tolist() == scatter(np.arange(5), 10, seed=7).tolist()
    True
    """
    values = _mixed(numbers.astype(np.uint64), np.uint64(seed))
    values *= np.asarray(below).astype(np.uint64)
    values >>= _HALF
    return values.view(np.int64)


class Permutation:
    """A permutation of [0, n) as a function from position to number, the same on every machine.

    >>> sorted(Permutation(5, key(0))(np.arange(5)).tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self._high = isqrt(max(n - 1, 0)) + 1
        self._low = -(-n // self._high)
        rounds = _MANY_ROUNDS if n < _SMALL else _ROUNDS
        self._keys = [np.uint64(key(seed, i)) for i in range(2 * rounds)]

    def __call__(self, positions: Rows) -> Rows:
        """The numbers at these positions, int64 [k]."""
        values = self._walk(positions.astype(np.uint64))
        # The grid high x low holds up to `high` numbers too many: a value among those walks on
        # until it is below n.
        end = np.uint64(self.n)
        outside = np.flatnonzero(values >= end)
        while outside.size:
            values[outside] = self._walk(values[outside])
            outside = outside[values[outside] >= end]
        return values.view(np.int64)

    def _walk(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low = np.uint64(self._low)
        left = values // low
        right = values - left * low
        for first, second in zip(self._keys[::2], self._keys[1::2], strict=True):
            _add(left, right, first, self._high)
            _add(right, left, second, self._low)
        left *= low
        left += right
        return left


def _add(to: NDArray[np.uint64], other: NDArray[np.uint64], seed: np.uint64, modulus: int) -> None:
    """Add a number in [0, modulus) that depends on `other`, modulo `modulus`, in place."""
    bound = np.uint64(modulus)
    step = _mixed(other, seed)
    step *= bound
    step >>= _HALF
    to += step
    np.subtract(to, bound, out=step)
    # Where `to` was below the bound already, the subtraction has wrapped to a huge number.
    np.minimum(to, step, out=to)


def _mixed(values: NDArray[np.uint64], seed: np.uint64) -> NDArray[np.uint64]:
    """Numbers of 32 bits, each well mixed from a number and the seed."""
    mixed = values ^ seed
    mixed *= _FIRST
    mixed ^= mixed >> _HALF
    mixed *= _SECOND
    mixed >>= _HALF
    return mixed
