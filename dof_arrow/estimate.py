"""How large a file will be, known before anything is computed: the writer itself runs, and only counts (row D19)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

import numpy as np

from dof_arrow import roster
from dof_arrow.commit import Counted
from dof_arrow.core import Core
from dof_arrow.declare import Json, to_json
from dof_arrow.errors import DofError
from dof_arrow.extract import Extraction
from dof_arrow.facts import RawFacts
from dof_arrow.place import Placer
from dof_arrow.privacy import PSEUDONYM_LENGTH
from dof_arrow.sample import Source
from dof_arrow.work import blocks
from dof_arrow.writer import Writer

_AT_ONCE = 1024  # rows
_TRIED = 64  # inputs


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
    """Bytes of the file that a planned extraction will write if every input can be read and is like the first.

    Exact to the byte then: the metadata is the real one. Reads one picture and asks for all files' sizes.
    """
    facts = RawFacts(run.views.drawn)
    with Sizer(run.metadata(_like_the_first(run.source)), schema=run.schema_with(facts), layout=run.layout) as sizer:
        for block in blocks(len(run.source)):
            rows = [number for number in block for _ in range(run.views.count)]
            columns = run.columns(rows)
            if facts.type is not None:
                columns["processing"] = run.views.columns([d for number in block for d in run.views.draws(number)])["drawn"]
            vectors = {n: np.zeros((len(rows), *c.output_shape), run.dtype) for n, c in run.cores.items()}
            sizer.write(ids=columns.pop("id"), vectors=vectors, columns=columns)
    return sizer.size


def _like_the_first(source: Source) -> dict[str, Json]:
    """What the metadata would say of the raw inputs if all were like the first one that can be read."""
    for index in range(min(len(source), _TRIED)):
        with suppress(DofError):
            facts = {n: value for n, value in asdict(source[index].picture()[1]).items() if value is not None}
            return {**facts, "bytes": roster.size(source) or facts["bytes"] * len(source)}
    return {}


def size_of_rows(
    rows: int, shape: Sequence[int], *, core: Core | None = None, dtype: str = "float32", label: bool = False,
    group: bool = False,
) -> int:
    """Bytes of a file of `rows` features of this shape with pseudonyms, and label codes and groups if asked.

    Exact but for what the metadata says beside the core.

    >>> size_of_rows(1000, (512,)) - 1000 * 512 * 4 < 50_000
    True
    """
    with Sizer(_about(core)) as sizer:
        for start in range(0, rows, _AT_ONCE):
            count = min(_AT_ONCE, rows - start)
            names = ["a" * PSEUDONYM_LENGTH] * count
            columns = {**({"label": np.zeros(count, np.int64)} if label else {}), **({"group": names} if group else {})}
            sizer.write(ids=names, vectors={"feature": np.zeros((count, *shape), dtype)}, columns=columns)
    return sizer.size


def _about(core: Core | None) -> dict[str, Json]:
    if core is None:
        return {}
    return {"cores": {"feature": to_json(core.describe())},
            "columns": {"feature": {"core": "feature", "tensor": core.output_name}}}
