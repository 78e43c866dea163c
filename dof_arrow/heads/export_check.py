"""Whether a head says what the model says that it was made of: on usual rows, and far beyond."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, DofError, UsageError
from dof_arrow.heads import layers
from dof_arrow.heads.exported import Exported, clips
from dof_arrow.heads.layers import Step
from dof_arrow.heads.probes import BATCH, OF_THE_DATASET, moved, probes

Array = NDArray[Any]
Says = Callable[[Array], Array]

TOLERANCE = 1e-5  # of the size of an answer; chances and logits count as 1 at least
_EXACT = 1e-6  # of trees: that much is float32
_ROUNDING = 8  # how many times what the last digits of the inputs change
_DRAWS = 8  # of such changes: a few may all be rounded to the same answer
_FRAMES = 8  # of a clip
_ALONE = 12  # rows that are also tried alone, and in pairs
_MAX = float(np.finfo(np.float32).max)
_HINT = "Convert the model to ONNX with its framework's own tool, and compare that on such rows"


@dataclass(frozen=True, slots=True)
class _Compared:
    """How far answers may differ: the least size that an answer counts as, and how it is told."""

    says: Says
    least: float
    exact: bool

    def allowed(self, rows: Array, theirs: Array) -> Array:
        """The largest allowed difference, float64 [n, 1]."""
        sizes = np.abs(theirs).max(axis=1, keepdims=True)
        relative = np.maximum(sizes, self.least)
        if self.exact:
            return np.asarray(_EXACT * relative)
        change = np.zeros_like(sizes)
        with np.errstate(all="ignore"):
            for seed in range(_DRAWS):
                near = np.abs(self.says(moved(rows, seed)) - theirs).max(axis=1, keepdims=True)
                change = np.maximum(change, np.nan_to_num(near, posinf=0))
        return np.asarray(TOLERANCE * relative + _ROUNDING * change)


def runner(steps: Sequence[Step], kind: str, width: int, double: bool) -> Says:
    """The steps as ONNX, as a function from rows or clips to answers [n, K]."""
    made = layers.to_model(steps, kind, width, "C", double=double)
    session = graph.session(graph.to_bytes(made))

    def run(rows: Array) -> Array:
        return np.asarray(graph.run(session, {"feature": rows})[0])

    return run


def model_answers(found: Exported) -> Says:
    """The model itself as such a function; a DofError says why it cannot be run."""
    says = found.says
    assert says is not None

    def run(rows: Array) -> Array:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # the framework's own
                said = says(rows)
        except DofError:
            raise
        except Exception as error:  # whatever the model raises
            batch = "a batch of one row" if len(rows) == 1 else f"a batch of {len(rows)} rows"
            raise CoreError(
                f"the model cannot be run on {batch}",
                found.framework,
                f"answers to features {list(rows.shape)}",
                f"{type(error).__name__}: {graph.first_line(error)}",
            ) from error
        return _as_matrix(said, len(rows), found.framework)

    return run


def _as_matrix(said: Any, count: int, framework: str) -> Array:
    """Answers as float64 [n, K]; UsageError for several tensors or another number of rows."""
    if isinstance(said, (tuple, list, dict)):
        raise UsageError(
            f"a {framework} model that cannot be exported",
            expected="one tensor of answers, a row for each row of features",
            found=f"{type(said).__name__} of {len(said)} outputs",
            hint="Wrap the model so that it gives only the one for the target",
        )
    array = np.asarray(said, np.float64)
    if array.size == 0 or array.size % count or (array.ndim > 1 and len(array) != count):
        raise UsageError(
            f"a {framework} model that cannot be exported",
            expected=f"an answer for each of {count} rows",
            found=f"answers of shape {list(array.shape)}",
        )
    return array.reshape(count, -1)


def check_same(found: Exported, steps: Sequence[Step], kind: str, rows: Array) -> None:
    """Raise CoreError where the steps do not give what the model gives.

    `rows` float32 [n, D] are of the dataset.
    """
    if found.says is None:
        return
    timed = layers.timed(steps)
    theirs = model_answers(found)
    groups = dict(_groups(rows, found.edges, timed))
    usual = groups[OF_THE_DATASET]
    first = theirs(usual)
    least = 1.0 if kind != "regression" else _typical(first)
    _check_runs(theirs, usual, first, least)
    compared = _Compared(theirs, least, found.edges is not None)
    allowed = compared.allowed(usual, first)[:_ALONE]
    _check_alone(theirs, usual, first, allowed)
    ours = runner(steps, kind, rows.shape[1], found.double)
    for name, group in groups.items():
        _check_group(_title(found), compared, ours, name, group)
    _check_batches(_title(found), ours, usual, first[:_ALONE], allowed)


def _title(found: Exported) -> str:
    """The framework and the model, for messages."""
    return f"{found.framework} {found.name or 'model'}"


def _groups(rows: Array, edges: Array | None, timed: bool) -> Iterator[tuple[str, Array]]:
    for name, group in probes(rows, edges).items():
        yield name, clips(group, min(_FRAMES, len(group))) if timed else group
    if timed:
        yield "clips of one frame", clips(rows[:BATCH], 1)


def _typical(answers: Array) -> float:
    """The size of a usual number that a model gives."""
    return float(np.median(np.abs(answers))) or 1e-30


def _check_runs(says: Says, rows: Array, first: Array, least: float) -> None:
    """Raise CoreError if a model's answers change from run to run."""
    apart = float(_difference(first, says(rows)).max())
    largest = np.abs(first[np.isfinite(first)]).max(initial=least)
    if apart > TOLERANCE * largest:
        raise CoreError(
            "the model's answers differ from run to run",
            expected="equal answers to equal rows",
            found=f"up to {apart:.3g} apart",
            hint="Something random is left on, such as dropout: give it training=self.training",
        )


