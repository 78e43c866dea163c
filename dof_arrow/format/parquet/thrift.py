"""What parquet.thrift says of each struct: which field has which type, as far as pyarrow's release of it goes.

Readers that are made from parquet.thrift go by these types, not by those that stand in the bytes of a list: bytes that
say something else are read by them as other numbers, or as other fields. So we refuse those bytes.
"""

from __future__ import annotations

from typing import Any

Known = dict[
    int, tuple[int, Any]
]  # field id -> its wire type, and what is known inside: fields, or one element

_WIRE = {"bool": 1, "i8": 3, "i16": 4, "i32": 5, "i64": 6, "double": 7, "binary": 8}
_LIST, _STRUCT = 9, 12
_STRUCTS = """
    FileMetaData: 1 i32, 2 [SchemaElement], 3 i64, 4 [RowGroup], 5 [KeyValue], 6 binary, 7 [ColumnOrder]
    FileMetaData: 8 EncryptionAlgorithm, 9 binary
    SchemaElement: 1 i32, 2 i32, 3 i32, 4 binary, 5 i32, 6 i32, 7 i32, 8 i32, 9 i32, 10 LogicalType
    LogicalType: 1 Empty, 2 Empty, 3 Empty, 4 Empty, 5 Decimal, 6 Empty, 7 Time, 8 Time, 10 Int, 11 Empty
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
    ColumnChunk: 1 binary, 2 i64, 3 ColumnMetaData, 4 i64, 5 i32, 6 i64, 7 i32, 8 ColumnCrypto, 9 binary
    ColumnCrypto: 1 Empty, 2 ColumnKey
    ColumnKey: 1 [binary], 2 binary
    ColumnMetaData: 1 i32, 2 [i32], 3 [binary], 4 i32, 5 i64, 6 i64, 7 i64, 8 [KeyValue], 9 i64, 10 i64, 11 i64
    ColumnMetaData: 12 Statistics, 13 [PageEncodingStats], 14 i64, 15 i32, 16 SizeStatistics, 17 GeoStatistics
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
    for name, _ in lines:
        structs.setdefault(name, {})
    for name, fields in lines:
        for field in fields.split(", "):
            number, kind = field.split(" ")
            structs[name][int(number)] = _type(kind, structs)
    return structs


def _type(kind: str, structs: dict[str, Known]) -> tuple[int, Any]:
    if kind.startswith("["):
        return _LIST, _type(kind[1:-1], structs)
    return (_WIRE[kind], None) if kind in _WIRE else (_STRUCT, structs[kind])


_DECLARED = _declared()
FILE_META_DATA, PAGE_HEADER = _DECLARED["FileMetaData"], _DECLARED["PageHeader"]
