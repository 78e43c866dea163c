"""A deep model core: a frozen model without its head, and its preprocessing, in one ONNX file that runs on pictures."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dof_arrow.cores import cut
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import runtime
from dof_arrow.cores.origins import resolve
from dof_arrow.cores.origins.resolve import Original
from dof_arrow.cores.preprocess import Picture, Preprocess, build
from dof_arrow.errors import CoreError, FormatError, SourceError, UsageError
from dof_arrow.format.spec import json_model, metadata
from dof_arrow.format.spec.metadata import Preprocessing, TensorSpec
from dof_arrow.format.spec.preprocessing import (
    Fit,
    as_text,
    channel_count,
    load_spec,
    output_size,
    presets,
    with_fit,
    with_size,
)

if TYPE_CHECKING:
    from onnx import ModelProto

DESCRIPTION = "dof.core"
PREPROCESSING_GRAPH = "dof.preprocessing.graph"

_DTYPES = ("float32", "float16", "uint8")
_FROM_ORIGINAL = "dof headless MODEL.onnx --preprocess … -o CORE.onnx"
_UNKNOWN_SHA256 = "0" * 64
_AXES = 3  # of a prepared picture
_TRIED = 16  # frames, where a core leaves their number free

Array = npt.NDArray[Any]
Features = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How a core is to be made of a model: where to cut it, how to pool, what is done to pictures first."""

    at: str | None = None
    pool: str | None = None
    preprocess: str | Preprocessing | None = None
    fit: Fit | None = None
    declared: Callable[[], Preprocessing | None] = lambda: (
        None
    )  # what its makers say, asked if nobody else says it


