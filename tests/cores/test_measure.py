"""What a core is like: the same numbers each time, which tell a steady core from a jumpy one."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.cli import main
from dof_arrow.cores import measure
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.format.spec.metadata import Preprocessing
from tests.extraction.test_clip_features import in_time
from tests.support import models
from tests.support.pictures import core, folder_of
from tests.support.shared import shared_data
from tests.support.speed import slowness

SQUASHED = Preprocessing(mode="RGB", fit="squash", resize=(16, 16), scale=1 / 255)


def small(model: Any, **changes: Any) -> Core:
    return Core.from_bytes(graph.to_bytes(model), preprocess=replace(SQUASHED, **changes))


def test_all_but_the_times_is_the_same_each_time() -> None:
    first, second = (measure.appraise(core()) for _ in range(2))
    times = dict.fromkeys(("preprocessing_ms", "network_ms", "per_second"), 0.0)
    assert replace(first, **times) == replace(second, **times)
    assert (first.shape, first.width, first.bytes, first.pictures) == (
        (43,),
        43,
        len(core().data),
        8,
    )
    assert (
        first.per_second == pytest.approx(1e3 / (first.preprocessing_ms + first.network_ms))
        and first.network_ms > 0
    )


def test_parameters_are_the_stored_numbers() -> None:
    weights = 8 * 3 * 9 + 12 * 8 * 9  # two convolutions without bias; the head's are cut off
    assert measure.appraise(small(models.gemm())).parameters == weights


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (models.gemm(), "any"),
        (models.dynamic_range(), "one by one"),
        (models.mixed_rows(), "one by one"),
    ],
)
def test_which_batches_a_core_takes(model: Any, batch: str) -> None:
    assert measure.appraise(small(model)).batch == batch


def test_a_core_of_a_fixed_batch() -> None:
    model = graph.from_bytes(small(models.gemm()).data)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    assert measure.appraise(Core(graph.to_bytes(model))).batch == "4 at a time"


def test_drawn_pictures_have_the_spectrum_of_natural_ones() -> None:
    """Amplitudes fall as one over the frequency: the slope in logarithms is -1 (Field 1987)."""
    first, again = measure.natural(3), measure.natural(3)
    assert np.array_equal(first, again) and not np.array_equal(first, measure.natural(4))
    assert first.shape == (375, 500, 3) and first.dtype == np.uint8 and 100 < first.mean() < 156
    square = measure.natural(5, (256, 256)).mean(axis=2)
    amplitude = np.abs(np.fft.rfft2(square))[1:100, 1:100]
    frequency = np.hypot(*np.meshgrid(np.arange(1, 100), np.arange(1, 100)))
    slope = np.polyfit(np.log(frequency).ravel(), np.log(amplitude).ravel(), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


def test_a_share_of_the_pixels_is_one_grey_level_off_and_movement_grows_with_it() -> None:
    seen = measure.natural(0, (64, 64))
    off = measure._disturbed(seen, 0.013, 0).astype(int) - seen
    assert set(np.unique(off)) == {-1, 0, 1} and np.mean(off != 0) == pytest.approx(
        0.013, abs=0.003
    )
    shares = [measure.movements(core(), [seen], share)[0] for share in (0.0, 0.013, 0.5)]
    assert shares[0] == 0 < shares[1] < shares[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"fit": "crop", "resize": (20,), "crop": (16, 16)},
        {"fit": "pad", "resize": (16,), "crop": (16, 16)},
        {"fit": "none", "resize": ()},
    ],
)
def test_pixels_are_changed_at_the_size_that_the_core_sees(changes: dict[str, Any]) -> None:
    """Changed before the resize they would be averaged away: here it leaves all as they are."""
    made = small(models.gemm(), **changes)
    seen = measure._as_seen(made, measure.natural(0))
    kept = np.unique(np.rint(made.prepare(seen) * 255))
    assert set(kept) <= {*np.unique(seen), 0} and measure.appraise(made).moved > 0


def test_grey_cores_and_cores_of_windows_are_measured_too() -> None:
    grey = Core.from_bytes(_grey(), preprocess=replace(SQUASHED, mode="L", channels="L"))
    assert 0 < measure.appraise(grey).moved < 0.1
    assert 0 <= measure.appraise(in_time()).moved < 0.1


def _grey() -> bytes:
    b = models.Builder()
    x = b.op("Abs", b.op("Conv", "picture", b.weight(4, 1, 3, 3)))
    x = b.op("Flatten", b.op("GlobalAveragePool", x), to="feat")
    return graph.to_bytes(b.model([models.dense(b, x, width=4)], shape=(1, 16, 16)))


def test_an_int8_core_moves_by_a_fifth_and_a_float_one_hardly() -> None:
    """As on real pictures: 18% on photographs, 20% on radiographs."""
    folder, found = shared_data(), {}
    for kind in ("int8", "fp32-from-int8"):
        made = Core.load(folder / "models" / f"mobilenetv2-12-{kind}.onnx", preprocess="imagenet")
        start = time.process_time()
        found[kind] = measure.appraise(made)
        assert time.process_time() - start < 3 * slowness()
    assert 0.15 < found["int8"].moved < 0.25 and found["fp32-from-int8"].moved < 0.01
    photographs = sorted((folder / "images" / "imagenet-sample").glob("*.JPEG"))[:6]
    real = measure.movements(
        Core.load(folder / "models" / "mobilenetv2-12-int8.onnx", preprocess="imagenet"),
        [np.asarray(Image.open(p).convert("RGB")) for p in photographs],
    )
    assert 0.15 < np.median(real) < 0.25


def test_the_command_tells_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "mine", 20, side=30)
    Path("m.onnx").write_bytes(graph.to_bytes(models.dynamic_range()))
    spec = '{"mode": "RGB", "fit": "squash", "resize": [16, 16]}'

    def run(*options: str) -> str:
        assert (
            main.main(
                [
                    "headless",
                    "m.onnx",
                    "-o",
                    "c.onnx",
                    "--preprocess",
                    spec,
                    "--overwrite",
                    *options,
                ]
            )
            == 0
        )
        return capsys.readouterr().out

    found = json.loads(run("--json"))
    assert (
        found["appraisal"]["batch"] == "one by one"
        and found["appraisal"]["width"] == found["shape"][0] == 9
    )
    assert json.loads(run("--json", "--sample", "mine"))["appraisal"]["pictures"] == 16
    told = run()
    assert (
        "one by one: rows depend on the others" in told
        and "one grey level off move features by" in told
    )
    assert "a picture" in told and "median of 8 drawn pictures" in told
    assert "one grey level" not in run("--no-measure") and "appraisal" not in json.loads(
        run("--json", "--no-measure")
    )
