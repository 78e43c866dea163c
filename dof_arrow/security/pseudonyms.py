"""Pseudonyms of inputs and groups, made with the owner's secret key.

A pseudonym is the first 130 bits of HMAC-SHA256 (RFC 2104) over the kind and the name, in
lower-case base32 (RFC 4648) without padding. Without the key it cannot be undone, nor found by
trying likely names, as a plain hash can. With the key the same name gives the same pseudonym in
every dataset.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError

KEY_BYTES = 32
PSEUDONYM_LENGTH = 26
_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
_OF_BYTES = np.array([1 << shift for shift in (32, 24, 16, 8, 0)], np.uint64)
_SHIFTS = np.array([35, 30, 25, 20, 15, 10, 5, 0], np.uint64)  # of the eight letters
_AT_ONCE = 65_536  # names

Kind = Literal["id", "group"]


def pseudonym(key: bytes, kind: Kind, name: str) -> str:
    """The pseudonym of one name: 26 characters of a-z and 2-7.

    An id and a group of equal names get different pseudonyms. Raises UsageError for an empty name,
    a name that is no Unicode text, an unknown kind, or a key that is not 32 bytes.

    >>> pseudonym(bytes(32), "id", "patient 7/front.png")
    'dk76dpfpk22mlkylqzghti2crk'
    """
    return pseudonyms(key, kind, (name,))[0]


def fingerprint(key: bytes) -> str:
    """What a dataset says of the key that made its pseudonyms: the key cannot be found by it.

    >>> fingerprint(bytes(32))
    '1055e71d0b9cbabf'
    """
    return hmac.digest(key, b"dof key", "sha256").hex()[:16]


def pseudonyms(key: bytes, kind: Kind, names: Iterable[str]) -> list[str]:
    """The pseudonyms of many names, in their order. Raises as `pseudonym` does.

    >>> first, second = pseudonyms(bytes(32), "group", ["a", "b"])
    >>> first == second
    False
    """
    if len(key) != KEY_BYTES:
        raise UsageError(
            "not a pseudonym key", expected=f"{KEY_BYTES} bytes", found=f"{len(key)} bytes"
        )
    if kind not in ("id", "group"):
        raise UsageError("no such kind of pseudonym", expected="id or group", found=str(kind))
    domain = f"dof pseudonym {kind}\0".encode()
    digests = [hmac.digest(key, domain + _bytes(name), "sha256") for name in names]
    spelled: list[str] = []
    for start in range(0, len(digests), _AT_ONCE):
        spelled += _spelled(digests[start : start + _AT_ONCE])
    return spelled


def split_numbers(key: bytes, named: Iterable[str]) -> NDArray[Any]:
    """A number in [0, 1) for each pseudonym, float64 [n], which tells in which split it is.

    It depends on the pseudonym and the key alone, so that a person is on the same side in every
    dataset that is made with the key. A number is the first 53 bits of HMAC-SHA256 (RFC 2104).

    >>> split_numbers(bytes(32), ["dk76dpfpk22mlkylqzghti2crk"]).round(6).tolist()
    [0.245849]
    """
    numbers = []
    for name in named:
        digest = hmac.digest(key, b"dof split\0" + name.encode(), "sha256")
        numbers.append(int.from_bytes(digest[:8], "big") >> 11)
    return np.array(numbers, np.uint64) / 2.0**53


def digest_of_sizes(key: bytes, sizes: Iterable[tuple[str, int]]) -> str:
    """A keyed digest of named sizes, in hexadecimal, whatever their order.

    It tells the owner whether any has changed, and nobody else anything. Digests of parts add up to
    that of the whole (`sum_of_digests`): each is a sum of HMAC-SHA256 values modulo 2^256
    (MSet-Add-Hash, Clarke et al. 2003).

    >>> parts = [digest_of_sizes(bytes(32), [(name, 7)]) for name in "ab"]
    >>> sum_of_digests(parts) == digest_of_sizes(bytes(32), [("b", 7), ("a", 7)])
    True
    """
    total = 0
    for name, size in sizes:
        digest = hmac.digest(key, b"dof size\0%d\0" % size + _bytes(name), "sha256")
        total += int.from_bytes(digest, "big")
    return _hexadecimal(total)


def sum_of_digests(digests: Iterable[str]) -> str:
    """The digest of all sizes whose digests are given."""
    return _hexadecimal(sum(int(digest, 16) for digest in digests))


def _hexadecimal(total: int) -> str:
    return f"{total % (1 << 256):064x}"


def draw_number(key: bytes, name: str) -> int:
    """A number of 63 bits by which an input's views are drawn.

    It depends on the name and the key alone. A number in a row would tell, by the draws that stand
    in the file, which row of the source the input is.

    >>> draw_number(bytes(32), "patient 7/front.png") < 2**63
    True
    """
    digest = hmac.digest(key, b"dof draw\0" + _bytes(name), "sha256")
    return int.from_bytes(digest[:8], "big") >> 1


def _bytes(name: str) -> bytes:
    if not name:
        raise UsageError(
            "an empty name has no pseudonym", hint="Give every record and every group a name."
        )
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise UsageError(
            "a name is no Unicode text", hint="Rename the file so that its name is UTF-8."
        ) from None


def _spelled(digests: Sequence[bytes]) -> list[str]:
    """The first 130 bits of each digest in base32: eight letters for five bytes."""
    parts = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)[:, :20]
    fives = parts.reshape(len(digests), 4, 5).astype(np.uint64)
    numbers = fives @ _OF_BYTES
    letters = numbers[..., None] >> _SHIFTS & 31
    spelled = _LETTERS[letters.reshape(len(digests), -1)[:, :PSEUDONYM_LENGTH]]
    text = spelled.tobytes().decode("ascii")
    return [
        text[start : start + PSEUDONYM_LENGTH] for start in range(0, len(text), PSEUDONYM_LENGTH)
    ]
