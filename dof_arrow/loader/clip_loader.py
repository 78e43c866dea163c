"""Batches of clips: whole ones or parts of them, padded to the longest of the batch, with their lengths.

Which clip is when follows from (seed, epoch), whoever asks, as with rows (`plan`): a state taken anywhere goes on
there, with other ranks too. Clips of similar length stand in one batch where `bucket` asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError, require
from dof_arrow.loader import feature_augment
from dof_arrow.loader.batches import BatchSource, Padded, normal
from dof_arrow.loader.options import offer_mapping
from dof_arrow.sampling.permutation import Permutation, Rows, key
from dof_arrow.sampling.plan import Plan, Share, shares, steps
from dof_arrow.sampling.samplers import Every
from dof_arrow.tables import targets
from dof_arrow.tables.clip_bounds import clip_bounds, in_pieces
from dof_arrow.tables.gather import Moment
from dof_arrow.tables.targets import Values

Array = NDArray[Any]
State = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipOptions:
    """How batches of clips are made.

    - `batch_size`, `drop_last`, `shuffle`, `seed`, `feature`, `rank`, `world_size`: as `recipe.Options` has them, of
      clips instead of rows;
    - `target`, `columns`: what comes with each clip, by its first row;
    - `chunk`: clips that are longer are parted into pieces of so many steps, each for itself;
    - `bucket`: so many batches' clips are sorted by length and then parted into batches, which are shuffled again;
    - `augment`: noise and dropout of features, drawn once a clip; `normalize`: as `recipe.Options` has it.
    """

    batch_size: int = 16
    shuffle: bool = False
    seed: int = 0
    feature: str | None = None
    target: str | None = None
    columns: Sequence[str] = ()
    chunk: int | None = None
    bucket: int = 1
    augment: Sequence[Mapping[str, float]] | Mapping[str, float] = ()
    normalize: str | tuple[Array, Array] | None = None
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False


class ClipLoader:
    """Batches of clips, epoch after epoch: `Padded`, with `target` (Padded, y), with `columns` a dict after them.

    Each iteration is one epoch; one that was broken off begins anew, unless `load_state_dict` says where to go on.
    Raises UsageError for options that cannot be.
    """

    def __init__(self, source: BatchSource, options: ClipOptions | None = None) -> None:
        self.source, self.options = source, options or ClipOptions()
        _check(self.options, source)
        self._starts, self._stops = clip_bounds(source, str(source.path))
        if self.options.chunk is not None:
            self._starts, self._stops = in_pieces(self._starts, self._stops, self.options.chunk)
        self._gather, self._shape = (
            source.gather(self.options.feature),
            source.shape(self.options.feature),
        )
        offer_mapping(source.path, self._gather, self.options.shuffle)
        blocks = None if self._gather.blocks is None else self._gather.blocks[self._starts]
        self._plan = Plan(
            draw=Every(len(self._starts)),
            seed=self.options.seed,
            shuffle=self.options.shuffle,
            blocks=blocks,
            window=self._gather.window,
        )
        self._target = (
            None if self.options.target is None else targets.target(source, self.options.target)
        )
        self._columns: dict[str, Values] = {
            name: targets.column(source, name) for name in self.options.columns
        }
        self._jitter = feature_augment.declared(self.options.augment)
        if self._jitter.interpolate or self._jitter.mixup:
            raise UsageError(
                "clips are not mixed with others",
                "augment",
                "noise, dropout",
                "interpolate or mixup",
            )
        self._normal = normal(source, self.options.normalize, self.options.feature)
        self.epoch = self._consumed = 0
        self._resumed = False

    def __len__(self) -> int:
        """Batches in an epoch."""
        o = self.options
        return steps(
            self.length, batch_size=o.batch_size, world_size=o.world_size, drop_last=o.drop_last
        )

    @property
    def length(self) -> int:
        """Clips, or pieces of them, in an epoch."""
        return len(self._starts)

    def __iter__(self) -> Iterator[Any]:
        return self.batches()

    def batches(self, part: tuple[int, int] = (0, 1)) -> Iterator[Any]:
        """One epoch, from its start or from where a loaded state says; each n-th batch from the i-th on: `part` (i, n)."""
        self._consumed, self._resumed = self._consumed if self._resumed else 0, False
        for share in islice(self._shares(self._consumed), part[0], None, part[1]):
            self._consumed = share.consumed
            yield self._make(share)
        self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives, from its start."""
        self.epoch, self._consumed, self._resumed = int(epoch), 0, False

    def state_dict(self) -> State:
        """Where this loader stands: numbers for `load_state_dict`."""
        return {
            "seed": self.options.seed,
            "epoch": self.epoch,
            "consumed": self._consumed,
            "length": self.length,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a state was taken; batch size and ranks may differ from then, if clips are not in buckets.

        Raises UsageError for the state of another dataset or seed.
        """
        if {**state, "epoch": 0, "consumed": 0} != {**self.state_dict(), "epoch": 0, "consumed": 0}:
            raise UsageError(
                "the state is of another loader",
                str(self.source.path),
                f"{self.length} clips an epoch",
                str(state.get("length", "none")),
                "Make the loader with the same options, then load it.",
            )
        self.set_epoch(state["epoch"])
        self._consumed, self._resumed = int(state["consumed"]), True
        if self._consumed >= self.length:
            self.set_epoch(self.epoch + 1)

    def to_torch(self, *, packed: bool = False) -> Any:
        """The batches as a torch `IterableDataset`: tensors, or `packed` sequences in place of (features, lengths)."""
        return _torch_batches(self, packed)

    def to_tf(self) -> Iterator[Any]:
        """One epoch's batches with ragged tensors [k, None, *shape] of TensorFlow in place of (features, lengths)."""
        tensorflow = require("tensorflow", extra="keras")

        def ragged(padded: Padded) -> Any:
            return tensorflow.RaggedTensor.from_row_lengths(
                padded.features[padded.mask], padded.lengths
            )

        return (_with_first(batch, ragged) for batch in self)

    def _shares(self, consumed: int) -> Iterator[Share]:
        o = self.options
        return shares(
            self.length,
            consumed,
            batch_size=o.batch_size,
            rank=o.rank,
            world_size=o.world_size,
            drop_last=o.drop_last,
        )

    def _clips(self, positions: Rows) -> Rows:
        """The clips at these positions of the epoch."""
        o, size = self.options, self.options.batch_size * self.options.world_size
        if o.bucket < 2:
            return self._plan.rows(self.epoch, positions)
        first, last = positions[0] // (size * o.bucket), positions[-1] // (size * o.bucket)
        found = [self._bucket(int(number), size) for number in range(int(first), int(last) + 1)]
        return np.asarray(np.concatenate(found)[positions - first * size * o.bucket])

    def _bucket(self, number: int, size: int) -> Rows:
        """The clips of some batches, sorted by length, the full batches in an order of their own."""
        o = self.options
        start = number * size * o.bucket
        clips = self._plan.rows(
            self.epoch, np.arange(start, min(start + size * o.bucket, self.length))
        )
        clips = clips[np.argsort((self._stops - self._starts)[clips], kind="stable")]
        full = len(clips) // size
        if not o.shuffle or full < 2:
            return clips
        order = Permutation(full, key(o.seed, self.epoch, f"bucket {number}"))(np.arange(full))
        return np.concatenate(
            [clips[: full * size].reshape(full, size)[order].ravel(), clips[full * size :]]
        )

    def _make(self, share: Share) -> Any:
        positions = np.arange(share.start, share.stop)
        clips = self._clips(positions)
        starts, lengths = self._starts[clips], (self._stops - self._starts)[clips]
        rows = np.concatenate(
            [np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)]
        )
        values = np.empty((len(rows), int(np.prod(self._shape))), np.float32)
        self._gather.fill(rows, values)
        if self._normal is not None:
            values -= self._normal[0]
            values /= self._normal[1]
        feature_augment.disturb(
            values,
            self._jitter,
            Moment(self.options.seed, self.epoch, np.repeat(positions, lengths)),
        )
        padded = Padded(
            np.zeros((len(clips), lengths.max(), values.shape[1]), np.float32),
            lengths.astype(np.int32),
        )
        padded.features[padded.mask] = values
        shaped = padded._replace(
            features=padded.features.reshape(*padded.features.shape[:2], *self._shape)
        )
        return self._with_columns(shaped, starts)

    def _with_columns(self, padded: Padded, rows: Rows) -> Any:
        made: list[Any] = [padded]
        if self._target is not None:
            made.append(self._target.take(rows))
        if self._columns:
            made.append({name: values.take(rows) for name, values in self._columns.items()})
        return tuple(made) if len(made) > 1 else padded


