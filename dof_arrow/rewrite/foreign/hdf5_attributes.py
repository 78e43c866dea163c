"""What an HDF5 file says of its bag in attributes: numbers and short texts, no paths."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.foreign.hdf5_file import h5py

_LONGEST = 200  # letters of a text
_MOST_BYTES = 1 << 12  # of an attribute


def said(owners: Iterable[Any], looked_at: Collection[str]) -> dict[str, Json]:
    """The attributes of these names; of the first owner where several have one."""
    found: dict[str, Json] = {}
    for owner in owners:
        for name in _names(owner):
            if name in looked_at and name not in found:
                value = _value(owner, name)
                if value is not None:
                    found[name] = value
    return found


def _names(owner: Any) -> list[str]:
    attributes = h5py().h5a
    names: list[bytes] = []
    if attributes.get_num_attrs(owner):
        attributes.iterate(owner, names.append)
    return [name.decode("utf-8", "replace") for name in names]


def _value(owner: Any, name: str) -> Json:
    """A number or a short text; None for anything else."""
    attribute = h5py().h5a.open(owner, name.encode())
    shape, dtype = attribute.shape, attribute.dtype
    if shape not in ((), (1,)) or dtype.itemsize > _MOST_BYTES or dtype.subdtype:
        return None
    values = np.zeros(shape, dtype)
    attribute.read(values)
    (value,) = values.reshape(-1).tolist()
    if isinstance(value, bytes):
        # Of a text of any length, as h5py gives it, bytes that are no letters are dropped below.
        value = value.decode("utf-8", "surrogateescape" if dtype.hasobject else "replace")
    return plain_value(value)


def plain_value(value: Any) -> Json:
    """A number, exact and finite, or a short text that leads nowhere; None for anything else.

    >>> plain_value("uni_v1"), plain_value(1 << 60), plain_value("/home")
    ('uni_v1', None, None)
    """
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, (bool, int)):
        return value if abs(value) < 1 << 53 else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _plain(text: str) -> str | None:
    """A text without what moves the cursor of a terminal; None for a path or `None`."""
    kept = text
    if not text.isprintable():
        kept = "".join(letter for letter in text if unicodedata.category(letter)[0] != "C")
    if kept in ("", "None") or "/" in kept or "\\" in kept:
        return None
    return kept[:_LONGEST]
