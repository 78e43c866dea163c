"""The Thrift codec: what pyarrow writes comes back to the byte, a stranger's bytes are bounded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import (
    BINARY,
    BYTE,
    DOUBLE,
    FALSE,
    I16,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
)
from tests.support.speed import slowness

_flat = st.one_of(
    st.tuples(st.just(TRUE), st.just(True)),
    st.tuples(st.just(FALSE), st.just(False)),
    *(
        st.tuples(st.just(kind), st.integers(-(2**bits), 2**bits - 1))
        for kind, bits in ((I16, 15), (I32, 31), (I64, 63))
    ),
    st.tuples(st.just(BYTE), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just(DOUBLE), st.binary(min_size=8, max_size=8)),
    st.tuples(st.just(BINARY), st.binary(max_size=20)),
)


def _struct(value: Any) -> Any:
    return st.dictionaries(st.integers(1, 40), value, max_size=5)


def _list(value: Any) -> Any:
    structs = st.lists(_struct(value), max_size=20).map(lambda v: (STRUCT, v))
    numbers = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20).map(lambda v: (I64, v))
    return st.tuples(
        st.just(LIST),
        structs | numbers | st.lists(st.booleans(), max_size=20).map(lambda v: (TRUE, v)),
    )


_value = st.recursive(
    _flat, lambda v: st.tuples(st.just(STRUCT), _struct(v)) | _list(v), max_leaves=12
)


@given(_struct(_value))
@settings(max_examples=150)
def test_any_struct_comes_back(struct: Any) -> None:
    data = footer.encode(struct)
    assert footer.decode(data) == (struct, len(data))


def _footer(path: Path) -> bytes:
    data = path.read_bytes()
    return data[len(data) - footer.footer_length(data[-8:], len(data)) : -8]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd", "use_dictionary": True},
        {"version": "1.0"},
        {"row_group_size": 3, "write_page_index": True},
        {"write_statistics": False},
    ],
)
def test_footers_of_pyarrow_come_back_to_the_byte(tmp_path: Path, options: dict[str, Any]) -> None:
    table = pa.table(
        {
            "a": pa.array([1, None, 3, 4]),
            "b": ["x", "y", "", None],
            "c": [[1.0], [], None, [2.0, 3.0]],
            "d": [{"e": True}] * 4,
        }
    )
    pq.write_table(table, tmp_path / "x", **options)
    data = _footer(tmp_path / "x")
    assert footer.encode(footer.decode(data)[0]) == data


def test_footers_of_other_writers_come_back(tmp_path: Path) -> None:
    import duckdb
    import polars as pl

    pl.DataFrame({"a": [1, 2], "b": ["x", None]}).write_parquet(tmp_path / "polars")
    duckdb.connect().execute(
        f"copy (select 1 as a, 'x' as b) to '{tmp_path}/duckdb' (format parquet)"
    )
    for name in ("polars", "duckdb"):
        data = _footer(tmp_path / name)
        struct = footer.decode(data)[0]
        assert footer.decode(footer.encode(struct))[0] == struct


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        footer.decode(data)
    except FormatError as error:
        assert [p.rule for p in error.problems] == ["footer-thrift"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x15",
        b"\x1c" * 100,
        b"\x19" * 100,
        b"\x18\xff\xff\xff\xff\x0f",
        b"\x19\xf6\xff\xff\xff\xff\x0f",
        b"\x16" + b"\xff" * 20,
        b"\x1f\x00",
        b"\x15\x02\x05\x02\x02\x00",
    ],
    ids=[
        "empty",
        "cut",
        "structs",
        "lists",
        "long text",
        "long list",
        "long number",
        "type",
        "twice",
    ],
)
def test_lies_cost_nothing(data: bytes) -> None:
    start = time.thread_time()
    with pytest.raises(FormatError):
        footer.decode(data)
    assert time.thread_time() - start < 0.1 * slowness()


@pytest.mark.parametrize(
    ("tail", "size", "rule"),
    [
        (b"\x00" * 8, 100, "file-magic"),
        (b"", 0, "file-magic"),
        (b"PAR1", 4, "file-magic"),
        (b"PAR1PAR1", 8, "file-magic"),
        (b"\x10\x00\x00\x00PARE", 100, "file-encrypted"),
        (b"\xff\x00\x00\x00PAR1", 100, "footer-length"),
        (b"\xff\xff\xff\xffPAR1", 1 << 40, "footer-length"),
    ],
)
def test_a_wrong_end_is_told(tail: bytes, size: int, rule: str) -> None:
    with pytest.raises(FormatError) as caught:
        footer.footer_length(tail, size)
    assert [p.rule for p in caught.value.problems] == [rule]


def test_a_chunks_range_begins_with_its_dictionary(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["x", "y"] * 100}), tmp_path / "x")
    ((_, _, meta),) = footer.chunks(footer.decode(_footer(tmp_path / "x"))[0])
    column = pq.read_metadata(tmp_path / "x").row_group(0).column(0)
    start = column.dictionary_page_offset
    assert footer.chunk_range(meta) == (start, start + column.total_compressed_size)
