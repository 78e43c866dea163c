"""The invalid files of the corpus: each breaks one rule (some cannot but break a second), with the ids it must get."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from dof_arrow.format.parquet import digests
from dof_arrow.format.parquet.footer import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
    Chunk,
    ColumnMeta,
    FileMetaData,
    Page,
    RowGroup,
    put,
    structs,
)
from dof_arrow.format.parquet.statistics import Statistics
from tests.conformance.breaks import (
    backwards,
    bags,
    chunk_said,
    claimed,
    copy_differs,
    empty_group,
    errors,
    fewer_columns,
    flip_feature,
    flipped,
    garbled,
    group_said,
    grouped_closely,
    grouped_loosely,
    huge_page,
    id_type,
    inside,
    keyed,
    labels,
    late,
    meta,
    misaligned,
    no_text,
    nonfinite,
    numbered_high,
    one_list_more,
    out_of_bounds,
    overlapping,
    plain,
    put_page,
    record,
    reheaded,
    rekeyed,
    renamed_elements,
    repeated,
    repeated_frames,
    rewritten,
    scattered,
    sealed_elsewhere,
    segments,
    slack,
    spliced,
    start,
    stated,
    survived,
    target,
    too_many_groups,
    too_many_rows,
    trailing_levels,
    twice,
    uneven_groups,
    uneven_ids,
    unordered,
    unruled,
    vector,
    with_tail,
    without,
)
from tests.conformance.coded import BROKEN_PAGES, CLASSES, CODES, OTHER_PAGES, renamed, spare
from tests.conformance.spoil import (
    changed,
    chunk,
    spoiled,
)
from tests.conformance.valid import (
    labelled,
    papers,
    two_cores,
)

Case = tuple[
    Callable[[], bytes], Sequence[str], Sequence[str]
]  # how it is made; ids without and with `deep`


def same(build: Callable[[], bytes], *rules: str) -> Case:
    return both(build, rules, rules)


def deep_only(build: Callable[[], bytes], *rules: str) -> Case:
    return both(build, (), rules)


def both(build: Callable[[], bytes], shallow: Sequence[str], deep: Sequence[str]) -> Case:
    return lambda: unruled(build), shallow, deep


INVALID: dict[str, Case] = {
    # the file
    "file-magic-start": both(
        lambda: flipped(plain(), 0), ["file-magic"], ["digest-false", "file-magic"]
    ),
    "file-magic-end": same(lambda: plain()[:-4] + b"PAR2", "file-magic"),
    "file-magic-short": same(lambda: b"PAR1PAR1", "file-magic"),
    "file-encrypted": same(lambda: plain()[:-4] + b"PARE", "file-encrypted"),
    "footer-length": same(
        with_tail(lambda t: t[:-8] + (1 << 30).to_bytes(4, "little") + b"PAR1"), "footer-length"
    ),
    "footer-thrift": same(with_tail(lambda t: b"\xff" * (len(t) - 8) + t[-8:]), "footer-thrift"),
    "footer-thrift-truncated": same(
        with_tail(lambda t: t[20:-8] + (len(t) - 28).to_bytes(4, "little") + t[-4:]),
        "footer-thrift",
    ),
    "footer-thrift-types": same(
        late(lambda s: s.update({FileMetaData.ROWS: (BINARY, b"three")})), "footer-thrift"
    ),
    "footer-schema-empty": same(
        late(lambda s: s.update({FileMetaData.SCHEMA: structs([])})), "footer-schema"
    ),
    "footer-thrift-list": same(
        late(lambda s: s.update({FileMetaData.KEYS: (LIST, (I32, [1, 2]))})), "footer-thrift"
    ),
    "footer-thrift-number": same(
        late(lambda s: put(chunk(s, "id"), ColumnMeta.CODEC, 1 << 32)), "footer-thrift"
    ),
    "footer-thrift-field": same(late(numbered_high), "footer-thrift"),
    "footer-thrift-order": same(backwards, "footer-thrift"),
    "footer-thrift-elements": same(
        late(lambda s: put(chunk(s, "id"), ColumnMeta.ENCODINGS, (I64, [0, 3]))), "footer-thrift"
    ),
    "footer-schema-nothing": same(late(empty_group), "footer-schema"),
    "footer-schema": same(rekeyed(b"ARROW:schema", lambda v: v[:-40]), "footer-schema"),
    "footer-slack": same(slack, "footer-slack"),
    "footer-keys": same(keyed(twice), "footer-keys"),
    "footer-keys-dof": same(keyed(lambda pairs: [*pairs, pairs[1]]), "footer-keys"),
    "schema-arrow": same(without(b"ARROW:schema"), "schema-arrow"),
    "schema-copy": same(copy_differs, "schema-copy"),
    # rows, groups and chunks
    "rows-count-file": same(
        late(lambda s: changed(s, FileMetaData.ROWS, lambda n: n + 1)), "rows-count"
    ),
    "rows-count-more-values": same(
        late(lambda s: changed(chunk(s, "id"), ColumnMeta.VALUES, lambda n: n + 1)), "rows-count"
    ),
    "rows-count-values": both(
        late(lambda s: changed(chunk(s, "id"), ColumnMeta.VALUES, lambda n: n - 1)),
        ["rows-count"],
        ["rows-count"],
    ),
    "groups-count": same(too_many_groups, "groups-count"),
    "groups-rows": same(late(too_many_rows), "groups-rows", "layout-claim", "rows-count"),
    "chunk-columns": same(late(fewer_columns), "chunk-columns"),
    "chunk-columns-path": same(late(spliced), "chunk-columns"),
    "chunk-elsewhere": same(
        late(chunk_said(Chunk.FILE, (BINARY, b"other.parquet"))), "chunk-elsewhere"
    ),
    "chunk-elsewhere-encrypted": same(
        late(chunk_said(Chunk.CRYPTO, (STRUCT, {1: (STRUCT, {})}))), "chunk-elsewhere"
    ),
    "chunk-elsewhere-secret": same(
        late(chunk_said(Chunk.ENCRYPTED, (BINARY, b"secret"))), "chunk-elsewhere"
    ),
    "group-claims-order": same(
        late(
            group_said(
                RowGroup.SORTING, structs([{1: (I32, 0), 2: (TRUE, False), 3: (TRUE, True)}])
            )
        ),
        "group-claims",
    ),
    "group-claims-pages": same(late(chunk_said(Chunk.COLUMN_INDEX, (I64, 4))), "group-claims"),
    "group-claims-filter": same(
        late(lambda s: chunk(s, "id").update({ColumnMeta.BLOOM_FILTER: (I64, 4)})), "group-claims"
    ),
    "chunk-bounds": both(
        lambda: spoiled(plain(), footer=out_of_bounds),
        ["chunk-bounds", "layout-claim"],
        ["chunk-bounds", "digest-false", "layout-claim", "page-bounds"],
    ),
    "chunk-overlap": both(
        lambda: spoiled(plain(), footer=overlapping),
        ["chunk-overlap"],
        ["chunk-overlap", "page-bounds"],
    ),
    # metadata
    "metadata-absent": same(without(b"dof"), "metadata-absent"),
    "metadata-json": same(rekeyed(b"dof", lambda v: v[:-1]), "metadata-json"),
    "metadata-json-nan": same(inside(plain, "training.loss", float("nan")), "metadata-json"),
    "metadata-json-key-twice": same(
        rekeyed(b"dof", lambda v: v[:-1] + b',"version":"1.0"}'), "metadata-json"
    ),
    "metadata-type": same(inside(plain, "columns.feature.role", 7), "metadata-type"),
    "metadata-type-choice": same(
        inside(plain, "columns.feature.layout", "elsewhere"), "metadata-type"
    ),
    "metadata-missing": same(inside(plain, "primary_column", None), "metadata-missing"),
    "metadata-pattern": same(meta(plain, uuid="none"), "metadata-pattern"),
    "metadata-range": same(inside(plain, "columns.feature.shape", [0]), "metadata-range"),
    "metadata-several": same(
        meta(plain, uuid="none", info={"title": 3}, documents=[{}]),
        "metadata-missing",
        "metadata-pattern",
        "metadata-type",
    ),
    "metadata-version": same(meta(plain, version="2.0"), "metadata-version"),
    "metadata-understand": same(meta(plain, must_understand=["folding"]), "metadata-understand"),
    "metadata-uuid": same(
        meta(plain, uuid="00000000-0000-8000-8000-000000000000"), "metadata-uuid"
    ),
    # metadata against schema, and within itself
    "columns-listed-missing": same(
        inside(labels, "columns.age", None), "columns-listed", "target-column"
    ),
    "columns-listed-more": same(
        inside(plain, "columns.ghost", {"role": "kept", "dtype": "int64", "layout": "encoded"}),
        "columns-listed",
    ),
    "columns-listed-order": same(
        lambda: spoiled(
            plain(), meta=lambda m: m.update(columns=dict(reversed(m["columns"].items())))
        ),
        "columns-listed",
    ),
    "column-dtype": same(inside(plain, "columns.feature.dtype", "float16"), "column-dtype"),
    "column-shape": same(inside(plain, "columns.feature.shape", [2, 2]), "column-shape"),
    "column-shape-missing": same(inside(plain, "columns.feature.shape", None), "column-shape"),
    "column-shape-flat": same(inside(plain, "columns.id.shape", [1]), "column-shape"),
    "column-role-record": same(inside(plain, "columns.id.role", "kept"), "column-role"),
    "column-role-target": same(inside(labels, "columns.age.role", "kept"), "column-role"),
    "column-role-unnamed": same(
        inside(labels, "record.split", None), "column-role", "split-column"
    ),
    "vector-type-list": same(
        vector(pa.list_(pa.field("element", pa.float32(), False))), "column-shape", "vector-type"
    ),
    "vector-type-double": same(
        vector(pa.list_(pa.field("element", pa.float64(), False), 8)), "vector-type"
    ),
    "vector-type-null-elements": same(
        vector(pa.list_(pa.field("element", pa.float32(), True), 8)), "vector-type"
    ),
    "vector-type-null-rows": same(
        vector(pa.list_(pa.field("element", pa.float32(), False), 8), True), "vector-type"
    ),
    "vector-type-name": same(late(renamed_elements), "vector-type"),
    "record-column": same(inside(plain, "record.group", "patient"), "record-column"),
    "record-column-id": same(inside(plain, "record.id", "name"), "column-role", "record-column"),
    "record-type-id": same(id_type(pa.large_string(), False), "record-type"),
    "record-type-id-null": same(id_type(pa.string(), True), "record-type"),
    "record-type-view": same(record("view", [0, 0, 0], pa.int64()), "record-type"),
    "record-type-frame": same(record("frame", [0, 0, 0], pa.int16()), "record-type"),
    "record-type-time": same(record("time", [0.5, 1, 2], pa.float32()), "record-type"),
    "record-type-group": same(record("group", [1, 2, 3], pa.int32()), "record-type"),
    "record-type-bag": same(record("bag", ["s", "s", "t"], pa.string()), "record-type"),
    "record-type-x": same(record("x", [0.5, 1, 2], pa.float64()), "record-type"),
    "record-type-mpp": same(record("mpp", [1, 1, 1], pa.int32()), "record-type"),
    "record-type-split": same(record("half", [1, 1, 2], pa.int32(), "split"), "record-type"),
    "primary-column": same(meta(plain, primary_column="ghost"), "primary-column"),
    "primary-column-flat": same(meta(plain, primary_column="id"), "primary-column"),
    "core-claimed": same(
        inside(lambda: two_cores()[0], "claimed_cores", {"b": {"name": "b"}}), "core-claimed"
    ),
    "core-unknown": same(
        lambda: spoiled(two_cores()[0], meta=lambda m: m["cores"].pop("b"), keys=None),
        "core-unknown",
        "metadata-uuid",
    ),
    "target-column": same(inside(plain, "targets.ghost", {"kind": "regression"}), "target-column"),
    "target-type-category": same(
        target("category", np.array([0.5, 1.0]), classes=["a", "b"]), "target-type"
    ),
    "target-type-multilabel": same(
        target("multilabel", np.array([0, 1]), classes=["a", "b"]), "target-type"
    ),
    "target-type-survival": same(target("survival", np.array([0.5, 1.0])), "target-type"),
    "target-type-survival-order": same(
        target("survival", [{"event": True, "time": 1.0}]), "target-type"
    ),
    "target-type-regression": same(target("regression", ["a", "b"]), "target-type"),
    "target-classes": same(
        target("category", pa.array([None, None], pa.int64())), "target-classes"
    ),
    "target-classes-twice": same(
        target("category", np.array([0, 1]), classes=["a", "a"]), "target-classes"
    ),
    "split-column": both(
        lambda: spoiled(
            plain(), meta=lambda m: m.update(splits={"train": {"rows": 3, "records": 3}})
        ),
        ["split-column"],
        ["split-column"],
    ),
    "document-name": same(
        inside(lambda: papers()[0], "documents.0.name", "../protocol.txt"), "document-name"
    ),
    "document-name-twice": same(
        inside(lambda: papers()[0], "documents.0.name", "empty.txt"), "document-name"
    ),
    "document-name-empty": same(
        inside(lambda: papers()[0], "documents.0.name", ""), "document-name"
    ),
    "attachment-bounds": same(
        inside(lambda: papers()[0], "documents.0.length", 1 << 20), "attachment-bounds"
    ),
    "attachment-bounds-data": same(
        inside(lambda: papers()[0], "documents.0.offset", 4), "attachment-bounds"
    ),
    "attachment-bounds-overlap": both(
        lambda: spoiled(
            papers()[0], meta=lambda m: m["documents"][0].update(offset=m["errors"]["offset"])
        ),
        ["attachment-bounds"],
        ["attachment-bounds", "attachment-digest"],
    ),
    # layout
    "layout-claim": same(claimed, "layout-claim"),
    "layout-claim-values": both(
        reheaded(put_page(Page.VALUES, 23)), ["layout-claim"], ["layout-claim", "page-bounds"]
    ),
    "layout-claim-encoding": both(
        reheaded(put_page(Page.ENCODING, 9)), ["layout-claim"], ["layout-claim"]
    ),
    "layout-claim-level-encoding": both(
        reheaded(put_page(Page.REPETITION, 4)),
        ["layout-claim"],
        ["data-unreadable", "layout-claim"],
    ),
    "layout-claim-size": both(
        reheaded(lambda h: changed(h, Page.BYTES, lambda n: n + 1)),
        ["layout-claim"],
        ["layout-claim"],
    ),
    "layout-claim-levels": same(trailing_levels, "layout-claim"),
    "layout-claim-codec": both(
        late(lambda s: put(chunk(s, "feature"), ColumnMeta.CODEC, 6)),
        ["layout-claim"],
        ["data-unreadable", "layout-claim"],
    ),
    "layout-claim-chunk-type": same(
        late(lambda s: put(chunk(s, "feature"), ColumnMeta.TYPE, 5)), "layout-claim"
    ),
    "layout-claim-chunk-size": same(
        late(lambda s: changed(chunk(s, "feature"), ColumnMeta.BYTES, lambda n: n + 1)),
        "layout-claim",
    ),
    "layout-claim-dictionary": same(
        late(lambda s: chunk(s, "feature").update({ColumnMeta.DICTIONARY_PAGE: (I64, 1000)})),
        "layout-claim",
    ),
    "layout-claim-type": same(inside(plain, "columns.id.layout", "mapped"), "layout-claim"),
    "layout-alignment": same(misaligned, "layout-alignment"),
    "layout-alignment-groups": same(grouped_closely, "layout-alignment"),
    "layout-groups": same(grouped_loosely, "layout-groups"),
    "layout-levels": deep_only(one_list_more, "layout-levels"),
    "layout-claim-names-width": same(OTHER_PAGES["width-16"], "layout-claim"),
    "layout-claim-names-runs": same(OTHER_PAGES["mixed-runs"], "layout-claim"),
    "layout-claim-names-repeated": both(
        BROKEN_PAGES["repeated-name-early"],
        ["layout-claim"],
        ["data-unreadable", "layout-claim"],
    ),
    "names-dictionary": deep_only(
        lambda: renamed(CLASSES[::-1], [1 - code for code in CODES]), "names-dictionary"
    ),
    "names-dictionary-more": deep_only(lambda: renamed((*CLASSES, "more")), "names-dictionary"),
    "names-code": deep_only(BROKEN_PAGES["code-beyond"], "names-code"),
    "names-spare": deep_only(spare, "names-spare"),
    "page-bounds": deep_only(huge_page, "page-bounds"),
    "page-bounds-just": deep_only(lambda: huge_page((128 << 20) + 1), "page-bounds"),
    # data
    "statistics-false-largest": deep_only(
        stated("whole", Statistics.LARGEST, (BINARY, (4).to_bytes(8, "little"))), "statistics-false"
    ),
    "statistics-false-smallest": deep_only(
        stated("text", Statistics.SMALLEST, (BINARY, b"c")), "statistics-false"
    ),
    "statistics-false-inexact": deep_only(
        stated("text", Statistics.LARGEST, (BINARY, b"z")), "statistics-false"
    ),
    "statistics-false-nan": deep_only(
        stated("real", Statistics.LARGEST, (BINARY, bytes(8))), "statistics-false"
    ),
    "statistics-false-zero": deep_only(
        stated("zero", Statistics.SMALLEST, (BINARY, bytes(8))), "statistics-false"
    ),
    "statistics-false-missing": deep_only(
        stated("real", Statistics.NULLS, (I64, 0)), "statistics-false"
    ),
    "data-unreadable": deep_only(garbled, "data-unreadable"),
    "data-unreadable-text": deep_only(no_text, "data-unreadable"),
    "feature-nonfinite": deep_only(nonfinite, "feature-nonfinite"),
    "feature-nonfinite-compact": deep_only(
        lambda: nonfinite(layout="compact"), "feature-nonfinite"
    ),
    "id-repeated": deep_only(repeated, "id-repeated"),
    "id-repeated-frames": deep_only(repeated_frames, "id-repeated"),
    "id-scattered": deep_only(scattered, "id-scattered"),
    "bag-scattered": deep_only(bags(slide=["s1", "s1", "s2", "s2", "s1"]), "bag-scattered"),
    "bag-record": deep_only(
        bags(["a", "a", "b", "b", "c"], frame=np.arange(5, dtype="i4")), "bag-record"
    ),
    "record-value-level": deep_only(
        bags(level=pa.array([0, 0, -1, None, None], pa.int16())), "record-value"
    ),
    "record-value-mpp": deep_only(bags(mpp=pa.array([0.5, 0.5, 0, None, None])), "record-value"),
    "record-value-mpp-nan": deep_only(
        bags(mpp=pa.array([0.5, 0.5, float("nan"), None, None])), "record-value"
    ),
    "record-value-start": deep_only(segments(start=[0.0, 0.0, -1.0]), "record-value"),
    "record-value-end": deep_only(segments(start=[2.0, 2.0, 0.0]), "record-value"),
    "record-value-end-open": deep_only(segments(end=[1.5, 1.5, 0.0]), "record-value"),
    "id-width": deep_only(uneven_ids, "id-width"),
    "id-width-groups": deep_only(uneven_groups, "id-width"),
    "frame-order": deep_only(unordered, "frame-order"),
    "split-count-rows": deep_only(inside(labels, "splits.train.rows", 4), "split-count"),
    "split-count-records": deep_only(inside(labels, "splits.train.records", 2), "split-count"),
    "split-count-missing": deep_only(inside(labels, "splits.train", None), "split-count"),
    "target-value-category": deep_only(
        target("category", np.array([0, 2]), classes=["a", "b"]), "target-value"
    ),
    "target-value-negative": deep_only(
        target("category", np.array([0, -1]), classes=["a", "b"]), "target-value"
    ),
    "target-value-name": deep_only(
        target("category", ["a", "c"], classes=["a", "b"]), "target-value"
    ),
    "target-value-multilabel": deep_only(
        target("multilabel", pa.array([[0], [0, 5]], pa.list_(pa.int64())), classes=["a", "b"]),
        "target-value",
    ),
    "target-value-survival": deep_only(survived({"time": -1.0, "event": True}), "target-value"),
    "target-value-survival-nan": deep_only(
        survived({"time": float("nan"), "event": True}), "target-value"
    ),
    "target-value-survival-part": deep_only(
        survived({"time": None, "event": True}), "target-value"
    ),
    "target-value-regression": deep_only(
        target("regression", np.array([1.0, np.nan])), "target-value"
    ),
    "attachment-digest": deep_only(
        inside(lambda: papers()[0], "documents.0.sha256", "0" * 64), "attachment-digest"
    ),
    "errors-table": deep_only(errors(b"not json\n"), "errors-table"),
    "errors-table-fields": deep_only(errors(b'{"id": "e00000"}\n'), "errors-table"),
    "errors-table-texts": deep_only(errors(b'{"id": "e00000"}\n{"id": "e00001"}'), "errors-table"),
    "errors-table-rows": deep_only(inside(lambda: papers()[0], "errors.rows", 3), "errors-table"),
    # integrity
    "derived-copy": same(rewritten(), "derived-copy"),
    "derived-copy-keys": same(rewritten(extra=True), "derived-copy"),
    "derived-copy-compact": same(
        rewritten(base=lambda: labelled(layout="compact")[0]), "derived-copy"
    ),
    "derived-copy-fewer-rows": both(
        rewritten(head=4), ["derived-copy"], ["derived-copy", "split-count"]
    ),
    "seal-missing": same(without(digests.SEAL), "seal-missing"),
    "seal-false": same(lambda: flipped(plain(), plain().index(b"dof.seal") + 12), "seal-false"),
    "seal-missing-elsewhere": same(sealed_elsewhere(None), "seal-missing"),
    "seal-false-elsewhere": same(sealed_elsewhere(b"1" * 64), "seal-false"),
    "seal-false-metadata": same(
        lambda: plain().replace(b'"version":"1.0"', b'"version":"1.1"'), "schema-copy", "seal-false"
    ),
    "digests-form": same(rekeyed(digests.DIGESTS, lambda v: v[:-4]), "digests-form"),
    "digests-form-missing": same(without(digests.DIGESTS), "digests-form"),
    "digests-count": same(
        rekeyed(
            digests.DIGESTS, lambda v: digests.encode_digests((digests.decode_digests(v) or [])[1:])
        ),
        "digests-count",
        "metadata-uuid",
    ),
    "digest-false": deep_only(lambda: flip_feature(plain()), "digest-false"),
    "digest-false-padding": deep_only(lambda: flipped(plain(), start(plain()) - 3), "digest-false"),
}
