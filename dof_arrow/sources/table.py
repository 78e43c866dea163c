"""A table beside the pictures: the columns that are asked for, and no others.

It is CSV, Parquet, Arrow or an Excel workbook, told by its content. CSV is UTF-8 with or without a
byte order mark, UTF-16 with one, or of an encoding that is named; the separator is comma, semicolon
or tab, whichever the header holds most of, or what a first line `sep=;` says. Cells are trimmed; an
empty cell is missing.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.sources import column_files, workbook
from dof_arrow.sources.asked import Asked
from dof_arrow.sources.columns import places, texts
from dof_arrow.sources.sample import Column
from dof_arrow.system import open_file

ROWS_AT_ONCE = 65_536
_PLAIN = 256 << 20  # bytes of a table that is read at once
_COLUMNS = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")  # the last begins an Arrow stream
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LINES_ABOVE = 1000  # lines above the header that are looked at


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """The columns that were asked for, as `columns.texts` gives them, and remarks on the reading.

    `comma`: whether a comma may part decimals, since it does not part cells.
    """

    cells: Mapping[str, Column]
    remarks: tuple[str, ...] = ()
    comma: bool = False

    def understood(self, asked: Asked) -> Asked:
        """What is asked, with rules that know of decimal commas."""
        rules = {}
        for name in asked.columns:
            rules[name] = replace(asked.rule(name), comma=self.comma)
        return replace(asked, rules={**asked.rules, **rules})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How a CSV file is laid out: what stands above its header, and its separator."""

    encoding: str
    above: str
    delimiter: str
    remarks: tuple[str, ...] = ()


def read(path: Path, columns: Sequence[str], encoding: str | None = None) -> Table:
    """The named columns, by default the first.

    Raises UsageError for columns that are not there, SourceError for a table that cannot be read.
    """
    file, sheet = workbook.named_sheet(path)
    try:
        start = _start(file)
        if start.startswith(_COLUMNS):
            return _read_columns(file, columns)
        if workbook.is_workbook(start):
            return _read_workbook(file, sheet, columns)
        return _read_csv(file, columns, _encoding(start, file, encoding))
    except UnicodeError:
        raise _not_encoded(file, encoding) from None
    except LookupError:
        hint = "Name one as Python does: utf-8, latin-1, cp1252, utf-16."
        raise UsageError("no such encoding", found=str(encoding), hint=hint) from None
    except (pa.ArrowInvalid, EOFError):
        raise SourceError("the table is damaged", str(file), hint="Write it again.") from None
    except csv.Error as error:
        raise SourceError("the table is no valid CSV", str(file), found=str(error)) from None
    except OSError as error:
        raise SourceError(
            "the table cannot be read", str(file), found=error.strerror or ""
        ) from None


def header(path: Path, encoding: str | None = None) -> list[str]:
    """The names of a table's columns, as far as they can be read; `read` says what is wrong."""
    file, sheet = workbook.named_sheet(path)
    try:
        start = _start(file)
        if start.startswith(_COLUMNS):
            return list(column_files.schema(file).names)
        if workbook.is_workbook(start):
            return next(iter(workbook.rows(file, sheet)[0]), [])
        opened = _encoding(start, file, encoding)
        with file.open(encoding=opened, newline="") as text:
            form = _form(text, [], opened)
            return _header(_csv_rows(text, form))
    except (OSError, UnicodeError, LookupError, pa.ArrowException, csv.Error, EOFError):
        return []


