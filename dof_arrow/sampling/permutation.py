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
Halves = NDArray[np.uint64]  # numbers, or the high or the low half of each

# A round mixes both halves of a number once; small halves need more rounds.
_ROUNDS = 3
_MANY_ROUNDS = 8
_SMALL = 1 << 12
_MOST_IN_TABLE = 1 << 15  # more would not stay in the caches
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
        self._asked = 0
        self._tables: list[Halves] = []

    def __call__(self, positions: Rows) -> Rows:
        """The numbers at these positions, int64 [k]."""
        self._asked += len(positions)
        if self._asked > len(self._keys) * self._high and self._high <= _MOST_IN_TABLE:
            self._tables = self._tables or self._made_tables()
        values = self._walk(positions.astype(np.uint64))
        # The grid high x low holds up to `high` numbers too many: a value among those walks on
        # until it is below n.
        end = np.uint64(self.n)
        outside = np.flatnonzero(values >= end)
        while outside.size:
            values[outside] = self._walk(values[outside])
            outside = outside[values[outside] >= end]
        return values.view(np.int64)

    def _walk(self, values: Halves) -> Halves:
        low = np.uint64(self._low)
        left = values // low
        right = values - left * low
        for half in range(0, len(self._keys), 2):
            _add(left, self._step(half, right), self._high)
            _add(right, self._step(half + 1, left), self._low)
        left *= low
        left += right
        return left

    def _step(self, half: int, other: Halves) -> Halves:
        """What half a round adds to one half of each number; it depends on the other half."""
        if self._tables:
            # No value is outside; any mode but "raise" is quicker.
            return self._tables[half].take(other.view(np.int64), mode="clip")
        step = _mixed(other, self._keys[half])
        step *= np.uint64(self._low if half % 2 else self._high)
        step >>= _HALF
        return step

    def _made_tables(self) -> list[Halves]:
        """The steps of each half round for every value that a half can have.

        They are few, some root of n. To look a step up takes half as long as to compute it.
        """
        values = np.arange(self._high, dtype=np.uint64)
        return [self._step(half, values) for half in range(len(self._keys))]


def _add(to: Halves, step: Halves, modulus: int) -> None:
    """Add numbers in [0, modulus) modulo `modulus`, in place; `step` is used up."""
    bound = np.uint64(modulus)
    to += step
    np.subtract(to, bound, out=step)
    # Where `to` was below the bound already, the subtraction has wrapped to a huge number.
    np.minimum(to, step, out=to)


def _mixed(values: Halves, seed: np.uint64) -> Halves:
    """Numbers of 32 bits, each well mixed from a number and the seed."""
    mixed = values ^ seed
    mixed *= _FIRST
    mixed ^= mixed >> _HALF
    mixed *= _SECOND
    mixed >>= _HALF
    return mixed
