"""The invalid files of the corpus: each breaks one rule (some cannot but break a second), with the ids it must get."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dof_arrow import footer, integrity, layout
from dof_arrow.footer import BINARY, BYTE, I32, I64, ColumnMeta, FileMetaData, RowGroup, encode, get, items, put, structs
from dof_arrow.layout import Geometry
from tests.conformance.spoil import (
    changed,
    chunk,
    closed,
    groups_of,
    releveled,
    retyped,
    sealed,
    set_created_by,
    split,
    spoiled,
)
from tests.conformance.valid import clips, features, grouped, ids, labelled, papers, pseudonymous, two_cores, written

Case = tuple[Callable[[], bytes], Sequence[str], Sequence[str]]  # how it is made; ids without and with `deep`


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


def _tail(edit: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    def build() -> bytes:
        body, tail = split(plain())
        return body + edit(tail)
    return build


def _late(edit: Callable[[Any], None], base: Callable[[], bytes] = plain) -> Callable[[], bytes]:
    return lambda: spoiled(base(), late=edit)


def _keys(edit: Callable[[list[Any]], list[Any]]) -> Callable[[], bytes]:
    return lambda: spoiled(plain(), keys=edit)


def _without(key: bytes) -> Callable[[], bytes]:
    return _keys(lambda pairs: [(k, v) for k, v in pairs if k != key])


def _other(key: bytes, value: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return _keys(lambda pairs: [(k, value(v) if k == key else v) for k, v in pairs])


def _slack() -> bytes:
    body, tail = split(plain())
    struct = footer.decode(tail)[0]
    pairs = [(k, integrity.UNSEALED if k == integrity.SEAL else v) for k, v in footer.key_values(struct)]
    footer.set_key_values(struct, pairs)
    return body + closed(encode(struct) + b"slack")


def _copy_differs() -> bytes:
    """The key `dof` changed alone: `ARROW:schema` still carries the old one."""
    return _other(b"dof", lambda v: v.replace(b'"version":"1.0"', b'"version":"1.1"'))()


def _out_of_bounds(s: Any) -> None:
    changed(chunk(s, "feature"), ColumnMeta.DATA_PAGE, lambda start: start + 100_000)


def _overlapping(s: Any) -> None:
    put(chunk(s, "id"), ColumnMeta.STORED_BYTES, get(chunk(s, "id"), ColumnMeta.STORED_BYTES) + 120)


def _fewer_columns(s: Any) -> None:
    groups_of(s)[0][RowGroup.COLUMNS][1][1].reverse()


def _too_many_groups() -> bytes:
    most, layout.MAX_GROUPS = layout.MAX_GROUPS, layout.MAX_GROUPS + 1
    try:
        return written({"feature": features(layout.MAX_GROUPS, 1)}, layout="compact", geometry=Geometry(1, 64))[0]
    finally:
        layout.MAX_GROUPS = most


def _too_many_rows(s: Any) -> None:
    rows = layout.MAX_GROUP_ROWS + 1
    put(groups_of(s)[0], RowGroup.ROWS, rows)
    put(s, FileMetaData.ROWS, rows)


def _misaligned() -> bytes:
    """A byte less padding before the vectors."""
    data = plain()
    at = _start(data)

    def back(s: Any) -> None:
        changed(chunk(s, "feature"), ColumnMeta.DATA_PAGE, lambda start: start - 1)

    return spoiled(data, body=lambda b: b[: at - 1] + b[at:], footer=back)


def _start(data: bytes) -> int:
    start: int = get(chunk(footer.decode(split(data)[1])[0], "feature"), ColumnMeta.DATA_PAGE)
    return start


def _grouped_loosely() -> bytes:
    """Groups of 100 rows of 32 bytes: values start at multiples of 4,096, but do not fill them."""
    return written({"feature": features(300, 8)}, geometry=Geometry(rows=100, alignment=4096))[0]


def _grouped_closely() -> bytes:
    """Groups of 128 rows, which fill 4,096 bytes, but start at multiples of 64 only."""
    return written({"feature": features(300, 8)}, geometry=Geometry(rows=128, alignment=64))[0]


def _claimed() -> bytes:
    """A compact file that says it is mapped."""
    data = written({"feature": features(3, 8)}, layout="compact")[0]
    return spoiled(data, meta=lambda m: m["columns"]["feature"].update(layout="mapped"))


def _two_pages() -> bytes:
    """A mapped column whose page header counts one value less than there are."""
    return spoiled(plain(), body=lambda b: b.replace(b"\x15\x30\x15\x00\x15\x06\x15\x06", b"\x15\x2e\x15\x00\x15\x06\x15\x06"))


def _one_list_more() -> bytes:
    """Levels that begin a new list at the last value."""
    data = written({"feature": features(1, 8)})[0]
    levels = layout.levels(1, 8).replace(b"\x03\xfe", b"\x03\x7e")
    return releveled(data, rows=1, width=8, levels=levels)


def _huge_page() -> bytes:
    """An encoded column whose page claims 2 GiB less a byte."""
    data = written({"feature": features(3, 8)}, layout="compact")[0]
    struct = footer.decode(split(data)[1])[0]
    start, end = footer.chunk_range(chunk(struct, "feature"))
    header, length = footer.decode(data, start)
    put(header, footer.Page.BYTES, 2**31 - 1)
    page = encode(header)
    more = len(page) - length

    def longer(s: Any) -> None:
        meta = chunk(s, "feature")
        put(meta, ColumnMeta.STORED_BYTES, end - start + more)

    return spoiled(data, body=lambda b: b[:start] + page + b[start + length :], footer=longer)


def _garbled() -> bytes:
    """The compressed bytes of a column overwritten, sealed all the same."""
    data = written({"feature": features(300, 8)}, layout="compact")[0]
    _, end = footer.chunk_range(chunk(footer.decode(split(data)[1])[0], "feature"))
    return spoiled(data, body=lambda b: b[: end - 40] + bytes(40) + b[end:])


def _nonfinite(**options: Any) -> bytes:
    x = features(3, 8)
    x[1, 2] = np.inf
    return written({"feature": x}, allow_nonfinite=True, **options)[0]


def _vector(kind: pa.DataType, nullable: bool = False) -> Callable[[], bytes]:
    """A feature column of another type, written by pyarrow and taken over by us."""
    field = pa.field("feature", kind, nullable)

    def build() -> bytes:
        values = pa.array([[1.0] * 8] * 3, kind)
        table = pa.table([pa.array(ids(3)), values], schema=pa.schema([pa.field("id", pa.string(), False), field]))
        return _adopted(table, {"feature": {"role": "feature", "dtype": _dtype(kind), "shape": [8], "layout": "encoded"}})
    return build


def _dtype(kind: pa.DataType) -> str:
    names = {"float": "float32", "double": "float64"}
    return names.get(str(kind.value_type), "") if pa.types.is_fixed_size_list(kind) else str(kind)


def _adopted(table: pa.Table, columns: Any, **more: Any) -> bytes:
    """A table in a file of pyarrow's making, described and sealed as if it were ours."""
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(), sink, compression="NONE")
    body, tail = split(sink.getvalue())
    donor = spoiled(plain(), meta=lambda m: m.update({"columns": {"id": m["columns"]["id"], **columns}, **more}))
    struct, ours = footer.decode(tail)[0], dict(footer.key_values(footer.decode(split(donor)[1])[0]))
    ours[b"dof"] = ours[b"dof"].replace(b'"mapped"', b'"encoded"')
    footer.set_key_values(struct, list(ours.items()))
    struct = dict(sorted(struct.items()))
    whole = body + sealed(struct)
    return spoiled(whole)


