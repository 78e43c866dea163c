"""Values of columns that are declared to be learned: as classes, sets of classes or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.batch import arrow_array, check_classes
from dof_arrow.format.spec.arrow import holds_texts
from dof_arrow.format.spec.metadata import Target
from dof_arrow.tables.named_columns import named_columns
from dof_arrow.tables.targets import Tabular

KINDS = ("category", "multilabel", "regression", "survival")

Declared = str | Sequence[str] | Mapping[str, Target | str | None]


def read(
    data: Tabular, columns: Any, declared: Declared
) -> tuple[dict[str, Any], dict[str, Target]]:
    """New columns, and what is known of those that are declared as targets.

    Classes become codes. A column of the dataset's own may be declared too; a target whose values
    are replaced stays what it is. Raises UsageError for values that are not what they are declared
    as.
    """
    columns = named_columns(columns)
    found = dict(columns)
    targets: dict[str, Target] = {}
    wanted = {**_replaced(data, columns), **by_name(declared)}
    for name, kind in wanted.items():
        if name in columns:
            values = columns[name]
        elif name in data.columns:
            values = data.to_arrow([name]).column(0)
        else:
            known = ", ".join([*data.columns, *columns])
            raise UsageError("no such column", f"target {name}", known, name)
        targets[name], found[name] = as_target(name, values, kind)
    return found, targets


def as_target(name: str, values: Any, kind: Target | str | None = None) -> tuple[Target, pa.Array]:
    """What a column is as a target, and its values: codes int64, lists of them, or numbers.

    By default texts and truth values are a category, lists several classes, floats numbers, and
    pairs of `time` and `event` survival; of integers it must be said. Integers are codes where
    `kind` names the classes, else they name them. Names that come in an order, such as those of an
    ordered Categorical of pandas, keep it, those without a row too. Raises UsageError for values
    that do not fit.

    >>> target, codes = as_target("sex", ["m", "f", None])
    >>> target.classes, codes.to_pylist()
    (('f', 'm'), [1, 0, None])
    """
    given = arrow_array(name, as_struct(values))
    array = _plain(given)
    target = kind if isinstance(kind, Target) else Target(kind=_kind(name, array, kind))
    if target.kind == "category" and not target.classes:
        target = replace(target, classes=_ordered(given))
    check_classes(name, target.classes)
    if target.kind == "regression":
        return target, _numbers(name, array)
    if target.kind == "survival":
        return target, _survival(name, array)
    has_lists = pa.types.is_list(array.type)
    if has_lists != (target.kind == "multilabel"):
        raise _unfit(name, f"values of a {target.kind} target", str(array.type))
    if not has_lists:
        return _coded(name, array, target)
    flat = array.flatten()
    if flat.null_count:
        raise _unfit(name, "lists of classes", "a list with a missing one inside")
    target, codes = _coded(name, flat, target)
    lists = pa.ListArray.from_arrays(_offsets(array), codes, mask=array.is_null())
    return target, _each_once(lists)


def _coded(name: str, flat: pa.Array, target: Target) -> tuple[Target, pa.Array]:
    """A target with its classes, and values as codes."""
    if target.classes and pa.types.is_integer(flat.type):
        return target, _checked(name, flat, target.classes)
    if not target.classes:
        target = replace(target, classes=_classes(name, flat))
    return target, _codes(name, flat, target.classes)


def _each_once(lists: pa.ListArray) -> pa.ListArray:
    """Lists of codes in which each stands once, where it stood first."""
    rows = [None if row is None else list(dict.fromkeys(row)) for row in lists.to_pylist()]
    return pa.array(rows, lists.type)


def _replaced(data: Tabular, columns: Mapping[str, Any]) -> dict[str, Target]:
    """The targets of which there are new values."""
    known = data.metadata.targets
    return {name: target for name, target in known.items() if name in columns}


def by_name(declared: Declared) -> dict[str, Target | str | None]:
    """What each declared target is, None where it is not said."""
    if isinstance(declared, str):
        return {declared: None}
    if isinstance(declared, Mapping):
        return dict(declared)
    return dict.fromkeys(declared)


def _plain(array: pa.Array) -> pa.Array:
    """Values without a dictionary, texts and lists of the usual types."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        array = array.cast(pa.list_(kind.value_type))
    return array.cast(pa.string()) if holds_texts(array.type) else array


def _ordered(array: pa.Array) -> tuple[str, ...]:
    """The names of a dictionary of texts that says that it is ordered; none of any other column."""
    kind = array.type
    if not pa.types.is_dictionary(kind) or not kind.ordered or not holds_texts(kind.value_type):
        return ()
    return tuple(array.dictionary.to_pylist())


