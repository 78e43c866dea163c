"""What a core takes, and whether a preprocessing makes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError
from dof_arrow.format.spec.metadata import Preprocessing, TensorSpec
from dof_arrow.format.spec.preprocessing import (
    as_colour,
    as_grey,
    as_text,
    channel_count,
    output_size,
    resize_box,
    with_size,
)

if TYPE_CHECKING:
    from onnx import ModelProto

_DTYPES = ("float32", "float16", "uint8")
_AXES_OF_PICTURES = 4  # [n, c, h, w] or [n, h, w, c]
_AXES_OF_WINDOWS = 5  # with time

Shape = Sequence[int | str]


def input_of(model: ModelProto) -> TensorSpec:
    """The one input of a core: pictures [n, c, h, w] or [n, h, w, c], or windows of them.

    A window has an axis more, for time. Raises CoreError for other models.
    """
    found = graph.inputs(model)
    if len(found) != 1 or len(graph.dims(found[0])) not in (_AXES_OF_PICTURES, _AXES_OF_WINDOWS):
        shapes = [f"{value.name} {list(graph.dims(value))}" for value in found]
        raise CoreError(
            "the model does not take pictures",
            expected="one input of four axes, or of five with time",
            found="; ".join(shapes),
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
    shape = tuple(axis or "?" for axis in graph.dims(found[0]))
    return TensorSpec(name=found[0].name, shape=shape, dtype=dtype)


def check_preprocessing(spec: Preprocessing, tensor: TensorSpec, name: str) -> None:
    """Raise CoreError where a preprocessing does not make what the core `name` takes."""
    taken = of_frame(spec, tensor)
    made = (taken.shape[0], *made_shape(spec))
    if spec.dtype != taken.dtype or not fits(made, taken.shape):
        raise CoreError(
            "the preprocessing does not make what the core takes",
            name,
            f"{taken.dtype} {list(taken.shape)}",
            f"{spec.dtype} {list(made)}",
            f"Pass --preprocess '{as_text(suited(spec, tensor))}'",
        )


def time_axis(spec: Preprocessing, tensor: TensorSpec) -> int | None:
    """Where time stands in one row of an input; None where the input has no time.

    It is 1 in [c, t, h, w], and 0 in [t, c, h, w] and [t, h, w, c].
    """
    if len(tensor.shape) == _AXES_OF_PICTURES:
        return None
    channels = channel_count(spec)
    channels_second = tensor.shape[2] == channels != tensor.shape[1]
    return 0 if spec.layout == "NHWC" or channels_second else 1


def window(spec: Preprocessing, tensor: TensorSpec) -> int | None:
    """How many frames an input takes at once, where that is fixed."""
    axis = time_axis(spec, tensor)
    if axis is None:
        return None
    length = tensor.shape[1 + axis]
    return length if isinstance(length, int) else None


def of_frame(spec: Preprocessing, tensor: TensorSpec) -> TensorSpec:
    """An input without its time axis."""
    axis = time_axis(spec, tensor)
    if axis is None:
        return tensor
    shape = (*tensor.shape[: 1 + axis], *tensor.shape[2 + axis :])
    return dataclasses.replace(tensor, shape=shape)


def made_shape(spec: Preprocessing) -> tuple[int | str, ...]:
    """The shape of one prepared picture; height and width are names where they are left open."""
    height, width = output_size(spec) or ("height", "width")
    channels = channel_count(spec)
    return (channels, height, width) if spec.layout == "NCHW" else (height, width, channels)


def fits(made: Shape, taken: Shape) -> bool:
    """Whether two shapes agree wherever both are numbers.

    >>> fits((3, 224, 224), (3, "height", "width"))
    True
    """
    if len(made) != len(taken):
        return False
    for one, other in zip(made, taken, strict=True):
        if isinstance(one, int) and isinstance(other, int) and one != other:
            return False
    return True


def suited(spec: Preprocessing, tensor: TensorSpec) -> Preprocessing:
    """The nearest preprocessing that makes what a core takes.

    It has the core's channels, size, axis order and element type, wherever the core fixes them.
    """
    spec = _in_form_of(_with_channels(spec, tensor), tensor)
    taken = of_frame(spec, tensor).shape
    height, width = taken[2:] if spec.layout == "NCHW" else taken[1:3]
    if not isinstance(height, int) or not isinstance(width, int):
        return spec
    if output_size(spec) in (None, (height, width)):
        return spec
    return with_size(spec, height, width)


def changes(whose: str, old: Preprocessing, new: Preprocessing) -> list[str]:
    """What a core's input changed about a preprocessing, a line each, for people to read.

    `whose` it is: "the preset's".
    """
    found = []
    size, sides = output_size(old), output_size(new)
    if size != sides and size and sides:
        became = f"{sides[0]} x {sides[1]}"
        line = f"the core takes {became}: {whose} {size[0]} x {size[1]} became {became}"
        if resize_box(new) != sides:
            box = resize_box(new)
            line += f", resize {box[0] if box[0] == box[1] else f'{box[0]} x {box[1]}'}"
        found.append(line)
    if old.mode != new.mode:
        shape = "one grey channel" if new.mode == "L" else "three channels"
        line = f"the core takes {shape}: pictures are decoded as {new.mode}"
        if new.mean:
            line += f", {whose} means became {_listed(new.mean)}"
        if new.std:
            line += f", deviations {_listed(new.std)}"
        found.append(line)
    if new.dtype == "uint8" != old.dtype and (old.scale != 1 or old.mean or old.std):
        found.append(f"the core takes uint8: {whose} scale, mean and std are left to it")
    return found


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)


def _in_form_of(spec: Preprocessing, tensor: TensorSpec) -> Preprocessing:
    """The same preprocessing in the element type and axis order of a core's input.

    A core of whole numbers scales them itself.
    """
    channels_last = tensor.shape[-1] == channel_count(spec) != tensor.shape[1]
    layout = "NHWC" if channels_last else "NCHW"
    made = dataclasses.replace(spec, dtype=tensor.dtype, layout=layout)  # type: ignore[arg-type]
    if tensor.dtype == "uint8":
        return dataclasses.replace(made, scale=1.0, mean=(), std=())
    return made


def _with_channels(spec: Preprocessing, tensor: TensorSpec) -> Preprocessing:
    """A grey preprocessing for a core of one channel, a coloured one for a core of three."""
    count = channel_count(spec)
    taken = (tensor.shape[1], tensor.shape[-1])
    wanted = 3 if count == 1 else 1
    if count in taken or wanted not in taken:
        return spec
    return as_grey(spec) if wanted == 1 else as_colour(spec)
