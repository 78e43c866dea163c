"""Rules about the rows of a record: ids, order, splits (SPEC 3 and 4.3, deep)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from dof_arrow.errors import Problem
from dof_arrow.format.spec.metadata import Metadata, Split
from dof_arrow.format.spec.rules import problem

Flat = Mapping[str, pa.Array]  # columns that can be read and have the right type, by name


def problems(metadata: Metadata, flat: Flat) -> Iterator[Problem]:
    """Rows that are repeated, scattered or out of order; ids and splits that are wrong."""
    record = metadata.record
    column = flat.get(record.id)
    if column is not None and len(column):
        ids = _codes(column)
        view = _numbers(record.view, flat, len(ids))
        frame = _numbers(record.frame, flat, len(ids))
        yield from _order(ids, view, frame, record.id)
        yield from _bags(record.bag, ids, flat)
    yield from _ranges(metadata, flat)
    if metadata.pseudonyms is not None:
        for name in (record.id, record.bag, record.group):
            yield from _one_width(name, flat)
    yield from _splits(metadata, flat)


def _order(ids: np.ndarray, view: np.ndarray, frame: np.ndarray, name: str) -> Iterator[Problem]:
    """Problems of the order of rows; `ids` are codes, all three arrays [rows]."""
    records = _different(ids)
    if records == len(ids):
        return  # each has one row: nothing can be out of order
    runs = np.count_nonzero(np.diff(ids)) + 1
    if runs > records:
        yield problem("id-scattered", f"column {name}", f"{records} runs of rows", runs)
    order = np.lexsort((view, ids))  # stable: frames stay in file order within each clip
    same_record = np.diff(ids[order]) == 0
    same_view = np.diff(view[order]) == 0
    same_clip = same_record & same_view
    step = np.diff(frame[order])
    wrong = {
        "id-repeated": same_clip & (step == 0),
        "frame-order": same_clip & (step < 0),
    }
    for rule, is_wrong in wrong.items():
        rows = order[1:][is_wrong]
        if len(rows):
            first = rows.min()
            yield problem(rule, f"row {first}", "", f"{len(rows)} such rows")


def _bags(name: str | None, ids: np.ndarray, flat: Flat) -> Iterator[Problem]:
    """Bags whose rows are scattered, and records that several bags share; `ids` are codes."""
    column = _named(flat, name)
    if column is None:
        return
    bags = _codes(column)
    changes = np.diff(bags) != 0
    runs = np.count_nonzero(changes) + 1
    count = _different(bags)
    if runs > count:
        yield problem("bag-scattered", f"column {name}", f"{count} runs of rows", runs)
    order = np.lexsort((bags, ids))
    same_record = np.diff(ids[order]) == 0
    other_bag = np.diff(bags[order]) != 0
    shared = order[1:][same_record & other_bag]
    if len(shared):
        where = f"row {shared.min()}"
        yield problem("bag-record", where, "one bag a record", f"{len(shared)} such rows")


def _ranges(metadata: Metadata, flat: Flat) -> Iterator[Problem]:
    """Levels, sizes of pixels and segments that cannot be."""
    record = metadata.record
    level = _floats(record.level, flat)
    if level is not None:
        yield from _out_of_range(record.level, "0 or more", level, level >= 0)
    mpp = _floats(record.mpp, flat)
    if mpp is not None:
        yield from _out_of_range(record.mpp, "finite numbers above 0", mpp, mpp > 0)
    start = _floats(record.start, flat)
    if start is not None:
        yield from _out_of_range(record.start, "finite numbers from 0", start, start >= 0)
    end = _floats(record.end, flat)
    if end is not None:
        lowest = np.zeros(len(end)) if start is None else np.nan_to_num(start)
        expected = "finite numbers behind the start"
        yield from _out_of_range(record.end, expected, end, end > lowest)


def _named(flat: Flat, name: str | None) -> pa.Array | None:
    """The column of a role; None where no column has it, or it is not there."""
    return None if name is None else flat.get(name)


def _out_of_range(
    name: str | None, expected: str, values: np.ndarray, is_right: np.ndarray
) -> Iterator[Problem]:
    """A problem if a value is not in its range, or infinite; masked ones are unknown."""
    wrong = values[~is_right | ~np.isfinite(values)].compressed()
    if len(wrong):
        yield problem("record-value", f"column {name}", expected, wrong[0])


def _floats(name: str | None, flat: Flat) -> np.ma.MaskedArray | None:
    """A column of numbers, missing ones masked; None if there is no such column."""
    column = _named(flat, name)
    if column is None:
        return None
    missing = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
    values = column.fill_null(1).to_numpy(zero_copy_only=False).astype(np.float64)
    return np.ma.MaskedArray(values, missing)


def _one_width(name: str | None, flat: Flat) -> Iterator[Problem]:
    column = _named(flat, name)
    if column is None:
        return
    widths = _widths(column)
    if len(widths) > 1:
        yield problem(
            "id-width",
            where=f"column {name}",
            expected="one length",
            found=f"{widths[0]} to {widths[-1]}",
        )


def _splits(metadata: Metadata, flat: Flat) -> Iterator[Problem]:
    ids = flat.get(metadata.record.id)
    splits = _named(flat, metadata.record.split)
    if ids is None or splits is None:
        return
    sizes = _split_sizes(_codes(ids), splits)
    for name in sorted(sizes.keys() | metadata.splits.keys()):
        actual = sizes.get(name)
        stated = metadata.splits.get(name)
        if actual != stated:
            yield problem(
                "split-count",
                where=f"$.splits.{name}",
                expected=_told(actual),
                found=_told(stated),
            )


def _split_sizes(ids: np.ndarray, splits: pa.Array) -> dict[str, Split]:
    names, codes = _encoded(splits)
    sizes = {}
    for code, name in enumerate(names):
        rows = ids[codes == code]
        if name is not None and len(rows):  # a dictionary may list splits that no row is in
            records = np.unique(rows)
            sizes[name] = Split(rows=len(rows), records=len(records))
    return sizes


def _told(split: Split | None) -> str:
    if split is None:
        return "nothing"
    return f"{split.rows} rows of {split.records} records"


def _encoded(column: pa.Array) -> tuple[list[str | None], np.ndarray]:
    """The different values of a column, and for each row the place of its own there, or -1."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.dictionary.to_pylist(), _codes(column)


def _codes(column: pa.Array) -> np.ndarray:
    """The same without the values, which are as many as the rows where each has its own."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    indices = column.indices.cast(pa.int64())  # a schema may say that they are unsigned
    codes: np.ndarray = indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes


def _different(codes: np.ndarray) -> int:
    """How many codes there are, -1 among them; they count up, so that no set of them is needed."""
    return int(np.count_nonzero(np.bincount(codes + 1)))


def _numbers(name: str | None, flat: Flat, rows: int) -> np.ndarray:
    """A column of integers; zeros if there is none."""
    column = _named(flat, name)
    if column is None:
        return np.zeros(rows, np.int64)
    numbers: np.ndarray = column.to_numpy(zero_copy_only=False)
    return numbers.astype(np.int64)


def _widths(column: pa.Array) -> list[int]:
    """The lengths of a column's texts in bytes, each once, in order."""
    import pyarrow.compute as pc

    lengths = pc.binary_length(column.cast(pa.string()))
    different = pc.unique(lengths).drop_null()
    return sorted(different.to_pylist())
