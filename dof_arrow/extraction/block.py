"""The staged block: rows of some inputs, on their way from the cores to the output.

A block is an Arrow table, and this module alone knows the names of its columns. `block_file` keeps
blocks on disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.extraction.views import ViewPlan
from dof_arrow.format.spec.arrow import vector_array, vector_field
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.format.spec.metadata import TYPES
from dof_arrow.media.facts import PictureFacts

Array = NDArray[Any]
Column = Any  # a pyarrow.Array, which comes without types

_INPUT = "input"
_FACTS = "facts"
_VIEW = "view"
_DRAWN = "drawn"
_FRAME = "frame"
_TIME = "time"
_FIRST = "first"  # true in the first row of a clip
_BROKEN = "broken"  # true in the last rows of a clip that is damaged behind them
_VECTOR = "vector {}"  # features of this name; it cannot meet the name of another column
_FAILED = "failed"  # in the schema's metadata: the failures, as JSON

_FACT_TYPES = {**TYPES, "bytes": pa.int64()}


class Failure(NamedTuple):
    """An input that gives no rows: its number, the stable name of the reason, and the reason."""

    input: int
    rule: str
    reason: str


class PictureRow(NamedTuple):
    """A row of a picture: which input and view of it, what the picture was like, what was drawn.

    The views of an input stand together, in order.
    """

    input: int
    facts: PictureFacts
    view: int = 0
    draw: Mapping[str, float] = {}


class ClipRow(NamedTuple):
    """A row of a clip: which view, frame (or window) and time in seconds, and what was drawn."""

    frame: int
    time: float
    view: int = 0
    draw: Mapping[str, float] = {}


class Block:
    """Rows with their features, and the inputs that failed; part of a block is a block too."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of_pictures(
        cls,
        rows: Sequence[PictureRow],
        features: Mapping[str, Array],
        failures: Sequence[Failure],
        views: ViewPlan,
    ) -> Block:
        """A block of pictures; `features` are [n, *shape] by name."""
        columns = {
            _INPUT: pa.array([row.input for row in rows], pa.int64()),
            _FACTS: _facts_array([row.facts for row in rows]),
            **_view_columns(rows, views),
            **_vector_columns(features),
        }
        return cls._made(columns, failures)

    @classmethod
    def of_clip(
        cls,
        number: int,
        rows: Sequence[ClipRow],
        features: Mapping[str, Array],
        views: ViewPlan,
        facts: PictureFacts,
        *,
        first: bool,
        broken: bool,
    ) -> Block:
        """Rows of one clip, all or some.

        `first`: they begin with its first row; `broken`: the clip is damaged behind them.
        """
        count = len(rows)
        begins = np.zeros(count, bool)
        begins[:1] = first
        columns = {
            _INPUT: pa.array(np.full(count, number), pa.int64()),
            _FACTS: _facts_array([facts]).take(pa.array(np.zeros(count, np.int64))),
            _FIRST: pa.array(begins),
            _BROKEN: pa.array(np.full(count, broken)),
            _FRAME: pa.array([row.frame for row in rows], pa.int32()),
            _TIME: pa.array([row.time for row in rows], pa.float64()),
            **_view_columns(rows, views),
            **_vector_columns(features),
        }
        return cls._made(columns, [])

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """Neighbours as one block, with the failures of all."""
        failures: list[Failure] = []
        for block in blocks:
            failures += block.failures
        # A block without rows may be of inputs whose kind nobody knows: its columns do not count.
        filled = [block.table for block in blocks if len(block)]
        tables = filled or [blocks[0].table]
        return cls(_with_failures(pa.concat_tables(tables), failures))

    @classmethod
    def _made(cls, columns: Mapping[str, Column], failures: Iterable[Failure]) -> Block:
        return cls(_with_failures(pa.table(columns), failures))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def take(self, rows: Array) -> Block:
        """Some rows by number, without the failures."""
        import pyarrow.compute as pc

        taken = pc.take(self.table, pa.array(rows), memory_pool=pa.system_memory_pool())
        return Block(_with_failures(taken, []))

    def contiguous(self) -> Block:
        """The same rows, each column in one piece, from which rows are taken quickly."""
        # Arrow's own pool would take fresh pages for each of many large arrays: twice the time.
        return Block(self.table.combine_chunks(pa.system_memory_pool()))

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return int(self.table.nbytes)

    @property
    def failures(self) -> list[Failure]:
        """The inputs that gave no rows."""
        found = parsed(self.table.schema.metadata[_FAILED.encode()])
        return [Failure(**each) for each in found]

    @property
    def inputs(self) -> Array:
        """The number of each row's input, int64 [n]."""
        return np.asarray(self.table[_INPUT].to_numpy())

    @property
    def facts(self) -> Column:
        """What each row's picture was like, as structs."""
        return self.table[_FACTS].combine_chunks()

    @property
    def facts_of_inputs(self) -> Column:
        """What each input was like, as structs: rows of one input all say the same."""
        import pyarrow.compute as pc

        first = self._column(_FIRST)
        if first is not None:
            return self.facts.filter(first)
        view = self._column(_VIEW)
        if view is not None:
            return self.facts.filter(pc.equal(view, 0))
        return self.facts

    @property
    def broken_inputs(self) -> int:
        """How many clips were kept up to where they are damaged."""
        broken = self._column(_BROKEN)
        if broken is None:
            return 0
        return len(self.table[_INPUT].filter(broken).unique())

    @property
    def view(self) -> Column | None:
        """The number of each row's view, where inputs have several."""
        return self._column(_VIEW)

    @property
    def frame(self) -> Column | None:
        """The number of each row's frame or window, where inputs are clips."""
        return self._column(_FRAME)

    @property
    def time(self) -> Column | None:
        """Seconds from the start of the clip, where inputs are clips."""
        return self._column(_TIME)

    @property
    def drawn(self) -> list[Column]:
        """The numbers that were drawn for rows: an array each, in the order of the view plan."""
        drawn = self._column(_DRAWN)
        return [] if drawn is None else list(drawn.flatten())

    def vectors(self, name: str, shape: Sequence[int]) -> Array:
        """The features of a column, [n, *shape]."""
        column = self.table[_VECTOR.format(name)].combine_chunks()
        return np.asarray(column.flatten().to_numpy()).reshape(len(self), *shape)

    def _column(self, name: str) -> Column | None:
        if name not in self.table.column_names:
            return None
        return self.table[name].combine_chunks()


