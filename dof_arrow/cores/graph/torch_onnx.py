"""torch's own exporter, called so that its warnings and side effects stay inside."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.graph.derive import inlined, raise_opset
from dof_arrow.cores.graph.load import from_bytes
from dof_arrow.cores.graph.names import OPSET, Array
from dof_arrow.errors import MissingExtra

if TYPE_CHECKING:
    from onnx import ModelProto


def onnx_of(module: Any, sample: Array, **options: Any) -> ModelProto:
    """A module of torch as ONNX, its functions written out, the first axis of its one input free.

    Raises MissingExtra where onnxscript is not installed.
    """
    import torch

    held = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own parts
        try:
            program = torch.onnx.export(
                module,
                (torch.from_numpy(sample),),
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
                dynamic_shapes=({0: torch.export.Dim("N")},),
                **options,
            )
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"{error.name} is not installed", hint="pip install onnxscript"
            ) from error
    program.save(held)
    return raise_opset(inlined(from_bytes(held.getvalue())))


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Let a module run as it predicts, not as it trains; afterwards each part is as before."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
