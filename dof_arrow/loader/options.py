"""From a loader's options to its plan: what balance, uniform, weights, views and groups mean for these columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.sampling import samplers
from dof_arrow.sampling.permutation import Rows
from dof_arrow.sampling.plan import Groups, Plan
from dof_arrow.sampling.samplers import Draw, Every, ViewSampler
from dof_arrow.tables import targets
from dof_arrow.tables.gather import Gather
from dof_arrow.tables.targets import Flags, Tabular

Array = NDArray[Any]
Balance = str | Mapping[str, float | Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Options:
    """How batches are made.

    - `batch_size`, `drop_last`: rows a batch, and whether a smaller last one is left out;
    - `shuffle`, `seed`: a new order each epoch, from the seed;
    - `feature`: the feature column, the primary one by default;
    - `target`: what to learn, encoded as the metadata says; `feature` gives the inputs themselves (autoencoders);
    - `columns`: what else comes with each batch;
    - `balance`: a column whose classes are drawn equally often, or `{column: share of the positive class}`, or
      `{column: {class: share, ...}}`; by over-sampling, so that every row is used;
    - `uniform`: `{column: bins}`, values of a number drawn equally often from each of so many equal bins;
    - `weights`: a column, or one number a row, that rows are drawn in proportion to;
    - `group`: a column whose equal values stay together, in the order of the file;
    - `views`: `all` rows, the `first` view of each record, or a `random` one each epoch;
    - `augment`: changes of features, see `dof_arrow.loader.feature_augment` (of pictures: `dof_arrow.loader.raw.pictures.Pictures.loader`);
    - `normalize`: a split whose mean and standard deviation become 0 and 1, or (mean, deviation);
    - `rank`, `world_size`: which of how many processes this is;
    - `workers`: threads that make batches ahead, by default up to two; 0 makes them when they are asked for. Of
      pictures: processes that decode them, by default threads.
    """

    batch_size: int = 256
    shuffle: bool = False
    seed: int = 0
    feature: str | None = None
    target: str | None = None
    columns: Sequence[str] = ()
    balance: Balance | None = None
    uniform: Mapping[str, int] | None = None
    weights: str | Sequence[float] | Array | None = None
    group: str | None = None
    views: Literal["all", "first", "random"] = "all"
    augment: Sequence[Mapping[str, float]] | Mapping[str, float] = ()
    normalize: str | tuple[Array, Array] | None = None
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False
    workers: int | None = None


class CountedRows(Tabular, Protocol):
    """A dataset whose rows are counted."""

    @property
    def path(self) -> Any: ...

    def __len__(self) -> int: ...


def arrange(data: CountedRows, asked: Options, gather: Gather) -> Plan:
    """The plan for these options; UsageError where they contradict each other or the columns."""
    _check(asked)
    views = _views(data, asked)
    pick: Rows | None = views.plain if views else None
    offer_mapping(data.path, gather, asked.shuffle)
    return Plan(
        draw=_draw(data, asked, pick),
        seed=asked.seed,
        shuffle=asked.shuffle,
        views=views,
        groups=_groups(data, asked.group),
        blocks=gather.blocks,
        window=gather.window,
    )


def offer_mapping(path: Any, gather: Gather, shuffle: bool) -> None:
    """Say, once a place in the caller's program, what a mapped file would spare one that is decoded anew each epoch."""
    if gather.blocks is not None:
        how = (
            f"rows are shuffled within windows of {gather.window} row groups"
            if shuffle
            else "each epoch decodes it"
        )
        warnings.warn(
            f"{path} is not mapped: {how}. For full shuffles at full speed: "
            "dof convert IN.parquet OUT.parquet --layout mapped",
            DofWarning,
            stacklevel=5,
        )


def _check(asked: Options) -> None:
    given = [
        name
        for name in ("balance", "uniform", "weights", "group")
        if getattr(asked, name) is not None
    ]
    if len(given) > 1:
        raise UsageError(
            "only one of these can decide what is drawn",
            "loader",
            "one of balance, uniform, weights, group",
            " and ".join(given),
            f"Leave out {given[-1]}.",
        )
    if given and given[0] != "group" and not asked.shuffle:
        raise UsageError(
            f"{given[0]} draws rows more than once, in no order",
            "loader",
            "shuffle=True",
            "shuffle=False",
            "Add shuffle=True.",
        )
    if asked.views not in ("all", "first", "random"):
        raise UsageError(
            "no such choice of views", "views", "all, first or random", str(asked.views)
        )
    if asked.group is not None and asked.views != "all":
        raise UsageError(
            "groups keep all their rows", "group", "views='all'", asked.views, "Leave out views."
        )