def _check(options: ClipOptions, source: BatchSource) -> None:
    for name in ("batch_size", "bucket", "chunk", "world_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1", str(source.path), found=str(value))
    if not len(source):
        raise UsageError(
            "no rows to load", str(source.path), "a split or filter with rows", "an empty one"
        )
    if not 0 <= options.rank < options.world_size:
        raise UsageError(
            "no such rank",
            str(source.path),
            f"rank 0 to {options.world_size - 1}",
            str(options.rank),
        )


def _with_first(batch: Any, convert: Any) -> Any:
    """A batch with its clips in another form."""
    return convert(batch) if isinstance(batch, Padded) else (convert(batch[0]), *batch[1:])


def _torch_batches(loader: ClipLoader, packed: bool) -> Any:
    torch = require("torch", extra="torch")

    def tensor(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: tensor(each) for name, each in value.items()}
        return (
            torch.from_numpy(value)
            if isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
            else value
        )

    def clips(padded: Padded) -> Any:
        features, lengths = (
            torch.from_numpy(padded.features),
            torch.from_numpy(padded.lengths).long(),
        )
        if not packed:
            return features, lengths
        return torch.nn.utils.rnn.pack_padded_sequence(
            features, lengths, batch_first=True, enforce_sorted=False
        )

    class TorchClips(torch.utils.data.IterableDataset):  # type: ignore[misc,name-defined]
        """Batches of clips; with worker processes, each makes its share of them."""

        def __len__(self) -> int:
            return len(loader)

        def __iter__(self) -> Iterator[Any]:
            worker = torch.utils.data.get_worker_info()
            for batch in loader.batches((worker.id, worker.num_workers) if worker else (0, 1)):
                if isinstance(batch, Padded):
                    yield clips(batch)
                else:
                    yield (clips(batch[0]), *(tensor(each) for each in batch[1:]))

    return TorchClips()
