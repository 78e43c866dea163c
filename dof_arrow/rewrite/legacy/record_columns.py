"""Information on records as columns: one for each name that occurs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.split_names import standardised
from dof_arrow.rewrite.legacy.plain_values import json_text

SPLIT = "split"
# Names that mean something of their own here; information of such a name gets another.
_TAKEN = (
    "id",
    "view",
    "frame",
    "time",
    "group",
    SPLIT,
    "feature",
    "label",
    "x",
    "y",
    "processing",
)
_EXACT = 1 << 53  # integers up to it are exact as float64

Info = Mapping[str, Json] | None


def columns(infos: Sequence[Info], prefix: str = "") -> dict[str, pa.Array]:
    """A column for each name among the information on records, null where a record has none.

    `split` is the dataset's own, in the usual spelling; where that differs from what stood there,
    a column `info_split` has it as it was.

    >>> {name: column.to_pylist() for name, column in columns([{"a": 1}, None, {"a": 2.5}]).items()}
    {'a': [1.0, None, 2.5]}
    """
    found: dict[str, pa.Array] = {}
    for name in _names(infos):
        values = [None if info is None else info.get(name) for info in infos]
        column = _column(values)
        if name == SPLIT and not prefix and pa.types.is_string(column.type):
            found[SPLIT] = standardised(column)
            if found[SPLIT].equals(column):
                continue
        found[_free(name, prefix, found)] = column
    return found


def _names(infos: Sequence[Info]) -> list[str]:
    names: dict[str, None] = {}
    for info in infos:
        names.update(dict.fromkeys(info or ()))
    return list(names)


def _free(name: str, prefix: str, found: Mapping[str, Any]) -> str:
    """The name of a column for information: its own, unless it is taken or empty."""
    free = prefix + name
    while not free or free in found or free in _TAKEN or free.startswith(("y_id", "y_info")):
        free = f"info_{free}"
    return free


def _column(values: Sequence[Json]) -> pa.Array:
    """Values as the narrowest column that keeps them: truth values, numbers, texts, JSON texts."""
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds <= {int, float} and all(_fits(value) for value in known):
        return pa.array(values, pa.float64() if float in kinds else pa.int64())
    texts = [None if value is None else _as_text(value, kinds) for value in values]
    return pa.array(texts, pa.string())


def _fits(value: Any) -> bool:
    return isinstance(value, float) or -_EXACT <= value <= _EXACT


def _as_text(value: Json, kinds: set[type]) -> str:
    """A text as it is where all are texts, else JSON, so that "1" is not taken for 1."""
    return str(value) if kinds == {str} else json_text(value)
