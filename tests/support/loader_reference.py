"""What a loader has to give, written apart from it in plain Python: orders, batches, epochs.

Rows are numbers. A composition is a dataset put together by takes, filters, splits, joins and
concatenations beside the list of rows that it must hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from math import isqrt
from typing import Any

_WORD = (1 << 64) - 1


def number_of(*parts: int | str) -> int:
    """A number of 64 bits for a seed, an epoch and a purpose."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mixed(value: int, seed: int) -> int:
    """32 well mixed bits of a number and a seed."""
    value = (value ^ seed) * 0x9E3779B97F4A7C15 & _WORD
    value = (value ^ value >> 32) * 0xD6E8FEB86659FD93 & _WORD
    return value >> 32


def shuffled(count: int, seed: int) -> list[int]:
    """A permutation by a Feistel network over a grid, walking on until the number is one."""
    high = isqrt(max(count - 1, 0)) + 1
    low = -(-count // high)
    rounds = 8 if count < 4096 else 3
    keys = [number_of(seed, turn) for turn in range(2 * rounds)]

    def walk(value: int) -> int:
        left, right = divmod(value, low)
        for turn in range(rounds):
            left = (left + (mixed(right, keys[2 * turn]) * high >> 32)) % high
            right = (right + (mixed(left, keys[2 * turn + 1]) * low >> 32)) % low
        return left * low + right

    found = []
    for place in range(count):
        value = walk(place)
        while value >= count:
            value = walk(value)
        found.append(value)
    return found


def balanced(classes: Sequence[int], shares: Mapping[int, float] | None, seed: int) -> Any:
    """A function from epoch to units: classes in these shares, by drawing some again.

    None where a class with a share has no units, or the other way round.
    """
    members: dict[int, list[int]] = {}
    for unit, each in enumerate(classes):
        members.setdefault(each, []).append(unit)
    present = sorted(members)
    if shares is None:
        shares = dict.fromkeys(present, 1 / len(present))
    if set(shares) != set(present):
        return None
    total = max(len(members[each]) / shares[each] for each in present)
    quotas = [max(round(total * shares[each]), len(members[each])) for each in present]

    def units(epoch: int) -> list[int]:
        drawn = []
        for stratum, each in enumerate(present):
            own = members[each]
            turns, extra = divmod(quotas[stratum], len(own))
            first = mixed(stratum, number_of(seed, "extra")) * len(own) >> 32
            drawn += own * turns
            drawn += [own[(place + first + epoch * extra) % len(own)] for place in range(extra)]
        return drawn

    return units


def dealt(
    length: int, consumed: int, size: int, rank: int, world: int, drop_last: bool
) -> Iterator[tuple[int, int, int]]:
    """The batches of a rank: first position, the one after the last, all that is used up then."""
    while consumed < length:
        left = length - consumed
        full = size * world
        step = min(full, left)
        if drop_last and left < full:
            return
        if not drop_last and full < left < full + world:
            step = left if size == 1 else left - world  # so that the last step has one for each
        sizes = [step // world + (other < step % world) for other in range(world)]
        start = consumed + sum(sizes[:rank])
        consumed += step
        if sizes[rank]:
            yield start, start + sizes[rank], consumed


class Reference:
    """A loader in plain Python: passes over epochs of rows, with their state."""

    def __init__(self, rows: Sequence[int], classes: Sequence[int] | None, asked: Any) -> None:
        self.rows = list(rows)
        self.asked = asked
        self.epoch = 0
        self.consumed = 0
        self.begun = False
        self.units = None
        self.is_possible = bool(rows)
        self.length = len(self.rows)
        if classes is not None and rows:
            self.units = balanced(classes, asked.shares, asked.seed)
            self.is_possible = self.units is not None and asked.shuffle
            self.length = len(self.units(0)) if self.units else 0
        full = asked.batch_size * asked.world_size
        if self.length < asked.world_size or (asked.drop_last and self.length < full):
            self.is_possible = False

    def order(self, epoch: int) -> list[int]:
        """The rows of an epoch."""
        drawn = self.units(epoch) if self.units else list(range(self.length))
        if self.asked.shuffle:
            places = shuffled(self.length, number_of(self.asked.seed, epoch, "shuffle"))
            drawn = [drawn[place] for place in places]
        return [self.rows[unit] for unit in drawn]

    def batches(self) -> int:
        """How many batches an epoch has."""
        return len(list(self._dealt(0)))

    def take(self, most: int | None = None) -> list[list[int]]:
        """The batches of the next pass, of which no more than `most` are asked for."""
        if self.begun:
            self.epoch, self.consumed = self.epoch + 1, 0
        self.begun = True
        order = self.order(self.epoch)
        found: list[list[int]] = []
        for start, stop, consumed in self._dealt(self.consumed):
            if len(found) == most:
                return found
            found.append(order[start:stop])
            self.consumed = consumed
        if len(found) == most:
            self.end_if_over()
        else:  # one more was asked for, and there was none
            self._end()
        return found

    def end_if_over(self) -> None:
        """Stand at the start of the next epoch if no rank gets another batch of this one."""
        others = range(self.asked.world_size)
        left = [list(self._dealt(self.consumed, other)) for other in others]
        if not any(left):
            self._end()

    def _end(self) -> None:
        self.epoch, self.consumed, self.begun = self.epoch + 1, 0, False

    def _dealt(self, consumed: int, rank: int | None = None) -> Iterator[tuple[int, int, int]]:
        asked = self.asked
        own = asked.rank if rank is None else rank
        size, world = asked.batch_size, asked.world_size
        return dealt(self.length, consumed, size, own, world, asked.drop_last)
