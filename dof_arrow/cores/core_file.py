"""What a core's file says of itself: its description and its preprocessing, in its properties."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.core_input import check_preprocessing, input_of
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import training
from dof_arrow.cores.preprocess import build
from dof_arrow.errors import CoreError, FormatError, UsageError
from dof_arrow.format.spec import json_model, metadata
from dof_arrow.format.spec.metadata import CoreMetadata, Preprocessing, TensorSpec
from dof_arrow.format.spec.preprocessing import presets

if TYPE_CHECKING:
    from onnx import ModelProto

DESCRIPTION = "dof.core"
PREPROCESSING_GRAPH = "dof.preprocessing.graph"
FROM_ORIGINAL = "dof headless MODEL.onnx --preprocess … -o CORE.onnx"

# Worked out from the file, or kept in a property of its own.
_NOT_DESCRIBED = frozenset({"sha256", "graph", "preprocessing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreFacts:
    """All that is read from a core's file before it is run: read once, it need not be read again.

    `row` is the shape of one row of features, None where the file leaves it open.
    """

    about: CoreMetadata
    input: TensorSpec
    output_name: str
    row: tuple[int, ...] | None


def facts(data: bytes) -> CoreFacts:
    """What a core's file says, checked; it is a model of pictures that draws no random numbers.

    Raises CoreError for anything else, UsageError for a core that carries no preprocessing.
    """
    model = graph.from_bytes(data, "core")
    training.refuse_random(model)
    about = description(model, data)
    taken = input_of(model)
    check_preprocessing(about.preprocessing, taken, about.name)
    name, row = features_of(model)
    return CoreFacts(about=about, input=taken, output_name=name, row=row)


def is_core(model: ModelProto) -> bool:
    """Whether a model says that it is a core."""
    return DESCRIPTION in graph.properties(model)


def describe(
    model: ModelProto, about: json_model.Json, spec: Preprocessing | None, name: str
) -> bytes:
    """The bytes of a model with its description in its properties, and its preprocessing if any.

    It has no other properties, and no notes: they may say who made the model, where, from whom.
    Raises CoreError where the preprocessing does not make what the model takes.
    """
    kept = {key: value for key, value in about.items() if key not in _NOT_DESCRIBED}
    values = {}
    graph.drop_notes(model)
    if spec is not None:
        check_preprocessing(spec, input_of(model), name)
        kept["preprocessing"] = json_model.to_json(spec)
        values[PREPROCESSING_GRAPH] = base64.b64encode(graph.to_bytes(build(spec))).decode()
    values[DESCRIPTION] = json.dumps(
        kept, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )
    graph.set_properties(model, values)
    return graph.to_bytes(model)


def description(model: ModelProto, data: bytes) -> CoreMetadata:
    """What a core's file says of itself, checked; `data` are the bytes of `model`.

    Raises UsageError where it carries no preprocessing, CoreError where it is not valid.
    """
    about = read_json(model)
    if "preprocessing" not in about:
        raise UsageError(
            "the core carries no preprocessing, and it is never guessed",
            str(about.get("name", "core")),
            hint=f"Pass --preprocess with one of {', '.join(presets())}, or a JSON file.",
        )
    digest = hashlib.sha256(data).hexdigest()
    try:
        made = _preprocessing_graph(model)
        return metadata.from_json({**about, "sha256": digest, "graph": made}, CoreMetadata)
    except (FormatError, binascii.Error) as error:
        raise _invalid(error) from None


def _preprocessing_graph(model: ModelProto) -> str:
    """The graph of a core's preprocessing, base64, without notes: it goes into every dataset.

    Raises binascii.Error, and CoreError for what is no graph.
    """
    text = graph.properties(model).get(PREPROCESSING_GRAPH, "")
    data = base64.b64decode(text, validate=True)
    made = graph.from_bytes(data, "the preprocessing graph")
    graph.drop_notes(made)
    return base64.b64encode(graph.to_bytes(made)).decode()


def read_json(model: ModelProto) -> dict[str, Any]:
    """A core's description, not yet checked; CoreError where the model has none."""
    text = graph.properties(model).get(DESCRIPTION)
    if text is None:
        raise CoreError(
            "the model is no core",
            model.graph.name,
            f"the property {DESCRIPTION}",
            "none",
            f"Make a core of it: {FROM_ORIGINAL}",
        )
    try:
        return metadata.parse(text.encode())  # type: ignore[no-any-return]
    except FormatError as error:
        raise _invalid(error) from None


def features_of(model: ModelProto) -> tuple[str, tuple[int, ...] | None]:
    """The name of a core's output, and the shape of one row; None where the file leaves it open.

    Raises CoreError for other outputs than one of float32.
    """
    found = []
    for value in model.graph.output:
        found.append((value.name, graph.dtype(value).name, graph.dims(value)))
    if len(found) != 1 or found[0][1] != "float32":
        raise CoreError(
            "the core's output is not its features",
            expected="one float32 output",
            found=str(found),
            hint=f"Make it again: {FROM_ORIGINAL}",
        )
    name, _, shape = found[0]
    row = [axis for axis in shape[1:] if isinstance(axis, int) and axis > 0]
    is_known = len(shape) > 1 and len(row) == len(shape) - 1
    return name, tuple(row) if is_known else None


def _invalid(error: Exception) -> CoreError:
    return CoreError(
        "the core's description is not valid",
        found=str(error),
        hint=f"Make it again: {FROM_ORIGINAL}",
    )
