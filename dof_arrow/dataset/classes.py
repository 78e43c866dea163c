"""The classes of a target, between their names and their codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.names import UnknownName, code_array, codes_or_missing

_MISSING = -1


class Classes(tuple[str, ...]):
    """The names of classes, in the order of their codes.

    >>> classes = Classes(["cat", "dog"])
    >>> classes, classes[1], classes.codes(["dog", None]), classes.names([1, 0, -1])
    (('cat', 'dog'), 'dog', array([ 1, -1], dtype=int32), ['dog', 'cat', None])
    """

    __slots__ = ()

    def codes(self, names: Iterable[str | None]) -> NDArray[np.int32]:
        """The code of each name, int32 [n], -1 for None; UsageError for what is no class."""
        if isinstance(names, str):
            raise UsageError("no list of names", "codes", "names, one a row", repr(names)[:80])
        wanted = list(names)
        try:
            return codes_or_missing(code_array(pa.array(wanted, pa.string()), self))
        except (UnknownName, pa.ArrowException, TypeError) as error:
            found = error.found if isinstance(error, UnknownName) else str(error)
            raise UsageError("no such class", "codes", ", ".join(self), found[:200]) from None

    def names(self, codes: Iterable[Any]) -> list[str | None]:
        """The name of each code, None for -1; UsageError for what is no code."""
        if isinstance(codes, np.ma.MaskedArray) and codes.dtype.kind in "iu":
            codes = np.ma.filled(codes.astype(np.int64), _MISSING)
        numbers = np.asarray(codes if isinstance(codes, np.ndarray) else list(codes))
        if numbers.size == 0:
            return []
        whole = numbers.dtype.kind in "iu" and numbers.ndim == 1
        if not whole or numbers.min() < _MISSING or numbers.max() >= len(self):
            raise UsageError(
                "no code of a class",
                "names",
                f"whole numbers from -1 (missing) to {len(self) - 1}",
                str(numbers.tolist())[:200],
            )
        named: list[str | None] = [*self, None]
        return [named[code] for code in numbers.tolist()]
