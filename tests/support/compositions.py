"""Random compositions of datasets and loaders, each checked against `loader_reference`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, UsageError
from tests.support.composed_rows import Composed, Maker
from tests.support.loader_reference import Reference

FACES = ("loop", "numpy", "torch", "lightning", "keras")
PROCESSES = ("torch-1", "torch-2", "lightning-1", "lightning-2")
Seen = tuple[int, int, int]  # the number of a row, the code of its label, its age


@dataclass(frozen=True)
class Asked:
    """What is asked of a loader."""

    batch_size: int
    shuffle: bool
    seed: int
    drop_last: bool
    rank: int
    world_size: int
    balance: Any = None
    shares: Any = None  # of each class, for the reference
    workers: int = 0

    def options(self) -> dict[str, Any]:
        """As a loader takes it."""
        found = dict(vars(self))
        del found["shares"]
        return {**found, "target": "label", "columns": ["age"]}


def asked_of(random: np.random.Generator, rows: int) -> Asked:
    """Options of a loader."""
    world = int(random.choice([1, 1, 1, 2, 3]))
    balance, shares = [(None, None), ("ill", None), ("label", None), ({"ill": 0.3}, (0.7, 0.3))][
        int(random.choice([0, 0, 0, 1, 2, 3]))
    ]
    return Asked(
        batch_size=int(random.choice([1, 2, 3, 5, 8, 16, max(rows, 1), rows + 3])),
        shuffle=bool(random.random() < 0.7 or balance is not None),
        seed=int(random.integers(5)),
        drop_last=bool(random.random() < 0.3),
        rank=int(random.integers(world)),
        world_size=world,
        balance=balance,
        shares=None if shares is None else dict(enumerate(shares)),
        workers=int(random.integers(3)),
    )


def seen_of(composed: Composed) -> list[Seen]:
    """The rows as a loader shows them."""
    code = {name: place for place, name in enumerate(composed.classes)}
    return [(row.number, code[row.label], row.age) for row in composed.rows]


def classes_of(asked: Asked, rows: Sequence[Seen]) -> list[int] | None:
    """The class of each row by which it is balanced."""
    if asked.balance is None:
        return None
    if asked.balance == "label":
        return [label for _, label, _ in rows]
    return [int(number % 10 == 0) for number, _, _ in rows]


def trial(maker: Maker, number: int, faces: tuple[str, ...]) -> str:
    """What is wrong with a composition, "" for nothing."""
    random = np.random.default_rng(number)
    composed = maker.drawn(random)
    ds = composed.ds
    rows = seen_of(composed)
    found = list(zip(*(ds.to_numpy(name).tolist() for name in ("label", "age")), strict=True))
    if ds.to_numpy("feature")[:, 0].tolist() != [row[0] for row in rows]:
        return "other rows"
    if found != [row[1:] for row in rows]:
        return "other values"
    asked = asked_of(random, len(rows))
    expected = Reference(rows, classes_of(asked, rows), asked)
    face = str(random.choice(faces))
    try:
        loader = ds.loader(**asked.options())
    except UsageError:
        return "refused" if expected.is_possible else ""
    if not expected.is_possible:
        return "not refused"
    if len(loader) != expected.batches():
        return f"len {len(loader)} for {expected.batches()}"
    if face == "keras":
        return _wrong(_keras_epochs(loader), [expected.take() for _ in range(3)])
    return _passes(ds, loader, expected, face, random)


def _passes(
    ds: Dataset, loader: Any, expected: Reference, face: str, random: np.random.Generator
) -> str:
    """Passes, some broken off, with a state carried to another loader before some of them."""
    view = _seen(loader, face)
    for _ in range(4):
        event = random.integers(5)
        if event == 0:
            epoch = int(random.integers(6))
            view.set_epoch(epoch)
            expected.epoch, expected.consumed, expected.begun = epoch, 0, False
        elif event == 1 and face not in PROCESSES:
            state = view.state_dict()
            if (state["epoch"], state["consumed"]) != (expected.epoch, expected.consumed):
                return f"state {state} for {expected.epoch}, {expected.consumed}"
            asked = _of_others(expected, random)
            expected.asked = asked
            loader = ds.loader(**asked.options())
            view = _seen(loader, face)
            view.load_state_dict(state)
            expected.begun = False
            expected.end_if_over()
        most = _asked_for(face, len(loader), random)
        found = list(islice(_plain(view, face, len(loader)), most))
        wrong = _wrong([found], [expected.take(most)])
        if wrong:
            return f"{face}: {wrong}"
    return ""


def _of_others(expected: Reference, random: np.random.Generator) -> Asked:
    """What another run asks for that goes on: batches of another size, or other ranks."""
    asked = expected.asked
    world = int(random.choice([asked.world_size, 1, 2]))
    size = int(random.choice([asked.batch_size, asked.batch_size + 2]))
    rank = int(random.integers(world))
    other = replace(asked, batch_size=size, world_size=world, rank=rank)
    least = size * world if asked.drop_last else world
    return asked if least > expected.length else other


def _asked_for(face: str, length: int, random: np.random.Generator) -> int | None:
    """How many batches a pass takes: all and the end, exactly as many as there are, or fewer."""
    if face.startswith("lightning"):
        return length
    kind = random.random()
    if kind < 0.5:
        return None
    return length if kind < 0.7 else int(random.integers(length + 1))


def _wrong(found: list[list[list[Seen]]], expected: list[list[list[Seen]]]) -> str:
    return "" if found == expected else f"found {found}, expected {expected}"


def _seen(loader: Any, face: str) -> Any:
    return loader.to_torch() if face.startswith(("torch", "lightning")) else loader


def _plain(view: Any, face: str, length: int) -> Iterator[list[Seen]]:
    """The rows of each batch of a pass in one of the forms.

    Lightning takes as many as the DataLoader says that it has, and asks for no end.
    """
    if face.startswith("lightning") or face in PROCESSES:
        from torch.utils.data import DataLoader

        workers = int(face[-1]) if face in PROCESSES else 0
        view = DataLoader(view, batch_size=None, num_workers=workers)
        assert len(view) == length
    batches = view.owned_batches() if face == "numpy" else iter(view)
    return map(rows_of, batches)


def rows_of(batch: Any) -> list[Seen]:
    """The rows of a batch."""
    features, label, columns = batch
    parts = (features[:, 0], label, columns["age"])
    return [(int(row), int(code), int(age)) for row, code, age in zip(*parts, strict=True)]


def _keras_epochs(loader: Any) -> list[list[list[Seen]]]:
    """Three epochs as `model.fit` takes them."""
    from keras.src.trainers.epoch_iterator import EpochIterator

    epochs = EpochIterator(loader.to_keras(), shuffle=True)
    epochs.reset()
    return [[_keras_rows(data[0]) for _, _, data in epochs] for _ in range(3)]


def _keras_rows(batch: Any) -> list[Seen]:
    inputs, label = batch
    return rows_of((inputs["feature"], label, inputs))


def run(
    folder: Path, trials: int, faces: Callable[[int], tuple[str, ...]], first: int = 0
) -> dict[int, str]:
    """Try so many compositions; what is wrong, by the number of the composition."""
    maker = Maker(folder)
    wrong = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DofWarning)  # rows that do not meet, compact files
        for number in range(first, first + trials):
            found = trial(maker, number, faces(number))
            maker.clear()
            if found:
                wrong[number] = found
    return wrong