class Core:
    """A core ready to run, from the bytes of a file that `headless` made.

    `name`, `data` (those bytes), `sha256` (of those bytes: the core's identity), `preprocessing`, `output_name`,
    `output_shape` (of one row), `fixed_batch` (or None), `batch_dependent` (True where features depend on what else
    is in a batch: such a core runs one picture at a time). A core that sees several frames at once has a `time_axis`
    (among the axes of one row's input, else None) and maybe a `window` (their number, or None where it is free); what
    is said here of a picture holds for a window of frames [time, h, w, c] then. Calls are safe from several threads.
    Each runs on so many `threads` of a `provider` of ONNX Runtime (see `providers`), the preprocessing always on one
    thread of the CPU. Raises CoreError for anything else, UsageError for a core that carries no preprocessing.
    """

    def __init__(self, data: bytes, threads: int = 1, provider: str = runtime.CPU) -> None:
        model = graph.from_bytes(data, "core")
        about = _description(model, data)
        self.data, self.threads, self.provider = data, threads, runtime.short(provider)
        self.name, self.sha256, self.preprocessing = about.name, about.sha256, about.preprocessing
        self.batch_dependent = not about.deterministic
        self._about, self._input = about, _input(model)
        _check_preprocessing(self.preprocessing, self._input, self.name)
        self.time_axis = _time_axis(self.preprocessing, self._input)
        self.window = _window(self.preprocessing, self._input)
        self.preprocess = Preprocess(self.preprocessing, base64.b64decode(about.graph or ""))
        self._session = runtime.session(data, threads, provider)
        batch = self._input.shape[0]
        self.fixed_batch = batch if isinstance(batch, int) else None
        self.output_name, declared = _output(model)
        self.output_shape = declared or self._measured_shape()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        preprocess: str | Preprocessing | None = None,
        fit: Fit | None = None,
        at: str | None = None,
        pool: str | None = None,
        threads: int = 1,
        provider: str = runtime.CPU,
    ) -> Core:
        """A core: one made by `headless` as it is, an original model after cutting off its head.

        `path` is a file, or the name of a model elsewhere: see `origins.find`.
        """
        return cls(
            headless(path, at=at, pool=pool, preprocess=preprocess, fit=fit), threads, provider
        )

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        *,
        name: str = "core",
        preprocess: str | Preprocessing | None = None,
        fit: Fit | None = None,
        at: str | None = None,
        pool: str | None = None,
        threads: int = 1,
        provider: str = runtime.CPU,
    ) -> Core:
        """The same from the bytes of an ONNX model; `name` is what an original model is called."""
        request = Request(at=at, pool=pool, preprocess=preprocess, fit=fit)
        return cls(_core_bytes(resolve.of_bytes(data, name), request), threads, provider)

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
        """A core of a module of torch, timm, torchvision or transformers, exported by torch and cut.

        `preprocess` is a preset's name, a `Preprocessing`, a transform (`weights.transforms()`, or a `Compose` of
        Resize, CenterCrop, ToTensor and Normalize) or an image processor of transformers; modules of timm carry their
        own. `name` is the class's unless given. Raises UsageError, CoreError, MissingExtra.
        """
        found = resolve.of_module(module, preprocess)
        found = dataclasses.replace(found, name=name or found.name, license=license)
        request = Request(at=at, pool=pool, fit=fit, declared=found.declared)
        return cls(_core_bytes(found, request), threads, provider)

    def __call__(self, pictures: Sequence[Picture]) -> Features:
        """Features float32 [n, *output_shape] of n pictures uint8 [h, w, c], each of any size."""
        prepared = [self.input_of(picture) for picture in pictures]
        if len({each.shape for each in prepared}) > 1:
            raise UsageError(
                "pictures of different sizes do not make one batch",
                self.name,
                hint="Call the core on one size at a time, or give it a --fit that resizes.",
            )
        return self.run(np.stack(prepared)) if prepared else self._no_features()

    def room(self, rows: int) -> Array | None:
        """An empty buffer for so many prepared pictures, or None where their size depends on the picture's."""
        made = [side for side in _made_shape(self.preprocessing) if isinstance(side, int)]
        return np.empty((rows, *made), self.preprocessing.dtype) if len(made) == _AXES else None

    def prepare(self, picture: Picture, out: Array | None = None) -> Array:
        """The core's input for one picture uint8 [h, w, c], without a batch axis; `out` is where it goes, if given.

        Raises UsageError for what is no picture, SourceError for a picture that the core cannot take.
        """
        prepared = self.preprocess(picture, out)
        taken = _of_frame(self.preprocessing, self._input).shape[1:]
        if not _fits(prepared.shape, taken):
            raise SourceError(
                "picture of a size that the core does not take",
                expected=str(list(taken)),
                found=str(list(prepared.shape)),
                hint="Resize with --fit crop, pad or squash.",
            )
        return prepared

    def together(self, frames: Sequence[Array]) -> Array:
        """The core's input for a window of prepared frames, without a batch axis."""
        if self.time_axis is None or self.window not in (None, len(frames)):
            raise UsageError(
                "the core takes other windows",
                self.name,
                found=f"{len(frames)} frames",
                expected=f"{self.window} frames"
                if self.time_axis is not None
                else "single pictures",
            )
        return np.stack(frames, axis=self.time_axis)

    def input_of(self, picture: Picture) -> Array:
        """What `run` takes of one picture, or of one window of frames, without a batch axis."""
        return (
            self.prepare(picture)
            if self.time_axis is None
            else self.together([self.prepare(p) for p in picture])
        )

    def run(self, inputs: Array) -> Features:
        """Features float32 [n, *output_shape], C-contiguous, of prepared inputs [n, …] of the core's own type."""
        step = 1 if self.batch_dependent else self.fixed_batch or max(len(inputs), 1)
        parts = [
            self._run_batch(inputs[start : start + step]) for start in range(0, len(inputs), step)
        ]
        return np.concatenate([self._no_features(), *parts])

    def describe(self) -> metadata.CoreMetadata:
        """All that a dataset's metadata says of this core."""
        return self._about

    def __repr__(self) -> str:
        return f"Core({self.name!r}, {list(self.output_shape)}, sha256 {self.sha256[:12]})"

    def __reduce__(self) -> tuple[type[Core], tuple[bytes, int, str]]:
        return Core, (self.data, self.threads, self.provider)

    def _run_batch(self, inputs: Array) -> Features:
        """One run; a batch of fixed size is filled up with copies of its last row, which are then dropped."""
        missing = (self.fixed_batch or len(inputs)) - len(inputs)
        filled = (
            np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)]) if missing else inputs
        )
        features: Features = graph.run(self._session, {self._input.name: filled})[0]
        return features.reshape(len(filled), *self.output_shape)[: len(inputs)]

    def _no_features(self) -> Features:
        return np.empty((0, *self.output_shape), np.float32)

    def _measured_shape(self) -> tuple[int, ...]:
        """The shape of one row where the file leaves it open, from a run on a black picture."""
        size = output_size(self.preprocessing)
        if size is None:
            raise CoreError(
                "the features' shape would depend on the picture's size",
                self.name,
                hint=f"Pool them: --pool 1x1, in {_FROM_ORIGINAL}",
            )
        frame = np.zeros((*size, channel_count(self.preprocessing)), np.uint8)
        black = self.input_of(
            frame if self.time_axis is None else np.stack([frame] * (self.window or _TRIED))
        )
        batch = np.stack([black] * (self.fixed_batch or 1))
        return graph.run(self._session, {self._input.name: batch})[0].shape[1:]


