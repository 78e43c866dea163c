"""Chunks of required names: a dictionary, then all codes as one run of bytes (SPEC 6.7).

The codes are bit-packed with a width of 8 or 16 bits, which is what a plain array of uint8 or
uint16 is. So any reader of Parquet finds the names, and the codes can be mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.parquet.compact import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    Struct,
    encode,
    structs,
    varint,
)
from dof_arrow.format.parquet.footer import (
    DATA_PAGE,
    DICTIONARY_PAGE,
    PLAIN,
    RLE,
    RLE_DICTIONARY,
    UNCOMPRESSED,
    ColumnMeta,
    Page,
)
from dof_arrow.format.parquet.layout import data_page_header
from dof_arrow.format.parquet.statistics import of_names
from dof_arrow.format.spec.names import (
    MAX_CODED,
    NAMES,
    code_array,
    code_type,
    codes_or_missing,
    is_names,
    names_array,
    split_order,
    text_array,
)

BYTE_ARRAY = 6
_EIGHT = 8  # codes come in eights, the last ones filled up with zeros


@dataclass(frozen=True, slots=True)
class NamesColumn:
    """A column of names: its own, in order, or None where it is a split, whose rows say them."""

    name: str
    names: tuple[str, ...] | None
    mapped: bool

    def group(self, pieces: Sequence[pa.Array]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """The names of a row group, and the codes of its rows, -1 where one is missing."""
        whole = pa.concat_arrays(pieces)
        names = self.names
        if names is None:
            names = split_order(whole.unique().drop_null().to_pylist())
        return names, codes_or_missing(code_array(whole, names))

    def encoded(self, pieces: Sequence[pa.Array]) -> pa.Array:
        """The rows of a group as pyarrow is to encode them."""
        names, codes = self.group(pieces)
        return names_array(codes, text_array(names), NAMES)


def can_be_mapped(field: pa.Field, names: Sequence[str] | None) -> bool:
    """Whether a column of names is mapped: required, and of no more names than two bytes count."""
    if field.nullable or not is_names(field.type):
        return False
    return names is None or len(names) <= MAX_CODED


@dataclass(frozen=True, slots=True)
class NamesChunk:
    """The bytes of a chunk: what stands before the codes, and the codes, filled up to eights."""

    dictionary: bytes
    before: bytes
    codes: NDArray[np.integer]
    meta: Struct

    def placed(self, start: int) -> Struct:
        """What the footer says of the chunk, if its first byte is byte `start` of the file."""
        size = len(self.dictionary) + len(self.before) + self.codes.nbytes
        return {
            **self.meta,
            ColumnMeta.BYTES: (I64, size),
            ColumnMeta.STORED_BYTES: (I64, size),
            ColumnMeta.DATA_PAGE: (I64, start + len(self.dictionary)),
            ColumnMeta.DICTIONARY_PAGE: (I64, start),
        }


def names_chunk(column: str, names: Sequence[str], codes: NDArray[np.int32]) -> NamesChunk:
    """The chunk of one row group of a required column of names.

    Raises UsageError for more names than two bytes can count.
    """
    if len(names) > MAX_CODED:
        raise UsageError(
            "too many different names in a column",
            column,
            f"at most {MAX_CODED:,}",
            f"{len(names):,}",
            'Declare the column nullable in schema=, or write layout="compact".',
        )
    stored = np.zeros(_filled(len(codes)), code_type(len(names)).newbyteorder("<"))
    stored[: len(codes)] = codes
    return NamesChunk(
        dictionary=_dictionary_page(names),
        before=_codes_start(len(codes), stored),
        codes=stored,
        meta=_meta(column, names, codes),
    )


def _filled(rows: int) -> int:
    return -(-rows // _EIGHT) * _EIGHT


def _dictionary_page(names: Sequence[str]) -> bytes:
    texts = [name.encode() for name in names]
    data = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    about = {Page.VALUES: (I32, len(names)), Page.ENCODING: (I32, PLAIN)}
    header: Struct = {
        Page.TYPE: (I32, DICTIONARY_PAGE),
        Page.BYTES: (I32, len(data)),
        Page.STORED_BYTES: (I32, len(data)),
        Page.DICTIONARY: (STRUCT, about),
    }
    return encode(header) + data


def _codes_start(rows: int, stored: NDArray[np.integer]) -> bytes:
    """The data page up to its codes: header, bit width, and how many eights follow."""
    eights = len(stored) // _EIGHT
    start = bytes([8 * stored.itemsize]) + varint(eights << 1 | 1)
    return data_page_header(rows, RLE_DICTIONARY, len(start) + stored.nbytes) + start


def _meta(column: str, names: Sequence[str], codes: NDArray[np.int32]) -> Struct:
    """What the footer says of the chunk but for its size and place."""
    pages: list[Struct] = [
        {1: (I32, DICTIONARY_PAGE), 2: (I32, PLAIN), 3: (I32, 1)},
        {1: (I32, DATA_PAGE), 2: (I32, RLE_DICTIONARY), 3: (I32, 1)},
    ]
    used = np.flatnonzero(np.bincount(codes, minlength=len(names)))
    present = [names[code] for code in used.tolist()]
    return {
        ColumnMeta.TYPE: (I32, BYTE_ARRAY),
        ColumnMeta.ENCODINGS: (LIST, (I32, [PLAIN, RLE, RLE_DICTIONARY])),
        ColumnMeta.PATH: (LIST, (BINARY, [column.encode()])),
        ColumnMeta.CODEC: (I32, UNCOMPRESSED),
        ColumnMeta.VALUES: (I64, len(codes)),
        ColumnMeta.STATISTICS: (STRUCT, of_names(present)),
        ColumnMeta.ENCODING_STATS: structs(pages),
    }
