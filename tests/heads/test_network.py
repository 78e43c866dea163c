"""Twenty random suggestions go from metadata to torch to ONNX and give the same everywhere."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from dof_arrow.cores.graph import model as graph
from dof_arrow.heads import architecture, layers, named, network
from dof_arrow.heads.architecture import Architecture
from tests.support.speed import slowness

torch = pytest.importorskip("torch")

WIDTH, OUTPUTS = 24, 5


def suggestion(seed: int, *, clips: bool) -> dict[str, Any]:
    """A random head: two to six layers of any kind; on clips, some before and some after a pool."""
    random = np.random.default_rng(seed)
    before = [
        recurrent(random) if random.random() < 0.7 else flat(random)
        for _ in range(random.integers(1, 4))
    ]
    pool = [{"kind": "pool", "by": str(random.choice(["mean", "max", "last", "statistics"]))}]
    after = [flat(random) for _ in range(random.integers(2, 7))]
    return {"layers": (before + pool if clips else []) + after}


def recurrent(random: np.random.Generator) -> dict[str, Any]:
    return {
        "kind": "recurrent",
        "cell": str(random.choice(["lstm", "gru"])),
        "units": int(random.integers(1, 20)),
        "bidirectional": bool(random.random() < 0.5),
    }


def flat(random: np.random.Generator) -> dict[str, Any]:
    return [
        {"kind": "dense", "units": int(random.integers(2, 64))},
        {"kind": "activation", "function": str(random.choice(architecture.FUNCTIONS))},
        {"kind": "dropout", "rate": float(random.random() * 0.8)},
        {"kind": "normalization", "over": str(random.choice(["batch", "layer"]))},
    ][random.integers(4)]


def trained_a_step(made: network.Network, x: Any, y: Any) -> None:
    optimizer = torch.optim.Adam(made.modules.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(made(x), y).backward()
        optimizer.step()
    made.modules.eval()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("clips", [False, True], ids=["rows", "clips"])
def test_a_random_suggestion_is_the_same_in_torch_and_onnx(seed: int, clips: bool) -> None:
    """Metadata -> torch -> a step of training -> ONNX: equal outputs within 1e-5 (row D10)."""
    value = json.loads(json.dumps(suggestion(seed, clips=clips)))
    suggested = architecture.from_json(value)
    assert architecture.to_json(suggested) == {
        "layers": [
            {k: v for k, v in layer.items() if k != "bidirectional" or v}
            for layer in value["layers"]
        ]
    }
    random, zero, one = np.random.default_rng(seed), np.zeros(WIDTH, "f4"), np.ones(WIDTH, "f4")
    shapes = [(t, WIDTH) for t in (9, 1, 4, 9, 7, 2)] if clips else [(16, WIDTH)]
    inputs = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    packed = network.pack(inputs if clips else inputs[0], zero, one)
    with network.repeatable():
        torch.manual_seed(seed)
        made = network.Network(suggested, WIDTH, OUTPUTS)
        count = len(inputs) if clips else 16
        trained_a_step(made, packed, torch.arange(count) % OUTPUTS)
        expected = torch.softmax(made(packed), dim=1).detach().numpy()
    model = layers.to_model([*made.steps(), layers.Function("softmax")], "category", WIDTH, OUTPUTS)
    session = graph.session(graph.to_bytes(model))
    fed = [clip[None] for clip in inputs] if clips else inputs
    found = np.concatenate([graph.run(session, {"feature": x})[0] for x in fed])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert layers.timed(made.steps()) == suggested.timed == clips


def test_heads_are_written_in_milliseconds() -> None:
    made = network.Network(named.MLP, 1280, 10)
    graph.to_bytes(layers.to_model(made.steps(), "category", 1280, 10))
    start = time.thread_time()
    for _ in range(5):
        graph.to_bytes(layers.to_model(made.steps(), "category", 1280, 10))
    assert (time.thread_time() - start) / 5 < 0.1 * slowness()  # 4 ms on an idle machine


def test_the_callers_torch_is_left_as_it_was() -> None:
    threads, before = torch.get_num_threads(), torch.get_rng_state()
    with network.repeatable():
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        torch.manual_seed(1)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_padding_of_short_clips_changes_nothing() -> None:
    zero, one = np.zeros(3, "f4"), np.ones(3, "f4")
    clips = [
        np.random.default_rng(i).normal(size=(i + 1, 3)).astype(np.float32) - 5 for i in range(5)
    ]
    for by in ("mean", "max", "last", "statistics"):
        made = network.Network(Architecture((architecture.Pool(by=by),)), 3, 2)
        together = made(network.pack(clips, zero, one))
        alone = torch.cat([made(network.pack([clip], zero, one)) for clip in clips])
        assert torch.allclose(together, alone, atol=1e-6)


def test_statistics_of_a_clip_are_those_of_numpy() -> None:
    """Mean, deviation, minimum and maximum, side by side, far from zero too."""
    zero, one = np.zeros(3, "f4"), np.ones(3, "f4")
    random = np.random.default_rng(0)
    clips = [random.normal(50, 2, (length, 3)).astype(np.float32) for length in (1, 4, 9)]
    pool = Architecture((architecture.Pool(by="statistics"),))
    made = network.Network(pool, 3, 2)
    assert made.modules[-1].in_features == architecture.check_size(pool, 3, 1) - 1 == 12
    made.modules[-1] = torch.nn.Identity()
    for clip, found in zip(clips, made(network.pack(clips, zero, one)), strict=True):
        wide = clip.astype(np.float64)
        deviation = np.sqrt(wide.var(axis=0) + layers.SMALLEST_VARIANCE)
        expected = [wide.mean(axis=0), deviation, wide.min(axis=0), wide.max(axis=0)]
        np.testing.assert_allclose(found.numpy(), np.concatenate(expected), rtol=1e-5)


def test_statistics_of_frames_that_are_alike_can_be_learned() -> None:
    """A clip of one frame has no deviation; its gradient is a number all the same."""
    made = network.Network(
        Architecture((architecture.Dense(units=2), architecture.Pool(by="statistics"))), 3, 2
    )
    made(
        network.pack([np.ones((1, 3), "f4")], np.zeros(3, "f4"), np.ones(3, "f4"))
    ).sum().backward()
    assert all(bool(torch.isfinite(each.grad).all()) for each in made.modules.parameters())