def _draw(data: CountedRows, asked: Options, pick: Rows | None) -> Draw:
    """What is drawn; `pick` chooses one row a unit where units are records."""
    chosen: Callable[[Array], Array] = (
        (lambda values: values) if pick is None else (lambda values: values[pick])
    )
    if asked.balance is not None:
        return _balanced(data, asked.balance, asked.seed, chosen)
    if asked.uniform is not None:
        return _uniform(data, asked.uniform, asked.seed, chosen)
    if asked.weights is not None:
        return samplers.weighted(chosen(_weights(data, asked.weights)), asked.seed)
    return Every(len(data) if pick is None else len(pick))


def _balanced(
    data: CountedRows, balance: Balance, seed: int, chosen: Callable[[Array], Array]
) -> Draw:
    name, wanted = _single(balance, "balance") if isinstance(balance, Mapping) else (balance, None)
    targets.known(data, name)
    if _is_multilabel(data, name):
        return samplers.balanced(
            chosen(_flag(data, name, wanted)), _two(_only(name, wanted), name), seed, name
        )
    codes, names = targets.strata(data, name)
    codes = chosen(codes)
    if wanted is None:
        return samplers.balanced(codes, None, seed, name)
    if isinstance(wanted, Mapping):
        return _shared(codes, names, wanted, seed, name)
    if len(names) != 2:
        first = names[0] if names else "class"
        raise UsageError(
            "a share of the positives needs two classes",
            name,
            "two classes",
            f"{len(names)}",
            f"Name the class: balance={{{name!r}: {{{first!r}: {wanted}}}}}.",
        )
    return samplers.balanced(codes, _two(wanted, name), seed, name)


def _shared(
    codes: Array, names: tuple[str, ...], wanted: Mapping[str, float], seed: int, name: str
) -> Draw:
    """Named classes by their shares; all others together have what is left, in the proportions they stand in."""
    if unknown := set(wanted) - set(names):
        raise UsageError("no such class", name, ", ".join(names), ", ".join(sorted(unknown)))
    left = 1 - sum(wanted.values())
    shares = {names.index(n): _share(share, name) for n, share in wanted.items()}
    merged = np.where(np.isin(codes, list(shares)), codes, len(names))
    if left > 1e-9:
        shares[len(names)] = left
    elif left < -1e-9:
        raise UsageError("shares above 1 in sum", name, "at most 1", f"{1 - left:g}")
    return samplers.balanced(merged, shares, seed, name)


def _uniform(
    data: CountedRows, uniform: Mapping[str, int], seed: int, chosen: Callable[[Array], Array]
) -> Draw:
    name, count = _single(uniform, "uniform")
    values = targets.target(data, name)
    if not isinstance(values, targets.NumberTarget):
        raise UsageError(
            "only numbers have bins",
            name,
            "a number in every row",
            "classes",
            f"Try balance={name!r}.",
        )
    return samplers.balanced(
        samplers.bins(chosen(values.take(np.arange(len(data)))), count), None, seed, name
    )


def _weights(data: CountedRows, weights: str | Sequence[float] | Array) -> Array:
    if isinstance(weights, str):
        values = targets.target(data, weights)
        return values.take(np.arange(len(data)))
    if len(weights) != len(data):
        raise UsageError("one weight a row", "weights", f"{len(data)}", f"{len(weights)}")
    return np.asarray(weights, np.float64)


def _views(data: CountedRows, asked: Options) -> ViewSampler | None:
    record = data.metadata.record
    if asked.views == "all" or record.view is None:
        return None
    table = data.to_arrow([record.id, record.view, *([record.frame] if record.frame else [])])
    records = targets.distinct(table.column(0))
    if record.frame:  # a frame of a clip is a record of its own
        frames = table.column(2).to_numpy().astype(np.int64)
        records = records * (frames.max(initial=0) + 1) + frames
    return samplers.views(
        records, table.column(1).to_numpy(), random=asked.views == "random", seed=asked.seed
    )


def _groups(data: CountedRows, name: str | None) -> Groups | None:
    if name is None:
        return None
    codes, _ = targets.strata(data, name)
    _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[codes]
    return Groups(*samplers.by_code(rank, len(first)))


def _is_multilabel(data: CountedRows, name: str) -> bool:
    about = data.metadata.targets.get(name)
    return about is not None and about.kind == "multilabel"


def _flag(data: CountedRows, name: str, wanted: Any) -> Array:
    values = targets.target(data, name)
    if not isinstance(values, Flags) or not isinstance(wanted, Mapping) or len(wanted) != 1:
        raise UsageError(
            "of several labels a row, one is balanced",
            name,
            f"balance={{{name!r}: {{label: share}}}}",
            str(wanted),
        )
    (label,) = wanted
    if label not in values.classes:
        raise UsageError("no such class", name, ", ".join(values.classes), str(label))
    return values.take(np.arange(len(data)))[:, values.classes.index(label)].astype(np.int64)


def _only(name: str, wanted: Any) -> float:
    return float(next(iter(wanted.values())))


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
    if len(given) != 1:
        raise UsageError(
            "one column decides", option, "a mapping of one column", f"{len(given)} columns"
        )
    return next(iter(given.items()))
