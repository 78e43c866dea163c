"""The plan says everything that will leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from dof_arrow.extraction.dry_run import leaving
from dof_arrow.extraction.extract import planned
from dof_arrow.format.spec.json_model import to_json
from tests.support.pictures import KEY, core, folder_of

# What the metadata of an output holds; whatever joins them must be told by `leaving` too.
TOLD = {
    "version",
    "uuid",
    "primary_column",
    "record",
    "columns",
    "cores",
    "augmentation",
    "privacy",
    "provenance",
}


def test_every_column_and_string_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path / "p", 8)
    table = tmp_path / "t.csv"
    rows = [f"{i:04d},{'ab'[i % 2]},w{i // 2},{i},x" for i in range(8)]
    table.write_text("\n".join(["f,finding,who,age,secret", *rows]))
    run = planned(
        tmp_path / "p",
        core=core(),
        out=tmp_path / "x.parquet",
        id_key=KEY,
        table=table,
        key="f",
        label="finding",
        group="who",
        keep=["age"],
        split="train=0.5,test=0.5",
        split_exact=True,
    )
    what = leaving(run)
    assert what["inputs"] == 8
    holds = {c["name"]: c["holds"] for c in what["columns"]}
    assert list(holds) == run.run().columns
    assert list(holds) == run.schema.names
    assert holds["id"] == holds["group"] == "pseudonyms" and holds["finding"] == "category: a, b"
    assert holds["split"] == "test 4, train 4"
    assert holds["age"].startswith("copied from the table: 8 different values, 0")
    assert {c["name"]: c["type"] for c in what["columns"]}["feature"] == "float[43]"
    assert any("scattering-1" in line and "Apache-2.0" in line for line in what["strings"])
    assert what["metadata"]["targets"]["finding"]["classes"] == ["a", "b"]
    assert "secret" not in repr(what)


def test_all_that_an_output_says_of_itself_is_named(tmp_path: Path) -> None:
    """Versions, the run's digest, and nothing that the plan has not thought of."""
    run = planned(
        folder_of(tmp_path / "p", 6),
        core=core(),
        out=tmp_path / "x.parquet",
        id_key=KEY,
        views=2,
        augment="photo",
    )
    told = " ".join(leaving(run)["strings"])
    about = to_json(run.run().metadata)
    provenance = about["provenance"]
    assert set(about) == TOLD
    made = {"generator", "inputs", "failed", "run", "size", "libraries", "raw"}
    assert set(provenance) == made
    assert set(provenance["libraries"]) == {"dof_arrow", "onnxruntime", "PIL", "pyarrow"}
    for version in provenance["libraries"].values():
        assert version in told
    for said in ("onnxruntime", "Pillow", provenance["run"][:16], "augmented", "EXIF orientation"):
        assert said in told


def test_the_time_that_is_set_for_reproducible_builds_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(tmp_path / "p", 2)
    run = planned(tmp_path / "p", core=core(), out=tmp_path / "x.parquet", id_key=KEY)
    assert "SOURCE_DATE_EPOCH" not in repr(leaving(run)["strings"])
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert "the time of SOURCE_DATE_EPOCH, 86400" in leaving(run)["strings"]
    about = run.run().metadata.provenance
    assert about is not None and about.created == "1970-01-02T00:00:00+00:00"


def test_names_are_called_names(tmp_path: Path) -> None:
    run = planned(
        folder_of(tmp_path / "p", 2),
        core=core(),
        out=tmp_path / "x.parquet",
        id_key=KEY,
        ids="name",
    )
    what = leaving(run)
    assert what["columns"][0][
        "holds"
    ] == "the inputs' own names" and "failures by name" in " ".join(what["strings"])


def test_the_sources_order_is_told_only_where_it_leaves(tmp_path: Path) -> None:
    told = []
    folder = folder_of(tmp_path / "p", 2)
    for options in ({}, {"order": "source"}, {"order": "source", "ids": "name"}, {"ids": "name"}):
        run = planned(folder, core=core(), out=tmp_path / "x.parquet", id_key=KEY, **options)
        told.append("tell whose row is whose" in " ".join(leaving(run)["strings"]))
    assert told == [False, True, False, False]


def test_facts_that_a_directory_has_are_named_though_nobody_asks(tmp_path: Path) -> None:
    """New rows have the columns of the old ones."""
    out = tmp_path / "x.dof"
    given = {"core": core(), "out": out, "id_key": KEY}
    planned(folder_of(tmp_path / "p", 2), facts="exact", **given).run()
    (tmp_path / "q").mkdir()
    (tmp_path / "p" / "0001.png").rename(tmp_path / "q" / "new.png")
    run = planned(tmp_path / "q", **given)
    holds = {column["name"]: column["holds"] for column in leaving(run)["columns"]}
    assert holds["processing"] == "size, mode, depth, format and such of each picture"
    assert list(holds) == run.run().columns
