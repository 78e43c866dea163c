"""What a model keeps in other files: found in whatever field it stands, brought in, or refused."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dof_arrow.cores.graph.messages import AGAIN, shown
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message
    from onnx import ModelProto, TensorProto

NODE = "onnx.NodeProto"

_TENSOR = "onnx.TensorProto"
_COMPILED = "EPContext"  # reads what a provider compiled, maybe from a file that it names
_PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_KEY = re.compile(rb"\s*[0-9a-fA-F]{64,}\s*")  # see `security.keys`
_KEY_ROOM = 1 << 10  # bytes; no file longer than this is a key
_INSIDE = "Save it with its weights inside: onnx.save(onnx.load('MODEL.onnx'), 'WHOLE.onnx')."

Find = Callable[[str], Path]


def within(message: Message, kind: str) -> Iterator[Any]:
    """Every message of one kind, by its full name, anywhere in a message, that itself included.

    Protobuf says which fields there are: a list kept by hand would miss those of a later onnx.
    Only fields that may lead to that kind are read, so the bytes of weights are never touched.

    >>> import onnx
    >>> model = onnx.ModelProto()
    >>> model.functions.add().attribute_proto.add().t.name = "w"
    >>> [tensor.name for tensor in within(model, "onnx.TensorProto")]
    ['w']
    """
    ahead = [message]
    while ahead:
        here = ahead.pop()
        if here.DESCRIPTOR.full_name == kind:
            yield here
        for field in _fields_towards(kind, here.DESCRIPTOR):
            ahead.extend(_held(here, field))


def bring_in(model: ModelProto, where: str, find: Find | None = None) -> None:
    """Read into a model what it keeps in other files; `find` finds them by their names.

    Raises CoreError where `find` is None or finds no file, and for a model of compiled code.
    """
    if _is_compiled(model):
        raise CoreError(
            "the model is compiled for one machine",
            where,
            "operators of ONNX",
            f"the operator {_COMPILED}",
            "Take the model that it was compiled from.",
        )
    for tensor in within(model, _TENSOR):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        if find is None:
            raise CoreError(
                "the model's weights lie in another file",
                where,
                "weights inside the model",
                shown(tensor.name),
                _INSIDE,
            )
        inline(tensor, find, where)


def _is_compiled(model: ModelProto) -> bool:
    return any(node.op_type == _COMPILED for node in within(model, NODE))


def inline(tensor: TensorProto, find: Find, where: str) -> None:
    """Bring a tensor's bytes into it from their file, which `find` finds by its name.

    Raises CoreError if the file does not hold the bytes declared.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = find(entries.get("location", ""))
    bits = math.prod(tensor.dims) * _bits(tensor.data_type)
    expected = -(-bits // 8)  # bytes, rounded up
    try:
        tensor.raw_data = _part(path, entries, expected)
    except (OSError, ValueError) as error:
        raise CoreError(
            f"the weights {shown(tensor.name)} cannot be read",
            where,
            f"{expected} bytes in {shown(path.name)}",
            str(error),
            AGAIN,
        ) from error
    tensor.data_location = tensor.DEFAULT
    del tensor.external_data[:]


def is_beside(location: str | bytes) -> bool:
    """Whether a name leads into a folder, or below: it is no absolute path and has no way up.

    >>> is_beside("model.onnx_data"), is_beside("../model.onnx_data")
    (True, False)
    """
    if not isinstance(location, str) or "\0" in location or os.path.isabs(location):
        return False
    return bool(location) and not {"", ".."} & set(_parts(location))


def may_hold_weights(location: str | bytes) -> bool:
    """Whether a name leads into a folder, or below, to no hidden file: settings and keys often are.

    >>> may_hold_weights("./model.onnx_data"), may_hold_weights(".ssh/id_rsa")
    (True, False)
    """
    if not isinstance(location, str) or not is_beside(location):
        return False
    return not any(part.startswith(".") and part != "." for part in _parts(location))


def in_folder(location: str, *, folder: Path, where: str) -> Path:
    """The file `location`, in `folder` once links are followed; CoreError if it is elsewhere."""
    home = folder.resolve()
    if may_hold_weights(location):
        path = (home / location).resolve()
        if path.is_relative_to(home) and path.is_file():
            return path
    raise CoreError(
        "the model's weights do not lie beside it",
        where,
        "a file in the model's own folder, not hidden",
        shown(location),
        "Put the weights into the model's folder, as a file and not as a link.",
    )


class _Field(NamedTuple):
    """A field that holds messages: one, several, or several by key."""

    name: str
    repeated: bool
    keyed: bool


@cache
def _fields_towards(kind: str, holder: Descriptor) -> tuple[_Field, ...]:
    """The fields of a message through which messages of this kind may be reached."""
    found: list[_Field] = []
    for field in _holding(holder):
        if kind in _reachable(field.message_type):
            keyed = field.message_type.GetOptions().map_entry
            found.append(_Field(field.name, field.is_repeated, keyed))
    return tuple(found)


@cache
def _reachable(holder: Descriptor) -> frozenset[str]:
    """The full names of all kinds of message that one may hold, with its own."""
    names: set[str] = set()
    ahead = [holder]
    while ahead:
        here = ahead.pop()
        if here.full_name not in names:
            names.add(here.full_name)
            ahead.extend(field.message_type for field in _holding(here))
    return frozenset(names)


def _holding(holder: Descriptor) -> list[FieldDescriptor]:
    """The fields of a message that hold messages."""
    return [field for field in holder.fields if field.message_type is not None]


def _held(message: Message, field: _Field) -> Iterable[Message]:
    """The messages in a field."""
    if field.keyed:
        return getattr(message, field.name).values()  # type: ignore[no-any-return]
    if field.repeated:
        return getattr(message, field.name)  # type: ignore[no-any-return]
    if message.HasField(field.name):
        return [getattr(message, field.name)]
    return []


def _part(path: Path, entries: dict[str, str], expected: int) -> bytes:
    """The bytes that a tensor declares; ValueError if it needs more or fewer, or they are a key."""
    size = path.stat().st_size
    start = int(entries.get("offset", 0))
    length = int(entries.get("length", expected))
    end = start + length
    if length != expected or min(start, length) < 0 or end > size:
        raise ValueError(f"bytes {start} to {end} of {size}")
    with path.open("rb") as file:
        # A core is made to be shared, and so is what is brought into it.
        if size <= _KEY_ROOM and _KEY.fullmatch(file.read()):
            raise ValueError("a key")
        file.seek(start)
        return file.read(length)


def _bits(data_type: int) -> int:
    """The bits that one number of a tensor takes in a file; CoreError for texts."""
    import onnx

    kinds = onnx.TensorProto.DataType
    if data_type == onnx.TensorProto.STRING or data_type not in kinds.values():
        raise CoreError(
            "weights of this type cannot lie in another file", found=f"type {data_type}", hint=AGAIN
        )
    name = kinds.Name(data_type)
    if name in _PACKED_BITS:
        return _PACKED_BITS[name]
    return 8 * int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _parts(location: str) -> list[str]:
    return location.replace("\\", "/").split("/")
