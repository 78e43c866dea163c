"""Predict with a fused model: decoded pixels in, a prediction of each head out.

It needs the base installation only.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores import preprocess
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import openvino_session, runtime
from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import channel_count
from dof_arrow.heads.graph_writer import NEXT, STATE
from dof_arrow.inference import clip_parts
from dof_arrow.inference.fused import check_interface, description
from dof_arrow.inference.model_parts import CLIP, PICTURE, PICTURES, PREPROCESSING, takes_grey
from dof_arrow.inference.prediction import Prediction, prediction
from dof_arrow.media.decode import decode as decode_picture

if TYPE_CHECKING:
    from onnx import ModelProto

Array = NDArray[Any]

__all__ = ["PART", "Prediction", "Predictor"]

PART = 16  # frames of a clip that are run at a time


class Predictor:
    """A fused model: takes one picture, or one clip, and gives a prediction of each head.

    `cores` say how the model sees a picture, `heads` what each output means. `clips` says whether
    it takes clips, `batched` whether it takes several pictures at once, `window` how many frames
    its cores see at once, `stride` how many frames lie from one window to the next, `sampling`
    which frames its heads were trained on.

    `model` is a file, its bytes, or what `graph.load` gave; `where` is what errors call it. Cores
    and heads run on a `provider` (see `runtime.available`), preprocessing too if the provider can.
    OpenVINO leaves it to ONNX Runtime, and runs no models of clips. Calls are safe from several
    threads. Raises CoreError for a file that is no fused model, FormatError if its description is
    not valid.
    """

    def __init__(
        self,
        model: str | Path | bytes | ModelProto,
        *,
        where: str | None = None,
        threads: int = 1,
        provider: str = runtime.CPU,
    ) -> None:
        if isinstance(model, bytes):
            loaded = graph.from_bytes(model)
        elif isinstance(model, (str, Path)):
            where = where or str(model)
            loaded = graph.load(model)
        else:
            loaded = model
        where = where or "the model"
        fused = description(loaded, where)
        self.cores = fused.cores
        self.heads = fused.heads
        self.clips = fused.clips
        self.window = fused.window
        self.stride = fused.stride or fused.window
        self.sampling = fused.sampling
        self._reads_whole_clips = fused.reads_whole_clips
        data = graph.to_bytes(loaded)
        self._session = runtime.session(
            data,
            threads,
            provider,
            aside=PREPROCESSING,
            where=where,
            is_checked=True,
        )
        self._device = Lock() if runtime.is_device(provider) else nullcontext()
        inputs = [value.name for value in self._session.get_inputs()]
        self.batched = inputs == [PICTURES]
        self._takes_grey = takes_grey(loaded)
        self._outputs = [value.name for value in self._session.get_outputs()]
        # What heads of clips remember goes in by inputs that need not be given.
        self._states = [value.name for value in self._session.get_overridable_initializers()]
        check_interface(self._session, fused, where)
        if runtime.short(provider) == runtime.OPENVINO:
            openvino_session.check_agrees(self._session, data, self._trial(), where)

    def __call__(self, picture: Array) -> dict[str, Prediction]:
        """Predict for decoded pixels uint8 [h, w, c], or for a clip uint8 [frames, h, w, c].

        The keys are the names of the outputs. Raises UsageError for anything else, SourceError for
        a picture that is too elongated, CoreError if the model fails.
        """
        if self.clips:
            _check_clip(picture)
            return self.watch(picture)
        return self.many([picture])[0]

    def many(self, pictures: Sequence[Array]) -> list[dict[str, Prediction]]:
        """Predict for pictures of any sizes: in one run if the model is `batched`, else in turn."""
        for each in pictures:
            self.check(each)
        pixels = [preprocess.held(each, takes_grey=self._takes_grey) for each in pictures]
        if self.batched and pixels:
            return self._predictions(self._run({PICTURES: pixels}))
        found = []
        for each in pixels:
            of_one = self._predictions(self._run({PICTURE: each}))
            found.append(of_one[0])
        return found

    def watch(self, frames: Iterable[Array]) -> dict[str, Prediction]:
        """Predict for a clip whose frames uint8 [h, w, c] come one by one, in order.

        About `PART` frames are run at a time, and the heads remember what they have seen: memory
        does not grow with the length of the clip, unless a head reads from the end of it. Where
        cores see windows of frames, a part holds whole ones, so frames in the windows of two parts
        are prepared twice; if heads answer for each window, the mean answer is given.

        Raises what a call raises, and SourceError without frames or with too few for a window.
        """
        answers = self._answers(frames)
        if self.window is not None and not self._reads_whole_clips:
            found = clip_parts.mean_answer(answers)
        else:
            found = _last(answers)
        if found is None:
            raise SourceError("a clip without frames")
        return self._predictions(found)[0]

    def check(self, picture: Array) -> None:
        """Raise UsageError or SourceError for a picture that a call would refuse."""
        for core in self.cores:
            preprocess.check_picture(picture, channel_count(core.preprocessing))
            height, width = picture.shape[:2]
            _check_size(core.preprocessing, height, width)

    def decode(self, data: bytes | Array) -> Array:
        """The pixels of a stored picture as the core wants them; SourceError if unreadable."""
        wanted = self.cores[0].preprocessing
        pixels, _ = decode_picture(
            data,
            mode=wanted.mode,
            orientation=wanted.orientation,
            draft=wanted.draft,
            grey_once=True,
        )
        return pixels

    def _trial(self) -> dict[str, Any]:
        """A picture of seeded noise, as the model takes it."""
        seen = preprocess.noise(channel_count(self.cores[0].preprocessing))
        return {PICTURES: [seen]} if self.batched else {PICTURE: seen}

    def _answers(self, frames: Iterable[Array]) -> Iterator[dict[str, Array]]:
        """The outputs for each part of a clip, given what the heads remember of earlier parts."""
        found: dict[str, Array] = {}
        for part in self._parts(frames):
            self.check(part[0])
            remembered = {}
            if found:
                remembered = {state: found[_next(state)] for state in self._states}
            found = self._run({CLIP: np.stack(part), **remembered})
            yield found

    def _parts(self, frames: Iterable[Array]) -> Iterator[list[Array]]:
        # A head of clips without a state reads from the end: it needs the whole clip at once.
        at_once = self._reads_whole_clips and not self._states
        if self.window is None or self.stride is None:
            return clip_parts.whole(frames) if at_once else clip_parts.parts(frames, PART)
        count = sys.maxsize if at_once else max(PART // self.stride, 1)
        return clip_parts.windows(frames, self.window, self.stride, count)

    def _run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        with self._device:  # a device runs one batch at a time
            found = graph.run(self._session, feeds)
        return dict(zip(self._outputs, found, strict=True))

    def _predictions(self, outputs: Mapping[str, Array]) -> list[dict[str, Prediction]]:
        """For each picture, or for the one clip, the prediction of every head."""
        count = max(len(outputs[name]) for name in self.heads)
        found = []
        for row in range(count):
            said = {}
            for name, head in self.heads.items():
                output = outputs[name][row]
                said[name] = prediction(head, output)
            found.append(said)
        return found


def _last(answers: Iterable[dict[str, Array]]) -> dict[str, Array] | None:
    """The last answer, None if there are none."""
    kept = deque(answers, maxlen=1)
    return kept[0] if kept else None


def _next(state: str) -> str:
    """The name under which a remembered state comes out of the model.

    >>> _next("way_state_0")
    'way_next_state_0'
    """
    head, _, number = state.rpartition(STATE)
    return f"{head}{NEXT}{number}"


def _check_clip(clip: Array) -> None:
    if np.ndim(clip) != 4 or not len(clip):
        kind = getattr(clip, "dtype", type(clip).__name__)
        raise UsageError(
            "not a clip",
            expected="uint8 [frames, height, width, channels]",
            found=f"{kind} {list(np.shape(clip))}",
            hint="Give the frames of a clip, decoded.",
        )


def _check_size(spec: Preprocessing, height: int, width: int) -> None:
    """Refuse a sliver of a picture: resized by its shorter side, it would fill the memory."""
    if not spec.resize:
        return
    pixels = math.prod(preprocess.resized_size(spec, height, width))
    if pixels > preprocess.MAX_PIXELS:
        raise SourceError(
            "picture too elongated to resize",
            found=f"{height} x {width} pixels",
            hint="Crop it, or use a core with --fit pad or squash.",
        )
