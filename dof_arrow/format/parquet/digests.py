"""Digests that leave no byte of a file uncovered, and the seal over them (SPEC section 7).

Segments tile the file up to the footer: each runs from the end of the chunk before (or the file's
start) to the end of its own chunk, gaps and magic included. The last one, the tail, runs on to the
footer. Their SHA-256 digests stand in the footer under `dof.digests`. The seal is the SHA-256 of
the footer itself, with zeros in place of the seal's 64 digits.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable

from dof_arrow.format.parquet import footer
from dof_arrow.storage.copy import blocks

DIGESTS = b"dof.digests"
SEAL = b"dof.seal"
_DIGEST_BYTES = 32
_SEAL_DIGITS = 64
UNSEALED = b"0" * _SEAL_DIGITS
# How a Thrift footer has the key of the seal, and the length of its value.
_MARK = b"\x18\x08" + SEAL + b"\x18\x40"


def encode_digests(digests: Iterable[bytes]) -> bytes:
    """The value of the key `dof.digests`: 32-byte digests, one after the other, in base64."""
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
    if not raw or len(raw) % _DIGEST_BYTES:
        return None
    starts = range(0, len(raw), _DIGEST_BYTES)
    return [raw[start : start + _DIGEST_BYTES] for start in starts]


def seal(tail: bytes) -> bytes:
    """Seal a footer whose seal is still zeros.

    `tail` is the file's last bytes: footer, length and magic; so is the result. Raises ValueError
    if there is no such seal.
    """
    at = _seal_position(tail)
    if at is None or not tail.startswith(UNSEALED, at):
        raise ValueError("no unsealed seal in the footer")
    end = at + _SEAL_DIGITS
    return tail[:at] + _true_seal(tail, at) + tail[end:]


def read_seal(tail: bytes, stated: bytes | None) -> tuple[str | None, bool]:
    """The seal of a file, and whether it is true.

    `stated` is the value of the key `dof.seal`, if the footer has it. What looks like the key
    elsewhere in the file's tail makes no seal: the true one must be the key's own.
    """
    if stated is None:
        return None, False
    told = stated[:_SEAL_DIGITS].decode("ascii", "replace")
    at = _seal_position(tail)
    if at is None:
        return told, False
    digits = tail[at : at + _SEAL_DIGITS]
    return told, digits == stated and digits == _true_seal(tail, at)


def segments(footer_struct: footer.Struct, footer_start: int) -> list[tuple[int, int]]:
    """The segments of a file as (start, end) in bytes, in file order; the last one is the tail."""
    ends = []
    for _, _, meta in footer.chunks(footer_struct):
        _, end = footer.chunk_range(meta)
        ends.append(end)
    ends.sort()
    starts = [0, *ends]
    return list(zip(starts, [*ends, footer_start], strict=True))


def digest(file: int, start: int, end: int) -> bytes:
    """SHA-256 of the bytes [start, end) of an open file."""
    state = hashlib.sha256()
    # Fewer if the file is shorter than its footer says: the digest differs, which is the answer.
    for block in blocks(file, start, end):
        state.update(block)
    return state.digest()


def _seal_position(tail: bytes) -> int | None:
    """Where the digits of the seal stand; None if there is no seal, or what looks like two."""
    at = tail.find(_MARK)
    if at < 0 or tail.find(_MARK, at + 1) >= 0:
        return None
    digits = at + len(_MARK)
    return digits if digits + _SEAL_DIGITS <= len(tail) else None


def _true_seal(tail: bytes, at: int) -> bytes:
    """The digits that the seal at a position should have."""
    end = at + _SEAL_DIGITS
    unsealed = tail[:at] + UNSEALED + tail[end:]
    return hashlib.sha256(unsealed).hexdigest().encode()