def headless(
    path: str | os.PathLike[str],
    *,
    at: str | None = None,
    pool: str | None = None,
    preprocess: str | Preprocessing | None = None,
    fit: Fit | None = None,
    name: str | None = None,
    license: str | None = None,
) -> bytes:
    """The ONNX bytes of a core: the model without its head, its description and its preprocessing inside.

    Equal models and options give equal bytes. A file that is a core already is handed back as it is, completed by a
    preprocessing where it carries none. `name` is the file's stem unless given, `license` an SPDX expression.
    Raises CoreError for a model that cannot serve, UsageError for options that contradict it or one another.
    """
    found = resolve.find(path)
    found = dataclasses.replace(found, name=name or found.name, license=license or found.license)
    return _core_bytes(
        found, Request(at=at, pool=pool, preprocess=preprocess, fit=fit, declared=found.declared)
    )


def _core_bytes(original: Original, request: Request) -> bytes:
    if DESCRIPTION in graph.properties(original.model):
        return _completed(original, request)
    part = cut.cut(original.model, at=request.at, pool=request.pool)
    about = metadata.CoreMetadata(
        name=original.name,
        sha256=_UNKNOWN_SHA256,
        opset=graph.opset(part.model),
        cut=part.tensor,
        pool=part.pool,
        source=original.source,
        source_sha256=original.sha256,
        license=original.license,
        input=_input(part.model),
        preprocessing=None,  # type: ignore[arg-type]
        deterministic=not part.batch_dependent,
    )
    return _described(
        part.model,
        json_model.to_json(about),
        _asked_preprocessing(request, about.input),
        original.name,
    )


def _completed(original: Original, request: Request) -> bytes:
    """A file that is a core already, with the asked preprocessing where it carries none."""
    model, data, name = original.model, original.data, original.name
    about = _read_json(model)
    for option, asked, carried in (
        ("--at", request.at, about.get("cut")),
        ("--pool", request.pool, about.get("pool")),
    ):
        if asked not in (None, carried):
            raise UsageError(
                "the core is cut already",
                name,
                f"{option} {carried}",
                f"{option} {asked}",
                f"Leave {option} out, or cut the original again: {_FROM_ORIGINAL}",
            )
    if "preprocessing" in about:
        carried = metadata.from_json(about["preprocessing"], Preprocessing)
        _check_same(
            carried, dataclasses.replace(request, declared=lambda: None), _input(model), name
        )
        return data
    spec = _asked_preprocessing(request, _input(model))
    return data if spec is None else _described(model, about, spec, name)


def _check_same(carried: Preprocessing, request: Request, tensor: TensorSpec, name: str) -> None:
    asked = _asked_preprocessing(request, tensor) or (
        with_fit(carried, request.fit) if request.fit else carried
    )
    if asked != carried:
        raise UsageError(
            "the core carries a preprocessing of its own",
            name,
            as_text(carried),
            as_text(asked),
            f"Leave --preprocess and --fit out, or make another core: {_FROM_ORIGINAL}",
        )


def _asked_preprocessing(request: Request, tensor: TensorSpec) -> Preprocessing | None:
    """The preprocessing that was asked for.

    A preset says what is done to the pixels; their element type and axis order it takes from the core's input.
    """
    asked = request.preprocess
    if asked is None:
        made = request.declared()
        return made and _in_form_of(with_fit(made, request.fit) if request.fit else made, tensor)
    if not isinstance(asked, str):
        return with_fit(asked, request.fit) if request.fit else asked
    spec = load_spec(asked, fit=request.fit)
    return _in_form_of(spec, tensor) if asked in presets() else spec


