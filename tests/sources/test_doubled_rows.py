"""Several rows of a table for one picture."""

from __future__ import annotations

import random
from typing import Any

import pandas as pd
import pytest

from dof_arrow.sources.doubled_rows import CONTRADICTION
from dof_arrow.sources.open import open_source
from tests.sources.listed import Make, column, keys, rule


def source(folder: Make, table: Make, rows: list[str]) -> Any:
    root = folder("a.png", "b.png", "c.png", "d.png")
    path = table("k,label,who,age,other\n" + "".join(f"{row}\n" for row in rows))
    return open_source(root, table=path, key="k", label="label", group="who", keep=["age"])


def test_rows_equal_in_what_is_asked_for_are_one(folder: Make, table: Make) -> None:
    files = source(folder, table, ["a.png,x,p,1,u", "b.png,y,q,2,v", "a.png,x,p,1,w"])
    assert keys(files) == ["a.png", "b.png"] and column(files, "label") == [0, 1]
    assert files.counts["doubled"] == 1 and files.refused is None


def test_rows_are_equal_by_value_and_by_picture_not_by_text(folder: Make, table: Make) -> None:
    rows = ["a.png,x,p,1.0,", " ./a.png ,x, p,1,", "b.png,y,q,2,"]
    files = source(folder, table, rows)
    assert files.refused is None and [files[i].kept["age"] for i in range(2)] == [1, 2]


def test_groups_that_share_a_picture_become_one_and_the_splits_keep_it(
    folder: Make, table: Make
) -> None:
    rows = ["a.png,x,p9,,", "a.png,x,p2,,", "b.png,x,p2,,", "c.png,x,p9,,", "c.png,x,p5,,"]
    files = source(folder, table, [*rows, "d.png,x,z,,"])
    assert [files[i].group for i in range(4)] == ["p2", "p2", "p2", "z"]
    assert files.counts["united_groups"] == 2


@pytest.mark.parametrize(
    ("row", "differing"),
    [("a.png,y,p,1,", "label"), ("a.png,x,p,2,", "age"), ("a.png,y,p,2,", "label, age")],
)
def test_rows_that_differ_fail_their_picture_alone(
    folder: Make, table: Make, row: str, differing: str
) -> None:
    files = source(folder, table, ["a.png,x,p,1,", row, "b.png,y,q,2,"])
    assert keys(files) == ["a.png", "b.png"] and rule(files[0]) == "table"
    assert files.refused.to_pylist() == [f"{CONTRADICTION}: {differing}", None]
    assert files[1].load() == b"b.png"


def test_a_class_of_pictures_that_cannot_be_used_is_no_class(folder: Make, table: Make) -> None:
    files = source(folder, table, ["a.png,w,p,1,", "a.png,y,p,1,", "b.png,z,q,2,", "c.png,x,r,,"])
    assert files.targets["label"].classes == ("x", "z") and column(files, "label") == [None, 1, 0]


def test_what_one_row_leaves_empty_another_says(folder: Make, table: Make) -> None:
    files = source(folder, table, ["a.png,,,1,", "a.png,x,p,,", "b.png,y,q,2,"])
    assert (files[0].target, files[0].group, files[0].kept) == ({"label": 0}, "p", {"age": 1})


def test_rows_of_a_picture_that_is_not_there_are_one_failure(folder: Make, table: Make) -> None:
    files = source(folder, table, ["gone.png,x,p,1,", "gone.png,x,p,1,", "b.png,y,q,2,"])
    assert keys(files) == ["b.png", "gone.png"] and rule(files[1]) == "missing"


@pytest.mark.parametrize("seed", range(10))
def test_against_pandas(folder: Make, table: Make, seed: int) -> None:
    """Labels agree where pandas finds one value, and fail where it finds several."""
    rng = random.Random(seed)
    cells = []
    for _ in range(12):
        cells.append((f"{rng.choice('abcd')}.png", rng.choice(["x", "y", ""]), rng.choice("pqrs")))
    files = source(folder, table, [f"{k},{label},{who},," for k, label, who in cells])
    frame = pd.DataFrame(cells, columns=["k", "label", "who"])
    for place, (key, rows) in enumerate(frame.groupby("k")):
        values = set(rows.label) - {""}
        assert keys(files)[place] == key
        assert (rule(files[place]) == "table") if len(values) > 1 else True
        if len(values) == 1:
            names = files.targets["label"].classes
            assert names[files[place].target["label"]] == values.pop()
    shared = frame.groupby("who").k.apply(set)
    for who, pictures in shared.items():
        groups = {files[keys(files).index(picture)].group for picture in pictures}
        assert len(groups) == 1 and min(groups) <= str(who)
