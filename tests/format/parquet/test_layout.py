"""The mapped layout: group sizes, levels that every reader decodes, and a proof (section 6)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dof_arrow.format.parquet import footer, layout, proof
from dof_arrow.format.parquet.footer import ColumnMeta
from dof_arrow.format.parquet.layout import Fixed
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.arrow import vector_field
from dof_arrow.storage import memory_map
from tests.support import making


def _bits(hybrid: bytes, count: int) -> list[int]:
    """Parquet's run-length and bit-packing hybrid of width 1, decoded by the book."""
    found: list[int] = []
    at = 0
    while at < len(hybrid):
        head = shift = 0
        while True:
            head |= (hybrid[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if hybrid[at - 1] < 128:
                break
        if head & 1:
            size = head >> 1
            found += np.unpackbits(
                np.frombuffer(hybrid[at : at + size], np.uint8), bitorder="little"
            ).tolist()
            at += size
        else:
            found += [hybrid[at]] * (head >> 1)
            at += 1
    assert len(found) - count in range(8), "padding of less than a byte"
    assert not any(found[count:]), "padding is zero"
    return found[:count]


@given(st.integers(1, 70), st.integers(1, 70) | st.integers(1, 2000))
@settings(max_examples=150)
def test_levels_say_that_every_list_is_full(rows: int, items: int) -> None:
    data = layout.levels(rows, items)
    size = int.from_bytes(data[:4], "little")
    repetition, rest = data[4 : 4 + size], data[4 + size :]
    definition = rest[4:]
    assert int.from_bytes(rest[:4], "little") == len(definition)
    assert _bits(repetition, rows * items) == ([0] + [1] * (items - 1)) * rows
    assert _bits(definition, rows * items) == [1] * rows * items


@given(
    st.lists(
        st.integers(1, 200_000).map(lambda d: 4 * d) | st.sampled_from([1, 2, 4, 8]),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=150)
def test_every_group_but_the_last_fills_whole_pages_of_every_column(widths: list[int]) -> None:
    found = layout.geometry(widths)
    assert found.alignment in (*layout.ALIGNMENTS, layout.SMALL_ALIGNMENT) and found.rows >= 1
    if found.alignment != layout.SMALL_ALIGNMENT:
        assert all(found.rows * w % found.alignment == 0 for w in widths)
        assert found.rows * sum(widths) < 2 * layout.MAX_GROUP_BYTES
    assert found.rows * max(widths) < 1 << 31, "a page has a 32-bit size"


def test_common_widths_keep_the_coarsest_alignment() -> None:
    assert layout.geometry([512 * 4]) == layout.Geometry(32_768, 65_536)
    assert layout.geometry([1280 * 4, 8]) == layout.Geometry(8_192, 65_536)
    assert layout.geometry([]).alignment == 65_536


_MAPPED = {
    "i1": pa.int8(),
    "i2": pa.int16(),
    "i4": pa.int32(),
    "i8": pa.int64(),
    "u1": pa.uint8(),
    "u2": pa.uint16(),
    "u4": pa.uint32(),
    "u8": pa.uint64(),
    "f2": pa.float16(),
    "f4": pa.float32(),
    "f8": pa.float64(),
}


@pytest.mark.parametrize(
    "kind",
    [
        *_MAPPED.values(),
        pa.date32(),
        pa.time32("ms"),
        pa.time64("us"),
        pa.time64("ns"),
        pa.timestamp("ms"),
        pa.timestamp("us", "UTC"),
        pa.timestamp("ns"),
    ],
    ids=str,
)
def test_required_fixed_width_columns_are_mapped(kind: pa.DataType) -> None:
    column = layout.fixed(pa.field("x", kind, nullable=False))
    assert column is not None and column.memory.itemsize == kind.byte_width and column.items == 1
    assert layout.fixed(pa.field("x", kind)) is None, "nullable columns are not"


@pytest.mark.parametrize(
    "kind",
    [
        pa.bool_(),
        pa.string(),
        pa.binary(),
        pa.list_(pa.float32()),
        pa.time32("s"),
        pa.timestamp("s"),
        pa.date64(),
        pa.duration("us"),
        pa.decimal128(10, 2),
        pa.dictionary(pa.int32(), pa.string()),
        pa.list_(pa.float32(), 4),
        pa.list_(pa.field("element", pa.int32(), nullable=False), 4),
        pa.struct({"a": pa.int32()}),
        pa.null(),
    ],
    ids=str,
)
def test_columns_whose_bytes_parquet_changes_are_not(kind: pa.DataType) -> None:
    assert layout.fixed(pa.field("x", kind, nullable=kind == pa.null())) is None


@pytest.mark.parametrize("code", [c for c in _MAPPED if c != "f2"])
def test_statistics_follow_the_columns_own_order(tmp_path: Path, code: str) -> None:
    """A reader that skips groups by them must lose no row, of large unsigned numbers either."""
    dtype = np.dtype(code)
    ends = (np.finfo if dtype.kind == "f" else np.iinfo)(dtype)  # type: ignore[operator]
    values = np.array([ends.max, 1, 0, ends.min, ends.max, 2, 3, ends.max], dtype)
    path = making.write(tmp_path / "x", 8, columns={"v": values}, group=4, align=64)
    meta = pq.read_metadata(path)
    found = [meta.row_group(g).column(1).statistics for g in range(2)]
    assert [(s.min, s.max) for s in found] == [(values[:4].min(), ends.max), (2, ends.max)]


def test_no_order_among_nan_and_a_zero_of_either_sign(tmp_path: Path) -> None:
    values = np.array([np.nan, 1.0, 0.0, -0.0, 0.0, 1.0, -1.0, -0.0])
    path = making.write(tmp_path / "x", 8, columns={"v": values}, group=2, align=64)
    meta = pq.read_metadata(path)
    first, second, third, fourth = (meta.row_group(g).column(1).statistics for g in range(4))
    assert first is None or not first.has_min_max
    # Of equal bounds pyarrow takes every value for the smallest: it would not find 0.0.
    assert second is None or not second.has_min_max
    assert np.signbit(third.min) and third.max == 1
    assert fourth.min == -1 and not np.signbit(fourth.max)


def test_nan_in_a_later_batch_leaves_no_order_either(tmp_path: Path) -> None:
    """Else a reader that looks for 100 would skip the group; equal rows also give equal bytes."""
    values = np.array([1.0, np.nan, 100.0])
    at_once = making.write(tmp_path / "x", 3, columns={"v": values})
    in_batches = making.write(tmp_path / "y", 3, columns={"v": values}, cuts=[1])
    assert pq.read_table(in_batches, filters=[("v", "==", 100.0)]).num_rows == 1
    found = pq.read_metadata(in_batches).row_group(0).column(1).statistics
    assert found is None or not found.has_min_max
    assert in_batches.read_bytes() == at_once.read_bytes()


def test_a_page_stays_below_two_gib() -> None:
    with pytest.raises(ValueError, match="a page of"):
        layout.page_start(Fixed("x", 1, False, np.dtype("<i8"), np.dtype("<i8")), 1 << 28)


@pytest.mark.parametrize(("width", "most"), [(16, 1.065), (32, 1.035), (128, 1.01), (512, 1.003)])
def test_what_levels_cost(width: int, most: float) -> None:
    """D20: the narrower the vectors, the more; under 1% from 128."""
    rows = 10_000
    assert (len(layout.levels(rows, width)) + rows * width * 4) / (rows * width * 4) < most


def _chunks(path: Path, column: Fixed) -> list[footer.Struct]:
    data = path.read_bytes()
    outline = Outline(data[-footer.footer_length(data[-8:], len(data)) :])
    return outline.column(outline.index(column.path))


class _Taken:
    """A file taken apart for the proof: what the footer says of its vectors, and its bytes."""

    def __init__(self, path: Path, group: int = 8) -> None:
        self.path, self.rows = making.write(path, 20, group=group, align=64), 20
        self.data = bytearray(self.path.read_bytes())
        column = layout.fixed(vector_field("feature", (4,)))
        assert column is not None
        self.column = column
        self.chunks = _chunks(path, column)

    def prove(self) -> list[memory_map.Region]:
        self.path.write_bytes(self.data)
        file = os.open(self.path, os.O_RDONLY)
        try:
            return proof.prove(file, len(self.data), self.chunks, self.column)
        finally:
            os.close(file)

    def start(self, group: int) -> int:
        return int(footer.get(self.chunks[group], ColumnMeta.DATA_PAGE))


@pytest.fixture
def taken(tmp_path: Path) -> _Taken:
    return _Taken(tmp_path / "x")


def test_the_proof_finds_the_values(taken: _Taken) -> None:
    regions = taken.prove()
    values = b"".join(taken.data[r.offset : r.offset + r.length] for r in regions)
    assert values == making.vectors(20, 4).tobytes()
    assert all(r.offset % 64 == 0 for r in regions)


def _put(field: int, value: Callable[[int], int]) -> Callable[[_Taken, int], None]:
    def lie(taken: _Taken, group: int) -> None:
        meta = taken.chunks[group]
        footer.put(meta, field, value(footer.get(meta, field)))

    return lie


def _poke(offset: int, value: int) -> Callable[[_Taken, int], None]:
    def lie(taken: _Taken, group: int) -> None:
        taken.data[taken.start(group) + offset] = value

    return lie


def _size(value: Callable[[int], int]) -> Callable[[_Taken, int], None]:
    def lie(taken: _Taken, group: int) -> None:
        for field in (ColumnMeta.BYTES, ColumnMeta.STORED_BYTES):
            _put(field, value)(taken, group)

    return lie


def _dictionary(taken: _Taken, group: int) -> None:
    taken.chunks[group][ColumnMeta.DICTIONARY_PAGE] = (footer.I64, 4)


def _levels_length(place: int) -> Callable[[_Taken, int], None]:
    def lie(taken: _Taken, group: int) -> None:
        end = footer.decode(bytes(taken.data), taken.start(group))[1]
        taken.data[end + place] += 1

    return lie


@pytest.mark.parametrize(
    "lie",
    [
        _put(ColumnMeta.CODEC, lambda v: 1),
        _put(ColumnMeta.CODEC, lambda v: 99),
        _dictionary,
        _put(ColumnMeta.VALUES, lambda v: v + 4),
        _put(ColumnMeta.VALUES, lambda v: v - 1),
        _put(ColumnMeta.VALUES, lambda v: -v),
        _put(ColumnMeta.VALUES, lambda v: 1 << 60),
        _put(ColumnMeta.STORED_BYTES, lambda v: v - 64),
        _put(ColumnMeta.STORED_BYTES, lambda v: v + 64),
        _put(ColumnMeta.STORED_BYTES, lambda v: 1 << 60),
        _put(ColumnMeta.STORED_BYTES, lambda v: 0),
        _size(lambda v: v - 64),
        _size(lambda v: v + 64),
        _size(lambda v: 1 << 60),
        _size(lambda v: 0),
        _put(ColumnMeta.BYTES, lambda v: v + 1),
        _put(ColumnMeta.TYPE, lambda v: v - 3),
        _put(ColumnMeta.DATA_PAGE, lambda v: v + 1),
        _put(ColumnMeta.DATA_PAGE, lambda v: 1 << 60),
        _put(ColumnMeta.DATA_PAGE, lambda v: -v),
        _put(ColumnMeta.DATA_PAGE, lambda v: 0),
        _poke(1, 4),
        _poke(0, 0),
        _poke(0, 0xFF),
        _levels_length(0),
        _levels_length(3),
    ],
    ids=[
        "snappy",
        "unknown codec",
        "dictionary",
        "values+4",
        "values-1",
        "values negative",
        "values huge",
        "size-64",
        "size+64",
        "size huge",
        "size 0",
        "sizes-64",
        "sizes+64",
        "sizes huge",
        "sizes 0",
        "other size",
        "other type",
        "offset+1",
        "offset huge",
        "offset negative",
        "offset 0",
        "page type",
        "no header",
        "bad header",
        "levels+1",
        "levels+2^24",
    ],
)
@pytest.mark.parametrize("group", [0, 1, 2])
def test_no_lie_of_any_group_is_believed(
    taken: _Taken, lie: Callable[[_Taken, int], None], group: int
) -> None:
    lie(taken, group)
    with pytest.raises(Unproved, match=f"row group {group}, column feature"):
        taken.prove()


def test_the_files_of_other_writers_are_proved_or_not(tmp_path: Path) -> None:
    field = vector_field("feature", (4,))
    table = pa.table(
        [pa.FixedSizeListArray.from_arrays(pa.array(np.arange(40, dtype="f4")), type=field.type)],
        schema=pa.schema([field]),
    )
    plain: dict[str, Any] = {"compression": "none", "use_dictionary": False}
    column = layout.fixed(field)
    assert column is not None
    for options, proved in (
        ({**plain}, True),
        ({"compression": "none"}, False),
        ({**plain, "compression": "zstd"}, False),
        ({**plain, "data_page_size": 8, "write_batch_size": 1}, False),
        ({**plain, "data_page_version": "2.0"}, False),
        ({**plain, "use_byte_stream_split": True}, False),
    ):
        pq.write_table(table, tmp_path / "x", **options)
        chunks = _chunks(tmp_path / "x", column)
        with (tmp_path / "x").open("rb") as file:
            try:
                (region,) = proof.prove(
                    file.fileno(), (tmp_path / "x").stat().st_size, chunks, column
                )
            except Unproved:
                assert not proved, options
                continue
            assert proved, options
            file.seek(region.offset)
            assert file.read(region.length) == np.arange(40, dtype="f4").tobytes()
