"""What a fused model says of itself: the JSON of its property `dof.fused`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.metadata import CoreMetadata, parse
from dof_arrow.heads.head import Head
from dof_arrow.inference.model_parts import CLIP, PICTURE, PICTURES
from dof_arrow.media.frames import EVERY, Sampling

_COMMAND = "dof fuse --core CORE.onnx --head HEAD.onnx -o MODEL.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """What a fused model's property `dof.fused` says."""

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
    def reads_whole_clips(self) -> bool:
        """Whether some head reads clips, not single rows."""
        return any(head.clips for head in self.heads.values())

    @property
    def clips(self) -> bool:
        """Whether the model takes clips, not pictures."""
        return self.window is not None or self.reads_whole_clips

    @property
    def sampling(self) -> Sampling:
        """The frames of a clip that all heads were trained on; every frame if they differ."""
        samplings = [dict(head.sampling) for head in self.heads.values()]
        if not samplings or any(each != samplings[0] for each in samplings):
            return EVERY
        return json_model.from_json(samplings[0], Sampling)


def description(model: Any, where: str) -> Fused:
    """The description in an ONNX model.

    Raises CoreError for a model without one, FormatError for one that is not valid.
    """
    about = graph.properties(model).get("dof.fused")
    if about is None:
        raise CoreError(
            "not a fused model",
            where,
            "preprocessing, core and heads in one file",
            hint=f"Make one: {_COMMAND}",
        )
    return json_model.from_json(parse(about.encode()), Fused)


def check_interface(session: Any, fused: Fused, where: str) -> None:
    """Raise CoreError unless the model has the inputs and outputs that its description says."""
    expected = {name: len(head.classes) or 1 for name, head in fused.heads.items()}
    outputs = session.get_outputs()
    widths = {output.name: output.shape[-1] for output in outputs if output.shape}
    inputs = [value.name for value in session.get_inputs()]
    taken = [CLIP] if fused.clips else [PICTURE, PICTURES]
    sound = len(inputs) == 1 and inputs[0] in taken
    for name, width in expected.items():
        sound = sound and widths.get(name) == width
    if not sound or not expected or not fused.cores:
        raise CoreError(
            "the fused model is not what it says",
            where,
            f"{taken[0]} in, {expected} out",
            f"{', '.join(inputs)} in, {widths} out",
            f"Make it again: {_COMMAND}",
        )
