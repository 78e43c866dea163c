"""Where a loader stands: which epoch, how much of it is used up, and how that is saved and taken up
again.

What comes next follows from the seed, the epoch and the positions that all ranks have used up. So a
state is four numbers, and it goes on with another batch size, other threads or other ranks.

The same holds for rows, clips and pictures, and for the loader in the form of any framework:

- Each pass over a loader is an epoch, and begins with `iter`; the next one is the next epoch,
  whether the one before was broken off or not.
- An epoch ends when its last batch is handed out.
- `load_state_dict` makes the next pass go on inside the epoch of the state, at the next batch.
- `set_epoch` makes the next pass a whole epoch of that number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Protocol
from weakref import WeakSet

from dof_arrow.errors import UsageError
from dof_arrow.sampling.plan import Share, shares, steps

State = dict[str, int]

# Shares of an epoch, and the number of the epoch, to batches with their shares.
Make = Callable[[Iterator[Share], int], Iterable[tuple[Share, Any]]]

_KEYS = ("seed", "epoch", "consumed", "length")


@dataclass(slots=True)
class Place:
    """Where a pass stands: its epoch, and the positions of it that all ranks have used up.

    `begun`: a pass has begun here, so the next one is that of the next epoch.
    """

    epoch: int
    consumed: int = 0
    begun: bool = False

    def end(self) -> None:
        """The last batch is handed out: stand at the start of the next epoch."""
        self.epoch += 1
        self.consumed = 0
        self.begun = False


class Follower(Protocol):
    """Somebody who begins passes elsewhere, and has to know where the next one begins."""

    def restart(self, epoch: int, consumed: int) -> None:
        """The next pass begins here."""


class Resumable(ABC):
    """What all loaders have in common: their place in an epoch, and states that tell it."""

    unit: ClassVar[str]
    """What an epoch consists of, in messages: rows, clips."""

    source: Any
    options: Any

    def __init__(self, where: str) -> None:
        self._where = where
        self._place = Place(0)
        self._followers: WeakSet[Any] = WeakSet()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.source, self.options, self.state_dict())

    @property
    def epoch(self) -> int:
        """The epoch of the pass that was begun last, or of the next one if that has ended."""
        return self._place.epoch

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

    @abstractmethod
    def batch(self, index: int) -> Any:
        """One batch of this epoch by its number, the caller's own; no pass begins.

        Raises IndexError if there is none.
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
        """Choose the epoch that the next pass gives, from its start.

        Raises UsageError for what is no whole number.
        """
        if not _is_whole(epoch):
            raise UsageError("no such epoch", self._where, "a whole number", _shown(epoch))
        self.load_place(int(epoch), 0)

    def state_dict(self) -> State:
        """Where this loader stands: four numbers for `load_state_dict`, which JSON can hold."""
        return self._state(self._place.epoch, self._place.consumed)

    def next_place(self) -> tuple[int, int]:
        """The epoch of the next pass, and the position in it at which it begins."""
        if self._place.begun:
            return self._place.epoch + 1, 0
        return self._place.epoch, self._place.consumed

    def state_after(self, batches: int, begins: tuple[int, int] | None = None) -> State:
        """The state after so many batches of a pass that begins at this place, or of the next."""
        epoch, consumed = begins or self.next_place()
        for share in islice(self._shares(consumed), batches):
            consumed = share.consumed
        if self._is_over(consumed):
            return self._state(epoch + 1, 0)
        return self._state(epoch, consumed)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a state was taken; batch size, threads and ranks may differ from then.

        Raises UsageError for the state of another dataset, or of options that draw others.
        """
        self._refuse_foreign(state)
        self._take_seed(int(state["seed"]))
        epoch = int(state["epoch"])
        consumed = int(state["consumed"])
        if self._is_over(consumed):  # nothing of that epoch is left
            epoch += 1
            consumed = 0
        self.load_place(epoch, consumed)

    def load_place(self, epoch: int, consumed: int) -> None:
        """Have the next pass begin at a position of an epoch."""
        self._place = Place(epoch, consumed)
        self._tell()

    def start_state(self) -> State:
        """The state with which the next pass begins."""
        return self._state(*self.next_place())

    def follow(self, follower: Follower) -> None:
        """Tell someone from now on where the next pass begins, whenever that changes."""
        self._followers.add(follower)

    def _tell(self) -> None:
        for follower in self._followers:
            follower.restart(*self.next_place())

    def _state(self, epoch: int, consumed: int) -> State:
        return {
            "seed": self.options.seed,
            "epoch": epoch,
            "consumed": consumed,
            "length": self.length,
        }

    def _take_seed(self, seed: int) -> None:
        """Go on with the seed of a state; a loader that cannot refuses it."""
        if seed != self.options.seed:
            raise self._foreign(f"seed {self.options.seed}", str(seed))

    def _refuse_foreign(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping):
            raise self._foreign("a state that state_dict gave", _shown(state))
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

    def _share(self, index: int) -> Share:
        """The share of a batch of this epoch by its number; IndexError if there is none."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        # Only the last two steps can be smaller than full, so the one before begins at a multiple.
        before = max(index - 1, 0)
        dealt = self._shares(before * self.options.batch_size * self.options.world_size)
        return next(islice(dealt, index - before, None))

    def _is_over(self, consumed: int) -> bool:
        """Whether no rank gets another batch of an epoch of which so much is used up."""
        return consumed >= self._end()

    def _end(self) -> int:
        """How many positions of an epoch are used up when no rank gets another batch of it."""
        if not self.options.drop_last:
            return self.length
        full = int(self.options.batch_size * self.options.world_size)
        return self.length - full + 1

    def _begin(self) -> Place:
        """The place of a new pass."""
        self._place = Place(*self.next_place(), begun=True)
        self._tell()
        return self._place

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

    def _one_pass(self, make: Make, part: tuple[int, int]) -> Iterator[Any]:
        """One pass: `make` turns shares of its epoch into batches, ahead of time if it likes.

        `part` (i, n): each n-th batch from the i-th on, for worker processes. Positions count as
        used up once the batch is handed over.
        """
        # The place is taken here, not when the first batch is asked for: two passes that are begun
        # one after the other are two epochs, whichever gives batches first.
        return self._handed_out(make, self._begin(), part)

    def _handed_out(self, make: Make, place: Place, part: tuple[int, int]) -> Iterator[Any]:
        first, step = part
        epoch = place.epoch
        end = self._end()
        dealt = islice(self._shares(place.consumed), first, None, step)
        # `make` may take shares long before their batches are asked for, so it gives them back.
        for share, batch in make(dealt, epoch):
            place.consumed = share.consumed
            if share.consumed >= end:
                place.end()
            yield batch
        if place.epoch == epoch:  # the last batch went to another rank, or another worker process
            place.end()


def _restored(kind: type[Resumable], source: Any, options: Any, state: State) -> Resumable:
    """A loader in another process, where this one stands."""
    loader = kind(source, options)  # type: ignore[call-arg]  # every loader is made of these
    loader.load_state_dict(state)
    return loader


def _is_whole(value: Any) -> bool:
    """Whether this is a whole number, of whatever type: a state may have been an array or JSON."""
    try:
        return bool(int(value) == value)
    except (TypeError, ValueError, OverflowError):
        return False


def _shown(value: Any) -> str:
    return "none" if value is None else ascii(value)[:100]
