"""A bag of vectors that another program wrote: what is known before it is read, and its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.format.spec.arrow import finite
from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.foreign.hdf5_extents import Extent

Array = NDArray[Any]
Unit = Literal["pixels", "um"]

MOST_BYTES = 4 << 30  # of the vectors of one bag
MOST_ROWS = 10**7  # of a bag: their numbers have seven digits
FEATURES = ("features", "feats", "embeddings")  # how vectors are called, in this order
COORDINATES = "coords"

# Why an input gives no row, by stable names; nothing of the input itself is told.
REASONS = {
    "unreadable": "the file is damaged, cannot be read, or changed meanwhile",
    "hostile": "objects other than arrays, tensors and plain values: nothing of them was run",
    "elsewhere": "values that lie in another file, or behind a link, are not read",
    "filter": "values that are packed in a way that is not read",
    "unwritten": "values that are said to be there were never written",
    "sizes": "sizes that cannot be, or that would unpack to too much",
    "no-vectors": f"no array of floats [n, D]; among several it is {', '.join(FEATURES)}",
    "empty": "no vector",
    "not-finite": "NaN or infinity among the vectors",
    "coordinates": "coordinates that do not fit the vectors",
    "other-width": "vectors of another length than those of most inputs",
    "other-core": "vectors that are said to be of another core than those of most inputs",
}


class BagRefused(Exception):
    """Why a bag gives no rows: one of `REASONS`."""

    def __init__(self, rule: str) -> None:
        super().__init__(REASONS[rule])
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class BagForm:
    """What is known of a bag without its values.

    `alone`: it is one vector, and no bag; `narrowed`: its numbers are float64, and stored narrower;
    `stamp`: by which it is seen whether the file has changed since; `extents`: where the vectors
    and their places lie in it, where that is known.
    """

    rows: int
    width: int
    dtype: str
    narrowed: bool = False
    alone: bool = False
    unit: Unit | None = None
    level: int | None = None
    mpp: float | None = None
    core: str | None = None
    layout: str | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)
    stamp: tuple[int, ...] = ()
    extents: tuple[Extent | None, Extent | None] = (None, None)

    def agrees(self, other: BagForm) -> bool:
        """Whether the columns and claims of both are the same."""
        return self._meaning() == other._meaning()

    def _meaning(self) -> tuple[Any, ...]:
        scales = (self.level is None, self.mpp is None)
        claims = (self.core, self.layout, dict(self.facts))
        return self.width, self.dtype, self.narrowed, self.alone, self.unit, *scales, *claims


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BagValues:
    """The vectors [n, D] of a bag, and the places [n, 2] of its tiles where they are known."""

    vectors: Array
    places: Array | None = None


class ForeignBag(Protocol):
    """An input that holds a bag."""

    @property
    def name(self) -> str:
        """Its own name."""

    def form(self) -> BagForm:
        """What it is like; raises BagRefused."""

    def values(self, form: BagForm) -> BagValues:
        """Its values, of which the form is known; raises BagRefused."""


def checked_shape(shape: tuple[int, ...], item: int) -> tuple[int, int]:
    """Rows and width of an array [n, D] or [1, n, D]; BagRefused for others, or too large ones.

    >>> checked_shape((1, 30, 768), 4)
    (30, 768)
    """
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2 or not shape[1]:
        raise BagRefused("no-vectors")
    rows, width = shape
    if not rows:
        raise BagRefused("empty")
    if rows > MOST_ROWS or rows * width * item > MOST_BYTES:
        raise BagRefused("sizes")
    return rows, width


def checked_vectors(values: Array, dtype: str) -> Array:
    """Vectors as float16 or float32 in this machine's order; BagRefused where one is not finite."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        found = np.ascontiguousarray(values, np.dtype(dtype))
    if not finite(found.reshape(-1)):
        raise BagRefused("not-finite")
    return found


def checked_places(values: Array, rows: int, unit: Unit) -> Array:
    """Places [n, 2], int32 in pixels or float64 in micrometres; BagRefused for what is none."""
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.shape != (rows, 2) or values.dtype.kind not in "iuf":
        raise BagRefused("coordinates")
    least, most = values.min(), values.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        raise BagRefused("coordinates")
    if unit == "um":
        return values.astype(np.float64)
    bounds = np.iinfo(np.int32)
    if least < bounds.min or most > bounds.max:
        raise BagRefused("coordinates")
    if values.dtype.kind == "f" and (values != np.trunc(values)).any():
        raise BagRefused("coordinates")
    return values.astype(np.int32)


def stored_type(kind: np.dtype[Any]) -> str:
    """The type in which vectors are stored: float16 stays, all other floats are float32.

    >>> stored_type(np.dtype(">f8")), stored_type(np.dtype("f2"))
    ('float32', 'float16')
    """
    if kind.kind != "f" or kind.itemsize not in (2, 4, 8):
        raise BagRefused("no-vectors")
    return "float16" if kind.itemsize == 2 else "float32"
