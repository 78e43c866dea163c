"""Digests and seal: no byte is left uncovered, no bit flips silently (SPEC section 7)."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from dof_arrow.format.parquet import digests, footer
from tests.support import making


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("seal") / "x.parquet"
    return making.write(
        path,
        20,
        columns={"label": np.arange(20), "name": [f"n{i}" for i in range(20)]},
        group=8,
        align=64,
    ).read_bytes()


def _tail(data: bytes) -> bytes:
    return data[-footer.footer_length(data[-8:], len(data)) :]


def _segments(data: bytes) -> list[tuple[int, int]]:
    tail = _tail(data)
    return digests.segments(footer.decode(tail[:-8])[0], len(data) - len(tail))


def test_segments_tile_the_file(data: bytes) -> None:
    segments = _segments(data)
    assert segments[0][0] == 0 and segments[-1][1] == len(data) - len(_tail(data))
    for (_, end), (start, _) in itertools.pairwise(segments):
        assert end == start


def test_the_digests_in_the_footer_are_those_of_the_segments(data: bytes) -> None:
    keys = dict(_key_values(_tail(data)))
    stated = digests.decode_digests(keys[digests.DIGESTS])
    assert stated == _segment_digests(data, _segments(data))


def _segment_digests(data: bytes, segments: list[tuple[int, int]]) -> list[bytes]:
    return [hashlib.sha256(data[start:end]).digest() for start, end in segments]


def _key_values(tail: bytes) -> list[tuple[bytes, bytes]]:
    return list(footer.key_values(footer.decode_footer(tail)[0]))


def _stated(tail: bytes) -> bytes:
    """The value of the key `dof.seal`."""
    return dict(_key_values(tail))[digests.SEAL]


def test_the_seal_is_true_and_stands_last(data: bytes) -> None:
    seal, true = digests.read_seal(_tail(data), _stated(_tail(data)))
    assert true and seal is not None and len(seal) == 64
    keys = [key for key, _ in _key_values(_tail(data))]
    assert keys == [b"ARROW:schema", b"dof", digests.DIGESTS, digests.SEAL]


def test_no_flipped_bit_of_the_footer_is_silent(data: bytes) -> None:
    tail = _tail(data)
    stated = _stated(tail)
    at = tail.index(stated)
    for bit in range(0, 8 * len(tail), 7):
        flipped = bytearray(tail)
        flipped[bit // 8] ^= 1 << bit % 8
        for told in (stated, bytes(flipped[at : at + 64])):
            assert not digests.read_seal(bytes(flipped), told)[1], bit


def test_no_flipped_bit_of_the_data_is_silent(data: bytes, tmp_path: Path) -> None:
    segments = _segments(data)
    stated = _segment_digests(data, segments)
    _, end = segments[-1]
    for bit in range(0, 8 * end, 97):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert _segment_digests(bytes(flipped), segments) != stated


def test_a_seal_is_made_once_only(data: bytes) -> None:
    with pytest.raises(ValueError, match="no unsealed seal"):
        digests.seal(_tail(data))
    with pytest.raises(ValueError, match="no unsealed seal"):
        digests.seal(b"nothing here")
    assert digests.read_seal(b"nothing here", None) == (None, False)
    assert digests.read_seal(b"nothing here", b"0" * 64) == ("0" * 64, False)


def test_two_seals_are_none(data: bytes) -> None:
    stated = _stated(_tail(data))
    assert digests.read_seal(_tail(data) * 2, stated) == (stated.decode(), False)


def test_a_seal_that_is_not_the_keys_is_none(data: bytes) -> None:
    """What looks like the key may stand in a text; readers of Parquet find another, or none."""
    tail = _tail(data)
    assert digests.read_seal(tail, None) == (None, False)
    assert digests.read_seal(tail, b"0" * 64) == ("0" * 64, False)


@pytest.mark.parametrize("value", [b"", b"!", b"AAAA", "é".encode()])
def test_malformed_digests_are_none(value: bytes) -> None:
    assert digests.decode_digests(value) is None


def test_a_digest_stops_at_the_files_end(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    file = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        expected = hashlib.sha256(b"bc").digest()
        assert digests.digest(file, 1, 3) == expected
        assert digests.digest(file, 1, 300) == expected
    finally:
        os.close(file)
