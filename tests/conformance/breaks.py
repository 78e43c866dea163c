"""How files are broken: each function makes one that is sound but for one thing."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dof_arrow.format.parquet import digests, footer, layout
from dof_arrow.format.parquet.footer import (
    BINARY,
    I32,
    I64,
    ColumnMeta,
    FileMetaData,
    Page,
    RowGroup,
    SchemaElement,
    encode,
    get,
    items,
    put,
    structs,
    varint,
)
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.spec import file_rules
from dof_arrow.format.spec.arrow import element_type, vector_field
from tests.conformance.coded import declared
from tests.conformance.spoil import (
    adopted,
    changed,
    chunk,
    closed,
    groups_of,
    releveled,
    respelled,
    split,
    spoiled,
)
from tests.conformance.valid import (
    bag_columns,
    bagged,
    features,
    ids,
    labelled,
    papers,
    segmented,
    survival,
    written,
)


def unruled(build: Callable[[], bytes]) -> bytes:
    """What is built where the writer refuses nothing that the validator reports."""
    with mock.patch.object(file_rules, "refuse"):
        return build()


def plain() -> bytes:
    """Three rows: id and feature."""
    return written({"feature": features(3, 8)})[0]


def labels() -> bytes:
    """Six rows with targets and splits."""
    return labelled()[0]


def meta(base: Callable[[], bytes], **change: Any) -> Callable[[], bytes]:
    """The base with other top-level fields in its metadata, sealed."""
    return lambda: spoiled(base(), meta=lambda m: m.update(change))


def inside(base: Callable[[], bytes], path: str, value: Any) -> Callable[[], bytes]:
    """The base with one field of its metadata changed, `a.b.0.c` deep; None takes it away."""

    def edit(m: Any) -> None:
        *above, last = [int(p) if p.isdigit() else p for p in path.split(".")]
        for step in above:
            m = m.setdefault(step, {}) if isinstance(m, dict) else m[step]
        if value is None:
            del m[last]
        else:
            m[last] = value

    return lambda: spoiled(base(), meta=edit)


def flipped(data: bytes, at: int) -> bytes:
    """One bit turned."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def with_tail(edit: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    def build() -> bytes:
        body, tail = split(plain())
        return body + edit(tail)

    return build


def late(edit: Callable[[Any], None], base: Callable[[], bytes] = plain) -> Callable[[], bytes]:
    return lambda: spoiled(base(), late=edit)


def keyed(edit: Callable[[list[Any]], list[Any]]) -> Callable[[], bytes]:
    return lambda: spoiled(plain(), keys=edit)


def without(key: bytes) -> Callable[[], bytes]:
    return keyed(lambda pairs: [(k, v) for k, v in pairs if k != key])