def _kind(name: str, array: pa.Array, told: str | None) -> Any:
    if told in KINDS:
        return told
    if told is not None:
        raise UsageError("no such kind of target", f"target {name}", " or ".join(KINDS), told)
    if pa.types.is_list(array.type):
        return "multilabel"
    if pa.types.is_floating(array.type):
        return "regression"
    if pa.types.is_struct(array.type):
        return "survival"
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

    if pa.types.is_integer(array.type):
        return array
    if not pa.types.is_floating(array.type):
        raise _unfit(name, "numbers", str(array.type))
    infinite = pc.is_inf(array)
    if pc.any(infinite).as_py():
        raise _unfit(name, "finite numbers", "infinity")
    missing = pa.scalar(None, array.type)
    return pc.if_else(pc.is_nan(array), missing, array)


def as_struct(values: Any) -> Any:
    """The fields of a structured array of numpy as an Arrow struct; other values as they are."""
    if not isinstance(values, np.ndarray) or values.dtype.names is None:
        return values
    names = list(values.dtype.names)
    return pa.StructArray.from_arrays([pa.array(values[name]) for name in names], names)


def _survival(name: str, array: pa.Array) -> pa.Array:
    """Pairs of a time and whether the event was seen; null where one of the two is missing."""
    import pyarrow.compute as pc

    kind = array.type
    names = {field.name for field in kind} if pa.types.is_struct(kind) else set()
    if names != {"time", "event"}:
        raise _unfit(name, "pairs of time, a number, and event, true or false", str(kind))
    parts = array.flatten()
    times = _numbers(name, parts[kind.get_field_index("time")])
    events = _truth(name, parts[kind.get_field_index("event")])
    if pc.any(pc.less(times, 0)).as_py():
        raise _unfit(name, "times of 0 or more", "a negative one")
    missing = pc.or_(times.is_null(), events.is_null())
    return pa.StructArray.from_arrays([times, events], ["time", "event"], mask=missing)


def _truth(name: str, array: pa.Array) -> pa.Array:
    """Events as booleans: true and false, or 1 and 0."""
    import pyarrow.compute as pc

    if pa.types.is_floating(array.type):  # pandas makes floats of integers with missing ones
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    others = array.drop_null().unique().cast(pa.string()).to_pylist()
    if not pa.types.is_boolean(array.type) and not {*others} <= {"0", "1"}:
        raise _unfit(name, "events that are true or false, 1 or 0", ", ".join(others[:10]))
    return array if pa.types.is_boolean(array.type) else array.cast(pa.int8()).cast(pa.bool_())


def _classes(name: str, flat: pa.Array) -> tuple[str, ...]:
    import pyarrow.compute as pc

    values = flat.unique().drop_null()
    if not len(values):
        raise _unfit(name, "a class in some row", "missing values only")
    if not _is_class(values.type):
        raise _unfit(name, "texts, truth values or integers", str(values.type))
    order = pc.sort_indices(values)
    texts = values.take(order).cast(pa.string())
    return tuple(texts.to_pylist())


def _is_class(kind: pa.DataType) -> bool:
    return holds_texts(kind) or pa.types.is_boolean(kind) or bool(pa.types.is_integer(kind))


def _codes(name: str, flat: pa.Array, classes: Sequence[str]) -> pa.Array:
    import pyarrow.compute as pc

    kind = flat.type
    if not (_is_class(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise _unfit(name, "names of classes", str(kind))
    texts = flat.cast(pa.string())
    names = pa.array(classes, pa.string())
    codes = pc.index_in(texts, value_set=names)
    unknown = pc.and_(codes.is_null(), texts.is_valid())
    _refuse(name, texts.filter(unknown), classes)
    return codes.cast(pa.int64())


def _checked(name: str, codes: pa.Array, classes: Sequence[str]) -> pa.Array:
    """Integers that are places in the classes."""
    import pyarrow.compute as pc

    below = pc.less(codes, 0)
    above = pc.greater_equal(codes, len(classes))
    outside = pc.or_(below, above)
    _refuse(name, codes.filter(outside), classes)
    return codes.cast(pa.int64())


def _refuse(name: str, wrong: pa.Array, classes: Sequence[str]) -> None:
    """Raise UsageError that lists values that are no class, if there are some."""
    if len(wrong):
        different = wrong.unique()[:10].to_pylist()
        found = ", ".join(map(str, different))
        listed = ", ".join(classes[:20])
        raise _unfit(name, f"{listed}, or 0 to {len(classes) - 1}", found)


def _offsets(lists: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    counts = pc.list_value_length(lists)
    lengths = pc.fill_null(counts, 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    return pa.array(np.concatenate([[0], ends]), pa.int32())


def _unfit(name: str, expected: str, found: str) -> UsageError:
    return UsageError(
        "values do not fit the target",
        f"target {name}",
        expected,
        found,
        f'Say what they are: targets={{"{name}": "category"}}, "multilabel", "regression" or '
        '"survival".',
    )
