"""Where the real data for tests lies; a test that needs it is skipped, saying so, where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared_data() -> Path:
    """The folder of real models, pictures and bad files, or a skip."""
    folder = Path(os.environ.get("DOF_SHARED_DATA", _DEFAULT))
    if not folder.is_dir():
        pytest.skip("real data absent: set DOF_SHARED_DATA to its folder")
    return folder
