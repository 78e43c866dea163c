"""torch's own exporter, with its warnings and moods kept in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.graph import model
from dof_arrow.cores.graph.model import Array
from dof_arrow.errors import MissingExtra

if TYPE_CHECKING:
    from onnx import ModelProto
import io
import warnings


def onnx_of(module: Any, sample: Array, **options: Any) -> ModelProto:
    """A module of torch as ONNX, its own functions written out, the first axis of its one input free."""
    import torch

    held = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, on its own parts
        try:
            program = torch.onnx.export(
                module,
                (torch.from_numpy(sample),),
                dynamo=True,
                opset_version=model.OPSET,
                verbose=False,
                dynamic_shapes=({0: torch.export.Dim("N")},),
                **options,
            )
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"{error.name} is not installed", hint="pip install onnxscript"
            ) from error
    program.save(held)
    return model.raise_opset(model.inlined(model.from_bytes(held.getvalue())))


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Let a module run as it predicts, not as it trains; afterwards it is as before."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
