"""A column of text cells as a target: a category, a number, or several classes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources.columns import nulled, typed
from dof_arrow.sources.sample import Column

Kind = Literal["category", "regression", "multilabel"]

REGRESSION_ABOVE = 20  # different numbers, above which a column is taken for a measurement


def label(
    name: str, cells: Column, kind: Kind | None = None, separator: str = "|"
) -> tuple[Target, Column]:
    """How a label column is to be read, and its values.

    The values are int32 codes, float64 numbers or lists of int32 codes; missing cells stay null.
    Unless `kind` says so, a column is a regression target if its values are numbers, not all of
    them whole, and more than 20 differ; else it is a category. Classes are sorted, as numbers if
    they all are. Multilabel cells are split at `separator`. Raises UsageError for a regression
    label without numbers.

    >>> label("finding", pa.array(["flu", None, "cold"]))[1].to_pylist()
    [1, None, 0]
    """
    values = typed(cells)
    if (kind or _kind(values)) == "regression":
        return Target(kind="regression"), _numbers(name, values)
    if kind == "multilabel":
        return _multilabel(cells, separator)
    return _category(cells, values)


def _kind(values: Column) -> Kind:
    if not pa.types.is_float64(values.type):
        return "category"
    different = len(values.unique().drop_null())
    return "regression" if different > REGRESSION_ABOVE else "category"


def _are_numbers(values: Column) -> bool:
    return bool(pa.types.is_integer(values.type) or pa.types.is_floating(values.type))


def _numbers(name: str, values: Column) -> Column:
    if not _are_numbers(values):
        raise UsageError(
            "a regression label needs numbers", f"column {name}", found=str(values.type)
        )
    return values.cast(pa.float64())


def _category(cells: Column, values: Column) -> tuple[Target, Column]:
    import pyarrow.compute as pc

    # What is missing among numbers, such as "NA", is no class.
    cells = nulled(cells, values.is_null())
    names = cells.unique().drop_null()
    # As texts, "10" would stand before "9".
    order = typed(names) if _are_numbers(values) else names
    classes = names.take(pc.sort_indices(order))
    target = Target(kind="category", classes=tuple(classes.to_pylist()))
    return target, pc.index_in(cells, value_set=classes)


def _multilabel(cells: Column, separator: str) -> tuple[Target, Column]:
    import pyarrow.compute as pc

    lists = pc.split_pattern(cells, separator)
    words = pc.utf8_trim_whitespace(lists.flatten())
    classes = sorted({word for word in words.unique().to_pylist() if word})
    codes = {word: index for index, word in enumerate(classes)}
    values: list[list[int] | None] = []
    for row in lists.to_pylist():
        values.append(None if row is None else _codes(row, codes))
    target = Target(kind="multilabel", classes=tuple(classes))
    return target, pa.array(values, pa.list_(pa.int32()))


def _codes(row: Sequence[str], codes: Mapping[str, int]) -> list[int]:
    """The codes of a cell's words, each once; words that are empty are left out."""
    words = {word.strip() for word in row}
    return sorted(codes[word] for word in words if word)
