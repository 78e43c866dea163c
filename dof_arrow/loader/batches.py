"""Batches made: rows gathered into buffers by threads, changed, cut to batches, their targets beside them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.loader import feature_augment
from dof_arrow.loader.options import Options
from dof_arrow.loader.prefetch import Buffers, beside, ordered
from dof_arrow.sampling.permutation import Rows
from dof_arrow.sampling.plan import Plan, Share
from dof_arrow.system import processors
from dof_arrow.tables import targets
from dof_arrow.tables.gather import Filled, Gather, Memory, Moment
from dof_arrow.tables.targets import Codes, Tabular, Values

Array = NDArray[Any]
Batch = Any  # x; (x, y); (x, columns); (x, y, columns)
Made = Iterator[tuple[Share, Batch]]

_TASK = 4 << 20  # bytes gathered at a time: enough to outweigh the handling
_SMALL = 8 << 20  # bytes of an epoch that is over before threads have begun
_AHEAD = 96 << 20  # bytes of batches that may wait
_WINDOW, _PAGES = (
    8 << 20,
    64 << 10,
)  # bytes touched ahead of a reader; bytes that systems map at a time
_SPAN = 1 << 14  # rows whose order is worked out at a time


class BatchSource(Tabular, Protocol):
    """What a loader reads: `dof_arrow.dataset.dataset.Dataset`, or `dof_arrow.loader.raw.pictures.Pictures`."""

    @property
    def path(self) -> Path: ...

    def __len__(self) -> int: ...

    def gather(self, name: str | None = None) -> Gather:
        """Where the rows of a feature column come from."""

    def shape(self, name: str | None = None) -> tuple[int, ...]:
        """The shape of one row of it."""

    def dtype(self, name: str | None = None) -> np.dtype[Any]:
        """The type of its numbers in a batch."""

    def statistics(self, split: str, name: str | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation over a split of each of its numbers, or of what its last axis tells apart."""


class Padded(NamedTuple):
    """Clips of a batch: features or pictures [k, T, *shape], zeros behind each clip's end, and lengths int32 [k]."""

    features: Array
    lengths: Array

    @property
    def mask(self) -> Array:
        """Which steps belong to a clip, bool [k, T]."""
        return np.arange(self.features.shape[1]) < self.lengths[:, None]


