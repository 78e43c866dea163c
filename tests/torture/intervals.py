"""How often 95% intervals of scores hold the true value (`python -m tests.torture.intervals [DRAWS]`).

Rows are right with a chance that is drawn for each group of 1 to 10 rows (intra-class correlation 0.3) or is the same
for all. The true value of the other metrics is that of a million rows. The table is kept in `results/intervals.json`.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dof_arrow.heads import scoring
from dof_arrow.heads.scoring import Predictions

KEPT = Path(__file__).with_name("results") / "intervals.json"
SIZES = (30, 60, 120, 1000)
CHANCES = (0.5, 0.7, 0.9, 0.975, 0.99)
OTHERS = ("balanced_accuracy", "f1", "auc", "ece", "r2", "mae")
CORRELATION = 0.3
DRAWS = 500

Drawn = tuple[np.ndarray, Predictions, np.ndarray]


@dataclass(frozen=True)
class Covered:
    """Of how many draws the interval holds the truth, and its mean width."""

    share: float
    width: float
    missing: int


def groups(n: int, random: np.random.Generator, grouped: bool) -> np.ndarray:
    if not grouped:
        return np.arange(n)
    sizes = random.integers(1, 11, n)
    return np.repeat(np.arange(n), sizes)[:n]


def chances(
    group: np.ndarray, chance: float, random: np.random.Generator, grouped: bool
) -> np.ndarray:
    """The chance of each row to be right: a beta distribution over groups."""
    if not grouped:
        return np.full(len(group), chance)
    spread = 1 / CORRELATION - 1
    return random.beta(chance * spread, (1 - chance) * spread, len(group))[group]


def classes(n: int, chance: float, random: np.random.Generator, grouped: bool) -> Drawn:
    """Two classes of 60% and 40%; what a head says is right with a chance, and it states 0.8 or 0.95."""
    group = groups(n, random, grouped)
    true = (random.random(n) < 0.4).astype(np.int64)
    right = random.random(n) < chances(group, chance, random, grouped)
    said = np.where(right, true, 1 - true)
    stated = random.uniform(0.5, 1, n)
    outputs = np.where(said == 1, stated, 1 - stated)
    return true, Predictions(said, np.stack([1 - outputs, outputs], axis=1)), group


def numbers(n: int, chance: float, random: np.random.Generator, grouped: bool) -> Drawn:
    """Numbers of which a head explains a share; the errors of a group are alike."""
    group = groups(n, random, grouped)
    common = np.sqrt(CORRELATION) if grouped else 0.0
    error = common * random.normal(size=n)[group] + np.sqrt(1 - common**2) * random.normal(size=n)
    true = random.normal(size=n)
    return true, Predictions(true + np.sqrt(1 - chance) * error), group


def drawn(metric: str) -> tuple[str, Callable[[int, float, np.random.Generator, bool], Drawn]]:
    return ("regression", numbers) if metric in ("r2", "mae") else ("category", classes)


@cache
def truth(metric: str, chance: float) -> float:
    """The value that the score comes to with more and more rows."""
    if metric == "accuracy":
        return chance
    kind, draw = drawn(metric)
    true, said, _ = draw(1_000_000, chance, np.random.default_rng(1), False)
    measures = {**scoring.METRICS[kind], **scoring.PROBABILITY_METRICS}
    given = said.outputs if metric in scoring.PROBABILITY_METRICS else said.said
    assert given is not None
    return float(measures[metric](true, given, np.ones((1, len(true))))[0])


def covered(metric: str, n: int, chance: float, grouped: bool, draws: int = DRAWS) -> Covered:
    """Draw so many data sets, and look whether the interval of each holds the truth."""
    wanted = truth(metric, chance)
    kind, draw = drawn(metric)
    random = np.random.default_rng(
        [n, round(1000 * chance), int(grouped), zlib.crc32(metric.encode())]
    )
    held, width, missing = 0, 0.0, 0
    for _ in range(draws):
        true, said, group = draw(n, chance, random, grouped)
        if metric == "accuracy":
            said = Predictions(said.said)
        found = scoring.judge(kind, true, said, said, group)[metric].interval
        if found is None:
            missing += 1
            continue
        held += found[0] <= wanted <= found[1]
        width += found[1] - found[0]
    judged = max(draws - missing, 1)
    return Covered(held / judged, width / judged, missing)


def table(draws: int) -> Iterator[dict[str, object]]:
    for metric in ("accuracy", *OTHERS):
        for grouped in (False, True):
            for n in SIZES:
                for chance in CHANCES if metric == "accuracy" else (0.7, 0.9):
                    found = covered(metric, n, chance, grouped, draws)
                    yield {
                        "metric": metric,
                        "rows": n,
                        "chance": chance,
                        "groups": grouped,
                        "covered": round(found.share, 3),
                        "width": round(found.width, 3),
                        "no_interval": found.missing,
                    }


def main(draws: int = DRAWS) -> None:
    rows = []
    for row in table(draws):
        rows.append(row)
        print(*row.values(), flush=True)
    KEPT.write_text(json.dumps({"nominal": 0.95, "draws": draws, "table": rows}, indent=1) + "\n")
    outside = [
        row
        for row in rows
        if row["metric"] == "accuracy" and not 0.92 <= float(str(row["covered"])) <= 0.98
    ]
    print(f"{len(rows)} cells, of accuracy outside 0.92 to 0.98: {outside}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