def rekeyed(key: bytes, value: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return keyed(lambda pairs: [(k, value(v) if k == key else v) for k, v in pairs])


def slack() -> bytes:
    body, tail = split(plain())
    struct = footer.decode(tail)[0]
    pairs = [
        (k, digests.UNSEALED if k == digests.SEAL else v) for k, v in footer.key_values(struct)
    ]
    footer.set_key_values(struct, pairs)
    return body + closed(encode(struct) + b"slack")


def copy_differs() -> bytes:
    """The key `dof` changed alone: `ARROW:schema` still carries the old one."""
    return rekeyed(b"dof", lambda v: v.replace(b'"version":"1.0"', b'"version":"1.1"'))()


def out_of_bounds(s: Any) -> None:
    changed(chunk(s, "feature"), ColumnMeta.DATA_PAGE, lambda start: start + 100_000)


def overlapping(s: Any) -> None:
    put(chunk(s, "id"), ColumnMeta.STORED_BYTES, get(chunk(s, "id"), ColumnMeta.STORED_BYTES) + 120)


def fewer_columns(s: Any) -> None:
    groups_of(s)[0][RowGroup.COLUMNS][1][1].reverse()


def too_many_groups() -> bytes:
    most, layout.MAX_GROUPS = layout.MAX_GROUPS, layout.MAX_GROUPS + 1
    try:
        return written(
            {"feature": features(layout.MAX_GROUPS, 1)}, layout="compact", geometry=Geometry(1, 64)
        )[0]
    finally:
        layout.MAX_GROUPS = most


def too_many_rows(s: Any) -> None:
    rows = layout.MAX_GROUP_ROWS + 1
    put(groups_of(s)[0], RowGroup.ROWS, rows)
    put(s, FileMetaData.ROWS, rows)


def misaligned() -> bytes:
    """A byte less padding before the vectors."""
    data = plain()
    at = start(data)

    def back(s: Any) -> None:
        changed(chunk(s, "feature"), ColumnMeta.DATA_PAGE, lambda start: start - 1)

    return spoiled(data, body=lambda b: b[: at - 1] + b[at:], footer=back)


def start(data: bytes) -> int:
    start: int = get(chunk(footer.decode(split(data)[1])[0], "feature"), ColumnMeta.DATA_PAGE)
    return start


def grouped_loosely() -> bytes:
    """Groups of 100 rows of 32 bytes: values start at multiples of 4,096, but do not fill them."""
    return written({"feature": features(300, 8)}, geometry=Geometry(rows=100, alignment=4096))[0]


def grouped_closely() -> bytes:
    """Groups of 128 rows, which fill 4,096 bytes, but start at multiples of 64 only."""
    return written({"feature": features(300, 8)}, geometry=Geometry(rows=128, alignment=64))[0]


def claimed() -> bytes:
    """A compact file that says it is mapped."""
    data = written({"feature": features(3, 8)}, layout="compact")[0]
    return spoiled(data, meta=lambda m: m["columns"]["feature"].update(layout="mapped"))


def reheaded(edit: Callable[[Any], None]) -> Callable[[], bytes]:
    """The plain file with the page header of its vectors changed, in as many bytes as before."""

    def build() -> bytes:
        data = plain()
        at = start(data)
        header, end = footer.decode(data, at)
        edit(header)
        page = encode(header)
        assert len(page) == end - at
        return spoiled(data, body=lambda b: b[:at] + page + b[end:])

    return build


def put_page(field: int, value: int) -> Callable[[Any], None]:
    """An edit of a page header's data page fields."""
    return lambda header: put(get(header, Page.DATA), field, value)


def trailing_levels() -> bytes:
    """A byte between levels and values that belongs to neither."""
    return releveled(plain(), rows=3, width=8, levels=layout.levels(3, 8) + b"\0")


def renamed_elements(s: Any) -> None:
    """Lists of items, as writers of the older naming have them."""
    for element in items(s, FileMetaData.SCHEMA):
        if get(element, 4) == b"element":
            put(element, 4, b"item")
    put(chunk(s, "feature"), ColumnMeta.PATH, (BINARY, [b"feature", b"list", b"item"]))


def no_text() -> bytes:
    """An id that is not UTF-8."""
    return spoiled(plain(), body=lambda b: b.replace(b"r00001", b"r\xff0001"))


def one_list_more() -> bytes:
    """Levels that begin a new list at the last value."""
    data = written({"feature": features(1, 8)})[0]
    levels = layout.levels(1, 8).replace(b"\x03\xfe", b"\x03\x7e")
    return releveled(data, rows=1, width=8, levels=levels)


def huge_page(size: int = 2**31 - 1) -> bytes:
    """An encoded column whose page claims this many bytes."""
    data = written({"feature": features(3, 8)}, layout="compact")[0]
    struct = footer.decode(split(data)[1])[0]
    start, end = footer.chunk_range(chunk(struct, "feature"))
    header, behind = footer.decode(data, start)
    put(header, Page.BYTES, size)
    page = encode(header)
    more = len(page) - (behind - start)

    def longer(s: Any) -> None:
        meta = chunk(s, "feature")
        put(meta, ColumnMeta.STORED_BYTES, end - start + more)

    return spoiled(data, body=lambda b: b[:start] + page + b[behind:], footer=longer)


def garbled() -> bytes:
    """The compressed bytes of a column overwritten, sealed all the same."""
    data = written({"feature": features(300, 8)}, layout="compact")[0]
    _, end = footer.chunk_range(chunk(footer.decode(split(data)[1])[0], "feature"))
    return spoiled(data, body=lambda b: b[: end - 40] + bytes(40) + b[end:])


def nonfinite(**options: Any) -> bytes:
    x = features(3, 8)
    x[1, 2] = np.inf
    return written({"feature": x}, allow_nonfinite=True, **options)[0]


def vector(kind: pa.DataType, nullable: bool = False) -> Callable[[], bytes]:
    """A feature column of another type."""
    field = pa.field("feature", kind, nullable)
    return lambda: by_pyarrow(
        [pa.field("id", pa.string(), False), field], shape=[8], dtype=element_type(field)
    )


def by_pyarrow(fields: list[pa.Field], **feature: Any) -> bytes:
    """Ids and features of other types than ours may have, in chunks by pyarrow."""
    table = pa.table(
        [pa.array(ids(3), fields[0].type), pa.array([[1.0] * 8] * 3, fields[1].type)],
        schema=pa.schema(fields),
    )
    columns = {
        "id": {"role": "id", "dtype": str(fields[0].type), "layout": "encoded"},
        "feature": {"role": "feature", "layout": "encoded", **feature},
    }
    return adopted(table, {"version": "1.0", "primary_column": "feature", "columns": columns})


def id_type(kind: pa.DataType, nullable: bool) -> Callable[[], bytes]:
    fields = [pa.field("id", kind, nullable), vector_field("feature", (8,))]
    return lambda: by_pyarrow(fields, shape=[8], dtype="float32")


def record(column: str, values: Any, kind: pa.DataType, role: str = "") -> Callable[[], bytes]:
    """A file with a column of this type, named in `record`."""

    def name(m: Any) -> None:
        m.setdefault("record", {})[role or column] = column
        m["columns"][column]["role"] = role or column

    def build() -> bytes:
        schema = pa.schema([pa.field("id", pa.string(), False), pa.field(column, kind)])
        data = written(
            {"feature": features(3, 8)}, {column: pa.array(values, kind)}, schema=schema
        )[0]
        return spoiled(data, meta=name)

    return build


def unordered() -> bytes:
    columns = {"frame": np.array([0, 2, 1, 0], "i4")}
    return written({"feature": features(4, 4)}, columns, names=["a", "a", "a", "b"])[0]


def repeated() -> bytes:
    return written({"feature": features(4, 4)}, names=["a", "b", "b", "c"])[0]


def repeated_frames() -> bytes:
    columns = {"frame": np.array([0, 1, 1, 0], "i4")}
    return written({"feature": features(4, 4)}, columns, names=["a", "a", "a", "b"])[0]


def scattered() -> bytes:
    columns = {"view": np.array([0, 0, 1], "i2")}
    return written({"feature": features(3, 4)}, columns, names=["a", "b", "a"])[0]


def bags(names: list[str] | None = None, **columns: Any) -> Callable[[], bytes]:
    """Tiles of slides with other columns or ids."""
    return lambda: bagged({**bag_columns(), **columns}, names=names)[0]


def segments(**bounds: Any) -> Callable[[], bytes]:
    """Segments of clips with other bounds."""
    return lambda: segmented(**bounds)[0]


def survived(value: Any) -> Callable[[], bytes]:
    """A survival target with this value beside one that is right."""
    return lambda: survival([{"time": 3.0, "event": False}, value])[0]


def uneven_ids() -> bytes:
    metadata = {"privacy": {"ids": "pseudonym"}}
    return written({"feature": features(3, 4)}, names=["a", "bb", "c"], metadata=metadata)[0]


def uneven_groups() -> bytes:
    metadata = {"privacy": {"ids": "pseudonym"}}
    return written({"feature": features(3, 4)}, {"group": ["p", "p", "qq"]}, metadata=metadata)[0]


def target(kind: str, values: Any, **more: Any) -> Callable[[], bytes]:
    made = {"feature": features(len(values), 4)}
    return lambda: declared(written(made, {"label": values}), label={"kind": kind, **more})[0]


def rewritten(
    extra: bool = False, head: int | None = None, base: Callable[[], bytes] = labels
) -> Callable[[], bytes]:
    """A copy by pyarrow: read, and written again with the metadata that it knows of."""

    def build() -> bytes:
        data, sink = base(), io.BytesIO()
        table = pq.read_table(pa.BufferReader(data))
        keys = dict(footer.key_values(footer.decode(split(data)[1])[0])) if extra else {}
        keys.pop(b"ARROW:schema", None)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **keys})
        pq.write_table(table.slice(0, head), sink)
        return sink.getvalue()

    return build


