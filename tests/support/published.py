"""A small dataset of every kind of column to publish, and a hub on the loopback to publish it on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dof_arrow as dof
from tests.support import making
from tests.support.hub_server import HubServer
from tests.support.servers import TOKEN

ROWS = 48
CLASSES = ["cat", "dog", "fox"]
SPLITS = ["train", "valid", "test", "site A"]
CONTACT = {"name": "A. Lab", "email": "data@lab.example", "orcid": "0000-0002-1825-0097"}
INFO = {"title": "Small things", "license": "CC-BY-4.0", "contacts": [CONTACT]}
AUDIT = {"rows": 48, "advantage": 0.25, "findings": [{"of": "sex", "found": True}]}


def about(**more: Any) -> dict[str, Any]:
    """What the dataset says of itself."""
    return {
        "record": {"id": "id", "split": "split"},
        "targets": {
            "label": {"kind": "category", "classes": CLASSES},
            "age": {"kind": "regression", "unit": "years"},
            "signs": {"kind": "multilabel", "classes": ["a", "b"]},
        },
        "info": INFO,
        "privacy": {"ids": "pseudonym"},
        "provenance": {"inputs": ROWS + 1, "failed": 1},
        **more,
    }


def columns(rows: int) -> dict[str, Any]:
    """Columns with missing values, lists, dates and names that addresses have to escape."""
    each = range(rows)
    return {
        "label": [[*CLASSES, None][i % 4] for i in each],
        "age": np.arange(rows) + 0.5,
        "signs": [[[0], [0, 1], [], None][i % 4] for i in each],
        "split": [SPLITS[i // 2 % 4] for i in each],
        "Größe / cm": pa.array([i if i % 3 else None for i in each], pa.int32()),
        "seen": pa.array([date(2020, 1, 1 + i % 28) for i in each], pa.date32()),
        "when": pa.array([i * 10**9 for i in each], pa.timestamp("us")),
        "ok": pa.array([i % 2 == 0 for i in each]),
        "note": pa.array([f"n{i}" if i % 5 else None for i in each]),
        "processing": pa.array([{"flip": i % 2 == 0, "angle": i / 2} for i in each]),
    }


def write(path: Path, rows: int = ROWS, said: dict[str, Any] | None = None) -> Path:
    """The dataset: rows in the order of their pseudonyms, a failure, a document."""
    said = about() if said is None else said
    with dof.Writer(path, said) as writer:
        writer.write(
            ids=making.ids(rows),
            vectors={
                "feature": making.vectors(rows, 8),
                "map": making.vectors(rows, 2, 3, dtype="float16", seed=1),
            },
            columns=columns(rows),
        )
        writer.fail("r9999999", "truncated", "the picture ends too soon")
        writer.attach("protocol.txt", b"how", "text/plain")
    return path


def rows_of(ds: dof.Dataset, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows as plain Python, in the order of their ids."""
    table = ds.to_arrow(list(names) or ds.schema.names)
    return sorted(table.to_pylist(), key=lambda row: str(row["id"]))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write(tmp_path / "x.dof.parquet")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub, with huggingface_hub set up for it."""
    constants = pytest.importorskip("huggingface_hub.constants")
    server = HubServer()
    with server.serving() as address:
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        # Read when the library loads, and another test of this process may have set it until then.
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_URL_HOSTS", constants.HF_URL_HOSTS | {"127.0.0.1"})
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield server
