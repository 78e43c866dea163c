"""How a file of HDF5 describes little-endian numbers (HDF5 file format 3.0, IV.A.2.d)."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_KIND = struct.Struct("<BBBBI")  # class, bits, bytes
_WHOLE = struct.Struct("<BBBBIHH")  # class, bits, bytes, the first bit, how many
_FRACTION = struct.Struct("<BBBBIHHBBBBI")  # the same; exponent, mantissa, what is taken off

# By its bytes: exponent and digits in bits, what is taken off the exponent.
_PARTS = {2: (5, 10, 15), 4: (8, 23, 127), 8: (11, 52, 1023)}


def _whole(size: int, is_signed: bool) -> tuple[bytes, np.dtype[Any]]:
    told = _WHOLE.pack(0x10, 8 if is_signed else 0, 0, 0, size, 0, 8 * size)
    return told, np.dtype(f"<{'i' if is_signed else 'u'}{size}")


def _fraction(size: int) -> tuple[bytes, np.dtype[Any]]:
    exponent, digits, taken_off = _PARTS[size]
    sign = 8 * size - 1
    where = (digits, exponent, 0, digits)
    told = _FRACTION.pack(0x11, 0x20, sign, 0, size, 0, 8 * size, *where, taken_off)
    return told, np.dtype(f"<f{size}")


WHOLE = dict(_whole(size, sign) for size in (1, 2, 4, 8) for sign in (False, True))
FRACTIONS = dict(_fraction(size) for size in _PARTS)
# Texts of any length, which end with a zero, in ASCII and in UTF-8; each letter is a byte.
_LETTER = _WHOLE.pack(0x10, 0, 0, 0, 1, 0, 8)
TEXTS = tuple(_KIND.pack(0x19, 1, letters, 0, 16) + _LETTER for letters in (0, 1))


def number_type(told: bytes) -> np.dtype[Any] | None:
    """The type of numbers that a description begins with, which may be filled up with zeros."""
    found = WHOLE.get(told[: _WHOLE.size])
    return FRACTIONS.get(told[: _FRACTION.size]) if found is None else found
