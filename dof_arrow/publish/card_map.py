"""The map of a card: where each row lies in two dimensions, its colours and nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.format.spec.metadata import Target
from dof_arrow.format.spec.split_names import standard_or_own
from dof_arrow.publish.card_balance import split_order
from dof_arrow.publish.card_packing import packed_numbers, packed_texts
from dof_arrow.publish.card_projection import projections
from dof_arrow.publish.card_rows import DrawnRows

Array = NDArray[Any]

NEIGHBOURS = 5
MISSING = 65_535  # the code of a row without a value
COSINES = 250  # steps of a cosine from 0 to 1, in a byte
_PLACES = 65_535
_HUES = 256
_EVENTS = ("not seen until then", "seen")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way to lay rows out: `x` and `y` as packed uint16 of a square, and a note."""

    name: str
    note: str
    x: str
    y: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Colouring:
    """One way to colour rows: packed uint16 codes, 65,535 for none.

    `classes` and `splits`: codes are places in `labels`. `several`: codes are places in `sets`,
    each of places in `labels`. `number`: codes run from 0 at `low` to 1,000 at `high`. `parts`:
    codes are one of 256 colours; where there are more parts, two may have one colour.
    """

    name: str
    kind: str
    codes: str
    labels: tuple[str, ...] = ()
    sets: tuple[tuple[int, ...], ...] = ()
    low: float = 0.0
    high: float = 0.0
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """Of each row the nearest others: packed uint32 places on the map, and cosines in a byte."""

    count: int
    rows: str
    cosines: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """The drawn rows: `rows` of `of`, their `ids` as packed lines, empty where they have none."""

    rows: int
    of: int
    ids: str
    numbers: str
    views: tuple[View, ...]
    colourings: tuple[Colouring, ...]
    nearest: Nearest | None


def drawn_map(drawn: DrawnRows, of: int, found: tuple[Array, Array] | None) -> Map:
    """The map of drawn rows; `found` are the places and cosines [n, k] of their neighbours."""
    views = [
        _view(each.name, each.places, each.note) for each in projections(drawn.data, drawn.feature)
    ]
    nearest = None
    if found is not None:
        rows, cosines = found
        steps = np.rint(cosines.clip(0, 1) * COSINES)
        nearest = Nearest(
            count=rows.shape[1],
            rows=packed_numbers(rows, "<u4"),
            cosines=packed_numbers(steps, "<u1"),
        )
    whole = len(drawn.places) == of
    return Map(
        rows=len(drawn.places),
        of=of,
        ids=packed_texts(drawn.labels) if drawn.labels else "",
        numbers="" if whole else packed_numbers(drawn.places, "<u4"),
        views=tuple(views),
        colourings=tuple(_colourings(drawn)),
        nearest=nearest,
    )


def neighbours(drawn: DrawnRows) -> tuple[Array, Array] | None:
    """The nearest other rows of each, int64 [n, k], and their cosines; None of a single row."""
    rows = drawn.data
    count = min(NEIGHBOURS, len(rows) - 1)
    if not count:
        return None
    found = rows.nearest(rows, count + 1, "cosine", name=drawn.feature)
    # A row is its own nearest, unless many are equal: then others may stand in its place.
    itself = found.rows == np.arange(len(rows))[:, None]
    itself[~itself.any(axis=1), -1] = True
    shape = (len(rows), count)
    return found.rows[~itself].reshape(shape), found.scores[~itself].reshape(shape)


def _view(name: str, places: Array, note: str) -> View:
    """Both axes on one scale, in the middle of the square."""
    low = places.min(axis=0)
    high = places.max(axis=0)
    side = max(float((high - low).max()), 1e-30)
    inside = (places - (low + high) / 2) / side + 0.5
    steps = np.rint(inside.clip(0, 1) * _PLACES)
    return View(
        name=name,
        note=note,
        x=packed_numbers(steps[:, 0], "<u2"),
        y=packed_numbers(steps[:, 1], "<u2"),
    )