def _check_alone(says: Says, rows: Array, first: Array, allowed: Array) -> None:
    """Raise CoreError if a model's answer to a row depends on its batch."""
    for size in (1, 2):
        apart = _difference(first[:_ALONE], _parted(says, rows[:_ALONE], size))
        if (apart > allowed).any():
            raise CoreError(
                "the model's answer to a row depends on the other rows of its batch",
                expected=f"the same in batches of {size} and of {len(rows)}",
                found=f"up to {apart.max():.3g} apart",
                hint="Look for a softmax over the batch (dim=0, axis=0), or batch statistics",
            )


def _parted(says: Says, rows: Array, size: int) -> Array:
    """The answers to rows in batches of a size."""
    starts = range(0, len(rows), size)
    return np.concatenate([np.asarray(says(rows[start : start + size])) for start in starts])


def _check_group(title: str, compared: _Compared, ours: Says, name: str, group: Array) -> None:
    try:
        theirs = compared.says(group)
    except CoreError:
        if name == OF_THE_DATASET:
            raise
        return  # the model itself refuses such rows
    found = ours(group)
    if found.shape != theirs.shape:
        raise _differs(title, name, str(list(theirs.shape)), str(list(found.shape)))
    apart = _difference(theirs, found)
    beyond = apart - compared.allowed(group, theirs)
    if (beyond > 0).any():
        row, column = np.unravel_index(beyond.argmax(), beyond.shape)
        text = f"{name}, output {column}"
        said = theirs[row, column], found[row, column]
        raise _differs(title, text, *(f"{value:.7g}" for value in said))


def _check_batches(title: str, ours: Says, rows: Array, theirs: Array, allowed: Array) -> None:
    """Raise CoreError where the head's answers change with the size of the batch."""
    for size in (1, 2):
        parted = _parted(ours, rows[:_ALONE], size)
        same = parted.shape == theirs.shape
        if not same or (_difference(theirs, parted) > allowed).any():
            raise _differs(title, f"batches of {size}", f"answers {list(theirs.shape)}", "others")


def _difference(theirs: Array, ours: Array) -> Array:
    """How far answers are apart, float64 [n, K]; 0 where the model's are no float32 numbers."""
    with np.errstate(all="ignore"):
        apart = np.abs(theirs - ours)
        known = np.abs(theirs) < _MAX  # not for NaN either
    return np.where(known, np.nan_to_num(apart, nan=np.inf), 0.0)


def _differs(title: str, where: str, theirs: str, ours: str) -> CoreError:
    return CoreError(
        "the ONNX head differs from the model",
        f"{title}, on {where}",
        f"{theirs}, as the model says",
        ours,
        _HINT,
    )