def _start(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(4096)


def _encoding(start: bytes, path: Path, named: str | None) -> str:
    """The encoding that is named, else the one that a mark at the start tells, else UTF-8."""
    if named is not None:
        name = codecs.lookup(named).name
        return "utf-8-sig" if name == "utf-8" else name
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    if b"\0" in start:
        raise SourceError(
            "the table is no text, or UTF-16 without a mark",
            str(path),
            "CSV, Parquet, Arrow or Excel",
            "bytes of zero",
            "If it is UTF-16, add --encoding utf-16-le.",
        )
    return "utf-8"


def _not_encoded(path: Path, encoding: str | None) -> SourceError:
    if encoding is not None:
        return SourceError(
            "the table is not of the encoding that is named", str(path), encoding, "other bytes"
        )
    return SourceError(
        "the table is not UTF-8",
        str(path),
        hint="Save it as CSV UTF-8, or name its encoding: --encoding latin-1, or cp1252.",
    )


def _read_columns(path: Path, columns: Sequence[str]) -> Table:
    names = column_files.schema(path).names
    wanted = list(columns or names[:1])
    places(wanted, names, path)
    cells = {name: texts(column_files.column(path, name), path, name) for name in wanted}
    return Table(cells=cells)


def _read_workbook(path: Path, sheet: str | None, columns: Sequence[str]) -> Table:
    rows, remarks = workbook.rows(path, sheet)
    names = rows[0] if rows else []
    at = places(columns or names[:1], names, path)
    return Table(cells=_read_rows(iter(rows[1:]), at), remarks=remarks)


def _read_csv(path: Path, columns: Sequence[str], encoding: str) -> Table:
    with path.open(encoding=encoding, newline="") as file:
        form = _form(file, columns, encoding)
        rows = _csv_rows(file, form)
        names = _header(rows)
        at = places(columns or names[:1], names, path)
        cells = _read_plain(path, form, at) if at else None
        if cells is None:
            cells = _read_rows(_whole_rows(rows, len(names), path), at)
    return Table(cells=cells, remarks=form.remarks, comma=form.delimiter != ",")


def _header(rows: Iterator[list[str]]) -> list[str]:
    return [name.strip("\ufeff \t\r\n") for name in next(rows, [])]


def _csv_rows(file: TextIO, form: _Form) -> Iterator[list[str]]:
    """The rows of a CSV file from its header on."""
    file.seek(0)
    file.read(len(form.above))
    return csv.reader(file, delimiter=form.delimiter, strict=True)


def _form(file: TextIO, columns: Sequence[str], encoding: str) -> _Form:
    """How a CSV file is laid out.

    The header is the first line that is not blank. Lines before it that begin with `#` are passed
    over where the first of them holds not all of the columns, and the line below them does.
    """
    blank = _lines_while(file, lambda line: not line.strip())
    first = file.readline()
    said = re.fullmatch(r'"?sep=([\t -!#-/:-@\[-`{-~])"?\s*', first)
    if said:
        return _Form(encoding=encoding, above=blank + first, delimiter=said[1])
    separator = _separator(first)
    if not first.startswith("#") or _holds(first, separator, columns):
        return _Form(encoding=encoding, above=blank, delimiter=separator)
    file.seek(0)
    comments = _lines_while(file, lambda line: not line.strip() or line.startswith("#"))
    below = file.readline()
    if not _holds(below, _separator(below), columns):
        return _Form(encoding=encoding, above=blank, delimiter=separator)
    remark = "the table: lines above the header that begin with # are passed over"
    return _Form(encoding=encoding, above=comments, delimiter=_separator(below), remarks=(remark,))


def _lines_while(file: TextIO, is_above: Any) -> str:
    """The lines at the start of which this is true; the file then stands at the next one."""
    above = ""
    for _ in range(_LINES_ABOVE):
        line = file.readline()
        if not line or not is_above(line):
            break
        above += line
    file.seek(0)
    file.read(len(above))
    return above


def _separator(line: str) -> str:
    """Comma, semicolon or tab, whichever stands most often in a header outside quotation marks."""
    return max(",;\t", key=re.sub('"[^"]*"', "", line).count)


def _holds(line: str, delimiter: str, columns: Sequence[str]) -> bool:
    """Whether a line is a header that holds all of some columns."""
    names = next(csv.reader([line], delimiter=delimiter), [])
    return {name.strip() for name in names}.issuperset(columns)


def _read_rows(rows: Iterator[list[str]], at: Mapping[str, int]) -> dict[str, Column]:
    """The columns at some places, a batch of rows at a time."""
    empty = pa.array([], pa.string())
    parts = {name: [empty] for name in at}
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        for name, number in at.items():
            trimmed = [row[number].strip() or None for row in batch]
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


def _read_plain(path: Path, form: _Form, at: Mapping[str, int]) -> dict[str, Column] | None:
    """The columns of a sound table, by Arrow's parser, which is several times as fast.

    None where a quotation mark stands within a cell or one is missing, where a row is too short or
    too long, and of more than `_PLAIN` bytes: Python's reader is stricter, needs no memory, and
    tells the row.
    """
    data = _as_utf8(path, form) if path.stat().st_size <= _PLAIN else b""
    # Arrow takes such cells in its own way; Python's reader refuses them.
    if not data or _oddly_quoted(data, form.delimiter):
        return None
    named = {name: f"f{number}" for name, number in at.items()}
    try:
        table = _parsed(data, form.delimiter, list(named.values()))
    except pa.ArrowInvalid:
        return None
    return {name: texts(table[column], path, name) for name, column in named.items()}


def _as_utf8(path: Path, form: _Form) -> bytes:
    """A table from its header on, in UTF-8 without a mark."""
    with open_file(path) as file:
        data = file.read()
    if codecs.lookup(form.encoding).name not in ("utf-8", "utf-8-sig"):
        data = data.decode(form.encoding).encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    return data[len(form.above.encode()) :] if form.above else data


def _oddly_quoted(data: bytes, delimiter: str) -> bool:
    """Whether a quotation mark stands within a cell, or one is missing."""
    if data.count(b'"') % 2:
        return True
    inside = np.ones(256, bool)  # bytes that do not end a cell
    inside[list(b'"\r\n' + delimiter.encode())] = False
    letters = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(letters[1:-1] == ord('"'))
    return bool(np.any(inside[letters[marks]] & inside[letters[marks + 2]]))


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
