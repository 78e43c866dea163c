"""A dataset of arrays: vectors, and what is known of each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import Core
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.batch import arrow_array, listed
from dof_arrow.format.spec.column_types import RECORD_TYPES
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import Target
from dof_arrow.format.spec.split_names import standardised
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.foreign.vector_chunks import Array, VectorCheck, of_array
from dof_arrow.sampling.splits import check_groups
from dof_arrow.sources.listing import numbered
from dof_arrow.tables.declared_targets import as_struct, as_target
from dof_arrow.tables.named_columns import named_columns

PathLike = str | os.PathLike[str]

_SHOWN = 10
_RESERVED = ("id", "view", "frame", "time", "group", "split")
_OWN_ROLES = ("bag", "start", "end", "x", "y", "level", "mpp")  # columns of any name have these
_FEW = 20  # different whole numbers that are surely classes


@dataclass(kw_only=True)
class Known:
    """What is known of each row beside its vector: Arrow columns of equal length."""

    ids: Any
    groups: Any = None
    splits: Any = None
    targets: dict[str, Target] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    record: Mapping[str, str] = field(default_factory=dict)


def from_arrays(
    x: Any,
    y: Any = None,
    *,
    out: PathLike,
    ids: Any = None,
    groups: Any = None,
    splits: Any = None,
    columns: Any = None,
    record: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    kind: str | None = None,
    core: str | Core | None = None,
    overwrite: bool = False,
) -> Dataset:
    """Write vectors that are computed already as a DoF file, and return it, opened.

    - `x`: [n, D] or [n, ...] of numpy, torch or Arrow. float32 and float16 stay as they are,
      other numbers become float32, with a warning.
    - `y`: what is to be learned, the target `label`: classes by name or number, numbers, lists of
      classes, pairs of `time` and `event`; or several targets by name. `classes` names all classes
      in their order, and is then what integers are places in. `kind` says `category`, `multilabel`,
      `regression` or `survival`.
    - `ids`: texts or integers, each once; by default numbers. They go into the file as they are.
    - `groups`: what must not be parted by a split; `splits`: the split of each row.
    - `columns`: further columns to keep, by name: a mapping, a data frame or an Arrow table.
    - `record`: which of these columns is the `bag` that a row is part of, its place `x` and `y` in
      pixels of level 0, its `level` and `mpp` (micrometres a pixel), or the `start` and `end` of
      its segment in seconds. The rows of a bag stand together.
    - `core`: what made the vectors: a name that is noted, or a `Core`.

    Raises SourceError for rows that cannot be stored (NaN, ids that stand twice), with their
    numbers; UsageError for what does not fit, OutputError if the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     x = np.eye(3, dtype=np.float32)
    ...     ds = from_arrays(x, ["cat", "dog", "cat"], out=Path(folder, "x.dof.parquet"))
    ...     ds.metadata.targets["label"].classes, ds.to_numpy("label").tolist()
    (('cat', 'dog'), [0, 1, 0])
    """
    if not hasattr(x, "__len__"):
        raise UsageError("no vectors", "x", "an array [n, D]", repr(x)[:80])
    rows = len(x)
    known = Known(ids=named_rows(ids, rows))
    if groups is not None:
        known.groups = as_texts("groups", groups, rows)
    if splits is not None:
        known.splits = standardised(as_texts("splits", splits, rows))
    for name, values in named_columns({} if columns is None else columns).items():
        known.columns[name] = as_column(name, values, rows)
    known.record = in_roles(known.columns, record or {})
    given = y if isinstance(y, Mapping) else {} if y is None else {"label": y}
    for name, values in given.items():
        add_target(known, name, values, rows, classes, kind)
    return write(of_array("x", x), known, Path(out), core=core, overwrite=overwrite)


def write(
    chunks: Iterable[Array],
    known: Known,
    out: Path,
    *,
    name: str = "feature",
    where: str = "",
    core: str | Core | None = None,
    overwrite: bool = False,
) -> Dataset:
    """Write vectors that come some rows at a time, with what is known of their rows."""
    if not len(known.ids):
        raise SourceError("no vectors", where or name, "a row or more", "none")
    _check_names(known, name)
    if known.groups is not None and known.splits is not None:
        check_groups(known.groups.to_pylist(), known.splits.to_pylist())
    check = VectorCheck(name=name, where=where)
    columns = _columns(known)
    schema = _schema(columns, known.record.get("bag"))
    with Writer(out, _about(known, name, core), schema=schema, overwrite=overwrite) as file:
        for chunk in chunks:
            start = check.rows
            values = check.passed(chunk)
            rows = slice(start, check.rows)
            if check.rows <= len(known.ids) and not check.bad:
                here = {each: column[rows] for each, column in columns.items()}
                file.write(ids=known.ids[rows], vectors={name: values}, columns=here)
        check.finish()
        _check_count(check.rows, len(known.ids), where or name)
        _check_core(core, check)
    return dataset.open(out)


def in_roles(columns: dict[str, Any], record: Mapping[str, str]) -> Mapping[str, str]:
    """The roles, after their columns were given the types of them; UsageError for what cannot be.

    >>> columns = {"slide": pa.array([1, 2])}
    >>> in_roles(columns, {"bag": "slide"}), columns["slide"].type
    ({'bag': 'slide'}, DataType(string))
    """
    unknown = [role for role in record if role not in _OWN_ROLES]
    if unknown:
        known = ", ".join(_OWN_ROLES)
        raise UsageError("no such role of a column", "record", known, ", ".join(unknown))
    lacking = [name for name in record.values() if name not in columns]
    if lacking:
        known = ", ".join(columns) or "none"
        raise UsageError("no such column", "record", known, ", ".join(lacking))
    for role, name in record.items():
        kind = RECORD_TYPES[role]
        if role == "bag":
            columns[name] = as_texts(name, columns[name], len(columns[name]))
        try:
            columns[name] = columns[name].cast(kind)
        except pa.ArrowException:
            raise UsageError(
                f"values do not fit the role {role}", f"column {name}", str(kind), "others"
            ) from None
        if role == "bag" and columns[name].null_count:
            raise UsageError("rows without a bag", f"column {name}", "a bag in every row", "none")
    return dict(record)


def named_rows(ids: Any, rows: int) -> pa.Array:
    """The ids of rows as texts; by default numbers. Refuses missing and double ids."""
    if ids is None:
        return numbered(rows).cast(pa.string())
    texts = as_texts("ids", ids, rows)
    if texts.null_count:
        missing = np.flatnonzero(texts.is_null().to_numpy(zero_copy_only=False))
        raise _refused_ids("ids that are missing", missing)
    coded = texts.dictionary_encode().indices.to_numpy()
    twice = np.flatnonzero(np.bincount(coded, minlength=1)[coded] > 1) if len(coded) else coded
    if len(twice):
        raise _refused_ids("ids that stand twice", twice)
    return texts


def as_texts(name: str, values: Any, rows: int) -> pa.Array:
    """Texts or integers, one a row, as texts."""
    array = as_column(name, values, rows)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type) or pa.types.is_nested(array.type):
        raise UsageError(f"{name} are texts or integers", name, "one a row", str(array.type))
    return array.cast(pa.string())


def as_column(name: str, values: Any, rows: int) -> pa.Array:
    """Values one a row as an Arrow array; what libraries take for missing is null."""
    values = listed(name, values)
    if isinstance(values, np.ndarray) and values.ndim > 1:
        raise UsageError("a column has one value a row", name, f"[{rows}]", str(list(values.shape)))
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        values = _with_missing(name, values)
    array = arrow_array(name, values)
    if len(array) != rows:
        raise UsageError("a column of another length", name, f"{rows} rows", str(len(array)))
    return array


def _with_missing(name: str, values: Any) -> Any:
    """Values as Arrow has them, None, NaN among texts and NA as null; NaN among floats stays."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values
    if isinstance(values, np.ma.MaskedArray):
        return pa.array(values.data, mask=np.ma.getmaskarray(values))
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError):
        return arrow_array(name, values)


