"""Digests that leave no byte of a file uncovered, and the seal over them (SPEC section 7).

Segments tile the file up to the footer: each runs from the end of the chunk before (or the file's start) to the end
of its own chunk, gaps and magic included; a last one, the tail, runs on to the footer. Their SHA-256 digests stand in
the footer under `dof.digests`; the SHA-256 over the footer itself, its own 64 digits read as zeros, is the seal.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable

from dof_arrow.format.parquet import footer

DIGESTS, SEAL = b"dof.digests", b"dof.seal"
UNSEALED = b"0" * 64
_MARK = (
    b"\x18\x08" + SEAL + b"\x18\x40"
)  # how the key and the length of its value stand in a Thrift footer
_BLOCK = 1 << 20


def encode_digests(digests: Iterable[bytes]) -> bytes:
    """The value of the key `dof.digests`: raw 32-byte digests, one after the other, in base64."""
    return b64encode(b"".join(digests))


def decode_digests(value: bytes) -> list[bytes] | None:
    """The digests in the value of `dof.digests`, or None if it is malformed.

    >>> decode_digests(encode_digests([bytes(32)])) == [bytes(32)]
    True
    """
    try:
        raw = b64decode(value, validate=True)
    except (Base64Error, ValueError):
        return None
    return [raw[i : i + 32] for i in range(0, len(raw), 32)] if len(raw) % 32 == 0 and raw else None


def seal(tail: bytes) -> bytes:
    """Seal a footer whose seal reads as zeros: `tail` is footer, length and magic; so is what is returned."""
    at = _seal_position(tail)
    if at is None or tail[at : at + 64] != UNSEALED:
        raise ValueError("no unsealed seal in the footer")
    return tail[:at] + _seal_digits(tail, at) + tail[at + 64 :]


def read_seal(tail: bytes, stated: bytes | None) -> tuple[str | None, bool]:
    """The seal of a file and whether it is true: `stated` is the value of the key `dof.seal`, if the footer has it.

    What looks like the key elsewhere in the file's tail makes no seal: the one that is true must be the key's own.
    """
    if stated is None:
        return None, False
    told, at = stated[:64].decode("ascii", "replace"), _seal_position(tail)
    if at is None:
        return told, False
    digits = tail[at : at + 64]
    return told, digits == stated and digits == _seal_digits(tail, at)


def segments(footer_struct: footer.Struct, footer_start: int) -> list[tuple[int, int]]:
    """The segments of a file as (start, end), the tail last, in file order."""
    ends = sorted(footer.chunk_range(meta)[1] for _, _, meta in footer.chunks(footer_struct))
    starts = [0, *ends]
    return list(zip(starts, [*ends, footer_start], strict=True))


def digest(file: int, start: int, end: int) -> bytes:
    """SHA-256 of the bytes [start, end) of an open file."""
    state = hashlib.sha256()
    while start < end:
        block = os.pread(file, min(_BLOCK, end - start), start)
        if not block:
            break  # shorter than its footer says: the digest will differ, which is the answer
        state.update(block)
        start += len(block)
    return state.digest()


def _seal_position(tail: bytes) -> int | None:
    at = tail.find(_MARK)
    if at < 0 or tail.find(_MARK, at + 1) >= 0 or at + len(_MARK) + 64 > len(tail):
        return None
    return at + len(_MARK)


def _seal_digits(tail: bytes, at: int) -> bytes:
    return hashlib.sha256(tail[:at] + UNSEALED + tail[at + 64 :]).hexdigest().encode()
