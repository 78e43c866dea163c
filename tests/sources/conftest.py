"""Folders of files and tables to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sources.listed import Make


@pytest.fixture
def folder(tmp_path: Path) -> Make:
    """Make a folder of files, each holding its own name, and name it."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
        return tmp_path / "pictures"

    return make


@pytest.fixture
def table(tmp_path: Path) -> Make:
    def make(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return make
