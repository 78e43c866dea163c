"""Splits by a keyed hash, dealt exactly, or taken over from a dataset."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.dataset.dataset import Dataset, concat
from dof_arrow.errors import UsageError
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.extraction.report import of_plan
from dof_arrow.extraction.run import Extraction
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads.train import train
from dof_arrow.rewrite.merge import merge
from dof_arrow.sources.sample import Sample
from tests.support.pictures import KEY, Memory, core, folder_of, png

FRACTIONS = "train=0.6,test=0.4"
ILL = {"ill": Target(kind="category", classes=("no", "yes"))}


class People(Memory):
    """A picture a row: its name, the person, whether ill."""

    def __init__(self, rows: list[tuple[str, str | None, int | None]]) -> None:
        super().__init__(len(rows), targets=ILL, group=lambda i: rows[i][1])
        self.rows = rows

    def __getitem__(self, index: int) -> Sample:
        name, person, ill = self.rows[index]
        return Sample(key=name, data=self.data(index), group=person, target={"ill": ill})


def month(number: int, people: int = 12, most: int = 60) -> People:
    """Two pictures of each of some persons, who come again in other months."""
    random = np.random.default_rng(number)
    rows: list[tuple[str, str | None, int | None]] = []
    for person in sorted(random.choice(most, people, replace=False).tolist()):
        rows += [(f"{number:02d}/{person}-{i}", f"p{person}", person % 2) for i in range(2)]
    return People(sorted(rows))


def plan(source: Any, out: Path, **options: Any) -> Extraction:
    given = {"core": core(), "id_key": KEY, "split": FRACTIONS, **options}
    return planned(source, out=out / "x.parquet", **given)


def made(source: Any, out: Path, **options: Any) -> Dataset:
    given = {"core": core(), "id_key": KEY, "split": FRACTIONS, "workers": 1, **options}
    return extract(source, out=out, **given)


def pseudonym(kind: str, name: str, key: bytes = KEY) -> str:
    digest = hmac.new(key, f"dof pseudonym {kind}\0{name}".encode(), "sha256").digest()
    return base64.b32encode(digest).decode().lower()[:26]


def by_formula(name: str, kind: str = "group", key: bytes = KEY) -> str:
    digest = hmac.new(key, b"dof split\0" + pseudonym(kind, name, key).encode(), "sha256").digest()
    return "train" if int.from_bytes(digest[:8], "big") / 2**64 < 0.6 else "test"


def test_a_split_follows_from_the_key_and_the_group_alone(tmp_path: Path) -> None:
    source = month(0)
    found = plan(source, tmp_path).splits.to_pylist()
    assert found == [by_formula(str(person)) for _, person, _ in source.rows]
    assert set(found) == {"train", "test"}
    other = plan(source, tmp_path, id_key=bytes(32)).splits.to_pylist()
    assert other == [by_formula(str(person), key=bytes(32)) for _, person, _ in source.rows]
    assert found != other


def test_an_input_without_group_has_a_side_of_its_own(tmp_path: Path) -> None:
    rows = [(f"{i}.png", None if i % 2 else "p", i % 2) for i in range(8)]
    found = plan(People(rows), tmp_path).table.splits.to_pylist()
    expected = [by_formula("p") if i % 2 == 0 else by_formula(f"{i}.png", "id") for i in range(8)]
    assert found == expected


def test_names_instead_of_pseudonyms_change_no_side(tmp_path: Path) -> None:
    plain = plan(month(0), tmp_path, ids="name").splits
    assert plain.equals(plan(month(0), tmp_path).splits)


def test_groups_joined_by_a_picture_have_the_side_of_the_smallest_pseudonym(tmp_path: Path) -> None:
    folder_of(tmp_path / "p", 12)
    pairs = [(f"p{i}", f"q{i}") for i in range(12)]
    lines = [f"{i:04d},{who}" for i, pair in enumerate(pairs) for who in pair]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["file,who", *lines]))
    run = plan(tmp_path / "p", tmp_path, table=table, key="file", group="who")
    smallest = [min(pair, key=lambda name: pseudonym("group", name)) for pair in pairs]
    assert run.splits.to_pylist() == [by_formula(name) for name in smallest]
    assert {name[0] for name in smallest} == {"p", "q"}  # by name, all would be p


def test_shares_are_told(tmp_path: Path) -> None:
    run = plan(month(0), tmp_path)
    share = run.splits.to_pylist().count("test") / len(run.source)
    remarks = of_plan(run).remarks
    assert f"test {share:.1%} (asked for 40.0%)" in remarks[0]


def test_nobody_changes_sides_in_twelve_months(tmp_path: Path) -> None:
    sides: dict[str, set[str]] = {}
    for number in range(12):
        source = month(number)
        run = plan(source, tmp_path, split_exact=False)
        for (_, person, _), side in zip(source.rows, run.splits.to_pylist(), strict=True):
            sides.setdefault(str(person), set()).add(side)
    assert len(sides) > 50 and all(len(found) == 1 for found in sides.values())


@pytest.mark.parametrize("exact", [False, True])
def test_who_is_in_a_directory_stays_on_its_side(exact: bool, tmp_path: Path) -> None:
    """Even where splits are dealt exactly, or other fractions are asked for."""
    out = tmp_path / "all.dof"
    for number in range(4):
        fractions = FRACTIONS if number < 2 else "train=0.3,valid=0.7"
        found = made(month(number, 6, 10), out, split_exact=exact or number == 0, split=fractions)
    rows = found.to_arrow(["group", "split"])
    pairs = set(zip(rows["group"].to_pylist(), rows["split"].to_pylist(), strict=True))
    people = {person for number in range(4) for _, person, _ in month(number, 6, 10).rows}
    assert len(found) == 48 and len(pairs) == len(people) < 24
    again = made(month(3, 6, 10), out, split_exact=exact, split="train=0.3,valid=0.7")
    assert len(again) == 48  # the same run finds that it is done


def test_a_given_split_may_not_move_who_is_in_a_directory(tmp_path: Path) -> None:
    folder_of(tmp_path / "a", 2)
    options = {"key": "file", "group": "who", "split": "part", "core": core(), "id_key": KEY}
    for name, side in (("a", "train"), ("b", "test")):
        folder_of(tmp_path / name / name, 2)
        (tmp_path / f"{name}.csv").write_text(
            f"file,who,part\n{name}/0000.png,p,{side}\n{name}/0001.png,{name},{side}\n"
        )
    out = tmp_path / "x.dof"
    extract(tmp_path / "a", out=out, table=tmp_path / "a.csv", **options)
    with pytest.raises(UsageError, match=r"part groups that are there already.*1 in another"):
        extract(tmp_path / "b", out=out, table=tmp_path / "b.csv", **options)


def test_sides_are_taken_over_from_a_dataset(tmp_path: Path) -> None:
    first = made(month(0), tmp_path / "a.parquet", split_exact=True, split="train=0.5,test=0.5")
    rows = first.to_arrow(["group", "split"])
    known = dict(zip(rows["group"].to_pylist(), rows["split"].to_pylist(), strict=True))
    source = month(1, 30)
    run = plan(source, tmp_path, split_from=tmp_path / "a.parquet")
    expected = []
    for _, person, _ in source.rows:
        expected.append(known.get(pseudonym("group", str(person)), by_formula(str(person))))
    assert run.splits.to_pylist() == expected
    met = len({person for _, person, _ in source.rows} & {row[1] for row in month(0).rows})
    assert met > 3 and any(remark.startswith(f"{met} groups") for remark in of_plan(run).remarks)
    assert run.splits.to_pylist() != plan(source, tmp_path).splits.to_pylist()


def test_a_dataset_without_splits_has_none_to_give(tmp_path: Path) -> None:
    made(month(0), tmp_path / "a.parquet", split=None)
    with pytest.raises(UsageError, match="no splits to take over"):
        _ = plan(month(1), tmp_path, split_from=tmp_path / "a.parquet").splits


@pytest.mark.parametrize(
    ("rows", "lack"),
    [
        ([("a", "p", 0), ("b", "p", 1)], "no inputs in"),
        ([(f"{i}", f"p{i}", int(i == 3)) for i in range(30)], "ill yes is not in"),
    ],
)
def test_an_empty_split_or_a_missing_class_stops_the_run(
    rows: list[tuple[str, str | None, int | None]], lack: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"{lack}.*--split-exact"):
        made(People(rows), tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()
    assert len(made(People(rows), tmp_path / "x.parquet", split_exact=True)) == len(rows)


def test_exact_dealing_meets_shares_in_each_class_and_says_what_it_costs(tmp_path: Path) -> None:
    rows = [(f"{i:02d}", f"p{i}", int(i % 5 == 0)) for i in range(50)]
    run = plan(People(rows), tmp_path, split_exact=True)
    pairs = list(zip([row[2] for row in rows], run.splits.to_pylist(), strict=True))
    assert pairs.count((1, "test")) == 4 and pairs.count((0, "test")) == 16
    assert any("dealt exactly" in remark for remark in of_plan(run).remarks)


@pytest.mark.parametrize("option", [{"split_exact": True}, {"split_from": "x.parquet"}])
@pytest.mark.parametrize("split", [None, "part"])
def test_how_splits_are_drawn_needs_fractions(option: Any, split: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="says how splits are drawn by fractions"):
        plan(month(0), tmp_path, split=split, **option)


def test_two_halves_and_two_hospitals_are_as_one_extraction(tmp_path: Path) -> None:
    """Rows, splits, classes, but for the order of rows; and the head that is trained on them."""
    lines = {
        "a": ["file,ill,who,age"],
        "b": ["file,ill,who,dose"],
        "all": ["file,ill,who,age,dose"],
    }
    for number in range(40):
        site = "ab"[number % 2]
        ill = ("no", "flu", "cold")[number % 2 + number // 10 % 2]
        name, person = f"{site}/{number:02d}.png", f"p{number // 2}"
        for root in ("all", site):
            (tmp_path / root / site).mkdir(parents=True, exist_ok=True)
            (tmp_path / root / name).write_bytes(png(number))
        lines[site].append(f"{name},{ill},{person},{number}")
        numbers = f"{number}," if site == "a" else f",{number}"
        lines["all"].append(f"{name},{ill},{person},{numbers}")
    made_of = {}
    for name, rows in lines.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
        kept = [column for column in ("age", "dose") if column in rows[0]]
        options = {"table": tmp_path / f"{name}.csv", "key": "file", "label": "ill", "group": "who"}
        made_of[name] = made(tmp_path / name, tmp_path / f"{name}.parquet", keep=kept, **options)
    merged = merge([made_of["a"].path, made_of["b"].path], tmp_path / "ab.parquet")
    assert told(merged) == told(made_of["all"])
    assert set(merged.columns) == set(made_of["all"].columns)
    assert merged.metadata.splits == made_of["all"].metadata.splits
    assert dof.validate(merged.path, deep=True) == []
    halves = concat([made_of["a"], made_of["b"]])
    both, one = (train(in_order(ds)).report for ds in (halves, made_of["all"]))
    assert both["n_test"] == one["n_test"] == merged.metadata.splits["test"].rows
    assert both["score"] == pytest.approx(one["score"], abs=0.01)


def test_a_site_keeps_equal_names_of_two_hospitals_apart(tmp_path: Path) -> None:
    out = []
    for number, site in enumerate("ab"):
        folder = tmp_path / site / "train"
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(png(number))
        options = {"split": None, "ids": "name"}
        made(tmp_path / site, tmp_path / f"{site}.parquet", **options)
        out.append(made(tmp_path / site, tmp_path / f"{site}2.parquet", site=site, **options).path)
    with pytest.raises(UsageError, match="different inputs under one id"):
        merge([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "c.parquet")
    ds = merge(out, tmp_path / "c.parquet")
    assert ds.to_arrow(["id"])["id"].to_pylist() == ["a/train/1.png", "b/train/1.png"]
    found = dof.reproduce(out[0], tmp_path / "a", core=core(), id_key=KEY, site="a")
    assert found.agrees and found.rows == 1


def in_order(ds: Dataset) -> Dataset:
    """The rows in the order of their ids: which are drawn for what depends on it."""
    return ds.take(np.argsort(ds.to_numpy("id")))


def told(ds: Dataset) -> dict[str, list[Any]]:
    """The values of each row by its id, classes by name."""
    table = ds.to_arrow().to_pylist()
    classes = ds.metadata.targets["ill"].classes
    rows = {}
    for row in table:
        ill = row["ill"]
        row["ill"] = classes[ill] if isinstance(ill, int) else ill
        rows[row["id"]] = [row[name] for name in sorted(row)]
    return rows
