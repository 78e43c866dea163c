"""The README of a published dataset: its head is YAML that the hub's libraries read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.format.spec.metadata import Privacy
from dof_arrow.privacy.audit import audit as attack
from dof_arrow.privacy.audit import store
from dof_arrow.publish import audit_line, hub_readme
from tests.support import published


def head(text: str) -> dict[str, Any]:
    """What the YAML at the head says."""
    import yaml

    _, block, _ = text.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def test_datasets_loads_the_folder_split_by_split(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    dof.push(dataset, tmp_path / "a")
    found = datasets.load_dataset(str(tmp_path / "a"), cache_dir=str(tmp_path / "cache"))
    ds = dof.open(dataset)
    assert set(found) == {"train", "validation", "test", "site_A"}
    for split, name in zip(
        published.SPLITS, ("train", "validation", "test", "site_A"), strict=True
    ):
        rows = ds.split(split)
        assert found[name]["id"][:] == rows["id"].tolist()
        assert np.array_equal(np.array(found[name]["feature"][:], "f4"), rows.to_numpy())
        assert found[name]["label"][:] == list(rows["label"])
    alone = datasets.load_dataset(
        str(tmp_path / "a"), split="test", cache_dir=str(tmp_path / "cache")
    )
    assert alone.num_rows == len(ds.split("test"))


def test_the_head(dataset: Path) -> None:
    found = head(hub_readme.text(dof.open(dataset)))
    assert found["license"] == "cc-by-4.0" and found["pretty_name"] == "Small things"
    assert found["size_categories"] == ["n<1K"]
    files = found["configs"][0]["data_files"]
    assert [each["split"] for each in files] == ["train", "validation", "test", "site_A"]
    assert files[1]["path"] == "validation-00000-of-00001.parquet"


@pytest.mark.parametrize(
    "title", ["---\nlicense: mit", 'a "b": {c}', "\u2028\x85\x07 x", "# 1 \U0001f600", "|<script>"]
)
def test_a_title_cannot_end_the_head(tmp_path: Path, title: str) -> None:
    said = published.about(info={"title": title, "license": "LicenseRef-mine"})
    text = hub_readme.text(dof.open(published.write(tmp_path / "x.dof.parquet", said=said)))
    found = head(text)
    assert found["pretty_name"] == title
    assert (found["license"], found["license_name"]) == ("other", "LicenseRef-mine")
    assert "<script" not in text.split("---\n", 2)[2]


def test_it_tells_the_audit_or_that_there_was_none(dataset: Path, tmp_path: Path) -> None:
    assert "**Audit:** not audited" in hub_readme.text(dof.open(dataset))
    said = published.about(privacy={"ids": "name", "audits": [published.AUDIT]})
    ds = dof.open(published.write(tmp_path / "y.dof.parquet", said=said))
    line = audit_line.audit_line(ds.metadata)
    assert line == "audited on 48 rows: found sex; the most gained over chance: 0.25"
    text = hub_readme.text(ds)
    assert f"**Audit:** {line}" in text and "the inputs' own names" in text


def test_a_real_audit_is_told(tmp_path: Path) -> None:
    path = published.write(tmp_path / "x.dof.parquet")
    store(attack(path), path)
    line = audit_line.audit_line(dof.open(path).metadata)
    assert line.startswith("audited on 48 rows: ")


@pytest.mark.parametrize(
    "audit", [{}, {"findings": 3}, {"findings": [4, {"found": 1}], "advantage": "x"}]
)
def test_an_audit_of_another_form_is_told_as_far_as_it_goes(audit: dict[str, Any]) -> None:
    told: Any = SimpleNamespace(privacy=Privacy(ids="pseudonym", audits=(audit,)))
    assert audit_line.audit_line(told).startswith("audited on some rows: ")
