"""What a core is like, measured: width, steadiness of its features, cost of a picture.

Two programs that decode and resize a picture differ by one grey level in about every hundredth
pixel. How far features move then says how far they can be trusted when a picture is read
elsewhere: a core in float32 moves by a part of a percent, an int8 one by a fifth, because its
activations jump from step to step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.core import BATCH, Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import runtime
from dof_arrow.cores.preprocess import Picture, resized_size
from dof_arrow.media.array import in_mode

# Of the pixels: so many differed between Pillow's resize and the preprocessing graph's.
SHARE = 0.013

_PICTURES = 8
_SIZE = (375, 500)  # ImageNet's most common size
_ROUNDS = 7  # a step is timed so often,
_BUDGET = 0.5  # or for so many seconds
_FRAMES = 16  # of a window, where a core leaves their number free


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What a core is like.

    - `shape` of one row of features, `width` the numbers in it;
    - `parameters`: stored numbers; `bytes`: of its file;
    - `batch`: "any", "N at a time" where the model fixes it, or "one by one" where features depend
      on what else is in a batch;
    - `moved`: the relative L2 distance of features where 1.3% of the pixels, at the size that the
      core sees, differ by one grey level, the median over `pictures` pictures; `moved_most` the
      largest;
    - `preprocessing_ms`, `network_ms`: milliseconds for a picture; `per_second`: features a
      second, the inverse of their sum. They are processor time of one thread, by the clock where a
      core runs on more or on another provider.

    All but these three is the same each time.
    """

    shape: tuple[int, ...]
    width: int
    parameters: int
    bytes: int
    batch: str
    pictures: int
    moved: float
    moved_most: float
    preprocessing_ms: float
    network_ms: float
    per_second: float


def appraise(core: Core, pictures: Sequence[Picture] | None = None) -> Appraisal:
    """Measure a core on decoded pictures uint8 [h, w, c], by default on `natural` ones.

    >>> from dof_arrow.cores import builtin
    >>> round(appraise(builtin.load()).moved, 4)
    0.0001
    """
    given = pictures or [natural(seed) for seed in range(_PICTURES)]
    shown = [in_mode(picture, core.preprocessing.mode) for picture in given]
    moved = movements(core, shown)
    prepare, network = costs(core, shown)
    return Appraisal(
        shape=core.output_shape,
        width=prod(core.output_shape),
        parameters=_parameters(core),
        bytes=len(core.data),
        batch=_batch(core),
        pictures=len(shown),
        moved=statistics.median(moved),
        moved_most=max(moved),
        preprocessing_ms=1e3 * prepare,
        network_ms=1e3 * network,
        per_second=1 / (prepare + network),
    )


def natural(seed: int, size: tuple[int, int] = _SIZE) -> Picture:
    """A seeded picture uint8 [h, w, 3] with the spectrum of natural ones: amplitudes fall as 1/f.

    D. J. Field, "Relations between the statistics of natural images and the response properties of
    cortical cells", J. Opt. Soc. Am. A 4 (1987).
    """
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1]))
    frequency[0, 0] = np.inf  # the mean is set below

    def plane() -> NDArray[np.float64]:
        noise = np.fft.rfft2(random.standard_normal(size))
        values: NDArray[np.float64] = np.fft.irfft2(noise / frequency, size)
        values /= values.std()
        return values

    grey = plane()
    colours = np.stack([128 + 56 * grey + 14 * plane() for _ in range(3)], axis=-1)
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


def movements(core: Core, pictures: Sequence[Picture], share: float = SHARE) -> list[float]:
    """How far each picture's features move where a share of its pixels is one level off.

    Distances are relative to the features' length.
    """
    found = []
    for seed, picture in enumerate(pictures):
        seen = _framed(core, _as_seen(core, picture))
        before = core([seen])[0]
        after = core([_disturbed(seen, share, seed)])[0]
        length = np.linalg.norm(before) or 1
        found.append(float(np.linalg.norm(after - before) / length))
    return found


def costs(core: Core, pictures: Sequence[Picture]) -> tuple[float, float]:
    """Median seconds of a picture: preprocessing, and the network in an extraction's batches."""
    on_one_thread = core.provider == runtime.CPU and core.threads == 1
    clock = time.thread_time if on_one_thread else time.perf_counter
    shown = as_taken(core, pictures[0])
    batch = np.stack([core.input_of(shown)] * (core.fixed_batch or BATCH))
    prepare = _median(lambda: core.input_of(shown), clock)
    network = _median(lambda: core.run(batch), clock)
    return prepare, network / len(batch)


def as_taken(core: Core, picture: Picture) -> Picture:
    """What a core can be shown of a picture: the picture or a window of it, of a size it takes."""
    return _framed(core, picture if core.preprocessing.resize else _as_seen(core, picture))


def _median(action: Callable[[], object], clock: Callable[[], float]) -> float:
    taken: list[float] = []
    while len(taken) < _ROUNDS and sum(taken) < _BUDGET:
        start = clock()
        action()
        taken.append(clock() - start)
    return statistics.median(taken)


def _as_seen(core: Core, picture: Picture) -> Picture:
    """The picture at the size to which the core resizes it; the core then leaves it as it is."""
    from PIL import Image

    height, width = _seen_size(core, picture)
    channels = picture.shape[2]
    flat = picture[..., 0] if channels == 1 else picture
    made = Image.fromarray(flat).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(made).reshape(height, width, channels)


def _seen_size(core: Core, picture: Picture) -> tuple[int, int]:
    """Height and width of a picture after the core's resize, or those that its input fixes."""
    spec = core.preprocessing
    height, width = picture.shape[:2]
    if spec.resize:
        return resized_size(spec, height, width)
    shape = core.describe().input.shape
    rows, columns = shape[-2:] if spec.layout == "NCHW" else shape[-3:-1]
    if isinstance(rows, int):
        height = rows
    if isinstance(columns, int):
        width = columns
    return height, width


def _framed(core: Core, picture: Picture) -> Picture:
    """What a core takes: the picture, or a window of it [frames, h, w, c]."""
    if core.time_axis is None:
        return picture
    return np.stack([picture] * (core.window or _FRAMES))


def _disturbed(picture: Picture, share: float, seed: int) -> Picture:
    """The picture with a seeded share of its values one grey level higher or lower."""
    random = np.random.default_rng([seed, 1])
    is_changed = random.random(picture.shape) < share
    step = random.choice(np.array([-1, 1], np.int16), picture.shape)
    changed: Picture = np.clip(picture + is_changed * step, 0, 255).astype(np.uint8)
    return changed


def _batch(core: Core) -> str:
    if core.batch_dependent:
        return "one by one"
    return f"{core.fixed_batch} at a time" if core.fixed_batch else "any"


def _parameters(core: Core) -> int:
    """The numbers that a core stores, without integers of 64 bits: those are shapes."""
    from onnx import TensorProto

    count = 0
    for tensor in graph.weights(graph.from_bytes(core.data).graph):
        if tensor.data_type != TensorProto.INT64:
            count += prod(tensor.dims)
    return count
