"""The linear head is scikit-learn's, in a form that ONNX can hold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from dof_arrow.heads import linear
from tests.support.memory import blobs


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_probabilities_are_those_of_scikit_learn(classes: int) -> None:
    x, y = blobs(300, classes=classes)
    ours = linear.fit("category", x, y, np.arange(300))
    z = StandardScaler().fit_transform(x)
    theirs = LogisticRegression(C=ours.strength / x.shape[1], max_iter=1000).fit(z, y)
    np.testing.assert_allclose(ours(x), theirs.predict_proba(z), atol=1e-5)
    assert (ours.predict(x) == theirs.predict(z)).all()


def test_values_are_those_of_scikit_learn_in_the_targets_unit() -> None:
    x, _ = blobs(300)
    y = 1e6 + 1e3 * x[:, 0].astype(float) + 10 * np.random.default_rng(0).normal(size=300)
    ours = linear.fit("regression", x, y, np.arange(300))
    z = StandardScaler().fit_transform(x.astype(float))
    theirs = Ridge(alpha=x.shape[1] / ours.strength).fit(z, y).predict(z)
    np.testing.assert_allclose(ours(x)[:, 0], theirs, rtol=1e-6)
    assert ours.predict(x).std() == pytest.approx(y.std(), rel=0.05)


def test_each_flag_has_a_regression_of_its_own_and_constant_ones_their_share() -> None:
    x, y = blobs(300)
    flags = np.stack([y == 0, y != 1, np.zeros(300, bool), np.ones(300, bool)], axis=1)
    ours = linear.fit("multilabel", x, flags, np.arange(300))
    z = StandardScaler().fit_transform(x)
    theirs = LogisticRegression(C=ours.strength / x.shape[1], max_iter=1000).fit(z, flags[:, 1])
    np.testing.assert_allclose(ours(x)[:, 1], theirs.predict_proba(z)[:, 1], atol=1e-5)
    np.testing.assert_allclose(ours(x)[:, 2:], np.tile([1 / 302, 301 / 302], (300, 1)), rtol=1e-5)
    assert ours.predict(x).dtype == bool


def test_only_classes_that_occur_get_a_column() -> None:
    x, y = blobs(60)
    ours = linear.fit("category", x, y * 2, np.arange(60))
    assert ours.codes.tolist() == [0, 2, 4]
    assert ours(x).shape == (60, 3)
    assert set(ours.predict(x)) <= {0, 2, 4}
    alone = linear.fit("category", x, np.full(60, 3), np.arange(60))
    assert (alone(x) == 1).all()
    assert (alone.predict(x) == 3).all()


def test_columns_that_vary_by_rounding_only_are_ignored() -> None:
    x, y = blobs(200)
    jitter = np.random.default_rng(0).normal(size=200).astype(np.float32) * 1e-7
    wide = np.column_stack(
        [x, np.full(200, 0.1, np.float32), 100 + 100 * jitter, np.zeros(200, np.float32)]
    )
    ours = linear.fit("category", wide.astype(np.float32), y, np.arange(200))
    assert (ours.weights[-3:] == 0).all()


def test_features_far_from_zero_keep_their_digits() -> None:
    x, y = blobs(300)
    near, far = (
        linear.fit("category", x + shift, y, np.arange(300))
        for shift in (np.float32(0), np.float32(1024))
    )
    np.testing.assert_allclose(near(x), far(x + np.float32(1024)), atol=1e-3)


def test_noise_is_held_down_harder_than_signal() -> None:
    x, y = blobs(300, width=64)
    shuffled = np.random.default_rng(1).permutation(y)
    signal, noise = (
        linear.fit("category", x, labels, np.arange(300)).strength for labels in (y, shuffled)
    )
    assert noise == linear.STRENGTHS[0] < signal


def test_balance_finds_a_rare_class_more_often() -> None:
    random = np.random.default_rng(0)
    y = (random.random(1000) < 0.05).astype(int)
    x = (random.normal(size=(1000, 4)) + y[:, None]).astype(np.float32)
    found = [
        (linear.fit("category", x, y, np.arange(1000), balance=b).predict(x) * y).sum()
        for b in (False, True)
    ]
    assert found[1] > 2 * found[0]


def test_two_groups_are_enough_to_fit() -> None:
    x, y = blobs(20)
    assert linear.fit("category", x, y, np.arange(20) % 2).strength == 10.0
