"""Batches in the form of Keras, tf.data and JAX, without a copy where the framework allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dof_arrow.errors import UsageError, refuse_unknown, require
from dof_arrow.loader.padded import Padded
from dof_arrow.tables.tensor_values import as_jax

if TYPE_CHECKING:
    from dof_arrow.loader.clip_loader import ClipLoader
    from dof_arrow.loader.epoch_state import Resumable

_NUMBERS = "biuf"  # kinds of numpy arrays that are tensors; texts and times are not


def keras_batches(loader: Resumable, options: Mapping[str, Any]) -> Any:
    """A Keras 3 `PyDataset` for `model.fit` with any backend.

    Keras asks for batches by number, and mixes the numbers unless told `shuffle=False`. Here each
    pass of Keras is a pass of the loader and takes its batches in the loader's order, whatever
    their numbers: so the seed alone decides, epochs of fewer `steps_per_epoch` go on where the one
    before stopped, and one dataset may train and validate (on the TensorFlow backend, which reads
    ahead, not in such shorter epochs: that is refused). `workers` is how many threads make
    batches ahead, by default as the loader's options say; Keras starts no threads or processes of
    its own. To train on with `initial_epoch=N`, call `set_epoch(N)`.

    With `columns=`, inputs are a dict of the features, under the name of their column, and the
    columns. Clips come with `lengths` as an input beside them. Raises UsageError for columns of
    texts, for options that a PyDataset has not, and, when a pass begins, for a loader that stands
    in the middle of an epoch: Keras knows whole epochs only.
    """
    refuse_unknown(options, ("workers", "use_multiprocessing", "max_queue_size"), "to_keras")
    _refuse_texts(loader)
    return _keras_class()(loader, options.get("workers"))


@cache
def _keras_class() -> type:
    keras = require("keras", extra="keras")

    class KerasBatches(keras.utils.PyDataset):  # type: ignore[misc,name-defined]
        """Batches of a loader, pass by pass.

        Keras begins a pass by asking for `num_batches`. It may leave one unfinished and begin
        another (validation, between epochs of few steps), and then goes on with the first.
        """

        def __init__(self, loader: Resumable, threads: int | None) -> None:
            super().__init__()
            self.loader = loader
            self._threads = threads
            self._unfinished: list[_KerasPass] = []
            self._newest: _KerasPass | None = None  # begun since `on_epoch_begin`
            self._in_epoch = False
            self._asked = False

        def __reduce__(self) -> tuple[Any, ...]:
            options = {} if self._threads is None else {"workers": self._threads}
            return keras_batches, (self.loader, options)

        def __len__(self) -> int:
            return len(self.loader)

        # With workers of its own Keras would read ahead beyond the end of an epoch, and mix the
        # batches of two.
        @property
        def workers(self) -> int:
            """One: the threads are the loader's."""
            return 1

        @property
        def use_multiprocessing(self) -> bool:
            """No: the threads are the loader's."""
            return False

        @property
        def num_batches(self) -> int:
            """Batches in a pass. Keras asks for it before it begins one."""
            self._asked = True
            return len(self.loader)

        def __getitem__(self, index: int) -> Any:
            if self._in_epoch and self._asked:
                if self._unfinished and keras.backend.backend() == "tensorflow":
                    raise _read_ahead(self.loader)
                self._newest = _KerasPass(self.loader, self._threads)
                self._unfinished.append(self._newest)
            self._asked = False
            if not self._unfinished:
                return _with_inputs(self.loader, self.loader.batch(index))
            batch = self._unfinished[-1].next()
            if not self._unfinished[-1].left:
                self._unfinished.pop()
            return _with_inputs(self.loader, batch)

        def set_epoch(self, epoch: int) -> None:
            """Choose the epoch that the next pass gives: the `initial_epoch` of `fit`, say."""
            self._unfinished.clear()
            self.loader.set_epoch(epoch)

        def on_epoch_begin(self) -> None:
            """Keras calls this."""
            self._in_epoch = True
            # Where a pass begins in this epoch, Keras asks again before its first batch.
            self._asked = False
            self._newest = None

        def on_epoch_end(self) -> None:
            """Keras calls this after each epoch, and after it has looked at a first batch."""
            newest = self._newest
            if self._in_epoch and self._asked and newest in self._unfinished:
                # It asks for `num_batches` once more where it throws the pass away.
                self._unfinished.remove(newest)
                newest.undo()
            self._in_epoch = False

    return KerasBatches


def _read_ahead(loader: Resumable) -> UsageError:
    """The error for two passes at once where Keras reads ahead: each would take batches of both."""
    return UsageError(
        "one pass is not over and another begins, which TensorFlow reads ahead of",
        str(loader.source.path),
        "passes one after the other",
        "steps_per_epoch below the number of batches, and the same dataset for validation",
        "Give validation_data a loader of its own, or leave out steps_per_epoch; "
        "after a fit that was broken off, call set_epoch(N).",
    )


class _KerasPass:
    """A pass over an epoch that Keras has begun."""

    def __init__(self, loader: Resumable, threads: int | None) -> None:
        self._loader = loader
        self._before = loader.next_place()
        epoch, consumed = self._before
        if consumed:
            raise UsageError(
                "Keras knows whole epochs only",
                str(loader.source.path),
                "a loader at the start of an epoch",
                f"one that has used up {consumed} of {loader.length} {loader.unit}",
                f"Begin the epoch anew: set_epoch({epoch}).",
            )
        self._batches = loader.owned_batches(threads=threads)
        self.left = len(loader)

    def next(self) -> Any:
        """The next batch."""
        self.left -= 1
        return next(self._batches)

    def undo(self) -> None:
        """The pass has not been: the next one begins where it began."""
        self._loader.load_place(*self._before)


