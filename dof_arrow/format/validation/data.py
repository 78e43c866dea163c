"""What only the data can tell: every value decoded, rules about values (SPEC 3 and 4.3, deep)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.compact import get
from dof_arrow.format.parquet.footer import ColumnMeta
from dof_arrow.format.parquet.layout import Fixed, levels
from dof_arrow.format.spec import file_rules
from dof_arrow.format.spec.arrow import finite, is_vector, numpy_values
from dof_arrow.format.spec.column_types import well_typed
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.statistics_anew import stated_chunks
from dof_arrow.format.validation import named
from dof_arrow.format.validation.contents import Contents


def problems(contents: Contents, metadata: Metadata) -> Iterator[Problem]:
    """Everything that is wrong with the data."""
    flat: dict[str, pa.Array] = {}
    ruled = well_typed(metadata, contents.schema)  # those of a wrong type have a problem already
    coded = list(named.problems(contents, metadata))
    yield from coded
    nameless = named.without_names(coded)
    for field in contents.schema:
        if field.name in nameless:
            continue
        try:
            if field.name in ruled:
                flat[field.name] = contents.flat(field.name)
            else:
                yield from _column(contents, field)
            yield from _statistics(contents, field.name)
        except FormatError as error:
            yield from error.problems
    yield from file_rules.of_rows(metadata, flat)


def _column(contents: Contents, field: pa.Field) -> Iterator[Problem]:
    if is_vector(field):
        yield from _levels(contents, field)
        yield from _finite(contents, field.name)
    elif field.name not in contents.regions:
        for _ in contents.encoded.groups(field.name):
            pass  # decoding is the test


def _statistics(contents: Contents, name: str) -> Iterator[Problem]:
    """What is said of the values of a column that is not true of them."""
    for stated in stated_chunks(contents.outline, contents.encoded.groups, name):
        yield from stated.problems()


def _finite(contents: Contents, name: str) -> Iterator[Problem]:
    row = 0
    for group in contents.vectors(name):
        if not finite(group):
            is_wrong = ~np.isfinite(group).all(axis=1)
            first = row + int(np.argmax(is_wrong))
            yield problem(
                "feature-nonfinite",
                where=f"column {name}",
                expected="finite numbers",
                found=f"row {first} has others",
            )
            return
        row += len(group)


def _levels(contents: Contents, field: pa.Field) -> Iterator[Problem]:
    """Mapped vectors whose levels do not say that every list is full."""
    column = contents.proved(field.name)
    if column is None:
        return
    leaf = contents.outline.index(column.path)
    if leaf is None:
        return
    regions = contents.regions[field.name]
    for number, chunk in enumerate(contents.outline.column(leaf)):
        region = regions[number]
        start = get(chunk, ColumnMeta.DATA_PAGE)
        before = bytes(contents.memory[start : region.offset])
        _, header_end = footer.decode_page(before)
        rows = region.length // column.width
        ours = levels(rows, column.items)
        if before[header_end:] != ours and not _same_decoded(contents, column, number):
            yield problem(
                "layout-levels",
                where=f"row group {number}, column {field.name}",
                expected=f"lists of {column.items}",
                found="other lists",
            )


def _same_decoded(contents: Contents, column: Fixed, number: int) -> bool:
    """Whether pyarrow, which goes by the levels, finds the values where the layout says.

    Other writers encode the same levels in other ways.
    """
    field = contents.schema.field(column.name)
    try:
        group = contents.encoded.group(number, column.name)
        decoded = numpy_values(group, field)
    except FormatError:
        return False
    region = contents.regions[column.name][number]
    mapped = contents.view(column, region)
    return decoded.tobytes() == mapped.tobytes()
