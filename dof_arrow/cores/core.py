"""A deep model core, ready to run on pictures: a frozen model without head, its preprocessing."""

from __future__ import annotations

import base64
import dataclasses
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dof_arrow.cores import core_file, core_input
from dof_arrow.cores.core_file import FROM_ORIGINAL, CoreFacts
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import openvino_session, runtime
from dof_arrow.cores.headless import Request, core_bytes, headless
from dof_arrow.cores.origins import resolve
from dof_arrow.cores.preprocess import Picture, Preprocess, noise
from dof_arrow.errors import CoreError, SourceError, UsageError
from dof_arrow.format.spec.metadata import CoreMetadata, Preprocessing
from dof_arrow.format.spec.preprocessing import Decode, Fit, channel_count, output_size
from dof_arrow.storage.atomic import replacing

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["BATCH", "Array", "Core", "Features", "headless", "wanted"]

BATCH = 2  # rows a session run: of larger batches the activations fall out of a processor's cache

_AXES = 3  # of a prepared picture
_TRIED = 16  # frames, where a core leaves their number free

Array = npt.NDArray[Any]
Features = npt.NDArray[np.float32]


class Core:
    """A core ready to run, from the bytes of a file that `headless` made.

    - `data`: those bytes; `sha256`: their digest, which identifies the core; `name`.
    - `preprocessing`: what is done to pictures first.
    - `output_name`; `output_shape`: of one row.
    - `fixed_batch`: the only batch size it takes, None for any.
    - `batch_dependent`: whether features depend on what else is in a batch; such a core runs one
      picture at a time.
    - `time_axis`: of a core that sees several frames at once, the place of time among the axes of
      one row's input, else None; `window`: how many frames, None where that is free. What is said
      here of a picture holds for a window of frames [time, h, w, c] then.

    - `facts`: what the file says; those of the same bytes, read before, need not be read again.

    Calls are safe from several threads. Each runs on so many `threads` of a `provider` (see
    `graph.runtime`), the preprocessing always on one thread of ONNX Runtime's CPU. Raises
    CoreError for anything else, UsageError for a core that carries no preprocessing.
    """

    def __init__(
        self,
        data: bytes,
        threads: int = 1,
        provider: str = runtime.CPU,
        *,
        facts: CoreFacts | None = None,
    ) -> None:
        declared = self._take_in(data, threads, provider, facts)
        self.load_session()
        self.output_shape = declared or self._measured_shape()

    def _take_in(
        self, data: bytes, threads: int, provider: str, facts: CoreFacts | None = None
    ) -> tuple[int, ...] | None:
        """Read what the file says, but load no session; the features' shape, if it is declared."""
        facts = facts or core_file.facts(data)
        self.facts = facts
        about = facts.about
        self.data = data
        self.threads = threads
        self.provider = runtime.short(provider)
        self.name = about.name
        self.sha256 = about.sha256
        self.preprocessing = about.preprocessing
        self.batch_dependent = not about.deterministic
        self._input = facts.input
        self.time_axis = core_input.time_axis(self.preprocessing, self._input)
        self.window = core_input.window(self.preprocessing, self._input)
        self._taken = core_input.of_frame(self.preprocessing, self._input).shape[1:]
        self.preprocess = Preprocess(
            self.preprocessing, base64.b64decode(about.graph or ""), is_checked=True
        )
        self._loading = threading.Lock()
        self._device = threading.Lock()
        self._loaded: InferenceSession | None = None
        batch = self._input.shape[0]
        self.fixed_batch = batch if isinstance(batch, int) else None
        self.output_name = facts.output_name
        return facts.row

    def load_session(self) -> InferenceSession:
        """The session that runs the model. One core of another process loads its own when asked.

        Raises CoreError or UsageError where the provider cannot be had here.
        """
        with self._loading:
            if self._loaded is None:
                runner = runtime.session(
                    self.data, self.threads, self.provider, where=self.name, is_checked=True
                )
                if self.provider == runtime.OPENVINO:
                    openvino_session.check_agrees(runner, self.data, self._trial(), self.name)
                self._loaded = runner
            return self._loaded

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        preprocess: str | Preprocessing | None = None,
        fit: Fit | None = None,
        decode: Decode | None = None,
        at: str | None = None,
        pool: str | None = None,
        size: str | int | Sequence[int] | None = None,
        grey: bool = False,
        threads: int = 1,
        provider: str = runtime.CPU,
    ) -> Core:
        """A core: a file made by `headless` as it is, any other model after cutting off its head.

        `path` is a file, or the name of a model elsewhere: see `origins.resolve.find`. The other
        options are those of `headless`.
        """
        data = headless(
            path,
            at=at,
            pool=pool,
            preprocess=preprocess,
            fit=fit,
            decode=decode,
            size=size,
            grey=grey,
        )
        return cls(data, threads, provider)

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        *,
        name: str = "core",
        preprocess: str | Preprocessing | None = None,
        fit: Fit | None = None,
        decode: Decode | None = None,
        at: str | None = None,
        pool: str | None = None,
        size: str | int | Sequence[int] | None = None,
        grey: bool = False,
        threads: int = 1,
        provider: str = runtime.CPU,
    ) -> Core:
        """A core of the bytes of an ONNX model; `name` is what an original model is called."""
        request = Request(
            at=at,
            pool=pool,
            preprocess=preprocess,
            fit=fit,
            decode=decode,
            size=size,
            grey=grey,
        )
        return cls(core_bytes(resolve.of_bytes(data, name), request), threads, provider)

    @classmethod
    def from_torch(
        cls,
        module: Any,
        *,
        preprocess: Any = None,
        name: str | None = None,
        license: str | None = None,
        fit: Fit | None = None,
        at: str | None = None,
        pool: str | None = None,
        threads: int = 1,
        provider: str = runtime.CPU,
    ) -> Core:
        """A core of a module of torch, timm, torchvision or transformers, exported by torch, cut.

        `preprocess` is a preset's name, a `Preprocessing`, a transform (`weights.transforms()`, or
        a `Compose` of Resize, CenterCrop, ToTensor and Normalize) or an image processor of
        transformers; modules of timm carry their own. `name` is the class's unless given. Raises
        UsageError, CoreError, MissingExtra.
        """
        found = resolve.of_module(module, preprocess)
        found = dataclasses.replace(found, name=name or found.name, license=license)
        request = Request(at=at, pool=pool, fit=fit, declared=found.declared)
        return cls(core_bytes(found, request), threads, provider)

    def __call__(self, pictures: Sequence[Picture]) -> Features:
        """Features float32 [n, *output_shape] of n pictures uint8 [h, w, c], each of any size."""
        prepared = [self.input_of(picture) for picture in pictures]
        if not prepared:
            return self._no_features()
        if len({each.shape for each in prepared}) > 1:
            raise UsageError(
                "pictures of different sizes do not make one batch",
                self.name,
                hint="Call the core on one size at a time, or give it a --fit that resizes.",
            )
        return self.run(np.stack(prepared))

    def room(self, rows: int) -> Array | None:
        """An empty buffer for so many prepared pictures; None where their size is the picture's."""
        shape = core_input.made_shape(self.preprocessing)
        sides = [side for side in shape if isinstance(side, int)]
        if len(sides) < _AXES:
            return None
        return np.empty((rows, *sides), self.preprocessing.dtype)

    def blank(self, rows: int) -> Array:
        """The core's input for so many black pictures, of one pixel where any size is taken."""
        height, width = output_size(self.preprocessing) or (1, 1)
        black = np.zeros((height, width, channel_count(self.preprocessing)), np.uint8)
        return self._inputs_of(black, rows)

    def prepare(self, picture: Picture, out: Array | None = None) -> Array:
        """The core's input for one picture uint8 [h, w, c], without a batch axis.

        It is written into `out` if that is given. Raises UsageError for what is no picture,
        SourceError for a picture that the core cannot take.
        """
        prepared = self.preprocess(picture, out)
        if not core_input.fits(prepared.shape, self._taken):
            raise SourceError(
                "picture of a size that the core does not take",
                expected=str(list(self._taken)),
                found=str(list(prepared.shape)),
                hint="Resize with --fit crop, pad or squash.",
            )
        return prepared

    def together(self, frames: Sequence[Array]) -> Array:
        """The core's input for a window of prepared frames, without a batch axis."""
        if self.time_axis is None or self.window not in (None, len(frames)):
            expected = "single pictures" if self.time_axis is None else f"{self.window} frames"
            raise UsageError(
                "the core takes other windows",
                self.name,
                found=f"{len(frames)} frames",
                expected=expected,
            )
        return np.stack(frames, axis=self.time_axis)

    def input_of(self, picture: Picture) -> Array:
        """What `run` takes of one picture, or of one window of frames, without a batch axis."""
        if self.time_axis is None:
            return self.prepare(picture)
        return self.together([self.prepare(frame) for frame in picture])

    def run(self, inputs: Array) -> Features:
        """Features float32 [n, *output_shape], C-contiguous, of prepared inputs [n, …].

        The inputs are of the core's own element type.
        """
        step = self.fixed_batch or max(len(inputs), 1)
        if self.batch_dependent:
            step = 1
        parts = [self._no_features()]
        for start in range(0, len(inputs), step):
            parts.append(self._run_batch(inputs[start : start + step]))
        return np.concatenate(parts)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the core as a file for `load` and `dof extract --core`, whole or not at all.

        The bytes are `data`, so the file's SHA-256 is `sha256`. Raises OutputError if it cannot be
        written, or exists and is not to be overwritten.
        """
        with replacing(path, overwrite=overwrite) as file:
            file.write(self.data)

    def describe(self) -> CoreMetadata:
        """All that a dataset's metadata says of this core."""
        return self.facts.about

    def __repr__(self) -> str:
        return f"Core({self.name!r}, {list(self.output_shape)}, sha256 {self.sha256[:12]})"

    def __reduce__(self) -> tuple[Any, tuple[bytes, int, str, tuple[int, ...]]]:
        return _received, (self.data, self.threads, self.provider, self.output_shape)

    def _run_batch(self, inputs: Array) -> Features:
        """One run; a batch of fixed size is filled up with copies of its last row, then dropped."""
        missing = (self.fixed_batch or len(inputs)) - len(inputs)
        filled = inputs
        if missing:
            filled = np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)])
        features: Features = self._outputs(filled)[0]
        return features.reshape(len(filled), *self.output_shape)[: len(inputs)]

    def _trial(self) -> dict[str, Array]:
        """Inputs of seeded noise, on which two programs that run the core can be compared."""
        seen = noise(channel_count(self.preprocessing), output_size(self.preprocessing))
        return {self._input.name: self._inputs_of(seen, self.fixed_batch or BATCH)}

    def _inputs_of(self, picture: Picture, rows: int) -> Array:
        """The core's input for so many times one picture, or windows of nothing else."""
        seen = picture
        if self.time_axis is not None:
            seen = np.stack([picture] * (self.window or _TRIED))
        return np.stack([self.input_of(seen)] * rows)

    def _no_features(self) -> Features:
        return np.empty((0, *self.output_shape), np.float32)

    def _measured_shape(self) -> tuple[int, ...]:
        """The shape of one row where the file leaves it open, from a run on a black picture."""
        if output_size(self.preprocessing) is None:
            raise CoreError(
                "the features' shape would depend on the picture's size",
                self.name,
                hint=f"Pool them: --pool 1x1, in {FROM_ORIGINAL}",
            )
        return self._outputs(self.blank(self.fixed_batch or 1))[0].shape[1:]

    def _outputs(self, batch: Array) -> list[Array]:
        """What the model gives for a batch; a device runs one batch at a time."""
        runner, feeds = self.load_session(), {self._input.name: batch}
        if not runtime.is_device(self.provider):
            return graph.run(runner, feeds)
        # Others would wait in the device's memory: threads prepare the next batches meanwhile.
        with self._device:
            return graph.run_bound(runner, feeds)


def _received(data: bytes, threads: int, provider: str, output_shape: tuple[int, ...]) -> Core:
    """A core in another process, which may only prepare pictures: it loads no session yet."""
    core = Core.__new__(Core)
    core._take_in(data, threads, provider)
    core.output_shape = output_shape
    return core


def wanted(core: Core) -> tuple[Any, Any, int | None]:
    """What decoding has to know of a core: mode, orientation, draft."""
    spec = core.preprocessing
    return spec.mode, spec.orientation, spec.draft