def add_target(
    known: Known,
    name: str,
    values: Any,
    rows: int,
    classes: Sequence[str] | None,
    kind: str | None,
) -> None:
    """Add a target; UsageError for values of which nobody can tell what they are."""
    if name in known.columns:
        raise UsageError("a target is called as a column", name, "each name once")
    values = listed(name, values)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        if values.shape[1] == 1 and kind != "multilabel":
            found = str(list(values.shape))
            raise UsageError("one value a row", f"target {name}", f"[{rows}]", found, "y.ravel()")
        values, kind = _hot(name, values), "multilabel"
    array = as_column(name, as_struct(values), rows)
    if kind == "category" and pa.types.is_floating(array.type):
        array = _whole(name, array)
    told: Any = kind or _told(name, array, classes)
    target: Target | str | None = told
    if classes is not None:
        target = Target(kind=told or "category", classes=tuple(map(str, classes)))
    known.targets[name], known.columns[name] = as_target(name, array, target)


def _whole(name: str, array: pa.Array) -> pa.Array:
    """Floats as the integers that they are, NaN as missing; UsageError for fractions."""
    import pyarrow.compute as pc

    known = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return arrow_array(name, known, pa.int64())


def _told(name: str, array: pa.Array, classes: Sequence[str] | None) -> Any:
    """What numbers are, where that is beyond doubt."""
    import pyarrow.compute as pc

    if classes is not None:
        return "multilabel" if pa.types.is_list(array.type) else "category"
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        return None
    values = array.drop_null()
    whole = pa.types.is_integer(array.type) or pc.all(pc.equal(values, pc.trunc(values))).as_py()
    if not whole:
        return "regression"
    different = values.unique()
    bounds = pc.min_max(different).as_py()
    is_range = bool(len(different)) and (bounds["min"], bounds["max"]) == (0, len(different) - 1)
    few = len(different) <= _FEW or (is_range and 2 * len(different) <= len(array))
    if few and pa.types.is_integer(array.type):
        return "category"
    raise UsageError(
        "whole numbers may be classes or numbers",
        f"target {name}",
        'kind="category" or kind="regression"',
        f"{len(different):,} different values of {array.type}",
    )


