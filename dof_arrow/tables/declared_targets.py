"""Values of columns that are declared to be learned: as classes, sets of classes or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.batch import arrow_array
from dof_arrow.format.spec.arrow import holds_texts
from dof_arrow.format.spec.metadata import Target
from dof_arrow.tables.targets import Tabular

KINDS = ("category", "multilabel", "regression")

Declared = str | Sequence[str] | Mapping[str, Target | str]


def read(
    data: Tabular, columns: Mapping[str, Any], declared: Declared
) -> tuple[dict[str, Any], dict[str, Target]]:
    """New columns, and what is known of those that are declared as targets.

    Classes become codes. A column of the dataset's own may be declared too. Raises UsageError for
    values that are not what they are declared as.
    """
    found = dict(columns)
    targets: dict[str, Target] = {}
    for name, kind in _by_name(declared).items():
        if name not in columns and name not in data.columns:
            known = ", ".join([*data.columns, *columns])
            raise UsageError("no such column", f"target {name}", known, name)
        values = columns[name] if name in columns else data.to_arrow([name]).column(0)
        targets[name], found[name] = as_target(name, values, kind)
    return found, targets


def as_target(name: str, values: Any, kind: Target | str | None = None) -> tuple[Target, pa.Array]:
    """What a column is as a target, and its values: codes int64, lists of them, or numbers.

    By default texts and truth values are a category, lists several classes, floats numbers; of
    integers it must be said. Integers are codes where `kind` names the classes, else they name
    them. Raises UsageError for values that do not fit.

    >>> target, codes = as_target("sex", ["m", "f", None])
    >>> target.classes, codes.to_pylist()
    (('f', 'm'), [1, 0, None])
    """
    array = _plain(arrow_array(name, values))
    target = kind if isinstance(kind, Target) else Target(kind=_kind(name, array, kind))
    if target.kind == "regression":
        return target, _numbers(name, array)
    if pa.types.is_list(array.type) != (target.kind == "multilabel"):
        raise _unfit(name, f"values of a {target.kind} target", str(array.type))
    flat = array.flatten() if pa.types.is_list(array.type) else array
    has_codes = bool(target.classes) and pa.types.is_integer(flat.type)
    if not target.classes:
        target = replace(target, classes=_classes(name, flat))
    codes = (
        _checked(name, flat, target.classes) if has_codes else _codes(name, flat, target.classes)
    )
    if target.kind == "category":
        return target, codes
    return target, pa.ListArray.from_arrays(_offsets(array), codes, mask=array.is_null())


def _by_name(declared: Declared) -> dict[str, Target | str | None]:
    if isinstance(declared, str):
        return {declared: None}
    if isinstance(declared, Mapping):
        return dict(declared)
    return dict.fromkeys(declared)


def _plain(array: pa.Array) -> pa.Array:
    """Values without a dictionary, texts and lists of the usual types."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    return array.cast(pa.string()) if holds_texts(array.type) else array


def _kind(name: str, array: pa.Array, told: str | None) -> Any:
    if told in KINDS:
        return told
    if told is not None:
        raise UsageError("no such kind of target", f"target {name}", " or ".join(KINDS), told)
    if pa.types.is_list(array.type):
        return "multilabel"
    if pa.types.is_floating(array.type):
        return "regression"
    if pa.types.is_integer(array.type):
        raise UsageError(
            "integers may be classes or numbers",
            f"target {name}",
            f'targets={{"{name}": "category"}} or "regression"',
            str(array.type),
        )
    return "category"


def _numbers(name: str, array: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise _unfit(name, "numbers", str(array.type))
    if pa.types.is_integer(array.type):
        return array
    if pc.any(pc.is_inf(array)).as_py():
        raise _unfit(name, "finite numbers", "infinity")
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def _classes(name: str, flat: pa.Array) -> tuple[str, ...]:
    import pyarrow.compute as pc

    values = flat.unique().drop_null()
    if not len(values):
        raise _unfit(name, "a class in some row", "missing values only")
    if not _is_class(values.type):
        raise _unfit(name, "texts, truth values or integers", str(values.type))
    return tuple(values.take(pc.sort_indices(values)).cast(pa.string()).to_pylist())


def _is_class(kind: pa.DataType) -> bool:
    return holds_texts(kind) or pa.types.is_boolean(kind) or bool(pa.types.is_integer(kind))


def _codes(name: str, flat: pa.Array, classes: Sequence[str]) -> pa.Array:
    import pyarrow.compute as pc

    texts = flat.cast(pa.string())
    names = pa.array(classes, pa.string())
    codes = pc.index_in(texts, value_set=names)
    _refuse(name, texts.filter(pc.and_(codes.is_null(), texts.is_valid())), classes)
    return codes.cast(pa.int64())


def _checked(name: str, codes: pa.Array, classes: Sequence[str]) -> pa.Array:
    """Integers that are places in the classes."""
    import pyarrow.compute as pc

    outside = pc.or_(pc.less(codes, 0), pc.greater_equal(codes, len(classes)))
    _refuse(name, codes.filter(outside), classes)
    return codes.cast(pa.int64())


def _refuse(name: str, wrong: pa.Array, classes: Sequence[str]) -> None:
    """Raise UsageError that lists values that are no class, if there are some."""
    if len(wrong):
        found = ", ".join(map(str, wrong.unique()[:10].to_pylist()))
        raise _unfit(name, f"{', '.join(classes[:20])}, or 0 to {len(classes) - 1}", found)


def _offsets(lists: pa.Array) -> pa.Array:
    import numpy as np
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _unfit(name: str, expected: str, found: str) -> UsageError:
    return UsageError("values do not fit the target", f"target {name}", expected, found)
