"""Weights that an ONNX model keeps in files of their own: read only from the model's folder, and only in full."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import TensorProto

_AGAIN = "Export or download the model again."


def inline(tensor: TensorProto, find: Callable[[str], Path], where: str) -> None:
    """Bring a tensor's bytes into the tensor from their file, which `find` finds by the name that the model gives it.

    Raises CoreError if the file does not hold the bytes declared.
    """
    import onnx

    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = find(entries.get("location", ""))
    expected = -(-math.prod(tensor.dims) * _bits(tensor.data_type) // 8)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
        if length != expected or min(offset, length) < 0 or offset + length > path.stat().st_size:
            raise ValueError(f"bytes {offset} to {offset + length} of {path.stat().st_size}")
        with path.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
    except (OSError, ValueError) as error:
        raise CoreError(f"the weights {tensor.name} cannot be read", where, f"{expected} bytes in {path.name}",
                        str(error), _AGAIN) from error
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def is_beside(location: str | bytes) -> bool:
    """Whether a name leads into a folder, or below, whatever it may hold: no absolute path, no way up.

    >>> is_beside("model.onnx_data"), is_beside("../model.onnx_data")
    (True, False)
    """
    if not isinstance(location, str) or "\0" in location or os.path.isabs(location):
        return False
    return bool(location) and not {"", ".."} & set(location.replace("\\", "/").split("/"))


def in_folder(location: str, *, folder: Path, where: str) -> Path:
    """The file `location`, which must lie in `folder` once every link is followed; CoreError otherwise."""
    home = folder.resolve()
    if is_beside(location):
        path = (home / location).resolve()
        if path.is_relative_to(home) and path.is_file():
            return path
    raise CoreError("the model's weights do not lie beside it", where, "a file in the model's own folder",
                    repr(location), "Put the weights into the model's folder, as a file and not as a link.")


def _bits(data_type: int) -> int:
    import onnx

    if data_type == onnx.TensorProto.STRING or data_type not in onnx.TensorProto.DataType.values():
        raise CoreError("weights of this type cannot lie in another file", found=f"type {data_type}", hint=_AGAIN)
    name = onnx.TensorProto.DataType.Name(data_type)
    packed = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    return packed.get(name) or 8 * onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize
