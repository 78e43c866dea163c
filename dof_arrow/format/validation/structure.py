"""Whether a Parquet footer agrees with itself and with the file around it (SPEC sections 2, 6.1 and 6.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from dof_arrow.errors import Problem
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import ColumnMeta, FileMetaData, RowGroup, Struct, get, items
from dof_arrow.format.parquet.layout import MAX_GROUP_ROWS, MAX_GROUPS
from dof_arrow.format.spec.rules import broken, problem


def parse(tail: bytes) -> tuple[Struct, list[Problem]]:
    """The footer in a file's last bytes, and its slack; FormatError if it is no footer."""
    struct, end = footer.decode_footer(tail)
    if not footer.fits(struct, footer.SHAPE):
        raise broken(
            "footer-thrift", "footer", "the fields of parquet.thrift", "others, or of other types"
        )
    slack = len(tail) - footer.TAIL - end
    return struct, [problem("footer-slack", "footer", "0 bytes", slack)] if slack else []


def problems(struct: Struct, start: int) -> Iterator[Problem]:
    """Keys, groups and chunks of a footer that begins at byte `start`."""
    keys = Counter(key for key, _ in footer.key_values(struct))
    for key, count in keys.items():
        if count > 1:
            yield problem(
                "footer-keys", f"key {key.decode('utf-8', 'replace')}", "once", f"{count} times"
            )
    yield from _groups(struct)
    yield from _bounds(struct, start)


def _groups(struct: Struct) -> Iterator[Problem]:
    groups = items(struct, FileMetaData.GROUPS)
    rows = [get(group, RowGroup.ROWS) for group in groups]
    if sum(rows) != get(struct, FileMetaData.ROWS) or any(n < 0 for n in rows):
        yield problem(
            "rows-count",
            "footer",
            f"{get(struct, FileMetaData.ROWS)} rows",
            f"{sum(rows)} in row groups",
        )
    if len(groups) > MAX_GROUPS:
        yield problem("groups-count", "footer", f"at most {MAX_GROUPS}", len(groups))
    for number, count in enumerate(rows):
        if count > MAX_GROUP_ROWS:
            yield problem("groups-rows", f"row group {number}", f"at most {MAX_GROUP_ROWS}", count)


def _bounds(struct: Struct, start: int) -> Iterator[Problem]:
    spans = []
    for group, _, meta in footer.chunks(struct):
        first, end = footer.chunk_range(meta)
        where = f"row group {group}, column {_path(meta)}"
        if not len(footer.MAGIC) <= first <= end <= start:
            yield problem(
                "chunk-bounds", where, f"bytes {len(footer.MAGIC)} to {start}", f"{first} to {end}"
            )
        elif first < end:
            spans.append((first, end, where))
    for (_, end, _), (first, _, where) in pairwise(sorted(spans)):
        if first < end:
            yield problem("chunk-overlap", where, f"a start at {end} or later", first)


def columns(struct: Struct, parquet: Any) -> Iterator[Problem]:
    """Row groups whose chunks are not the schema's columns, or do not hold as many values as they have rows."""
    leaves = [parquet.schema.column(i) for i in range(len(parquet.schema))]
    paths = [leaf.path for leaf in leaves]
    for number, group in enumerate(items(struct, FileMetaData.GROUPS)):
        metas = [get(chunk, footer.Chunk.META) for chunk in items(group, RowGroup.COLUMNS)]
        if [_path(meta) for meta in metas] != paths:
            found = ", ".join(map(_path, metas))
            yield problem("chunk-columns", f"row group {number}", ", ".join(paths), found)
            continue
        for meta, leaf in zip(metas, leaves, strict=True):
            rows, values = get(group, RowGroup.ROWS), get(meta, ColumnMeta.VALUES)
            if values < rows or (leaf.max_repetition_level == 0 and values != rows):
                yield problem(
                    "rows-count",
                    f"row group {number}, column {leaf.path}",
                    f"{rows} values",
                    values,
                )


def _path(meta: Struct) -> str:
    return ".".join(part.decode("utf-8", "replace") for part in items(meta, ColumnMeta.PATH))
