"""What a source says of its samples."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import PictureError
from dof_arrow.sources.sample import Sample, Source

Make = Callable[..., Path]


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(file, "PNG")
    return file.getvalue()


def keys(source: Source) -> list[str]:
    return [source[i].key for i in range(len(source))]


def column(source: Source, name: str) -> list[Any]:
    return [source[i].target[name] for i in range(len(source))]


def rule(sample: Sample) -> str:
    with pytest.raises(PictureError) as caught:
        sample.load()
    assert sample.key not in str(caught.value)
    return caught.value.rule
