"""Blocks by threads: equal whoever computes them, stopped by an error, none computed twice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.errors import SourceError
from dof_arrow.extraction.block import Block
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.local_engine import compute
from dof_arrow.extraction.staging import Staging, blocks
from dof_arrow.extraction.views import ONE, ViewPlan
from dof_arrow.media.augment import load
from dof_arrow.sources.sample import Sample
from tests.support.pictures import Memory, core, pixels

ROWS = 100
quiet = lambda done, total, failed: None  # noqa: E731


class Simple:
    """What workers ask of a core: the mean colour, with a trap for dark pictures."""

    output_shape, fixed_batch, preprocessing = (3,), None, core().preprocessing

    def __init__(self, trap: float = 0.0) -> None:
        self.trap, self.batches = trap, []

    def room(self, rows: int) -> None:
        return None

    def prepare(self, picture: np.ndarray[Any, Any], out: None = None) -> np.ndarray[Any, Any]:
        return picture.astype(np.float32).mean(axis=(0, 1))

    def run(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.batches.append(len(batch))
        return np.where(batch.mean(axis=1, keepdims=True) < self.trap, np.float32("nan"), batch)


def job(source: Any, cores: Any = None, **options: Any) -> Job:
    return Job(
        **{
            "source": source,
            "cores": cores or {"feature": Simple()},
            "dtype": "float32",
            "batch_size": 8,
            "workers": 2,
            **options,
        }
    )


def staged(folder: Path, work: Job, progress: Any = quiet, identity: Any = None) -> list[Block]:
    with Staging(folder / "x.parquet").held(identity or {"run": 1}) as staging:
        compute(work, staging, progress)
        return [Block.joined(list(staging.pieces(n))) for n in staging.numbers()]


def test_every_input_once_and_in_order(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    tables = staged(tmp_path, job(Memory(ROWS)), lambda *update: seen.append(update))
    assert [t.inputs.tolist() for t in tables] == [list(rows) for rows in blocks(ROWS)]
    expected = [pixels(i, 4).astype("f4").mean(axis=(0, 1)) for i in range(ROWS)]
    found = np.concatenate([t.vectors("feature", (3,)) for t in tables])
    np.testing.assert_array_equal(found, np.array(expected, "f4"))
    assert seen[0] == (0, ROWS, 0) and seen[-1] == (ROWS, ROWS, 0)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_are_equal_whoever_computes_them(workers: int, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first, second = (
        staged(tmp_path / name, job(Memory(ROWS), {"feature": core()}, workers=n))
        for name, n in (("a", 2), ("b", workers))
    )
    for a, b in zip(first, second, strict=True):
        assert a.table.equals(b.table, check_metadata=True)


def test_the_first_error_stops_all_and_is_the_one_raised(tmp_path: Path) -> None:
    class Broken(Memory):
        def data(self, index: int) -> bytes:
            if index == 70:
                raise RuntimeError("block 2")
            return super().data(index)

    simple = Simple()
    before = set(threading.enumerate())  # other tests' among them
    with pytest.raises(RuntimeError, match="block 2"):
        staged(tmp_path, job(Broken(3000), {"feature": simple}))
    assert sum(simple.batches) < 1000
    assert not set(threading.enumerate()) - before


def test_a_core_that_fails_stops_the_run(tmp_path: Path) -> None:
    class Failing(Simple):
        def run(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            raise SourceError("the core failed")

    with pytest.raises(SourceError, match="the core failed"):
        staged(tmp_path, job(Memory(ROWS), {"feature": Failing()}))
    assert not list(tmp_path.iterdir())


def test_features_that_are_no_numbers_are_listed_and_stop_nothing(tmp_path: Path) -> None:
    tables = staged(tmp_path, job(Memory(ROWS), {"feature": Simple(trap=70.0), "other": Simple()}))
    failed = [f for t in tables for f in t.failures]
    dark = [i for i in range(ROWS) if pixels(i, 4).astype("f4").mean(axis=(0, 1)).mean() < 70]
    assert dark and [f.input for f in failed] == dark and {f.rule for f in failed} == {"not-finite"}
    assert sum(map(len, tables)) == ROWS - len(dark)
    assert all(len(t.vectors("other", (3,))) == len(t.facts) for t in tables)


def test_what_float16_cannot_hold_is_listed(tmp_path: Path) -> None:
    class Large(Simple):
        def run(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return batch * np.where(np.arange(len(batch)) == 1, 1e6, 1.0)[:, None].astype("f4")

    tables = staged(tmp_path, job(Memory(16), {"feature": Large()}, dtype="float16"))
    failed = tables[0].failures
    assert [f.input for f in failed] == [1, 9] and "float16" in failed[0].reason
    assert tables[0].vectors("feature", (3,)).dtype == np.float16


def test_a_fixed_batch_is_filled(tmp_path: Path) -> None:
    sixteen = Simple()
    sixteen.fixed_batch = 12
    shared = job(Memory(1), {"feature": sixteen}).shares(32, last=True)
    assert list(shared) == [range(0, 12), range(12, 24), range(24, 32)]
    staged(tmp_path, job(Memory(32), {"feature": sixteen}))
    assert sorted(sixteen.batches) == [8, 12, 12]


@pytest.mark.parametrize(
    ("batch", "views", "sizes"), [(2, 1, {8}), (3, 1, {9}), (16, 1, {16}), (8, 3, {8})]
)
def test_threads_take_whole_batches_and_the_last_ones_singly(
    batch: int, views: int, sizes: set[int]
) -> None:
    """So that a batch is the same whoever computes it, and threads end at the same time."""
    work = job(
        Memory(1),
        batch_size=batch,
        views=ViewPlan(count=views, augmentation=load("photo")) if views > 1 else ONE,
    )
    early, late = ([*work.shares(144, last=last)] for last in (False, True))
    assert {len(r) for r in early} == sizes and {len(r) for r in late} == {max(batch // views, 1)}
    for shared in (early, late):
        assert [i for places in shared for i in places] == list(range(144))


def test_blocks_that_are_there_are_told_first_and_not_computed_again(tmp_path: Path) -> None:
    def stop(done: int, total: int, failed: int) -> None:
        if done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        staged(tmp_path, job(Memory(ROWS), workers=1), stop)
    simple, seen = Simple(), []
    staged(tmp_path, job(Memory(ROWS), {"feature": simple}), lambda *update: seen.append(update))
    assert seen[0][0] in (32, 64) and sum(simple.batches) == ROWS - seen[0][0]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "one.ppm"
    file.write_bytes(b"P6 1 1 255 " + bytes([9, 9, 9]))

    class One(Memory):
        def __getitem__(self, index: int) -> Sample:
            return Sample(key="one", data=file)

    identity = {"run": 1}
    first = staged(tmp_path, job(One(1)), identity=identity)[0]
    assert first.vectors("feature", (3,)).tolist() == [[9, 9, 9]]
    file.write_bytes(b"P6 1 1 255 " + bytes([7, 7, 7]) + b"\n")
    again = staged(tmp_path, job(One(1)), identity=identity)[0]
    assert again.vectors("feature", (3,)).tolist() == [[7, 7, 7]]


def test_a_file_that_changes_while_it_is_read_is_read_again_by_the_next_start(
    tmp_path: Path,
) -> None:
    """What is kept of a file is its stamp before it was read."""
    file = tmp_path / "one.ppm"
    file.write_bytes(b"P6 1 1 255 " + bytes([9, 9, 9]))

    class One(Memory):
        def __getitem__(self, index: int) -> Sample:
            return Sample(key="one", data=file)

    class Meanwhile(Simple):
        def run(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            file.write_bytes(b"P6 1 1 255 " + bytes([7, 7, 7]) + b"\n")
            return super().run(batch)

    first = staged(tmp_path, job(One(1), {"feature": Meanwhile()}))
    assert first[0].vectors("feature", (3,)).tolist() == [[9, 9, 9]]
    again = staged(tmp_path, job(One(1)))[0]
    assert again.vectors("feature", (3,)).tolist() == [[7, 7, 7]]


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    class Bad(Memory):
        def data(self, index: int) -> bytes:
            return b"no picture"

    with pytest.raises(SourceError, match=r"at most 3, found 8. Raise --max-errors"):
        staged(tmp_path, job(Bad(ROWS), max_errors=3, batch_size=1, workers=1))


def test_a_block_in_which_all_fail_is_a_block(tmp_path: Path) -> None:
    class HalfBad(Memory):
        def data(self, index: int) -> bytes:
            return b"no picture" if index < 40 else super().data(index)

    tables = staged(tmp_path, job(HalfBad(70), {"feature": core()}))
    assert [len(t) for t in tables] == [0, 24, 6]
