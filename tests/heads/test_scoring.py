"""Metrics agree with scikit-learn, intervals cover what they should, folds keep groups together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as theirs

from dof_arrow.heads import intervals, metrics, scoring
from dof_arrow.heads.scoring import Predictions
from dof_arrow.sampling import splits
from tests.torture import intervals as coverage

ONE = np.ones((1, 300))


def guesses(seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    true, weights = random.integers(classes, size=300), random.integers(4, size=300).astype(float)
    return (
        true,
        np.where(random.random(300) < 0.6, true, random.integers(classes, size=300)),
        weights,
    )


def judged(
    true: np.ndarray, said: np.ndarray, guess: np.ndarray, groups: np.ndarray
) -> dict[str, scoring.Score]:
    return scoring.judge("category", true, Predictions(said), Predictions(guess), groups)


@pytest.mark.parametrize("seed", range(5))
def test_class_metrics_are_those_of_scikit_learn(seed: int) -> None:
    true, predicted, weights = guesses(seed)

    def macro_f1(*args: np.ndarray, **more: np.ndarray) -> float:
        return float(theirs.f1_score(*args, average="macro", **more))

    for ours, known in [
        (metrics.accuracy, theirs.accuracy_score),
        (metrics.f1, macro_f1),
        (metrics.balanced_accuracy, theirs.balanced_accuracy_score),
    ]:
        assert ours(true, predicted, ONE) == pytest.approx([known(true, predicted)])
        assert ours(true, predicted, weights[None]) == pytest.approx(
            [known(true, predicted, sample_weight=weights)]
        )
    classes = np.arange(4)
    found = theirs.precision_recall_fscore_support(true, predicted, sample_weight=weights)
    for ours, known in zip(
        (metrics.class_precision, metrics.class_recall, metrics.class_f1), found[:3], strict=True
    ):
        assert ours(true, predicted, weights[None], classes)[0] == pytest.approx(known)
    assert (
        metrics.confusion(true, predicted, 4).tolist()
        == theirs.confusion_matrix(true, predicted).tolist()
    )


@pytest.mark.parametrize("seed", range(3))
def test_area_under_the_curve_is_that_of_scikit_learn(seed: int) -> None:
    true, _, weights = guesses(seed)
    random = np.random.default_rng(seed)
    chances = np.round(
        random.dirichlet(np.ones(4), 300) + np.eye(4)[true] * 0.3, 1
    )  # rounded: ties
    for c in range(4):
        expected = theirs.roc_auc_score(true == c, chances[:, c], sample_weight=weights)
        assert metrics.class_auc(true, chances, weights[None], np.arange(4))[0, c] == pytest.approx(
            expected
        )
    flags = random.random((300, 4)) < 0.4
    assert metrics.auc(flags, chances, ONE) == pytest.approx(
        [theirs.roc_auc_score(flags, chances, average="macro")]
    )
    two = np.stack([1 - chances[:, 0] / 2, chances[:, 0] / 2], 1)
    assert metrics.auc((true == 0).astype(int), two, ONE) == pytest.approx(
        [theirs.roc_auc_score(true == 0, two[:, 1])]
    )
    assert np.isnan(metrics.auc(np.zeros(300, int), two, ONE))


def test_calibration_of_honest_and_of_boastful_chances() -> None:
    random = np.random.default_rng(0)
    stated = random.uniform(0.5, 1, 4000)
    true = (random.random(4000) > stated).astype(int)
    honest, boastful = np.stack([stated, 1 - stated], 1), np.tile([0.99, 0.01], (4000, 1))
    whole = np.ones((1, 4000))
    assert metrics.ece(true, honest, whole)[0] < 0.03
    assert metrics.ece(true, boastful, whole)[0] == pytest.approx(0.99 - (true == 0).mean())
    bins = metrics.reliability(true, honest)
    assert sum(b["n"] for b in bins) == 4000
    assert all(abs(b["stated"] - b["true"]) < 0.08 for b in bins)
    flags = np.stack([true == 0, true == 1], 1)
    assert metrics.ece(flags, honest, whole)[0] < 0.03


def test_each_class_has_scores_with_intervals_and_a_baseline() -> None:
    true, predicted, _ = guesses(0)
    found = scoring.by_class(
        "category",
        true,
        Predictions(predicted, np.eye(4)[predicted]),
        Predictions(np.zeros(300, int), np.tile([1.0, 0, 0, 0], (300, 1))),
        np.arange(300),
        4,
    )
    assert len(found) == 4
    assert set(found[0]) == {"recall", "precision", "f1", "auc"}
    for score in found[1].values():
        assert score.interval
        assert score.interval[0] < score.score < score.interval[1]
    assert [each["recall"].baseline for each in found] == [1, 0, 0, 0]
    assert found[2]["auc"].baseline == 0.5
    assert scoring.by_class("regression", true, Predictions(true), Predictions(true), true, 4) == []


@pytest.mark.parametrize("seed", range(5))
def test_number_metrics_are_those_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    true, weights = 1e4 + random.normal(size=300), random.integers(4, size=300).astype(float)
    predicted = true + random.normal(size=300)
    for ours, known in [(metrics.r2, theirs.r2_score), (metrics.mae, theirs.mean_absolute_error)]:
        expected = [known(true, predicted), known(true, predicted, sample_weight=weights)]
        assert ours(true, predicted, np.stack([ONE[0], weights])) == pytest.approx(expected)


def test_flags_are_judged_one_by_one() -> None:
    flags = np.random.default_rng(0).random((2, 300, 5)) < 0.3
    expected = np.mean(
        [
            theirs.balanced_accuracy_score(t, p)
            for t, p in zip(*np.moveaxis(flags, 2, 1), strict=True)
        ]
    )
    assert metrics.balanced_accuracy(*flags, ONE) == pytest.approx([expected])
    assert metrics.accuracy(*flags, ONE) == pytest.approx([(flags[0] == flags[1]).mean()])


def test_a_class_that_a_resample_lacks_does_not_count() -> None:
    true, weights = np.array([0, 0, 1]), np.array([[1.0, 1.0, 0.0]])
    assert metrics.balanced_accuracy(true, np.array([0, 1, 0]), weights).tolist() == [0.5]


def test_r2_of_what_does_not_vary_is_no_number() -> None:
    true, weights = np.array([0.1, 0.1, 7.0]), np.array([[3.0, 5.0, 0.0]])
    assert np.isnan(metrics.r2(true, true + 1, weights)).all()


# Cells of the long table (`tests.torture.intervals`), one of each kind.
CELLS = [
    ("accuracy", 30, 0.975, False),
    ("accuracy", 30, 0.9, True),
    ("accuracy", 1000, 0.5, False),
    ("accuracy", 120, 0.975, True),
    ("balanced_accuracy", 60, 0.9, False),
    ("f1", 120, 0.7, True),
    ("auc", 120, 0.9, False),
    ("ece", 120, 0.7, False),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: " ".join(map(str, cell)))
def test_intervals_cover_the_truth_as_often_as_they_say(
    cell: tuple[str, int, float, bool],
) -> None:
    """Of 200 drawn data sets; 0.95 nominal, and three standard errors below it 0.905."""
    assert coverage.covered(*cell, draws=200).share >= 0.905


@pytest.mark.parametrize(("right", "size"), [(30, 30), (29, 30), (15, 30), (0, 30), (593, 600)])
def test_shares_of_rows_apart_have_wilsons_interval(right: int, size: int) -> None:
    from scipy.stats import binomtest

    found = intervals.share(np.arange(size) < right, np.arange(size), size)
    theirs = binomtest(right, size).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_a_perfect_score_is_not_certain() -> None:
    """Every metric of a head without an error; of 6 groups the interval is wider than of 60 rows."""
    true, said = np.arange(60) % 3, Predictions(np.arange(60) % 3, np.eye(3)[np.arange(60) % 3])
    apart = scoring.judge("category", true, said, said, np.arange(60))
    together = scoring.judge("category", true, said, said, np.arange(60) // 10)
    for name, score in apart.items():
        ends, wider = score.interval, together[name].interval
        assert ends and wider
        assert ends[1] - ends[0] > 0.02
        assert wider[1] - wider[0] > 1.5 * (ends[1] - ends[0])
    flags = Predictions(np.eye(3)[true] > 0, np.eye(3)[true])
    for score in scoring.judge("multilabel", flags.said, flags, flags, true * 20).values():
        assert score.interval and score.interval[1] - score.interval[0] > 0.02


def test_areas_have_delongs_variance() -> None:
    """Its formula, pair by pair, as the paper has it (equation 4)."""
    random = np.random.default_rng(0)
    positive = random.random(80) < 0.4
    score = np.round(random.normal(size=80) + positive, 1)
    ups, downs = score[positive][:, None], score[~positive]
    wins = (ups > downs) + 0.5 * (ups == downs)
    variance = wins.mean(1).var(ddof=1) / len(ups) + wins.mean(0).var(ddof=1) / len(downs)
    found = intervals.auc(positive, score, np.arange(80), 80)
    assert found.value == pytest.approx(wins.mean())
    assert np.square(found.pulls).sum() == pytest.approx(variance, rel=0.05)  # n, not n - 1


@pytest.mark.parametrize("kind", ["category", "multilabel", "regression"])
def test_scores_are_the_metrics_of_all_rows(kind: str) -> None:
    true, predicted, _ = guesses(0)
    outputs = np.random.default_rng(0).dirichlet(np.ones(4), 300)
    said = Predictions(predicted, outputs)
    if kind == "multilabel":
        true, said = np.eye(4)[true] > 0, Predictions(np.eye(4)[predicted] > 0, outputs)
    if kind == "regression":
        true, said = outputs[:, 0], Predictions(outputs[:, 1])
    found = scoring.judge(kind, true, said, said, np.arange(300) // 3)
    for score in found.values():
        assert score.score == pytest.approx(score.baseline, abs=1e-12)
        assert score.interval
        assert score.interval[0] < score.score < score.interval[1]


def test_rows_of_one_group_count_as_one() -> None:
    true, predicted, _ = guesses(0)
    alone = judged(true, predicted, true, np.arange(300))["accuracy"].interval
    copies = [np.tile(a, 4) for a in (true, predicted, true, np.arange(300))]
    together = judged(*copies)["accuracy"].interval
    apart = judged(*copies[:3], np.arange(1200))["accuracy"].interval
    assert alone
    assert together
    assert apart
    assert together == pytest.approx(alone, abs=0.01)
    assert apart[1] - apart[0] < 0.6 * (together[1] - together[0])


def test_one_group_gives_a_score_and_no_interval() -> None:
    score = scoring.judge(
        "regression",
        np.arange(3.0),
        Predictions(np.arange(3.0)),
        Predictions(np.ones(3)),
        np.zeros(3),
    )["r2"]
    assert (score.score, score.interval, score.baseline) == (1.0, None, 0.0)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=200),
    st.integers(1, 6),
    st.integers(0, 5),
)
def test_no_group_is_in_two_folds(rows: list[tuple[int, int]], k: int, seed: int) -> None:
    groups, strata = np.array(rows).T
    fold = splits.folds(groups, k, strata=strata, seed=seed)
    used = {group: set(fold[groups == group]) for group in groups}
    assert all(len(folds) == 1 for folds in used.values())
    sizes = np.bincount([min(folds) for folds in used.values()], minlength=k)
    assert sizes.max() - sizes.min() <= 1
    assert (fold == splits.folds(groups, k, strata=strata, seed=seed)).all()


def test_every_fold_gets_its_share_of_every_class() -> None:
    strata = np.repeat([0, 1, 2], [900, 90, 10])
    fold = splits.folds(np.arange(1000), 5, strata=strata)
    counts = np.array([np.bincount(strata[fold == i], minlength=3) for i in range(5)])
    assert (counts == [180, 18, 2]).all()
