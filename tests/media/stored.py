"""Pictures stored in memory, and what is decoded of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import PictureError
from dof_arrow.media.image import decode


def stored(pixels: Any, format: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    (picture.convert(mode) if mode else picture).save(file, format, **options)
    return file.getvalue()


def grey(data: bytes, **options: Any) -> list[list[int]]:
    pixels, _ = decode(data, mode="L", **options)
    values: list[list[int]] = pixels[:, :, 0].tolist()
    return values


def rgb(data: bytes) -> list[int]:
    values: list[int] = decode(data)[0][0, 0].tolist()
    return values


def raised(data: bytes, **options: Any) -> PictureError:
    with pytest.raises(PictureError) as caught:
        decode(data, **options)
    return caught.value