def _hot(name: str, flags: Array) -> list[list[int]]:
    """A table of flags [n, classes] as lists of the classes that are on."""
    if not np.isin(flags, (0, 1)).all():
        raise UsageError("a table of flags has 0 and 1", f"target {name}", "0 or 1", "others")
    return [np.flatnonzero(row).tolist() for row in flags]


def _check_names(known: Known, vector: str) -> None:
    wrong = [name for name in known.columns if name in (*_RESERVED, vector)]
    if wrong:
        raise UsageError(
            "these names are taken",
            ", ".join(wrong),
            "other names for columns of your own",
            hint="Views and frames of one record are written with dof.Writer.",
        )


def _columns(known: Known) -> dict[str, Any]:
    beside = {"group": known.groups, "split": known.splits}
    found = {name: values for name, values in beside.items() if values is not None}
    return {**found, **known.columns}


def _schema(columns: Mapping[str, Any], bag: str | None) -> pa.Schema:
    """All columns as they are; those without a missing value are required."""
    fields = []
    required = ("split", bag)  # the names of splits are mapped as codes
    for name, values in columns.items():
        is_open = values.null_count > 0 or pa.types.is_nested(values.type)
        if name not in required:
            is_open = is_open or pa.types.is_string(values.type)
        fields.append(pa.field(name, values.type, nullable=is_open))
    return pa.schema(fields)


def _about(known: Known, name: str, core: str | Core | None) -> dict[str, Json]:
    columns: dict[str, Json] = {}
    roles = {column: role for role, column in known.record.items()}
    for each in known.columns:
        role = "target" if each in known.targets else roles.get(each, "kept")
        columns[each] = {"role": role}
    about: dict[str, Json] = {
        "primary_column": name,
        "columns": columns,
        "targets": {each: to_json(target) for each, target in known.targets.items()},
        "record": dict(known.record),
        "privacy": {"ids": "name"},
    }
    if isinstance(core, Core):
        about["cores"] = {name: to_json(core.describe())}
        columns[name] = {"core": name, "tensor": core.output_name}
    elif core is not None:
        # Only claimed: there is no digest by which it could be known again.
        about["claimed_cores"] = {name: {"name": str(core)}}
        columns[name] = {"core": name}
    return about


def _check_count(found: int, rows: int, where: str) -> None:
    if found != rows:
        raise SourceError(
            "as many vectors as rows are needed", where, f"{rows:,} vectors", f"{found:,}"
        )


def _check_core(core: str | Core | None, check: VectorCheck) -> None:
    if isinstance(core, Core) and check.shape != tuple(core.output_shape):
        raise UsageError(
            "the core gives vectors of another shape",
            core.name,
            str(tuple(core.output_shape)),
            str(check.shape),
        )


def _refused_ids(what: str, rows: Array) -> SourceError:
    shown = ", ".join(map(str, rows[:_SHOWN].tolist()))
    more = " …" if len(rows) > _SHOWN else ""
    return SourceError(
        what, "ids", "a name in every row, each once", f"{len(rows):,} rows, from 0: {shown}{more}"
    )
