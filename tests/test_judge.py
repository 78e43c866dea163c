"""Metrics agree with scikit-learn, intervals cover what they should, folds keep groups together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as theirs

from dof_arrow import judge, metrics
from dof_arrow.judge import Answers

ONE = np.ones((1, 300))


def guesses(seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    true, weights = random.integers(classes, size=300), random.integers(4, size=300).astype(float)
    return true, np.where(random.random(300) < 0.6, true, random.integers(classes, size=300)), weights


@pytest.mark.parametrize("seed", range(5))
def test_class_metrics_are_those_of_scikit_learn(seed: int) -> None:
    true, predicted, weights = guesses(seed)
    for ours, theirs in [(judge.accuracy, metrics.accuracy_score),
                         (judge.balanced_accuracy, metrics.balanced_accuracy_score)]:
        assert ours(true, predicted, ONE) == pytest.approx([theirs(true, predicted)])
        assert ours(true, predicted, weights[None]) == pytest.approx([theirs(true, predicted, sample_weight=weights)])


@pytest.mark.parametrize("seed", range(5))
def test_number_metrics_are_those_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    true, weights = 1e4 + random.normal(size=300), random.integers(4, size=300).astype(float)
    predicted = true + random.normal(size=300)
    for ours, theirs in [(judge.r2, metrics.r2_score), (judge.mae, metrics.mean_absolute_error)]:
        expected = [theirs(true, predicted), theirs(true, predicted, sample_weight=weights)]
        assert ours(true, predicted, np.stack([ONE[0], weights])) == pytest.approx(expected)


def test_flags_are_judged_one_by_one() -> None:
    flags = np.random.default_rng(0).random((2, 300, 5)) < 0.3
    expected = np.mean([metrics.balanced_accuracy_score(t, p) for t, p in zip(*np.moveaxis(flags, 2, 1), strict=True)])
    assert judge.balanced_accuracy(*flags, ONE) == pytest.approx([expected])
    assert judge.accuracy(*flags, ONE) == pytest.approx([(flags[0] == flags[1]).mean()])


def test_a_class_that_a_resample_lacks_does_not_count() -> None:
    true, weights = np.array([0, 0, 1]), np.array([[1.0, 1.0, 0.0]])
    assert judge.balanced_accuracy(true, np.array([0, 1, 0]), weights).tolist() == [0.5]


def test_r2_of_what_does_not_vary_is_no_number() -> None:
    true, weights = np.array([0.1, 0.1, 7.0]), np.array([[3.0, 5.0, 0.0]])
    assert np.isnan(judge.r2(true, true + 1, weights)).all()


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random, covered = np.random.default_rng(0), 0
    for seed in range(200):
        right = (random.random(150) < 0.7).astype(int)
        score = judge.judge("category", np.ones(150, int), right, right, np.arange(150), seed=seed)["accuracy"]
        assert score.interval is not None
        covered += score.interval[0] <= 0.7 <= score.interval[1]
    assert 180 <= covered <= 198  # 190 expected; 99.9% of the time within these


def test_rows_of_one_group_count_as_one() -> None:
    true, predicted, _ = guesses(0)
    alone = judge.judge("category", true, predicted, true, np.arange(300))["accuracy"].interval
    copies = [np.tile(a, 4) for a in (true, predicted, true, np.arange(300))]
    together = judge.judge("category", *copies)["accuracy"].interval
    apart = judge.judge("category", *copies[:3], np.arange(1200))["accuracy"].interval
    assert alone and together and apart
    assert together == pytest.approx(alone, abs=0.01)
    assert apart[1] - apart[0] < 0.6 * (together[1] - together[0])


def test_one_group_gives_a_score_and_no_interval() -> None:
    score = judge.judge("regression", np.arange(3.0), np.arange(3.0), np.ones(3), np.zeros(3))["r2"]
    assert (score.score, score.interval, score.baseline) == (1.0, None, 0.0)


def test_resamples_draw_as_many_groups_as_there_are() -> None:
    groups = np.random.default_rng(0).integers(40, size=300)
    weights = np.concatenate(list(judge.resamples(groups, 50, seed=1)))
    first = np.unique(groups, return_index=True)[1]
    assert (weights[:, first].sum(axis=1) == len(first)).all()
    assert (weights == weights[:, first][:, np.unique(groups, return_inverse=True)[1]]).all()
    assert (weights == np.concatenate(list(judge.resamples(groups, 50, seed=1)))).all()


def test_memory_of_resampling_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "_BLOCK", 1000)
    blocks = [weights.shape for weights in judge.resamples(np.arange(300), 10)]
    assert blocks == [(3, 300), (3, 300), (3, 300), (1, 300)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=200), st.integers(1, 6),
       st.integers(0, 5))
def test_no_group_is_in_two_folds(rows: list[tuple[int, int]], k: int, seed: int) -> None:
    groups, strata = np.array(rows).T
    fold = judge.folds(groups, k, strata=strata, seed=seed)
    used = {group: set(fold[groups == group]) for group in groups}
    assert all(len(folds) == 1 for folds in used.values())
    sizes = np.bincount([min(folds) for folds in used.values()], minlength=k)
    assert sizes.max() - sizes.min() <= 1
    assert (fold == judge.folds(groups, k, strata=strata, seed=seed)).all()


def test_every_fold_gets_its_share_of_every_class() -> None:
    strata = np.repeat([0, 1, 2], [900, 90, 10])
    fold = judge.folds(np.arange(1000), 5, strata=strata)
    counts = np.array([np.bincount(strata[fold == i], minlength=3) for i in range(5)])
    assert (counts == [180, 18, 2]).all()
