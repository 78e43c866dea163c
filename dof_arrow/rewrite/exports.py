"""A dataset in the forms of other programs: Arrow IPC, plain Parquet, numpy and safetensors."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.format.spec.names import categories
from dof_arrow.rewrite.carry import batches
from dof_arrow.storage.atomic import Output, Sink, replacing

# How safetensors calls the element types of numpy.
_SAFE = {
    "f4": "F32",
    "f2": "F16",
    "f8": "F64",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    "u8": "U64",
}


def save_arrow(rows: Dataset, path: Path, *, overwrite: bool = False) -> None:
    """Write all columns as an Arrow IPC file; its schema carries the metadata."""
    with replacing(path, overwrite=overwrite) as out:
        sink = pa.PythonFile(Sink(out), "w")
        writer = pa.ipc.new_file(sink, rows.schema)
        with writer:
            for batch in batches(rows):
                writer.write_table(batch.to_arrow())


def save_plain(
    rows: Dataset, columns: Sequence[str], path: Path, *, overwrite: bool = False
) -> None:
    """Write some columns as a plain Parquet file; its schema carries the metadata."""
    import pyarrow.parquet as pq

    with replacing(path, overwrite=overwrite) as out:
        pq.write_table(rows.to_arrow(columns), pa.PythonFile(Sink(out), "w"))


def save_npy(rows: Dataset, path: Path, *, overwrite: bool = False) -> None:
    """Write the primary vectors [n, D] as a numpy file."""
    like = rows[:0].to_numpy()
    about = {
        "descr": like.dtype.newbyteorder("<").str,
        "fortran_order": False,
        "shape": (len(rows), *like.shape[1:]),
    }
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, about)
    with replacing(path, overwrite=overwrite) as out:
        out.write(head.getvalue())
        _write_values(rows, rows.primary, out)


def save_safetensors(rows: Dataset, path: Path, *, overwrite: bool = False) -> None:
    """Write all vectors, as tensors of their shapes, all numbers and all categories' codes.

    Source: the format's own description, github.com/huggingface/safetensors, section "Format".
    """
    tensors = _described_tensors(rows)
    with replacing(path, overwrite=overwrite) as out:
        out.write(_safetensors_head(tensors))
        for name in tensors:
            _write_values(rows, name, out)


def _described_tensors(rows: Dataset) -> dict[str, Any]:
    """What the head of a safetensors file says of each column: type, shape, place."""
    tensors: dict[str, Any] = {}
    start = 0
    coded = categories(rows.metadata)
    for field in rows.schema:
        name = field.name
        if field.nullable or not (name in coded or _is_tensor(field)):
            continue
        dtype = rows[:0].to_numpy(name).dtype
        shape = [len(rows)]
        if is_vector(field):
            shape += rows.row_shape(name)
        end = start + dtype.itemsize * int(np.prod(shape))
        tensors[name] = {
            "dtype": _SAFE[dtype.str[1:]],
            "shape": shape,
            "data_offsets": [start, end],
        }
        start = end
    return tensors


def _safetensors_head(tensors: Mapping[str, Any]) -> bytes:
    head = json.dumps(tensors, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # tensors begin at a multiple of 8 bytes
    return len(head).to_bytes(8, "little") + head


def _is_tensor(field: pa.Field) -> bool:
    if is_vector(field):
        return True
    kind = field.type
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(numbers)


def _write_values(rows: Dataset, name: str, out: Output) -> None:
    """Write one column's values, little-endian, row after row."""
    for batch in batches(rows):
        values = np.ascontiguousarray(batch.to_numpy(name))
        out.write(values.astype(values.dtype.newbyteorder("<"), copy=False))
