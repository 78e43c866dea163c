"""A sheet of an Excel workbook as rows of texts."""

from __future__ import annotations

import datetime
from pathlib import Path

from dof_arrow.errors import SourceError, UsageError, require

_EXACT = 2**53  # whole numbers below it are exact as float64


def is_workbook(start: bytes) -> bool:
    """Whether a file that begins so is a workbook: a ZIP archive, or OLE's compound file."""
    return start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0"))


def named_sheet(path: Path) -> tuple[Path, str | None]:
    """The file and the sheet that a path such as `meta.xlsx#Sheet2` names.

    >>> named_sheet(Path("meta.xlsx#Second sheet"))[1], named_sheet(Path("meta.csv"))[1]
    ('Second sheet', None)
    """
    file, mark, sheet = str(path).partition("#")
    if not mark or path.exists():
        return path, None
    return Path(file), sheet


def rows(path: Path, sheet: str | None) -> tuple[list[list[str]], tuple[str, ...]]:
    """The rows of a sheet, by default the first, from the first that is not blank, and remarks.

    Raises SourceError for what is no workbook, UsageError for a sheet that is not there,
    MissingExtra without python-calamine.
    """
    calamine = require("python_calamine", extra="excel")
    try:
        with calamine.CalamineWorkbook.from_path(str(path)) as book:
            name = _chosen(book.sheet_names, sheet, path)
            cells = book.get_sheet_by_name(name).to_python(skip_empty_area=True)
            others = [each for each in book.sheet_names if each != name]
    except (calamine.CalamineError, calamine.PasswordError) as error:
        raise SourceError(
            "the workbook cannot be read",
            str(path),
            found=str(error),
            hint="Save it as CSV UTF-8, or as .xlsx without a password.",
        ) from None
    written = [[_text(cell) for cell in row] for row in cells]
    remarks = [f"{path.name}: the sheet {name} is read, not {', '.join(others)}"] if others else []
    return [row for row in written if any(row)], tuple(remarks)


def _chosen(names: list[str], asked: str | None, path: Path) -> str:
    if asked is None and names:
        return names[0]
    if asked not in names:
        raise UsageError(
            "no such sheet in the workbook", str(path), ", ".join(names) or "a sheet", asked or ""
        )
    return asked


def _text(cell: object) -> str:
    """A cell as a text: whole numbers without a point, dates and times in ISO 8601."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT:
        return str(int(cell))
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat().removesuffix("T00:00:00")
    return str(cell).strip()
