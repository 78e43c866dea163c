"""Who can be told by columns alone: the counts are those of a plain count of combinations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.extraction.combinations import combinations
from dof_arrow.extraction.dry_run import told_apart
from dof_arrow.extraction.extract import planned
from tests.support.pictures import Memory, core

KEY = bytes(32)


def counted(columns: dict[str, list[Any]], people: list[Any] | None) -> int:
    """The same, one input at a time."""
    rows = [repr(row) for row in zip(*columns.values(), strict=True)]
    whose = [who if who is not None else (place,) for place, who in enumerate(people or rows)]
    if people is None:
        whose = list(range(len(rows)))
    alone = 0
    for row in rows:
        holders = {who for other, who in zip(rows, whose, strict=True) if other == row}
        alone += len(holders) == 1
    return alone


@pytest.mark.parametrize("seed", range(20))
def test_as_counted_one_by_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 60))
    columns: dict[str, list[Any]] = {
        "number": random.integers(0, 9, count).tolist(),
        "float": random.choice([0.5, None, 2.5], count).tolist(),
        "text": random.choice(["a", "b", None], count).tolist(),
        "list": [[int(value)] for value in random.integers(0, 3, count)],
    }
    people = None
    if seed % 2:
        people = random.choice(["p", "q", "r", "s", None], count).tolist()
    arrays = {name: pa.array(values) for name, values in columns.items()}
    arrays["text"] = arrays["text"].cast(pa.string()).dictionary_encode()
    who = None if people is None else pa.array(people, pa.string())
    found = combinations(arrays, who)
    assert (found.inputs, found.alone) == (count, counted(columns, people))
    for column in found.columns:
        others = {name: values for name, values in columns.items() if name != column.name}
        assert column.without_it == counted(others, people)
        assert column.by_itself == counted({column.name: columns[column.name]}, people)


def test_nothing_known_tells_nobody() -> None:
    assert combinations({}).columns == []
    assert combinations({"age": pa.array([], pa.int64())}).alone == 0


def test_a_dry_run_counts_exact_facts_where_they_leave(tmp_path: Path) -> None:
    source = Memory(6, kept={"age": "int64"})
    source.columns["kept"] = lambda number: {"age": 40}
    sizes = [4, 4, 4, 5, 5, 9]
    source.data = lambda number: b"P6 %d 4 255 " % sizes[number] + bytes(12 * sizes[number])  # type: ignore[method-assign]
    options: dict[str, Any] = {"core": core(), "out": tmp_path / "x.parquet", "id_key": KEY}
    assert told_apart(planned(source, **options)).alone == 0
    exact = told_apart(planned(source, facts="exact", **options))
    assert exact.alone == 1
    assert exact.columns[0].name == "width"
