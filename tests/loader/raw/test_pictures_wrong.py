"""What the loader of pictures refuses or leaves out, and what it says to do."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.errors import DofWarning, SourceError, UsageError
from dof_arrow.loader.raw.pictures import Pictures
from tests.loader.raw.conftest import ROWS, numbers, shade


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    for i in range(6):
        Image.fromarray(shade(i)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n, it says")
    return tmp_path


@pytest.mark.parametrize("workers", [0, None, 1])
def test_a_broken_picture_is_named_or_left_out(broken: Path, workers: int | None) -> None:
    with pytest.raises(SourceError, match=r"2\.png.*on_error"):
        list(dof.pictures(broken).loader(workers=workers))
    pics = dof.pictures(broken, on_error="skip")
    loader = pics.loader(batch_size=4, columns=["id"], workers=workers, augment={"flip_x": 1.0})
    with pytest.warns(DofWarning, match=r"2\.png is left out"):
        batches = list(loader)
    assert [len(x) for x, _ in batches] == [3, 2] and list(pics.errors) == ["2.png"]
    assert numbers(batches) == [0, 1, 3, 4, 5]
    names = np.concatenate([columns["id"] for _, columns in batches])
    assert names.tolist() == ["0.png", "1.png", "3.png", "4.png", "5.png"]


def test_what_is_left_out_disturbs_no_numbers(broken: Path) -> None:
    pics = dof.pictures(broken, on_error="skip", dtype="float32")
    for _ in range(2):
        np.full((6, 24, 32, 3), np.nan, np.float32)  # what the next buffer may find in its memory
        with pytest.warns(DofWarning) if not pics.errors else nullcontext():
            (x,) = pics.loader(normalize=(0.5, 0.1), workers=0)
        assert len(x) == 5 and np.isfinite(x).all()


def test_a_batch_of_nothing_but_broken_pictures_is_an_error(broken: Path) -> None:
    pics = dof.pictures(broken, on_error="skip").take([2, 2])
    with pytest.warns(DofWarning), pytest.raises(SourceError, match="no picture of a batch"):
        list(pics.loader())
    with pytest.raises(SourceError, match=r"2\.png"):
        _ = pics[0]


def test_pictures_of_different_sizes_need_one(tmp_path: Path) -> None:
    for i, side in enumerate((8, 8, 9)):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / f"{i}.png")
    with pytest.raises(SourceError, match=r"2\.png.*8 x 8.*9 x 9.*size="):
        list(dof.pictures(tmp_path).loader())
    assert next(iter(dof.pictures(tmp_path, size=8).loader())).shape == (3, 8, 8, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ({"augment": {"twist": 1}}, "twist"),
        ({"augment": [{"flip_x": 1.0}, {"flip_x": 0.5}]}, "twice"),
        ({"augment": {"rotate": [3]}}, "two numbers"),
        ({"augment": "sepia"}, "xray, photo"),
        ({"augment": 0.5}, "a mapping, several, or the name of a preset, found 0.5"),
        ({"augment": ["photo"]}, "the name of a preset, found 'photo'"),
        ({"target": "age2"}, "age2"),
        ({"feature": "feature"}, "picture"),
        ({"balance": {"ill": 2.0}}, "between 0 and 1"),
        ({"workers": -1}, "workers"),
        ({"batch_size": 0}, "batch_size"),
        ({"rank": 2}, "rank"),
        ({"world_size": 99}, "ranks"),
    ],
)
def test_wrong_options_say_what_to_do(pics: Pictures, call: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        pics.loader(**({"shuffle": True} | call))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ({"fit": "crop"}, "size="),
        ({"size": (0, 3)}, "sides"),
        ({"dtype": "int8"}, "dtype"),
        ({"on_error": "x"}, "skip"),
        ({"fps": 3.0}, "max_frames"),
        ({"frames": 0}, "frames"),
        ({"split": "train=0.5"}, "add up"),
        ({"size": 8, "fit": "none"}, "leaves"),
    ],
)
def test_wrong_calls_say_what_to_do(folder: Path, call: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        dof.pictures(folder, **call)
    with pytest.raises(SourceError):
        dof.pictures(folder / "nowhere")


def test_what_is_not_there(pics: Pictures) -> None:
    for wrong in (
        lambda: pics.split("holdout"),
        lambda: pics.take([99]),
        lambda: pics.filter(pc.field("x") > 1),
        lambda: pics.take([True]),
        lambda: list(pics[:0].loader()),
    ):
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(IndexError):
        _ = pics[ROWS]
