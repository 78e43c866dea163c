"""Vectors in tar archives of .npy members (WebDataset): each member is a vector or a bag."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from dof_arrow.errors import PictureError
from dof_arrow.rewrite.foreign.bag import (
    MOST_BYTES,
    Array,
    BagForm,
    BagRefused,
    BagValues,
    checked_shape,
    checked_vectors,
    stored_type,
)
from dof_arrow.sources.tar import TarMember, members

_SUFFIX = ".npy"


@dataclass(frozen=True, slots=True)
class TarArray:
    """An .npy member of an archive: one vector [D], or a bag [n, D]."""

    name: str
    member: TarMember

    def form(self) -> BagForm:
        """What it is like; raises BagRefused."""
        array = self._array()
        dtype = stored_type(array.dtype)
        alone = array.ndim == 1
        shape = (1, *array.shape) if alone else array.shape
        rows, width = checked_shape(shape, array.dtype.itemsize)
        return BagForm(
            rows=rows,
            width=width,
            dtype=dtype,
            narrowed=array.dtype.itemsize == 8,
            alone=alone,
            layout="WebDataset",
        )

    def values(self, form: BagForm) -> BagValues:
        """Its values; raises BagRefused."""
        array = self._array()
        found = checked_vectors(array, stored_type(array.dtype))
        return BagValues(vectors=found.reshape(-1, found.shape[-1]))

    def _array(self) -> Array:
        if self.member.size > MOST_BYTES:
            raise BagRefused("sizes")
        try:
            data = self.member.read()
        except (OSError, PictureError):
            raise BagRefused("unreadable") from None
        return parsed(data)


def parsed(data: bytes) -> Array:
    """The array in the bytes of an .npy file, over the same memory; objects are never unpickled."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError, OverflowError, RecursionError, MemoryError, TokenError):
        raise BagRefused("unreadable") from None
    return _shaped(data, file.tell(), shape, fortran, dtype)


def _shaped(data: bytes, start: int, shape: Any, fortran: bool, dtype: np.dtype[Any]) -> Array:
    if dtype.hasobject:
        raise BagRefused("hostile")
    count = math.prod(shape)
    if any(length < 0 for length in shape) or start + count * dtype.itemsize != len(data):
        raise BagRefused("sizes")
    values = np.frombuffer(data, dtype, count, start)
    return values.reshape(shape, order="F" if fortran else "C")


def tar_arrays(paths: Sequence[Path], left_out: Counter[str]) -> Iterator[TarArray]:
    """The .npy members of archives; `left_out` counts the others, by the ends of their names."""
    for path in paths:
        for name, offset, size in members(path, left_out):
            stem, dot, ending = name.rpartition(".")
            if dot + ending.lower() == _SUFFIX:
                yield TarArray(stem, TarMember(path, offset, size))
            else:
                left_out[dot + ending.lower() if dot else "no ending"] += 1
