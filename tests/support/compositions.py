"""Random compositions of datasets and loaders, each checked against `loader_reference`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from dof_arrow.dataset.dataset import Dataset, concat
from dof_arrow.errors import UsageError
from tests.support.loader_reference import Reference
from tests.support.making_rows import made

ROWS = 60
OTHER = 40  # rows of the second file: the first of the same ids
FACES = ("loop", "numpy", "torch", "keras")
PROCESSES = ("torch-1", "torch-2")


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


class Compositions:
    """Two files, and datasets put together from them, each with the rows that it must hold."""

    def __init__(self, folder: Path) -> None:
        self.whole = made(folder / "a.parquet", ROWS, group_rows=16)
        self.other = made(folder / "b.parquet", OTHER, layout="compact")

    def drawn(self, random: np.random.Generator) -> tuple[Dataset, list[int]]:
        """A dataset, and its rows."""
        ds, rows = self._chosen(self.whole, list(range(ROWS)), random)
        kind = random.integers(4)
        if kind == 0:
            second, more = self._chosen(self.other, list(range(OTHER)), random)
            ds, rows = concat([ds, second]), rows + more
            ds, rows = self._changed(ds, rows, random)
        elif kind == 1:
            ds, rows = ds.join(self.other), [row for row in rows if row < OTHER]
        return ds, rows

    def _chosen(
        self, ds: Dataset, rows: list[int], random: np.random.Generator
    ) -> tuple[Dataset, list[int]]:
        if random.random() < 0.3:
            train = len(rows) * 3 // 4
            ds, rows = ds.split("train"), [row for row in rows if row < train]
        for _ in range(random.integers(3)):
            ds, rows = self._changed(ds, rows, random)
        return ds, rows

    def _changed(
        self, ds: Dataset, rows: list[int], random: np.random.Generator
    ) -> tuple[Dataset, list[int]]:
        kind = random.integers(4)
        if kind == 0 and rows:
            places = random.permutation(len(rows))[: random.integers(1, len(rows) + 1)]
            return ds.take(places), [rows[place] for place in places]
        if kind == 1:
            age = int(random.integers(20, 80))
            return ds.filter(pc.field("age") > age), [r for r in rows if 20 + r * 7 % 60 > age]
        if kind == 2:
            start, stop = sorted(random.integers(0, len(rows) + 1, 2).tolist())
            return ds[start:stop], rows[start:stop]
        mask = random.random(len(rows)) < 0.7
        return ds[mask], [row for row, taken in zip(rows, mask, strict=True) if taken]


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


def classes_of(asked: Asked, rows: list[int]) -> list[int] | None:
    """The class of each row by which it is balanced."""
    if asked.balance is None:
        return None
    return [row % 3 if asked.balance == "label" else int(row % 10 == 0) for row in rows]


def trial(made_of: Compositions, number: int, faces: tuple[str, ...]) -> str:
    """What is wrong with a composition, "" for nothing."""
    random = np.random.default_rng(number)
    ds, rows = made_of.drawn(random)
    if ds.to_numpy()[:, 0].tolist() != rows:
        return "other rows"
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
            size = int(random.choice([expected.asked.batch_size, expected.asked.batch_size + 2]))
            asked = replace(expected.asked, batch_size=size)
            if asked.drop_last and size * asked.world_size > expected.length:
                asked = expected.asked
            expected.asked = asked
            view = _seen(ds.loader(**asked.options()), face)
            view.load_state_dict(state)
            expected.begun = False
            expected.end_if_over()
        most = None if random.random() < 0.6 else int(random.integers(len(loader) + 1))
        found = list(islice(_plain(view, face), most))
        wrong = _wrong([found], [expected.take(most)])
        if wrong:
            return f"{face}: {wrong}"
    return ""


def _wrong(found: list[list[list[int]]], expected: list[list[list[int]]]) -> str:
    return "" if found == expected else f"found {found}, expected {expected}"


def _seen(loader: Any, face: str) -> Any:
    return loader.to_torch() if face.startswith("torch") else loader


def _plain(view: Any, face: str) -> Iterator[list[int]]:
    """The rows of each batch of a pass in one of the forms."""
    if face.startswith("torch-"):
        from torch.utils.data import DataLoader

        view = DataLoader(view, batch_size=None, num_workers=int(face[-1]))
    batches = view.owned_batches() if face == "numpy" else iter(view)
    return map(rows_of, batches)


def rows_of(batch: Any) -> list[int]:
    """The rows of a batch, whose target and column are checked."""
    features, label, columns = batch
    rows = [int(value) for value in features[:, 0]]
    assert [int(value) for value in label] == [row % 3 for row in rows]
    assert [int(value) for value in columns["age"]] == [20 + row * 7 % 60 for row in rows]
    return rows


def _keras_epochs(loader: Any) -> list[list[list[int]]]:
    """Three epochs as `model.fit` takes them."""
    from keras.src.trainers.epoch_iterator import EpochIterator

    epochs = EpochIterator(loader.to_keras(), shuffle=True)
    epochs.reset()
    return [[_keras_rows(data[0]) for _, _, data in epochs] for _ in range(3)]


def _keras_rows(batch: Any) -> list[int]:
    inputs, label = batch
    return rows_of((inputs["feature"], label, inputs))


def run(
    folder: Path, trials: int, faces: Callable[[int], tuple[str, ...]], first: int = 0
) -> dict[int, str]:
    """Try so many compositions; what is wrong, by the number of the composition."""
    made_of = Compositions(folder)
    wrong = {}
    for number in range(first, first + trials):
        found = trial(made_of, number, faces(number))
        if found:
            wrong[number] = found
    return wrong
