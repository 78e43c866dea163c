"""Attacks: they see what is there, nothing in noise, and never learn from the group they attack."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from dof_arrow.errors import UsageError
from dof_arrow.privacy import self_test
from dof_arrow.privacy.attacks import ridge
from dof_arrow.privacy.attacks.attributes import infer_class, infer_number
from dof_arrow.privacy.attacks.gallery import alarm, first, sizes
from dof_arrow.privacy.attacks.inversion import invert, ssim
from dof_arrow.privacy.attacks.linkage import find_again, link
from dof_arrow.privacy.attacks.membership import member
from dof_arrow.privacy.uniqueness import uniqueness
from tests.torture import audit_faults


def test_the_pictures_themselves_are_found_and_noise_is_not() -> None:
    checks = self_test.self_test(seeds=2)
    assert {check.attack.split(":")[0] for check in checks} == {
        "inversion",
        "attribute",
        "linkage",
        "same picture",
        "membership",
    }
    for check in checks:
        assert check.identity >= 0.95, check
        assert check.outside <= 1, check
        assert abs(check.noise - check.baseline) < 0.1, check


def test_a_ridge_is_that_of_the_normal_equations_however_many_rows_there_are() -> None:
    random = np.random.default_rng(0)
    for rows, width in ((50, 8), (8, 50)):
        x, y = random.normal(size=(rows, width)), random.normal(size=(rows, 3))
        model = ridge.Ridge(x, y)
        standard = (x - x.mean(0)) / x.std(0)
        gram = standard.T @ standard + 0.1 * rows * np.eye(width)
        weights = np.linalg.solve(gram, standard.T @ (y - y.mean(0)))
        assert np.allclose(model(x, 0.1), standard @ weights + y.mean(0))


def test_a_row_far_beyond_all_that_was_taught_does_not_spoil_the_rest() -> None:
    """Features that are the same in all pictures but the only one in colour."""
    random = np.random.default_rng(11)
    features = random.normal(size=(60, 4))
    answers = features[:, :1] + 0.1 * random.normal(size=(60, 1))
    features[:, 3] = 1e-6 * features[:, 3]
    features[7, 3] = 5.0
    said, mean = ridge.predicted(features, answers, np.arange(60), 0)
    explained = 1 - np.square(said - answers).sum() / np.square(mean - answers).sum()
    assert explained > 0.9


def test_an_attacker_never_learns_from_the_group_that_is_attacked() -> None:
    """Each group has an answer of its own, which its features alone give away."""
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 5)
    features = random.normal(size=(40, 64))[groups]  # equal in a group: a leak would show at once
    answers = random.normal(size=40)[groups][:, None]
    said, mean = ridge.predicted(features, answers, groups, 0)
    explained = 1 - np.square(said - answers).sum() / np.square(mean - answers).sum()
    assert explained < 0.1
    assert infer_number(features, answers[:, 0], groups, "x")[0].reached.value < 0.1


def test_first_in_a_gallery_is_counted_right() -> None:
    for others, size in ((9, 2), (30, 10), (12, 13)):
        for higher in range(others + 1):
            drawn = size - 1
            wanted = comb(others - higher, drawn) / comb(others, drawn)
            assert first(np.array([higher]), others, size)[0] == pytest.approx(wanted)
    assert sizes(8) == [8] and sizes(2000) == [10, 100, 1000, 2000]


def test_a_false_alarm_is_one_in_a_thousand_at_most() -> None:
    threshold, share = alarm(np.random.default_rng(2).permutation(5000.0 * np.arange(1, 5001)))
    assert share == 0.001 and threshold == 5000 * 4995
    assert alarm(np.arange(100.0)) == (99.0, 0.0)
    assert alarm(np.ones(5000))[1] == 0.0  # equal scores are no alarm


def test_linkage_by_hand() -> None:
    """Two of the four pictures of a half are alike in direction, whatever their lengths."""
    random = np.random.default_rng(3)
    centres = random.normal(size=(60, 32))
    groups = np.repeat(np.arange(60), 2)
    features = centres[groups] * random.uniform(0.1, 9, size=(120, 1))
    for finding in link(features, groups):
        # The learned metric centres the rows, and so sees their lengths.
        least = 1 - 1e-6 if finding.attacker == "cosine" else 0.8
        assert finding.reached.value >= least
        assert finding.rows == 120 and finding.groups == 60
        assert 0 < finding.reached.low < 1 and finding.found
        assert finding.control.value < 0.3
    again = find_again(features, features + 0.01, groups)
    metrics = ["first of 10", "first of 100", "first of 120"]
    assert [finding.metric for finding in again] == 2 * metrics
    assert again[-1].baseline == 1 / 120


def test_ssim_is_one_for_equal_pictures_and_less_for_others() -> None:
    random = np.random.default_rng(4)
    pictures = random.uniform(size=(3, 16, 16))
    assert ssim(pictures, pictures) == pytest.approx(1)
    assert (ssim(pictures, 1 - pictures) < 0).all()
    assert (ssim(pictures, np.full_like(pictures, 0.5)) < 0.1).all()


def test_part_of_a_picture_gives_part_of_its_variance() -> None:
    random = np.random.default_rng(5)
    pictures = random.uniform(size=(400, 2, 8))
    features = pictures.reshape(400, 16)[:, :8]
    found, decoder = invert(features, pictures, np.arange(400))  # too small for SSIM
    assert decoder.reached.value > found.reached.value - 0.02
    assert found.metric == "R2" and 0.45 < found.reached.value < 0.52
    # Half of the numbers are given; learning them from 320 pictures costs a little.
    assert found.reached.low < 0.485 < found.reached.high and found.control.value < 0.01


def test_unlike_classes_and_odds_of_both() -> None:
    random = np.random.default_rng(6)
    codes = random.choice(3, p=(0.6, 0.3, 0.1), size=600)
    features = np.eye(3)[codes] + random.normal(size=(600, 3))
    auc, accuracy = infer_class(features, codes, np.arange(600), "kind")
    assert 0.65 < auc.reached.value < 0.9 and auc.baseline == 0.5
    assert accuracy.baseline == pytest.approx(np.bincount(codes).max() / 600)
    assert auc.found and accuracy.advantage < auc.advantage


def test_membership_is_told_of_what_was_trained_on() -> None:
    random = np.random.default_rng(7)
    features, labels = random.normal(size=(200, 400)), random.integers(2, size=200)
    for finding in member(features, labels, np.arange(200), "label", strength=1e-6):
        assert finding.reached.value > 0.95
        assert finding.control.low < 0.5 < finding.control.high


def test_persons_are_counted_not_rows() -> None:
    """A person of three rows is one person, who is unique by what the rows say together."""
    found = uniqueness(
        {"sex": ["f", "f", "f", "m", "m"], "age": [61, 61, 62, 40, None]},
        ["a", "a", "a", "b", "c"],
    )
    assert (found.groups, found.unique, found.rare, found.smallest) == (3, 3, 3, 1)
    assert found.by_column == {"sex": 1, "age": 3}
    assert found.worst[0].values == {"sex": "f", "age": "61, 62"}
    six = uniqueness({"sex": ["f"] * 6}, list(range(6)))
    assert (six.unique, six.rare, six.smallest) == (0, 0, 6)


def test_frames_of_one_clip_are_not_in_its_gallery() -> None:
    """Frames of a clip are alike: without them in the gallery each leads to its own clip."""
    random = np.random.default_rng(8)
    records = np.repeat(np.arange(20), 5)
    features = random.normal(size=(20, 16))[records] + 1e-3 * random.normal(size=(100, 16))
    again = features + 1e-2 * random.normal(size=features.shape)
    alone = find_again(features, again, records)[-1]
    assert alone.attacker == "centred"
    told = find_again(features, again, records, records=records)
    assert [each.metric for each in told] == 2 * ["first of 10", "first of 96"]
    assert told[-1].baseline == 1 / 96 and told[-1].reached.value == 1.0
    assert alone.reached.value < 0.9 and told[-1].control.value < 0.3


def test_views_of_a_picture_are_no_other_pictures_of_the_person() -> None:
    """Persons of two unlike pictures, each in two views that are the same."""
    random = np.random.default_rng(9)
    records = np.repeat(np.arange(80), 2)
    groups = records // 2
    features = random.normal(size=(80, 16))[records]
    for attacker in (0, 1):
        views = link(features, groups)
        pictures = link(features, groups, records=records)
        least = [each for each in views if each.metric == "first of 10"][attacker]
        most = [each for each in pictures if each.metric == "first of 10"][attacker]
        assert least.reached.value > 0.3 > most.reached.value
    with pytest.raises(UsageError, match="no pictures to link"):
        link(features, records, records=records)


def test_all_rows_are_in_the_gallery_of_some_that_are_looked_for() -> None:
    random = np.random.default_rng(10)
    features = random.normal(size=(50, 8))
    told = find_again(features, features[:20], np.arange(50))
    assert [each.metric for each in told] == 2 * ["first of 10", "first of 50"]
    assert told[-1].rows == told[-1].groups == 20 and told[-1].reached.value == 1.0


def test_what_all_changed_pictures_have_in_common_is_taken_off() -> None:
    """All pictures are alike, and each change moves them the same way, further than they differ."""
    random = np.random.default_rng(12)
    features = 10 + random.normal(size=(200, 16))
    again = features + 5 * random.normal(size=16)
    told = {(each.attacker, each.metric): each for each in find_again(features, again, _own(200))}
    assert told["centred", "first of 200"].reached.value == 1.0
    assert told["cosine", "first of 200"].reached.value < 0.5
    assert told["centred", "first of 200"].control.value < 0.1


def _own(count: int) -> np.ndarray:
    return np.arange(count)


def test_too_little_is_refused() -> None:
    x, groups = np.ones((6, 2)), np.array([0, 0, 1, 1, 2, 2])
    with pytest.raises(UsageError, match="too few groups to attack"):
        invert(x, np.ones((6, 8, 8)), groups)
    with pytest.raises(UsageError, match="no pictures to link"):
        link(x, np.arange(6))
    with pytest.raises(UsageError, match="nothing to infer"):
        infer_class(x, np.zeros(6), np.arange(6), "sex")
    with pytest.raises(UsageError, match="nothing to train a head on"):
        member(x, np.zeros(6), np.arange(6), "sex")


@pytest.mark.parametrize("name", audit_faults.FAULTS)
def test_each_fault_still_has_its_line(name: str) -> None:
    with audit_faults.seeded(audit_faults.FAULTS[name]):
        pass


# Some faults of those that `make torture` seeds, one of each kind, with what need not be attacked to
# notice them: the decoder takes nearly all the time.
_SOME = {
    "the picture itself is its own mate": ("invert", "infer_class", "infer_number", "member"),
    "taught by the groups that are attacked": ("invert", "link", "find_again", "member"),
    "intervals of a twentieth": ("invert", "member"),
}


@pytest.mark.parametrize("name", _SOME)
def test_the_self_test_notices_faults(name: str) -> None:
    assert audit_faults.noticed(audit_faults.FAULTS[name], seeds=5, without=_SOME[name])


def test_without_a_fault_the_quick_attacks_pass() -> None:
    """What is left of the self-test notices nothing where nothing is wrong, also after faults."""
    none = audit_faults.Fault("linkage", "def link(", "def link(")
    for without in _SOME.values():
        assert audit_faults.noticed(none, seeds=5, without=without) == []
