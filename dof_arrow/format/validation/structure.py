"""Whether a Parquet footer agrees with itself and with the file around it (SPEC 2, 6.1 and 6.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from dof_arrow.errors import Problem
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.compact import Struct, get, items
from dof_arrow.format.parquet.footer import Chunk, ColumnMeta, FileMetaData, RowGroup
from dof_arrow.format.parquet.layout import MAX_GROUP_ROWS, MAX_GROUPS
from dof_arrow.format.spec.rules import broken, problem
from dof_arrow.format.validation.spans import Span, overlaps

_INDEXES = (Chunk.OFFSET_INDEX, Chunk.COLUMN_INDEX)
_FILTERS = (ColumnMeta.BLOOM_FILTER, ColumnMeta.GEOGRAPHY)


def parse(tail: bytes) -> tuple[Struct, list[Problem]]:
    """The footer in a file's last bytes, and the problem of bytes left behind it.

    Raises FormatError (`footer-thrift`) if it is no footer.
    """
    struct, end = footer.decode_footer(tail)
    if not footer.fits(struct, footer.SHAPE):
        expected = "the fields of parquet.thrift"
        raise broken("footer-thrift", "footer", expected, "others, or of other types")
    slack = len(tail) - footer.TAIL - end
    if slack == 0:
        return struct, []
    return struct, [problem("footer-slack", "footer", "0 bytes", slack)]


def problems(struct: Struct, start: int) -> Iterator[Problem]:
    """Problems of the keys, row groups and chunks of a footer that begins at byte `start`."""
    yield from _keys(struct)
    yield from _groups(struct)
    yield from _bounds(struct, start)
    yield from _claims(struct)


def _keys(struct: Struct) -> Iterator[Problem]:
    keys = [key for key, _ in footer.key_values(struct)]
    for key, count in Counter(keys).items():
        if count > 1:
            name = key.decode("utf-8", "replace")
            yield problem("footer-keys", f"key {name}", "once", f"{count} times")


def _groups(struct: Struct) -> Iterator[Problem]:
    groups = items(struct, FileMetaData.GROUPS)
    rows = [get(group, RowGroup.ROWS) for group in groups]
    stated = get(struct, FileMetaData.ROWS)
    total = sum(rows)
    if total != stated or min(rows, default=0) < 0:
        yield problem("rows-count", "footer", f"{stated} rows", f"{total} in row groups")
    if len(groups) > MAX_GROUPS:
        yield problem("groups-count", "footer", f"at most {MAX_GROUPS}", len(groups))
    for number, count in enumerate(rows):
        if count > MAX_GROUP_ROWS:
            expected = f"at most {MAX_GROUP_ROWS}"
            yield problem("groups-rows", f"row group {number}", expected, count)


def _claims(struct: Struct) -> Iterator[Problem]:
    """Row groups of which more is claimed than their place in the file and their statistics."""
    for number, group in enumerate(items(struct, FileMetaData.GROUPS)):
        claimed = [RowGroup.SORTING] if RowGroup.SORTING in group else []
        for chunk in items(group, RowGroup.COLUMNS):
            claimed += [field for field in _INDEXES if field in chunk]
            claimed += [field for field in _FILTERS if field in get(chunk, Chunk.META)]
        if claimed:
            yield problem("group-claims", f"row group {number}", "none", f"{len(claimed)} such")


def _bounds(struct: Struct, start: int) -> Iterator[Problem]:
    """Chunks that do not lie between the magic and the footer, or that overlap."""
    spans = []
    for group, _, meta in footer.chunks(struct):
        first, end = footer.chunk_range(meta)
        where = f"row group {group}, column {_path(meta)}"
        if not len(footer.MAGIC) <= first <= end <= start:
            yield problem(
                "chunk-bounds",
                where=where,
                expected=f"bytes {len(footer.MAGIC)} to {start}",
                found=f"{first} to {end}",
            )
        elif first < end:
            spans.append(Span(first, end, where))
    yield from overlaps("chunk-overlap", spans)


def columns(struct: Struct, parquet: Any) -> Iterator[Problem]:
    """Row groups whose chunks are not the columns of the schema, or have too many or few values.

    `parquet` is pyarrow's FileMetaData.
    """
    schema = parquet.schema
    leaves = [schema.column(number) for number in range(len(schema))]
    paths = [leaf.path for leaf in leaves]
    for number, group in enumerate(items(struct, FileMetaData.GROUPS)):
        chunks = items(group, RowGroup.COLUMNS)
        metas = [get(chunk, Chunk.META) for chunk in chunks]
        found = [_path(meta) for meta in metas]
        where = f"row group {number}"
        if found != paths:
            yield problem(
                "chunk-columns",
                where=where,
                expected=", ".join(paths),
                found=", ".join(found),
            )
            continue
        rows = get(group, RowGroup.ROWS)
        for meta, leaf in zip(metas, leaves, strict=True):
            yield from _values(rows, meta, leaf, where)


def _values(rows: int, meta: Struct, leaf: Any, group: str) -> Iterator[Problem]:
    """A chunk that has not as many values as its row group has rows."""
    values = get(meta, ColumnMeta.VALUES)
    is_list = leaf.max_repetition_level > 0  # then it has more, but one for an empty list
    if values < rows or (values != rows and not is_list):
        yield problem(
            "rows-count",
            where=f"{group}, column {leaf.path}",
            expected=f"{rows} values",
            found=values,
        )


def _path(meta: Struct) -> str:
    names = items(meta, ColumnMeta.PATH)
    return b".".join(names).decode("utf-8", "replace")
