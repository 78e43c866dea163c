"""Statistics of a file held against its values, and made of them anew (SPEC 6.8).

Whoever copies chunks, checks a file or mends a footer comes here: what is said of values is never
taken over from another file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import pyarrow as pa

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.file import File
from dof_arrow.format.parquet.compact import Struct, get
from dof_arrow.format.parquet.footer import ColumnMeta
from dof_arrow.format.parquet.leaves import NoLeaf, is_repeated, leaf_values
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.schema_tree import LeafPath, shown
from dof_arrow.format.parquet.statistics import flaws, of_values
from dof_arrow.format.spec.rules import problem

Decoded = Callable[[str], Iterator[pa.ChunkedArray]]  # a column, row group by row group


class Stated(NamedTuple):
    """A chunk with statistics: its row group, its leaf and its number, what is said, its values."""

    group: int
    leaf: int
    path: LeafPath
    meta: Struct
    values: pa.ChunkedArray

    @property
    def where(self) -> str:
        """Its place in a message."""
        return f"row group {self.group}, column {shown(self.path)}"

    def problems(self) -> Iterator[Problem]:
        """What is false of what is said."""
        said = get(self.meta, ColumnMeta.STATISTICS)
        physical = get(self.meta, ColumnMeta.TYPE)
        rows = not is_repeated(self.values.type)
        with suppress(NoLeaf):  # nobody can say which values are meant
            values = leaf_values(self.values, self.path)
            for flaw in flaws(said, values, physical, rows=rows):
                yield problem("statistics-false", self.where, flaw.expected, flaw.found)


def stated_chunks(outline: Outline, decoded: Decoded, column: str) -> Iterator[Stated]:
    """The chunks of a column that have statistics, with the column's values in their row group.

    Raises FormatError for what cannot be decoded.
    """
    leaves = []
    for leaf, path in enumerate(outline.leaves):
        if path[0] == column.encode():
            leaves.append((leaf, path, outline.column(leaf)))
    if not any(ColumnMeta.STATISTICS in meta for _, _, chunks in leaves for meta in chunks):
        return  # nothing is said, so nothing is decoded
    for group, values in enumerate(decoded(column)):
        for leaf, path, chunks in leaves:
            if ColumnMeta.STATISTICS in chunks[group]:
                yield Stated(group, leaf, path, chunks[group], values)


def statistics_anew(file: File) -> list[dict[str, Struct]]:
    """For each row group what its values say of themselves, by name of the column.

    Only of flat columns that have statistics: what has none keeps none. Raises FormatError for
    what cannot be decoded.
    """
    found: list[dict[str, Struct]] = [{} for _ in file.outline.rows]
    for column in file.schema.names:
        for stated in stated_chunks(file.outline, file.decoded_groups, column):
            made = of_values(stated.values)
            if made is not None:
                found[stated.group][column] = made
    return found


def check_statistics(file: File) -> None:
    """Raise FormatError if the statistics of a file are false, for whoever takes it as it is."""
    found: list[Problem] = []
    for column in file.schema.names:
        for stated in stated_chunks(file.outline, file.decoded_groups, column):
            found.extend(stated.problems())
    if found:
        raise FormatError(
            "readers would leave out rows: what the file says of its values is false",
            str(file.path),
            problems=found,
            hint=f"Mend it: dof repair {file.path} --statistics",
        )
