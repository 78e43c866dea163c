"""Small files that claim much: each must be refused, or read, within 512 MiB and 2 seconds."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    FileMetaData,
    encode,
    structs,
)
from tests.conformance.breaks import huge_page, inside, plain, rekeyed
from tests.conformance.spoil import groups_of, spoiled
from tests.torture.dress import dressed


def _chunks(count: int) -> bytes:
    """A footer of row groups whose chunks are three bytes each."""
    group = {1: (LIST, (STRUCT, [{2: (I64, 4)}] * min(count, 60_000)))}
    schema = structs([{4: (BINARY, b"x")}] * 3)
    struct = {1: (I32, 1), 2: schema, 3: (I64, 1), 4: structs([group] * -(-count // 60_000))}
    data = encode(struct)
    return b"PAR1" + data + len(data).to_bytes(4, "little") + b"PAR1"


def _json(filling: bytes, count: int = 15 << 20) -> bytes:
    """Metadata full of small values."""
    inner = filling * (count // len(filling))
    return rekeyed(b"dof", lambda v: v[:-1] + b',"training":{"x":[' + inner + b"0]}}")()


def _long_key() -> bytes:
    return rekeyed(b"dof", lambda v: v + b" " * (30 << 20))()


def _many_keys() -> bytes:
    return spoiled(
        plain(), keys=lambda pairs: [*pairs, *((b"k%d" % i, b"") for i in range(60_000))]
    )


def _many_problems() -> bytes:
    return inside(plain, "targets", {f"t{i}": {"kind": 0} for i in range(100_000)})()


def _many_columns() -> bytes:
    column = {"role": "kept", "dtype": "x", "layout": "mapped"}
    return inside(plain, "columns", {f"c{i}": column for i in range(55_000)})()


def _by_pyarrow(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return dressed(sink.getvalue()) or b""


def _dictionary() -> bytes:
    """A text of a megabyte, named by a million rows."""
    text = pa.DictionaryArray.from_arrays(np.zeros(1 << 20, "i4"), ["x" * (1 << 20)]).cast(
        pa.dictionary(pa.int32(), pa.string())
    )
    table = pa.table({"id": text}).replace_schema_metadata()
    return _by_pyarrow(table, compression="ZSTD", store_schema=False)


def _runs() -> bytes:
    """Rows without end, all null: 64 million in a few kilobytes."""
    table = pa.table({"id": ["a"] * (1 << 20), "n": pa.nulls(1 << 20, pa.int64())})
    data = _by_pyarrow(table, compression="ZSTD")

    def repeat(struct: Any) -> None:
        groups = groups_of(struct)
        groups *= 64
        struct[FileMetaData.ROWS] = (I64, 64 << 20)

    return spoiled(data, footer=repeat)


def _zeros() -> bytes:
    """A gigabyte of zeros, compressed."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(1 << 20, "f4")), 1 << 10)
    table = pa.table({"feature": pa.chunked_array([values] * 256)})
    return _by_pyarrow(table, compression="ZSTD", use_dictionary=False)


def _nested() -> bytes:
    data = b"\x1c" * (1 << 20)
    return b"PAR1" + data + len(data).to_bytes(4, "little") + b"PAR1"


def _deep_json() -> bytes:
    return rekeyed(
        b"dof", lambda v: v[:-1] + b',"training":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    )()


def _long_numbers() -> bytes:
    return inside(plain, "columns.feature.shape", [10**4200] * 1000)()


BOMBS: dict[str, Callable[[], bytes]] = {
    "chunks-1m": lambda: _chunks(350_000),
    "chunks-4m": lambda: _chunks(1_500_000),
    "json-lists": lambda: _json(b"[],"),
    "json-lists-fewer": lambda: _json(b"[],", 370_000),
    "json-objects": lambda: _json(b"{},"),
    "json-numbers": lambda: _json(b"1.5,"),
    "json-texts": lambda: _json(b'"",'),
    "key-long": _long_key,
    "keys-many": _many_keys,
    "problems-many": _many_problems,
    "columns-many": _many_columns,
    "dictionary": _dictionary,
    "runs": _runs,
    "zeros": _zeros,
    "nested-thrift": _nested,
    "nested-json": _deep_json,
    "numbers-long": _long_numbers,
    "page": huge_page,
}
assert footer.MAX_FOOTER < 64 << 20
