"""Loading from files that are not mapped: block by block."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.tables import gather, row_groups
from tests.support.making_rows import made, numbers


def test_d16_compact_files_are_decoded_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", 1000)
    monkeypatch.setattr(row_groups, "_DECODED", 4 * 50 * 16)
    ds = made(tmp_path / "c.parquet", 1000, layout="compact", group_rows=50)
    with pytest.warns(DofWarning, match="dof convert"):
        loader = ds.loader(batch_size=32, shuffle=True, target="label")
    for _ in range(2):
        batches = list(loader)
        assert sorted(numbers(batches)) == list(range(1000))
        assert all(np.array_equal(y, x[:, 0].astype(int) % 3) for x, y in batches)
    assert len({n // 50 for n in numbers(batches)[:100]}) == 2
    with pytest.warns(DofWarning, match="each epoch decodes it.*dof convert"):
        assert numbers(ds.loader()) == list(range(1000))
    inner = loader._gather
    assert len(inner._groups) <= 2 * inner.window


def test_d16_of_row_groups_that_fill_the_memory_one_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", 1000)
    monkeypatch.setattr(row_groups, "_DECODED", 50 * 16)
    ds = made(tmp_path / "c.parquet", 1000, layout="compact", group_rows=50)
    with pytest.warns(DofWarning, match="windows of 1 row groups"):
        loader = ds.loader(batch_size=32, shuffle=True, workers=2)
    decoded: list[int] = []
    decode = loader._gather.read
    monkeypatch.setattr(
        loader._gather, "read", lambda number: decoded.append(number) or decode(number)
    )
    assert sorted(numbers(loader)) == list(range(1000)) and len(loader._gather._groups) == 1
    assert set(decoded) == set(range(20)) and len(decoded) < 40


def test_d16_block_shuffle_balances_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", 1000)
    ds = made(tmp_path / "c.parquet", 400, layout="compact", group_rows=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DofWarning)
        options: dict[str, Any] = {
            "batch_size": 32,
            "shuffle": True,
            "target": "ill",
            "balance": "ill",
        }
        whole, part = ds.loader(**options), ds.loader(**options)
        with pytest.raises(UsageError, match="convert"):
            ds.loader(shuffle=True, augment={"mixup": 0.2})
    batches = list(whole)
    assert np.concatenate([y for _, y in batches]).mean() == pytest.approx(0.5)
    part.load_state_dict({"seed": 0, "epoch": 0, "consumed": 96, "length": whole.plan.length})
    assert numbers(part) == numbers(batches[3:])


def test_small_compact_files_shuffle_fully(tmp_path: Path) -> None:
    ds = made(tmp_path / "c.parquet", 300, layout="compact", group_rows=50)
    order = numbers(ds.loader(shuffle=True))
    assert sorted(order) == list(range(300)) and len({n // 50 for n in order[:40]}) == 6
