"""A core in pipelines of scikit-learn."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.cores.core import Core
from dof_arrow.errors import CoreError, SourceError, UsageError
from dof_arrow.media import image
from tests.cores.test_core import SQUASHED, small_model

pytest.importorskip("sklearn")
COUNT = 12


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small pictures of several sizes, dark ones and bright ones in turn."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = []
    for number in range(COUNT):
        sides = (*random.integers(8, 40, 2), 3)
        pixels = random.integers(0, 60, sides) + 190 * (number % 2)
        found.append(folder / f"{number:02}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(found[-1])
    return found


@pytest.fixture(scope="module")
def core() -> Core:
    return Core.from_bytes(small_model(), preprocess=SQUASHED)


@pytest.fixture(scope="module")
def features(core: Core, paths: list[Path]) -> np.ndarray:
    return core([image.decode(path.read_bytes())[0] for path in paths])


def test_features_are_those_of_the_core(
    core: Core, paths: list[Path], features: np.ndarray, tmp_path: Path
) -> None:
    core.save(tmp_path / "core.onnx")
    pixels = [np.asarray(Image.open(path)) for path in paths]
    for given in (core, str(tmp_path / "core.onnx"), tmp_path / "core.onnx"):
        made = dof.DofFeatures(given).fit(paths)
        for pictures in (paths, [*map(str, paths)], [p.read_bytes() for p in paths], pixels):
            assert np.array_equal(made.transform(pictures), features)
        column = np.array([*map(str, paths)])
        assert np.array_equal(made.transform(column[:, None]), made.transform(column))
        assert made.transform([]).shape == (0, 6)
        assert made.transform(np.stack([pixels[0]] * 3)).shape == (3, 6)


def test_it_is_a_transformer(core: Core, paths: list[Path], features: np.ndarray) -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.exceptions import NotFittedError

    made = dof.DofFeatures("core.onnx", threads=2, preprocess="clip")
    assert made.get_params() == {
        "core": "core.onnx",
        "preprocess": "clip",
        "threads": 2,
        "provider": "cpu",
    }
    again = clone(made).set_params(core=core, preprocess=None)
    assert again.get_params()["core"] is core and not is_classifier(again)
    for early in (lambda: again.transform(paths), again.get_feature_names_out):
        with pytest.raises(NotFittedError):
            early()
    frame = again.set_output(transform="pandas").fit_transform(paths)
    assert frame.columns.tolist() == [f"feature{i}" for i in range(6)]
    assert np.array_equal(frame.to_numpy(), features)
    assert "DofFeatures" in repr(again) and clone(again).core.sha256 == core.sha256


def test_a_pipeline_of_it_learns_and_is_pickled(core: Core, paths: list[Path]) -> None:
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = ["dark", "bright"] * (COUNT // 2)
    made = make_pipeline(dof.DofFeatures(core), StandardScaler(), LogisticRegression())
    made.fit(pd.Series([*map(str, paths)]), labels)
    assert made.predict(paths).tolist() == labels
    sent = pickle.loads(pickle.dumps(made))
    assert np.array_equal(sent.predict_proba(paths), made.predict_proba(paths))
    assert cross_val_score(made, paths, labels, cv=3).mean() > 0.9
    search = GridSearchCV(made, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(paths, labels)
    assert search.score(paths, labels) == 1


def test_what_cannot_be_read_is_named(core: Core, paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    made = dof.DofFeatures(core).fit(None)
    bad = [paths[0], tmp_path / "gone.png", tmp_path / "broken.png", paths[1]]
    with pytest.raises(SourceError, match=r"2 of 4 pictures cannot be read: .*gone\.png.*broken"):
        made.transform(bad)
    for wrong, words in (
        ("one.png", "one picture is no list"),
        ([3], "picture 0: not a picture: .*found int"),
        (np.zeros((4, 3)), r"not a list of pictures: .*float64 \[4, 3\]"),
    ):
        with pytest.raises(UsageError, match=words):
            made.transform(wrong)
    with pytest.raises(CoreError):
        dof.DofFeatures(tmp_path / "none.onnx").fit(paths)
