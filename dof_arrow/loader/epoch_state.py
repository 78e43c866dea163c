"""Where a loader stands: which epoch, how much of it is used up, and how that is saved and taken up
again.

What comes next follows from the seed, the epoch and the positions that all ranks have used up. So a
state is four numbers, and it goes on with another batch size, other threads or other ranks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

from dof_arrow.errors import UsageError
from dof_arrow.loader.options import EpochOptions
from dof_arrow.sampling.plan import Share, shares, steps

State = dict[str, int]

_KEYS = ("seed", "epoch", "consumed", "length")


class Resumable(ABC):
    """What all loaders have in common: their place in an epoch, and states that tell it."""

    unit: ClassVar[str]
    """What an epoch consists of, in messages: rows, clips."""

    options: EpochOptions

    def __init__(self, where: str) -> None:
        self.epoch = 0
        self._where = where
        self._consumed = 0
        self._resumed = False

    @property
    @abstractmethod
    def length(self) -> int:
        """Positions in an epoch."""

    @abstractmethod
    def owned_batches(
        self, *, threads: int | None = None, part: tuple[int, int] = (0, 1)
    ) -> Iterator[Any]:
        """One epoch of batches that are the caller's own.

        `threads` make them ahead, by default as the options say. `part` (i, n): each n-th batch
        from the i-th on, for worker processes.
        """

    def __len__(self) -> int:
        """Batches in an epoch."""
        return steps(
            self.length,
            batch_size=self.options.batch_size,
            world_size=self.options.world_size,
            drop_last=self.options.drop_last,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives, from its start."""
        self.epoch = int(epoch)
        self._consumed = 0
        self._resumed = False

    def state_dict(self) -> State:
        """Where this loader stands: four numbers for `load_state_dict`, which JSON can hold."""
        return {
            "seed": self.options.seed,
            "epoch": self.epoch,
            "consumed": self._consumed,
            "length": self.length,
        }

    def state_after(self, batches: int) -> State:
        """Where this loader would stand so many batches after its next iteration begins."""
        consumed = self._begin()
        for share in islice(self._shares(consumed), batches):
            consumed = share.consumed
        return self.state_dict() | {"consumed": consumed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a state was taken; batch size, threads and ranks may differ from then.

        Raises UsageError for the state of another dataset, or of options that draw others.
        """
        self._refuse_foreign(state)
        self._take_seed(int(state["seed"]))
        self.set_epoch(state["epoch"])
        self._consumed = int(state["consumed"])
        self._resumed = True
        # A state taken after the last batch of an epoch goes on with the next epoch.
        if self._consumed and self._is_over():
            self.set_epoch(self.epoch + 1)

    def _take_seed(self, seed: int) -> None:
        """Go on with the seed of a state; a loader that cannot refuses it."""
        if seed != self.options.seed:
            raise self._foreign(f"seed {self.options.seed}", str(seed))

    def _refuse_foreign(self, state: Mapping[str, Any]) -> None:
        for key in _KEYS:
            if not _is_whole(state.get(key)):
                raise self._foreign(f"a whole number under {key!r}", _shown(state.get(key)))
        if state["consumed"] < 0:
            raise self._foreign("0 or more consumed", str(state["consumed"]))
        if state["length"] != self.length:
            raise self._foreign(f"{self.length} {self.unit} an epoch", str(state["length"]))

    def _foreign(self, expected: str, found: str) -> UsageError:
        return UsageError(
            "the state is of another loader",
            self._where,
            expected,
            found,
            "Make the loader of the same dataset with the same options, then load it.",
        )

    def _is_over(self) -> bool:
        """Whether no rank gets another batch of this epoch; rank 0 gets one if any does."""
        return next(self._shares(self._consumed, rank=0), None) is None

    def _begin(self) -> int:
        """The position at which the next iteration begins."""
        return self._consumed if self._resumed else 0

    def _shares(self, consumed: int, rank: int | None = None) -> Iterator[Share]:
        """The batches of a rank, by default this one, from a position of the epoch on."""
        return shares(
            self.length,
            consumed,
            batch_size=self.options.batch_size,
            rank=self.options.rank if rank is None else rank,
            world_size=self.options.world_size,
            drop_last=self.options.drop_last,
        )

    def _one_epoch(
        self,
        make: Callable[[Iterator[Share]], Iterable[tuple[Share, Any]]],
        part: tuple[int, int],
    ) -> Iterator[Any]:
        """One epoch: `make` turns shares into batches, ahead of time if it likes.

        `part` (i, n): each n-th batch from the i-th on, for worker processes. Positions count as
        used up once the batch is handed over.
        """
        self._consumed = self._begin()
        self._resumed = False
        first, step = part
        # `make` may take shares long before their batches are asked for, so it gives them back.
        for share, batch in make(islice(self._shares(self._consumed), first, None, step)):
            self._consumed = share.consumed
            yield batch
        self.set_epoch(self.epoch + 1)


def _is_whole(value: Any) -> bool:
    """Whether this is a whole number, of whatever type: a state may have been an array or JSON."""
    try:
        return bool(int(value) == value)
    except (TypeError, ValueError, OverflowError):
        return False


def _shown(value: Any) -> str:
    return "none" if value is None else ascii(value)[:100]
