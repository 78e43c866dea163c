"""A CSV or Parquet table beside the pictures: the columns that are asked for, and no others.

CSV is UTF-8 with or without a byte order mark; the separator is comma, semicolon or tab, whichever
the header holds most of. Cells are trimmed; an empty cell is missing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from dof_arrow.errors import SourceError
from dof_arrow.sources.columns import place, texts
from dof_arrow.sources.sample import Column

ROWS_AT_ONCE = 65_536
_PLAIN = 256 << 20  # bytes of a table that is read at once


def read(path: Path, columns: Sequence[str]) -> dict[str, Column]:
    """The named columns, by default the first, as string arrays, trimmed, null where empty.

    A Parquet file is told by its content. Raises UsageError for a column that is not there,
    SourceError for a table that cannot be read.
    """
    try:
        with path.open("rb") as binary:
            if binary.read(4) == b"PAR1":  # Parquet's magic bytes
                return _read_parquet(path, columns)
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_csv(file, path, columns)
    except UnicodeDecodeError:
        raise SourceError(
            "the table is not UTF-8", str(path), hint="Save it as CSV UTF-8."
        ) from None
    except pa.ArrowInvalid:
        raise SourceError("the table is damaged", str(path), hint="Write it again.") from None
    except csv.Error as error:
        raise SourceError("the table is no valid CSV", str(path), found=str(error)) from None
    except OSError as error:
        raise SourceError(
            "the table cannot be read", str(path), found=error.strerror or ""
        ) from None


def _read_parquet(path: Path, columns: Sequence[str]) -> dict[str, Column]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        wanted = list(columns or file.schema_arrow.names[:1])
        for name in wanted:
            place(name, file.schema_arrow.names, path)
        table = file.read(wanted)
    return {name: texts(table[name], path, name) for name in wanted}


def _read_csv(file: TextIO, path: Path, columns: Sequence[str]) -> dict[str, Column]:
    first = file.readline()
    file.seek(0)
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(file, delimiter=delimiter, strict=True)
    header = [name.strip() for name in next(rows, [])]
    places = {name: place(name, header, path) for name in columns or header[:1]}
    plain = _read_plain(path, delimiter, places) if places else None
    if plain is not None:
        return plain
    return _read_rows(_whole_rows(rows, len(header), path), places)


def _read_rows(rows: Iterator[list[str]], places: Mapping[str, int]) -> dict[str, Column]:
    """The columns at some places, a batch of rows at a time."""
    empty = pa.array([], pa.string())
    parts = {name: [empty] for name in places}
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        for name, at in places.items():
            trimmed = [row[at].strip() or None for row in batch]
            parts[name].append(pa.array(trimmed, pa.string()))
    return {name: pa.concat_arrays(part) for name, part in parts.items()}


def _whole_rows(rows: Iterator[list[str]], width: int, path: Path) -> Iterator[list[str]]:
    for number, row in enumerate(rows, 1):
        if len(row) == width:
            yield row
        elif row:  # blank lines are passed over
            raise SourceError(
                "a row of the table has too few or too many cells",
                f"{path}, row {number} after the header",
                f"{width} cells",
                str(len(row)),
                "Look for a missing quotation mark or separator there.",
            )


def _read_plain(path: Path, delimiter: str, places: Mapping[str, int]) -> dict[str, Column] | None:
    """The columns of a sound table, by Arrow's parser, which is several times as fast.

    None where a quotation mark stands within a cell or one is missing, where a row is too short or
    too long, and of more than `_PLAIN` bytes: Python's reader is stricter, needs no memory, and
    tells the row.
    """
    data = path.read_bytes() if path.stat().st_size <= _PLAIN else b""
    # Arrow takes such cells in its own way; Python's reader refuses them.
    if not data or _oddly_quoted(data, delimiter):
        return None
    named = {name: f"f{at}" for name, at in places.items()}
    try:
        table = _parsed(data, delimiter, list(named.values()))
    except pa.ArrowInvalid:
        return None
    return {name: texts(table[column], path, name) for name, column in named.items()}


def _oddly_quoted(data: bytes, delimiter: str) -> bool:
    """Whether a quotation mark stands within a cell, or one is missing."""
    if data.count(b'"') % 2:
        return True
    outside = rb'[^"%b\r\n]' % delimiter.encode()
    # Begins with one letter and looks behind it, since such a pattern is searched much faster.
    within = rb'"(?<=%b")%b' % (outside, outside)
    return re.search(within, data) is not None


def _parsed(data: bytes, delimiter: str, columns: Sequence[str]) -> Any:
    """Some columns, as strings; they are called f0, f1, … by their places."""
    from pyarrow import csv as arrow_csv

    return arrow_csv.read_csv(
        pa.BufferReader(data),
        read_options=arrow_csv.ReadOptions(autogenerate_column_names=True, skip_rows_after_names=1),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string())
        ),
    )
