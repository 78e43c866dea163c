"""Whether the attacks see what is there and nothing else: on features known to be all or nothing.

The pictures are drawn: each person has a look of their own, each picture of them varies a little.
Of three kinds of features the first are the pictures, the second noise, and the third tell who a
person is but nothing that other persons could teach: who finds more there has learned from the
person that is attacked. A decoder also has to find what no line leads to: pictures that show how
large two numbers are, whatever their sign.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.privacy.attacks.attributes import infer_class, infer_number
from dof_arrow.privacy.attacks.finding import Finding
from dof_arrow.privacy.attacks.inversion import invert
from dof_arrow.privacy.attacks.linkage import find_again, link
from dof_arrow.privacy.attacks.membership import member
from dof_arrow.privacy.threads import one_thread
from dof_arrow.progress import listening

Array = NDArray[Any]

SEEDS = 20
LEAST = 0.95  # what every attack reaches where the features are the pictures
MOST_OUTSIDE = 0.1  # of intervals of 95%, of which 2.5% lie above chance where all is right
MOST_CONTROL = 0.1  # over chance, where features were dealt to other rows

_PERSONS = 80
_EACH = 5  # pictures of a person
_SIDE = 24
_LOOKS = 8  # numbers that make up a look
_NOISE_WIDTH = 64
_BENT = 200  # pictures that no line leads to
_MEMORY = 1e-7  # the penalty of a head that learns rows by heart


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One attack on what is known: what it reached on the pictures themselves, and on noise.

    `control` is what it reached on pictures that were dealt to other rows, `noise` the mean over
    `seeds` runs on what tells nothing; for `outside` of them chance lies below the interval.
    """

    attack: str
    attacker: str
    metric: str
    identity: float
    control: float
    noise: float
    baseline: float
    outside: int
    seeds: int

    @property
    def passed(self) -> bool:
        """Whether the attack sees what is there, and nothing in noise."""
        sees = self.identity >= LEAST and self.control <= self.baseline + MOST_CONTROL
        return sees and self.outside <= MOST_OUTSIDE * self.seeds


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures float32 [n, 24, 24] of persons, and what is known of them, [n] each."""

    pictures: Array
    persons: Array
    sex: Array
    size: Array
    label: Array


def drawn(seed: int) -> Drawn:
    """Pictures that share a person's look, whose sex and size show in it; labels that do not."""
    random = np.random.default_rng([seed, 3])
    looks = random.normal(size=(_PERSONS, _LOOKS))
    sex = random.permutation(_PERSONS) % 2
    looks[:, 0] = (2 * sex - 1) * (1.5 + np.abs(looks[:, 0]) / 2)
    persons = np.repeat(np.arange(_PERSONS), _EACH)
    codes = looks[persons] + 0.1 * random.normal(size=(len(persons), _LOOKS))
    waves = np.cos(np.pi * np.outer(np.arange(_SIDE) + 0.5, np.arange(3)) / _SIDE)
    patterns = np.einsum("ya,xb->abyx", waves, waves).reshape(9, -1)[1:]
    pictures = 0.5 + 0.05 * codes @ patterns
    pictures += 0.002 * random.normal(size=pictures.shape)
    return Drawn(
        pictures=pictures.clip(0, 1).reshape(-1, _SIDE, _SIDE).astype(np.float32),
        persons=persons,
        sex=sex[persons],
        size=codes[:, 1],
        label=random.permutation(len(persons)) % 2,
    )


def bent(seed: int) -> tuple[Array, Array]:
    """Two numbers float64 [n, 2], and pictures float64 [n, 24, 24] that show what size they are."""
    random = np.random.default_rng([seed, 7])
    numbers = random.uniform(-1, 1, size=(_BENT, 2))
    sizes = np.abs(numbers)
    slope = np.cos(np.pi * (np.arange(_SIDE) + 0.5) / _SIDE)
    lit = 0.1 * (sizes[:, 0] - sizes[:, 1])[:, None] * slope
    pictures = np.repeat(0.5 + lit[:, :, None], _SIDE, axis=2)
    return numbers, pictures


