"""Linear heads trained in passes: the weights of scikit-learn, whatever the size of a pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from dof_arrow.heads import features, linear, linear_stream, train
from dof_arrow.heads.features import RowFeatures
from dof_arrow.heads.linear import Linear
from tests.heads.test_train import ABC, run
from tests.support.memory import blobs, memory

ROWS = 1500
CLOSE = 1e-4


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts in a pass, and a start from a few rows."""
    monkeypatch.setattr(features, "_CHUNK", 400)
    monkeypatch.setattr(linear_stream, "_STEP", 1 << 15)
    monkeypatch.setattr(linear_stream, "_START", 1 << 13)


def clouds(classes: int, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Classes that overlap, in features of different scales, far from zero."""
    random = np.random.default_rng(classes)
    y = random.integers(classes, size=ROWS)
    x = random.normal(size=(ROWS, width)) + random.normal(size=(classes, width))[y]
    return (x * np.geomspace(0.01, 100, width) + 50).astype(np.float32), y


def fitted(kind: str, x: np.ndarray, y: np.ndarray, **options: Any) -> Linear:
    places = np.arange(len(x))
    return linear_stream.fit(kind, RowFeatures(x), places, y, places, **options)


def standard(x: np.ndarray) -> np.ndarray:
    return np.asarray(StandardScaler().fit_transform(x.astype(float)))


def exact(z: np.ndarray, y: np.ndarray, ours: Linear, *, balance: bool = False) -> Any:
    """scikit-learn's own solution, in float64, to the last digits."""
    weighed = "balanced" if balance else None
    width = z.shape[1]
    model = LogisticRegression(
        C=ours.strength / width, tol=1e-9, max_iter=10000, class_weight=weighed
    )
    return model.fit(z, y)


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_weights_of_classes_are_those_of_scikit_learn(classes: int, balance: bool) -> None:
    x, y = clouds(classes)
    y[: ROWS // 2] = 0  # one class is frequent, and none is told apart with ease
    ours = fitted("category", x, y * 3, balance=balance)
    theirs = exact(standard(x), y, ours, balance=balance)
    weights = ours.weights * x.astype(float).std(axis=0)[:, None]
    if classes == 2:
        weights, bias = weights[:, 1:] - weights[:, :1], ours.bias[1:] - ours.bias[:1]
    else:
        bias = ours.bias
    np.testing.assert_allclose(weights, theirs.coef_.T, atol=CLOSE)
    np.testing.assert_allclose(bias, theirs.intercept_, atol=CLOSE)
    np.testing.assert_allclose(ours(x), theirs.predict_proba(standard(x)), atol=CLOSE)
    assert ours.codes.tolist() == [3 * code for code in range(classes)]
    assert ours.converged


@pytest.mark.parametrize("balance", [False, True])
def test_each_flag_is_as_by_itself_and_constant_ones_have_their_share(balance: bool) -> None:
    x, y = clouds(4)
    flags = np.stack([y == 0, np.zeros(ROWS, bool), y > 1, np.ones(ROWS, bool)], axis=1)
    ours = fitted("multilabel", x, flags, balance=balance)
    for column in (0, 2):
        theirs = exact(standard(x), flags[:, column], ours, balance=balance)
        chances = theirs.predict_proba(standard(x))[:, 1]
        np.testing.assert_allclose(ours(x)[:, column], chances, atol=CLOSE)
    shares = np.tile([1 / (ROWS + 2), (ROWS + 1) / (ROWS + 2)], (ROWS, 1))
    np.testing.assert_allclose(ours(x)[:, 1::2], shares, rtol=1e-5)


@pytest.mark.parametrize("widest", [4096, 1])
def test_values_are_those_of_scikit_learn(widest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one pass over products of columns, and by the solver where there are too many columns."""
    monkeypatch.setattr(linear_stream, "_WIDEST_SQUARE", widest)
    x, _ = clouds(3)
    z = standard(x)
    y = 1e6 + 1e3 * z[:, 0] + 100 * np.random.default_rng(0).normal(size=ROWS)
    ours = fitted("regression", x, y)
    theirs = Ridge(alpha=x.shape[1] / ours.strength).fit(z, y)
    np.testing.assert_allclose(ours(x)[:, 0], theirs.predict(z), atol=CLOSE * y.std() * 10)


def test_values_of_features_far_from_zero_keep_their_mean() -> None:
    """The mean of such features in float32 is off by a part of their deviation."""
    z, _ = blobs(ROWS)
    x = (z / z.std(axis=0) + np.float32(3e4 + 1 / 3)).astype(np.float32)
    y = 5 * standard(x).sum(axis=1) + np.random.default_rng(0).normal(size=ROWS)
    ours = fitted("regression", x, y)
    assert np.abs(x.mean(axis=0, dtype=float) - ours.mean).sum() > 1e-3
    assert ours.predict(x).mean() == pytest.approx(y.mean(), abs=1e-4)


def test_classes_that_the_start_lacks_are_learned_all_the_same() -> None:
    x, y = clouds(3)
    y[:] = np.where(y == 2, 1, y)
    y[[7, 11, 400]] = 5
    ours = fitted("category", x, y)
    theirs = exact(standard(x), y, ours)
    np.testing.assert_allclose(ours(x), theirs.predict_proba(standard(x)), atol=CLOSE)
    alone = fitted("category", x, np.full(ROWS, 3))
    assert (alone(x) == 1).all() and alone.codes.tolist() == [3]


def test_only_the_rows_that_are_asked_for_are_learned_from() -> None:
    """Those of other places are never looked at: they hold what would spoil everything."""
    x, y = clouds(3)
    places = np.flatnonzero(np.arange(ROWS) % 3)
    clean = linear_stream.fit(
        "category", RowFeatures(x[places]), np.arange(len(places)), y[places], places
    )
    x[::3] = np.nan
    found = linear_stream.fit("category", RowFeatures(x), places, y[places], places)
    np.testing.assert_array_equal(found.weights, clean.weights)


def test_constant_columns_count_nothing_and_half_numbers_are_taken() -> None:
    x, y = blobs(ROWS)
    x[:, 0] = 7
    ours = fitted("category", x.astype(np.float16), y)
    assert (ours.weights[0] == 0).all()
    halves = x.astype(np.float16).astype(np.float32)
    wide = fitted("category", halves, y)
    np.testing.assert_array_equal(ours.weights, wide.weights)


def test_equal_data_give_equal_weights() -> None:
    x, y = clouds(3)
    first, second = fitted("category", x, y), fitted("category", x, y)
    np.testing.assert_array_equal(first.weights, second.weights)
    np.testing.assert_array_equal(first.bias, second.bias)


def test_what_is_small_is_trained_as_before_and_what_is_large_in_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Up to IN_MEMORY bytes scikit-learn has the matrix; one byte less, and it has not."""
    x, y = blobs(300)
    ds = memory(x, {"label": ABC}, label=y)
    monkeypatch.setattr(linear_stream, "IN_MEMORY", x.nbytes)
    monkeypatch.setattr(linear_stream, "fit", lambda *_, **__: pytest.fail("in passes"))
    before = train.train(ds)
    monkeypatch.undo()
    monkeypatch.setattr(linear_stream, "IN_MEMORY", 0)
    monkeypatch.setattr(linear, "fit", lambda *_, **__: pytest.fail("in memory"))
    after = train.train(ds)
    # Here scikit-learn stops some thousandths from where its own loss is least.
    np.testing.assert_allclose(run(after.onnx, x), run(before.onnx, x), atol=1e-2)
    assert after.report["strength"] == before.report["strength"]
