"""Small pieces of many parts read into one array: the same values as a look at each part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.errors import FormatError
from dof_arrow.format.append import growing
from dof_arrow.format.writer import Writer
from dof_arrow.tables import group_statistics, selection, small_pieces

PARTS = 12
_ABOUT: Any = {
    "targets": {"label": {"kind": "category", "classes": ["cat", "dog", "owl"]}},
    "record": {"split": "split"},
}


def _write(path: Path, number: int) -> None:
    random = np.random.default_rng(number)
    rows = 5 + 7 * (number % 4)
    first = 1000 * number
    age = random.normal(50, 20, rows).astype(np.float32)
    age[number % rows] = np.nan
    split = "train" if number % 3 else f"own {number % 2}"
    with Writer(path, _ABOUT, overwrite=True, part=True) as writer:
        site = [None if number == 5 else f"site {number % 4}"] * rows
        writer.write(
            ids=[f"{'x' * (number % 3)}{row}" for row in range(first, first + rows)],
            vectors={"feature": random.normal(size=(rows, 4)).astype(np.float32)},
            columns={
                "age": age,
                "small": random.integers(-100, 100, rows).astype(np.int8),
                "day": pa.array(np.full(rows, number, np.int32), pa.date32()),
                "label": [["cat", "dog", "owl"][code] for code in random.integers(0, 3, rows)],
                "split": [split] * rows,
                "site": pa.array(site, pa.string()),
            },
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of parts of different sizes, names and lengths of ids."""
    here = tmp_path_factory.mktemp("small")
    with growing(here / "x.dof") as growth:
        for number in range(PARTS):
            _write(here / "part.parquet", number)
            growth.add(here / "part.parquet")
    return here / "x.dof"


def _all(folder: Path) -> pa.Table:
    """All rows as pyarrow reads them, part by part."""
    return pa.concat_tables([pq.read_table(part) for part in sorted(folder.glob("data-*"))])


def _told(table: pa.Table) -> list[dict[str, Any]]:
    rows = table.drop_columns(["feature"]).to_pylist()
    return [{name: repr(value) for name, value in row.items()} for row in rows]


_CONDITIONS = (
    pc.field("age") > 50,
    ~(pc.field("age") <= 50),
    pc.field("age").is_nan(),
    pc.field("small") < -90,
    pc.field("day") == pa.scalar(3, pa.date32()),
    pc.field("label") == "owl",
    pc.field("split") == "own 1",
    (pc.field("split") == "train") & (pc.field("label") != "cat"),
    pc.field("site") == "site 2",
    pc.field("site").is_null(),
    pc.field("id") == "xx2003",
    pc.field("id") >= "xx5",
    (pc.field("day") == pa.scalar(3, pa.date32())) | (pc.field("age") > 80),
    pc.field("small") > 1000,
)


@pytest.mark.parametrize("number", range(len(_CONDITIONS)))
def test_a_filter_finds_what_a_scan_of_all_rows_finds(folder: Path, number: int) -> None:
    condition = _CONDITIONS[number]
    ds = dof.open(folder)
    expected = _told(_plain(_all(folder)).filter(condition))
    for _ in range(2):
        assert _told(ds.filter(condition).to_arrow()) == expected
    assert _told(ds[3:-3].filter(condition).to_arrow()) == _told(
        _plain(_all(folder)[3:-3]).filter(condition)
    )


def _plain(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table[place].cast(pa.string()))
    return table


@pytest.mark.parametrize("rows", [slice(0, 90), slice(17, 18), slice(4, 61), [3, 80, 3, 44, 0]])
def test_rows_joined_are_those_of_each_part(
    folder: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dof.open(folder)[rows].to_arrow()
    monkeypatch.setattr(small_pieces, "_SMALL", -1)
    assert _told(found) == _told(dof.open(folder)[rows].to_arrow())
    places = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else np.array(rows)
    assert _told(found) == _told(_all(folder).take(pa.array(places)))


def test_sparse_rows_are_taken_part_by_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(range(0, 150, 11))
    found = dof.open(folder)[rows].to_arrow()
    monkeypatch.setattr(selection, "_SPARSE", 0)
    assert _told(found) == _told(dof.open(folder)[rows].to_arrow())


def test_every_row_is_that_of_the_whole(folder: Path) -> None:
    ds = dof.open(folder)
    expected = _all(folder).to_pylist()
    for number, row in enumerate(expected):
        found = ds[number]
        assert found["feature"].tolist() == row["feature"]
        for name in ("id", "age", "small", "day", "label", "split", "site"):
            assert repr(found[name]) == repr(row[name])


def test_a_file_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    with growing(tmp_path / "x.dof") as growth:
        for number in range(3):
            _write(tmp_path / "part.parquet", number)
            growth.add(tmp_path / "part.parquet")
    ds = dof.open(tmp_path / "x.dof")
    ds.filter(pc.field("age") > 50)
    part = tmp_path / "x.dof" / "data-000001.parquet"
    part.write_bytes(part.read_bytes()[:8])
    with pytest.raises(FormatError, match="shorter"):
        ds.filter(pc.field("age") > 50)


def test_what_many_parts_say_alike_is_looked_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    usual = group_statistics._not_excluded

    def noted(condition: Any, schema: pa.Schema, known: Any) -> list[int]:
        seen.append(len(known))
        return usual(condition, schema, known)

    monkeypatch.setattr(group_statistics, "_not_excluded", noted)
    dof.open(folder).filter(pc.field("site") == "site 2")
    assert seen == [5]  # four sites, and a part without any