def _colourings(drawn: DrawnRows) -> Iterator[Colouring]:
    known = drawn.data.metadata
    record = known.record
    for name, target in known.targets.items():
        column = drawn.data.to_arrow([name]).column(0).combine_chunks()
        if target.kind == "regression":
            yield _numbers(name, column, target)
        elif target.kind == "survival":
            yield _numbers(f"{name}: time", _field_of(column, "time"), target)
            yield _events(f"{name}: event", _field_of(column, "event"))
        elif target.kind == "multilabel":
            yield _sets(name, column, target)
        else:
            yield _classes(name, column, target)
    if record.split is not None:
        yield _splits(drawn, record.split)
    parts = {"group": record.group, "bag": record.bag}
    if record.frame is not None or record.view is not None:
        parts["clip" if record.frame else "picture"] = record.id
    for word, role in parts.items():
        if role is not None:
            yield _parted(drawn, word, role)


def _field_of(column: pa.StructArray, name: str) -> pa.Array:
    """A field of a struct, missing where the whole is."""
    import pyarrow.compute as pc

    return pc.struct_field(column, name)


def _classes(name: str, column: pa.Array, target: Target) -> Colouring:
    codes = {label: code for code, label in enumerate(target.classes)}
    found = [_code(value, codes) for value in column.to_pylist()]
    return Colouring(
        name=name,
        kind="classes",
        codes=packed_numbers(np.array(found), "<u2"),
        labels=target.classes,
    )


def _code(value: Any, codes: dict[str, int]) -> int:
    """The code of a cell: of a name, or a code itself."""
    if isinstance(value, str):
        return codes.get(value, MISSING)
    return int(value) if value is not None and 0 <= value < len(codes) else MISSING


def _sets(name: str, column: pa.Array, target: Target) -> Colouring:
    """Rows of several classes: each combination of classes that occurs, in order of the classes."""
    rows: list[tuple[int, ...] | None] = []
    for value in column.to_pylist():
        known = sorted({code for code in value or () if 0 <= code < len(target.classes)})
        rows.append(None if value is None else tuple(known))
    sets = sorted({row for row in rows if row is not None})[:MISSING]
    codes = {each: code for code, each in enumerate(sets)}
    found = [MISSING if row is None else codes.get(row, MISSING) for row in rows]
    return Colouring(
        name=name,
        kind="several",
        codes=packed_numbers(np.array(found), "<u2"),
        labels=target.classes,
        sets=tuple(sets),
    )


def _events(name: str, column: pa.Array) -> Colouring:
    found = [MISSING if value is None else int(value) for value in column.to_pylist()]
    codes = packed_numbers(np.array(found), "<u2")
    return Colouring(name=name, kind="classes", codes=codes, labels=_EVENTS)


def _numbers(name: str, column: pa.Array, target: Target) -> Colouring:
    values = np.array([np.nan if value is None else value for value in column.to_pylist()], float)
    there = np.isfinite(values)
    low = float(values[there].min()) if there.any() else 0.0
    high = float(values[there].max()) if there.any() else 0.0
    codes = np.full(len(values), MISSING)
    span = (high - low) or 1.0
    codes[there] = np.rint((values[there] - low) / span * 1000)
    return Colouring(
        name=name,
        kind="number",
        codes=packed_numbers(codes, "<u2"),
        low=low,
        high=high,
        unit=target.unit or "",
    )


def _splits(drawn: DrawnRows, name: str) -> Colouring:
    texts = _texts(drawn, name)
    order = split_order([text for text in set(texts) if text is not None])
    places = {label: code for code, label in enumerate(order)}
    codes = [MISSING if text is None else places[standard_or_own(text)] for text in texts]
    packed = packed_numbers(np.array(codes), "<u2")
    return Colouring(name="split", kind="splits", codes=packed, labels=tuple(order))


def _parted(drawn: DrawnRows, word: str, column: str) -> Colouring:
    """Names as one of 256 colours, as they come: nothing of them goes onto the page."""
    texts = _texts(drawn, column)
    numbers: dict[str | None, int] = {None: MISSING}
    for text in texts:
        numbers.setdefault(text, (len(numbers) - 1) % _HUES)
    codes = np.array([numbers[text] for text in texts])
    return Colouring(name=word, kind="parts", codes=packed_numbers(codes, "<u2"))


def _texts(drawn: DrawnRows, name: str) -> Sequence[str | None]:
    column = drawn.data.to_arrow([name]).column(0).cast(pa.large_string())
    found: list[str | None] = column.to_pylist()
    return found
