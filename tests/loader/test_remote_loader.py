"""Epochs over a store: each byte once, rows shuffled within windows of row groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.loader import batches
from dof_arrow.tables import gather, row_groups
from tests.support import making
from tests.support.range_server import RangeServer

ROWS, WIDTH = 2048, 256
VECTORS = making.vectors(ROWS, WIDTH)


@pytest.fixture
def server(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    monkeypatch.setattr(gather, "IN_MEMORY", 0)
    monkeypatch.setattr(row_groups, "_FETCHED", 6 * 256 * WIDTH * 4)  # windows of two groups
    monkeypatch.setattr(batches, "_TASK", 64 * WIDTH * 4)
    path = making.write(
        tmp_path / "x.parquet", ROWS, VECTORS, {"row": np.arange(ROWS, dtype="i4")}, group=256
    )
    made = RangeServer({"/x.parquet": path.read_bytes()})
    with made.serving() as address:
        made.address = f"{address}/x.parquet"
        yield made


def epoch(loader: object) -> np.ndarray:
    """The rows of an epoch in order, each compared with what it should be."""
    seen = []
    for x, columns in loader:  # type: ignore[attr-defined]
        assert np.array_equal(x, VECTORS[columns["row"]])
        seen.append(columns["row"])
    return np.concatenate(seen)


@pytest.mark.parametrize("kept", ["", "0"])
def test_an_epoch_reads_each_byte_once(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    monkeypatch.setenv("DOF_CACHE_BYTES", kept)
    loader = dataset.open(server.address).loader(batch_size=64, shuffle=True, columns=["row"])
    server.forget()
    first = epoch(loader)
    assert sorted(first) == list(range(ROWS)) and not np.array_equal(first, np.arange(ROWS))
    # Page headers and levels, and the gaps that pages of so few rows leave, are read too.
    assert server.given < 1.02 * VECTORS.nbytes
    second = epoch(loader)
    assert sorted(second) == list(range(ROWS)) and not np.array_equal(first, second)
    assert server.given < (2.04 if kept else 1.02) * VECTORS.nbytes


def test_the_order_does_not_depend_on_what_is_kept(server: RangeServer) -> None:
    first = epoch(dataset.open(server.address).loader(shuffle=True, columns=["row"], seed=3))
    again = epoch(dataset.open(server.address).loader(shuffle=True, columns=["row"], seed=3))
    assert np.array_equal(first, again)


def test_a_part_of_the_rows_and_an_ordered_epoch(server: RangeServer) -> None:
    ds = dataset.open(server.address)
    assert np.array_equal(epoch(ds.loader(columns=["row"])), np.arange(ROWS))
    some = epoch(ds[300:900].loader(columns=["row"], shuffle=True))
    assert sorted(some) == list(range(300, 900))


def test_small_datasets_are_shuffled_whole(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", 1 << 30)
    loader = dataset.open(server.address).loader(shuffle=True, columns=["row"])
    assert loader.plan.blocks is None and sorted(epoch(loader)) == list(range(ROWS))


def test_a_damaged_segment_ends_the_epoch(server: RangeServer) -> None:
    data = server.files["/x.parquet"]
    loader = dataset.open(server.address).loader(columns=["row"])
    server.tagged = True
    server.fault = lambda number: "flipped"
    with pytest.raises(FormatError, match="damaged"):
        epoch(loader)
    assert data == server.files["/x.parquet"]


def test_what_mixes_any_rows_says_what_to_do(server: RangeServer) -> None:
    with pytest.raises(UsageError, match="dof convert"):
        dataset.open(server.address).loader(shuffle=True, augment={"mixup": 0.2})
