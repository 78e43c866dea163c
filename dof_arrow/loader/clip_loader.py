"""Batches of clips: whole ones or pieces of them, padded to the longest of the batch.

Which clip is when follows from (seed, epoch), as it does with rows. With `bucket`, clips of similar
length stand in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.loader import feature_augment
from dof_arrow.loader.arrange import draw_of, offer_mapping
from dof_arrow.loader.batch_source import BatchSource
from dof_arrow.loader.epoch_state import Resumable, State
from dof_arrow.loader.normalize import normalization
from dof_arrow.loader.options import ClipOptions, check_length, check_options
from dof_arrow.loader.padded import Padded, from_steps
from dof_arrow.sampling.blocks import Listed
from dof_arrow.sampling.permutation import Permutation, Rows, key
from dof_arrow.sampling.plan import Plan, Share
from dof_arrow.tables import targets
from dof_arrow.tables.clip_bounds import clip_bounds, in_pieces
from dof_arrow.tables.gather import Moment
from dof_arrow.tables.targets import Values

Array = NDArray[Any]

_TO_CLIP_LOADER = 4  # frames from `offer_mapping` to the program that asked for a clip loader


class ClipLoader(Resumable):
    """Batches of clips, epoch after epoch, each a `Padded`.

    With `target` a batch is `(Padded, y)`; with `columns` a dict comes after them. Each pass is one
    epoch, broken off or not, unless `load_state_dict` says where to go on: with another batch size
    or other ranks too, where clips are not in buckets; see `dof_arrow.loader.epoch_state`.

    Raises UsageError for options that cannot be.
    """

    unit = "clips"
    options: ClipOptions

    def __init__(self, source: BatchSource, options: ClipOptions | None = None) -> None:
        where = str(source.path)
        super().__init__(where)
        self.source = source
        self.options = options or ClipOptions()
        _check(self.options, len(source), where)
        self._starts, self._stops = clip_bounds(source, where)
        if self.options.chunk is not None:
            self._starts, self._stops = in_pieces(self._starts, self._stops, self.options.chunk)
        self._gather = source.gather(self.options.feature)
        self._shape = source.row_shape(self.options.feature)
        offer_mapping(source.path, self._gather, self.options.shuffle, _TO_CLIP_LOADER)
        self._plan = self._arranged()
        check_length(self.options, self.length, self.unit)
        self._target: Values | None = None
        if self.options.target is not None:
            self._target = targets.target(source, self.options.target)
        self._columns: dict[str, Values] = {}
        for name in self.options.columns:
            self._columns[name] = targets.column(source, name)
        self._changes = _changes(self.options)
        self._normal = normalization(source, self.options.normalize, self.options.feature)

    @property
    def length(self) -> int:
        """Clips, or pieces of them, in an epoch."""
        return self._plan.length

    def __iter__(self) -> Iterator[Any]:
        return self.batches()

    def batches(self, part: tuple[int, int] = (0, 1)) -> Iterator[Any]:
        """One pass, from the start of its epoch or from where a loaded state says.

        `part` (i, n): each n-th batch from the i-th on, for worker processes.
        """
        return self._one_pass(self._made, part)

    def owned_batches(
        self, *, threads: int | None = None, part: tuple[int, int] = (0, 1)
    ) -> Iterator[Any]:
        """The same: batches of clips are the caller's own, and made when they are asked for."""
        return self.batches(part)

    def batch(self, index: int) -> Any:
        """One batch of this epoch by its number; no pass begins. IndexError if there is none."""
        return self._make(self._share(index), self.epoch)

    def to_torch(self, *, packed: bool = False) -> Any:
        """The batches as a torch `IterableDataset` of tensors: (features, lengths) of the clips.

        `packed`: a `PackedSequence` in place of (features, lengths) (extra `torch`).
        """
        from dof_arrow.loader.torch_batches import torch_clips

        return torch_clips(self, packed)

    def to_keras(self, **options: Any) -> Any:
        """The batches as a Keras 3 `PyDataset` (extra `keras`): features and `lengths` as inputs.

        See `dof_arrow.loader.frameworks.keras_batches`.
        """
        from dof_arrow.loader.frameworks import keras_batches

        return keras_batches(self, options)

    def to_tf(self) -> Any:
        """The batches as a `tf.data.Dataset`, clips as ragged tensors (needs tensorflow).

        See `dof_arrow.loader.frameworks.tf_clips`.
        """
        from dof_arrow.loader.frameworks import tf_clips

        return tf_clips(self)

    def to_jax(self, *, device: Any = None) -> Any:
        """The batches as JAX arrays, (features, lengths) of the clips (extra `jax`).

        See `dof_arrow.loader.frameworks.JaxBatches`.
        """
        from dof_arrow.loader.frameworks import JaxBatches

        return JaxBatches(self, device)

    def _state(self, epoch: int, consumed: int) -> State:
        state = super()._state(epoch, consumed)
        if self.options.bucket > 1:
            # Clips are sorted within buckets, so they are only where they were in equal ones.
            state["bucket"] = self._batch() * self.options.bucket
        return state

    def _refuse_foreign(self, state: Mapping[str, Any]) -> None:
        super()._refuse_foreign(state)
        own = self._batch() * self.options.bucket if self.options.bucket > 1 else 0
        found = state.get("bucket", 0)
        if state["consumed"] and found != own:
            raise self._foreign(f"buckets of {own} clips", f"{found}")

    def _arranged(self) -> Plan:
        blocks = self._gather.blocks
        if blocks is not None:
            blocks = Listed(
                blocks.of(self._starts)
            )  # a clip is read with the block that it starts in
        return Plan(
            draw=draw_of(self.source, self._starts, self.options),
            seed=self.options.seed,
            shuffle=self.options.shuffle,
            blocks=blocks,
            window=self._gather.window,
        )

    def _clips(self, epoch: int, positions: Rows) -> Rows:
        """The clips at these positions of the epoch, which follow each other."""
        if self.options.bucket < 2:
            return self._plan.rows(epoch, positions)
        in_bucket = self._batch() * self.options.bucket
        first = int(positions[0]) // in_bucket
        last = int(positions[-1]) // in_bucket
        found = [self._bucket(epoch, number) for number in range(first, last + 1)]
        return np.asarray(np.concatenate(found)[positions - first * in_bucket])

    def _bucket(self, epoch: int, number: int) -> Rows:
        """The clips of a bucket, sorted by length, its full batches in an order of their own."""
        batch = self._batch()
        start = number * batch * self.options.bucket
        stop = min(start + batch * self.options.bucket, self.length)
        clips = self._plan.rows(epoch, np.arange(start, stop))
        lengths = (self._stops - self._starts)[clips]
        clips = clips[np.argsort(lengths, kind="stable")]
        # The last batch of an epoch may not be full, so it stays the last.
        full = len(clips) // batch
        if not self.options.shuffle or full < 2:
            return clips
        seed = key(self.options.seed, epoch, f"bucket {number}")
        order = Permutation(full, seed)(np.arange(full))
        batches = clips[: full * batch].reshape(full, batch)
        return np.concatenate([batches[order].ravel(), clips[full * batch :]])

    def _batch(self) -> int:
        """Clips in a full batch of all ranks together."""
        return self.options.batch_size * self.options.world_size

    def _made(self, dealt: Iterator[Share], epoch: int) -> Iterator[tuple[Share, Any]]:
        return ((share, self._make(share, epoch)) for share in dealt)

    def at(self, clips: Rows) -> Any:
        """These clips of the dataset, whatever is drawn in an epoch, unchanged but normalized."""
        return self._gathered(clips, None)

    def _make(self, share: Share, epoch: int) -> Any:
        """One batch."""
        positions = np.arange(share.start, share.stop)
        moment = Moment(self.options.seed, epoch, positions)
        return self._gathered(self._clips(epoch, positions), moment)

    def _gathered(self, clips: Rows, moment: Moment | None) -> Any:
        """A batch of clips, augmented where a moment is given."""
        starts = self._starts[clips]
        lengths = self._stops[clips] - starts
        rows = _runs(starts, lengths)
        values = np.empty((len(rows), int(np.prod(self._shape))), np.float32)
        self._gather.fill(rows, values)
        if self._normal is not None:
            self._normal.apply(values)
        if moment is not None:
            # All rows of a clip stand at its position, so that they share one draw.
            positions = np.repeat(moment.positions, lengths)
            once = Moment(moment.seed, moment.epoch, positions)
            feature_augment.disturb(values, self._changes, once)
        padded = from_steps(values.reshape(-1, *self._shape), lengths)
        return self._with_columns(padded, starts)

    def _with_columns(self, padded: Padded, rows: Rows) -> Any:
        """A batch in its final form: clips alone, or with their target and columns."""
        parts: list[Any] = [padded]
        if self._target is not None:
            parts.append(self._target.take(rows))
        if self._columns:
            parts.append({name: values.take(rows) for name, values in self._columns.items()})
        return tuple(parts) if len(parts) > 1 else padded


def _runs(starts: Rows, lengths: Rows) -> Rows:
    """The rows of clips, one clip behind the other."""
    skipped = np.cumsum(lengths) - lengths
    return np.repeat(starts - skipped, lengths) + np.arange(lengths.sum())


def _check(options: ClipOptions, rows: int, where: str) -> None:
    check_options(options, rows, where)
    for name, value in (("bucket", options.bucket), ("chunk", options.chunk)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1", where, found=str(value))


def _changes(options: ClipOptions) -> feature_augment.FeatureAugmentation:
    changes = feature_augment.declared(options.augment)
    if changes.interpolate or changes.mixup:
        raise UsageError(
            "clips are not mixed with others",
            "augment",
            "noise, dropout",
            "interpolate or mixup",
        )
    return changes