def _in_form_of(spec: Preprocessing, tensor: TensorSpec) -> Preprocessing:
    """The same preprocessing in the element type and axis order of a core's input."""
    layout = "NHWC" if tensor.shape[-1] == channel_count(spec) != tensor.shape[1] else "NCHW"
    return dataclasses.replace(spec, dtype=tensor.dtype, layout=layout)  # type: ignore[arg-type]


def _described(
    model: ModelProto, about: json_model.Json, spec: Preprocessing | None, name: str
) -> bytes:
    """The bytes of a model with its description, and its preprocessing if there is one, in its properties."""
    left_out = {"sha256", "graph", "preprocessing"}
    about = {key: value for key, value in about.items() if key not in left_out}
    values = {}
    if spec is not None:
        _check_preprocessing(spec, _input(model), name)
        about["preprocessing"] = json_model.to_json(spec)
        values[PREPROCESSING_GRAPH] = base64.b64encode(graph.to_bytes(build(spec))).decode()
    values[DESCRIPTION] = json.dumps(
        about, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )
    graph.set_properties(model, values)
    return graph.to_bytes(model)


def _description(model: ModelProto, data: bytes) -> metadata.CoreMetadata:
    """What a core's file says of itself, checked."""
    about = _read_json(model)
    if "preprocessing" not in about:
        raise UsageError(
            "the core carries no preprocessing, and it is never guessed",
            str(about.get("name", "core")),
            hint=f"Pass --preprocess with one of {', '.join(presets())}, or a JSON file.",
        )
    made = graph.properties(model).get(PREPROCESSING_GRAPH, "")
    try:
        base64.b64decode(made, validate=True)
        return metadata.from_json(
            {**about, "sha256": hashlib.sha256(data).hexdigest(), "graph": made},
            metadata.CoreMetadata,
        )
    except (FormatError, binascii.Error) as error:
        raise _invalid(error) from None


def _read_json(model: ModelProto) -> dict[str, Any]:
    text = graph.properties(model).get(DESCRIPTION)
    if text is None:
        raise CoreError(
            "the model is no core",
            model.graph.name,
            f"the property {DESCRIPTION}",
            "none",
            f"Make a core of it: {_FROM_ORIGINAL}",
        )
    try:
        return metadata.parse(text.encode())  # type: ignore[no-any-return]
    except FormatError as error:
        raise _invalid(error) from None


def _invalid(error: Exception) -> CoreError:
    return CoreError(
        "the core's description is not valid",
        found=str(error),
        hint=f"Make it again: {_FROM_ORIGINAL}",
    )


def _input(model: ModelProto) -> TensorSpec:
    """The one input of a core: pictures [n, c, h, w] or [n, h, w, c], or windows of them, with an axis more."""
    found = graph.inputs(model)
    shapes = [list(graph.dims(value)) for value in found]
    if len(found) != 1 or len(shapes[0]) not in (4, 5):
        raise CoreError(
            "the model does not take pictures",
            expected="one input of four axes, or of five with time",
            found="; ".join(
                f"{value.name} {shape}" for value, shape in zip(found, shapes, strict=True)
            ),
            hint="Choose a model for pictures.",
        )
    dtype = graph.dtype(found[0]).name
    if dtype not in _DTYPES:
        raise CoreError(
            "the model takes no pictures of a known type",
            expected=", ".join(_DTYPES),
            found=dtype,
            hint="Export the model again with a float32 input.",
        )
    return TensorSpec(
        name=found[0].name, shape=tuple(axis or "?" for axis in shapes[0]), dtype=dtype
    )


