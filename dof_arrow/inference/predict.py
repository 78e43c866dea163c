"""Predicting with a fused model: one ONNX file, decoded pixels in, what each head says out (base installation)."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores import preprocess
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import runtime
from dof_arrow.errors import CoreError, SourceError, UsageError
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.metadata import CoreMetadata, Preprocessing, parse
from dof_arrow.format.spec.preprocessing import channel_count
from dof_arrow.heads import layers
from dof_arrow.heads.head import Head
from dof_arrow.inference import fused_graph
from dof_arrow.media import decode as picture
from dof_arrow.media.frames import EVERY, Sampling

Array = NDArray[Any]
Json = Any
T = TypeVar("T")

PART = 16  # frames of a clip that are run at a time
_FUSE = "dof fuse --core CORE.onnx --head HEAD.onnx -o MODEL.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """What a fused model's key `dof.fused` says."""

    cores: tuple[CoreMetadata, ...] = json_model.spec(
        "the cores inside, with their preprocessing; they read the same pixels"
    )
    heads: Mapping[str, Head] = json_model.spec("the heads inside, by the name of their output")
    window: int | None = json_model.spec(
        "frames that cores with a time axis see at once", default=None, minimum=1
    )
    stride: int | None = json_model.spec(
        "frames from one such window to the next", default=None, minimum=1
    )

    @property
    def clips(self) -> bool:
        """Whether it takes clips, not pictures."""
        return self.window is not None or any(head.clips for head in self.heads.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What one head says of one picture, by the kind of its target.

    Category: `label`, the likeliest class. Multilabel: `labels`, those of probability 1/2 and more. Both with the
    `probabilities` by class. Regression: `value`, in `unit`. `declare.to_json` gives its JSON form.
    """

    kind: str
    label: str | None = None
    labels: tuple[str, ...] = ()
    value: float | None = None
    unit: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)


class Predictor:
    """A fused model: one picture, or one clip, in, a prediction of each of its heads out.

    `cores` say how it sees a picture, `heads` what each output means; `clips` whether it takes clips, `batched` whether
    it takes several pictures at once, `window` how many frames its cores see at once, `stride` how many are from one
    window to the next. Cores and heads run on a `provider` of ONNX Runtime (see `providers`), the preprocessing too if
    that knows how. Raises CoreError for what is no fused model, FormatError where what the model
    says of itself cannot be.
    """

    def __init__(
        self, model: str | Path | bytes, *, threads: int = 1, provider: str = runtime.CPU
    ) -> None:
        where = "the model" if isinstance(model, bytes) else str(model)
        loaded = graph.from_bytes(model) if isinstance(model, bytes) else graph.load(model)
        about = graph.properties(loaded).get("dof.fused")
        if about is None:
            raise CoreError(
                "not a fused model",
                where,
                "preprocessing, core and heads in one file",
                hint=f"Make one: {_FUSE}",
            )
        fused = json_model.from_json(parse(about.encode()), Fused)
        self.cores, self.heads = fused.cores, fused.heads
        self.clips, self.window, self.stride = (
            fused.clips,
            fused.window,
            fused.stride or fused.window,
        )
        self.sampling = _sampling(self.heads)
        self._session = runtime.session(
            graph.to_bytes(loaded), threads, provider, aside=fused_graph.PREPROCESSING
        )
        self._states = [value.name for value in self._session.get_overridable_initializers()]
        self.batched = [value.name for value in self._session.get_inputs()] == [
            fused_graph.PICTURES
        ]
        _check_interface(self._session, fused, where)

    def __call__(self, picture: Array) -> dict[str, Prediction]:
        """Each output's prediction for decoded pixels uint8 [h, w, c], of a clip uint8 [frames, h, w, c].

        Raises UsageError for anything else, SourceError for a picture too elongated, CoreError if the model fails.
        """
        if self.clips:
            _check_clip(picture)
            return self.watch(picture)
        return self.many([picture])[0]

    def many(self, pictures: Sequence[Array]) -> list[dict[str, Prediction]]:
        """The same for pictures of any sizes: in one run, if the model is `batched`, else one by one."""
        for each in pictures:
            self.check(each)
        pixels = [np.ascontiguousarray(each) for each in pictures]
        if not self.batched:
            return [self._told(self._run({fused_graph.PICTURE: each}))[0] for each in pixels]
        return self._told(self._run({fused_graph.PICTURES: pixels})) if pixels else []

    def watch(self, frames: Iterable[Array]) -> dict[str, Prediction]:
        """The prediction for a clip whose frames uint8 [h, w, c] come one by one, in order.

        It is run about `PART` frames at a time, and the heads remember what they have seen: memory does not grow with
        the clip's length, unless a head looks back from the end. Where cores see windows of frames, a part holds whole
        ones, so that frames in the windows of two parts are prepared twice; of a head that answers for each window, the
        mean answer is told. Raises what a call raises, SourceError with no frame, or too few for a window.
        """
        answers = self._answers(frames)
        each_window = self.window is not None and not any(
            head.clips for head in self.heads.values()
        )
        found = _mean(answers) if each_window else next(iter(deque(answers, maxlen=1)), None)
        if found is None:
            raise SourceError("a clip without frames")
        return self._told(found)[0]

    def _answers(self, frames: Iterable[Array]) -> Iterator[dict[str, Array]]:
        """What the model says of each part of a clip, given what it remembers of those before."""
        found: dict[str, Array] = {}
        for part in self._parts(frames):
            self.check(part[0])
            kept = {state: found[_next(state)] for state in self._states if found}
            found = self._run({fused_graph.CLIP: np.stack(part), **kept})
            yield found

    def _parts(self, frames: Iterable[Array]) -> Iterator[list[Array]]:
        whole = not self._states and any(head.clips for head in self.heads.values())
        if self.window is None or self.stride is None:
            return _parts(frames, None if whole else PART)
        return _windows(
            frames, self.window, self.stride, sys.maxsize if whole else max(PART // self.stride, 1)
        )

    def check(self, picture: Array) -> None:
        """Raise UsageError or SourceError for a picture that a call would refuse."""
        for core in self.cores:
            preprocess.check_picture(picture, channel_count(core.preprocessing))
            _check_size(core.preprocessing, *picture.shape[:2])

    def _run(self, fed: Mapping[str, Any]) -> dict[str, Array]:
        found = graph.run(self._session, fed)
        return dict(
            zip((output.name for output in self._session.get_outputs()), found, strict=True)
        )

    def _told(self, outputs: Mapping[str, Array]) -> list[dict[str, Prediction]]:
        """Of each picture, or of the one clip, what every head says."""
        count = max(len(outputs[name]) for name in self.heads)
        return [
            {name: _prediction(head, outputs[name][i]) for name, head in self.heads.items()}
            for i in range(count)
        ]

    def decode(self, data: bytes | Array) -> Array:
        """The pixels of a stored picture as this model's core wants them; SourceError if it cannot be read."""
        wanted = self.cores[0].preprocessing
        return picture.decode(
            data, mode=wanted.mode, orientation=wanted.orientation, draft=wanted.draft
        )[0]


def _check_clip(clip: Array) -> None:
    if np.ndim(clip) != 4 or not len(clip):
        raise UsageError(
            "not a clip",
            expected="uint8 [frames, height, width, channels]",
            found=f"{getattr(clip, 'dtype', type(clip).__name__)} {list(np.shape(clip))}",
            hint="Give the frames of a clip, decoded.",
        )


def _parts(frames: Iterable[Array], size: int | None) -> Iterator[list[Array]]:
    """Frames in their order, `size` of one shape at a time at the most, or all of them."""
    part: list[Array] = []
    for frame in frames:
        if part and (len(part) == size or frame.shape != part[0].shape):
            if size is None:
                raise _uneven()
            yield part
            part = []
        part.append(frame)
    if part:
        yield part


def _windows(frames: Iterable[Array], length: int, step: int, count: int) -> Iterator[list[Array]]:
    """Frames in their order, those of `count` whole windows at a time, or of the last ones.

    >>> parts = _windows([np.array(i) for i in range(9)], 3, 2, 2)
    >>> [[int(frame) for frame in part] for part in parts]
    [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]
    """
    size, part, met = (count - 1) * step + length, list[Array](), False
    skipped = 0  # of the frames between two windows
    for frame in frames:
        if skipped:
            skipped -= 1
            continue
        if part and frame.shape != part[0].shape:
            raise _uneven()
        part.append(frame)
        if len(part) == size:
            yield part
            part, skipped, met = part[count * step :], max(count * step - size, 0), True
    if len(part) >= length:
        yield part
    elif part and not met:
        raise SourceError(
            "the clip is shorter than a window", expected=f"{length} frames", found=str(len(part))
        )


def _uneven() -> SourceError:
    return SourceError(
        "the frames of a clip differ in size", expected="one size", hint="Give each clip a folder."
    )


def _mean(answers: Iterable[Mapping[str, Array]]) -> dict[str, Array] | None:
    """The mean over all rows of these answers, as one row; None where there are none."""
    total: dict[str, Array] = {}
    rows = 0
    for found in answers:
        total = {
            name: value.sum(axis=0, dtype=np.float64) + total.get(name, 0)
            for name, value in found.items()
        }
        rows += len(next(iter(found.values())))
    return {name: value[None] / rows for name, value in total.items()} if rows else None


def _next(state: str) -> str:
    """What a state that goes in is called when it comes out."""
    head, _, number = state.rpartition(layers.STATE)
    return f"{head}{layers.NEXT}{number}"


def _sampling(heads: Mapping[str, Head]) -> Sampling:
    """The frames that all heads were trained on; every frame where they differ."""
    said = [dict(head.sampling) for head in heads.values()]
    return (
        json_model.from_json(said[0], Sampling)
        if said and all(each == said[0] for each in said)
        else EVERY
    )


def _prediction(head: Head, output: Array) -> Prediction:
    """
    >>> head = Head(target="sex", kind="category", classes=("f", "m"), unit=None, feature="feature",
    ...             core_sha256=None, dataset_uuid="", report={})
    >>> _prediction(head, np.array([0.25, 0.75])).label
    'm'
    """
    if head.kind == "regression":
        return Prediction(kind=head.kind, value=float(output[0]), unit=head.unit)
    likely = {name: float(p) for name, p in zip(head.classes, output, strict=True)}
    if head.kind == "category":
        return Prediction(
            kind=head.kind, label=max(likely, key=likely.__getitem__), probabilities=likely
        )
    return Prediction(
        kind=head.kind, labels=tuple(n for n, p in likely.items() if p >= 0.5), probabilities=likely
    )


def _check_interface(session: Any, fused: Fused, where: str) -> None:
    """The model has cores, takes pictures or a clip, and has an output of the right width for every head."""
    widths = {output.name: output.shape[-1] for output in session.get_outputs() if output.shape}
    expected = {name: len(head.classes) or 1 for name, head in fused.heads.items()}
    inputs = [value.name for value in session.get_inputs()]
    wanted = [fused_graph.CLIP] if fused.clips else [fused_graph.PICTURE, fused_graph.PICTURES]
    fits = (
        len(inputs) == 1
        and inputs[0] in wanted
        and all(widths.get(n) == width for n, width in expected.items())
    )
    if not (fits and expected and fused.cores):
        raise CoreError(
            "the fused model is not what it says",
            where,
            f"{wanted[0]} in, {expected} out",
            f"{', '.join(inputs)} in, {widths} out",
            f"Make it again: {_FUSE}",
        )


def _check_size(spec: Preprocessing, height: int, width: int) -> None:
    """A sliver of a picture, resized by its shorter side, would fill the memory."""
    if (
        spec.resize
        and math.prod(preprocess.resized_size(spec, height, width)) > preprocess.MAX_PIXELS
    ):
        raise SourceError(
            "picture too elongated to resize",
            found=f"{height} x {width} pixels",
            hint="Crop it, or use a core with --fit pad or squash.",
        )
