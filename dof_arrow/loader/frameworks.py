"""Batches in the form of Keras, tf.data and JAX, without a copy where the framework allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dof_arrow.errors import UsageError, require
from dof_arrow.loader.padded import Padded

if TYPE_CHECKING:
    from dof_arrow.loader.clip_loader import ClipLoader
    from dof_arrow.loader.loader import Loader

_NUMBERS = "biuf"  # kinds of numpy arrays that are tensors; texts and times are not


def keras_batches(loader: Loader, options: Mapping[str, Any]) -> Any:
    """A Keras 3 `PyDataset` for `model.fit` with any backend: batch i is made when it is asked for.

    `options` are the PyDataset's: `workers`, `use_multiprocessing`, `max_queue_size`. With
    `columns=`, inputs are a dict of the features, under the name of their column, and the columns.
    Keras itself mixes the order of batches unless told `shuffle=False`. Clips of different lengths
    come with `lengths` as an input beside them. Raises UsageError for columns of texts.
    """
    _refuse_texts(loader)
    return _keras_class()(loader, **options)


@cache
def _keras_class() -> type:
    keras = require("keras", extra="keras")

    class KerasBatches(keras.utils.PyDataset):  # type: ignore[misc,name-defined]
        """Batches of a loader by their number."""

        def __init__(self, loader: Loader, **options: Any) -> None:
            super().__init__(**options)
            self.loader = loader
            self._running = False

        def __reduce__(self) -> tuple[Any, ...]:
            options = {"workers": self.workers, "use_multiprocessing": self.use_multiprocessing}
            return keras_batches, (self.loader, options)

        def __len__(self) -> int:
            return len(self.loader)

        def __getitem__(self, index: int) -> Any:
            return _with_inputs(self.loader, self.loader.batch(index))

        def on_epoch_begin(self) -> None:
            """Keras calls this."""
            self._running = True

        def on_epoch_end(self) -> None:
            """Keras calls this after each epoch, and once too often before the first."""
            self.loader.set_epoch(self.loader.epoch + self._running)
            self._running = False

    return KerasBatches


def tf_batches(loader: Loader) -> Any:
    """A `tf.data.Dataset` of batches, one epoch each time it is iterated, with known shapes and
    types.

    Raises UsageError for columns of texts.
    """
    _refuse_texts(loader)
    tensorflow = require("tensorflow", extra="keras")
    first = loader.batch(0)  # what it is made of says what all are
    sample = _with_inputs(loader, first)
    feature_axes = 1 + len(loader.source.shape(loader.options.feature))
    is_padded = isinstance(_parts(first)[0], Padded)

    def spec(values: np.ndarray) -> Any:
        # Batches differ in rows; those of padded clips in their longest clip too.
        free = 2 if is_padded and values.ndim == feature_axes else 1
        return tensorflow.TensorSpec((*[None] * free, *values.shape[free:]), values.dtype)

    def epoch() -> Iterator[Any]:
        return (_with_inputs(loader, batch) for batch in loader.owned_batches())

    signature = converted(sample, spec)
    made = tensorflow.data.Dataset.from_generator(epoch, output_signature=signature)
    return made.apply(tensorflow.data.experimental.assert_cardinality(len(loader)))


def tf_clips(loader: ClipLoader) -> Iterator[Any]:
    """One epoch's batches of clips, with ragged tensors in place of (features, lengths)."""
    tensorflow = require("tensorflow", extra="keras")

    def ragged(padded: Padded) -> Any:
        steps = padded.features[padded.mask]
        return tensorflow.RaggedTensor.from_row_lengths(steps, padded.lengths)

    return (with_clips(batch, ragged, np.asarray) for batch in loader)


class JaxBatches:
    """Batches as JAX arrays over the same memory, or on another device; each iteration is one
    epoch.

    JAX takes memory as it is because a batch starts at a multiple of 64 bytes.
    """

    def __init__(self, loader: Loader, device: Any = None) -> None:
        self.loader = loader
        self.device = device
        self._jax = require("jax", extra="jax")

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return (converted(batch, self._array) for batch in self.loader.owned_batches())

    def _array(self, values: np.ndarray) -> Any:
        array = self._jax.numpy.from_dlpack(values)
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


def _with_inputs(loader: Loader, batch: Any) -> Any:
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


def _refuse_texts(loader: Loader) -> None:
    if not loader.options.columns:
        return
    *_, columns = loader.batch(0)
    texts = [name for name, values in columns.items() if values.dtype.kind not in _NUMBERS]
    if texts:
        raise UsageError(
            "texts are no inputs of a network",
            ", ".join(texts),
            "columns of numbers",
            "texts",
            "Leave them out of columns=, or iterate the loader itself.",
        )