def _output(model: ModelProto) -> tuple[str, tuple[int, ...] | None]:
    """The name of a core's output and the shape of one row, or None where the file leaves it open."""
    outputs = [
        (value.name, graph.dtype(value).name, graph.dims(value)) for value in model.graph.output
    ]
    if len(outputs) != 1 or outputs[0][1] != "float32":
        raise CoreError(
            "the core's output is not its features",
            expected="one float32 output",
            found=str(outputs),
            hint=f"Make it again: {_FROM_ORIGINAL}",
        )
    name, _, shape = outputs[0]
    row = [axis for axis in shape[1:] if isinstance(axis, int) and axis > 0]
    return name, tuple(row) if len(shape) > 1 and len(row) == len(shape) - 1 else None


def _check_preprocessing(spec: Preprocessing, tensor: TensorSpec, name: str) -> None:
    """Raise CoreError where a preprocessing does not make what the core takes."""
    tensor = _of_frame(spec, tensor)
    made = TensorSpec(
        name=tensor.name, shape=(tensor.shape[0], *_made_shape(spec)), dtype=spec.dtype
    )
    if made.dtype != tensor.dtype or not _fits(made.shape, tensor.shape):
        raise CoreError(
            "the preprocessing does not make what the core takes",
            name,
            f"{tensor.dtype} {list(tensor.shape)}",
            f"{made.dtype} {list(made.shape)}",
            f"Pass --preprocess '{as_text(_fitted(spec, tensor))}'",
        )


def _time_axis(spec: Preprocessing, tensor: TensorSpec) -> int | None:
    """Where time stands in one row of an input: [c, t, h, w] unless the channels stand second, or [t, h, w, c]."""
    if len(tensor.shape) == 4:
        return None
    channels = channel_count(spec)
    return 0 if spec.layout == "NHWC" or tensor.shape[2] == channels != tensor.shape[1] else 1


def _window(spec: Preprocessing, tensor: TensorSpec) -> int | None:
    """How many frames an input takes at once, where that is fixed."""
    axis = _time_axis(spec, tensor)
    length = tensor.shape[1 + axis] if axis is not None else None
    return length if isinstance(length, int) else None


def _of_frame(spec: Preprocessing, tensor: TensorSpec) -> TensorSpec:
    """An input without its time axis."""
    axis = _time_axis(spec, tensor)
    if axis is None:
        return tensor
    return dataclasses.replace(tensor, shape=(*tensor.shape[: 1 + axis], *tensor.shape[2 + axis :]))


def _made_shape(spec: Preprocessing) -> tuple[int | str, ...]:
    height, width = output_size(spec) or ("height", "width")
    channels = channel_count(spec)
    return (channels, height, width) if spec.layout == "NCHW" else (height, width, channels)


def _fits(made: Sequence[int | str], taken: Sequence[int | str]) -> bool:
    """Whether two shapes agree wherever both are numbers."""
    pairs = list(zip(made, taken, strict=False))
    return len(made) == len(taken) and all(
        a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int)
    )


def _fitted(spec: Preprocessing, tensor: TensorSpec) -> Preprocessing:
    """The nearest preprocessing that makes what the core takes: its channels, size, axis order and element type."""
    spec = _in_form_of(_with_channels(spec, tensor), tensor)
    height, width = tensor.shape[2:] if spec.layout == "NCHW" else tensor.shape[1:3]
    if (
        isinstance(height, int)
        and isinstance(width, int)
        and output_size(spec) not in (None, (height, width))
    ):
        return with_size(spec, height, width)
    return spec


def _with_channels(spec: Preprocessing, tensor: TensorSpec) -> Preprocessing:
    """A grey preprocessing for a core of one channel, a coloured one for three; the mean of the numbers a channel."""
    count, taken = channel_count(spec), (tensor.shape[1], tensor.shape[-1])
    wanted = 3 if count == 1 else 1
    if count in taken or wanted not in taken:
        return spec
    mean, std = (tuple([sum(v) / len(v)] * wanted) if v else () for v in (spec.mean, spec.std))
    mode = "L" if wanted == 1 else "RGB"
    return dataclasses.replace(spec, mode=mode, channels=mode, mean=mean, std=std)  # type: ignore[arg-type]


BATCH = 2  # rows a session run: of larger batches the activations fall out of a processor's cache


def wanted(core: Core) -> tuple[Any, Any, int | None]:
    """What of decoding matters to a core: mode, orientation, draft."""
    return core.preprocessing.mode, core.preprocessing.orientation, core.preprocessing.draft
