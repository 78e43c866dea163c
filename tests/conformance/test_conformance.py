"""The corpus judges the validator and the reader: every file beside its JSON, every rule with a file."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.format.parquet.row_groups import generator
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.rules import RULES
from dof_arrow.format.validation.validate import validate
from tests.conformance.make import HERE, made, stored

VALID, INVALID = (
    sorted(p for p in (HERE / kind).iterdir() if p.suffix != ".json")
    for kind in ("valid", "invalid")
)


def told(path: Path) -> Any:
    return json.loads(path.with_suffix(".json").read_text("utf-8"))


def rules(path: Path, deep: bool) -> list[str]:
    return sorted({p.rule for p in validate(path, deep=deep)})


def test_corpus_is_there_and_small() -> None:
    assert len(VALID) >= 25 and len(INVALID) >= 100
    assert sum(p.stat().st_size for p in HERE.rglob("*") if p.is_file()) < 2 << 20


@pytest.mark.parametrize("path", VALID, ids=lambda p: p.stem)
def test_valid_file_has_no_problem(path: Path) -> None:
    assert validate(path) == []
    assert validate(path, deep=True) == []


@pytest.mark.parametrize("path", VALID, ids=lambda p: p.stem)
def test_valid_file_holds_what_its_json_says(path: Path) -> None:
    about, data = told(path), dataset.open(path)
    assert (len(data), sorted(data.columns)) == (about["rows"], about["columns"])
    assert data.to_arrow(["id"])["id"].to_pylist()[:3] == about["ids"]
    assert len(data.errors) == about["errors"]
    documents = {d.name: data.document(d.name) for d in data.metadata.documents}
    assert {name: hashlib.sha256(text).hexdigest() for name, text in documents.items()} == about[
        "documents"
    ]
    for name, names in about["names"].items():
        assert data.to_arrow([name])[name].to_pylist() == names
        assert pq.read_table(path)[name].to_pylist() == names
    for name, feature in about["features"].items():
        values = data.to_numpy(name)
        assert (
            data.metadata.columns[name].layout
            == {"mapped": "mapped", "compact": "encoded"}[about["layout"]]
        )
        assert list(data.metadata.columns[name].shape) == feature["shape"]
        assert_feature(values, feature)


@pytest.mark.parametrize("path", VALID, ids=lambda p: p.stem)
def test_row_c4_any_parquet_reader_sees_the_same(path: Path) -> None:
    table, about = pq.read_table(path), told(path)
    for name, feature in about["features"].items():
        column = table[name].combine_chunks()
        assert_feature(column.flatten().to_numpy(zero_copy_only=False), feature)


def assert_feature(values: np.ndarray, feature: Json) -> None:
    little = values.astype(values.dtype.newbyteorder("<"))
    assert str(values.dtype) == feature["dtype"]
    assert values.reshape(-1)[:4].tolist() == feature["first"]
    assert hashlib.sha256(little.tobytes()).hexdigest() == feature["sha256"]


@pytest.mark.parametrize("path", INVALID, ids=lambda p: p.stem)
def test_row_d17_invalid_file_gets_its_rules(path: Path) -> None:
    """D17: a check that finds every problem at once, each by its id."""
    about = told(path)
    assert rules(path, deep=False) == about["rules"]
    assert rules(path, deep=True) == about["deep"]


def test_every_rule_has_a_file_and_every_file_its_rules() -> None:
    met = {rule for path in INVALID for rule in told(path)["deep"]}
    assert met == set(RULES)
    assert all(told(path)["deep"] for path in INVALID)


def test_deep_rules_are_those_that_need_the_data() -> None:
    shallow = {rule for path in INVALID for rule in told(path)["rules"]}
    assert shallow == {name for name, rule in RULES.items() if not rule.deep}


def test_json_and_files_stand_in_pairs() -> None:
    stems = {p.with_suffix("") for p in VALID + INVALID}
    assert stems == {
        p.with_suffix("") for kind in ("valid", "invalid") for p in (HERE / kind).glob("*.json")
    }


def test_corpus_is_made_again_to_the_byte() -> None:
    for name, data, about in made():
        path = HERE / name
        if told(path)["generator"] == generator():
            assert stored(path) == data, (
                f"{name}: delete it and run python -m tests.conformance.make"
            )
            assert told(path) == json.loads(json.dumps(about))


def test_derived_copies_open_with_a_warning() -> None:
    for path in (p for p in INVALID if p.stem.startswith("derived-")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = dataset.open(path)
        assert data.derived and len(caught) == 1
        assert data.to_numpy().shape[1] == 8
