"""What a core is like, measured: how wide it is, how steady its features are, what a picture costs.

Two programs that decode and resize a picture differ by one grey level in about every hundredth pixel. How far features
move then is what they can be trusted to when a picture is read elsewhere: a core in float32 moves by a part of a
percent, an int8 one by a fifth, because its activations jump from step to step.
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
from dof_arrow.cores.graph import model, runtime
from dof_arrow.cores.preprocess import Picture, resized_size
from dof_arrow.media.array import in_mode

SHARE = (
    0.013  # of the pixels: so many differed between Pillow's resize and the preprocessing graph's
)

_PICTURES, _SIZE = 8, (375, 500)  # ImageNet's most common size
_ROUNDS, _BUDGET = 7, 0.5  # a step is timed so often, or for so many seconds
_FRAMES = 16  # of a window, where a core leaves their number free


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What a core is like.

    `parameters` counts its stored numbers, `bytes` its file. `batch`: "any", "N at a time" where the model fixes it, or
    "one by one" where features depend on what else is in a batch. `moved`: the relative L2 distance of features where
    1.3% of the pixels, at the size that the core sees, differ by one grey level, the median over `pictures` pictures;
    `moved_most` the largest. Milliseconds are a picture's, preprocessing and network; `per_second` is their sum's
    inverse, features a second. They are processor time of one thread, by the clock where a core runs on more or on
    another provider; all but these three is the same each time.
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
    shown = [
        in_mode(p, core.preprocessing.mode) for p in pictures or map(natural, range(_PICTURES))
    ]
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
    """A seeded picture uint8 [h, w, 3] whose spectrum is that of natural ones: amplitudes fall as 1/f.

    D. J. Field, "Relations between the statistics of natural images and the response properties of cortical cells",
    J. Opt. Soc. Am. A 4 (1987).
    """
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1]))
    frequency[0, 0] = np.inf  # the mean is set below

    def plane() -> NDArray[np.float64]:
        values: NDArray[np.float64] = np.fft.irfft2(
            np.fft.rfft2(random.standard_normal(size)) / frequency, size
        )
        values /= values.std()
        return values

    grey = plane()
    colours = np.stack([128 + 56 * grey + 14 * plane() for _ in range(3)], axis=-1)
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


def movements(core: Core, pictures: Sequence[Picture], share: float = SHARE) -> list[float]:
    """How far each picture's features move, relative to their length, where a share of its pixels is one level off."""
    found = []
    for seed, picture in enumerate(pictures):
        seen = _framed(core, _as_seen(core, picture))
        before, after = (core([each])[0] for each in (seen, _disturbed(seen, share, seed)))
        found.append(float(np.linalg.norm(after - before) / (np.linalg.norm(before) or 1)))
    return found


def costs(core: Core, pictures: Sequence[Picture]) -> tuple[float, float]:
    """Seconds that one picture takes, medians: its preprocessing, and the network in an extraction's batches."""
    clock = (
        time.thread_time
        if core.provider == runtime.CPU and core.threads == 1
        else time.perf_counter
    )
    shown = _framed(core, pictures[0] if core.preprocessing.resize else _as_seen(core, pictures[0]))
    batch = np.stack([core.input_of(shown)] * (core.fixed_batch or BATCH))
    return _median(lambda: core.input_of(shown), clock), _median(
        lambda: core.run(batch), clock
    ) / len(batch)


def _median(action: Callable[[], object], clock: Callable[[], float]) -> float:
    taken: list[float] = []
    while len(taken) < _ROUNDS and sum(taken) < _BUDGET:
        start = clock()
        action()
        taken.append(clock() - start)
    return statistics.median(taken)


def _as_seen(core: Core, picture: Picture) -> Picture:
    """The picture at the size that the core's own resize gives it, which then leaves it as it is."""
    from PIL import Image

    spec, shape = core.preprocessing, core.describe().input.shape
    height, width = resized_size(spec, *picture.shape[:2])
    if not spec.resize:
        sides = shape[-2:] if spec.layout == "NCHW" else shape[-3:-1]
        height, width = (
            s if isinstance(s, int) else own for s, own in zip(sides, (height, width), strict=True)
        )
    flat = picture[..., 0] if picture.shape[2] == 1 else picture
    made = Image.fromarray(flat).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(made).reshape(height, width, picture.shape[2])


def _framed(core: Core, picture: Picture) -> Picture:
    """What a core takes: the picture, or a window of it [frames, h, w, c]."""
    return picture if core.time_axis is None else np.stack([picture] * (core.window or _FRAMES))


def _disturbed(picture: Picture, share: float, seed: int) -> Picture:
    """The picture with one grey level added to or taken from a share of its values, chosen by (seed)."""
    random = np.random.default_rng([seed, 1])
    off = (random.random(picture.shape) < share) * random.choice(
        np.array([-1, 1], np.int16), picture.shape
    )
    changed: Picture = np.clip(picture + off, 0, 255).astype(np.uint8)
    return changed


def _batch(core: Core) -> str:
    if core.batch_dependent:
        return "one by one"
    return f"{core.fixed_batch} at a time" if core.fixed_batch else "any"


def _parameters(core: Core) -> int:
    from onnx import TensorProto

    stored = model.from_bytes(core.data).graph.initializer
    return sum(
        prod(tensor.dims) for tensor in stored if tensor.data_type != TensorProto.INT64
    )  # those are shapes