def tf_batches(loader: Resumable) -> Any:
    """A `tf.data.Dataset` of batches, one pass each time it is iterated, with known shapes and
    types.

    Raises UsageError for columns of texts.
    """
    _refuse_texts(loader)
    tensorflow = require("tensorflow", extra="keras")
    first = loader.batch(0)  # what it is made of says what all are
    sample = _with_inputs(loader, first)
    feature_axes = 1 + len(loader.source.row_shape(loader.options.feature))
    if loader.unit == "clips":
        feature_axes += 1
    is_padded = isinstance(_parts(first)[0], Padded)

    def spec(values: np.ndarray) -> Any:
        # Batches differ in rows; those of padded clips in their longest clip too.
        free = 2 if is_padded and values.ndim == feature_axes else 1
        return tensorflow.TensorSpec((*[None] * free, *values.shape[free:]), values.dtype)

    def batches() -> Iterator[Any]:
        return (_with_inputs(loader, batch) for batch in loader.owned_batches())

    return _tf_dataset(loader, batches, converted(sample, spec))


def tf_clips(loader: ClipLoader) -> Any:
    """The same of clips, with ragged tensors [k, None, *shape] in place of (features, lengths)."""
    _refuse_texts(loader)
    tensorflow = require("tensorflow", extra="keras")
    shape = loader.source.row_shape(loader.options.feature)

    def ragged(padded: Padded) -> Any:
        steps = padded.features[padded.mask]
        return tensorflow.RaggedTensor.from_row_lengths(steps, padded.lengths)

    def ragged_spec(padded: Padded) -> Any:
        kind = padded.features.dtype
        return tensorflow.RaggedTensorSpec((None, None, *shape), kind, 1, np.int32)

    def spec(values: np.ndarray) -> Any:
        return tensorflow.TensorSpec((None, *values.shape[1:]), values.dtype)

    def batches() -> Iterator[Any]:
        return (with_clips(batch, ragged, np.asarray) for batch in loader)

    return _tf_dataset(loader, batches, with_clips(loader.batch(0), ragged_spec, spec))


def _tf_dataset(loader: Resumable, batches: Callable[[], Iterator[Any]], signature: Any) -> Any:
    """A `tf.data.Dataset` of which each iteration is one of `batches`."""
    tensorflow = require("tensorflow", extra="keras")
    made = tensorflow.data.Dataset.from_generator(batches, output_signature=signature)
    return made.apply(tensorflow.data.experimental.assert_cardinality(len(loader)))


class JaxBatches:
    """Batches as JAX arrays over the same memory, or on another device; each iteration is one
    pass. Clips come as (features, lengths).

    JAX takes memory as it is because a batch starts at a multiple of 64 bytes.
    """

    def __init__(self, loader: Resumable, device: Any = None) -> None:
        self.loader = loader
        self.device = device
        self._jax = require("jax", extra="jax")

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return (converted(batch, self._array) for batch in self.loader.owned_batches())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives, from its start."""
        self.loader.set_epoch(epoch)

    def _array(self, values: np.ndarray) -> Any:
        array = as_jax(values, str(self.loader.source.path))
        return array if self.device is None else self._jax.device_put(array, self.device)


def converted(batch: Any, convert: Callable[[np.ndarray], Any]) -> Any:
    """A batch of the same form with each array of numbers converted; others stay as they are."""
    if isinstance(batch, tuple):
        return tuple(converted(part, convert) for part in batch)
    if isinstance(batch, dict):
        return {name: converted(part, convert) for name, part in batch.items()}
    return convert(batch) if batch.dtype.kind in _NUMBERS else batch


def with_clips(
    batch: Any, clips: Callable[[Padded], Any], convert: Callable[[np.ndarray], Any]
) -> Any:
    """A batch of clips of the same form: its clips by `clips`, other numbers by `convert`."""
    if isinstance(batch, Padded):
        return clips(batch)
    padded, *others = batch
    return (clips(padded), *(converted(part, convert) for part in others))


def _with_inputs(loader: Resumable, batch: Any) -> Any:
    """A batch as Keras takes it: inputs, or (inputs, target).

    Columns and lengths of clips are inputs beside the features.
    """
    first, *others = _parts(batch)
    columns = others.pop() if loader.options.columns else {}
    if not columns and not isinstance(first, Padded):
        return batch
    name = loader.options.feature or loader.source.metadata.primary_column
    if isinstance(first, Padded):
        inputs = {name: first.features, "lengths": first.lengths, **columns}
    else:
        inputs = {name: first, **columns}
    targets = [part.features if isinstance(part, Padded) else part for part in others]
    return (inputs, *targets)


def _parts(batch: Any) -> tuple[Any, ...]:
    """The parts of a batch; `Padded`, a tuple itself, is one of them."""
    if isinstance(batch, tuple) and not isinstance(batch, Padded):
        return batch
    return (batch,)


def _refuse_texts(loader: Resumable) -> None:
    if not loader.options.columns:
        return
    *_, columns = loader.batch(0)
    others = {}
    for name, values in columns.items():
        if values.dtype.kind not in _NUMBERS:
            others[name] = "texts, or missing ones" if values.dtype == object else str(values.dtype)
    if others:
        raise UsageError(
            "texts are no inputs of a network",
            ", ".join(others),
            "columns of numbers",
            ", ".join(others.values()),
            "Leave them out of columns=, or iterate the loader itself.",
        )
