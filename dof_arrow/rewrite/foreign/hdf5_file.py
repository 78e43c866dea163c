"""HDF5 files of strangers, open: the arrays in them, and what HDF5 says of these, asked once.

h5py's objects ask HDF5 anew at every turn; its functions, which are used here, ask when they are
told to. What leads out of the file is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dof_arrow.errors import require
from dof_arrow.rewrite.foreign.bag import BagRefused

# What h5py raises at files that are damaged.
_UNREADABLE = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """A dataset of an open file; `chunks` is None where its values lie in one piece.

    `id` is what h5py's functions take, `header` where its object header is in the file. `size`: the
    bytes of a number in the file; `as_stored`: whether it stands there as numpy has it.
    """

    name: str
    id: Any
    header: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int
    as_stored: bool
    chunks: tuple[int, ...] | None
    filters: frozenset[int]


@cache
def h5py() -> Any:
    """The library; raises MissingExtra where it is not there."""
    return require("h5py", extra="hdf5")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The open file; whatever HDF5 finds wrong in it is a BagRefused."""
    library = h5py()
    try:
        file = library.h5f.open(os.fsencode(path), library.h5f.ACC_RDONLY, _access())
        try:
            yield file
        finally:
            file.close()
    except _UNREADABLE:
        raise BagRefused("unreadable") from None


def item(file: Any, name: str) -> Item | None:
    """The dataset of a name, None if there is none; BagRefused where it leads out of the file."""
    library = h5py()
    called = name.encode()
    if not file.links.exists(called):
        return None
    link = file.links.get_info(called)
    if link.type != library.h5l.TYPE_HARD:
        raise BagRefused("elsewhere")
    found = library.h5o.open(file, called)
    if not isinstance(found, library.h5d.DatasetID):
        raise BagRefused("no-vectors")
    plan = found.get_create_plist()
    layout = plan.get_layout()
    if layout == library.h5d.VIRTUAL or plan.get_external_count():
        raise BagRefused("elsewhere")
    chunks = plan.get_chunk() if layout == library.h5d.CHUNKED else None
    if found.shape is None:
        raise BagRefused("empty")
    kind, dtype = found.get_type(), found.dtype
    filters = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())}
    return Item(
        name=name,
        id=found,
        header=link.u,
        shape=found.shape,
        dtype=dtype,
        size=kind.get_size(),
        as_stored=dtype.kind in "iuf" and kind.equal(library.h5t.py_create(dtype)),
        chunks=chunks,
        filters=frozenset(filters),
    )


@cache
def _access() -> Any:
    """How files are opened: as files of this system, of which nothing stays open behind them."""
    library = h5py()
    plan = library.h5p.create(library.h5p.FILE_ACCESS)
    plan.set_fclose_degree(library.h5f.CLOSE_STRONG)
    plan.set_fapl_sec2()
    return plan
