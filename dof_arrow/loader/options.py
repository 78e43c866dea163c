"""What can be asked of the loaders: the options, each with its meaning, and the check of their
names.

`loader/typed.py` is written from these classes: `python -m tests.support.typed_options`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from numpy.typing import NDArray

from dof_arrow.errors import UsageError, check_truth, refuse_unknown, whole_number

Array = NDArray[Any]
Balance = str | Mapping[str, float | Mapping[str, float]]

T = TypeVar("T")


def from_keywords(kind: type[T], given: Mapping[str, Any], where: str) -> T:
    """Options of a kind from keyword arguments.

    Raises UsageError that lists every name that is no such option, with the nearest right one.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    refuse_unknown(given, known, where)
    return kind(**given)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EpochOptions:
    """What every loader can be asked: how an epoch is shuffled, cut into batches and dealt out."""

    batch_size: int = 256
    """Rows in a batch; clips in a batch of clips."""

    shuffle: bool = False
    """Whether each epoch has a new order, which follows from `seed` and the number of the epoch."""

    seed: int = 0
    """Where everything random starts: the same seed gives the same batches."""

    feature: str | None = None
    """The feature column, by default the primary one."""

    target: str | None = None
    """The column to learn, encoded as the metadata says. A clip has the target of its first row."""

    columns: Sequence[str] = ()
    """Further columns that come with each batch, in a dict. A clip has those of its first row."""

    normalize: str | tuple[Array, Array] | None = None
    """A split whose mean and standard deviation become 0 and 1, or a pair (mean, deviation)."""

    rank: int = 0
    """Which of the `world_size` processes this is, counted from 0."""

    world_size: int = 1
    """How many processes share the batches of an epoch."""

    drop_last: bool = False
    """Whether a last batch that is not full is left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowOptions(EpochOptions):
    """What loaders of rows can be asked besides: which rows are drawn, and how often."""

    target: str | None = None
    """The column to learn, encoded as the metadata says. `feature` gives the inputs themselves, for
    autoencoders."""

    balance: Balance | None = None
    """A column whose classes are drawn equally often, or `{column: share of the positive class}`,
    or `{column: {class: share, ...}}`. Rare classes are drawn more than once, so every row is
    used."""

    uniform: Mapping[str, int] | None = None
    """`{column: bins}`: the values of a number are drawn equally often from so many equal bins."""

    weights: str | Sequence[float] | Array | None = None
    """A column, or one number for each row: rows are drawn in proportion to it."""

    group: str | None = None
    """A column whose equal values stay together, in the order of the file."""

    views: Literal["all", "first", "random"] = "all"
    """`all` rows, the `first` view of each record, or a `random` view of each in each epoch."""

    workers: int | None = None
    """Threads that make batches ahead, by default up to two; 0 makes each when it is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Options(RowOptions):
    """How batches of rows are made."""

    augment: Sequence[Mapping[str, float]] | Mapping[str, float] = ()
    """Changes of the features, such as `[{"noise": 0.1}, {"mixup": 0.2}]`: `interpolate`, `mixup`,
    `noise` and `dropout`, see `dof_arrow.loader.feature_augment`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipOptions(EpochOptions):
    """How batches of clips are made."""

    batch_size: int = 16
    """Clips in a batch."""

    balance: Balance | None = None
    """A column whose classes are drawn equally often, as with rows: `"label"`,
    `{column: share of the positive class}` or `{column: {class: share, ...}}`. A clip has the class
    of its first row."""

    chunk: int | None = None
    """Longer clips are cut into pieces of so many steps, and each piece counts as a clip."""

    bucket: int = 1
    """The clips of so many batches are sorted by length, which saves padding, then cut into
    batches; the order of these batches is shuffled again."""

    augment: Sequence[Mapping[str, float]] | Mapping[str, float] = ()
    """Changes of the features, drawn once for each clip, such as `[{"noise": 0.1}]`: `noise` and
    `dropout`, see `dof_arrow.loader.feature_augment`."""


def check_options(options: EpochOptions, rows: int, where: str) -> None:
    """Refuse a dataset without rows, and options that cannot be, by UsageError."""
    _check_types(options)
    if not rows:
        raise UsageError(
            "no rows to load",
            where,
            "a split or filter with rows",
            "an empty one",
            "ds.metadata.splits says how many rows each split has.",
        )
    if options.batch_size < 1:
        raise UsageError(
            "batches need rows",
            where,
            "batch_size of 1 or more",
            str(options.batch_size),
            "Write for example batch_size=256.",
        )
    if options.world_size < 1:
        raise UsageError(
            "no processes to share an epoch",
            where,
            "world_size of 1 or more",
            str(options.world_size),
            "Leave out world_size for one process.",
        )
    if not 0 <= options.rank < options.world_size:
        raise UsageError(
            "no such rank",
            where,
            f"rank 0 to {options.world_size - 1}",
            str(options.rank),
            "Ranks count from 0 to world_size - 1.",
        )


def _check_types(options: EpochOptions) -> None:
    """Refuse numbers, flags and lists of names that are something else."""
    for field in fields(options):
        value = getattr(options, field.name)
        kind = str(field.type)
        if kind == "bool":
            check_truth(field.name, value)
        elif kind == "int" or (kind == "int | None" and value is not None):
            whole_number(field.name, value)
        elif kind == "Sequence[str]" and isinstance(value, str):
            raise UsageError("no list of names", field.name, f"[{value!r}]", repr(value))


def check_length(options: EpochOptions, length: int, unit: str) -> None:
    """Refuse, by UsageError, more ranks than rows, and `drop_last` that leaves no batch."""
    if length < options.world_size:
        raise UsageError(
            f"more ranks than {unit}",
            "world_size",
            f"at most {length}",
            str(options.world_size),
            f"Use world_size={length} or fewer.",
        )
    full = options.batch_size * options.world_size
    if options.drop_last and length < full:
        raise UsageError(
            "no full batch",
            "drop_last",
            f"{full} {unit} or more",
            str(length),
            f"Use batch_size={length // options.world_size}, or drop_last=False.",
        )
