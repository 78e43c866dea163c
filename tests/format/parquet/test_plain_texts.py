"""Ids of small files are read without pyarrow's reader: the same texts, or left to it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dof_arrow.errors import FormatError
from dof_arrow.format.file import File
from dof_arrow.format.parquet import pages
from dof_arrow.format.parquet.plain_texts import _decoded
from dof_arrow.format.writer import Writer

_KINDS = {
    "one length": [f"{number:026d}" for number in range(300)],
    "any length": [f"{'ä' * (number % 5)}{number}" for number in range(300)],
    "few": ["a"],
}


def _file(path: Path, ids: list[str]) -> Path:
    with Writer(path, overwrite=True) as writer:
        vectors = {"feature": np.zeros((len(ids), 2), np.float32)}
        writer.write(ids=ids, vectors=vectors)
    return path


@pytest.mark.parametrize("kind", _KINDS)
def test_texts_are_those_that_pyarrow_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = _file(tmp_path / "x.parquet", _KINDS[kind])
    monkeypatch.setattr(pages.Encoded, "column", None)
    assert File(path).decoded("id").equals(pq.read_table(path)["id"].combine_chunks())


def test_long_columns_are_left_to_pyarrow(tmp_path: Path) -> None:
    ids = [f"{number:026d}" for number in range(5000)]
    file = File(_file(tmp_path / "x.parquet", ids))
    assert file._plain_texts("id") is None and file.decoded("id").to_pylist() == ids


@pytest.mark.parametrize("kind", _KINDS)
def test_bytes_that_are_no_texts_are_left_to_pyarrow(kind: str) -> None:
    """Any byte turned: the count and the lengths add up and all is UTF-8, or it is not read."""
    ids = _KINDS[kind]
    texts = [each.encode() for each in ids]
    data = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    assert _decoded(data, len(ids)).to_pylist() == ids
    assert _decoded(data, len(ids) + 1) is None and _decoded(data[:-1], len(ids)) is None
    drawn = random.Random(0)
    for _ in range(300):
        turned = bytearray(data)
        turned[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
        found = _decoded(bytes(turned), len(ids))
        if found is not None:
            again = [each.encode() for each in found.to_pylist()]
            joined = b"".join(len(text).to_bytes(4, "little") + text for text in again)
            assert joined == bytes(turned)


def test_a_damaged_length_is_told(tmp_path: Path) -> None:
    path = _file(tmp_path / "x.parquet", _KINDS["one length"])
    data = bytearray(path.read_bytes())
    data[data.find(_KINDS["one length"][7].encode()) - 1] = 0x7F
    path.write_bytes(data)
    with pytest.raises(FormatError):
        File(path).decoded("id")