def _record(column: str, values: Any, kind: pa.DataType, role: str | None = None) -> Callable[[], bytes]:
    """A file with a column of this type, named in `record`."""
    def build() -> bytes:
        role_ = role or column
        schema = pa.schema([pa.field("id", pa.string(), False), pa.field(column, kind)])
        data = written({"feature": features(3, 8)}, {column: pa.array(values, kind)}, schema=schema)[0]
        return spoiled(data, meta=lambda m: (m["record"].update({role_: column}),
                                             m["columns"][column].update(role=role_)) and None)
    return build


def _unordered() -> bytes:
    columns = {"frame": np.array([0, 2, 1, 0], "i4")}
    return written({"feature": features(4, 4)}, columns, names=["a", "a", "a", "b"])[0]


def _repeated() -> bytes:
    return written({"feature": features(4, 4)}, names=["a", "b", "b", "c"])[0]


def _repeated_frames() -> bytes:
    columns = {"frame": np.array([0, 1, 1, 0], "i4")}
    return written({"feature": features(4, 4)}, columns, names=["a", "a", "a", "b"])[0]


def _scattered() -> bytes:
    columns = {"view": np.array([0, 0, 1], "i2")}
    return written({"feature": features(3, 4)}, columns, names=["a", "b", "a"])[0]