class Maker:
    """Makes the batches of any plan over one source; what takes long to find out is found out at once."""

    def __init__(self, source: BatchSource, options: Options, gather: Gather) -> None:
        self._gather, self._shape = gather, source.shape(options.feature)
        self._width = int(np.prod(self._shape))
        self._jitter = feature_augment.declared(options.augment)
        self.target = _target(source, options.target)
        self._itself = self.target is None and options.target is not None
        self._columns = {name: targets.column(source, name) for name in options.columns}
        self._normal = normal(source, options.normalize, options.feature)
        self._kin = _kin(self.target, len(source)) if self._jitter.interpolate else None
        if (self._kin is not None or self._jitter.mixup) and gather.blocks is not None:
            raise _not_mapped(str(source.path))
        dtype = source.dtype(options.feature)
        self._rows = max(_TASK // (dtype.itemsize * self._width), 1)
        self._buffers = Buffers(self._rows + options.batch_size, self._width, dtype)
        self._threads = _threads(options.workers, dtype.itemsize * self._width * len(source))
        self._touch = bool(self._threads)  # until all pages are mapped

    def make(
        self,
        plan: Plan,
        epoch: int,
        these: Iterator[Share],
        *,
        owned: bool = False,
        threads: int | None = None,
    ) -> Made:
        """The batches of these shares of an epoch, each with its share; `owned`: never views of the file."""
        if not owned and plan.in_order and self._unchanged() and isinstance(self._gather, Memory):
            return self._views(these, self._gather)
        self._announce(plan, epoch)
        threads = self._threads if threads is None else threads
        ahead = max(1, min(2 * threads + 1, _AHEAD // self._buffers.nbytes))
        tasks = _tasks(these, self._rows, lambda positions: plan.rows(epoch, positions))
        made = ordered(tasks, lambda task: self._make(task, plan, epoch), threads, ahead)
        return (pair for pairs in made for pair in pairs)

    def _unchanged(self) -> bool:
        plain = self._normal is None and self._jitter == feature_augment.Jitter()
        return plain and isinstance(self._gather, Memory) and self._gather.dtype == np.float32

    def _views(self, these: Iterator[Share], memory: Memory) -> Made:
        alone = self.target is None and not self._itself and not self._columns
        for share in self._touched(these, memory):
            x = memory.view(share.start, share.stop).reshape(-1, *self._shape)
            yield (
                share,
                x if alone else self._packed(x, x, np.arange(share.start, share.stop), None),
            )
        self._touch = False

    def _touched(self, these: Iterator[Share], memory: Memory) -> Iterator[Share]:
        """The shares, while a thread touches the pages of those to come: mapping them is half of reading them."""
        rows, step = max(_WINDOW // (4 * self._width), 1), max(_PAGES // (4 * self._width), 1)

        def touch(group: list[Share]) -> None:
            self._gathered(np.arange(group[0].start, group[-1].stop, step))

        groups = _grouped(these, rows, sys.maxsize)
        return (
            share for group in (beside(groups, touch) if self._touch else groups) for share in group
        )

    def _announce(self, plan: Plan, epoch: int) -> None:
        """Tell a gather that reads in blocks which of them come when."""
        if self._gather.blocks is not None:
            blocks = self._gather.blocks[plan.rows(epoch, np.arange(plan.length))]
            found, first = np.unique(blocks, return_index=True)
            self._gather.expect(found[np.argsort(first)].tolist())

    def _make(self, task: _Task, plan: Plan, epoch: int) -> list[tuple[Share, Batch]]:
        rows, moment = task.rows, Moment(plan.seed, epoch, task.positions)
        x = self._buffers.take()[: len(rows)]
        filled = self._gather.fill(rows, x, moment)
        clean = x.copy() if self._itself and self._jitter != feature_augment.Jitter() else x
        mixed = self._change(x, rows, moment, plan)
        if clean is not x:
            self._normalize(clean)
        shown = x.reshape(-1, *self._shape)
        clean = shown if clean is x else clean.reshape(-1, *self._shape)
        if filled is not None:
            return [
                (
                    share,
                    self._partly(
                        shown[part], rows[part], Filled(filled.lengths[part], filled.padded)
                    ),
                )
                for share, part in task.parts()
            ]
        whole = self._packed(shown, clean, rows, mixed)
        return [(share, _cut(whole, part)) for share, part in task.parts()]

    def _partly(self, x: Array, rows: Rows, filled: Filled) -> Batch:
        """A batch of which rows are left out, or are of different lengths."""
        kept = np.flatnonzero(filled.lengths)
        if not len(kept):
            raise SourceError(
                "no picture of a batch can be read",
                hint="Look at some of them with an image viewer.",
            )
        if len(kept) < len(rows):
            x, rows = x[kept], rows[kept]
        made = _padded(x, filled.lengths[kept]) if filled.padded else x
        return self._packed(made, made, rows, None)

    def _change(self, x: Array, rows: Rows, moment: Moment, plan: Plan) -> _Mixed | None:
        """Apply what `augment` and `normalize` ask for, in place; what was mixed in, if anything was."""
        mixed = None
        if self._kin is not None:
            other = self._gathered(self._kin.other(rows, moment))
            feature_augment.towards(
                x, other, feature_augment.parts(moment, self._jitter.interpolate)
            )
        if self._jitter.mixup:
            others = plan.rows(moment.epoch, feature_augment.others(moment, plan.length))
            mixed = _Mixed(others, feature_augment.mixtures(moment, self._jitter.mixup))
            feature_augment.towards(x, self._gathered(others), mixed.share)
        self._normalize(x)
        feature_augment.disturb(x, self._jitter, moment)
        return mixed

    def _normalize(self, x: Array) -> None:
        if self._normal is not None:
            x -= self._normal[0]
            x /= self._normal[1]

    def _gathered(self, rows: Rows) -> Array:
        out = np.empty((len(rows), self._width), np.float32)
        self._gather.fill(rows, out)
        return out

    def _packed(
        self, x: Array | Padded, clean: Array | Padded, rows: Rows, mixed: _Mixed | None
    ) -> Batch:
        parts: list[Any] = [x]
        if self.target is not None:
            parts.append(_answers(self.target, rows, mixed))
        elif self._itself:
            parts.append(clean)
        if self._columns:
            parts.append({name: values.take(rows) for name, values in self._columns.items()})
        return tuple(parts) if len(parts) > 1 else x


def _cut(made: Batch, part: slice) -> Batch:
    """Some rows of a batch."""
    if isinstance(made, tuple):
        return tuple(_cut(each, part) for each in made)
    return (
        {name: values[part] for name, values in made.items()}
        if isinstance(made, dict)
        else made[part]
    )


def _padded(x: Array, lengths: Array) -> Padded:
    made = Padded(np.ascontiguousarray(x[:, : lengths.max()]), lengths)
    made.features[~made.mask] = 0  # normalization moved them
    return made


@dataclass(frozen=True, slots=True)
class _Mixed:
    """The rows that were mixed in, and their shares float32 [k, 1]."""

    rows: Rows
    share: Array


class _Span:
    """The order of several tasks' rows, worked out once, by the thread that needs it first."""

    def __init__(self, positions: Rows, order: Callable[[Rows], Rows]) -> None:
        self._positions, self._order = positions, order

    @cached_property
    def rows(self) -> Rows:
        return self._order(self._positions)


@dataclass(frozen=True, slots=True)
class _Task:
    """Some batches made at one go: their shares, and their positions, which stand in the span from `start` on."""

    shares: list[Share]
    positions: Rows
    span: _Span
    start: int

    @property
    def rows(self) -> Rows:
        return self.span.rows[self.start : self.start + len(self.positions)]

    def parts(self) -> Iterator[tuple[Share, slice]]:
        at = 0
        for share in self.shares:
            yield share, slice(at, at := at + share.stop - share.start)


def _tasks(these: Iterator[Share], rows: int, order: Callable[[Rows], Rows]) -> Iterator[_Task]:
    """Shares put together to tasks of `rows` rows and those to spans; the first is small, so that it comes soon."""
    wanted = 1
    while groups := list(_grouped(these, min(rows, wanted), wanted)):
        positions = [_positions(group) for group in groups]
        span, start = _Span(np.concatenate(positions), order), 0
        for group, own in zip(groups, positions, strict=True):
            yield _Task(group, own, span, start)
            start += len(own)
        wanted = _SPAN


def _positions(group: list[Share]) -> Rows:
    if all(a.stop == b.start for a, b in pairwise(group)):
        return np.arange(group[0].start, group[-1].stop)
    return np.concatenate([np.arange(s.start, s.stop) for s in group])


def _grouped(these: Iterator[Share], rows: int, wanted: int) -> Iterator[list[Share]]:
    while wanted > 0 and (group := _taken(these, rows)):
        wanted -= sum(s.stop - s.start for s in group)
        yield group


def _taken(these: Iterator[Share], rows: int) -> list[Share]:
    group: list[Share] = []
    while rows > 0 and (share := next(these, None)) is not None:
        rows -= share.stop - share.start
        group.append(share)
    return group


def _answers(values: Values, rows: Rows, mixed: _Mixed | None) -> Array:
    """The target of these rows; where rows were mixed, so are targets, classes as shares float32 [k, classes]."""
    own = values.take(rows)
    if mixed is None:
        return own
    other = values.take(mixed.rows)
    if isinstance(values, Codes):
        own, other = (targets.one_hot(codes, len(values.classes)) for codes in (own, other))
    share = mixed.share if own.ndim > 1 else mixed.share[:, 0]
    return np.asarray(own + (other - own) * share)


def _target(source: BatchSource, name: str | None) -> Values | None:
    """The column to learn; none where nothing is, or the features themselves are."""
    itself = (
        name in ("feature", source.metadata.primary_column) and name not in source.metadata.targets
    )
    return None if name is None or itself else targets.target(source, name)


def normal(
    source: BatchSource, given: str | tuple[Array, Array] | None, feature: str | None
) -> tuple[Array, Array] | None:
    """Mean and standard deviation, float32 [width] each; numbers that do not vary are only centred."""
    if given is None:
        return None
    mean, deviation = source.statistics(given, feature) if isinstance(given, str) else given
    deviation = np.where(np.asarray(deviation) > 0, deviation, 1)
    shape = source.shape(feature)
    return _spread(mean, shape), _spread(deviation, shape)


def _spread(values: Any, shape: tuple[int, ...]) -> Array:
    """One number for each of a row's, from as many, or from one for each of its last axis."""
    flat = np.asarray(values, np.float32).ravel()
    return flat if flat.size == np.prod(shape) else np.broadcast_to(flat, shape).ravel()


def _kin(values: Values | None, rows: int) -> feature_augment.ClassIndex:
    if not isinstance(values, Codes):
        raise UsageError(
            "only rows of a class can be interpolated",
            "augment interpolate",
            "target= a category",
            "none",
            "Use mixup, or leave interpolate out.",
        )
    return feature_augment.kin(values.take(np.arange(rows)))


def _threads(workers: int | None, size: int) -> int:
    """How many threads are worth their start for an epoch of `size` bytes."""
    if workers is not None or size < _SMALL:
        return workers or 0
    return min(processors() - 1, 2)  # whoever takes the batches works too


def _not_mapped(where: str) -> UsageError:
    return UsageError(
        "rows are mixed with any others, but this file gives them only by whole row groups",
        where,
        "a mapped file",
        "an encoded one",
        "dof convert IN.parquet OUT.parquet --layout mapped",
    )
