"""Loaders of random compositions against a reference in plain Python (`make torture`: 2,000)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.compositions import FACES, run


def test_a_hundred_compositions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    pytest.importorskip("keras")
    assert run(tmp_path, 100, lambda _: FACES) == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_compositions_in_worker_processes(tmp_path: Path, workers: int) -> None:
    pytest.importorskip("torch")
    assert run(tmp_path, 4, lambda _: (f"torch-{workers}",), first=5000) == {}
