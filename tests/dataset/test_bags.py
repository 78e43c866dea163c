"""Bags, places in a slide, segments and survival targets: made, kept together, refused where they cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.validation.validate import validate
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.foreign.frames import from_arrow
from dof_arrow.rewrite.merge import merge

WIDTH = 8


def tiles(path: Path, slides: list[str], *, start: int = 0, ids: Any = None, **more: Any) -> Any:
    """A dataset of tiles, whose vectors say which row they were."""
    rows = len(slides)
    x = np.repeat(np.arange(start, start + rows, dtype="f4")[:, None], WIDTH, axis=1)
    columns = {"slide": slides, "x": np.arange(rows) * 256, "y": [0] * rows}
    record = {"bag": "slide", "x": "x", "y": "y"}
    ids = [f"t{number:03d}" for number in range(start, start + rows)] if ids is None else ids
    return dof.from_arrays(x, out=path, ids=ids, columns=columns, record=record, **more)


def pseudonymous(path: Path, slides: list[str], ids: list[str], claimed: str = "a") -> Path:
    """A file that says that its ids and bags are pseudonyms, by a core that is claimed."""
    about = {
        "record": {"bag": "slide"},
        "privacy": {"ids": "pseudonym"},
        "claimed_cores": {"core": {"name": claimed}},
        "columns": {"feature": {"core": "core"}},
    }
    schema = pa.schema([pa.field("slide", pa.string(), nullable=False)])
    with Writer(path, about, schema=schema) as writer:
        vectors = {"feature": np.ones((len(ids), WIDTH), "f4")}
        writer.write(ids=ids, vectors=vectors, columns={"slide": slides})
    return path


def test_a_bag_is_a_slice_of_the_file(tmp_path: Path) -> None:
    data = tiles(tmp_path / "x.parquet", ["a", "a", "b", "c", "c"], core="a model")
    assert validate(data.path, deep=True) == []
    assert data.metadata.claimed_cores["feature"].name == "a model"
    bags = data.bags()
    assert list(bags) == ["a", "b", "c"] and len(bags) == 3
    assert bags["c"].to_numpy()[:, 0].tolist() == [3, 4]
    assert np.shares_memory(bags["c"].to_numpy(), data.to_numpy())
    assert "d" not in bags
    with pytest.raises(KeyError):
        bags["d"]
    assert data.metadata.record.together == "slide"
    assert [data.metadata.columns[name].role for name in ("slide", "x", "y")] == ["bag", "x", "y"]


def test_filters_keep_bags_together_and_a_shuffle_is_not_saved(tmp_path: Path) -> None:
    data = tiles(tmp_path / "x.parquet", ["a", "a", "b", "b", "c"])
    kept = data[np.array([0, 2, 3, 4])]
    assert validate(Path(str(dof.save(kept, tmp_path / "kept.parquet"))), deep=True) == []
    with pytest.raises(FormatError, match="bag-scattered"):
        dof.save(data[np.array([0, 2, 1, 3, 4])], tmp_path / "shuffled.parquet")
    assert not (tmp_path / "shuffled.parquet").exists()
    with pytest.raises(UsageError, match="rows of a bag do not stand together"):
        data[np.array([0, 2, 1])].bags()
    with pytest.raises(UsageError, match="without bags"):
        data.drop_columns("slide").bags()


@pytest.mark.parametrize(
    ("slides", "record", "match"),
    [
        (["a", "b", "a"], {"bag": "slide"}, "bag-scattered"),
        (["a", None, "a"], {"bag": "slide"}, "rows without a bag"),
        (["a", "a", "b"], {"bag": "ghost"}, "no such column"),
        (["a", "a", "b"], {"slide": "slide"}, "no such role"),
        (["a", "a", "b"], {"x": "slide"}, "do not fit the role x"),
    ],
)
def test_roles_that_cannot_be_are_refused(
    tmp_path: Path, slides: Any, record: Any, match: str
) -> None:
    with pytest.raises(dof.DofError, match=match):
        dof.from_arrays(
            np.ones((3, WIDTH), "f4"),
            out=tmp_path / "x.parquet",
            columns={"slide": slides},
            record=record,
        )
    assert not (tmp_path / "x.parquet").exists()


def test_pseudonyms_of_bags_have_one_length(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="id-width"):
        pseudonymous(tmp_path / "x.parquet", ["s", "tt"], ["1", "2"])


def test_merged_bags_stay_together_and_are_in_order(tmp_path: Path) -> None:
    first = pseudonymous(tmp_path / "a.parquet", ["b1", "b1", "b3"], ["1", "5", "2"])
    second = pseudonymous(tmp_path / "b.parquet", ["b2", "b2"], ["3", "6"])
    whole = merge([first, second], tmp_path / "x.parquet")
    assert whole.to_arrow(["slide"])["slide"].to_pylist() == ["b1", "b1", "b2", "b2", "b3"]
    assert validate(whole.path, deep=True) == []


def test_what_bags_and_claims_cannot_be_united_is_refused(tmp_path: Path) -> None:
    first = pseudonymous(tmp_path / "a.parquet", ["b1", "b1"], ["1", "5"])
    other = pseudonymous(tmp_path / "b.parquet", ["b2"], ["3"], claimed="another")
    with pytest.raises(UsageError, match="claimed to be another"):
        merge([first, other], tmp_path / "x.parquet")
    again = pseudonymous(tmp_path / "c.parquet", ["b1"], ["9"])
    with pytest.raises(UsageError, match="holds already"):
        merge([first, again], tmp_path / "x.dof")


def test_parts_of_a_directory_end_where_bags_end(tmp_path: Path) -> None:
    slides = ["a"] * 300 + ["b"] * 500 + ["c"] * 20 + ["d"] * 3000
    data = tiles(tmp_path / "x.parquet", slides, ids=[f"t{n:04d}" for n in range(len(slides))])
    saved = dof.open(dof.save(data, tmp_path / "x.dof", rows_per_part=2048))
    assert [part.rows for part in saved.metadata.parts] == [820, 3000]
    assert validate(saved.path, deep=True) == []
    assert saved.to_arrow().equals(data.to_arrow())


def test_splits_of_rows_keep_bags_whole(tmp_path: Path) -> None:
    data = tiles(tmp_path / "x.parquet", [f"s{n // 5:02d}" for n in range(100)])
    train, test = data.train_test_split(0.3)
    assert not set(train.bags()) & set(test.bags())


def test_survival_is_stored_and_not_trained_on(tmp_path: Path) -> None:
    times = np.array([(1, 2.5), (0, 3.0), (1, 0.0)], [("event", "?"), ("time", "f8")])
    data = dof.from_arrays(
        np.eye(3, dtype="f4"), {"os": times}, out=tmp_path / "x.parquet", kind="survival"
    )
    assert data.metadata.targets["os"].kind == "survival"
    found = data.to_arrow(["os"])["os"].to_pylist()
    assert found == [
        {"time": 2.5, "event": True},
        {"time": 3.0, "event": False},
        {"time": 0.0, "event": True},
    ]
    assert validate(data.path, deep=True) == []
    with pytest.raises(UsageError, match="survival are not trained"):
        dof.train(data)
    with pytest.raises(UsageError, match="survival are not trained"):
        next(iter(data.loader(target="os", batch_size=2)))


def test_survival_of_two_columns_of_a_table(tmp_path: Path) -> None:
    table = pa.table(
        {
            "v": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32())),
            "days": [10, 20, None],
            "died": [1, 0, 1],
            "slide": ["a", "a", "b"],
        }
    )
    options: Any = {"out": tmp_path / "x.parquet", "vector": "v", "record": {"bag": "slide"}}
    data = from_arrow(table, survival={"os": ("days", "died")}, **options)
    found = data.to_arrow(["os"])["os"].to_pylist()
    assert found == [{"time": 10, "event": True}, {"time": 20, "event": False}, None]
    assert list(data.bags()) == ["a", "b"]
    wrong = table.set_column(2, "died", pa.array([1, 2, 0]))
    with pytest.raises(UsageError, match="true or false"):
        from_arrow(wrong, survival={"os": ("days", "died")}, overwrite=True, **options)
    early = table.set_column(1, "days", pa.array([-1, 2, 0]))
    with pytest.raises(UsageError, match="negative"):
        from_arrow(early, survival={"os": ("days", "died")}, overwrite=True, **options)
