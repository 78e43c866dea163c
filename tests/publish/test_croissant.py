"""The description for catalogues: `mlcroissant` takes it, and gives the very records."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.errors import UsageError
from dof_arrow.publish.croissant import described
from tests.support import published

mlcroissant = pytest.importorskip("mlcroissant")
# What it says of itself, and of the libraries below it, when it loads and reads.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
RECOMMENDED = {"citeAs", "datePublished", "license", "version"}  # which only the owner can say


def _loaded(folder: Path, value: dict[str, Any] | None = None) -> Any:
    path = folder / "croissant.json"
    if value is not None:
        path.write_text(json.dumps(value), encoding="utf-8")
    found = mlcroissant.Dataset(path)
    assert not found.metadata.ctx.issues.errors
    said = {each.split('"')[1].rpartition("/")[2] for each in found.metadata.ctx.issues.warnings}
    assert said <= RECOMMENDED
    return found


def _plain(value: Any) -> Any:
    """A value of a record as plain Python."""
    if isinstance(value, dict):
        return {name.rpartition("/")[2]: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime()
    return value.item() if isinstance(value, np.generic) else value


def _expected(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a record has it: dates are times, and names are escaped."""
    row = {name.replace("Größe / cm", "Gr%C3%B6%C3%9Fe%20%2F%20cm"): v for name, v in row.items()}
    seen = row["seen"]
    return {**row, "seen": dt.datetime(seen.year, seen.month, seen.day)}


def _records(found: Any, name: str) -> list[dict[str, Any]]:
    return [_plain(record) for record in found.records(name)]


def test_what_was_pushed_loads_split_by_split(dataset: Path, tmp_path: Path) -> None:
    dof.push(dataset, tmp_path / "a")
    found = _loaded(tmp_path / "a")
    ds = dof.open(dataset)
    for split, name in zip(
        published.SPLITS, ("train", "validation", "test", "site_A"), strict=True
    ):
        rows = [_expected(row) for row in published.rows_of(ds.split(split))]
        assert _records(found, name) == rows
    named = {each["name"]: each.get("url") for each in _records(found, "split-names")}
    assert sorted(named) == sorted(published.SPLITS)


def test_a_file_is_described_where_it_lies(dataset: Path, tmp_path: Path) -> None:
    ds = dof.open(dataset)
    found = _loaded(tmp_path, described(ds))
    assert _records(found, "data") == [_expected(row) for row in published.rows_of(ds)]


def test_size_and_digest_of_the_file_stand_in_it(dataset: Path) -> None:
    (found,) = described(dof.open(dataset))["distribution"]
    assert found["contentSize"] == f"{dataset.stat().st_size} B"
    assert found["sha256"] == hashlib.sha256(dataset.read_bytes()).hexdigest()


def test_a_directory_is_a_set_of_files(dataset: Path, tmp_path: Path) -> None:
    ds = dof.open(dataset)
    dof.save(ds, tmp_path / "x.dof")
    found = _loaded(tmp_path / "x.dof", described(dof.open(tmp_path / "x.dof")))
    assert _records(found, "data") == [_expected(row) for row in published.rows_of(ds)]


def test_it_says_what_the_file_says(tmp_path: Path) -> None:
    said = published.about(
        info={
            **published.INFO,
            "source": "https://example.org/raw",
            "source_license": "CC0-1.0",
            "citation": "Cite me",
            "homepage": "https://example.org",
            "keys": {"version": "2.1.0"},
        },
        training={"intended_use": "research alone", "device_limitations": "not for children"},
        privacy={"ids": "pseudonym", "audits": [published.AUDIT], "measures": [{"noise": 1.5}]},
    )
    ds = dof.open(published.write(tmp_path / "x.dof.parquet", said=said))
    value = described(ds)
    assert value["license"] == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert value["creator"][0]["url"] == "https://orcid.org/0000-0002-1825-0097"
    assert (value["url"], value["citeAs"], value["version"]) == (
        "https://example.org",
        "Cite me",
        "2.1.0",
    )
    assert "https://example.org/raw" in value["rai:dataCollection"]
    assert value["rai:dataCollectionMissingData"].startswith("1 of 49 inputs")
    assert value["rai:dataUseCases"] == ["research alone"]
    limits = value["rai:dataLimitations"]
    assert "found sex" in limits[1] and limits[2] == "not for children"
    personal = " ".join(value["rai:personalSensitiveInformation"])
    assert "keyed pseudonyms" in personal and "noise 1.5" in personal
    assert {"@id": "https://example.org/raw"} in value["prov:wasDerivedFrom"]
    assert value["prov:wasGeneratedBy"]["prov:label"].startswith("dof-arrow")
    found = _loaded(tmp_path, value).metadata
    assert found.data_limitations == limits


def test_without_an_audit_it_says_so(dataset: Path) -> None:
    assert "not audited" in described(dof.open(dataset))["rai:dataLimitations"][1]


def test_chosen_rows_have_no_file_to_describe(dataset: Path) -> None:
    with pytest.raises(UsageError, match=r"dof\.save"):
        described(dof.open(dataset)[:3])


def test_columns_of_odd_types_and_names(tmp_path: Path) -> None:
    odd = {
        "": pa.array([1, 2]),
        "a/b%20 c": pa.array([1, 2]),
        "bytes": pa.array([b"a", b"\xff"]),
        "lasts": pa.array([1, 2], pa.duration("s")),
        "nested": pa.array([{"deep": {"x": 1}, "flat": "t"}] * 2),
        "price": pa.array([Decimal("1.50"), None]),
        "words": pa.array([["x", "y"], []]),
        "split": pa.array(["splits", "train"]),
    }
    with dof.Writer(tmp_path / "x.dof.parquet", {"record": {"split": "split"}}) as writer:
        writer.write(ids=["a", "b"], vectors={"feature": np.eye(2, dtype="f4")}, columns=odd)
    dof.push(tmp_path / "x.dof.parquet", tmp_path / "a")
    (row,) = _records(_loaded(tmp_path / "a"), "splits")
    assert {name: row[name] for name in ("id", "words", "nested", "price")} == {
        "id": "a",
        "words": ["x", "y"],
        "nested": {"flat": "t"},
        "price": 1.5,
    }
    value = json.loads((tmp_path / "a" / "croissant.json").read_text("utf-8"))
    told = value["recordSet"][-1]["description"]
    assert told.endswith("no type for: one without a name, bytes, lasts, nested.deep.")
