"""The field types that parquet.thrift declares, up to the release that pyarrow has.

Readers that are generated from parquet.thrift go by these types, not by those that stand in the
bytes of a list. Where the bytes say something else, they read other numbers, or other fields. So we
refuse such bytes.
"""

from __future__ import annotations

from typing import Any

from dof_arrow.format.parquet.compact import (
    BINARY,
    BYTE,
    DOUBLE,
    I16,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
    Known,
)

_WIRE_TYPES = {
    "bool": TRUE,
    "i8": BYTE,
    "i16": I16,
    "i32": I32,
    "i64": I64,
    "double": DOUBLE,
    "binary": BINARY,
}
# Of each struct: field ids with their types; [X] is a list of X. A long struct takes several lines.
_STRUCTS = """
    FileMetaData: 1 i32, 2 [SchemaElement], 3 i64, 4 [RowGroup]
    FileMetaData: 5 [KeyValue], 6 binary, 7 [ColumnOrder]
    FileMetaData: 8 EncryptionAlgorithm, 9 binary
    SchemaElement: 1 i32, 2 i32, 3 i32, 4 binary, 5 i32, 6 i32, 7 i32, 8 i32, 9 i32, 10 LogicalType
    LogicalType: 1 Empty, 2 Empty, 3 Empty, 4 Empty, 5 Decimal
    LogicalType: 6 Empty, 7 Time, 8 Time, 10 Int, 11 Empty
    LogicalType: 12 Empty, 13 Empty, 14 Empty, 15 Empty, 16 Variant, 17 Geography, 18 Geography
    Decimal: 1 i32, 2 i32
    Time: 1 bool, 2 TimeUnit
    TimeUnit: 1 Empty, 2 Empty, 3 Empty
    Int: 1 i8, 2 bool
    Variant: 1 i8
    Geography: 1 binary, 2 i32
    KeyValue: 1 binary, 2 binary
    ColumnOrder: 1 Empty, 2 Empty
    EncryptionAlgorithm: 1 Aes, 2 Aes
    Aes: 1 binary, 2 binary, 3 bool
    RowGroup: 1 [ColumnChunk], 2 i64, 3 i64, 4 [SortingColumn], 5 i64, 6 i64, 7 i16
    SortingColumn: 1 i32, 2 bool, 3 bool
    ColumnChunk: 1 binary, 2 i64, 3 ColumnMetaData, 4 i64, 5 i32
    ColumnChunk: 6 i64, 7 i32, 8 ColumnCrypto, 9 binary
    ColumnCrypto: 1 Empty, 2 ColumnKey
    ColumnKey: 1 [binary], 2 binary
    ColumnMetaData: 1 i32, 2 [i32], 3 [binary], 4 i32, 5 i64, 6 i64
    ColumnMetaData: 7 i64, 8 [KeyValue], 9 i64, 10 i64, 11 i64
    ColumnMetaData: 12 Statistics, 13 [PageEncodingStats], 14 i64
    ColumnMetaData: 15 i32, 16 SizeStatistics, 17 GeoStatistics
    Statistics: 1 binary, 2 binary, 3 i64, 4 i64, 5 binary, 6 binary, 7 bool, 8 bool, 9 i64
    PageEncodingStats: 1 i32, 2 i32, 3 i32
    SizeStatistics: 1 i64, 2 [i64], 3 [i64]
    GeoStatistics: 1 Box, 2 [i32]
    Box: 1 double, 2 double, 3 double, 4 double, 5 double, 6 double, 7 double, 8 double
    PageHeader: 1 i32, 2 i32, 3 i32, 4 i32, 5 DataPage, 6 Empty, 7 DictionaryPage, 8 DataPageV2
    DataPage: 1 i32, 2 i32, 3 i32, 4 i32, 5 Statistics
    DictionaryPage: 1 i32, 2 i32, 3 bool
    DataPageV2: 1 i32, 2 i32, 3 i32, 4 i32, 5 i32, 6 i32, 7 bool, 8 Statistics
"""


def _declared() -> dict[str, Known]:
    structs: dict[str, Known] = {"Empty": {}}
    lines = [line.strip().split(": ") for line in _STRUCTS.strip().splitlines()]
    for name, _ in lines:  # all of them first: a struct may hold one that comes later
        structs.setdefault(name, {})
    for name, fields in lines:
        for field in fields.split(", "):
            number, kind = field.split(" ")
            structs[name][int(number)] = _type(kind, structs)
    return structs


def _type(kind: str, structs: dict[str, Known]) -> tuple[int, Any]:
    if kind.startswith("["):
        return LIST, _type(kind[1:-1], structs)
    if kind in _WIRE_TYPES:
        return _WIRE_TYPES[kind], None
    return STRUCT, structs[kind]


_DECLARED = _declared()
FILE_META_DATA = _DECLARED["FileMetaData"]
COLUMN_CHUNK = _DECLARED["ColumnChunk"]
PAGE_HEADER = _DECLARED["PageHeader"]
