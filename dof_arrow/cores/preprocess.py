"""Preprocessing as an ONNX graph: a decoded picture of any size in, a core's input out.

SPEC section 4.4. The graph is the definition; the declaration (`metadata.Preprocessing`) says the
same in words and numbers. Whatever runs the graph agrees with the extraction to the last bit,
which two implementations of a resize do not: pixels off by one grey level in a hundred move the
features of a quantised core by a fifth.

Against Pillow's resize of the same uint8 picture the mean difference is 0.003 to 0.05 grey levels,
and 0.2 where Pillow 13 resizes a tall picture's columns first: the graph always resizes its rows
first.
"""

from __future__ import annotations

import math
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, SourceError, UsageError
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import channel_count, check, output_size, resize_box
from dof_arrow.media.array import is_thrice

if TYPE_CHECKING:
    import onnx
    from onnxruntime import InferenceSession


Picture = npt.NDArray[np.uint8]

MAX_PIXELS = 1 << 26  # of a resized picture

_ONNX_TYPES = {"float32": "float", "float16": "float16", "uint8": "uint8"}


def resized_size(spec: Preprocessing, height: int, width: int) -> tuple[int, int]:
    """Height and width after the resize: torchvision's rule, the free side rounded down.

    >>> from dof_arrow.format.spec.preprocessing import presets
    >>> resized_size(presets()["imagenet"], 300, 401)
    (256, 342)
    """
    if not spec.resize or (spec.as_is and (height, width) == output_size(spec)):
        return height, width
    box_height, box_width = resize_box(spec)
    # Each side where the other one fills the box.
    other_height = height * box_width // width
    other_width = width * box_height // height
    if spec.fit == "crop":
        return max(box_height, other_height), max(box_width, other_width)
    if spec.fit == "pad":
        return max(1, min(box_height, other_height)), max(1, min(box_width, other_width))
    return box_height, box_width


def build(spec: Preprocessing) -> onnx.ModelProto:
    """The graph of a declaration.

    It takes `picture` uint8 [height, width, channels], and gives `input` [1, …] in the core's
    layout. Equal declarations give equal bytes. Raises UsageError for a declaration that
    contradicts itself.

    >>> from dof_arrow.format.spec.preprocessing import presets
    >>> build(presets()["imagenet"]).graph.output[0].name
    'input'
    """
    import onnx.parser

    check(spec)
    model: onnx.ModelProto = onnx.parser.parse_model(graph_text(spec))
    return model


def graph_text(spec: Preprocessing, *, grey_once: bool = False) -> str:
    """The graph in ONNX's textual form; steps that a declaration leaves out are Identity.

    With `grey_once` it takes one channel, resizes that, and goes on as if it were three: each
    channel is resized by itself, in whole numbers, so that the bits are the same.
    """
    channels = 1 if grey_once else channel_count(spec)
    given = f"uint8[height, width, {channels}] picture"
    made = f"{_output_type(spec)} input"
    framed = "framed"
    steps = [_START, _resize(spec, channels), _frame(spec)]
    if grey_once:
        framed = "thrice"
        steps.append("    thrice = Concat <axis = 3> (framed, framed, framed)\n")
    steps += [_arrange(spec, framed), _normalise(spec)]
    head = '<ir_version: 8, opset_import: ["" : 18], producer_name: "dof-arrow">'
    return f"{head}\npreprocessing ({given}) => ({made}) {{{''.join(steps)}}}"


