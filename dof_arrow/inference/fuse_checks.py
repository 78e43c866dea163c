"""Whether cores and heads make one model, and which kind of model they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.core import Core, wanted
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.inference.model_parts import CLIP, PICTURE, PICTURES, WINDOWS
from dof_arrow.inference.window_graph import Windows

if TYPE_CHECKING:
    from onnx import ModelProto

HEAD = "dof.head"
Json = Any


def check_names(heads: Mapping[str, bytes]) -> None:
    """Raise UsageError for names that cannot be outputs of one model, and without any head."""
    taken = ("", PICTURE, PICTURES, CLIP)
    wrong = [name for name in heads if "/" in name or name in taken]
    if not heads or wrong:
        raise UsageError(
            "heads need names for their outputs",
            expected=f"names other than {PICTURE}, without /",
            found=", ".join(map(repr, wrong)) or "no head",
            hint="Rename the head's file: its output bears that name.",
        )


def description(name: str, head: ModelProto) -> dict[str, Any]:
    """What a head says of itself; CoreError if it says nothing."""
    try:
        about = parsed(graph.properties(head)[HEAD])
    except (KeyError, ValueError):
        about = None
    if isinstance(about, dict):
        return about
    raise CoreError(
        "the head does not say which core it was trained on",
        name,
        f"the property {HEAD}, a JSON object",
        hint="Make it with dof train or dof_arrow.export_head.",
    )


def read_by(about: Json) -> list[Any]:
    """The digests of the cores whose features a head reads, side by side in this order."""
    inputs = about.get("inputs") or [about]
    return [each.get("core_sha256") for each in inputs]


def check_head(cores: Sequence[Core], name: str, head: ModelProto) -> Json:
    """A head's description; CoreError unless it was trained on these cores and takes them."""
    about = description(name, head)
    widths = {core.sha256: math.prod(core.output_shape) for core in cores}
    read = read_by(about)
    foreign = [str(sha256) for sha256 in read if sha256 not in widths]
    if foreign:
        raise CoreError(
            "the head was trained on another core",
            name,
            f"core {' and '.join(foreign)}",
            ", ".join(widths),
            "Pass every core whose sha256 the dataset names: dof info DATASET.",
        )
    _check_input(about, name, head, [widths[sha256] for sha256 in read])
    return about


def _check_input(about: Json, name: str, head: ModelProto, widths: list[int]) -> None:
    """Raise CoreError unless the head has one input for features of these widths."""
    axes = ["N", "T"] if about.get("clips") else ["N"]
    expected = [*axes, " + ".join(map(str, widths))]
    found = []
    for value in graph.inputs(head):
        dtype = graph.dtype(value).name
        found.append((value.name, dtype, graph.dims(value)))
    inputs = about.get("inputs") or []
    declared = [each.get("width") for each in inputs]
    sound = not declared or declared == widths
    if not sound or not _takes_features(found, len(expected), sum(widths)):
        raise CoreError(
            "the head does not take this core's features",
            name,
            f"feature float32 [{', '.join(expected)}]",
            str(found),
            "Train it on a dataset that this core made: dof train DATASET -o HEAD.onnx",
        )


def _takes_features(found: Sequence[tuple[str, str, Any]], axes: int, width: int) -> bool:
    """Whether the only input is `feature` float32 of so many axes, the last of this width."""
    if len(found) != 1:
        return False
    name, dtype, shape = found[0]
    if name != "feature" or dtype != "float32" or len(shape) != axes:
        return False
    return shape[-1] in (width, "")  # "" is a width that is not declared


def check_cores(cores: Sequence[Core], about: Mapping[str, Json]) -> None:
    """Raise UsageError for cores that cannot be joined.

    All see single pictures or none does, decoded in one way; each is there once, for some head.
    """
    kinds = {core.time_axis is None for core in cores}
    if len(kinds) > 1:
        raise UsageError(
            "cores of single pictures and of windows do not make one model",
            expected="one kind of cores",
            found=", ".join(core.name for core in cores),
            hint="Fuse them one by one.",
        )
    _check_each_once(cores, about)
    ways = {wanted(core): core.name for core in cores}
    if len(ways) > 1:
        raise UsageError(
            "the cores want pictures decoded in different ways",
            expected="one way for all",
            found="; ".join(_spoken(way, name) for way, name in ways.items()),
            hint="Make them alike: dof headless MODEL.onnx --preprocess SPEC.json",
        )


def _check_each_once(cores: Sequence[Core], about: Mapping[str, Json]) -> None:
    read: set[Any] = set()
    for each in about.values():
        read.update(read_by(each))
    idle = [core.name for core in cores if core.sha256 not in read]
    different = {core.sha256 for core in cores}
    if idle or len(different) < len(cores):
        raise UsageError(
            "a core too many",
            expected="each once, and a head that reads its features",
            found=", ".join(idle) or "one core twice",
            hint="Leave its --core out.",
        )


def _spoken(way: tuple[Any, ...], name: str) -> str:
    """How a core wants pictures decoded."""
    mode, orientation, draft = way
    return f"{name} {mode}, orientation {orientation}, draft {draft}"


def input_kind(cores: Sequence[Core], about: Mapping[str, Json], batch: bool) -> str:
    """What the model takes: PICTURE, PICTURES, CLIP or WINDOWS.

    Raises UsageError for heads of clips beside heads of rows, and for a batch of clips.
    """
    clips = {name: bool(each.get("clips")) for name, each in about.items()}
    if len(set(clips.values())) > 1:
        kinds = []
        for name, timed in clips.items():
            kinds.append(f"{name} of clips" if timed else f"{name} of rows")
        raise UsageError(
            "heads of clips and heads of single rows do not make one model",
            expected="one kind of heads",
            found=", ".join(kinds),
            hint="Fuse them one by one.",
        )
    of_clips = any(clips.values())
    in_windows = cores[0].time_axis is not None
    if batch and (of_clips or in_windows):
        raise UsageError("a model of clips takes one clip at a time", hint="Leave --batch out.")
    if of_clips:
        return CLIP
    if in_windows:
        return WINDOWS
    return PICTURES if batch else PICTURE


def windows_of(cores: Sequence[Core], about: Mapping[str, Json]) -> Windows | None:
    """The windows of frames that cores see, as the heads' datasets had them; None for pictures.

    Raises CoreError if no head says how long a window is, UsageError if heads differ.
    """
    if all(core.time_axis is None for core in cores):
        return None
    samplings = [each.get("sampling") or {} for each in about.values()]
    said = [core.window for core in cores]
    said += [each.get("window") for each in samplings]
    lengths = {int(length) for length in said if length}
    if not lengths:
        raise CoreError(
            "the head does not say how many frames the core is to see at once",
            cores[0].name,
            hint="Train it again on a dataset of clips, extracted with --window.",
        )
    found = set()
    for length in lengths:
        for each in samplings:
            stride = int(each.get("stride") or length)
            found.add(Windows(length, stride))
    if len(found) > 1:
        spoken = [f"{each.length} frames every {each.stride}" for each in sorted(found)]
        raise UsageError(
            "the heads were trained on different windows",
            expected="one length and stride",
            found=", ".join(spoken),
            hint="Fuse them one by one.",
        )
    return found.pop()
