"""Tensors out of a file of `torch.save` in its first form (before torch 1.6), without torch."""

from __future__ import annotations

import numpy as np

from dof_arrow.cores.graph.model import Array
from dof_arrow.errors import CoreError, SourceError
from dof_arrow.storage.torch_tensors import TENSORS, read_old

# Besides ordered dictionaries, all that such a file may name: tensors of float32 and int64.
_NAMES = ("torch._utils._rebuild_tensor_v2", "torch.FloatStorage", "torch.LongStorage")
_ALLOWED = {name: TENSORS[name] for name in _NAMES}


def read_tensors(data: bytes, where: str) -> dict[str, Array]:
    """The tensors of a state dictionary by name, float32 or int64.

    Raises CoreError for other bytes, and for a file that names anything but tensors.
    """
    try:
        named = read_old(data, where, _ALLOWED)
    except SourceError as error:
        raise _refused(where, error.found or error.what) from None
    if not isinstance(named, dict):
        raise _refused(where, f"a {type(named).__name__}")
    for name, tensor in named.items():
        if not isinstance(name, str) or not isinstance(tensor, np.ndarray):
            raise _refused(where, "an entry that is no tensor")
    return dict(named)


def _refused(where: str, found: str) -> CoreError:
    return CoreError(
        "this is no file of tensors, or not one that can be trusted",
        where,
        "a state dictionary of torch, tensors of float32 and int64 alone",
        found,
        "Install the package again.",
    )
