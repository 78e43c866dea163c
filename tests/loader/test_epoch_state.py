"""Where a loader stands: what both loaders say of it, and which states they refuse."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer
from dof_arrow.loader.epoch_state import Resumable
from dof_arrow.tables import gather

CLIPS = 30
Make = Callable[..., Resumable]


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Clips of two frames, the number of the clip in each."""
    return _clips(tmp_path_factory.mktemp("state") / "x.parquet")


def _clips(path: Path, **layout: Any) -> Dataset:
    with Writer(path, **layout) as writer:
        for clip in range(CLIPS):
            writer.write(
                ids=[f"clip{clip:02d}"] * 2,
                vectors={"feature": np.full((2, 4), clip, np.float32)},
                columns={"frame": np.arange(2, dtype=np.int32)},
            )
    return dataset.open(path)


@pytest.fixture(params=["rows", "clips"])
def make(request: pytest.FixtureRequest, ds: Dataset) -> Make:
    """Makes a loader of `CLIPS` rows, or of as many clips."""
    if request.param == "rows":
        return ds[:CLIPS].loader
    return ds.clip_loader


def _batches(loader: Resumable) -> list[np.ndarray]:
    return [batch if isinstance(batch, np.ndarray) else batch.features for batch in loader]


def _same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    if len(found) != len(expected):
        return False
    return all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_state_is_four_numbers_that_json_holds(make: Make) -> None:
    loader = make(batch_size=8, seed=3)
    assert loader.state_dict() == {"seed": 3, "epoch": 0, "consumed": 0, "length": CLIPS}
    next(iter(loader))
    assert loader.state_dict() == {"seed": 3, "epoch": 0, "consumed": 8, "length": CLIPS}
    assert json.loads(json.dumps(loader.state_dict())) == loader.state_dict()


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("stop", range(5))
def test_what_comes_after_a_state_is_what_would_have_come(
    make: Make, stop: int, drop_last: bool
) -> None:
    options: dict[str, Any] = {"batch_size": 8, "shuffle": True, "drop_last": drop_last}
    whole = make(**options)
    first, second = _batches(whole), _batches(whole)
    begun = make(**options)
    taken = list(islice(iter(begun), min(stop, len(begun))))
    again = make(**options)
    again.load_state_dict(begun.state_dict())
    assert _same(_batches(again), first[len(taken) :] or second)


def test_a_state_after_batches_that_others_made(make: Make) -> None:
    loader = make(batch_size=8, shuffle=True)
    assert loader.state_after(2)["consumed"] == 16
    loader.load_state_dict(loader.state_after(2))
    assert loader.state_after(1)["consumed"] == 24
    assert loader.state_after(0)["consumed"] == 16
    over = loader.state_after(99)
    assert (over["epoch"], over["consumed"]) == (1, 0)


def test_numbers_of_other_types_are_taken(make: Make) -> None:
    loader = make()
    loader.load_state_dict(
        {"seed": np.int64(0), "epoch": 2.0, "consumed": np.array(4), "length": CLIPS}
    )
    assert loader.state_dict() == {"seed": 0, "epoch": 2, "consumed": 4, "length": CLIPS}
    assert type(loader.epoch) is int


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length": 7}, "expected 30 (rows|clips) an epoch, found 7"),
        ({"length": None}, "expected a whole number under 'length', found none"),
        ({"epoch": None}, "under 'epoch', found none"),
        ({"epoch": "second\n"}, r"found 'second\\n'"),
        ({"epoch": 1.5}, "found 1.5"),
        ({"consumed": -8}, "expected 0 or more consumed, found -8"),
        ({"consumed": float("nan")}, "found nan"),
        ({"consumed": float("inf")}, "found inf"),
        ({"seed": [0]}, r"found \[0\]"),
    ],
)
def test_foreign_states_are_refused(make: Make, change: dict[str, Any], words: str) -> None:
    loader = make()
    with pytest.raises(UsageError, match=f"another loader: .*{words}"):
        loader.load_state_dict(loader.state_dict() | change)
    with pytest.raises(UsageError, match="another loader"):
        loader.load_state_dict({})
    assert loader.state_dict()["epoch"] == 0


def test_rows_go_on_with_the_seed_of_a_state_and_clips_refuse_it(ds: Dataset) -> None:
    rows = ds.loader(shuffle=True)
    rows.load_state_dict(rows.state_dict() | {"seed": 5})
    assert _same(_batches(rows), _batches(ds.loader(shuffle=True, seed=5)))
    clips = ds.clip_loader()
    with pytest.raises(UsageError, match="another loader: expected seed 0, found 5"):
        clips.load_state_dict(clips.state_dict() | {"seed": 5})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size of 1 or more"),
        ({"world_size": 0}, "world_size of 1 or more"),
        ({"rank": 2, "world_size": 2}, "rank 0 to 1"),
        ({"world_size": 31}, "at most 30, found 31. Use world_size=30"),
        ({"batch_size": 31, "drop_last": True}, "Use batch_size=30, or drop_last=False"),
    ],
)
def test_an_epoch_that_cannot_be_dealt_out_is_refused(
    make: Make, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        make(**options)


@pytest.mark.parametrize("call", ["loader", "clip_loader"])
def test_the_warning_of_an_encoded_file_names_the_calling_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", 100)
    ds = _clips(tmp_path / "c.parquet", layout="compact", geometry=Geometry(10, 4096))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(ds, call)(shuffle=True)
    assert [each.category for each in caught] == [DofWarning]
    assert caught[0].filename == __file__


@pytest.mark.parametrize("workers", [0, 2])
def test_each_pass_of_a_torch_dataloader_is_an_epoch(make: Make, workers: int) -> None:
    torch = pytest.importorskip("torch")
    loader: Any = make(batch_size=8, shuffle=True)
    expected = [_batches(loader) for _ in range(2)]
    loader.set_epoch(0)
    data = torch.utils.data.DataLoader(loader.to_torch(), batch_size=None, num_workers=workers)
    for epoch in expected:
        found = [batch[0] if isinstance(batch, (tuple, list)) else batch for batch in data]
        assert _same([features.numpy() for features in found], epoch)
