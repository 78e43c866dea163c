"""From a loader's options to its plan: what they mean for the columns of this dataset."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import DofWarning, UsageError, whole_number
from dof_arrow.loader.options import Balance, ClipOptions, RowOptions
from dof_arrow.sampling import samplers
from dof_arrow.sampling.permutation import Rows
from dof_arrow.sampling.plan import Groups, Plan
from dof_arrow.sampling.samplers import Draw, Every, ViewSampler
from dof_arrow.tables import targets
from dof_arrow.tables.gather import Gather
from dof_arrow.tables.targets import Flags, NumberTarget, Tabular

Array = NDArray[Any]

_DRAWS = ("balance", "uniform", "weights", "group")
_VIEWS = ("all", "first", "random")
_ROUNDING = 1e-9  # shares such as 0.1 + 0.2 + 0.7 are not exactly 1 in sum
_TO_ARRANGE = 5  # frames from `offer_mapping` to the program that asked a dataset for a loader


class CountedRows(Tabular, Protocol):
    """A dataset that knows how many rows it has."""

    @property
    def path(self) -> Any: ...

    def __len__(self) -> int: ...


def arrange(data: CountedRows, options: RowOptions, gather: Gather) -> Plan:
    """The plan of these options.

    Raises UsageError where they contradict each other or do not suit the columns.
    """
    _check(options)
    views = _views(data, options)
    units = _Units(data, None if views is None else views.plain)
    offer_mapping(data.path, gather, options.shuffle)
    return Plan(
        draw=_draw(units, options),
        seed=options.seed,
        shuffle=options.shuffle,
        views=views,
        groups=_groups(data, options.group),
        blocks=gather.blocks,
        window=gather.window,
    )


def offer_mapping(path: Any, gather: Gather, shuffle: bool, frames: int = _TO_ARRANGE) -> None:
    """Warn, once for each place in the caller's program, that a file is decoded in each epoch.

    `frames` is how far up the stack that place is.
    """
    if gather.blocks is None or not isinstance(path, Path):  # on a store nothing is decoded
        return
    how = "each epoch decodes it"
    if shuffle:
        how = f"rows are shuffled within windows of {gather.window} row groups"
    warnings.warn(
        f"{path} is not mapped: {how}. For full shuffles at full speed: "
        "dof convert IN.parquet OUT.parquet --layout mapped",
        DofWarning,
        stacklevel=frames,
    )


@dataclass(frozen=True, slots=True)
class _Units:
    """What is drawn: rows, or records where one view of each is taken.

    `rows` is the row that stands for each record, None where units are the rows themselves.
    """

    data: CountedRows
    rows: Rows | None

    def __len__(self) -> int:
        return len(self.data) if self.rows is None else len(self.rows)

    def of(self, values: Array) -> Array:
        """Of one value a row, those of the units."""
        return values if self.rows is None else values[self.rows]

    def take(self, values: targets.Values) -> Array:
        """The values of a column for the units."""
        return self.of(values.take(np.arange(len(self.data))))


def _check(options: RowOptions) -> None:
    given = [name for name in _DRAWS if getattr(options, name) is not None]
    if len(given) > 1:
        raise UsageError(
            "only one of these can decide what is drawn",
            "loader",
            "one of balance, uniform, weights, group",
            " and ".join(given),
            f"Leave out {given[-1]}.",
        )
    if given and given[0] != "group":
        _check_order(given[0], options.shuffle)
    if options.views not in _VIEWS:
        raise UsageError(
            "no such choice of views", "views", "all, first or random", str(options.views)
        )
    if options.group is not None and options.views != "all":
        raise UsageError(
            "groups keep all their rows", "group", "views='all'", options.views, "Leave out views."
        )


def _check_order(name: str, shuffle: bool) -> None:
    """Refuse what draws rows by chance where their order is to be kept."""
    if not shuffle:
        raise UsageError(
            f"{name} draws rows more than once, in no order",
            "loader",
            "shuffle=True",
            "shuffle=False",
            "Add shuffle=True.",
        )


def draw_of(data: CountedRows, firsts: Rows, options: ClipOptions) -> Draw:
    """What an epoch of clips draws, from the first row of each clip.

    Raises UsageError where the options contradict each other or do not suit the columns.
    """
    if options.balance is None:
        return Every(len(firsts))
    _check_order("balance", options.shuffle)
    return _balanced(_Units(data, firsts), options.balance, options.seed)


def _draw(units: _Units, options: RowOptions) -> Draw:
    """What an epoch draws, as these options say."""
    if options.balance is not None:
        return _balanced(units, options.balance, options.seed)
    if options.uniform is not None:
        return _uniform(units, options.uniform, options.seed)
    if options.weights is not None:
        weights = _weights(units.data, options.weights)
        return samplers.weighted(units.of(weights), options.seed)
    return Every(len(units))


def _balanced(units: _Units, balance: Balance, seed: int) -> Draw:
    """Classes of a column in equal or in chosen shares."""
    name: str
    wanted: float | Mapping[str, float] | None
    if isinstance(balance, str):
        name, wanted = balance, None
    else:
        name, wanted = _single(balance, "balance")
    targets.known(units.data, name)
    if _is_multilabel(units.data, name):
        label, share = _one_label(name, wanted)
        flags = _flag(units, name, label)
        return samplers.balanced(flags, _two(share, name), seed, name)
    codes, classes = targets.strata(units.data, name)
    shares = None if wanted is None else _shares(name, classes, wanted)
    codes = units.of(codes)
    if isinstance(wanted, Mapping):
        # All other classes count as one, so that they keep their proportions.
        named = [classes.index(label) for label in wanted]
        codes = np.where(np.isin(codes, named), codes, len(classes))
    return samplers.balanced(codes, shares, seed, name)


def _shares(
    name: str, classes: tuple[str, ...], wanted: float | Mapping[str, float]
) -> dict[int, float]:
    """The share of each class by its code; `len(classes)` stands for all others together."""
    if isinstance(wanted, Mapping):
        return _named_shares(name, classes, wanted)
    if len(classes) != 2:
        first = classes[0] if classes else "class"
        raise UsageError(
            "a share of the positives needs two classes",
            name,
            "two classes",
            f"{len(classes)}",
            f"Name the class: balance={{{name!r}: {{{first!r}: {wanted}}}}}.",
        )
    return _two(wanted, name)


def _named_shares(
    name: str, classes: tuple[str, ...], wanted: Mapping[str, float]
) -> dict[int, float]:
    """Shares of named classes; all others together get what is left, if anything is."""
    unknown = sorted(set(wanted) - set(classes))
    if unknown:
        raise UsageError("no such class", name, ", ".join(classes), ", ".join(unknown))
    left = 1 - sum(wanted.values())
    shares = {}
    for label, share in wanted.items():
        shares[classes.index(label)] = _share(share, name)
    if left < -_ROUNDING:
        raise UsageError("shares above 1 in sum", name, "at most 1", f"{1 - left:g}")
    if left > _ROUNDING:
        shares[len(classes)] = left
    return shares


def _uniform(units: _Units, uniform: Mapping[str, int], seed: int) -> Draw:
    """The values of a number equally often from each of its bins."""
    name, count = _single(uniform, "uniform")
    values = targets.target(units.data, name)
    if not isinstance(values, NumberTarget):
        raise UsageError(
            "only numbers have bins",
            name,
            "a number in every row",
            "classes",
            f"Try balance={name!r}.",
        )
    bins = samplers.bins(units.take(values), whole_number("uniform", count))
    return samplers.balanced(bins, None, seed, name)


def _weights(data: CountedRows, weights: str | Sequence[float] | Array) -> Array:
    """One weight for each row, from a column or as given."""
    if isinstance(weights, str):
        return targets.target(data, weights).take(np.arange(len(data)))
    masked = isinstance(weights, np.ma.MaskedArray) and bool(np.ma.is_masked(weights))
    if masked or not hasattr(weights, "__len__"):
        found = "masked values" if masked else repr(weights)
        raise UsageError("one weight a row", "weights", f"{len(data)} numbers", found)
    if len(weights) != len(data):
        raise UsageError("one weight a row", "weights", f"{len(data)}", f"{len(weights)}")
    try:
        return np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError("weights are numbers", "weights", found=str(error)[:100]) from None


def _views(data: CountedRows, options: RowOptions) -> ViewSampler | None:
    """How a view of each record is chosen, None where all rows are taken."""
    record = data.metadata.record
    if options.views == "all" or record.view is None:
        return None
    names = [record.id, record.view]
    if record.frame:
        names.append(record.frame)
    table = data.to_arrow(names)
    records = targets.distinct(table.column(0))
    if record.frame:  # a frame of a clip is a record of its own
        frames = table.column(2).to_numpy().astype(np.int64)
        records = records * (frames.max(initial=0) + 1) + frames
    numbers = table.column(1).to_numpy()
    return samplers.views(records, numbers, random=options.views == "random", seed=options.seed)


def _groups(data: CountedRows, name: str | None) -> Groups | None:
    """The rows of each group, groups in the order in which they first appear in the file."""
    if name is None:
        return None
    codes, _ = targets.strata(data, name)
    _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[codes]  # `unique` has sorted them by value
    return Groups(*samplers.by_code(rank, len(first)))


def _is_multilabel(data: CountedRows, name: str) -> bool:
    about = data.metadata.targets.get(name)
    return about is not None and about.kind == "multilabel"


def _one_label(name: str, wanted: float | Mapping[str, float] | None) -> tuple[str, float]:
    """The label that is balanced, and its share."""
    if not isinstance(wanted, Mapping) or len(wanted) != 1:
        raise UsageError(
            "of several labels a row, one is balanced",
            name,
            f"balance={{{name!r}: {{label: share}}}}",
            str(wanted),
        )
    label, share = next(iter(wanted.items()))
    return label, float(share)


def _flag(units: _Units, name: str, label: str) -> Array:
    """Whether each unit has a label, 0 or 1."""
    values = targets.target(units.data, name)
    assert isinstance(values, Flags)
    if label not in values.classes:
        raise UsageError("no such class", name, ", ".join(values.classes), str(label))
    flags = units.take(values)
    return flags[:, values.classes.index(label)].astype(np.int64)


def _two(share: float, name: str) -> dict[int, float]:
    share = _share(share, name)
    return {0: 1 - share, 1: share}


def _share(share: float, name: str) -> float:
    if not 0 < share < 1:
        raise UsageError(
            "a share that cannot be",
            f"balance {name}",
            "a number between 0 and 1",
            str(share),
            f"Write for example balance={{{name!r}: 0.3}}.",
        )
    return float(share)


def _single(given: Mapping[str, Any], option: str) -> tuple[str, Any]:
    """The only item of a mapping."""
    if not isinstance(given, Mapping):
        raise UsageError("one column decides", option, "a mapping of one column", repr(given)[:80])
    if len(given) != 1:
        raise UsageError(
            "one column decides", option, "a mapping of one column", f"{len(given)} columns"
        )
    return next(iter(given.items()))
