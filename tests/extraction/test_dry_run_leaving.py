"""The plan says everything that will leave."""

from __future__ import annotations

from pathlib import Path

from dof_arrow.extraction.dry_run import leaving
from dof_arrow.extraction.extract import planned
from tests.support.pictures import KEY, core, folder_of


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
    )
    what = leaving(run)
    assert what["inputs"] == 8
    holds = {c["name"]: c["holds"] for c in what["columns"]}
    assert list(holds) == [*run.schema.names, "processing"] == [*run.run().columns, "processing"]
    assert holds["id"] == holds["group"] == "pseudonyms" and holds["finding"] == "category: a, b"
    assert holds["split"] == "test 4, train 4"
    assert holds["age"].startswith("copied from the table: 8 different values, 0")
    assert {c["name"]: c["type"] for c in what["columns"]}["feature"] == "float[43]"
    assert any("scattering-1" in line and "Apache-2.0" in line for line in what["strings"])
    assert what["metadata"]["targets"]["finding"]["classes"] == ["a", "b"]
    assert "secret" not in repr(what)


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
