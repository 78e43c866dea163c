"""How large a file will be, known before anything is computed: the writer itself runs, and only counts (row D19)."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from dof_arrow.commit import Counted
from dof_arrow.declare import Json
from dof_arrow.extract import Extraction
from dof_arrow.place import Placer
from dof_arrow.work import blocks
from dof_arrow.writer import Writer

_AT_ONCE = 1024


class Sizer(Writer):
    """A Writer that writes nothing; after `close`, `size` is the size of the file it would have made.

    >>> import numpy
    >>> with Sizer() as sizer:
    ...     sizer.write(ids=["a" * 26], vectors={"feature": numpy.zeros((1, 128), "f4")})
    >>> sizer.size > 512
    True
    """

    def __init__(self, metadata: Mapping[str, Json] | None = None, **options: object) -> None:
        super().__init__(os.devnull, metadata, **options)  # type: ignore[arg-type]

    def _open(self, overwrite: bool) -> Placer:
        self._counted = Counted()
        return Placer(self._counted, None)

    @property
    def size(self) -> int:
        """Bytes of the file, complete after `close`."""
        return self._counted.size


def size_of_run(run: Extraction) -> int:
    """Bytes of the file that a planned extraction will write, if no input fails and all pictures are alike.

    Exact to the byte then, but for the summary of the pictures' sizes and modes in the metadata, which is not known.
    """
    with Sizer(run.metadata(), schema=run.schema, layout=run.layout) as sizer:
        for rows in blocks(len(run.source)):
            columns = run.columns(rows)
            vectors = {n: np.zeros((len(rows), *c.output_shape), run.dtype) for n, c in run.cores.items()}
            sizer.write(ids=columns.pop("id"), vectors=vectors, columns=columns)
    return sizer.size


def size_of_rows(rows: int, width: int, *, dtype: str = "float32", label: bool = False, group: bool = False) -> int:
    """Bytes of a file of `rows` vectors of `width` numbers with pseudonyms, and label codes and groups if asked.

    Exact but for the metadata, which stands here in its shortest form.

    >>> size_of_rows(1000, 512) - 1000 * 512 * 4 < 50_000
    True
    """
    with Sizer() as sizer:
        for start in range(0, rows, _AT_ONCE):
            count = min(_AT_ONCE, rows - start)
            names = ["a" * 26] * count
            columns = {**({"label": np.zeros(count, np.int64)} if label else {}), **({"group": names} if group else {})}
            sizer.write(ids=names, vectors={"feature": np.zeros((count, width), dtype)}, columns=columns)
    return sizer.size