class Preprocess:
    """A core's preprocessing, ready to run: uint8 [h, w, c] to the core's input for one picture.

    The result has no batch axis. It runs on one thread, and is safe to call from several at once.
    `graph` holds the ONNX bytes: those given, or those of `build`. `is_checked` as in
    `graph.session`.
    """

    def __init__(
        self, spec: Preprocessing, data: bytes | None = None, *, is_checked: bool = False
    ) -> None:
        check(spec)
        self.spec = spec
        self.graph = data or graph.to_bytes(build(spec))
        if not is_checked:
            # A graph out of a file is checked as strictly as any model: no weights outside it.
            graph.from_bytes(self.graph, "the preprocessing graph")
        self._session = graph.session(self.graph, threads=1, is_checked=True)
        _check_interface(self._session, spec)
        self._making = Lock()

    @cached_property
    def _of_grey(self) -> InferenceSession | None:
        """Runs the same for grey pictures, on one channel; None for a graph that is not ours."""
        import onnx.parser

        with self._making:
            own = build(self.spec)
            graph.drop_notes(own)
            if graph.to_bytes(own) != self.graph:
                return None
            made = onnx.parser.parse_model(graph_text(self.spec, grey_once=True))
            return graph.session(graph.to_bytes(made), threads=1, is_checked=True)

    def __call__(self, picture: Picture, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """The core's input for one picture, written into `out` where that is given, C-contiguous.

        Raises UsageError for anything but uint8 [h, w, c], SourceError for a picture too elongated
        to resize.
        """
        check_picture(picture, channel_count(self.spec))
        check_size(self.spec, *picture.shape[:2])
        runner = self._session
        if is_thrice(picture) and self._of_grey is not None:
            runner = self._of_grey
            picture = picture[:, :, :1]
        feeds = {"picture": np.ascontiguousarray(picture)}
        if out is None:
            return graph.run(runner, feeds)[0][0]  # type: ignore[no-any-return]
        graph.run_into(runner, feeds, out[None])
        return out


def check_picture(picture: Picture, channels: int) -> None:
    """Raise UsageError for anything but a uint8 array [h, w, channels] with pixels in it."""
    expected = f"a uint8 array [h, w, {channels}]"
    if not isinstance(picture, np.ndarray):
        raise UsageError(
            "not a picture",
            expected=expected,
            found=type(picture).__name__,
            hint="Decode it first: dof_arrow.media.image.decode(data).",
        )
    is_picture = picture.ndim == 3 and picture.shape[2] == channels and picture.size > 0
    if picture.dtype != np.uint8 or not is_picture:
        raise UsageError(
            "not a picture",
            expected=expected,
            found=f"{picture.dtype} {list(picture.shape)}",
            hint="Give decoded pixels, 0-255, channels last.",
        )


def check_size(spec: Preprocessing, height: int, width: int) -> None:
    """Raise SourceError for a sliver of a picture.

    Resized by its shorter side it would fill the memory.
    """
    pixels = math.prod(resized_size(spec, height, width))
    if spec.resize and pixels > MAX_PIXELS:
        raise SourceError(
            "picture too elongated to resize",
            expected=f"at most {MAX_PIXELS} pixels",
            found=f"{height} x {width}, {pixels} pixels when resized",
            hint="Use --fit pad or squash.",
        )


def _check_interface(session: Any, spec: Preprocessing) -> None:
    """A graph that came with a core has the input and output that its declaration promises."""
    values = [*session.get_inputs(), *session.get_outputs()]
    found = [(value.name, value.type, len(value.shape)) for value in values]
    expected = [("picture", "tensor(uint8)", 3), ("input", f"tensor({_ONNX_TYPES[spec.dtype]})", 4)]
    if found != expected:
        raise CoreError(
            "the preprocessing graph does not fit its declaration",
            expected=str(expected),
            found=str(found),
            hint="Make it again: dof headless MODEL.onnx --preprocess … -o CORE.onnx",
        )


def _output_type(spec: Preprocessing) -> str:
    height, width = output_size(spec) or ("height", "width")
    channels = channel_count(spec)
    axes: tuple[int | str, ...] = (height, width, channels)
    if spec.layout == "NCHW":
        axes = (channels, height, width)
    return f"{_ONNX_TYPES[spec.dtype]}[1, {', '.join(map(str, axes))}]"


_START = """
    zero = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    sides = Constant <value_ints = [1, 2]> ()
    batch = Unsqueeze (picture, zero)
    stored = Shape <start = 0, end = 2> (picture)
"""

# The rule of `resized_size`: [h, w] of the picture, scaled to cover the box or to lie in it.
_SCALE_TO_BOX = """
    swapped = Constant <value_ints = [1, 0]> ()
    stored_across = Gather (stored, swapped)
    box_across = Gather (box, swapped)
    product = Mul (stored, box_across)
    other = Div (product, stored_across)
"""
_FIT = {
    "crop": _SCALE_TO_BOX + "    {size} = Max (box, other)\n",
    "pad": _SCALE_TO_BOX + "    inside = Min (box, other)\n    {size} = Max (inside, one)\n",
    "squash": "    {size} = Identity (box)\n",
}

# A picture of the final size is resized to its own size, which changes nothing.
_AS_IS = """
    is_side_final = Equal (stored, final)
    sides_final = Cast <to = 7> (is_side_final)
    both_final = ReduceMin (sides_final)
    is_final = Cast <to = 9> (both_final)
    size = Where (is_final, stored, fitted)
"""

# torchvision's rule: start at (size - crop) / 2, halves rounded to even.
_CENTRE_CROP = """
    excess = Sub (size, frame)
    excess_float = Cast <to = 1> (excess)
    half = Constant <value = float[1] {0.5}> ()
    middle = Mul (excess_float, half)
    rounded = Round (middle)
    start = Cast <to = 7> (rounded)
    stop = Add (start, frame)
    framed = Slice (resized, start, stop, sides)
"""

# An odd row or column goes below or to the right.
_PAD = """
    missing = Sub (frame, size)
    two = Constant <value_ints = [2]> ()
    before = Div (missing, two)
    after = Sub (missing, before)
    pads = Concat <axis = 0> (before, after)
    framed = Pad (resized, pads, fill, sides)
"""


def _resize(spec: Preprocessing, channels: int) -> str:
    """`resized` uint8 [1, h, w, c] and its `size` [h, w]."""
    if not spec.resize:
        return "    size = Identity (stored)\n    resized = Identity (batch)\n"
    how = f'mode = "{spec.interpolation}", antialias = 1'
    how += ', coordinate_transformation_mode = "half_pixel"'
    if spec.interpolation == "cubic":
        how += ", cubic_coeff_a = -0.5"
    # Sizes of all four axes: onnxruntime 1.31 does not load a uint8 linear resize that names axes.
    return f"""
    box = Constant <value_ints = {list(resize_box(spec))}> ()
    {_size(spec)}
    channels = Constant <value_ints = [{channels}]> ()
    sizes = Concat <axis = 0> (one, size, channels)
    resized = Resize <{how}> (batch, , , sizes)
"""


def _size(spec: Preprocessing) -> str:
    """`size` [h, w] after the resize."""
    if not spec.as_is:
        return _FIT[spec.fit].format(size="size")
    final = f"    final = Constant <value_ints = {list(output_size(spec) or ())}> ()"
    return _FIT[spec.fit].format(size="fitted") + final + _AS_IS


def _frame(spec: Preprocessing) -> str:
    """`framed` uint8 [1, height, width, c]: cropped about the centre, or padded around it."""
    if not spec.crop:
        return "    framed = Identity (resized)\n"
    steps = _CENTRE_CROP
    if spec.fit == "pad":
        steps = f"    fill = Constant <value = uint8 {{{spec.fill}}}> (){_PAD}"
    return f"""
    frame = Constant <value_ints = {list(spec.crop)}> ()
    {steps}
"""


def _arrange(spec: Preprocessing, framed: str) -> str:
    """`arranged` uint8: axes in the core's layout, channels in its order."""
    laid_out = f"Identity ({framed})"
    channel_axis = 3
    if spec.layout == "NCHW":
        laid_out = f"Transpose <perm = [0, 3, 1, 2]> ({framed})"
        channel_axis = 1
    if spec.channels != "BGR":
        return f"    arranged = {laid_out}\n"
    return f"""
    laid_out = {laid_out}
    blue_first = Constant <value_ints = [2, 1, 0]> ()
    arranged = Gather <axis = {channel_axis}> (laid_out, blue_first)
"""


def _normalise(spec: Preprocessing) -> str:
    """`input` = (arranged * scale - mean) / std in float32, then in the core's element type."""
    if spec.dtype == "uint8":
        return "    input = Identity (arranged)\n"
    scale = () if spec.scale == 1 else (spec.scale,)
    last = "Cast <to = 10> (normal)" if spec.dtype == "float16" else "Identity (normal)"
    return f"""
    pixels = Cast <to = 1> (arranged)
    {_per_channel(spec, "scaled", "Mul", "pixels", scale)}
    {_per_channel(spec, "centred", "Sub", "scaled", spec.mean)}
    {_per_channel(spec, "normal", "Div", "centred", spec.std)}
    input = {last}
"""


def _per_channel(
    spec: Preprocessing, name: str, operator: str, value: str, numbers: tuple[float, ...]
) -> str:
    """`name` made of `value` with one number for all channels, or one for each, or none."""
    if not numbers:
        return f"{name} = Identity ({value})"
    shape = [1, len(numbers), 1, 1] if spec.layout == "NCHW" else [1, 1, 1, len(numbers)]
    literal = ", ".join(repr(float(number)) for number in numbers)
    return f"""by_{name} = Constant <value = float{shape} {{{literal}}}> ()
    {name} = {operator} ({value}, by_{name})"""
