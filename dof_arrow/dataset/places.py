"""Places of rows: taken by number or by mask, matching a condition, sorted, or drawn."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError, check_truth
from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.format.spec.names import categories, is_names, split_order
from dof_arrow.sampling.permutation import Permutation, Rows, key
from dof_arrow.tables.conditions import rows_where
from dof_arrow.tables.targets import by_name, without_halves

if TYPE_CHECKING:
    from dof_arrow.dataset.row_choices import RowChoices

Array = NDArray[Any]
Runs = Callable[[Any, Sequence[str]], "Iterable[tuple[int, RowChoices]]"]

_ROW = "dof_row"  # a column that `matching` adds for itself: the number of each row
_POSITION = re.compile(r"FieldPath\(\d")  # how Arrow writes a column that is named by its place
_SHOWN = 200  # letters of a condition in a message


def taken(indices: Any, count: int, where: str) -> Rows:
    """Places from 0 on of rows that are asked for by number, or by a mask of `count` booleans.

    Where a mask's own value is missing, as in `ds["age"] < 5`, the row is not taken. Raises
    UsageError for a place that does not exist or is missing, or a mask of another length.
    """
    places = _as_array(indices, where)
    if places.dtype == bool:
        if places.shape != (count,):
            raise UsageError("a mask of another length", where, f"{count} rows", str(places.size))
        return np.flatnonzero(places)
    if places.size == 0:
        return places.astype(np.int64)
    if places.dtype.kind not in "iu" or places.ndim != 1:
        raise UsageError(
            "rows are taken by whole numbers or booleans",
            where,
            "integers [k]",
            f"{places.dtype} of {places.ndim} axes",
        )
    if places.min() < -count or places.max() >= count:
        raise UsageError(
            "a row that is not there",
            where,
            f"0 to {count - 1}",
            f"{places.min()} to {places.max()}",
        )
    return places.astype(np.int64)


def _as_array(indices: Any, where: str) -> Array:
    """What rows are asked for by, as an array; UsageError where it is none, or numbers miss."""
    masked = isinstance(indices, np.ma.MaskedArray)
    if masked and indices.dtype == bool:
        return np.asarray(indices.filled(False))
    if masked and np.ma.is_masked(indices):
        found = f"{int(np.ma.getmaskarray(indices).sum())} masked values"
        raise UsageError("rows are taken by whole numbers or booleans", where, found=found)
    try:
        return np.asarray(indices)
    except Exception as error:  # whatever the library of the array raises
        found = f"{type(indices).__name__}: {error}"[:200]
        raise UsageError(
            "rows are taken by whole numbers or booleans", where, "integers [k]", found
        ) from error


def matching(rows: RowChoices, runs: Runs, condition: Any) -> Rows:
    """Places of the rows where a condition is true; see `Dataset.filter`.

    `runs` gives the runs of rows in which it may be true, with their first places.
    """
    flat = [field.name for field in rows.schema if not is_vector(field)]
    text = str(condition)
    if _POSITION.search(text):  # `pc.field(1)`: other columns stand there than in the dataset
        raise UsageError(
            "a column is named by its place", str(rows.path), "columns by name", text[:_SHOWN]
        )
    named = [name for name in flat if name in text] or flat
    try:
        return _matching(runs(condition, named), condition, named)
    except (pa.ArrowException, TypeError) as error:
        raise UsageError(
            "this condition cannot be evaluated",
            str(rows.path),
            f"an expression over {', '.join(flat)}",
            str(error).splitlines()[0][:200],
            _hint(rows, named),
        ) from None


def _matching(
    runs: Iterable[tuple[int, RowChoices]], condition: Any, columns: Sequence[str]
) -> Rows:
    # As one table: for each run alone the condition costs more than its rows.
    tables = []
    numbers = [np.empty(0, np.int64)]
    for start, run in runs:
        tables.append(run.to_arrow(columns))
        numbers.append(np.arange(start, start + len(run)))
    if not tables:
        return numbers[0]
    table = without_halves(by_name(pa.concat_tables(tables).unify_dictionaries()))
    row = max([_ROW, *columns], key=len) + "_"  # no column has this name
    table = table.append_column(row, pa.array(np.concatenate(numbers)))
    return np.asarray(rows_where(table, condition).column(row).to_numpy())


def _hint(rows: RowChoices, columns: Sequence[str]) -> str:
    """How conditions on categories are written, where some of these columns are such."""
    for name, classes in categories(rows.metadata).items():
        if name in columns and classes and is_names(rows.schema.field(name).type):
            return f"Categories have names: pc.field({name!r}) == {classes[0]!r}"
    return ""


def in_order(rows: RowChoices, by: Sequence[str], *, descending: bool) -> Rows:
    """Places of all rows, sorted by columns; see `Dataset.sort`."""
    import pyarrow.compute as pc

    check_truth("descending", descending)
    table = pa.table([_sortable(rows, name) for name in by], names=list(map(str, range(len(by)))))
    order = "descending" if descending else "ascending"
    keys = [(name, order) for name in table.column_names]
    try:
        places = pc.sort_indices(table, sort_keys=keys)
    except pa.ArrowException:
        types = [str(rows.schema.field(name).type) for name in by]
        raise UsageError(
            "rows cannot be sorted by this",
            ", ".join(by),
            "columns of numbers, texts, times or classes",
            ", ".join(types),
        ) from None
    return np.asarray(places.to_numpy()).astype(np.int64)


def _sortable(rows: RowChoices, name: str) -> pa.ChunkedArray:
    """A column whose values are in the order of their kind: classes as declared, splits as used."""
    import pyarrow.compute as pc

    column = without_halves(by_name(rows.to_arrow([name]))).column(0)
    if not is_names(rows.schema.field(name).type):
        return column
    order = categories(rows.metadata).get(name)
    if order is None:
        order = split_order(column.unique().drop_null().to_pylist())
    return pc.index_in(column, value_set=pa.array(order, column.type), skip_nulls=True)


def drawn(n: int, count: int, seed: int, where: str) -> Rows:
    """Places of n different rows of `count`, in the order in which the seed draws them.

    Raises UsageError for a number that is no whole one, or more rows than there are.
    """
    try:
        wanted = operator.index(n)
    except TypeError:
        wanted = -1
    if not 0 <= wanted <= count:
        raise UsageError(
            "rows cannot be drawn",
            where,
            f"a whole number from 0 to {count}",
            str(n),
            "A share of them: ds.sample(int(0.1 * len(ds)))",
        )
    if not wanted:
        return np.empty(0, np.int64)
    return Permutation(count, key(seed, "sample"))(np.arange(wanted))