def errors(lines: bytes, rows: int = 2) -> Callable[[], bytes]:
    """The errors table's bytes replaced, their digest told rightly."""

    def build() -> bytes:
        import hashlib

        data = papers()[0]
        body = split(data)[0]
        start = body.index(b'{"id": "e00000"')
        length = body.index(b"how it was done") - start
        new = lines.ljust(length, b" ") if len(lines) <= length else lines[:length]
        about = {
            "offset": start,
            "length": length,
            "sha256": hashlib.sha256(new).hexdigest(),
            "rows": rows,
        }
        whole = body[:start] + new + body[start + length :]
        return spoiled(data, body=lambda _: whole, meta=lambda m: m.update(errors=about))

    return build


def chunk_said(field: int, value: Any) -> Callable[[Any], None]:
    """An edit of the second column's chunk: a field that no chunk of this file may have."""
    return lambda s: items(groups_of(s)[0], RowGroup.COLUMNS)[1].update({field: value})


def group_said(field: int, value: Any) -> Callable[[Any], None]:
    """An edit of the first row group: a field that no group of this file may have."""
    return lambda s: groups_of(s)[0].update({field: value})


def stated(column: str, field: int, value: Any) -> Callable[[], bytes]:
    """Three rows of four columns, of one of which the statistics say something else in one field."""

    def build() -> bytes:
        columns = {
            "whole": np.array([5, 3, 4], np.int64),
            "text": ["b", "d", None],
            "real": pa.array([None, float("nan"), 1.5]),
            "zero": np.array([-0.0, 0.0, 1.0]),
        }
        return spoiled(
            written({"feature": features(3, 8)}, columns)[0],
            late=lambda s: chunk(s, column)[ColumnMeta.STATISTICS][1].update({field: value}),
        )

    return build


