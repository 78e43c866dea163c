"""Suggested heads as JSON: what was written is what is read, and what cannot be says why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.heads import architecture
from dof_arrow.heads.architecture import Architecture, Dense, Dropout, Pool, Recurrent


def said(*layers: Any) -> list[str]:
    return [f"{p.where} {p.found}" for p in architecture.problems({"layers": list(layers)})]


DENSE = {"kind": "dense", "units": 8}
LSTM, POOL = {"kind": "recurrent", "cell": "lstm", "units": 4}, {"kind": "pool", "by": "last"}


def test_every_kind_of_layer_goes_to_json_and_back() -> None:
    """Every kind of layer that can be suggested (row D10)."""
    value = {
        "layers": [
            {"kind": "recurrent", "cell": "gru", "units": 4, "bidirectional": True},
            POOL,
            DENSE,
            {"kind": "normalization", "over": "batch"},
            {"kind": "activation", "function": "gelu"},
            {"kind": "dropout", "rate": 0.5},
        ]
    }
    read = architecture.from_json(json.loads(json.dumps(value)))
    assert architecture.to_json(read) == value
    assert read.timed
    assert not Architecture((Dense(units=8),)).timed
    assert len(architecture.KINDS) == 6 == len({type(layer) for layer in read.layers})


@pytest.mark.parametrize("function", architecture.FUNCTIONS)
def test_every_function_is_declared(function: str) -> None:
    assert said({"kind": "activation", "function": function}) == []


def test_every_problem_at_once() -> None:
    found = said(
        DENSE,
        {"kind": "dense", "units": 0},
        {"kind": "dance"},
        7,
        {"kind": "dropout", "rate": 1.0},
        {"kind": "activation", "function": "relux"},
        {"kind": "dense", "units": True},
    )
    assert found == [
        "$.head.layers[1].units 0",
        "$.head.layers[2].kind dance",
        "$.head.layers[3].kind None",
        "$.head.layers[4].rate 1.0",
        '$.head.layers[5].function "relux"',
        "$.head.layers[6].units true",
    ]
    with pytest.raises(FormatError, match=r"layers\[0\].kind"):
        architecture.from_json({"layers": [{}]})


@pytest.mark.parametrize("value", [None, {}, [], {"layers": {}}, {"layers": [DENSE] * 65}])
def test_what_is_no_list_of_layers(value: Any) -> None:
    assert [p.where for p in architecture.problems(value)] == ["$.head.layers"]


def test_clips_are_pooled_once_after_the_last_recurrent_layer() -> None:
    assert said(LSTM, POOL) == said(DENSE, POOL, DENSE) == said(LSTM, LSTM, POOL) == []
    assert said(LSTM) == ["$.head.layers[0] none"]
    assert said(POOL, LSTM) == ["$.head.layers[1] none"]
    assert said(POOL, POOL) == ["$.head.layers[1] 2"]


def test_a_head_that_would_fill_the_memory_is_refused() -> None:
    assert said({"kind": "dense", "units": 10**9}) == ["$.head.layers[0].units 1000000000"]
    wide = Architecture((Dense(units=16_384), Dense(units=16_384)))
    with pytest.raises(UsageError, match="too large: expected at most 100,000,000 weights"):
        architecture.check_size(wide, 1280, 10)


def test_the_count_of_weights_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    from dof_arrow.heads.network import Network

    made = Architecture(
        (Recurrent(cell="lstm", units=5, bidirectional=True), Pool(by="max"), Dropout(rate=0.1))
    )
    weights = sum(p.numel() for p in Network(made, 7, 3).modules.parameters())
    assert architecture.check_size(made, 7, 3) == weights
    assert torch