def _with_failures(table: pa.Table, failures: Iterable[Failure]) -> pa.Table:
    told = [failure._asdict() for failure in failures]
    return table.replace_schema_metadata({_FAILED: json.dumps(told)})


def _facts_array(facts: Sequence[PictureFacts]) -> Column:
    fields = []
    columns = []
    for name, kind in _FACT_TYPES.items():
        fields.append(pa.field(name, kind))
        columns.append(pa.array([getattr(each, name) for each in facts], kind))
    return pa.StructArray.from_arrays(columns, fields=fields)


def _view_columns(
    rows: Sequence[PictureRow] | Sequence[ClipRow], views: ViewPlan
) -> dict[str, Column]:
    """The view of each row, and what was drawn for it; no columns if inputs have one view."""
    if views.count == 1:
        return {}
    return {
        _VIEW: pa.array([row.view for row in rows], pa.int16()),
        _DRAWN: pa.array([dict(row.draw) for row in rows], views.drawn_type),
    }


def _vector_columns(features: Mapping[str, Array]) -> dict[str, Column]:
    columns = {}
    for name, values in features.items():
        field = vector_field(name, values.shape[1:], str(values.dtype))
        flat = values.reshape(len(values), field.type.list_size)
        columns[_VECTOR.format(name)] = vector_array(flat, field)
    return columns