def numbered_high(s: Any) -> None:
    """The rows' field id with 2^16 added, and another number: readers with ids of 16 bits take it for the rows."""
    s[FileMetaData.ROWS + (1 << 16)] = (I64, 1)


def backwards() -> bytes:
    """The fields of the footer from the last to the first."""

    def spell(s: Any) -> bytes:
        fields = [
            bytes([kind]) + varint(2 * field) + encode({1: (kind, value)})[1:-1]
            for field, (kind, value) in sorted(s.items(), reverse=True)
        ]
        return b"".join(fields) + b"\0"

    return respelled(plain(), spell)


def empty_group(s: Any) -> None:
    """An element of the schema that is neither a column nor has any."""
    elements = items(s, FileMetaData.SCHEMA)
    put(elements[0], SchemaElement.CHILDREN, get(elements[0], SchemaElement.CHILDREN) + 1)
    nothing = {SchemaElement.REPETITION: (I32, 0), SchemaElement.NAME: (BINARY, b"nothing")}
    s[FileMetaData.SCHEMA] = structs([*elements, nothing])


def sealed_elsewhere(value: bytes | None) -> Callable[[], bytes]:
    """What looks like the seal in the value of another key; the seal's own has this value, and a field in long form."""
    mark = b"\x18\x08" + digests.SEAL + b"\x18\x40"

    def spell(s: Any) -> bytes:
        pairs = [(k, v) for k, v in footer.key_values(s) if k != digests.SEAL]
        own = [] if value is None else [(digests.SEAL, value)]
        footer.set_key_values(s, [*pairs, *own, (b"note", mark + digests.UNSEALED)])
        data = encode(s)
        return data if value is None else data.replace(mark + value, b"\x08\x02" + mark[1:] + value)

    return lambda: respelled(plain(), spell)


def spliced(s: Any) -> None:
    """A chunk of another column named in place of its own."""
    put(chunk(s, "id"), ColumnMeta.PATH, (BINARY, [b"feature"]))


def twice(pairs: list[Any]) -> list[Any]:
    return [*pairs, (b"note", b"1"), (b"note", b"2")]


def flip_feature(data: bytes) -> bytes:
    _, end = footer.chunk_range(chunk(footer.decode(split(data)[1])[0], "feature"))
    return flipped(data, end - 4)
