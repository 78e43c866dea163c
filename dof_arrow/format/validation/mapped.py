"""Whether the columns that the metadata calls mapped keep to the mapped layout (SPEC section 6)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from dof_arrow.errors import Problem
from dof_arrow.format.file import proved
from dof_arrow.format.parquet.layout import ALIGNMENTS, SMALL_ALIGNMENT, Fixed, fixed, geometry
from dof_arrow.format.parquet.names_proof import NamesRegion, prove_names
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.names import is_names
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.validation.file_parts import FileParts
from dof_arrow.storage.memory_map import Region

# For each proved column of fixed width, where the values of each row group lie.
Regions = Mapping[str, Sequence[Region]]


@dataclass(frozen=True, slots=True)
class Proved:
    """The mapped columns: of fixed width, and of names."""

    fixed: dict[str, Sequence[Region]] = field(default_factory=dict)
    names: dict[str, Sequence[NamesRegion]] = field(default_factory=dict)

    def places(self) -> Iterator[tuple[str, Sequence[Region]]]:
        """Where the values or the codes of each column lie."""
        yield from self.fixed.items()
        for name, groups in self.names.items():
            yield name, [group.region for group in groups]


def problems(
    parts: FileParts, outline: Outline, metadata: Metadata, fields: Sequence[pa.Field]
) -> Generator[Problem, None, Proved]:
    """False claims of the mapped layout; returns where the columns lie that are proved."""
    proof = Proved()
    if outline.misplaced:
        return proof  # nothing can be proved of chunks that are not those of their columns
    vectors = []
    rows = outline.rows
    for stored in fields:
        name = stored.name
        if not _is_claimed(metadata, name):
            continue
        try:
            if is_names(stored.type):
                proof.names[name] = _proved_names(parts, outline, stored)
                continue
            column = _mapped(stored)
            proof.fixed[name] = proved(parts.file, parts.start, outline, column, sum(rows))
            vectors += [column] if column.nested else []
        except Unproved as reason:
            yield problem("layout-claim", f"column {name}", "the mapped layout", reason)
    yield from _aligned(len(rows), proof, vectors)
    return proof


def _proved_names(parts: FileParts, outline: Outline, field: pa.Field) -> list[NamesRegion]:
    leaf = outline.index([field.name])
    if field.nullable or leaf is None:
        raise Unproved(f"{field.type} that may be missing cannot be mapped")
    chunks = outline.column(leaf)
    return prove_names(parts.file, parts.start, chunks, outline.rows, field.name)


def _is_claimed(metadata: Metadata, name: str) -> bool:
    column = metadata.columns.get(name)
    return column is not None and column.layout == "mapped"


def _mapped(field: pa.Field) -> Fixed:
    column = fixed(field)
    if column is None:
        raise Unproved(f"{field.type} cannot be mapped")
    return column


def _aligned(groups: int, proof: Proved, vectors: Sequence[Fixed]) -> Iterator[Problem]:
    """Values that do not start where they should, and row groups that do not fill whole pages."""
    widths = [column.width for column in vectors]
    is_paged = groups > 1 and geometry(widths).alignment != SMALL_ALIGNMENT
    paged = {column.name for column in vectors} if is_paged else set()
    for name, found in proof.places():
        unit = min(ALIGNMENTS) if name in paged else SMALL_ALIGNMENT
        for number, region in enumerate(found):
            if region.offset % unit:
                yield problem(
                    "layout-alignment",
                    where=f"row group {number}, column {name}",
                    expected=f"a multiple of {unit}",
                    found=region.offset,
                )
        if name in paged:
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
