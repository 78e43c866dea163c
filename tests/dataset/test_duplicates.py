"""Pairs of rows that are alike: all of them, each once, by whom and in which split they are."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.dataset import similar_pairs as module
from dof_arrow.dataset.duplicates import duplicates
from dof_arrow.dataset.similarity import exact
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.writer import Writer
from tests.support.making import vectors, write


def near(rows: int, width: int = 5, seed: int = 0) -> np.ndarray:
    """Vectors of which many pairs are alike, some equal, some zeros."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(6, width))
    found = centres[random.integers(6, size=rows)] + 0.1 * random.normal(size=(rows, width))
    found[random.integers(rows, size=4)] = found[0]
    found[random.integers(rows, size=3)] = 0
    return found.astype(np.float32)


def brute(left: np.ndarray, right: np.ndarray | None, threshold: float) -> dict[Any, float]:
    """Every pair by itself."""
    others = left if right is None else right
    found = {}
    for row in range(len(left)):
        for other in range(row + 1 if right is None else 0, len(others)):
            cosine = float(exact("cosine", left[row : row + 1], others[other : other + 1])[0])
            if cosine >= threshold:
                found[row, other] = cosine
    return found


def all_pairs(a: Any, b: Any = None, threshold: float = 0.98) -> dict[Any, float]:
    found = {}

    def each(pairs: Any) -> None:
        for pair in pairs:
            key = tuple(int(name[1:]) for name in pair.names)
            assert key not in found
            found[key] = pair.cosine

    summary = duplicates(a, b, threshold=threshold, each=each)
    assert summary.pairs == len(found)
    return found


@pytest.mark.parametrize("rows_at_once", [7, 64, 2048])
@pytest.mark.parametrize(("dtype", "layout"), [("float32", "mapped"), ("float16", "compact")])
@pytest.mark.parametrize("threshold", [0.3, 0.98, 1.0])
def test_every_pair_once(
    threshold: float,
    dtype: str,
    layout: str,
    rows_at_once: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST_ROWS", rows_at_once)
    rows = near(120).astype(dtype)
    path = write(tmp_path / "x.parquet", 120, rows, layout=layout, group=64, cuts=[50])
    assert all_pairs(path, threshold=threshold) == brute(rows, None, threshold)
    others = near(40, seed=1).astype(dtype)
    others[:3] = rows[:3]
    second = write(tmp_path / "y.parquet", 40, others)
    assert all_pairs(path, second, threshold) == brute(rows, others, threshold)


def test_rows_of_any_length_and_choices_of_rows(tmp_path: Path) -> None:
    rows = near(60)
    rows *= np.float32(10) ** np.random.default_rng(2).choice([-25, -3, 0, 17], size=(60, 1))
    ds = dof.open(write(tmp_path / "x.parquet", 60, rows))
    assert all_pairs(ds) == brute(rows, None, 0.98)
    chosen = np.random.default_rng(3).permutation(60)[:30]
    found = duplicates(ds.take(chosen), threshold=0.98)
    assert found.pairs == len(brute(rows[chosen], None, 0.98))


GROUPS = ["p1", "p1", "p2", "p2", "p3", None]
SPLITS = ["train", "train", "train", "train", "test", "test"]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Row 2 is row 0 under another patient, row 4 is row 1 in another split, row 5 of nobody."""
    rows = vectors(6, 32, seed=4)
    rows[2] = rows[0]
    rows[4] = rows[1] * 1.5
    rows[5] = rows[3]
    path = tmp_path / "x.parquet"
    with Writer(path, {"record": {"group": "group", "split": "split"}}) as writer:
        ids = [f"picture-with-a-long-name-{row:04d}" for row in range(6)]
        columns = {"group": GROUPS, "split": SPLITS}
        writer.write(ids=ids, vectors={"feature": rows}, columns=columns)
    return path


def test_groups_and_splits(shared: Path) -> None:
    found = duplicates(shared)
    assert (found.pairs, found.equal, found.across_groups, found.across_splits) == (3, 2, 2, 2)
    assert found.found and [pair.names[1][-1] for pair in found.first] == ["2", "5", "4"]
    assert found.first[0].groups == ("p1", "p2") and found.first[0].splits == ("train", "train")
    alone = duplicates(dof.open(shared)[:2])
    assert not alone.found and alone.pairs == 0


def test_splits_by_any_spelling_and_files_without_groups(shared: Path, tmp_path: Path) -> None:
    with Writer(tmp_path / "y.parquet", {"record": {"split": "part"}}) as writer:
        rows = dof.open(shared).to_numpy()[:2]
        writer.write(ids=["a", "b"], vectors={"feature": rows}, columns={"part": ["val", "Train"]})
    found = duplicates(shared, tmp_path / "y.parquet")
    assert found.rows == [6, 2] and found.pairs == 4 and found.found
    assert found.across_groups is None and found.across_splits == 3


def test_views_of_one_record_are_expected_to_be_alike(tmp_path: Path) -> None:
    rows = np.repeat(vectors(3, 8), 2, axis=0)
    rows[5] = rows[0]
    with Writer(tmp_path / "x.parquet", {"record": {"view": "view"}}) as writer:
        ids = [f"r{row // 2}" for row in range(6)]
        writer.write(ids=ids, vectors={"feature": rows}, columns={"view": [0, 1] * 3})
    found = duplicates(tmp_path / "x.parquet")
    assert [pair.names for pair in found.first] == [("r0/0", "r2/1"), ("r0/1", "r2/1")]
    assert found.across_groups is None and not found.found


def test_the_first_do_not_depend_on_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.parquet", 300, near(300))
    whole = duplicates(path, threshold=0.9)
    monkeypatch.setattr(module, "_MOST_ROWS", 11)
    assert duplicates(path, threshold=0.9) == whole
    assert len(whole.first) == 20 < whole.pairs


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", 10, vectors(10, 4))
    for threshold in (0.0, 1.1, float("nan")):
        with pytest.raises(UsageError, match="a cosine above 0, up to 1"):
            duplicates(path, threshold=threshold)
    with pytest.raises(UsageError, match="vectors that cannot be compared"):
        duplicates(path, write(tmp_path / "y.parquet", 3, vectors(3, 5)))
    with pytest.raises(UsageError, match="no such feature column"):
        duplicates(path, path, name="nothing")
    at = path.read_bytes().index(vectors(10, 4)[6].tobytes())
    with path.open("r+b") as file:
        file.seek(at)
        file.write(np.float32([np.inf]).tobytes())
    with pytest.raises(FormatError, match="NaN or infinity in row 6"):
        duplicates(path)


def test_the_command(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["duplicates", str(shared), "-q"]) == 1
    out, _ = capsys.readouterr()
    lines = out.splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert ["…", "of", "two", "splits", "2"] in [line.split() for line in lines]
    last = lines[-1].split()
    assert last[0] == "1.000000" and last[1].startswith("…") and last[1].endswith("-0001")
    assert last[3:] == ["group,", "split"]
    assert main.main(["duplicates", str(shared), "--json", "-q"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["found"] and value["pairs"] == 3 and value["first"][0]["groups"] == ["p1", "p2"]
    assert main.main(["duplicates", str(shared), "--csv"]) == 1
    out, err = capsys.readouterr()
    table = list(csv.DictReader(io.StringIO(out)))
    assert len(table) == 3 and table[0]["group_b"] == "p2" and table[0]["cosine"] == "1.000000"
    assert "of two groups" in err
    assert main.main(["duplicates", str(shared), "--threshold", "2"]) == 2
