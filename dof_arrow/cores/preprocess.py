"""Preprocessing as an ONNX graph: a decoded picture of any size in, a core's input out.

SPEC section 4.4. The graph is the definition; the declaration (`metadata.Preprocessing`) says the
same in words and numbers. Whatever runs the graph agrees with the extraction to the last bit,
which two implementations of a resize do not: pixels off by one grey level in a hundred move the
features of a quantised core by a fifth.

The resize goes along the rows, then along the columns, with whole levels after each, as Pillow's
does: against Pillow's of the same picture a few pixels in 10,000 are off by one level, and more
where Pillow 13 resizes a tall picture's columns first. Small pictures are resized in float32, which
ONNX Runtime does faster, large ones in uint8, which takes a quarter of the memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.preprocess_graph import ONNX_TYPES, graph_text
from dof_arrow.errors import CoreError, SourceError, UsageError
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import channel_count, check, output_size, resize_box
from dof_arrow.media.array import is_thrice

if TYPE_CHECKING:
    import onnx


Picture = npt.NDArray[np.uint8]

MAX_PIXELS = 1 << 26  # of a resized picture

_NOISE_SIZE = (224, 224)  # pixels, where a model leaves their number free


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

    It takes `picture` uint8 [height, width, channels], of three channels or of one, which stands
    for all three, and gives `input` [1, …] in the core's layout. Equal declarations give equal
    bytes. Raises UsageError for a declaration that contradicts itself.

    >>> from dof_arrow.format.spec.preprocessing import presets
    >>> build(presets()["imagenet"]).graph.output[0].name
    'input'
    """
    import onnx.parser

    check(spec)
    model: onnx.ModelProto = onnx.parser.parse_model(graph_text(spec))
    return model


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
        self._takes_grey = not isinstance(self._session.get_inputs()[0].shape[2], int)

    def __call__(self, picture: Picture, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """The core's input for one picture, written into `out` where that is given, C-contiguous.

        Raises UsageError for anything but uint8 [h, w, c], SourceError for a picture too elongated
        to resize.
        """
        check_picture(picture, channel_count(self.spec))
        check_size(self.spec, *picture.shape[:2])
        feeds = {"picture": held(picture, takes_grey=self._takes_grey)}
        if out is None:
            return graph.run(self._session, feeds)[0][0]  # type: ignore[no-any-return]
        graph.run_into(self._session, feeds, out[None])
        return out


def held(picture: Picture, *, takes_grey: bool) -> Picture:
    """Pixels as a graph is to take them: C-contiguous, one channel where three are one in memory.

    Graphs that earlier versions made take three channels of each picture, not grey ones of one.
    """
    if is_thrice(picture) and takes_grey:
        picture = picture[:, :, :1]
    return np.ascontiguousarray(picture)


def noise(channels: int, size: tuple[int, int] | None = None) -> Picture:
    """A picture of seeded noise, on which two programs that run a model are compared."""
    height, width = size or _NOISE_SIZE
    shape = (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


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
    expected = [("picture", "tensor(uint8)", 3), ("input", f"tensor({ONNX_TYPES[spec.dtype]})", 4)]
    if found != expected:
        raise CoreError(
            "the preprocessing graph does not fit its declaration",
            expected=str(expected),
            found=str(found),
            hint="Make it again: dof headless MODEL.onnx --preprocess … -o CORE.onnx",
        )
