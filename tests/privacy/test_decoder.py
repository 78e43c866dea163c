"""The decoder: it finds what no line leads to, is no worse elsewhere, and never learns from those
that it attacks."""

from __future__ import annotations

import numpy as np
import pytest

from dof_arrow.errors import UsageError
from dof_arrow.privacy.attacks import decoder
from dof_arrow.privacy.attacks.decoder import decoded
from dof_arrow.privacy.attacks.inversion import invert, rebuild
from dof_arrow.privacy.attacks.ridge import Ridge
from dof_arrow.privacy.self_test import bent
from tests.torture import audit_faults


def explained(pictures: np.ndarray, said: np.ndarray, mean: np.ndarray) -> float:
    """R2 around what is said without features."""
    truth = pictures.reshape(len(pictures), -1)
    return float(1 - np.square(said - truth).sum() / np.square(mean - truth).sum())


def test_it_rebuilds_what_no_line_leads_to() -> None:
    numbers, pictures = bent(1)
    found = {(each.attacker, each.metric): each for each in invert(numbers, pictures, _own(200))}
    ridge, decoder = found["ridge", "R2"], found["decoder", "R2"]
    assert ridge.reached.value < 0.1 and not ridge.found
    assert decoder.reached.value > 0.95 and decoder.found
    assert decoder.control.value < 0.1
    assert found["decoder", "SSIM"].reached.value > found["ridge", "SSIM"].reached.high


def test_it_is_as_good_as_ridge_where_a_line_says_all() -> None:
    random = np.random.default_rng(2)
    features = random.normal(size=(120, 6))
    pictures = features @ random.normal(size=(6, 64)) + 2 * random.normal(size=(120, 64))
    found = decoded(features, pictures.reshape(-1, 8, 8), _own(120), 0)
    linear = explained(pictures, found.linear, found.mean)
    assert 0.3 < linear < 0.8
    assert explained(pictures, found.decoder, found.mean) > linear - 0.02


def test_it_never_learns_from_the_group_that_is_attacked() -> None:
    """Each group has a picture of its own, which its features alone give away."""
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 5)
    features = random.normal(size=(40, 64))[groups]
    pictures = random.normal(size=(40, 8, 8))[groups]
    found = decoded(features, pictures, groups, 0)
    assert explained(pictures, found.decoder, found.mean) < 0.05


def test_the_same_twice_and_other_seeds_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_MOST", 6)
    numbers, pictures = (each[:40] for each in bent(4))
    first, second = (rebuild(numbers, pictures, _own(40), 5) for _ in range(2))
    assert (first.decoder == second.decoder).all() and (first.shuffled == second.shuffled).all()
    assert (rebuild(numbers, pictures, _own(40), 6).decoder != first.decoder).any()


@pytest.mark.parametrize(("rows", "width"), [(40, 8), (20, 50)])
def test_answers_for_unseen_rows_are_those_of_a_ridge_taught_the_others(
    rows: int, width: int
) -> None:
    random = np.random.default_rng(7)
    x, y = random.normal(size=(rows, width)), random.normal(size=(rows, 3))
    x[:, 0] = 5.0  # a column that says nothing
    spread = x.std(0)
    spread[0] = np.inf
    known = np.hstack([(x - x.mean(0)) / spread, np.ones((rows, 1))])
    penalty = np.diag([0.1 * rows] * width + [0.0])
    said = Ridge(x, y).unseen(x, y, 0.1)
    for row in range(rows):
        others = np.delete(known, row, axis=0)
        answers = np.delete(y, row, axis=0)
        weights = np.linalg.solve(others.T @ others + penalty, others.T @ answers)
        assert np.allclose(said[row], known[row] @ weights)


def test_features_that_say_nothing_and_equal_pictures() -> None:
    pictures = np.random.default_rng(8).uniform(size=(20, 8, 8))
    found = decoded(np.ones((20, 3)), pictures, _own(20), 0)
    assert np.allclose(found.linear, found.mean)
    assert explained(pictures, found.decoder, found.mean) < 0.1
    with pytest.raises(UsageError, match="nothing to rebuild"):
        invert(np.ones((20, 3)), np.ones((20, 8, 8)), _own(20))


# Faults that `make torture` seeds too, with what need not be attacked to notice them.
_REST = ("infer_class", "infer_number", "link", "find_again", "member")
_SOME = {
    "a net without a bend": ("_attacks", "_on_noise", "_on_strangers"),
    "a decoder taught by those who are attacked": ("_on_bent", "_on_noise", *_REST),
}


@pytest.mark.parametrize("name", _SOME)
def test_the_self_test_notices_faults_of_the_decoder(name: str) -> None:
    failed = audit_faults.noticed(audit_faults.FAULTS[name], seeds=1, without=_SOME[name])
    assert all(each.startswith("inversion") for each in failed) and failed


def _own(count: int) -> np.ndarray:
    return np.arange(count)
