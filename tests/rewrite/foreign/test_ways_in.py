"""Vectors of others: arrays, data frames and files give the values that they hold, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.cli.main import main
from dof_arrow.rewrite.foreign.import_file import import_file

ROWS, WIDTH = 40, 6


@pytest.fixture
def x() -> np.ndarray:
    """Vectors."""
    return np.random.default_rng(2).random((ROWS, WIDTH), np.float32)


def _named(ds: dof.Dataset, name: str) -> list[Any]:
    classes = ds.metadata.targets[name].classes
    values = ds.to_arrow([name]).column(0).to_pylist()
    return [classes[value] if isinstance(value, int) else value for value in values]


def _frame(x: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(ROWS)],
            "emb": list(x),
            "y": ["cat", "dog", None, "cat"] * 10,
            "dose": np.arange(ROWS) / 7,
            "ward": [f"w{i // 8}" for i in range(ROWS)],
            "part": ["train"] * 24 + ["test"] * 16,
            "day": pd.date_range("2024-01-01", periods=ROWS),
        }
    )


ASKED = {"id": "key", "label": "y", "group": "ward", "split": "part", "keep": ["dose", "day"]}


def _check(ds: dof.Dataset, x: np.ndarray) -> None:
    assert dof.validate(ds.path, deep=True) == []
    assert ds.to_numpy().tobytes() == x.tobytes()
    assert ds.to_numpy("id").tolist() == [f"k{i}" for i in range(ROWS)]
    assert _named(ds, "y") == ["cat", "dog", None, "cat"] * 10
    assert ds.to_numpy("dose").tolist() == (np.arange(ROWS) / 7).tolist()
    assert len(ds.split("train")) == 24 and ds.metadata.record.group == "group"
    day = ds.to_numpy("day")
    assert (
        day.dtype.kind == "M"
        and day.astype("M8[D]").tolist()
        == pd.date_range("2024-01-01", periods=ROWS).to_numpy("M8[D]").tolist()
    )


def test_frames_of_all_libraries_give_the_same(tmp_path: Path, x: np.ndarray) -> None:
    frame = _frame(x)
    arrow = pa.table(
        {
            **{name: frame[name] for name in frame if name != "emb"},
            "emb": pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), WIDTH),
        }
    )
    out = tmp_path / "x.dof.parquet"
    given: dict[str, Any] = {"vector": "emb", "out": out, "overwrite": True, **ASKED}
    _check(dof.from_pandas(frame, **given), x)
    _check(dof.from_polars(pl.from_arrow(arrow), **given), x)
    _check(dof.from_arrow(arrow, **given), x)
    _check(dof.from_pandas(arrow.to_pandas(types_mapper=pd.ArrowDtype), **given), x)


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed"])
def test_parquet_files_with_lists_of_any_kind(tmp_path: Path, x: np.ndarray, kind: str) -> None:
    frame = _frame(x)
    kinds: dict[str, Callable[[], pa.DataType]] = {
        "list": lambda: pa.list_(pa.float32()),
        "large_list": lambda: pa.large_list(pa.float32()),
        "fixed": lambda: pa.list_(pa.float32(), WIDTH),
    }
    table = pa.table(
        {
            **{name: frame[name] for name in frame if name != "emb"},
            "emb": pa.array(list(x), kinds[kind]()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    asked = {**ASKED, "key": ASKED["id"]}
    del asked["id"]
    out = tmp_path / "x.dof.parquet"
    _check(dof.from_parquet(tmp_path / "t.parquet", vector="emb", out=out, **asked), x)


def test_arrays_in_folders_beside_tables(tmp_path: Path, x: np.ndarray) -> None:
    """As clip-retrieval writes them: img_emb_9.npy comes before img_emb_10.npy."""
    (tmp_path / "emb").mkdir()
    (tmp_path / "meta").mkdir()
    frame = _frame(x).drop(columns="emb")
    for number, start in zip((9, 10), (0, 25), strict=True):
        rows = slice(start, 25 if start == 0 else ROWS)
        np.save(tmp_path / f"emb/img_emb_{number}.npy", x[rows])
        frame[rows].to_parquet(tmp_path / f"meta/metadata_{number}.parquet")
    asked = {**ASKED, "key": ASKED["id"]}
    del asked["id"]
    out = tmp_path / "x.dof.parquet"
    _check(import_file(tmp_path / "emb", table=tmp_path / "meta", out=out, **asked), x)


def test_the_command_takes_npz_and_a_csv_table(
    tmp_path: Path, x: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "v.npz", a=x.astype(">f8"), b=np.zeros(3))
    _frame(x).drop(columns="emb").to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "x.dof.parquet"
    asked = ["--vector", "a", "--table", str(tmp_path / "t.csv"), "--key", "key", "--label", "y"]
    asked += ["--map", "cat=feline", "--core", "clip-vit-b32", "-o", str(out)]
    assert main(["import", str(tmp_path / "v.npz"), *asked]) == 0
    said = capsys.readouterr().err
    assert "is stored as float32" in said and "columns left out: dose" in said
    ds = dof.open(out)
    assert ds.to_numpy().tobytes() == x.tobytes()
    assert _named(ds, "y") == ["feline", "dog", None, "feline"] * 10
    assert ds.metadata.claimed_cores["feature"].name == "clip-vit-b32"
    assert dof.validate(out, deep=True) == []


def test_safetensors(tmp_path: Path, x: np.ndarray) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"emb": x}, tmp_path / "v.safetensors")
    ds = import_file(tmp_path / "v.safetensors", out=tmp_path / "x.dof.parquet")
    assert ds.to_numpy().tobytes() == x.tobytes() and len(ds.metadata.targets) == 0


def test_labels_of_arrays(tmp_path: Path, x: np.ndarray) -> None:
    out = tmp_path / "x.dof.parquet"

    def made(y: Any, **options: Any) -> dof.Dataset:
        ds = dof.from_arrays(x, y, out=out, overwrite=True, **options)
        assert dof.validate(out, deep=True) == []
        return ds

    assert _named(made(["b", "a", None, "b"] * 10), "label") == ["b", "a", None, "b"] * 10
    assert made([7, 3] * 20).metadata.targets["label"].classes == ("3", "7")
    assert made([10, 9] * 20).metadata.targets["label"].classes == ("9", "10")
    assert made(np.arange(ROWS) % 3, classes=["x", "y", "z"]).to_numpy("label")[:3].tolist() == [
        0,
        1,
        2,
    ]
    assert made(np.linspace(0, 1, ROWS)).metadata.targets["label"].kind == "regression"
    places = made([1, 2] * 20, classes=["1", "2", "3"], splits=["train", "test"] * 20)
    assert _named(places, "label") == ["2", "3"] * 20
    assert places.metadata.columns["split"].layout == "mapped"
    flags = np.eye(2, dtype=int)[np.arange(ROWS) % 2]
    ds = made(flags, classes=["u", "v"])
    assert ds.to_arrow(["label"]).column(0).to_pylist()[:2] == [[0], [1]]
    both = made({"a": ["p", "q"] * 20, "b": np.arange(ROWS) + 0.5})
    assert list(both.metadata.targets) == ["a", "b"]
    kept = made(None, ids=range(ROWS), columns={"n": np.ma.masked_equal([1, 2] * 20, 2)})
    assert kept.to_arrow(["n"]).column(0).to_pylist() == [1, None] * 20
    assert kept.to_numpy("id").tolist() == [str(i) for i in range(ROWS)]


def test_three_lines_from_arrays_to_shuffled_batches(tmp_path: Path, x: np.ndarray) -> None:
    y = ["cat", "dog"] * 20
    ds = dof.from_arrays(x, y, out=tmp_path / "x.dof.parquet")
    batches = list(ds.loader(target="label", batch_size=16, shuffle=True))
    assert [len(each[0]) for each in batches] == [16, 16, 8]
    order = np.concatenate([each[0] for each in batches])
    codes = np.concatenate([each[1] for each in batches])
    place = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in order]
    assert codes.tolist() == [row % 2 for row in place] and place != sorted(place)


def test_rows_that_cannot_be_stored_are_told_all_at_once(tmp_path: Path, x: np.ndarray) -> None:
    out = tmp_path / "x.dof.parquet"
    broken = x.copy()
    broken[[3, 17], 2] = np.nan
    broken[30, 0] = np.inf
    cells = list(x)
    ragged = pd.DataFrame({"emb": [*cells[:5], cells[5][:2], None, *cells[7:]]})
    lists = pa.table({"emb": [*map(list, cells[:5]), [1.0], None, *map(list, cells[7:])]})
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: dof.from_arrays(broken, out=out), "3 rows that are not, from 0: 3, 17, 30"),
        (lambda: dof.from_pandas(ragged, vector="emb", out=out), "from 0: 5, 6"),
        (lambda: dof.from_arrow(lists, vector="emb", out=out), "from 0: 5, 6"),
        (lambda: dof.from_arrays(x, ids=["a"] * 2 + list("bc") * 19, out=out), "ids that stand"),
        (lambda: dof.from_arrays(x, ids=[None, *"b" * 39], out=out), "ids that are missing"),
    ]
    for call, text in calls:
        with pytest.raises(dof.SourceError, match=text):
            call()
    wrong: list[Callable[[], object]] = [
        lambda: dof.from_arrays(x[0], out=out),
        lambda: dof.from_arrays(x, ["a"], out=out),
        lambda: dof.from_arrays(x, range(ROWS), out=out),
        lambda: dof.from_arrays(x, [1.0, float("nan")] * 20, out=out),
        lambda: dof.from_arrays(x, ["a", "b"] * 20, classes=["a"], out=out),
        lambda: dof.from_arrays(x, ids=np.linspace(0, 1, ROWS), out=out),
        lambda: dof.from_arrays(x, columns={"frame": range(ROWS)}, out=out),
        lambda: dof.from_arrays(x.astype(complex), out=out),
        lambda: dof.from_arrays(np.full((3, 2), 2**24 + 1), out=out),
        lambda: dof.from_arrays(x, groups=["g"] * ROWS, splits=["train", "test"] * 20, out=out),
        lambda: dof.from_arrow(pa.table({"y": ["a"]}), vector="y", out=out),
        lambda: dof.from_pandas(_frame(x), vector="none", out=out),
        lambda: dof.from_pandas(_frame(x), vector="emb", lable="y", out=out),
        lambda: dof.from_pandas(_frame(x), vector="emb", match="case", out=out),
        lambda: dof.from_arrays(x, [0, 3] * 20, classes=["1", "2", "3"], out=out),
    ]
    for call in wrong:
        with pytest.raises(dof.UsageError):
            call()
    assert not out.exists()


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_further_columns_may_be_a_frame(tmp_path: Path, x: np.ndarray, frame: Any) -> None:
    columns = {"age": list(range(len(x))), "note": [None, *["x"] * (len(x) - 1)]}
    ds = dof.from_arrays(x, columns=frame(columns), out=tmp_path / "x.dof.parquet")
    assert ds.to_numpy("age").tolist() == columns["age"]
    assert ds.to_arrow(["note"]).column(0).to_pylist() == columns["note"]


def test_frames_whose_columns_cannot_be_told_apart_are_refused(
    tmp_path: Path, x: np.ndarray
) -> None:
    frame = pd.DataFrame(np.zeros((len(x), 2)), columns=["age", "age"])
    with pytest.raises(dof.UsageError, match="two columns of one name"):
        dof.from_arrays(x, columns=frame, out=tmp_path / "x.dof.parquet")
    assert not (tmp_path / "x.dof.parquet").exists()
