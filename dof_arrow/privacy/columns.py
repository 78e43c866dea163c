"""Whose each row is, and which columns say something that a person may not want told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.arrow import holds_texts
from dof_arrow.format.spec.names import is_names
from dof_arrow.tables.targets import distinct

Array = NDArray[Any]

_ROLES = ("target", "kept")
_MOST_CLASSES = 20
_FEWEST_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitive:
    """A column to be inferred: codes int64 [n] or numbers float64 [n] where rows are `there`.

    `texts` are what it says, for people; `why_not` says why it is not inferred.
    """

    name: str
    is_class: bool
    is_target: bool
    values: Array
    there: Array
    texts: Sequence[Any]
    why_not: str = ""


def group_codes(data: Dataset) -> tuple[Array, list[str]]:
    """Whose each row is, int64 [n]: by group, bag or record; and a sentence if there is no group.

    A row without a group is a person of its own.
    """
    record = data.metadata.record
    column = data.to_arrow([record.together]).column(0)
    missing = column.is_null().to_numpy()
    codes = distinct(column.cast(pa.large_string()).fill_null(""))
    codes[missing] = codes.max(initial=0) + 1 + np.arange(int(missing.sum()))
    _, codes = np.unique(codes, return_inverse=True)
    notes = []
    if record.group is None:
        unit = "record" if record.bag is None else "bag"
        notes.append(f"no column of groups: each {unit} counts as a person")
    return codes.astype(np.int64), notes


def sensitive_columns(data: Dataset, names: Sequence[str]) -> list[Sensitive]:
    """The columns of these names, or all targets and kept ones; UsageError for unknown names."""
    unknown = [name for name in names if name not in data.columns]
    if unknown:
        raise UsageError(
            "no such column", str(data.path), ", ".join(data.columns), ", ".join(unknown)
        )
    if not names:
        about = data.metadata.columns
        names = [name for name in data.columns if name in about and about[name].role in _ROLES]
    return [_read(data, name) for name in names]


def _read(data: Dataset, name: str) -> Sensitive:
    field = data.schema.field(name)
    column = data.to_arrow([name]).column(0).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    kind = field.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    is_text = holds_texts(kind) or is_names(kind) or pa.types.is_boolean(kind)
    values: Array = np.zeros(len(column))
    why_not = ""
    if is_text:
        texts = column.cast(pa.large_string()).fill_null("")
        values = distinct(pa.chunked_array([texts]))
    elif is_number:
        zero = pa.scalar(0, kind)
        values = column.fill_null(zero).to_numpy().astype(np.float64)
        there = there & np.isfinite(values)
    else:
        why_not = f"columns of {kind} are not inferred"
    classes = len(np.unique(values[there]))
    is_class = is_text or classes == 2
    if is_class and classes > _MOST_CLASSES:
        why_not = f"{classes:,} different texts, more than {_MOST_CLASSES} classes"
    if not why_not and there.sum() < _FEWEST_ROWS:
        why_not = f"{there.sum():,} rows have a value, fewer than {_FEWEST_ROWS}"
    return Sensitive(
        name=name,
        is_class=is_class,
        is_target=name in data.metadata.targets,
        values=values,
        there=there,
        texts=column.to_pylist(),
        why_not=why_not,
    )
