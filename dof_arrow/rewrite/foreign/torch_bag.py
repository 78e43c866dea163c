"""Bags in files of torch: a tensor [n, D], a list of tensors, or a dictionary with coordinates.

They are read without torch, and nothing that they name is imported or called.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dof_arrow.errors import SourceError
from dof_arrow.rewrite.foreign.bag import (
    COORDINATES,
    FEATURES,
    MOST_BYTES,
    Array,
    BagForm,
    BagRefused,
    BagValues,
    Unit,
    checked_places,
    checked_shape,
    checked_vectors,
    stored_type,
)
from dof_arrow.storage import bounded_zip, torch_tensors
from dof_arrow.system import open_file

# One bag and a little more: the pickle around its numbers.
_LIMITS = bounded_zip.Limits(members=100_000, bytes=MOST_BYTES + (1 << 20))


@dataclass(frozen=True, slots=True)
class TorchBag:
    """The bag in a file of torch."""

    name: str
    path: Path

    def form(self) -> BagForm:
        """What it is like; raises BagRefused."""
        vectors, places = self._read()
        rows, width = vectors.shape
        unit: Unit | None = None if places is None else "pixels"
        dtype = stored_type(vectors.dtype)
        return BagForm(
            rows=rows,
            width=width,
            dtype=dtype,
            narrowed=vectors.dtype.itemsize == 8,
            unit=unit,
            layout="torch",
        )

    def values(self, form: BagForm) -> BagValues:
        """Its values; raises BagRefused."""
        vectors, places = self._read()
        found = checked_vectors(vectors, stored_type(vectors.dtype))
        if places is not None:
            places = checked_places(places, len(found), "pixels")
        return BagValues(vectors=found, places=places)

    def _read(self) -> tuple[Array, Array | None]:
        try:
            value = _loaded(self.path)
        except SourceError:
            raise BagRefused("hostile") from None
        except OSError:
            raise BagRefused("unreadable") from None
        places = None
        if isinstance(value, Mapping):
            places = value.get(COORDINATES)
            names = [name for name in FEATURES if name in value]
            value = value[names[0]] if names else None
        if places is not None and not isinstance(places, np.ndarray):
            raise BagRefused("coordinates")
        vectors = _array(value)
        rows, width = checked_shape(vectors.shape, vectors.dtype.itemsize)
        return vectors.reshape(rows, width), places


def _loaded(path: Path) -> Any:
    where = str(path)
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        is_zip = file.read(4).startswith(bounded_zip.ZIPPED)
    if is_zip:
        with bounded_zip.opened(path, _LIMITS) as archive:
            return torch_tensors.read_zip(archive, where)
    if size > _LIMITS.bytes:
        raise BagRefused("sizes")
    with open_file(path) as file:
        return torch_tensors.read_old(file.read(size), where)


def _array(value: Any) -> Array:
    """A tensor, or a list of vectors or of matrices one behind the other, as one array."""
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, (list, tuple)):
        raise BagRefused("no-vectors")
    if not value:
        raise BagRefused("empty")
    parts: list[Array] = [part for part in value if isinstance(part, np.ndarray)]
    if len(parts) < len(value):
        raise BagRefused("no-vectors")
    rows = [part[None] if part.ndim == 1 else part for part in parts]
    alike = {(part.ndim, part.shape[-1:], part.dtype) for part in rows}
    if len(alike) > 1 or rows[0].ndim != 2:
        raise BagRefused("no-vectors")
    return np.concatenate(rows)
