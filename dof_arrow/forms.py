"""Datasets written for programs that know no Parquet: Arrow IPC, numpy and safetensors files, in bounded memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.commit import Output, Sink
from dof_arrow.dataset import Dataset
from dof_arrow.schema import is_vector

_SAFE = {"f4": "F32", "f2": "F16", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64", "u1": "U8",
         "u2": "U16", "u4": "U32", "u8": "U64"}


def arrow(batches: Iterable[Dataset], schema: pa.Schema, out: Output) -> None:
    """An Arrow IPC file of all columns; the schema carries the metadata."""
    with pa.ipc.new_file(pa.PythonFile(Sink(out), "w"), schema) as writer:
        for batch in batches:
            writer.write_table(batch.to_arrow())


def npy(rows: Dataset, batches: Iterable[Dataset], out: Output) -> None:
    """A numpy file of the primary vectors [n, D]."""
    like = rows[:0].to_numpy()
    about = {"descr": like.dtype.newbyteorder("<").str, "fortran_order": False, "shape": (len(rows), *like.shape[1:])}
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, about)
    out.write(head.getvalue())
    _write(batches, rows.primary, out)


def safetensors(rows: Dataset, batches: Callable[[], Iterable[Dataset]], out: Output) -> None:
    """A safetensors file of all vectors, as tensors of their shapes, and of all numbers.

    Source: the format's own description, github.com/huggingface/safetensors, section "Format".
    """
    tensors, end = dict[str, Any](), 0
    for name in (f.name for f in rows.schema if _is_tensor(f)):
        like = rows[:0].to_numpy(name)
        shape = [len(rows), *(rows.shape(name) if is_vector(rows.schema.field(name)) else ())]
        start, end = end, end + like.dtype.itemsize * int(np.prod(shape))
        tensors[name] = {"dtype": _SAFE[like.dtype.str[1:]], "shape": shape, "data_offsets": [start, end]}
    out.write(_safe_head(tensors))
    for name in tensors:
        _write(batches(), name, out)


def _safe_head(tensors: Mapping[str, Any]) -> bytes:
    head = json.dumps(tensors, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head


def _is_tensor(field: pa.Field) -> bool:
    kind = field.type
    return is_vector(field) or (not field.nullable and (pa.types.is_integer(kind) or pa.types.is_floating(kind)))


def _write(batches: Iterable[Dataset], name: str, out: Output) -> None:
    for batch in batches:
        values = np.ascontiguousarray(batch.to_numpy(name))
        out.write(values.astype(values.dtype.newbyteorder("<"), copy=False))
