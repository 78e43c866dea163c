"""Lookup tables of DICOM files: modality, values of interest, palettes (DICOM PS3.3).

A descriptor says how many entries a table has (0: 65536), the value that the first stands for, and
the bits of an entry (C.11.1.1, C.11.2.1.1, C.7.6.3.1.5). Values below the first are shown as the
first entry, values beyond the last as the last. Entries of 8 bits may be packed, or stand in words
of 16 bits each; which of the two the length of the data says. Entries that do not fit into the bits
that are stated are taken as 16 bits. Segmented palettes are expanded (C.7.9.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError

Array = npt.NDArray[Any]

_WORD = 1 << 16
_DISCRETE, _LINEAR, _INDIRECT = range(3)  # kinds of a segment


class Lookup(NamedTuple):
    """A table: its entries, uint16 [n], the value that the first stands for, bits of an entry."""

    entries: Array
    first: int
    bits: int

    @property
    def greatest(self) -> int:
        """The greatest entry that the bits could hold."""
        return (1 << self.bits) - 1

    def __call__(self, values: Array) -> Array:
        """The entries that values of any number type stand for, uint16."""
        # A hair more, or 0.1 x 30 could fall below 3.
        whole = values if values.dtype.kind in "iu" else np.floor(np.nan_to_num(values) + 1e-6)
        last = self.first + len(self.entries) - 1
        places = np.clip(whole, self.first, last).astype(np.int64) - self.first
        return self.entries[places]


def of_sequence(about: Any, name: str, lowest: float, highest: float) -> Lookup | None:
    """The first table of a sequence that holds one; `lowest`, `highest` of what is looked up."""
    for item in about.get(name) or []:
        descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
        if _is_stated(descriptor) and _is_stated(data):
            return _lookup(descriptor, data, item["LUTData"].VR, about, (lowest, highest))
    return None


def of_palette(about: Any, lowest: float, highest: float) -> list[Lookup]:
    """The tables for red, green and blue; PictureError where one is missing."""
    tables: list[Lookup] = []
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        descriptor = about.get(f"{name}Descriptor")
        plain, segmented = f"{name}Data", f"Segmented{name}Data"
        range_ = (lowest, highest)
        if descriptor and about.get(plain):
            table = _lookup(descriptor, about.get(plain), about[plain].VR, about, range_)
        elif descriptor and about.get(segmented):
            table = _expanded(descriptor, about[segmented], about, range_)
        else:
            raise PictureError("a picture of palette colours without its palette")
        tables.append(table)
    return tables


def _is_stated(value: Any) -> bool:
    if value is None:
        return False
    return not hasattr(value, "__len__") or len(value) > 0


def _described(descriptor: Any, range_: tuple[float, float]) -> tuple[int, int, int]:
    """How many entries, the first value, bits of an entry."""
    numbers = [int(number) for number in descriptor]
    if len(numbers) != 3:
        raise PictureError("a lookup table whose descriptor has not three numbers")
    # All three are 16 bits, which files call signed or unsigned as their pixels are.
    count = numbers[0] % _WORD or _WORD
    bits = numbers[2] % _WORD
    if not 8 <= bits <= 16:
        raise PictureError(
            "lookup tables of such entries are not read",
            expected="8 to 16 bits an entry",
            found=str(bits),
            rule="unsupported-mode",
        )
    return count, _first(numbers[1], range_), bits


def _first(number: int, range_: tuple[float, float]) -> int:
    """The first value: below zero where the values that are looked up may be."""
    lowest, highest = range_
    signed = number < 0 or (number >= _WORD // 2 and lowest < 0 and highest < _WORD // 2)
    return number - _WORD if signed and number > 0 else number


def _lookup(descriptor: Any, data: Any, vr: str, about: Any, range_: tuple[float, float]) -> Lookup:
    count, first, bits = _described(descriptor, range_)
    entries = _entries(data, vr, count, bits, _is_big_endian(about))
    if len(entries) < count:
        raise PictureError(
            "a lookup table ends too early",
            expected=f"{count} entries",
            found=str(len(entries)),
            rule="truncated",
        )
    return _fitting(entries[:count], first, bits)


def _fitting(entries: Array, first: int, bits: int) -> Lookup:
    """The table; of 16 bits where its entries need more than it states."""
    needed = int(entries.max()).bit_length()
    return Lookup(entries, first, bits if needed <= bits else 16)


def _entries(data: Any, vr: str, count: int, bits: int, big: bool) -> Array:
    if not isinstance(data, bytes):  # numbers (of VR US), already read
        return np.atleast_1d(np.asarray(data)).astype(np.int64).astype(np.uint16)
    if bits == 8 and len(data) < 2 * count:
        return _packed(data, vr, big).astype(np.uint16)
    words = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big else "<u2")
    return words.astype(np.uint16)


def _packed(data: bytes, vr: str, big: bool) -> Array:
    """Bytes, two to a word where the value representation is of words."""
    values = np.frombuffer(data, np.uint8)
    if big and vr == "OW" and len(values) % 2 == 0:
        return values.reshape(-1, 2)[:, ::-1].ravel()
    return values


def _is_big_endian(about: Any) -> bool:
    return not about.file_meta.TransferSyntaxUID.is_little_endian


# Segmented palettes


def _expanded(descriptor: Any, element: Any, about: Any, range_: tuple[float, float]) -> Lookup:
    count, first, bits = _described(descriptor, range_)
    big = _is_big_endian(about)
    if bits == 8:
        parts = _packed(element.value, element.VR, big)
    else:
        parts = np.frombuffer(element.value, ">u2" if big else "<u2")
    entries = _Segments(parts, count).expanded()
    return _fitting(entries, first, bits)


class _Segments:
    """The parts of a segmented table, bytes or words, and the entries made of them so far."""

    def __init__(self, parts: Array, count: int) -> None:
        self._parts = parts.tolist()
        self._width = parts.itemsize
        self._count = count
        self._made: list[int] = []

    def expanded(self) -> Array:
        """All entries; PictureError where the segments make more or fewer than are stated."""
        at = 0
        while len(self._made) < self._count and at + 2 < len(self._parts):
            at = self._segment(at, may_point=True)
        if len(self._made) != self._count:
            raise PictureError(
                "a segmented palette makes another number of entries than it states",
                expected=str(self._count),
                found=str(len(self._made)),
            )
        return np.array(self._made, np.uint16)

    def _segment(self, at: int, may_point: bool) -> int:
        """Expand the segment at a place; where the next one is."""
        kind, length = self._parts[at : at + 2]
        at += 2
        if kind == _DISCRETE:
            self._made += self._parts[at : at + length]
            return at + int(length)
        if kind == _LINEAR and self._made:
            self._made += self._line(self._made[-1], self._parts[at], length)
            return at + 1
        if kind == _INDIRECT and may_point:
            return self._indirect(at, length)
        raise PictureError("a segmented palette of segments that cannot be")

    def _line(self, last: int, end: int, length: int) -> Iterator[int]:
        for step in range(1, min(length, self._count + 1) + 1):
            yield round(last + (end - last) * step / length)

    def _indirect(self, at: int, segments: int) -> int:
        """Expand segments again that stand elsewhere, at an offset in bytes, lowest part first."""
        size = 4 // self._width
        offset = 0
        for place, part in enumerate(self._parts[at : at + size]):
            offset += part << (8 * self._width * place)
        there = offset // self._width
        for _ in range(segments):
            if len(self._made) > self._count:
                break
            there = self._segment(there, may_point=False)
        return at + size
