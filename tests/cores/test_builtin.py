"""The built-in core: its bytes are pinned, its wavelets are the papers', its figures measured."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dof_arrow.cores import builtin
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.headless import headless
from dof_arrow.errors import CoreError, UsageError
from tests.support.shared import shared_data

NETWORK_SHA256 = "197aee1fea39301e338f976b6b7d43244ae5a6ae3d212d243586ff89db504a6d"
CORE_SHA256 = "3e53030afca9023fb33f82a686f63dc0cf793dc835920af51e1c5c9e9a06373b"

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def core() -> Core:
    return builtin.load()


def photographs() -> tuple[list[Array], Array]:
    paths = sorted((shared_data() / "images" / "cifar10").glob("*/*"))
    _, labels = np.unique([path.parent.name for path in paths], return_inverse=True)
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths], labels


def grey(pictures: Array) -> list[Array]:
    return [np.repeat(picture[:, :, None], 3, axis=2) for picture in pictures]


def linear_head() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def rebuilt(core: Core, seen: list[Array], unseen: list[Array], strength: float) -> float:
    """Share of the variance of unseen thumbnails that ridge regression reads off the features."""
    known, hidden = (
        np.stack([core.prepare(p).ravel() for p in pictures]) for pictures in (seen, unseen)
    )
    inverse = make_pipeline(StandardScaler(), Ridge(alpha=strength)).fit(core(seen), known)
    return float(
        1
        - np.sum((inverse.predict(core(unseen)) - hidden) ** 2)
        / np.sum((hidden - known.mean(0)) ** 2)
    )


def test_bytes_are_pinned(core: Core) -> None:
    assert hashlib.sha256(graph.to_bytes(builtin.build())).hexdigest() == NETWORK_SHA256
    assert core.sha256 == CORE_SHA256
    assert len(core.data) < 16_000


def test_no_tap_lies_near_a_rounding_boundary() -> None:
    steps = builtin.wavelets() * builtin.TAPS_A_UNIT
    assert np.abs(steps - np.floor(steps) - 0.5).min() / builtin.TAPS_A_UNIT > 1e-9


def test_taps_are_exact_in_float32_and_sum_to_zero() -> None:
    taps = builtin.rounded(builtin.wavelets())
    assert np.array_equal(taps, taps.astype(np.float32))
    assert not taps.sum(axis=(-2, -1)).any()
    assert not np.signbit(taps[taps == 0]).any()
    assert np.abs(taps - builtin.wavelets()).max() < 1e-5


def test_wavelets_turn_and_have_their_frequency() -> None:
    real, imaginary = builtin.wavelets()
    assert np.allclose(real[2], real[0].T, atol=1e-12) and np.allclose(
        imaginary[2], imaginary[0].T, atol=1e-12
    )
    spectrum = np.abs(np.fft.fft2(real[0] + 1j * imaginary[0], (64, 64)))
    assert np.unravel_index(spectrum.argmax(), spectrum.shape) == (
        0,
        pytest.approx(24, abs=1),
    )  # 3 pi / 4 of 2 pi


def test_describes_itself(core: Core) -> None:
    about = core.describe()
    assert (about.name, about.source, about.license, about.pool) == (
        "scattering-1",
        "builtin:scattering-1",
        "Apache-2.0",
        "4x4",
    )
    assert about.preprocessing == builtin.PREPROCESSING
    assert about.deterministic and core.fixed_batch is None and core.output_name == "feature"


@pytest.mark.parametrize("grid", [1, 2, 4, 8])
def test_is_valid_onnx_for_every_grid(grid: int) -> None:
    model = builtin.build(pool=f"{grid}x{grid}")
    onnx.checker.check_model(model, full_check=True)
    assert graph.dims(model.graph.output[0]) == ("N", 43 * grid * grid)


def test_survives_a_file(core: Core, tmp_path: Path) -> None:
    (tmp_path / "core.onnx").write_bytes(core.data)
    picture = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    assert np.array_equal(Core.load(tmp_path / "core.onnx")([picture]), core([picture]))


def test_takes_pictures_of_any_size_alone_or_together(core: Core) -> None:
    rng = np.random.default_rng(1)
    pictures = [
        rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        for h, w in [(1, 1), (8, 8), (33, 500), (480, 640)]
    ]
    together = core(pictures)
    assert together.shape == (4, 688) and np.isfinite(together).all()
    assert np.array_equal(together, np.concatenate([core([picture]) for picture in pictures]))


def test_flat_colour_has_no_waves(core: Core) -> None:
    flat = np.full((20, 20, 3), (200, 100, 40), np.uint8)
    maps = core([flat]).reshape(43, 16)
    luma, orange, green = (
        (200 + 2 * 100 + 40) / 4 / 255,
        (200 - 40) / 2 / 255,
        (2 * 100 - 200 - 40) / 4 / 255,
    )
    assert np.allclose(maps[[0, 25, 26]], np.array([luma, orange, green])[:, None], atol=1e-6)
    assert np.abs(np.delete(maps, [0, 25, 26], axis=0)).max() < 1e-6


def test_grating_excites_its_own_scale_and_orientation(core: Core) -> None:
    wave = np.cos(builtin.FREQUENCY * np.arange(32))
    upright = grey(np.uint8(127.5 + 100 * np.broadcast_to(wave, (1, 32, 32))))
    fine = core(upright).reshape(43, 16)[5:9].mean(axis=1)
    assert fine.argmax() == 0 and fine[0] > 5 * fine[2]


def test_mirrored_picture_gives_mirrored_maps(core: Core) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    plain, mirrored = (core([each]).reshape(43, 4, 4) for each in (picture, picture[:, ::-1]))
    assert np.allclose(mirrored[0], plain[0, :, ::-1], atol=1e-6)
    assert np.allclose(mirrored[5:9], plain[[5, 8, 7, 6], :, ::-1], atol=1e-6)


def test_coarse_grid_is_the_average_of_the_fine_one_and_tells_where(core: Core) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[4:10, 20:28] = 255
    fine = core([picture]).reshape(43, 2, 2, 2, 2).mean(axis=(2, 4))
    coarse = builtin.load(pool="2x2")([picture]).reshape(43, 2, 2)
    assert np.allclose(coarse, fine, atol=1e-6)
    assert coarse[0].argmax() == 1


@pytest.mark.parametrize(
    ("pool", "width"), [(None, 688), ("1x1", 43), ("2x2", 172), ("8x8", 2752), ("none", 2752)]
)
def test_pooling_sets_the_width(pool: str | None, width: int) -> None:
    assert builtin.resolve("builtin", pool=pool, preprocess=None).output_shape == (width,)


@pytest.mark.parametrize("pool", ["3x3", "16x16", "2x4", ""])
def test_uneven_pooling_is_refused(pool: str) -> None:
    with pytest.raises(UsageError, match="1x1, 2x2, 4x4, 8x8"):
        builtin.load(pool=pool)


def test_resolve_knows_the_built_in_core_and_files(core: Core, tmp_path: Path) -> None:
    assert (
        builtin.resolve("builtin").sha256
        == builtin.resolve(builtin.SCATTERING_1).sha256
        == core.sha256
    )
    (tmp_path / "builtin.onnx").write_bytes(core.data)
    assert builtin.resolve(tmp_path / "builtin.onnx", threads=1).sha256 == core.sha256
    with pytest.raises(CoreError, match="no such file"):
        builtin.resolve(tmp_path / "absent.onnx")


def test_it_is_loaded_and_written_as_every_other_core_is(core: Core) -> None:
    assert Core.load("builtin").data == headless("builtin:scattering-1") == core.data
    assert Core.load("builtin", pool="2x2").output_shape == (172,)
    for option in ({"license": "MIT"}, {"name": "mine"}, {"grey": True}):
        with pytest.raises(UsageError, match=f"found --{next(iter(option))}"):
            headless("builtin", **option)


def test_resolve_refuses_what_the_built_in_core_has_not() -> None:
    with pytest.raises(UsageError, match="Try builtin:scattering-1"):
        builtin.resolve("builtin:scattering-2")
    with pytest.raises(UsageError, match="Leave out --preprocess"):
        builtin.resolve("builtin", preprocess="imagenet")


def test_fit_can_be_chosen() -> None:
    padded = builtin.resolve("builtin", fit="pad")
    assert padded.preprocessing.crop == (32, 32) and padded.sha256 != CORE_SHA256


def test_digits(core: Core) -> None:
    """Standardised pixels give 92.5%; features of other filters and orientations 96.9% to 98.4%."""
    digits = load_digits()
    features = core(grey(np.rint(digits.images * 255 / 16).astype(np.uint8)))
    head = linear_head().fit(features[:1200], digits.target[:1200])
    assert head.score(features[1200:], digits.target[1200:]) >= 0.96


def test_caution_is_true_of_photographs(core: Core) -> None:
    pictures, labels = photographs()
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=1)
    score = cross_val_score(linear_head(), core(pictures), labels, cv=folds).mean()
    assert score == pytest.approx(0.45, abs=0.03) and "45% of cases" in builtin.CAUTION
    order = np.random.default_rng(0).permutation(400)
    seen, unseen = ([pictures[i] for i in part] for part in (order[:320], order[320:]))
    assert rebuilt(core, seen, unseen, strength=100) == pytest.approx(0.52, abs=0.01)
    assert "52% of photographs" in builtin.CAUTION


def test_caution_is_true_of_radiographs(core: Core) -> None:
    images = np.load(shared_data() / "images" / "pneumoniamnist.npz")
    seen, unseen = grey(images["train_images"]), grey(images["test_images"])
    assert rebuilt(core, seen, unseen, strength=10) == pytest.approx(0.89, abs=0.01)
    assert "89% of the variance of chest radiographs" in builtin.CAUTION