def _uneven_ids() -> bytes:
    metadata = {"privacy": {"ids": "pseudonym"}}
    return written({"feature": features(3, 4)}, names=["a", "bb", "c"], metadata=metadata)[0]


def _uneven_groups() -> bytes:
    metadata = {"privacy": {"ids": "pseudonym"}}
    return written({"feature": features(3, 4)}, {"group": ["p", "p", "qq"]}, metadata=metadata)[0]


def _target(kind: str, values: Any, **more: Any) -> Callable[[], bytes]:
    metadata = {"targets": {"label": {"kind": kind, **more}}}
    return lambda: written({"feature": features(len(values), 4)}, {"label": values}, metadata=metadata)[0]


def _rewritten(extra: bool = False, head: int | None = None, base: Callable[[], bytes] = labels) -> Callable[[], bytes]:
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


def _errors(lines: bytes, rows: int = 2) -> Callable[[], bytes]:
    """The errors table's bytes replaced, their digest told rightly."""
    def build() -> bytes:
        import hashlib

        data = papers()[0]
        body = split(data)[0]
        start = body.index(b'{"id": "e00000"')
        length = body.index(b"how it was done") - start
        new = lines.ljust(length, b" ") if len(lines) <= length else lines[:length]
        about = {"offset": start, "length": length, "sha256": hashlib.sha256(new).hexdigest(), "rows": rows}
        return spoiled(data, body=lambda b: b[:start] + new + b[start + length :], meta=lambda m: m.update(errors=about))
    return build


def _spliced(s: Any) -> None:
    """A chunk of another column named in place of its own."""
    put(chunk(s, "id"), ColumnMeta.PATH, (BINARY, [b"feature"]))


def _same(build: Callable[[], bytes], *rules: str) -> Case:
    return build, rules, rules


def _deep(build: Callable[[], bytes], *rules: str) -> Case:
    return build, (), rules


def _more(build: Callable[[], bytes], shallow: Sequence[str], deep: Sequence[str]) -> Case:
    return build, shallow, deep


def _named(schema: pa.Schema) -> pa.Schema:
    return retyped("feature", type=pa.list_(pa.field("item", pa.float32(), False), 8))(schema)


def _twice(pairs: list[Any]) -> list[Any]:
    return [*pairs, (b"note", b"1"), (b"note", b"2")]


_ROWS = b'{"id": "e00000", "rule": "r", "reason": "t"}\n{"id": "e00001", "rule": "r", "reason": "t"}\n'
_LONG_NAMES = "target-value"

