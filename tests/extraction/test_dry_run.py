"""Sizes known ahead, exact to the byte (D19)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.extraction.dry_run import Sizer, size_of_rows, size_of_run
from dof_arrow.extraction.extract import planned
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer
from tests.support.making import PAGE, group_rows, ids, vectors
from tests.support.pictures import KEY, Memory, core, folder_of


@given(
    rows=st.integers(0, 300),
    width=st.integers(1, 40),
    dtype=st.sampled_from(["float32", "float16"]),
    label=st.booleans(),
    group=st.booleans(),
    small=st.booleans(),
    cut=st.integers(0, 300),
)
def test_the_size_is_exact_d19(
    rows: int,
    width: int,
    dtype: str,
    label: bool,
    group: bool,
    small: bool,
    cut: int,
    tmp_path: Path,
) -> None:
    """Row D19: to the byte, whatever the columns of fixed width."""
    size = 2 if dtype == "float16" else 4
    few = Geometry(group_rows(width * size, *([8] if label else [])), PAGE) if small else None
    columns = {
        **({"label": np.arange(rows)} if label else {}),
        **({"group": ids(rows)} if group else {}),
    }

    def write(writer: Writer, features: np.ndarray[Any, Any]) -> None:
        with writer:
            for part in (slice(0, min(cut, rows)), slice(min(cut, rows), rows)):
                writer.write(
                    ids=ids(rows)[part],
                    vectors={"feature": features[part]},
                    columns={n: v[part] for n, v in columns.items()},
                )

    write(
        Writer(tmp_path / "x.parquet", geometry=few, overwrite=True),
        vectors(rows, width, dtype=dtype),
    )
    sizer = Sizer(geometry=few)
    write(sizer, np.zeros((rows, width), dtype))
    assert sizer.size == (tmp_path / "x.parquet").stat().st_size


@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": "float16"}, {"split": "train=0.5,test=0.5", "label": "folder"}],
    ids=str,
)
def test_a_dry_run_tells_the_size_of_the_real_one(options: dict[str, Any], tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", 70, ("a", "b"))
    run = planned(folder, core=core(), out=tmp_path / "x.parquet", id_key=KEY, **options)
    expected = size_of_run(run)
    assert not (tmp_path / "x.parquet").exists()
    assert run.run().path.stat().st_size == expected


def test_pictures_in_memory_too(tmp_path: Path) -> None:
    run = planned(
        Memory(40, group=lambda i: f"p{i // 3}"),
        core=core(),
        out=tmp_path / "x.parquet",
        id_key=KEY,
    )
    assert size_of_run(run) == run.run().path.stat().st_size


def test_row_d19_rows_without_pictures() -> None:
    """D19: `dof estimate`."""
    vectors_alone = 100_000 * 128 * 4
    assert 1 < size_of_rows(100_000, (128,)) / vectors_alone < 1.07
    assert size_of_rows(1000, (43,), core=core()) - size_of_rows(1000, (43,)) > 1000
    more = size_of_rows(1000, (8,), label=True, group=True) - size_of_rows(1000, (8,))
    assert more > 1000 * (1 + 26)


@pytest.mark.parametrize("order", ["pseudonym", "source"])
def test_the_size_is_known_in_either_order(order: str, tmp_path: Path) -> None:
    source = Memory(600, group=lambda i: f"p{i // 40}", split=lambda i: "ab"[i // 320])
    given = {"core": core(), "out": tmp_path / "x.parquet", "id_key": KEY, "order": order}
    run = planned(source, **given)
    assert size_of_run(run) == run.run().path.stat().st_size
