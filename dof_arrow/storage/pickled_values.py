"""What a pickle may hold, and the pass that finishes it: nothing within itself, nothing endless.

In a pickle a value may stand at many places at the cost of one. Thirty lists, each of which holds
the one before it twice, are a few bytes there and a thousand million values to whoever walks
through them; so they are counted as they would be written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Refused(Exception):
    """Why a pickle is not read, as a short text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a pickle, and what it holds, may be.

    `bytes` of the pickle; `values` as operations, and once all are written out; `expanded`: bytes
    of texts and arrays so written; `depth` of values within values.
    """

    bytes: int = 4 << 30
    values: int = 20_000_000
    expanded: int = 8 << 30
    depth: int = 64


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Name:
    """A name that a pickle holds as a value, such as that of a type of numbers."""

    text: str


class Ordered(dict[Any, Any]):
    """What stands for an ordered dictionary."""


@dataclass(slots=True, eq=False)
class Record:
    """An object of a class that is known by name alone: what it was made of and holds.

    `state` has its attributes; `items` and `entries` what it holds as a list or a dictionary.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        """Take over attributes, as a dictionary or as a pair of one and that of the slots."""
        pair = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
        for part in pair:
            if part is None:
                continue
            if type(part) is not dict or not all(isinstance(name, str) for name in part):
                raise Refused(f"a state of {self.name} that is no dictionary of names")
            self.state.update(part)


class Unbuilt:
    """Something that a pickle makes first and fills afterwards."""

    def build(self, state: Any) -> None:
        """Fill it."""
        raise NotImplementedError

    def value(self) -> Any:
        """What it became."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Size:
    """A finished value, and how much it would be written out."""

    value: Any
    count: int
    size: int
    depth: int


_HOLDERS = (list, tuple, dict, Record)


def finished(root: Any, limits: Limits) -> Any:
    """A value with all that was filled late; Refused where it is within itself or too much."""
    return _Finish(limits).of(root)


class _Finish:
    """Goes through a value once, from its innermost parts outward, without recursion."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._done: dict[int, _Size] = {}
        self._around: set[int] = set()  # what holds the value that is looked at

    def of(self, root: Any) -> Any:
        """The finished value."""
        ahead = [root]
        while ahead:
            value = ahead[-1]
            place = id(value)
            if not isinstance(value, _HOLDERS) or place in self._done:
                ahead.pop()
            elif place in self._around:
                ahead.pop()
                self._around.discard(place)
                self._done[place] = self._measured(value)
            else:
                self._around.add(place)
                ahead.extend(self._inner(value))
        return self._size(root).value

    def _inner(self, value: Any) -> Iterator[Any]:
        for part in _parts(value):
            if not isinstance(part, _HOLDERS):
                continue
            if id(part) in self._around:
                raise Refused("a value within itself")
            if id(part) not in self._done:
                yield part

    def _measured(self, value: Any) -> _Size:
        count = 1
        size = 0
        depth = 0
        for part in _parts(value):
            inner = self._size(part)
            count += inner.count
            size += inner.size
            depth = max(depth, inner.depth)
        if depth >= self._limits.depth:
            raise Refused(f"values more than {self._limits.depth} deep")
        if count > self._limits.values or size > self._limits.expanded:
            raise Refused(f"{count:,} values of {size:,} bytes, written out")
        return _Size(self._filled(value), count, size, depth + 1)

    def _size(self, value: Any) -> _Size:
        if isinstance(value, _HOLDERS):
            return self._done[id(value)]
        if isinstance(value, Unbuilt):
            value = value.value()
        return _Size(value, 1, _length(value), 0)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple([self._size(part).value for part in value])
        if isinstance(value, Record):
            value.arguments = tuple([self._size(part).value for part in value.arguments])
            for holder in (value.state, value.items, value.entries):
                self._fill(holder)
        else:
            self._fill(value)
        return value

    def _fill(self, holder: Any) -> None:
        places = holder if isinstance(holder, dict) else range(len(holder))
        for place in places:
            holder[place] = self._size(holder[place]).value


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Record):
        yield from value.arguments
        yield from value.state.values()
        yield from value.items
        yield from value.entries.values()
    elif isinstance(value, dict):
        yield from value.values()
    else:
        yield from value


def _length(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    return len(value) if isinstance(value, str | bytes) else 8
