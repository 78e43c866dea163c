"""A picture input that a model leaves open: which axis is which, and of what size pictures are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dof_arrow.cores.graph import batch_axis
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError

if TYPE_CHECKING:
    from onnx import ModelProto

_AXES = 4  # of pictures: [n, c, h, w] or [n, h, w, c]
_USUAL = (224, 224)  # tried where nobody says a size

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Picture:
    """What a model may take: pictures of these channels and this size, channels first or last."""

    channels: int
    size: Size
    channels_last: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        if self.channels_last:
            return (*self.size, self.channels)
        return (self.channels, *self.size)

    @property
    def channel_axis(self) -> int:
        return 2 if self.channels_last else 0

    def agrees(self, taken: tuple[int | str, ...]) -> bool:
        """Whether a model that takes rows of this shape, open axes aside, takes such pictures."""
        sides = zip(self.shape, taken, strict=True)
        return all(own == side for own, side in sides if _is_fixed(side))


def settled(model: ModelProto, size: Size | None, *, grey: bool = False) -> ModelProto:
    """The model with its open axes written down, as far as `size` says them or a run shows them.

    Where the channels may lie on either side, the model is run on both; height and width stay open
    where `size` is None. A model that leaves nothing open is given back as it is. Raises UsageError
    for a size that the model does not take, CoreError where it runs on neither side.
    """
    values = graph.inputs(model)
    if len(values) != 1 or len(graph.dims(values[0])) != _AXES:
        return model
    taken = graph.dims(values[0])[1:]
    if size is None and any(map(_is_fixed, (taken[0], taken[2]))):
        return model
    fitting = [each for each in _pictures(size or _USUAL, grey=grey) if each.agrees(taken)]
    if not fitting:
        raise _other_size(model, taken, size or _USUAL)
    if all(map(_is_fixed, taken)):
        return model
    for each in fitting:
        if len(fitting) == 1 or _runs(_written(model, each, with_size=True)):
            return _written(model, each, with_size=size is not None)
    raise CoreError(
        "the model leaves its input open, and does not run on pictures of this size",
        model.graph.name,
        f"{values[0].name} [N, C, H, W] or [N, H, W, C]",
        " x ".join(map(str, size or _USUAL)),
        "Say the size that it takes: --size H,W, with --grey for one channel.",
    )


def _pictures(size: Size, *, grey: bool) -> Iterator[_Picture]:
    for channels in (1,) if grey else (3, 1):
        for channels_last in (False, True):
            yield _Picture(channels, size, channels_last)


def _written(model: ModelProto, picture: _Picture, *, with_size: bool) -> ModelProto:
    """A copy with the channels of a picture written into its input, or its size too."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    axes = list(graph.inputs(copy)[0].type.tensor_type.shape.dim)[1:]
    for place, axis in enumerate(axes):
        if with_size or place == picture.channel_axis:
            axis.Clear()
            axis.dim_value = picture.shape[place]
    return copy


def _runs(model: ModelProto) -> bool:
    value = graph.inputs(model)[0]
    rows = batch_axis.sample(value, batch_axis.size(model) or 1)
    try:
        graph.run(graph.session(graph.to_bytes(model)), {value.name: rows})
    except CoreError:
        return False
    return True


def _is_fixed(side: int | str) -> bool:
    return isinstance(side, int) and side > 0


def _other_size(model: ModelProto, taken: tuple[int | str, ...], size: Size) -> UsageError:
    return UsageError(
        "the model does not take pictures of this size and these channels",
        model.graph.name,
        str(list(taken)),
        " x ".join(map(str, size)),
        "Leave --size and --grey out: the model says them itself.",
    )
