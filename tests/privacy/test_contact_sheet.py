"""The contact sheet: pictures above what was made of them, the same bytes each time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dof_arrow.privacy.attacks.inversion import Rebuilt
from dof_arrow.privacy.contact_sheet import contact_sheet

Array = np.ndarray


def rebuilt(pictures: Array, decoder: Array) -> Rebuilt:
    flat = np.full_like(pictures, 0.5)
    return Rebuilt(findings=[], ridge=flat, decoder=decoder, shuffled=flat)


def pixels(data: bytes) -> Array:
    with Image.open(io.BytesIO(data)) as read:
        assert read.format == "PNG" and read.mode == "L"
        return np.asarray(read)


def test_best_middle_and_worst_stand_beside_one_another() -> None:
    """Pictures of one grey each, rebuilt the worse, the further behind they stand."""
    random = np.random.default_rng(0)
    pictures = random.uniform(size=(60, 8, 8))
    share = np.linspace(0, 1, 60)[:, None, None]
    decoder = (1 - share) * pictures + share * random.uniform(size=pictures.shape)
    sheet = pixels(contact_sheet(pictures, rebuilt(pictures, decoder)))
    assert sheet.shape == (16 + 4 * 20, 64 + 18 * 20 + 3 * 4)
    for column, place in ((0, 0), (17, 59)):
        left = 64 + 20 * column + 4 * (column // 6)
        for line, shown in enumerate((pictures, np.full_like(pictures, 0.5), decoder)):
            top = 16 + 20 * line
            found = sheet[top : top + 16 : 2, left : left + 16 : 2] / 255
            assert np.abs(found - shown[place]).max() < 0.003


@pytest.mark.parametrize("count", [1, 2, 4, 17])
def test_few_pictures_make_a_small_sheet(count: int) -> None:
    pictures = np.random.default_rng(1).uniform(-0.5, 1.5, size=(count, 8, 8))
    data = contact_sheet(pictures, rebuilt(pictures, pictures))
    assert pixels(data).shape[0] == 16 + 4 * 20
    assert data == contact_sheet(pictures, rebuilt(pictures, pictures))
