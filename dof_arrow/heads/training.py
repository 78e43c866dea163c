"""Training a network with manners: every epoch judged on the whole validation set, the best one kept, nothing lost.

All that is random in an epoch follows from (seed, stage, epoch), so a training that was killed and goes on from its
checkpoint, a file beside the output, ends with the weights it would have had. Its course is kept as JSON lines and as a
picture that needs no program to draw it. Needs the extra `torch`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads import features as reading
from dof_arrow.heads import metrics
from dof_arrow.heads.architecture import Architecture
from dof_arrow.heads.features import Examples
from dof_arrow.heads.network import Network, pack, repeatable
from dof_arrow.storage import owned
from dof_arrow.storage.atomic import explained, replacing

Array = NDArray[Any]
Tensor = Any
State = dict[str, Any]

_CLIP = 5.0  # gradients are shortened to this length: recurrent layers explode else
_JUDGED = 1024  # rows a batch where nothing is learned
_DIGEST = 32  # bytes of a SHA-256
Entry = Mapping[str, Any]
_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 200, 60, 30
_COLOURS = ("#1b6ca8", "#c4572e", "#2f855a", "#8a5fa8", "#b08900", "#555555")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How a network is trained.

    It stops after `patience` epochs without a better validation score; after `cooling` of them the learning `rate` is
    halved. `balance` weighs classes by the inverse of their frequency in training, and watches balanced accuracy.
    """

    epochs: int = 200
    batch: int = 64
    rate: float = 1e-3
    decay: float = 1e-3
    patience: int = 20
    cooling: int = 7
    balance: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Data:
    """What is learned: a target's kind, how many outputs it has, the examples, and what each is (codes from 0)."""

    kind: str
    outputs: int
    inputs: Examples
    y: Array


@dataclass(frozen=True, slots=True)
class Trained:
    """A network with the best weights met, the moments it was given, and how its training went."""

    network: Network
    mean: Array
    factor: Array
    unit: tuple[float, float]
    history: list[State]
    best_epoch: int
    stopped: str


def fit(
    architecture: Architecture,
    data: Data,
    train: Array,
    valid: Array,
    manners: TrainingOptions,
    *,
    stage: str = "all",
    checkpoint: Checkpoint | None = None,
    told: Callable[[int], None] = lambda epoch: None,
) -> Trained:
    """Train on the examples at `train`, keep the epoch that is best on those at `valid`; `told` hears of each epoch.

    Equal arguments give equal weights, also where a checkpoint had to take the training up again. Raises UsageError
    where no epoch ends with finite numbers.
    """
    with repeatable():
        run = _TrainingRun(architecture, data, train, valid, manners, stage)
        saved = checkpoint.stage(stage) if checkpoint else None
        if saved:
            run.restore(saved)
        while not run.state["stopped"]:
            run.epoch()
            told(run.state["epoch"])
            if checkpoint:
                checkpoint.save(stage, run.saved(), now=bool(run.state["stopped"]))
        return run.result()


