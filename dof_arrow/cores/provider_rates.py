"""How fast each provider here runs a core, and how far its features are from the default's.

What is timed is what extraction does with a picture: threads on all processors decode a JPEG of
ImageNet's most common size, prepare it and run batches. Providers take turns, by the clock and by
the processors' time: where other programs work too, the clock alone tells little.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from dof_arrow.cores.core import Core
from dof_arrow.cores.device_batch import batch_for
from dof_arrow.cores.graph import runtime
from dof_arrow.cores.measure import as_taken, natural
from dof_arrow.errors import DofError
from dof_arrow.media import decode
from dof_arrow.media.array import in_mode
from dof_arrow.system import processors

RECOMMENDED = 1.1  # times the default's rate: less is not worth other last digits

_ROUNDS = 3
_SECONDS = 0.4  # of a round
_PICTURES = 4

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRate:
    """What came of one provider.

    - `per_second`: pictures, on all processors, by the clock;
    - `gain`: times the default's rate, by the clock or the processors' time, whichever is less;
    - `start_seconds`: until it is ready, its libraries loaded and the core compiled;
    - `differs`: the largest L2 distance of a picture's features from the default's, relative to
      their norm;
    - `refused`: why it cannot run the core; all numbers are None then.
    """

    provider: str
    per_second: float | None = None
    gain: float | None = None
    start_seconds: float | None = None
    differs: float | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a picture takes: seconds by the clock, and of the processors."""

    clock: float
    processors: float


@dataclass(frozen=True, slots=True)
class _Ready:
    """A core on one provider, how long that took to load, and the rows that it runs at a time."""

    core: Core
    start_seconds: float
    rows: int


def provider_rates(
    core: Core, providers: Sequence[str] | None = None, *, seconds: float = _SECONDS
) -> list[ProviderRate]:
    """What comes of each provider that is installed, the default first, in some seconds.

    >>> from dof_arrow.cores import builtin
    >>> provider_rates(builtin.load(), ["cpu"], seconds=0.01)[0].gain
    1.0
    """
    names = runtime.available() if providers is None else providers
    others = [name for name in names if name != runtime.CPU]
    ready: dict[str, _Ready] = {}
    refused: dict[str, str] = {}
    for name in (runtime.CPU, *others):
        try:
            ready[name] = _loaded(core, name)
        except DofError as error:
            refused[name] = f"{error.what}: found {error.found}" if error.found else error.what
    costs = _costs(ready, seconds)
    default = ready[runtime.CPU].core
    found = []
    for name, each in ready.items():
        found.append(
            ProviderRate(
                provider=name,
                per_second=1 / statistics.median(cost.clock for cost in costs[name]),
                gain=_gain(costs[runtime.CPU], costs[name]),
                start_seconds=each.start_seconds,
                differs=_distance(default, each.core),
            )
        )
    return found + [ProviderRate(provider=name, refused=why) for name, why in refused.items()]


def recommended(rates: Sequence[ProviderRate]) -> ProviderRate | None:
    """The fastest provider, if it is enough faster than the default to be asked for."""
    fastest = max(rates, key=lambda rate: rate.gain or 0)
    return fastest if (fastest.gain or 0) >= RECOMMENDED else None


def pays_from(rate: ProviderRate, default: ProviderRate) -> int:
    """Pictures from which a provider that starts later is through earlier than the default.

    >>> slow = ProviderRate(provider="cpu", per_second=50.0, start_seconds=0.1)
    >>> pays_from(ProviderRate(provider="x", gain=2.0, start_seconds=0.6), slow)
    50
    """
    later = (rate.start_seconds or 0) - (default.start_seconds or 0)
    saved = (1 - 1 / (rate.gain or 1)) / (default.per_second or 1)
    return max(round(later / saved), 0)


def _loaded(core: Core, provider: str) -> _Ready:
    start = time.perf_counter()
    made = Core(core.data, core.threads, provider, facts=core.facts)
    taken = time.perf_counter() - start
    return _Ready(made, taken, made.fixed_batch or batch_for([made]))


def _costs(ready: dict[str, _Ready], seconds: float) -> dict[str, list[_Cost]]:
    """What a picture takes by each provider, in rounds in which they take turns."""
    jpegs = [_jpeg(natural(seed)) for seed in range(_PICTURES)]
    taken: dict[str, list[_Cost]] = {name: [] for name in ready}
    for number in range(_ROUNDS + 1):
        for name, each in ready.items():
            cost = _cost(each, jpegs, seconds)
            if number:  # in the first one memory is taken and kernels are chosen
                taken[name].append(cost)
    return taken


def _gain(default: Sequence[_Cost], other: Sequence[_Cost]) -> float:
    """Times the default's rate, of rounds that were next to each other."""
    pairs = list(zip(default, other, strict=True))
    by_clock = statistics.median(one.clock / two.clock for one, two in pairs)
    by_processors = statistics.median(one.processors / two.processors for one, two in pairs)
    return min(by_clock, by_processors)


def _cost(ready: _Ready, jpegs: Sequence[bytes], seconds: float) -> _Cost:
    """What a picture takes that threads on all processors turn into features."""
    core = ready.core
    shown = [jpegs[place % len(jpegs)] for place in range(ready.rows)]
    start = time.perf_counter()
    used = time.process_time()

    def work(_: int) -> int:
        done = 0
        while not done or time.perf_counter() < start + seconds:
            core.run(np.stack([_prepared(core, jpeg) for jpeg in shown]))
            done += len(shown)
        return done

    workers = max(processors() // core.threads, 1)
    with ThreadPoolExecutor(workers) as pool:
        done = sum(pool.map(work, range(workers)))
    return _Cost((time.perf_counter() - start) / done, (time.process_time() - used) / done)


def _prepared(core: Core, jpeg: bytes) -> Array:
    spec = core.preprocessing
    picture, _ = decode.decode(
        jpeg, mode=spec.mode, orientation=spec.orientation, draft=spec.draft, grey_once=True
    )
    return core.input_of(as_taken(core, picture))


def _jpeg(picture: Array) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=90)
    return out.getvalue()


def _distance(default: Core, other: Core) -> float:
    """How far a core's features of natural pictures are from those of another provider."""
    far = []
    for seed in range(_PICTURES):
        picture = in_mode(natural(seed), default.preprocessing.mode)
        inputs = default.input_of(as_taken(default, picture))[None]
        here = default.run(inputs)[0]
        there = other.run(inputs)[0]
        far.append(float(np.linalg.norm(there - here) / (np.linalg.norm(here) or 1)))
    return max(far)
