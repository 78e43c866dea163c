"""Faults seeded into the attacks of the audit: `dof audit --self-test` must notice each of them."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from dof_arrow.privacy import self_test

SEEDS = 10
_ATTACKS = "dof_arrow.privacy.attacks"


class Fault(NamedTuple):
    """A wrong line in a module of the attacks: what stands there, and what stands there instead."""

    module: str
    right: str
    wrong: str


FAULTS = {
    "the picture itself is its own mate": Fault(
        "linkage", "            same &= records != records[row]\n", ""
    ),
    "the last comes first": Fault(
        "linkage",
        "len(others) - np.searchsorted(others, mates)",
        "np.searchsorted(others, mates)",
    ),
    "a metric taught by those who are attacked": Fault(
        "linkage", "_metric(features[~inside], codes[~inside])", "_metric(seen, codes[inside])"
    ),
    "the farthest is the nearest": Fault(
        "linkage", "products = units[rows] @ units.T", "products = -(units[rows] @ units.T)"
    ),
    "the nearest row is always the own one": Fault(
        "linkage", "own = products[rows, start + rows]", "own = products.max(axis=1)"
    ),
    "a control that is none": Fault(
        "linkage",
        "control = _own_row(ours, theirs[dealt(len(theirs), seed)], of)",
        "control = reached",
    ),
    "nobody is ever higher": Fault("gallery", "[higher])", "[0 * higher])"),
    "features without a direction": Fault(
        "gallery", "scaled = features / lengths[:, None]", "scaled = np.ones_like(features)"
    ),
    "an attacker who sees the picture": Fault(
        "inversion",
        "own = decoded(features, pictures",
        "own = decoded(pictures.reshape(len(pictures), -1), pictures",
    ),
    "variance around black": Fault(
        "inversion", "np.square(truth - mean).sum(axis=1)", "np.square(truth).sum(axis=1)"
    ),
    "the picture compared with itself": Fault(
        "inversion", "ssim(pictures, said.reshape(shape))", "ssim(pictures, pictures)"
    ),
    "no picture is the baseline": Fault(
        "inversion",
        "float(ssim(pictures, mean.reshape(shape)).mean())",
        "0.0",
    ),
    "a control of another attacker": Fault(
        "inversion",
        '("decoder", own.decoder, other.decoder)',
        '("decoder", own.decoder, own.decoder)',
    ),
    "a decoder that sees the picture": Fault(
        "decoder", "found.decoder[out] = linear +", "found.decoder[out] = y[out] + 0 * linear +"
    ),
    "a decoder taught by those who are attacked": Fault(
        "decoder", "taught = ~out", "taught = out | ~out"
    ),
    "pictures decoded for other rows": Fault(
        "decoder", "linear + gained @ waves", "linear[::-1] + gained[::-1] @ waves"
    ),
    "a net that learns nothing": Fault(
        "decoder", "                adam.step(self._slopes(batch))\n", ""
    ),
    "a net that climbs": Fault("decoder", "weights -= rate", "weights += rate"),
    "a net without a bend": Fault(
        "decoder", "np.maximum(x @ first + offset, 0)", "(x @ first + offset)"
    ),
    "a net that nobody hears": Fault("decoder", "self._share * apart", "0.0 * apart"),
    "the least likely class": Fault("attributes", "said.argmax(axis=1)", "said.argmin(axis=1)"),
    "classes turned round": Fault(
        "attributes", "said[:, 1] - said[:, 0]", "said[:, 0] - said[:, 1]"
    ),
    "answers of other rows": Fault(
        "ridge", "said[out] = model(x[out], strength)", "said[out] = model(x[out], strength)[::-1]"
    ),
    "taught by the groups that are attacked": Fault(
        "ridge",
        "fold_of = folds(groups, count, strata=strata, seed=seed)",
        "fold_of = folds(np.arange(len(groups)), count, seed=seed)",
    ),
    "a penalty beyond all measure": Fault(
        "ridge", "penalty = strength * self._rows", "penalty = 1e9 * self._rows"
    ),
    "members of another head": Fault(
        "membership", "reached=_auc(halves[0], score", "reached=_auc(halves[1], score"
    ),
    "sure where it is wrong": Fault("membership", "np.asarray(-np.square", "np.asarray(np.square"),
    "likelier where it is not": Fault(
        "membership", "np.asarray(inside - outside)", "np.asarray(outside - inside)"
    ),
    "intervals of a twentieth": Fault(
        "finding",
        "    return Measured(value=estimate.value, low=low, high=high)",
        "    low = estimate.value - (estimate.value - low) / 20\n"
        "    return Measured(value=estimate.value, low=low, high=high)",
    ),
    "rows counted, not persons": Fault(
        "finding",
        "reach = student(count - 1) * math.sqrt(variance)",
        "reach = student(count - 1) * math.sqrt(variance / 400)",
    ),
}


@contextmanager
def seeded(fault: Fault) -> Iterator[None]:
    """Have all modules of the audit use the module with the wrong line."""
    name = f"{_ATTACKS}.{fault.module}"
    module = importlib.import_module(name)
    source = inspect.getsource(module)
    assert source.count(fault.right) >= 1, fault
    wrong = ModuleType(name)
    sys.modules[name] = wrong
    exec(compile(source.replace(fault.right, fault.wrong), name, "exec"), vars(wrong))
    changed: list[tuple[Any, str, Any]] = []
    for user in [each for key, each in sys.modules.items() if key.startswith("dof_arrow.privacy")]:
        for attribute, value in list(vars(user).items()):
            own = getattr(value, "__module__", None) == name
            if own and user is not wrong and getattr(wrong, attribute, None) is not None:
                changed.append((user, attribute, value))
                setattr(user, attribute, getattr(wrong, attribute))
    try:
        yield
    finally:
        sys.modules[name] = module
        for user, attribute, value in changed:
            setattr(user, attribute, value)


def noticed(fault: Fault, seeds: int = SEEDS, without: Iterable[str] = ()) -> list[str]:
    """The checks that fail with a fault: attack, attacker and metric.

    `without`: functions of the self-test that find nothing meanwhile, where time is short.
    """
    with seeded(fault), pytest.MonkeyPatch.context() as patch:
        for name in without:
            patch.setattr(self_test, name, _nothing)
        checks = self_test.self_test(seeds)
    return [f"{each.attack}, {each.attacker}, {each.metric}" for each in checks if not each.passed]


def _nothing(*_: Any, **__: Any) -> tuple[()]:
    return ()


def main() -> None:
    """Seed each fault, and keep which checks fail with it."""
    found = {name: noticed(fault) for name, fault in FAULTS.items()}
    missed = [name for name, failed in found.items() if not failed]
    kept = Path(__file__).with_name("results") / "audit_faults.json"
    told = {"faults": len(found), "missed": missed, "failed checks": found}
    kept.write_text(json.dumps(told, indent=1) + "\n")
    print(f"{len(found)} faults in the attacks, missed: {missed or 'none'}")


if __name__ == "__main__":
    main()