class _TrainingRun:
    """One training under way."""

    def __init__(
        self,
        architecture: Architecture,
        data: Data,
        train: Array,
        valid: Array,
        manners: TrainingOptions,
        stage: str,
    ) -> None:
        import torch

        self.data, self.train, self.valid, self.manners, self.stage = (
            data,
            train,
            valid,
            manners,
            stage,
        )
        self.mean, self.factor = reading.moments(data.inputs, train)
        self.unit = _unit(data, train)
        torch.manual_seed(_number(manners.seed, stage, 0))
        self.network = Network(architecture, data.inputs.width, data.outputs)
        self.optimizer = torch.optim.AdamW(
            self.network.modules.parameters(), lr=manners.rate, weight_decay=manners.decay
        )
        self.loss = _loss(data, train, manners.balance)
        self.metric = (
            "r2" if data.kind == "regression" else "balanced_accuracy" if manners.balance else "f1"
        )
        self.state: State = {
            "epoch": 0,
            "rate": manners.rate,
            "best": [],
            "best_epoch": 0,
            "history": [],
            "stopped": "",
        }
        self.best: State = {}

    def epoch(self) -> None:
        """Learn once from every training example, judge, and decide how to go on."""
        self.state["epoch"] += 1
        train_loss = self._learn()
        score, valid_loss = self._judge() if math.isfinite(train_loss) else (math.nan, math.nan)
        entry = {
            "stage": self.stage,
            "epoch": self.state["epoch"],
            "metric": self.metric,
            "score": _number_or_none(score),
            "train_loss": _number_or_none(train_loss),
            "valid_loss": _number_or_none(valid_loss),
            "rate": self.state["rate"],
        }
        self.state["history"].append(entry)
        if not math.isfinite(train_loss) or not math.isfinite(valid_loss):
            self._give_up(train_loss)
        else:
            self._decide([score if math.isfinite(score) else -math.inf, -valid_loss])

    def saved(self) -> State:
        """All that a later process needs to go on."""
        done = bool(self.state["stopped"])
        return {
            "state": self.state,
            "best": self.best,
            "weights": {} if done else _copy(self.network),
            "optimizer": {} if done else self.optimizer.state_dict(),
        }

    def restore(self, saved: State) -> None:
        """Go on from what `saved` gave."""
        self.state, self.best = saved["state"], saved["best"]
        if not self.state["stopped"]:
            self.network.modules.load_state_dict(saved["weights"])
            self.optimizer.load_state_dict(saved["optimizer"])

    def result(self) -> Trained:
        """The best epoch's network."""
        self.network.modules.load_state_dict(self.best)
        self.network.modules.eval()
        return Trained(
            self.network,
            self.mean,
            self.factor,
            self.unit,
            self.state["history"],
            self.state["best_epoch"],
            self.state["stopped"],
        )

    def _learn(self) -> float:
        """One epoch; the mean loss, not finite where it had to be broken off."""
        import torch

        torch.manual_seed(_number(self.manners.seed, self.stage, self.state["epoch"]))
        self.network.modules.train()
        total = 0.0
        order = self.train[torch.randperm(len(self.train)).numpy()]
        for places in np.array_split(order, -(-len(order) // self.manners.batch)):
            loss = self.loss(*self._batch(places))
            if not torch.isfinite(loss):
                return float(loss.detach())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.modules.parameters(), _CLIP)
            self.optimizer.step()
            total += loss.item() * len(places)
        return total / len(order)

    def _judge(self) -> tuple[float, float]:
        """The metric that is watched and the loss, on the whole validation set in its order, without dropout."""
        import torch

        self.network.modules.eval()
        with torch.no_grad():
            parts = [
                self._batch(self.valid[i : i + _JUDGED]) for i in range(0, len(self.valid), _JUDGED)
            ]
            logits, y = (torch.cat(part) for part in zip(*parts, strict=True))
            loss = float(self.loss(logits, y))
        return _score(self.metric, y.numpy(), logits.numpy()), loss

    def _batch(self, places: Array) -> tuple[Tensor, Tensor]:
        import torch

        x = pack(self.data.inputs.take(places), self.mean, self.factor)
        return self.network(x), torch.from_numpy(_scaled(self.data, places, self.unit))

    def _decide(self, reached: list[float]) -> None:
        """Keep the best, cool down on a plateau, stop when nothing helps."""
        state, manners = self.state, self.manners
        if not state["best"] or reached > state["best"]:
            state["best"], state["best_epoch"] = reached, state["epoch"]
            self.best = _copy(self.network)
        since = state["epoch"] - state["best_epoch"]
        if since and since % manners.cooling == 0:
            state["rate"] /= 2
            for group in self.optimizer.param_groups:
                group["lr"] = state["rate"]
        if since >= manners.patience:
            state["stopped"] = f"no better for {since} epochs"
        elif state["epoch"] >= manners.epochs:
            state["stopped"] = f"all {manners.epochs} epochs done"

    def _give_up(self, loss: float) -> None:
        """Stop where the loss is no number any more, with the best epoch before; without one, raise."""
        reason = f"the loss was {loss if not math.isfinite(loss) else 'not finite in validation'}"
        if not self.best:
            raise UsageError(
                "the training came to nothing",
                f"epoch {self.state['epoch']}",
                "a finite loss",
                reason,
                f"Learn more slowly: --rate {self.manners.rate / 10:g}",
            )
        self.state["stopped"] = f"{reason} in epoch {self.state['epoch']}"


def _loss(data: Data, train: Array, balance: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean loss of logits [n, K] for what is true, classes weighed where asked for."""
    import torch
    from torch.nn import functional

    y = data.y[train]
    if data.kind == "regression":
        return lambda logits, true: functional.mse_loss(logits[:, 0], true)
    if data.kind == "category":
        weights = torch.from_numpy(class_weights(y, data.outputs)) if balance else None
        # torch's own weighted mean divides by the batch's weights: where a batch lacks a class, that undoes them.
        return lambda logits, true: (
            functional.cross_entropy(logits, true, weight=weights, reduction="sum") / len(true)
        )
    positive = torch.from_numpy(flag_weights(y)) if balance else None
    return lambda logits, true: functional.binary_cross_entropy_with_logits(
        logits, true, pos_weight=positive
    )


def class_weights(y: Array, count: int) -> Array:
    """Weights float32 [C], so that each class that occurs weighs the same in all, and rows weigh 1 on average.

    >>> class_weights(np.array([0, 0, 0, 1]), 2).round(3)
    array([0.667, 2.   ], dtype=float32)
    """
    met = np.bincount(y, minlength=count)
    weights = np.divide(len(y) / (met > 0).sum(), met, out=np.zeros(count), where=met > 0)
    return np.asarray(weights, np.float32)


def flag_weights(y: Array) -> Array:
    """What a flag that is set weighs, float32 [C], so that it counts as much as all where it is not.

    >>> flag_weights(np.array([[True], [False], [False]]))
    array([2.], dtype=float32)
    """
    met = y.sum(axis=0)
    return np.asarray(
        np.divide(len(y) - met, met, out=np.ones(y.shape[1]), where=met > 0), np.float32
    )


def _unit(data: Data, train: Array) -> tuple[float, float]:
    """Mean and standard deviation of a regression target in training: it is learned in these units."""
    if data.kind != "regression":
        return 0.0, 1.0
    return float(data.y[train].mean()), float(data.y[train].std()) or 1.0


def _scaled(data: Data, places: Array, unit: tuple[float, float]) -> Array:
    y = data.y[places]
    if data.kind == "category":
        return y
    return (
        ((y - unit[0]) / unit[1]).astype(np.float32)
        if data.kind == "regression"
        else y.astype(np.float32)
    )


def _score(metric: str, true: Array, logits: Array) -> float:
    """A metric of logits [n, K] for what is true: codes [n], flags as numbers [n, C], or scaled values [n]."""
    whole, function = np.ones((1, len(true))), getattr(metrics, metric)
    if metric == "r2":
        return float(function(true.astype(np.float64), logits[:, 0].astype(np.float64), whole)[0])
    if true.ndim == 1:
        return float(function(true, logits.argmax(axis=1), whole)[0])
    return float(function(true >= 0.5, logits >= 0, whole)[0])


def _number(seed: int, stage: str, epoch: int) -> int:
    """The seed of one epoch of one stage."""
    digest = hashlib.blake2b(f"{seed}/{stage}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _copy(network: Network) -> State:
    return {name: value.detach().clone() for name, value in network.modules.state_dict().items()}


def _number_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Checkpoint:
    """The states of a training's stages, in a file that belongs to one `identity` of data and options.

    A file of another identity, or one that cannot be read, is not used. It is written at most every `every` seconds,
    and when a stage is done; `heard` gets the entries of all epochs so far each time. Without a path nothing is kept.
    """

    def __init__(
        self,
        path: Path | None,
        identity: str,
        *,
        every: float = 5.0,
        heard: Callable[[Sequence[Mapping[str, Any]]], None] = lambda entries: None,
    ) -> None:
        self.path, self.identity, self.every, self.heard = path, identity, every, heard
        self.stages: State = _load(path, identity) if path else {}
        self._last = time.monotonic()

    def stage(self, name: str) -> State | None:
        """The state that a stage was in, if it had begun."""
        return self.stages.get(name)

    def save(self, stage: str, state: State, *, now: bool) -> None:
        """Keep a stage's state; on disk `now`, or when it is time."""
        self.stages[stage] = state
        if now or time.monotonic() - self._last >= self.every:
            self._write()
            self._last = time.monotonic()

    def finish(self) -> None:
        """All is done: tell the whole course, and take the file away."""
        self.heard(self.history)
        if self.path:
            with suppress(FileNotFoundError):
                self.path.unlink()

    @property
    def history(self) -> list[Mapping[str, Any]]:
        """The entries of all epochs so far."""
        return [entry for stage in self.stages.values() for entry in stage["state"]["history"]]

    def _write(self) -> None:
        import torch

        if self.path:
            held = io.BytesIO()
            torch.save({"identity": self.identity, "stages": self.stages}, held)
            data = held.getvalue()
            with replacing(self.path, overwrite=True, mode=owned.FILE) as file:
                file.write(hashlib.sha256(data).digest(), data)
        self.heard(self.history)


def _load(path: Path, identity: str) -> State:
    """The stages in a checkpoint file; none of another training's, or of a damaged one.

    Raises OutputError where the file is not ours: whoever wrote it would say what weights come out.
    """
    import torch

    with explained(path):
        data = _undamaged(path)
    try:
        # Tensors and plain values only: nothing in it can run.
        found = torch.load(io.BytesIO(data), weights_only=True)
        return found["stages"] if found["identity"] == identity else {}
    except (
        Exception
    ):  # torch raises whatever its parts raise; a checkpoint that cannot be read is none
        return {}


def _undamaged(path: Path) -> bytes:
    """The bytes of a checkpoint, behind their digest; none where they are damaged or not there."""
    with suppress(FileNotFoundError):
        known = owned.read(path)
        digest, data = known[:_DIGEST], known[_DIGEST:]
        if hashlib.sha256(data).digest() == digest:
            return data
    return b""


def lines(entries: Sequence[Entry]) -> str:
    """An entry a line.

    >>> lines([{"epoch": 1, "loss": 0.5}])
    '{"epoch": 1, "loss": 0.5}\\n'
    """
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Write `path` as JSON lines and, beside it, the same as an SVG picture; what stood there is replaced."""
    for file, text in ((path, lines(entries)), (path.with_suffix(".svg"), svg(entries))):
        with replacing(file, overwrite=True) as out:
            out.write(text.encode())


def svg(entries: Sequence[Entry]) -> str:
    """Two plots over the epochs, one stage a colour: the validation metric, and the losses (training's dashed)."""
    stages = list(dict.fromkeys(str(entry["stage"]) for entry in entries))
    colours = {stage: _COLOURS[i % len(_COLOURS)] for i, stage in enumerate(stages)}
    watched = str(entries[0]["metric"]) if entries else "metric"
    body = _plot(entries, colours, [("score", "")], f"validation {watched}", 0)
    body += _plot(
        entries,
        colours,
        [("valid_loss", ""), ("train_loss", ' stroke-dasharray="4 3"')],
        "loss: validation, training (dashed)",
        _HEIGHT + 2 * _TOP,
    )
    height = 2 * (_HEIGHT + 2 * _TOP)
    legend = "".join(
        f'<text x="{_LEFT + _WIDTH + 12}" y="{_TOP + 14 * (i + 1)}" fill="{colours[stage]}">'
        f"{escape(stage)}</text>"
        for i, stage in enumerate(stages[:20])
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 100} {height}" '
        f'font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{body}{legend}</svg>\n'
    )


def _plot(
    entries: Sequence[Entry],
    colours: Mapping[str, str],
    curves: Sequence[tuple[str, str]],
    title: str,
    top: int,
) -> str:
    values = [entry[name] for name, _ in curves for entry in entries if entry[name] is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    high = high if high > low else low + 1.0
    last = max((entry["epoch"] for entry in entries), default=1)
    drawn = "".join(
        _curve(entries, stage, name, style, colour, (low, high, last), top)
        for stage, colour in colours.items()
        for name, style in curves
    )
    return _frame(title, low, high, last, top) + drawn


def _curve(
    entries: Sequence[Entry],
    stage: str,
    name: str,
    style: str,
    colour: str,
    span: tuple[float, float, int],
    top: int,
) -> str:
    low, high, last = span
    points = [
        (
            _LEFT + _WIDTH * (entry["epoch"] - 1) / max(last - 1, 1),
            top + _TOP + _HEIGHT * (1 - (entry[name] - low) / (high - low)),
        )
        for entry in entries
        if str(entry["stage"]) == stage and entry[name] is not None
    ]
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="1.5"{style}/>'


def _frame(title: str, low: float, high: float, last: int, top: int) -> str:
    bottom = top + _TOP + _HEIGHT
    return (
        f'<rect x="{_LEFT}" y="{top + _TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#bbb"/>'
        f'<text x="{_LEFT}" y="{top + _TOP - 8}">{escape(title)}</text>'
        f'<text x="{_LEFT - 6}" y="{top + _TOP + 10}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{_LEFT + _WIDTH}" y="{bottom + 16}" text-anchor="end">epoch {last}</text>'
    )
