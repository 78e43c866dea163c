"""Train a network: judge every epoch on the whole validation set, keep the best, stop in time.

All randomness of an epoch follows from (seed, stage, epoch). So a training that was killed and goes
on from its checkpoint ends with the weights it would have had. Needs the extra `torch`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError, check_truth, whole_number
from dof_arrow.heads import metrics
from dof_arrow.heads.architecture import Architecture
from dof_arrow.heads.checkpoint import Checkpoint, State
from dof_arrow.heads.features import Examples, moments
from dof_arrow.heads.losses import loss_of
from dof_arrow.heads.network import Network, pack, repeatable

Array = NDArray[Any]
Tensor = Any

_LONGEST_GRADIENT = 5.0  # longer ones are shortened: those of recurrent layers can explode
_JUDGED = 1024  # examples in a batch that nothing is learned from
NO_SCALING = (0.0, 1.0)  # mean and standard deviation of a target that is not scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How a network is trained.

    Training stops after `epochs`, or after `patience` epochs without a better validation score;
    after each `cooling` of them the learning `rate` is halved. `batch` is in examples, `decay` the
    weight decay of AdamW. `balance` weighs classes by the inverse of their frequency in training,
    and selects by balanced accuracy.
    """

    epochs: int = 200
    batch: int = 64
    rate: float = 1e-3
    decay: float = 1e-3
    patience: int = 20
    cooling: int = 7
    balance: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse, by UsageError, what no training can be done with."""
        check_truth("balance", self.balance)
        for name in ("epochs", "batch", "patience", "cooling", "seed"):
            lowest = 0 if name == "seed" else 1
            if whole_number(name, getattr(self, name)) < lowest:
                raise _impossible(name, f"{lowest} or more", getattr(self, name))
        if not (_is_number(self.rate) and 0 < self.rate < math.inf):
            raise _impossible("rate", "a number above 0", self.rate)
        if not (_is_number(self.decay) and 0 <= self.decay < math.inf):
            raise _impossible("decay", "a number of 0 or more", self.decay)


@dataclass(frozen=True, slots=True)
class Data:
    """What is learned: the kind of target, the number of outputs, the examples, their labels.

    `y` are codes int [n] counted from 0, flags bool [n, C] or values float [n].
    """

    kind: str
    outputs: int
    inputs: Examples
    y: Array


@dataclass(frozen=True, slots=True)
class Trained:
    """A network with its best weights, and how its training went.

    It takes (features - mean) * factor, float32 [D] each. `unit` is the mean and the standard
    deviation in which a regression target was learned.
    """

    network: Network
    mean: Array
    factor: Array
    unit: tuple[float, float]
    history: list[State]
    best_epoch: int
    stopped: str


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _impossible(name: str, expected: str, found: object) -> UsageError:
    return UsageError("an option of training that cannot be", name, expected, repr(found)[:80])


def _ignore_epoch(epoch: int) -> None:
    """A hook that does nothing."""


def fit(
    architecture: Architecture,
    data: Data,
    train: Array,
    valid: Array,
    options: TrainingOptions,
    *,
    stage: str = "all",
    checkpoint: Checkpoint | None = None,
    told: Callable[[int], None] = _ignore_epoch,
) -> Trained:
    """Train on the examples at `train` and keep the epoch that is best on those at `valid`.

    `told` is called with the number of each epoch done. Equal arguments give equal weights, also if
    the training went on from a checkpoint. Raises UsageError if no epoch ends with finite numbers.
    """
    with repeatable():
        run = _TrainingRun(architecture, data, train, valid, options, stage)
        saved = checkpoint.stage(stage) if checkpoint else None
        if saved:
            run.restore(saved)
        while not run.state["stopped"]:
            run.epoch()
            told(run.state["epoch"])
            if checkpoint:
                done = bool(run.state["stopped"])
                checkpoint.save(stage, run.saved(), now=done)
        return run.result()


class _TrainingRun:
    """One training under way; `state` is what a checkpoint keeps of it besides weights."""

    def __init__(
        self,
        architecture: Architecture,
        data: Data,
        train: Array,
        valid: Array,
        options: TrainingOptions,
        stage: str,
    ) -> None:
        import torch

        self.data = data
        self.train = train
        self.valid = valid
        self.options = options
        self.stage = stage
        self.mean, self.factor = moments(data.inputs, train)
        self.unit = _unit(data, train)
        torch.manual_seed(_seed(options.seed, stage, 0))  # for the first weights
        self.network = Network(architecture, data.inputs.width, data.outputs)
        self.optimizer = torch.optim.AdamW(
            self.network.modules.parameters(), lr=options.rate, weight_decay=options.decay
        )
        labels = data.y[train]
        self.loss = loss_of(data.kind, labels, data.outputs, options.balance)
        self.metric = _watched_metric(data.kind, options.balance)
        self.best: State = {}
        self.state: State = {
            "epoch": 0,
            "rate": options.rate,
            "best": [],
            "best_epoch": 0,
            "history": [],
            "stopped": "",
        }

    def epoch(self) -> None:
        """Learn once from every training example, judge, and decide how to go on."""
        self.state["epoch"] += 1
        train_loss = self._learn()
        score = valid_loss = math.nan
        if math.isfinite(train_loss):
            score, valid_loss = self._judge()
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
            return
        # R2 of a constant validation set is no number: then the loss alone decides.
        comparable = score if math.isfinite(score) else -math.inf
        self._decide([comparable, -valid_loss])

    def saved(self) -> State:
        """All that a later process needs to go on; of a training that is done, only the best."""
        done = bool(self.state["stopped"])
        return {
            "state": self.state,
            "best": self.best,
            "weights": {} if done else _copy(self.network),
            "optimizer": {} if done else self.optimizer.state_dict(),
        }

    def restore(self, saved: State) -> None:
        """Go on from what `saved` gave."""
        self.state = saved["state"]
        self.best = saved["best"]
        if not self.state["stopped"]:
            self.network.modules.load_state_dict(saved["weights"])
            self.optimizer.load_state_dict(saved["optimizer"])

    def result(self) -> Trained:
        """The network of the best epoch."""
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
        """Train for one epoch; gives the mean loss, and breaks off at a loss that is not finite."""
        import torch

        seed = _seed(self.options.seed, self.stage, self.state["epoch"])
        torch.manual_seed(seed)
        self.network.modules.train()
        shuffled = torch.randperm(len(self.train))
        order = self.train[shuffled.numpy()]
        batches = -(-len(order) // self.options.batch)  # rounded up; none is nearly empty
        total = 0.0
        for places in np.array_split(order, batches):
            loss = self.loss(*self._batch(places))
            if not torch.isfinite(loss):
                return float(loss.detach())
            self.optimizer.zero_grad(set_to_none=True)  # faster than writing zeros
            loss.backward()
            parameters = self.network.modules.parameters()
            torch.nn.utils.clip_grad_norm_(parameters, _LONGEST_GRADIENT)
            self.optimizer.step()
            total += loss.item() * len(places)
        return total / len(order)

    def _judge(self) -> tuple[float, float]:
        """The watched metric and the loss on the whole validation set, without dropout."""
        import torch

        self.network.modules.eval()
        all_logits, all_true = [], []
        with torch.no_grad():
            for start in range(0, len(self.valid), _JUDGED):
                places = self.valid[start : start + _JUDGED]
                logits, true = self._batch(places)
                all_logits.append(logits)
                all_true.append(true)
            logits = torch.cat(all_logits)
            true = torch.cat(all_true)
            loss = float(self.loss(logits, true))
        score = _score(self.metric, true.numpy(), logits.numpy())
        return score, loss

    def _batch(self, places: Array) -> tuple[Tensor, Tensor]:
        """Logits of the examples at `places`, and their labels."""
        import torch

        data = self.data
        features = data.inputs.take(places)
        standard = pack(features, self.mean, self.factor)
        labels = _scaled(data.kind, data.y[places], self.unit)
        return self.network(standard), torch.from_numpy(labels)

    def _decide(self, reached: list[float]) -> None:
        """Keep the best, cool down on a plateau, stop when nothing helps.

        `reached` is compared as a list: the score, and the loss where scores are equal.
        """
        state, options = self.state, self.options
        if not state["best"] or reached > state["best"]:
            state["best"] = reached
            state["best_epoch"] = state["epoch"]
            self.best = _copy(self.network)
        since = state["epoch"] - state["best_epoch"]
        if since and since % options.cooling == 0:
            self._halve_rate()
        if since >= options.patience:
            state["stopped"] = f"no better for {since} epochs"
        elif state["epoch"] >= options.epochs:
            state["stopped"] = f"all {options.epochs} epochs done"

    def _halve_rate(self) -> None:
        self.state["rate"] /= 2
        for group in self.optimizer.param_groups:
            group["lr"] = self.state["rate"]

    def _give_up(self, loss: float) -> None:
        """Stop at a loss that is not finite and keep the best epoch so far; without one, raise."""
        spoken = "not finite in validation" if math.isfinite(loss) else loss
        reason = f"the loss was {spoken}"
        epoch = self.state["epoch"]
        if not self.best:
            raise UsageError(
                "the training came to nothing",
                f"epoch {epoch}",
                "a finite loss",
                reason,
                f"Learn more slowly: --rate {self.options.rate / 10:g}",
            )
        self.state["stopped"] = f"{reason} in epoch {epoch}"


def _watched_metric(kind: str, balance: bool) -> str:
    """The metric that tells which epoch is best."""
    if kind == "regression":
        return "r2"
    return "balanced_accuracy" if balance else "f1"


def _unit(data: Data, train: Array) -> tuple[float, float]:
    """Mean and standard deviation of a regression target: it is learned in these units."""
    if data.kind != "regression":
        return NO_SCALING
    values = data.y[train]
    deviation = float(values.std()) or 1.0
    return float(values.mean()), deviation


def _scaled(kind: str, labels: Array, unit: tuple[float, float]) -> Array:
    """Labels as the loss takes them: codes as they are, flags and values as float32."""
    if kind == "category":
        return labels
    if kind == "regression":
        mean, deviation = unit
        labels = (labels - mean) / deviation
    return labels.astype(np.float32)


def _score(metric: str, true: Array, logits: Array) -> float:
    """A metric of logits [n, K], given codes [n], flags as numbers [n, C] or scaled values [n]."""
    if metric == "r2":
        true = true.astype(np.float64)
        predicted: Array = logits[:, 0].astype(np.float64)
    elif true.ndim == 1:
        predicted = logits.argmax(axis=1)
    else:
        true = true >= 0.5
        predicted = logits >= 0
    weights = np.ones((1, len(true)))
    scores = getattr(metrics, metric)(true, predicted, weights)
    return float(scores[0])


def _seed(seed: int, stage: str, epoch: int) -> int:
    """The seed of one epoch of one stage, an integer of 63 bits."""
    name = f"{seed}/{stage}/{epoch}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _copy(network: Network) -> State:
    weights = network.modules.state_dict()
    return {name: value.detach().clone() for name, value in weights.items()}


def _number_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
