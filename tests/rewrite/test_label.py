"""Labels from a table beside a dataset, against what pandas joins; vectors stay byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.cli.main import main
from dof_arrow.security.pseudonyms import pseudonyms
from dof_arrow.sources import table
from tests.support.pictures import folder_of

KEY = bytes(range(32))
ROWS = 60
NAMES = [f"ward {i % 3}/p{i:03d}.png" for i in range(ROWS)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A dataset whose ids are pseudonyms of `NAMES`."""
    path = tmp_path / "a.dof.parquet"
    vectors = np.random.default_rng(5).random((ROWS, 6), np.float32)
    with dof.Writer(path, {"privacy": {"ids": "pseudonym"}}) as writer:
        writer.write(
            ids=pseudonyms(KEY, "id", NAMES),
            vectors={"feature": vectors},
            columns={"sex": ["f", None, "m"] * 20, "age": list(range(ROWS))},
        )
    return path


def _table(path: Path, **columns: Any) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def _values(ds: dof.Dataset, name: str) -> list[Any]:
    """A column by names of classes, whichever way it is stored."""
    classes = ds.metadata.targets[name].classes
    values = ds.to_arrow([name]).column(0).to_pylist()
    return [classes[value] if isinstance(value, int) else value for value in values]


def test_values_are_those_that_pandas_joins(file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    chosen = rng.permutation(ROWS)[:40]
    frame = pd.DataFrame(
        {
            "name": [NAMES[i] for i in chosen] + ["elsewhere.png"],
            "finding": rng.choice(["flu", "cold", "none"], 41),
            "dose": rng.random(41).round(3),
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    made = dof.label(
        file,
        table=tmp_path / "t.csv",
        key="name",
        label=["finding", "dose"],
        id_key=KEY,
        out=tmp_path / "b.dof.parquet",
    )
    assert dof.validate(made.path, deep=True) == []
    expected = pd.DataFrame({"name": NAMES}).merge(frame, how="left", on="name")
    wanted = expected["finding"].astype(object).where(expected["finding"].notna(), None)
    assert _values(made, "finding") == wanted.tolist()
    doses = made.to_arrow(["dose"]).column(0).to_pandas()
    pd.testing.assert_series_equal(doses, expected["dose"], check_names=False)
    assert made.to_numpy().tobytes() == dof.open(file).to_numpy().tobytes()
    parents = made.metadata.provenance.parents if made.metadata.provenance else ()
    assert [parent.seal for parent in parents] == [dof.open(file).seal]


def test_ids_of_the_file_serve_as_keys(file: Path, tmp_path: Path) -> None:
    ids = dof.open(file).to_arrow(["id"]).column(0).to_pylist()
    table = _table(tmp_path / "t.csv", id=ids[:30], y=["a", "b"] * 15)
    out = tmp_path / "b.dof.parquet"
    made = dof.label(file, table=table, key="id", label="y", id_key=bytes(32), out=out)
    assert _values(made, "y") == ["a", "b"] * 15 + [None] * 30


def test_a_source_gives_names_that_the_table_lacks(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pictures", 6, ("a", "b"))
    data = dof.extract(folder, core="builtin", out=tmp_path / "a.dof.parquet", id_key=KEY)
    stems = sorted(path.stem for path in folder.rglob("*.png"))
    table = _table(tmp_path / "t.csv", file=stems, y=list("uvuvuv")[: len(stems)])
    with pytest.raises(dof.SourceError, match="add --source FOLDER"):
        dof.label(data.path, table=table, key="file", label="y", id_key=KEY, out=tmp_path / "b")
    out = tmp_path / "b.dof.parquet"
    made = dof.label(
        data.path, table=table, key="file", label="y", id_key=KEY, source=folder, out=out
    )
    known = dict(zip(stems, list("uvuvuv"), strict=False))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    by_id = dict(zip(pseudonyms(KEY, "id", names), names, strict=True))
    expected = [known[Path(by_id[each["id"]]).stem] for each in made]
    assert _values(made, "y") == expected


def test_rows_of_one_record_are_settled_as_extract_does(file: Path, tmp_path: Path) -> None:
    table = _table(
        tmp_path / "t.csv",
        name=[NAMES[0], NAMES[0], NAMES[1], NAMES[1], NAMES[2], "gone.png"],
        y=["a", "b", "c", "c", "d", "c"],
    )
    from dof_arrow.rewrite.label import planned

    plan = planned(file, table=table, key="name", label="y", id_key=KEY)
    made = plan.write(tmp_path / "b.dof.parquet")
    assert _values(made, "y")[:4] == [None, "c", "d", None]
    assert made.metadata.targets["y"].classes == ("c", "d")
    told = {line.what: line.count for line in plan.report.inputs}
    assert told == {
        "records that the table names": 2,
        "rows left out: the table's rows of this picture differ in: y": 1,
        "rows of the table left out: no record has their name": 1,
        "records without a row in the table: what it would say of them is missing": 57,
        "rows of a picture that has several, taken as one": 1,
    }
    assert plan.report.values == {"y": {"c": 1, "d": 1, "none": 58}}


def test_groups_are_pseudonyms_and_splits_are_counted(file: Path, tmp_path: Path) -> None:
    table = _table(
        tmp_path / "t.csv",
        name=NAMES,
        patient=[f"P{i // 2}" for i in range(ROWS)],
        part=["Training"] * 40 + ["val"] * 20,
    )
    out = tmp_path / "b.dof.parquet"
    made = dof.label(
        file, table=table, key="name", group="patient", split="part", id_key=KEY, out=out
    )
    expected = pseudonyms(KEY, "group", [f"P{i // 2}" for i in range(ROWS)])
    assert made.to_arrow(["group"]).column(0).to_pylist() == expected
    assert {n: s.rows for n, s in made.metadata.splits.items()} == {"train": 40, "valid": 20}
    assert len(made.split("valid")) == 20 and dof.validate(out, deep=True) == []
    bad = _table(tmp_path / "u.csv", name=NAMES, p=["x"] * ROWS, s=["train", "test"] * 30)
    with pytest.raises(dof.UsageError):
        dof.label(file, table=bad, key="name", group="p", split="s", id_key=KEY, out=out)


def test_a_kept_column_becomes_a_target(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.dof.parquet"
    made = dof.label(file, target="sex", out=out)
    assert _values(made, "sex") == ["f", None, "m"] * 20
    assert len(made.labelled("sex")) == 40
    out = tmp_path / "c.dof.parquet"
    assert main(["label", str(file), "--target", "age", "-o", str(out), "--quiet"]) == 0
    aged = dof.open(out)
    assert aged.metadata.targets["age"].kind == "regression"
    assert aged.to_numpy("age").tolist() == list(range(ROWS))


def test_classes_that_are_numerals_keep_their_order_when_declared_again(
    file: Path, tmp_path: Path
) -> None:
    table = _table(tmp_path / "t.csv", name=NAMES, stage=[2, 3, None] * 20)
    asked: dict[str, Any] = {"key": "name", "label": "stage", "kind": "classes", "id_key": KEY}
    out = tmp_path / "b.dof.parquet"
    made = dof.label(file, table=table, classes="3,2,1", out=out, **asked)
    again = dof.label(made.path, target="stage", out=tmp_path / "c.dof.parquet")
    for ds in (made, again):
        assert ds.metadata.targets["stage"].classes == ("3", "2", "1")
        assert ds.to_arrow(["stage"])["stage"].to_pylist() == ["2", "3", None] * 20
        assert ds.to_numpy("stage").tolist() == [1, 0, -1] * 20
        assert dof.validate(ds.path, deep=True) == []


def test_the_command_calls_a_label_otherwise(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = _table(tmp_path / "t.csv", name=NAMES, dx=["COVID-19", "covid", "x"] * 20)
    (tmp_path / "key").write_text(KEY.hex() + "\n")
    out = tmp_path / "b.dof.parquet"
    asked = ["--table", str(table), "--key", "name", "--label", "dx", "--target", "sex"]
    asked += ["--map", "COVID*=covid,x=", "--id-key", str(tmp_path / "key"), "-o", str(out)]
    assert main(["label", str(file), *asked]) == 0
    assert "sex: covid (40), none (20)" in capsys.readouterr().err
    made = dof.open(out)
    assert made.columns == ["id", "sex", "age", "feature"]
    assert _values(made, "sex") == ["covid", "covid", None] * 20


def test_what_cannot_be_asked_is_refused(file: Path, tmp_path: Path) -> None:
    table = _table(tmp_path / "t.csv", name=NAMES, y=["a"] * ROWS, feature=["b"] * ROWS)
    out = tmp_path / "b.dof.parquet"
    calls: list[dict[str, Any]] = [
        {},
        {"label": "y"},
        {"table": table, "key": "name"},
        {"table": table, "label": "y"},
        {"table": table, "key": "name", "label": "y", "start": "y"},
        {"table": table, "key": "name", "label": "folder"},
        {"table": table, "key": "name", "label": "y", "split": "train=0.5"},
        {"table": table, "key": "name", "label": "feature"},
        {"table": table, "key": "name", "label": "none"},
        {"table": table, "key": "name", "label": ["y", "feature"], "target": "z"},
        {"target": "nothing"},
        {"target": "sex", "lable": "y"},
    ]
    for call in calls:
        with pytest.raises(dof.UsageError):
            dof.label(file, out=out, id_key=KEY, **call)
    assert not out.exists()


def test_old_digests_stay_so_that_damage_is_still_found(file: Path, tmp_path: Path) -> None:
    whole = pq.ParquetFile(file).metadata.row_group(0)
    column = [whole.column(i).path_in_schema for i in range(whole.num_columns)]
    at = whole.column(column.index("feature.list.element"))
    data = bytearray(file.read_bytes())
    data[at.data_page_offset + at.total_compressed_size - 1] ^= 1
    file.write_bytes(data)
    made = dof.label(file, target="sex", out=tmp_path / "b.dof.parquet")
    assert [problem.rule for problem in dof.validate(made.path, deep=True)] == ["digest-false"]


def test_labels_alone_are_a_plain_file_that_joins(file: Path, tmp_path: Path) -> None:
    ids = dof.open(file).to_arrow(["id"]).column(0).to_pylist()
    table = _table(tmp_path / "t.csv", id=ids[:30], y=["b", "a"] * 15)
    out = tmp_path / "labels.parquet"
    command = ["label", str(file), "--table", str(table), "--key", "id", "--label", "y"]
    assert main([*command, "--labels-only", "-o", str(out)]) == 0
    assert pq.read_schema(out).names == ["id", "y"]
    joined = dof.open(file).join(out)
    whole = dof.label(file, table=table, key="id", label="y", out=tmp_path / "b.dof.parquet")
    assert joined.metadata.targets["y"] == whole.metadata.targets["y"]
    assert _values(joined, "y") == _values(whole, "y") == ["b", "a"] * 15 + [None] * 30


def _slides(path: Path, names: list[str], *, ids: str = "pseudonym") -> Path:
    """A dataset of three tiles a slide, as `dof convert` makes it of others' files."""
    bags = pseudonyms(KEY, "id", names) if ids == "pseudonym" else names
    order = sorted(bags)
    about: dict[str, Any] = {"privacy": {"ids": ids}, "record": {"bag": "slide"}}
    schema = pa.schema([pa.field("slide", pa.string(), nullable=False)])
    tiles = [f"{bag}-{number:07d}" for bag in order for number in range(3)]
    with dof.Writer(path, about, schema=schema) as writer:
        writer.write(
            ids=tiles,
            vectors={"feature": np.arange(len(tiles) * 2, dtype="f4").reshape(-1, 2)},
            columns={"slide": [tile.rpartition("-")[0] for tile in tiles]},
        )
    return path


@pytest.mark.parametrize("ids", ["pseudonym", "name"])
def test_a_row_for_each_bag_speaks_of_all_its_rows(tmp_path: Path, ids: str) -> None:
    from dof_arrow.rewrite.label import planned

    data = _slides(tmp_path / "a.parquet", ["b/s3", "a/s1", "s2"], ids=ids)
    table = _table(
        tmp_path / "t.csv",
        slide=["s2", "a/s1", "gone"],
        grade=["low", "high", "low"],
        who=["P1", "P1", "P2"],
        part=["test", "test", "train"],
    )
    asked = {"key": "slide", "label": "grade", "group": "who", "split": "part"}
    plan = planned(data, table=table, id_key=KEY, **asked)
    made = plan.write(tmp_path / "b.parquet")
    assert dof.validate(made.path, deep=True) == []
    assert made.metadata.record.bag == "slide"
    called = {"a/s1": "a/s1", "s2": "s2"}
    patient = "P1"
    if ids == "pseudonym":
        called = dict(zip(pseudonyms(KEY, "id", list(called)), called, strict=True))
        (patient,) = pseudonyms(KEY, "group", [patient])
    for name, bag in made.bags().items():
        known = {"a/s1": "high", "s2": "low"}.get(called.get(name, ""))
        assert _values(bag, "grade") == [known] * 3
        assert set(bag["split"]) == {"test" if known else None}
    assert set(made["group"]) == {patient, None}
    told = {line.what: line.count for line in plan.report.inputs}
    assert told == {
        "bags that the table names": 2,
        "rows of the table left out: no bag has their name": 1,
        "bags without a row in the table: what it would say of them is missing": 1,
    }


def test_files_of_slides_are_found_without_their_suffix_if_asked(tmp_path: Path) -> None:
    data = _slides(tmp_path / "a.parquet", ["s1", "s2"])
    table = _table(tmp_path / "t.csv", file=["s1.svs", "s2.svs"], y=["u", "v"])
    asked: Any = {"table": table, "key": "file", "label": "y", "id_key": KEY}
    with pytest.raises(dof.SourceError, match="--match suffix would find 2 more"):
        dof.label(data, out=tmp_path / "b.parquet", **asked)
    made = dof.label(data, out=tmp_path / "b.parquet", match="suffix", **asked)
    assert sorted(_values(made, "y")) == ["u"] * 3 + ["v"] * 3


def test_a_table_of_tiles_is_about_tiles(tmp_path: Path) -> None:
    data = _slides(tmp_path / "a.parquet", ["s1", "s2"], ids="name")
    tiles = dof.open(data)["id"].tolist()
    table = _table(tmp_path / "t.csv", id=tiles[:4], y=list("uvuv"))
    made = dof.label(data, table=table, key="id", label="y", out=tmp_path / "b.parquet")
    assert _values(made, "y") == [*"uvuv", None, None]
    table = _table(tmp_path / "none.csv", id=["x", "y"], y=list("uv"))
    with pytest.raises(dof.SourceError, match="no row of the table names"):
        dof.label(data, table=table, key="id", label="y", out=tmp_path / "c.parquet")


def test_a_table_without_a_key_is_refused(file: Path, tmp_path: Path) -> None:
    table = _table(tmp_path / "t.csv", name=NAMES, y=["a"] * ROWS)
    with pytest.raises(dof.UsageError, match="the column that names"):
        dof.label(file, table=table, label="y", out=tmp_path / "b.parquet")


def test_a_table_of_ids_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"p{row}" for row in range(5)]
    with dof.Writer(tmp_path / "a.dof.parquet") as writer:
        writer.write(ids=ids, vectors={"feature": np.zeros((5, 2), np.float32)})
    labels = _table(tmp_path / "t.csv", id=ids[::-1], animal=["cat", "dog", "cat", "cat", "dog"])
    read = []
    usual = table.read

    def noted(*arguments: Any) -> table.Table:
        read.append(arguments)
        return usual(*arguments)

    monkeypatch.setattr(table, "read", noted)
    out = tmp_path / "b.dof.parquet"
    made = dof.label(tmp_path / "a.dof.parquet", table=labels, key="id", label="animal", out=out)
    assert _values(made, "animal") == ["dog", "cat", "cat", "dog", "cat"] and len(read) == 1
