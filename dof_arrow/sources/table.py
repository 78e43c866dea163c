"""A CSV or Parquet table beside the pictures: the columns that are asked for, and no others, typed and compact.

UTF-8 with or without a byte order mark; comma, semicolon or tab, whichever the header holds most of. Cells are trimmed;
an empty cell is missing. What a column's cells have in common gives its type:

    int64     whole numbers that fit, without leading zeros (`007` is a name)
    float64   numbers; `NA`, `N/A`, `NaN`, `nan` and `null` are missing among numbers, and text elsewhere
    bool      true and false, in any case
    string    everything else
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

import pyarrow as pa

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.metadata import Target

Kind = Literal["category", "regression", "multilabel"]
Cells = Any  # pyarrow.Array, which comes without types

ROWS_AT_ONCE = 65_536
REGRESSION_ABOVE = 20
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_UNSAFE = r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)"
_PLAIN = 256 << 20  # bytes of a table that is read at once
_FIRST = 1024  # cells that mostly tell of a whole column what it is not
_NO_NUMBER = ["NA", "N/A", "NaN", "nan", "null"]


def read(path: Path, columns: Sequence[str]) -> dict[str, Cells]:
    """The named columns, by default the first, as string arrays, trimmed, null where empty; read in passing.

    A Parquet file is told by its content. Raises UsageError for a column that is not there, SourceError for a table
    that cannot be read.
    """
    try:
        with path.open("rb") as binary:
            if binary.read(4) == b"PAR1":
                return _read_parquet(path, columns)
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, path, columns)
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


def texts(column: Any, path: Path, name: str) -> Cells:
    """A flat column as trimmed strings, null where empty; UsageError for a column of anything else.

    >>> texts(pa.array([1.5, None]), Path("t"), "x").to_pylist()
    ['1.5', None]
    """
    import pyarrow.compute as pc

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    try:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UsageError(
            "a column of neither numbers nor texts", str(path), found=f"{name}: {column.type}"
        ) from None
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def typed(cells: Cells) -> Cells:
    """A string array as int64, float64, bool or string, by the rules above.

    >>> typed(pa.array(["1", None, "20"])).type, typed(pa.array(["1", "NA", "2.5"])).to_pylist()
    (DataType(int64), [1.0, None, 2.5])
    """
    import pyarrow.compute as pc

    numbers = pc.if_else(
        pc.is_in(cells, value_set=pa.array(_NO_NUMBER)), pa.scalar(None, pa.string()), cells
    )
    if numbers.null_count < len(numbers):
        if _all(numbers, _WHOLE):
            return _whole(numbers, cells)
        if _all(numbers, _NUMBER):
            return numbers.cast(pa.float64())
    if cells.null_count < len(cells) and _all(cells, "(?i)^(true|false)$"):
        return pc.utf8_lower(cells).cast(pa.bool_())
    return cells


def label(
    name: str, cells: Cells, kind: Kind | None = None, separator: str = "|"
) -> tuple[Target, Cells]:
    """How a label column is to be read, and its values: int32 codes, float64 numbers or lists of int32 codes.

    Unless `kind` says so, a column is a regression target if its values are numbers, not all of them whole, and more
    than 20 differ; else it is a category. Classes are sorted, as numbers if they all are. Multilabel cells are split
    at `separator`. Missing cells stay null.

    >>> label("finding", pa.array(["flu", None, "cold"]))[1].to_pylist()
    [1, None, 0]
    """
    values = typed(cells)
    if (kind or _kind(values)) == "regression":
        return Target(kind="regression"), _numbers(name, values)
    if kind == "multilabel":
        return _multilabel(cells, separator)
    return _category(cells, values)


def match(keys: Cells, names: Cells, path: Path) -> tuple[Cells, Cells]:
    """The picture's relative name of each row, and its place among the sorted `names`, null where it is not there.

    Keys are relative names, file names or file names without suffix: whichever finds most files. Raises SourceError
    for a key that is empty, leads out of the folder, fits several files or comes twice; it names rows, never keys.
    """
    import pyarrow.compute as pc

    keys = _safe(keys, path)
    places = _places(keys, names, path)
    found = pc.coalesce(names.take(places), keys)
    _check_once(found, path)
    return found, places


def _read(file: TextIO, path: Path, columns: Sequence[str]) -> dict[str, Cells]:
    first = file.readline()
    file.seek(0)
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(file, delimiter=delimiter, strict=True)
    header = [name.strip() for name in next(rows, [])]
    places = {name: place(name, header, path) for name in columns or header[:1]}
    if places and (plain := _plain(path, delimiter, places)) is not None:
        return plain
    parts: dict[str, list[Cells]] = {name: [] for name in places}
    whole = _whole_rows(rows, len(header), path)
    while batch := list(islice(whole, ROWS_AT_ONCE)):
        for name, at in places.items():
            parts[name].append(pa.array([row[at].strip() or None for row in batch], pa.string()))
    return {
        name: pa.concat_arrays(part) if part else pa.array([], pa.string())
        for name, part in parts.items()
    }


def _plain(path: Path, delimiter: str, places: Mapping[str, int]) -> dict[str, Cells] | None:
    """The columns of a sound table, by Arrow's parser, which is several times as fast.

    None where a quotation mark stands within a cell or one is missing, where a row is too short or too long, and of
    more than `_PLAIN` bytes: Python's reader is stricter, needs no memory, and tells the row.
    """
    import pyarrow.csv

    data = path.read_bytes() if path.stat().st_size <= _PLAIN else b""
    outside = rb'[^"%b\r\n]' % delimiter.encode()
    within = rb'"(?<=%b")%b' % (
        outside,
        outside,
    )  # a pattern that begins with one letter is searched much faster
    if not data or data.count(b'"') % 2 or re.search(within, data):
        return None
    named = {name: f"f{at}" for name, at in places.items()}
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(
                autogenerate_column_names=True, skip_rows_after_names=1
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=[*named.values()],
                column_types=dict.fromkeys(named.values(), pa.string()),
            ),
        )
    except pa.ArrowInvalid:
        return None
    return {name: texts(table[column], path, name) for name, column in named.items()}


def _read_parquet(path: Path, columns: Sequence[str]) -> dict[str, Cells]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        wanted = list(columns or file.schema_arrow.names[:1])
        for name in wanted:
            place(name, file.schema_arrow.names, path)
        table = file.read(wanted)
    return {name: texts(table[name], path, name) for name in wanted}


def place(name: str, header: Sequence[str], path: Path) -> int:
    """Where a column stands in a header; UsageError where it does not, naming those that are near."""
    if name and list(header).count(name) == 1:
        return list(header).index(name)
    if name and name in header:
        raise UsageError(
            "the column stands twice in the table",
            str(path),
            found=name,
            hint="Rename one of them.",
        )
    names = [column for column in header if column]
    near = difflib.get_close_matches(name, names, 3, 0.6)
    shown = ", ".join(names[:40]) + (" …" if len(names) > 40 else "")
    hint = f"Did you mean {' or '.join(near)}?" if near else "Name one of these columns."
    raise UsageError("no such column in the table", str(path), shown or "a header line", name, hint)


def _whole_rows(rows: Iterator[list[str]], width: int, path: Path) -> Iterator[list[str]]:
    for number, row in enumerate(rows, 1):
        if len(row) == width:
            yield row
        elif row:
            raise SourceError(
                "a row of the table has too few or too many cells",
                f"{path}, row {number} after the header",
                f"{width} cells",
                str(len(row)),
                "Look for a missing quotation mark or separator there.",
            )


def _all(cells: Cells, pattern: str) -> bool:
    import pyarrow.compute as pc

    def match(some: Cells) -> bool:
        return bool(pc.all(pc.match_substring_regex(some, pattern), min_count=0).as_py())

    return match(cells[:_FIRST]) and match(cells)


def _whole(numbers: Cells, cells: Cells) -> Cells:
    try:
        return numbers.cast(pa.int64())
    except pa.ArrowInvalid:  # more digits than int64 holds: a name, and float64 would round it
        return cells


def _kind(values: Cells) -> Kind:
    measured = (
        pa.types.is_float64(values.type) and len(values.unique().drop_null()) > REGRESSION_ABOVE
    )
    return "regression" if measured else "category"


def _numbers(name: str, values: Cells) -> Cells:
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise UsageError(
            "a regression label needs numbers", f"column {name}", found=str(values.type)
        )
    return values.cast(pa.float64())


def _category(cells: Cells, values: Cells) -> tuple[Target, Cells]:
    import pyarrow.compute as pc

    cells = pc.if_else(values.is_valid(), cells, pa.scalar(None, pa.string()))
    names = cells.unique().drop_null()
    order = (
        typed(names)
        if pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
        else names
    )
    classes = names.take(pc.sort_indices(order))
    return Target(kind="category", classes=tuple(classes.to_pylist())), pc.index_in(
        cells, value_set=classes
    )


def _multilabel(cells: Cells, separator: str) -> tuple[Target, Cells]:
    import pyarrow.compute as pc

    lists = pc.split_pattern(cells, separator)
    words = pc.utf8_trim_whitespace(lists.flatten())
    classes = sorted({word for word in words.unique().to_pylist() if word})
    code = {word: index for index, word in enumerate(classes)}
    values = [
        None if row is None else sorted({code[w.strip()] for w in row if w.strip()})
        for row in lists.to_pylist()
    ]
    return Target(kind="multilabel", classes=tuple(classes)), pa.array(values, pa.list_(pa.int32()))


def _safe(keys: Cells, path: Path) -> Cells:
    """The keys as relative names; refuses a table with an empty one or one that leads out of the folder."""
    import pyarrow.compute as pc

    if not len(keys):
        raise SourceError("the table has no rows", str(path))
    bad = pc.fill_null(pc.match_substring_regex(keys, _UNSAFE), True)
    if pc.any(bad).as_py():
        hint = "Keys are names relative to the folder, without a leading / and without `..`."
        raise SourceError(
            "a key is empty or leads out of the folder", _row(path, bad.index(True)), hint=hint
        )
    if pc.any(pc.starts_with(keys, "./")).as_py():
        keys = pc.replace_substring_regex(keys, r"^(\./+)+", "")
    return keys.cast(pa.large_string())


def _places(keys: Cells, names: Cells, path: Path) -> Cells:
    import pyarrow.compute as pc

    base = pc.replace_substring_regex(names, "(?s)^.*/", "")
    readings = (names, base, pc.replace_substring_regex(base, r"(?s)(.)\.[^.]*$", r"\1"))
    places = [pc.index_in(keys, value_set=reading) for reading in readings]
    best = min(range(len(places)), key=lambda i: places[i].null_count)
    counts = readings[best].value_counts()
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    unclear = pc.is_in(keys, value_set=several)
    if pc.any(unclear).as_py():
        hint = "Write names relative to the folder into the key column, as in `sub/a.png`."
        raise SourceError("a key fits several files", _row(path, unclear.index(True)), hint=hint)
    return places[best]


def _check_once(names: Cells, path: Path) -> None:
    if len(names.unique()) == len(names):
        return
    seen: dict[str, int] = {}
    for row, name in enumerate(names.to_pylist()):
        if seen.setdefault(name, row) != row:
            hint = "Leave one row for each picture."
            raise SourceError(
                "two rows name the same picture",
                str(path),
                found=f"rows {seen[name] + 1} and {row + 1}",
                hint=hint,
            )


def _row(path: Path, index: Any) -> str:
    return f"{path}, row {index.as_py() + 1} after the header"
