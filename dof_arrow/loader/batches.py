"""Batches made: rows gathered into buffers by threads, changed, and cut to batches with targets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.loader import feature_augment
from dof_arrow.loader.batch_source import BatchSource
from dof_arrow.loader.feature_augment import NOTHING, ClassIndex
from dof_arrow.loader.normalize import normalization
from dof_arrow.loader.options import Options
from dof_arrow.loader.padded import Padded, cut_to_longest
from dof_arrow.loader.prefetch import beside, ordered
from dof_arrow.loader.tasks import Task, grouped, parts, positions, tasks
from dof_arrow.sampling.permutation import Rows
from dof_arrow.sampling.plan import Plan, Share
from dof_arrow.system import processors
from dof_arrow.tables import targets
from dof_arrow.tables.buffers import Buffers
from dof_arrow.tables.gather import Filled, Gather, Memory, Moment
from dof_arrow.tables.targets import Codes, Values

Array = NDArray[Any]
Batch = Any  # x; (x, y); (x, columns); (x, y, columns)
Made = Iterator[tuple[Share, Batch]]

_TASK = 3 << 20  # bytes gathered at a time: enough to outweigh the handling
_SMALL = 8 << 20  # bytes of an epoch that is over before threads have begun
_AHEAD = 96 << 20  # bytes of batches that may wait
_WINDOW = 8 << 20  # bytes of the file touched ahead of a reader
_PAGE = 64 << 10  # bytes that systems map at a time when one of them is touched
_FLOAT = np.dtype(np.float32).itemsize


class BatchMaker:
    """Makes the batches of any plan over one source; what takes long to find out is done once."""

    def __init__(self, source: BatchSource, options: Options, gather: Gather) -> None:
        self._gather = gather
        self._shape = source.row_shape(options.feature)
        self._width = int(np.prod(self._shape))
        self._changes = feature_augment.declared(options.augment)
        self.target = _target(source, options.target)
        self._autoencodes = self.target is None and options.target is not None
        self._columns = {name: targets.column(source, name) for name in options.columns}
        self._normal = normalization(source, options.normalize, options.feature)
        self._classes: ClassIndex | None = None
        if self._changes.interpolate:
            self._classes = _class_index(self.target, len(source))
        if (self._changes.interpolate or self._changes.mixup) and gather.blocks is not None:
            raise _not_mapped(str(source.path))
        dtype = source.batch_dtype(options.feature)
        self._dtype = dtype
        row_bytes = dtype.itemsize * self._width
        self._rows = max(_TASK // row_bytes, 1)
        # A task ends with a whole batch, so it may be longer by that much.
        self._buffers = Buffers(self._rows + options.batch_size, self._width, dtype)
        self._threads = _threads(options.workers, row_bytes * len(source))
        self._touches = bool(self._threads)  # until all pages are mapped

    def make(
        self,
        plan: Plan,
        epoch: int,
        dealt: Iterator[Share],
        *,
        owned: bool = False,
        threads: int | None = None,
    ) -> Made:
        """The batches of these shares of an epoch, each with its share.

        `owned`: never views of the file. `threads`: how many make batches ahead, by default as the
        options say.
        """
        if not owned and plan.in_order and self._gives_views():
            return self._views(dealt)
        self._announce(plan, epoch)
        if threads is None:
            threads = self._threads
        # Two tasks for each thread keep it busy; more would only take memory.
        ahead = max(1, min(2 * threads + 1, _AHEAD // self._buffers.nbytes))
        todo = tasks(dealt, self._rows, partial(plan.rows, epoch))
        made = ordered(todo, partial(self._make, plan=plan, epoch=epoch), threads, ahead)
        return chain.from_iterable(made)

    def at(self, rows: Rows) -> Batch:
        """A batch of these rows as they are: normalized, not augmented."""
        x = np.empty((len(rows), self._width), self._dtype)
        filled = self._gather.fill(rows, x)
        if self._normal is not None:
            self._normal.apply(x)
        shown: Array | Padded = x.reshape(-1, *self._shape)
        if filled is not None and not filled.lengths.all():
            raise SourceError(
                "a picture that cannot be read",
                found=f"row {rows[filled.lengths == 0][0]}",
                hint="Leave it out of the source: by its number there is nothing in its place.",
            )
        if filled is not None and filled.padded:
            shown = cut_to_longest(x.reshape(-1, *self._shape), filled.lengths)
        return self._packed(shown, shown, self._beside(rows, None))

    def _gives_views(self) -> bool:
        """Whether rows can be handed out as they lie in memory."""
        unchanged = self._normal is None and self._changes == NOTHING
        return unchanged and isinstance(self._gather, Memory) and self._gather.dtype == np.float32

    def _views(self, dealt: Iterator[Share]) -> Made:
        assert isinstance(self._gather, Memory)
        for group in self._touched(dealt):
            beside_x = self._beside(positions(group), None)
            for share, part in parts(group):
                x = self._gather.view(share.start, share.stop).reshape(-1, *self._shape)
                yield share, self._packed(x, x, [_cut(each, part) for each in beside_x])
        self._touches = False

    def _touched(self, dealt: Iterator[Share]) -> Iterator[list[Share]]:
        """Groups of the shares, while a thread touches the pages of the one to come.

        The system maps a page when it is first touched, which is half of the cost of reading it.
        """
        row_bytes = _FLOAT * self._width
        rows = max(_WINDOW // row_bytes, 1)
        step = max(_PAGE // row_bytes, 1)

        def touch(group: list[Share]) -> None:
            self._gathered(np.arange(group[0].start, group[-1].stop, step))

        groups = grouped(dealt, rows, sys.maxsize)
        return beside(groups, touch) if self._touches else groups

    def _announce(self, plan: Plan, epoch: int) -> None:
        """Tell a gather that reads in blocks in which order it will be asked for them."""
        if self._gather.blocks is None:
            return
        self._gather.expect(plan.block_order(epoch))

    def _make(self, task: Task, plan: Plan, epoch: int) -> list[tuple[Share, Batch]]:
        """The batches of a task."""
        rows = task.rows
        moment = Moment(plan.seed, epoch, task.positions)
        x = self._buffers.take()[: len(rows)]
        filled = self._gather.fill(rows, x, moment)
        clean = self._clean_copy(x)
        mixed = self._change(x, rows, moment, plan)
        x = x.reshape(-1, *self._shape)
        if filled is not None:  # only pictures, which are never mixed
            return self._partly(x, filled, task)
        whole = self._packed(x, x if clean is None else clean, self._beside(rows, mixed))
        own = [part for _, part in parts(task.shares)]
        return list(zip(task.shares, _all_cut(whole, own), strict=True))

    def _partly(self, x: Array, filled: Filled, task: Task) -> list[tuple[Share, Batch]]:
        """The batches of a task of which rows are left out, or are of different lengths."""
        made = []
        for share, part in parts(task.shares):
            lengths = filled.lengths[part]
            kept = np.flatnonzero(lengths)
            if not len(kept):
                raise SourceError(
                    "no picture of a batch can be read",
                    hint="Look at some of them with an image viewer.",
                )
            seen = x[part]
            rows = task.rows[part]
            if len(kept) < len(rows):
                seen = seen[kept]
                rows = rows[kept]
            shown = cut_to_longest(seen, lengths[kept]) if filled.padded else seen
            made.append((share, self._packed(shown, shown, self._beside(rows, None))))
        return made

    def _clean_copy(self, x: Array) -> Array | None:
        """What an autoencoder is to give back, None where that is `x` itself."""
        if not self._autoencodes or self._changes == NOTHING:
            return None
        clean = x.copy()
        if self._normal is not None:
            self._normal.apply(clean)
        return clean.reshape(-1, *self._shape)

    def _change(self, x: Array, rows: Rows, moment: Moment, plan: Plan) -> _Mixed | None:
        """Apply what `augment` and `normalize` ask for, in place; what was mixed in, if any."""
        mixed = None
        # Rows are mixed before they are normalized, as the file holds them.
        if self._classes is not None:
            other = self._gathered(self._classes.other(rows, moment))
            share = feature_augment.interpolations(moment, self._changes.interpolate)
            feature_augment.move_towards(x, other, share)
        if self._changes.mixup:
            others = plan.rows(moment.epoch, feature_augment.partners(moment, plan.length))
            mixed = _Mixed(others, feature_augment.mixtures(moment, self._changes.mixup))
            feature_augment.move_towards(x, self._gathered(others), mixed.share)
        if self._normal is not None:
            self._normal.apply(x)
        feature_augment.disturb(x, self._changes, moment)
        return mixed

    def _gathered(self, rows: Rows) -> Array:
        out = np.empty((len(rows), self._width), np.float32)
        self._gather.fill(rows, out)
        return out

    def _beside(self, rows: Rows, mixed: _Mixed | None) -> list[Any]:
        """What comes with the features of these rows: their targets and columns, where asked."""
        found: list[Any] = []
        if self.target is not None:
            found.append(_answers(self.target, rows, mixed))
        if self._columns:
            found.append({name: values.take(rows) for name, values in self._columns.items()})
        return found

    def _packed(self, x: Array | Padded, clean: Array | Padded, beside_x: list[Any]) -> Batch:
        """A batch in the form that it is given in: `x` alone, or with what comes with it."""
        if self._autoencodes:
            return (x, clean, *beside_x)
        return (x, *beside_x) if beside_x else x


@dataclass(frozen=True, slots=True)
class _Mixed:
    """The rows that were mixed in, and their shares float32 [k, 1]."""

    rows: Rows
    share: Array


def _cut(values: Any, part: slice) -> Any:
    """Some rows of an array, or of each array of a dict."""
    if isinstance(values, dict):
        return {name: each[part] for name, each in values.items()}
    return values[part]


def _all_cut(batch: Batch, own: list[slice]) -> list[Batch]:
    """A long batch cut into batches of the same form, each of its own rows."""
    if isinstance(batch, tuple):
        columns = [_all_cut(each, own) for each in batch]
        return list(zip(*columns, strict=True))
    return [_cut(batch, part) for part in own]


def _answers(values: Values, rows: Rows, mixed: _Mixed | None) -> Array:
    """The targets of these rows.

    Where rows were mixed their targets are too, classes as shares float32 [k, classes].
    """
    own = values.take(rows)
    if mixed is None:
        return own
    other = values.take(mixed.rows)
    if isinstance(values, Codes):
        own = targets.one_hot(own, len(values.classes))
        other = targets.one_hot(other, len(values.classes))
    share = mixed.share if own.ndim > 1 else mixed.share[:, 0]
    return np.asarray(own + (other - own) * share)


def _target(source: BatchSource, name: str | None) -> Values | None:
    """The column to learn; None where there is none, or where it is the features themselves."""
    if name is None:
        return None
    features = ("feature", source.metadata.primary_column)
    if name in features and name not in source.metadata.targets:
        return None
    return targets.target(source, name)


def _class_index(values: Values | None, rows: int) -> ClassIndex:
    if not isinstance(values, Codes):
        raise UsageError(
            "only rows of a class can be interpolated",
            "augment interpolate",
            "target= a category",
            "none",
            "Use mixup, or leave interpolate out.",
        )
    return feature_augment.class_index(values.take(np.arange(rows)))


def _threads(workers: int | None, size: int) -> int:
    """How many threads are worth their start for an epoch of `size` bytes."""
    if workers is not None:
        return workers
    if size < _SMALL:
        return 0
    return min(processors() - 1, 2)  # whoever takes the batches works too


def _not_mapped(where: str) -> UsageError:
    return UsageError(
        "rows are mixed with any others, but this file gives them only by whole row groups",
        where,
        "a mapped file on this machine",
        "an encoded one, or one on a store",
        "dof convert IN.parquet OUT.parquet --layout mapped",
    )
