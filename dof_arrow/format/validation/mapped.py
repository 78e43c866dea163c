"""Whether the columns that the metadata calls mapped keep to the mapped layout (SPEC section 6)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence

import pyarrow as pa

from dof_arrow.errors import Problem
from dof_arrow.format.file import proved
from dof_arrow.format.parquet.layout import ALIGNMENTS, SMALL_ALIGNMENT, Fixed, fixed, geometry
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.validation.file_parts import FileParts
from dof_arrow.storage.memory_map import Region

# For each proved column, where the values of each row group lie.
Regions = Mapping[str, Sequence[Region]]


def problems(
    parts: FileParts, outline: Outline, metadata: Metadata, fields: Sequence[pa.Field]
) -> Generator[Problem, None, Regions]:
    """False claims of the mapped layout; returns the regions of the columns that are proved."""
    regions: dict[str, Sequence[Region]] = {}
    if outline.misplaced:
        return regions  # nothing can be proved of chunks that are not those of their columns
    widths = []
    rows = outline.rows
    for field in fields:
        name = field.name
        if not _is_claimed(metadata, name):
            continue
        try:
            column = _mapped(field)
            regions[name] = proved(parts.file, parts.start, outline, column, sum(rows))
            widths.append(column.width)
        except Unproved as reason:
            yield problem("layout-claim", f"column {name}", "the mapped layout", reason)
    yield from _aligned(len(rows), regions, widths)
    return regions


def _is_claimed(metadata: Metadata, name: str) -> bool:
    column = metadata.columns.get(name)
    return column is not None and column.layout == "mapped"


def _mapped(field: pa.Field) -> Fixed:
    column = fixed(field)
    if column is None:
        raise Unproved(f"{field.type} cannot be mapped")
    return column


def _aligned(groups: int, regions: Regions, widths: Sequence[int]) -> Iterator[Problem]:
    """Values that do not start where they should, and row groups that do not fill whole pages."""
    alignment = geometry(widths).alignment
    is_paged = groups > 1 and alignment != SMALL_ALIGNMENT
    unit = min(ALIGNMENTS) if is_paged else SMALL_ALIGNMENT
    for name, found in regions.items():
        for number, region in enumerate(found):
            if region.offset % unit:
                yield problem(
                    "layout-alignment",
                    where=f"row group {number}, column {name}",
                    expected=f"a multiple of {unit}",
                    found=region.offset,
                )
        if is_paged:
            yield from _whole_pages(name, found[:-1], unit)


def _whole_pages(name: str, regions: Sequence[Region], unit: int) -> Iterator[Problem]:
    for number, region in enumerate(regions):
        if region.length % unit:
            yield problem(
                "layout-groups",
                where=f"row group {number}, column {name}",
                expected=f"a multiple of {unit} bytes",
                found=region.length,
            )
