"""How a card carries many numbers: little-endian bytes, gzip, base64; browsers unpack these."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def packed(data: bytes) -> str:
    """Bytes as a text that the page unpacks; equal bytes give equal texts.

    >>> len(packed(bytes(1000))) < 100
    True
    """
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def packed_numbers(values: Array, kind: str) -> str:
    """Numbers as little-endian `kind`, such as `<u2`, the low bytes of all before the high ones.

    Bytes of one weight are alike, so that they are packed to less.
    """
    whole = np.ascontiguousarray(values, kind)
    return packed(whole.reshape(-1).view(np.uint8).reshape(whole.size, -1).T.tobytes())


def packed_texts(texts: Sequence[str]) -> str:
    """Texts without line breaks, one a line."""
    return packed("\n".join(texts).encode())