INVALID: dict[str, Case] = {
    # the file
    "file-magic-start": _more(lambda: flipped(plain(), 0), ["file-magic"], ["digest-false", "file-magic"]),
    "file-magic-end": _same(lambda: plain()[:-4] + b"PAR2", "file-magic"),
    "file-magic-short": _same(lambda: b"PAR1PAR1", "file-magic"),
    "file-encrypted": _same(lambda: plain()[:-4] + b"PARE", "file-encrypted"),
    "footer-length": _same(_tail(lambda t: t[:-8] + (1 << 30).to_bytes(4, "little") + b"PAR1"), "footer-length"),
    "footer-thrift": _same(_tail(lambda t: b"\xff" * (len(t) - 8) + t[-8:]), "footer-thrift"),
    "footer-thrift-truncated": _same(_tail(lambda t: t[20:-8] + (len(t) - 28).to_bytes(4, "little") + t[-4:]),
                                     "footer-thrift"),
    "footer-thrift-types": _same(_late(lambda s: s.update({FileMetaData.ROWS: (BINARY, b"three")})), "footer-thrift"),
    "footer-thrift-schema": _same(_late(lambda s: s.update({FileMetaData.SCHEMA: structs([])})), "footer-thrift"),
    "footer-schema": _same(_other(b"ARROW:schema", lambda v: v[:-40]), "footer-schema"),
    "footer-slack": _same(_slack, "footer-slack"),
    "footer-keys": _same(_keys(_twice), "footer-keys"),
    "footer-keys-dof": _same(_keys(lambda pairs: [*pairs, pairs[1]]), "footer-keys"),
    "schema-arrow": _same(_without(b"ARROW:schema"), "schema-arrow"),
    "schema-copy": _same(_copy_differs, "schema-copy"),
    # rows, groups and chunks
    "rows-count-file": _same(_late(lambda s: changed(s, FileMetaData.ROWS, lambda n: n + 1)), "rows-count"),
    "rows-count-values": _more(_late(lambda s: changed(chunk(s, "id"), ColumnMeta.VALUES, lambda n: n - 1)),
                               ["rows-count"], ["rows-count"]),
    "groups-count": _same(_too_many_groups, "groups-count"),
    "groups-rows": _same(_late(_too_many_rows), "groups-rows", "layout-claim", "rows-count"),
    "chunk-columns": _same(_late(_fewer_columns), "chunk-columns"),
    "chunk-columns-path": _same(_late(_spliced), "chunk-columns"),
    "chunk-bounds": _same(lambda: spoiled(plain(), footer=_out_of_bounds), "chunk-bounds", "layout-claim"),
    "chunk-overlap": _same(lambda: spoiled(plain(), footer=_overlapping), "chunk-overlap"),
    # metadata
    "metadata-absent": _same(_without(b"dof"), "metadata-absent", "schema-copy"),
    "metadata-json": _same(_other(b"dof", lambda v: v[:-1]), "metadata-json", "schema-copy"),
    "metadata-json-nan": _same(inside(plain, "training.loss", float("nan")), "metadata-json"),
    "metadata-json-key-twice": _same(_other(b"dof", lambda v: v[:-1] + b',"version":"1.0"}'), "metadata-json", "schema-copy"),
    "metadata-type": _same(inside(plain, "columns.feature.role", 7), "metadata-type"),
    "metadata-type-choice": _same(inside(plain, "columns.feature.layout", "elsewhere"), "metadata-type"),
    "metadata-missing": _same(inside(plain, "primary_column", None), "metadata-missing"),
    "metadata-pattern": _same(meta(plain, uuid="none"), "metadata-pattern"),
    "metadata-range": _same(inside(plain, "columns.feature.shape", [0]), "metadata-range"),
    "metadata-several": _same(meta(plain, uuid="none", info={"title": 3}, documents=[{}]),
                              "metadata-missing", "metadata-pattern", "metadata-type"),
    "metadata-version": _same(meta(plain, version="2.0"), "metadata-version"),
    "metadata-understand": _same(meta(plain, must_understand=["folding"]), "metadata-understand"),
    "metadata-uuid": _same(meta(plain, uuid="00000000-0000-8000-8000-000000000000"), "metadata-uuid"),
    # metadata against schema, and within itself
    "columns-listed-missing": _same(inside(labels, "columns.age", None), "columns-listed", "target-column"),
    "columns-listed-more": _same(inside(plain, "columns.ghost", {"role": "kept", "dtype": "int64", "layout": "encoded"}),
                                 "columns-listed"),
    "columns-listed-order": _same(
        lambda: spoiled(plain(), meta=lambda m: m.update(columns=dict(reversed(m["columns"].items())))), "columns-listed"),
    "column-dtype": _same(inside(plain, "columns.feature.dtype", "float16"), "column-dtype"),
    "column-shape": _same(inside(plain, "columns.feature.shape", [2, 2]), "column-shape"),
    "column-shape-missing": _same(inside(plain, "columns.feature.shape", None), "column-shape"),
    "column-shape-flat": _same(inside(plain, "columns.id.shape", [1]), "column-shape"),
    "column-role-record": _same(inside(plain, "columns.id.role", "kept"), "column-role"),
    "column-role-target": _same(inside(labels, "columns.age.role", "kept"), "column-role"),
    "column-role-unnamed": _same(inside(labels, "record.split", None), "column-role", "split-column"),
    "vector-type-list": _same(_vector(pa.list_(pa.field("element", pa.float32(), False))), "column-shape", "vector-type"),
    "vector-type-double": _same(_vector(pa.list_(pa.field("element", pa.float64(), False), 8)), "vector-type"),
    "vector-type-null-elements": _same(_vector(pa.list_(pa.field("element", pa.float32(), True), 8)), "vector-type"),
    "vector-type-null-rows": _same(_vector(pa.list_(pa.field("element", pa.float32(), False), 8), True), "vector-type"),
    "record-column": _same(inside(plain, "record.group", "patient"), "record-column"),
    "record-column-id": _same(inside(plain, "record.id", "name"), "column-role", "record-column"),
    "record-type-id": _same(_record("id", ids(3), pa.string()), "record-type"),
    "record-type-view": _same(_record("view", [0, 0, 0], pa.int64()), "record-type"),
    "record-type-frame": _same(_record("frame", [0, 0, 0], pa.int16()), "record-type"),
    "record-type-time": _same(_record("time", [0.5, 1, 2], pa.float32()), "record-type"),
    "record-type-group": _same(_record("group", [1, 2, 3], pa.int32()), "record-type"),
    "record-type-split": _same(_record("split", [b"a", b"a", b"b"], pa.binary()), "record-type"),
    "primary-column": _same(meta(plain, primary_column="ghost"), "primary-column"),
    "primary-column-flat": _same(meta(plain, primary_column="id"), "primary-column"),
    "core-unknown": _same(lambda: spoiled(two_cores()[0], meta=lambda m: m["cores"].pop("b"), keys=None),
                          "core-unknown", "metadata-uuid"),
    "target-column": _same(inside(plain, "targets.ghost", {"kind": "regression"}), "target-column"),
    "target-type-category": _same(_target("category", ["a", "b"], classes=["a", "b"]), "target-type"),
    "target-type-multilabel": _same(_target("multilabel", np.array([0, 1]), classes=["a", "b"]), "target-type"),
    "target-type-regression": _same(_target("regression", ["a", "b"]), "target-type"),
    "target-classes": _same(_target("category", pa.array([None, None], pa.int64())), "target-classes"),
    "target-classes-twice": _same(_target("category", np.array([0, 1]), classes=["a", "a"]), "target-classes"),
    "split-column": _more(
        lambda: spoiled(plain(), meta=lambda m: m.update(splits={"train": {"rows": 3, "records": 3}})),
        ["split-column"], ["split-column"]),
    "document-name": _same(inside(lambda: papers()[0], "documents.0.name", "../protocol.txt"), "document-name"),
    "document-name-twice": _same(inside(lambda: papers()[0], "documents.0.name", "empty.txt"), "document-name"),
    "document-name-empty": _same(inside(lambda: papers()[0], "documents.0.name", ""), "document-name"),
    "attachment-bounds": _same(inside(lambda: papers()[0], "documents.0.length", 1 << 20), "attachment-bounds"),
    "attachment-bounds-data": _same(inside(lambda: papers()[0], "documents.0.offset", 4), "attachment-bounds"),
    "attachment-bounds-overlap": _more(
        lambda: spoiled(papers()[0], meta=lambda m: m["documents"][0].update(offset=m["errors"]["offset"])),
        ["attachment-bounds"], ["attachment-bounds", "attachment-digest"]),
    # layout
    "layout-claim": _same(_claimed, "layout-claim"),
    "layout-claim-page": _same(_two_pages, "layout-claim"),
    "layout-claim-type": _same(inside(plain, "columns.id.layout", "mapped"), "layout-claim"),
    "layout-alignment": _same(_misaligned, "layout-alignment"),
    "layout-alignment-groups": _same(_grouped_closely, "layout-alignment"),
    "layout-groups": _same(_grouped_loosely, "layout-groups"),
    "layout-levels": _deep(_one_list_more, "layout-levels"),
    "page-bounds": _deep(_huge_page, "page-bounds"),
    # data
    "data-unreadable": _deep(_garbled, "data-unreadable"),
    "feature-nonfinite": _deep(_nonfinite, "feature-nonfinite"),
    "feature-nonfinite-compact": _deep(lambda: _nonfinite(layout="compact"), "feature-nonfinite"),
    "id-repeated": _deep(_repeated, "id-repeated"),
    "id-repeated-frames": _deep(_repeated_frames, "id-repeated"),
    "id-scattered": _deep(_scattered, "id-scattered"),
    "id-width": _deep(_uneven_ids, "id-width"),
    "id-width-groups": _deep(_uneven_groups, "id-width"),
    "frame-order": _deep(_unordered, "frame-order"),
    "split-count-rows": _deep(inside(labels, "splits.train.rows", 4), "split-count"),
    "split-count-records": _deep(inside(labels, "splits.train.records", 2), "split-count"),
    "split-count-missing": _deep(inside(labels, "splits.train", None), "split-count"),
    "target-value-category": _deep(_target("category", np.array([0, 2]), classes=["a", "b"]), "target-value"),
    "target-value-negative": _deep(_target("category", np.array([0, -1]), classes=["a", "b"]), "target-value"),
    "target-value-multilabel": _deep(
        _target("multilabel", pa.array([[0], [0, 5]], pa.list_(pa.int64())), classes=["a", "b"]), "target-value"),
    "target-value-regression": _deep(_target("regression", np.array([1.0, np.nan])), "target-value"),
    "attachment-digest": _deep(inside(lambda: papers()[0], "documents.0.sha256", "0" * 64), "attachment-digest"),
    "errors-table": _deep(_errors(b"not json\n"), "errors-table"),
    "errors-table-fields": _deep(_errors(b'{"id": "e00000"}\n'), "errors-table"),
    "errors-table-rows": _deep(inside(lambda: papers()[0], "errors.rows", 3), "errors-table"),
    # integrity
    "derived-copy": _same(_rewritten(), "derived-copy"),
    "derived-copy-keys": _same(_rewritten(extra=True), "derived-copy"),
    "derived-copy-compact": _same(_rewritten(base=lambda: labelled(layout="compact")[0]), "derived-copy"),
    "derived-copy-fewer-rows": _more(_rewritten(head=4), ["derived-copy"], ["derived-copy", "split-count"]),
    "seal-missing": _same(_without(integrity.SEAL), "seal-missing"),
    "seal-false": _same(lambda: flipped(plain(), plain().index(b"dof.seal") + 12), "seal-false"),
    "seal-false-metadata": _same(lambda: plain().replace(b'"version":"1.0"', b'"version":"1.1"'), "schema-copy", "seal-false"),
    "digests-form": _same(_other(integrity.DIGESTS, lambda v: v[:-4]), "digests-form"),
    "digests-form-missing": _same(_without(integrity.DIGESTS), "digests-form"),
    "digests-count": _same(_other(integrity.DIGESTS, lambda v: integrity.encode_digests(
        (integrity.decode_digests(v) or [])[1:])), "digests-count", "metadata-uuid"),
    "digest-false": _deep(lambda: _flip_feature(plain()), "digest-false"),
    "digest-false-padding": _deep(lambda: flipped(plain(), _start(plain()) - 3), "digest-false"),
}


def _flip_feature(data: bytes) -> bytes:
    _, end = footer.chunk_range(chunk(footer.decode(split(data)[1])[0], "feature"))
    return flipped(data, end - 4)


del BYTE, I32, I64, clips, grouped, items, pseudonymous, set_created_by, _LONG_NAMES, _ROWS, _named
