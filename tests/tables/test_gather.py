from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.append import append
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer
from dof_arrow.tables.gather import Chain, Decoded, Gather, Memory, Paged, Placed
from tests.support.making_rows import features, made


def taken(gather: Gather, rows: Any, width: int) -> np.ndarray:
    out = np.full((len(rows), width), -1, np.float32)
    gather.fill(np.asarray(rows), out)
    return out


@pytest.mark.parametrize(
    ("rows", "width", "group_rows"),
    [
        (3000, 64, 0),
        (3000, 64, 1024),
        (5000, 96, 1024),
        (200, 320, 64),
        (100, 4, 0),
        (1000, 128, 16),
    ],
)
def test_rows_of_a_mapped_file_whatever_its_groups(
    tmp_path: Path, rows: int, width: int, group_rows: int
) -> None:
    with Writer(
        tmp_path / "x.parquet", geometry=Geometry(group_rows, 4096) if group_rows else None
    ) as writer:
        writer.write(ids=[str(i) for i in range(rows)], vectors={"feature": features(rows, width)})
    ds = dataset.open(tmp_path / "x.parquet")
    random = np.random.default_rng(0)
    for part, first in ((ds, 0), (ds[rows // 3 :], rows // 3)):
        gather = part.gather()
        assert isinstance(gather, Paged)
        some = random.integers(0, len(part), 100)
        assert np.array_equal(taken(gather, some, width), features(rows, width)[some + first])
        for start, stop in (
            (0, 5),
            (0, len(part)),
            (len(part) - 3, len(part)),
            (1, len(part) // 2),
        ):
            view = gather.view(start, stop)
            assert np.array_equal(view, features(rows, width)[first + start : first + stop])
            assert not view.flags.writeable


@pytest.mark.parametrize("each", [1, 2])
def test_rows_of_row_groups_of_different_sizes(each: int) -> None:
    """Groups of 3, 2 and 4 rows, with units of other columns before each of them."""
    units = np.arange(40, dtype=np.float32).reshape(-1, 1)
    firsts = {0: 1, 3: 10, 5: 20}  # of each group: its first row, and the unit that it starts at
    starts = np.array(list(firsts))
    base = np.array([unit - each * row for row, unit in firsts.items()])
    expected = []
    for row in range(9):
        start = max(first for first in firsts if first <= row)
        at = firsts[start] + each * (row - start)
        expected.append(list(range(at, at + each)))
    whole = Paged(units, each, starts, base, 0)
    assert taken(whole, range(9), each).tolist() == expected
    assert taken(whole.part(slice(2, 9)), [0, 3, 6], each).tolist() == expected[2::3]


def test_views_are_the_files_memory_within_a_row_group(tmp_path: Path) -> None:
    ds = made(tmp_path / "x.parquet", 400, 64, group_rows=100)
    gather = ds.gather()
    assert isinstance(gather, Paged)
    assert gather.view(10, 20).ctypes.data == gather.view(0, 50).ctypes.data + 10 * 64 * 4
    assert np.array_equal(gather.view(90, 110), features(400, 64)[90:110])


def test_narrow_rows_at_odd_places_come_from_the_stitched_map(tmp_path: Path) -> None:
    ds = made(
        tmp_path / "x.parquet", 300, 100, group_rows=100
    )  # 400 bytes and a 64-byte alignment share 16 bytes
    assert type(ds.gather()) is Memory
    assert np.array_equal(taken(ds.gather(), [299, 0], 100), features(300, 100)[[299, 0]])


def test_places_and_chains(tmp_path: Path) -> None:
    ds = made(tmp_path / "x.parquet", 50)
    placed = ds.take([9, 3, 3]).gather()
    assert isinstance(placed, Placed) and taken(placed, [2, 0], 4)[:, 0].tolist() == [3, 9]
    chain = dataset.concat([ds, ds[10:20]]).gather()
    assert isinstance(chain, Chain) and taken(chain, [55, 1, 50], 4)[:, 0].tolist() == [15, 1, 10]
    assert chain.blocks is None


def test_a_directory_of_parts(tmp_path: Path) -> None:
    for name, rows in (("a", 60), ("b", 40)):
        with Writer(tmp_path / f"{name}.parquet") as writer:
            writer.write(
                ids=[f"{name}{i}" for i in range(rows)], vectors={"feature": features(rows)}
            )
        append(tmp_path / "all.dof", tmp_path / f"{name}.parquet")
    ds = dataset.open(tmp_path / "all.dof")
    assert taken(ds.gather(), [99, 61, 0], 4)[:, 0].tolist() == [39, 1, 0]
    assert sorted(int(v) for x in ds.loader(shuffle=True) for v in x[:, 0]) == sorted(
        [*range(60), *range(40)]
    )


def test_decoded_blocks_of_chains_do_not_mix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dof_arrow.tables import gather

    monkeypatch.setattr(gather, "IN_MEMORY", 0)
    parts: list[Dataset] = [
        made(tmp_path / f"{i}.parquet", 100, layout="compact", group_rows=30) for i in range(2)
    ]
    chain = dataset.concat([parts[0], parts[1][35:]]).gather()
    assert isinstance(parts[0].gather(), Decoded) and chain.blocks is not None
    numbers = np.unique(chain.blocks.of(np.arange(165)))
    assert len(numbers) == 4 + 3
    chain.expect(numbers.tolist())
    assert taken(chain, [0, 99, 100, 164], 4)[:, 0].tolist() == [0, 99, 35, 99]
