"""Cores of the user's files: made once, then taken from the cache, and never another core."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from dof_arrow.cores import cut, made_before
from dof_arrow.cores.core import Core
from dof_arrow.errors import CoreError, DofError
from dof_arrow.progress import NOBODY, heard_by
from tests.support import models

UNIT: dict[str, Any] = {"preprocess": "unit"}


@pytest.fixture
def model(tmp_path: Path, cache: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.gemm().SerializeToString())
    return path


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "cores").glob("*"))


def cannot_cut(*_: Any, **__: Any) -> None:
    raise AssertionError("the model was cut again")


def test_the_second_time_nothing_is_cut_and_all_is_equal(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made_before.load(model, **UNIT)
    monkeypatch.setattr(cut, "cut", cannot_cut)
    again = made_before.load(model, **UNIT)
    fresh_picture = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    assert (again.data, again.facts) == (first.data, first.facts)
    assert again.output_shape == first.output_shape
    np.testing.assert_array_equal(again([fresh_picture]), first([fresh_picture]))


def test_it_is_the_core_that_is_made_without_a_cache(model: Path) -> None:
    plain = Core.load(model, **UNIT)
    for _ in range(2):
        kept = made_before.load(model, **UNIT)
        assert (kept.data, kept.describe()) == (plain.data, plain.describe())


@pytest.mark.parametrize(
    "other",
    [
        {"preprocess": "imagenet"},
        {"preprocess": "unit", "fit": "pad"},
        {"preprocess": "unit", "decode": "reduced"},
        {"preprocess": "unit", "pool": "2x2"},
        {"preprocess": "unit", "at": "map"},
    ],
    ids=str,
)
def test_what_is_asked_otherwise_is_made_anew(model: Path, other: dict[str, Any]) -> None:
    made_before.load(model, **UNIT)
    expected = Core.load(model, **other)
    assert made_before.load(model, **other).data == expected.data


def test_a_changed_model_and_a_changed_name_are_made_anew(model: Path, tmp_path: Path) -> None:
    first = made_before.load(model, **UNIT)
    renamed = tmp_path / "other.onnx"
    renamed.write_bytes(model.read_bytes())
    assert made_before.load(renamed, **UNIT).name == "other"
    model.write_bytes(models.conv_head().SerializeToString())
    assert made_before.load(model, **UNIT).sha256 != first.sha256


def test_a_damaged_entry_is_made_again(model: Path, cache: Path) -> None:
    first = made_before.load(model, **UNIT)
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    for damaged in (whole[:-9], b"", b"{}", whole[:40], whole[:-1] + bytes([whole[-1] ^ 1])):
        entry.write_bytes(damaged)
        assert made_before.load(model, **UNIT).data == first.data
        assert entry.read_bytes() == whole


def test_an_entry_that_others_can_write_is_not_believed(model: Path, cache: Path) -> None:
    first = made_before.load(model, **UNIT)
    (entry,) = entries(cache)
    entry.write_bytes(b"{}")
    entry.chmod(0o666)
    assert made_before.load(model, **UNIT).data == first.data


def test_what_was_said_is_said_again(tmp_path: Path, cache: Path) -> None:
    class Hears:
        def __init__(self) -> None:
            self.said: list[str] = []
            self.progress = NOBODY.progress

        def say(self, text: str = "") -> None:
            self.said.append(text)

    path = tmp_path / "model.onnx"
    path.write_bytes(models.gemm().SerializeToString())
    told = []
    for _ in range(2):
        hears = Hears()
        with heard_by(hears):
            made_before.load(path, preprocess="imagenet")
        told.append(hears.said)
    assert told[0] and told[0] == told[1]


def test_a_core_itself_is_not_kept_twice(model: Path, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "core.onnx"
    Core.load(model, **UNIT).save(path)
    first, again = made_before.load(path), made_before.load(path)
    assert first.data == again.data == path.read_bytes()
    (entry,) = entries(cache)
    assert b"\0" not in entry.read_bytes()


def test_a_model_with_weights_beside_it_is_made_each_time(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        models.gemm(),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    expected = Core.load(path, **UNIT)
    assert made_before.load(path, **UNIT).data == expected.data
    assert entries(cache) == []


def test_what_is_no_model_is_refused_as_ever(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "model.onnx"
    for data in (b"", b"no model"):
        path.write_bytes(data)
        told = []
        for load in (Core.load, made_before.load):
            with pytest.raises(DofError) as caught:
                load(path, **UNIT)
            told.append(str(caught.value))
        assert told[0] == told[1]
    with pytest.raises(CoreError, match="cannot be read"):
        made_before.load(tmp_path / "gone.onnx", **UNIT)


def test_what_was_used_longest_ago_makes_way(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for number, made in enumerate((models.gemm(), models.conv_head(), models.vit())):
        paths.append(tmp_path / f"{number}.onnx")
        paths[-1].write_bytes(made.SerializeToString())
    known: list[Path] = []
    for number, path in enumerate(paths[:2]):
        made_before.load(path, **UNIT)
        (new,) = set(entries(cache)) - set(known)
        os.utime(new, (number + 1, number + 1))
        known.append(new)
    monkeypatch.setattr(made_before, "MOST_BYTES", sum(each.stat().st_size for each in known))
    made_before.load(paths[0], **UNIT)  # used again: the other one is older now
    made_before.load(paths[2], **UNIT)
    left = entries(cache)
    assert known[1] not in left
    assert len(left) <= 2


def test_without_a_place_for_a_cache_it_is_made_each_time(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert made_before.load(model, **UNIT).data == made_before.load(model, **UNIT).data
