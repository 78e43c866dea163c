"""Attributes of an HDF5 file, read from its bytes: numbers, and texts of any length.

HDF5 file format 3.0, IV.A.2.m (version 1) and III.E, where texts stand.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.foreign.hdf5_attributes import plain_value
from dof_arrow.rewrite.foreign.hdf5_header import FileBytes, OtherForm
from dof_arrow.rewrite.foreign.hdf5_numbers import TEXTS, number_type

_ABOUT = struct.Struct("<BxHHH")  # version, bytes of name, type and shape
# One value, which may be alone in a list.
_SHAPES = (
    struct.pack("<BBB5x", 1, 0, 0),
    struct.pack("<BBB5xQ", 1, 1, 0, 1),
    struct.pack("<BBB5xQQ", 1, 1, 1, 1, 1),
)
_MOST_ABOUT = 1 << 9  # bytes
_REFERENCE = struct.Struct("<IQI")  # letters, where the collection is, which of its texts
_COLLECTION = struct.Struct("<4sB3xQ")  # signature, version, bytes
_TEXT = struct.Struct("<HHxxxxQ")  # number, references, bytes


class Attributes:
    """What attributes say, by their messages in object headers; OtherForm for unusual ones."""

    def __init__(self, data: FileBytes) -> None:
        self._data = data
        self._collections: dict[int, dict[int, bytes]] = {}

    def said(
        self, owners: Iterable[Sequence[bytes]], looked_at: Collection[str]
    ) -> dict[str, Json]:
        """The attributes of these names; of the first owner where several have one."""
        found: dict[str, Json] = {}
        for owner in owners:
            names = set()
            for message in owner:
                name, dtype, start = _parted(message)
                if name in names:
                    raise OtherForm
                names.add(name)
                if name in looked_at and name not in found:
                    value = self._value(message, dtype, start)
                    if value is not None:
                        found[name] = value
        return found

    def _value(self, message: bytes, dtype: np.dtype[Any] | None, start: int) -> Json:
        if dtype is not None:
            return plain_value(np.frombuffer(message, dtype, 1, start).item())
        length, place, number = _REFERENCE.unpack_from(message, start)
        if place not in self._collections:
            self._collections[place] = self._collection(place)
        text = self._collections[place].get(number, b"")
        if len(text) != length or not text or b"\0" in text:
            raise OtherForm
        return plain_value(text.decode("utf-8", "surrogateescape"))

    def _collection(self, place: int) -> dict[int, bytes]:
        """The texts of a collection by their numbers."""
        signature, version, size = _COLLECTION.unpack(self._data.read(place, _COLLECTION.size))
        if (signature, version) != (b"GCOL", 1):
            raise OtherForm
        block = self._data.read(place, size)
        found: dict[int, bytes] = {}
        at = _COLLECTION.size
        while at + _TEXT.size <= size:
            number, _, length = _TEXT.unpack_from(block, at)
            start = at + _TEXT.size
            if not number:  # what is free: all of the rest
                at += length
                if at != size:
                    raise OtherForm
                break
            at = start + -(-length // 8) * 8
            if number in found or at > size:
                raise OtherForm
            found[number] = block[start : start + length]
        return found


def _parted(message: bytes) -> tuple[str, np.dtype[Any] | None, int]:
    """The name of an attribute, the type of its number, None if it is a text; where it stands."""
    version, *lengths = _ABOUT.unpack_from(message)
    start = _ABOUT.size + sum(map(_padded, lengths))
    if version != 1 or start > min(_MOST_ABOUT, len(message)):
        raise OtherForm
    name, dtype = _described(message[:start], *lengths)
    size = _REFERENCE.size if dtype is None else dtype.itemsize
    if start + size > len(message):
        raise OtherForm
    return name, dtype, start


@lru_cache(256)  # a program writes the same attributes into each of its files
def _described(about: bytes, name: int, kind: int, space: int) -> tuple[str, np.dtype[Any] | None]:
    """The name and the type of an attribute, by the bytes before its value."""
    kind_at = _ABOUT.size + _padded(name)
    space_at = kind_at + _padded(kind)
    called, end = about[_ABOUT.size : _ABOUT.size + name - 1], about[_ABOUT.size + name - 1]
    is_sound = name > 1 and called.isascii() and b"\0" not in called and not end
    if not is_sound or about[space_at : space_at + space] not in _SHAPES:
        raise OtherForm
    told = about[kind_at : kind_at + kind]
    dtype = None if told in TEXTS else number_type(told)
    if dtype is None and told not in TEXTS:
        raise OtherForm
    return called.decode(), dtype


def _padded(length: int) -> int:
    return -(-length // 8) * 8
