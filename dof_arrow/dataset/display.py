"""A dataset as it shows itself: on a line, in a notebook, as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from dof_arrow.errors import few, shown
from dof_arrow.format.spec.arrow import is_vector

if TYPE_CHECKING:
    from dof_arrow.dataset.dataset import Dataset

_MOST_COLUMNS = 20
_FIRST_ROWS = 3
_LONGEST = 40  # characters of one value


def line(rows: Dataset) -> str:
    """A dataset on one line: its file, rows, primary vectors and columns."""
    shape = " x ".join(str(size) for size in rows.row_shape())
    names = [_with_classes(rows, name) for name in rows.columns]
    columns = ", ".join(few(names, _MOST_COLUMNS))
    count = f"{len(rows):,} rows"
    return shown(f"<Dataset {rows.path.name}: {count}, {rows.primary} [{shape}], {columns}>")


def _with_classes(rows: Dataset, name: str) -> str:
    target = rows.metadata.targets.get(name)
    if target is None or not target.classes:
        return name
    return f"{name} ({len(target.classes)} classes)"


def html(rows: Dataset) -> str:
    """A dataset as a small HTML table: each column with its type and its first values.

    It has no colours of its own, so it suits a light and a dark page, and no script; every text of
    the file is escaped.
    """
    first = rows[:_FIRST_ROWS]
    lines = list(_lines(rows, first))
    body = "".join(lines[:_MOST_COLUMNS])
    more = few(lines, _MOST_COLUMNS)[_MOST_COLUMNS:]
    head = "".join(f"<th>{title}</th>" for title in ("column", "type", "first values"))
    said = _text(f"{rows.path.name}: {len(rows):,} rows")
    under = f"<div>{_text(more[0])} columns</div>" if more else ""
    return (
        f"<div><div><b>{said}</b></div>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{under}</div>"
    )


def _lines(rows: Dataset, first: Dataset) -> Iterator[str]:
    for field in rows.schema:
        values: list[str] = []
        if not is_vector(field):  # whose numbers tell nobody anything
            values = [_text(str(value)) for value in first.to_arrow([field.name])[0].to_pylist()]
        cells = [_text(field.name), _text(_kind(rows, field)), ", ".join(values)]
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _kind(rows: Dataset, field: Any) -> str:
    """What a column holds, in a few words."""
    if is_vector(field):
        shape = " x ".join(str(size) for size in rows.row_shape(field.name))
        primary = ", primary" if field.name == rows.primary else ""
        return f"{field.type.value_type} [{shape}]{primary}"
    target = rows.metadata.targets.get(field.name)
    if target is None:
        return str(field.type)
    if not target.classes:
        return f"{target.kind} {target.unit or ''}".strip()
    return f"{target.kind}: {', '.join(few(target.classes, _FIRST_ROWS))}"


def _text(text: str) -> str:
    """A text of the file, cut, without control characters, escaped."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return escape(shown(cut))


def described(dataset: Dataset) -> Mapping[str, Any]:
    """What `dof info` shows of a dataset, as JSON values."""
    from dof_arrow.format.spec.json_model import to_json

    return {
        "path": str(dataset.path),
        "rows": len(dataset),
        "derived": dataset.derived,
        "bytes": dataset.size,
        "metadata": to_json(dataset.metadata),
    }