def self_test(seeds: int = SEEDS) -> list[Check]:
    """Run every attack on features that are the pictures, and on independent noise by 20 seeds."""
    with one_thread():
        return _checks(seeds)


def _checks(seeds: int) -> list[Check]:
    known = drawn(0)
    flat = known.pictures.reshape(len(known.pictures), -1)
    random = np.random.default_rng([0, 4])
    again = flat + 0.002 * random.normal(size=flat.shape)
    identity = [*_attacks(known, flat, again, 0), *_on_bent(*bent(0), 0)]
    noise: defaultdict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    with listening().progress("attacking noise") as update:
        for seed in range(seeds):
            update(seed, seeds, 0)
            strangers = np.random.default_rng([seed, 8]).uniform(-1, 1, size=(_BENT, 2))
            on_bent = _on_bent(strangers, bent(seed)[1], seed)
            for finding in chain(_on_noise(seed), _on_strangers(seed), on_bent):
                noise[_key(finding)].append(finding)
        update(seeds, seeds, 0)
    return [_check(finding, noise[_key(finding)]) for finding in identity]


def _attacks(known: Drawn, features: Array, again: Array, seed: int) -> Iterator[Finding]:
    persons = known.persons
    yield from invert(features, known.pictures, persons, seed)
    yield from infer_class(features, known.sex, persons, "sex", seed)
    yield from infer_number(features, known.size, persons, "size", seed)
    yield from link(features, persons, seed)
    yield from find_again(features, again, persons, seed)
    yield from member(features, known.label, persons, "label", seed, strength=_MEMORY)


def _on_noise(seed: int) -> Iterator[Finding]:
    """The attacks on features that have nothing to do with the pictures."""
    known = drawn(seed)
    random = np.random.default_rng([seed, 5])
    shape = (len(known.persons), _NOISE_WIDTH)
    features = random.normal(size=shape)
    yield from _attacks(known, features, random.normal(size=shape), seed)


def _on_strangers(seed: int) -> Iterator[Finding]:
    """What other persons teach, on features that only tell who a person is."""
    known = drawn(seed)
    random = np.random.default_rng([seed, 6])
    looks = random.normal(size=(_PERSONS, _NOISE_WIDTH))
    features = looks[known.persons] + 0.01 * random.normal(size=(len(known.persons), _NOISE_WIDTH))
    yield from invert(features, known.pictures, known.persons, seed)
    yield from infer_class(features, known.sex, known.persons, "sex", seed)
    yield from infer_number(features, known.size, known.persons, "size", seed)


def _on_bent(numbers: Array, pictures: Array, seed: int) -> Iterator[Finding]:
    """The decoder on pictures that no line leads to, each of a person of its own."""
    for finding in invert(numbers, pictures, np.arange(len(numbers)), seed):
        if finding.attacker == "decoder":
            yield replace(finding, of="where no line leads")


def _key(finding: Finding) -> tuple[str, str, str]:
    return finding.attack + finding.of, finding.attacker, finding.metric


def _check(identity: Finding, noise: list[Finding]) -> Check:
    # A head remembers rows of noise too, and more is not asked of it: membership is tried against
    # rows that it was not trained on.
    told = [each.control if each.attack == "membership" else each.reached for each in noise]
    chances = [each.baseline for each in noise]
    outside = 0
    for score, chance in zip(told, chances, strict=True):
        outside += score.low > chance
    return Check(
        attack=f"{identity.attack}: {identity.of}",
        attacker=identity.attacker,
        metric=identity.metric,
        identity=identity.reached.value,
        control=identity.control.value,
        noise=float(np.mean([score.value for score in told])),
        baseline=float(np.mean(chances)),
        outside=outside,
        seeds=len(noise),
    )
