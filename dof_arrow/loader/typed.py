"""Options as keyword arguments, for editors and type checkers.

Written by `python -m tests.support.typed_options`: change the dataclasses instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dof_arrow.loader.options import Array, Balance


class LoaderOptions(TypedDict, total=False):
    """How batches of rows are made."""

    batch_size: int
    """Rows in a batch; clips in a batch of clips."""

    shuffle: bool
    """Whether each epoch has a new order, which follows from `seed` and the number of the epoch."""

    seed: int
    """Where everything random starts: the same seed gives the same batches."""

    feature: str | None
    """The feature column, by default the primary one."""

    target: str | None
    """The column to learn, encoded as the metadata says. `feature` gives the inputs themselves, for
    autoencoders."""

    columns: Sequence[str]
    """Further columns that come with each batch, in a dict. A clip has those of its first row."""

    normalize: str | tuple[Array, Array] | None
    """A split whose mean and standard deviation become 0 and 1, or a pair (mean, deviation)."""

    rank: int
    """Which of the `world_size` processes this is, counted from 0."""

    world_size: int
    """How many processes share the batches of an epoch."""

    drop_last: bool
    """Whether a last batch that is not full is left out."""

    balance: Balance | None
    """A column whose classes are drawn equally often, or `{column: share of the positive class}`,
    or `{column: {class: share, ...}}`. Rare classes are drawn more than once, so every row is
    used."""

    uniform: Mapping[str, int] | None
    """`{column: bins}`: the values of a number are drawn equally often from so many equal bins."""

    weights: str | Sequence[float] | Array | None
    """A column, or one number for each row: rows are drawn in proportion to it."""

    group: str | None
    """A column whose equal values stay together, in the order of the file."""

    views: Literal["all", "first", "random"]
    """`all` rows, the `first` view of each record, or a `random` view of each in each epoch."""

    workers: int | None
    """Threads that make batches ahead, by default up to two; 0 makes each when it is asked for."""

    augment: Sequence[Mapping[str, float]] | Mapping[str, float]
    """Changes of the features, such as `[{"noise": 0.1}, {"mixup": 0.2}]`: `interpolate`, `mixup`,
    `noise` and `dropout`, see `dof_arrow.loader.feature_augment`."""


class ClipLoaderOptions(TypedDict, total=False):
    """How batches of clips are made."""

    batch_size: int
    """Clips in a batch."""

    shuffle: bool
    """Whether each epoch has a new order, which follows from `seed` and the number of the epoch."""

    seed: int
    """Where everything random starts: the same seed gives the same batches."""

    feature: str | None
    """The feature column, by default the primary one."""

    target: str | None
    """The column to learn, encoded as the metadata says. A clip has the target of its first row."""

    columns: Sequence[str]
    """Further columns that come with each batch, in a dict. A clip has those of its first row."""

    normalize: str | tuple[Array, Array] | None
    """A split whose mean and standard deviation become 0 and 1, or a pair (mean, deviation)."""

    rank: int
    """Which of the `world_size` processes this is, counted from 0."""

    world_size: int
    """How many processes share the batches of an epoch."""

    drop_last: bool
    """Whether a last batch that is not full is left out."""

    balance: Balance | None
    """A column whose classes are drawn equally often, as with rows: `"label"`,
    `{column: share of the positive class}` or `{column: {class: share, ...}}`. A clip has the class
    of its first row."""

    chunk: int | None
    """Longer clips are cut into pieces of so many steps, and each piece counts as a clip."""

    bucket: int
    """The clips of so many batches are sorted by length, which saves padding, then cut into
    batches; the order of these batches is shuffled again."""

    augment: Sequence[Mapping[str, float]] | Mapping[str, float]
    """Changes of the features, drawn once for each clip, such as `[{"noise": 0.1}]`: `noise` and
    `dropout`, see `dof_arrow.loader.feature_augment`."""
