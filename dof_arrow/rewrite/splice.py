"""A file with other columns, whose other chunks are copied as bytes; its vectors are not read.

New columns are encoded into a small file that has no name, and their chunks are taken from there.
All other chunks keep their digests, so that damage from before is still found. What the footer says
of their values is made of the values anew: an old footer may say what is false.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile

import pyarrow as pa

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning
from dof_arrow.format.batch import arrow_array
from dof_arrow.format.describe import Description, SplitCounts
from dof_arrow.format.file import File
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.parquet.footer import Chunk, ColumnMeta, FileMetaData, RowGroup, Struct
from dof_arrow.format.parquet.names_chunk import NamesColumn
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.parquet.row_groups import RowGroupWriter
from dof_arrow.format.parquet.statistics import restated
from dof_arrow.format.parquet.stored_chunk import StoredChunk
from dof_arrow.format.spec.arrow import is_vector, storable, with_metadata
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.statistics_anew import statistics_anew
from dof_arrow.rewrite.carry import carried, check_rules
from dof_arrow.rewrite.edit_check import editable_footer, is_signed, known_digests
from dof_arrow.storage.atomic import Output, replacing
from dof_arrow.tables.amended import Amended

# The chunks of a row group, by the name of their column.
Chunks = dict[str, list[StoredChunk]]


def spliced(rows: Dataset) -> Amended | None:
    """The table of a dataset if it is a whole sealed file with other columns; else None."""
    table = rows.table
    if not isinstance(table, Amended) or len(rows) != table.rows or not len(rows):
        return None
    source = table.base.table
    if not isinstance(source, File) or not table.base.is_whole:
        return None
    return table if source.state == "sealed" else None


def splice(rows: Dataset, out: Path, *, overwrite: bool = False, mode: int | None = None) -> None:
    """Write a dataset that `spliced` takes as a file.

    It warns (DofWarning) where the file was signed: the new one is not.

    Raises FormatError for a file that is not sound, OutputError if it cannot be written.
    """
    table = spliced(rows)
    assert table is not None
    source = Spliced(table)
    if is_signed(source.footer):
        lost = f"{source.file.path} is signed; {out.name} is another file, and is not: sign it anew"
        warnings.warn(lost, DofWarning, stacklevel=3)
    with TemporaryFile() as spare, replacing(out, overwrite=overwrite, mode=mode) as output:
        schema = _schema(table)
        groups = source.groups
        fresh = _written(table, schema, source.row_counts, spare.fileno())
        for chunks, new in zip(groups, fresh, strict=False):
            chunks.update(new)
        ordered = _in_order(table, groups, source.alignment)
        with ThreadPoolExecutor(1) as pool:
            writer = RowGroupWriter(output, pool)
            writer.begin(schema, [], source.alignment)
            for group, count in zip(ordered, source.row_counts, strict=True):
                writer.splice(group, count)
            _finish(writer, rows, table, schema)


@dataclass(frozen=True, eq=False)
class Spliced:
    """The file that an amended table is made of: its row groups as stored chunks."""

    table: Amended

    @property
    def file(self) -> File:
        """The file."""
        source = self.table.base.table
        assert isinstance(source, File)
        return source

    @cached_property
    def footer(self) -> Struct:
        """Its footer; FormatError if the file is not sound."""
        return editable_footer(self.file, drop_signature=True)

    @cached_property
    def row_counts(self) -> list[int]:
        """The rows of each row group."""
        groups = footer.items(self.footer, FileMetaData.GROUPS)
        return [footer.get(group, RowGroup.ROWS) for group in groups]

    @cached_property
    def alignment(self) -> int:
        """What the places of mapped vectors are a multiple of, in bytes; 1 if nothing is mapped.

        Other mapped values need a small one, which divides it.
        """
        metadata = self.file.metadata
        mapped = {name for name, each in metadata.columns.items() if each.layout == "mapped"}
        if not mapped:
            return 1
        places = []
        for column in filter(None, map(layouts.fixed, self.file.schema)):
            if column.nested and column.name in mapped:
                with suppress(Unproved):  # a column that is decoded may lie anywhere
                    places += [region.offset for region in self.file.regions(column)]
        for wanted in layouts.ALIGNMENTS:
            if places and not any(place % wanted for place in places):
                return wanted
        return layouts.SMALL_ALIGNMENT

    @cached_property
    def groups(self) -> list[Chunks]:
        """The chunks that are kept, group by group, by their new names."""
        names = {own: name for name, own in self.table.names.items() if own is not None}
        keys = dict(footer.key_values(self.footer))
        stated = known_digests(keys)
        segments = digests.segments(self.footer, self.file.footer_start)
        known = {}
        for (start, end), digest in zip(segments[:-1], stated[:-1], strict=True):
            known[end] = (max(start, len(footer.MAGIC)), digest)
        found: list[Chunks] = []
        groups = footer.items(self.footer, FileMetaData.GROUPS)
        for group, statistics in zip(groups, statistics_anew(self.file), strict=True):
            chunks: dict[str, list[StoredChunk]] = {}
            for chunk in footer.items(group, RowGroup.COLUMNS):
                meta = footer.get(chunk, Chunk.META)
                name = names.get(_column_name(meta))
                if name is not None:
                    start, digest = known[footer.chunk_range(meta)[1]]
                    stored = StoredChunk(
                        file=self.file.file,
                        meta=_called(restated(meta, statistics), name),
                        start=start,
                        digest=digest,
                        alignment=self.alignment,
                    )
                    chunks.setdefault(name, []).append(stored)
            found.append(chunks)
        return found


def _in_order(table: Amended, groups: list[Chunks], alignment: int) -> list[list[StoredChunk]]:
    """The chunks of each group in the order of the schema; new ones know what they end before."""
    ordered = []
    for group in groups:
        ordered.append([chunk for name in table.names for chunk in group[name]])
    following: int | None = None
    for chunks in reversed(ordered):
        for place in reversed(range(len(chunks))):
            if chunks[place].digest:
                following = chunks[place].start
            else:
                chunks[place] = StoredChunk(
                    file=chunks[place].file,
                    meta=chunks[place].meta,
                    alignment=alignment,
                    next_start=following,
                )
                following = None  # another new one may stand anywhere before it
    return ordered


def _written(
    table: Amended, schema: pa.Schema, row_counts: Sequence[int], spare: int
) -> Iterator[Chunks]:
    """The new columns written to an open file, as chunks for each row group."""
    fields = [schema.field(name) for name in table.fresh]
    if not fields:
        return
    writer = RowGroupWriter(Output(Path("new columns"), spare), None)
    writer.begin(pa.schema(fields), [], 1, list(_names_columns(table)))
    columns = {}
    for field in fields:
        columns[field.name] = arrow_array(field.name, table.fresh[field.name], field.type)
    done = 0
    for count in row_counts:
        pieces = {name: [values[done : done + count]] for name, values in columns.items()}
        writer.place(pieces, count, alone=False)
        done += count
    for group in writer.groups:
        chunks: Chunks = {}
        for chunk in footer.items(group, RowGroup.COLUMNS):
            meta = footer.get(chunk, Chunk.META)
            chunks.setdefault(_column_name(meta), []).append(StoredChunk(file=spare, meta=meta))
        yield chunks


def _names_columns(table: Amended) -> Iterator[NamesColumn]:
    """Which new columns hold names."""
    for name in table.fresh:
        target = table.metadata.targets.get(name)
        if target is not None and target.kind == "category":
            yield NamesColumn(name, target.classes, False)
        elif name == table.metadata.record.split:
            yield NamesColumn(name, None, False)


def _schema(table: Amended) -> pa.Schema:
    """The columns as they are stored, new ones as Parquet gives them back."""
    fields = []
    for name, own in table.names.items():
        field = table.schema.field(name)
        fields.append(field if own is not None else storable(field))
    return pa.schema(fields)


def _finish(writer: RowGroupWriter, rows: Dataset, table: Amended, schema: pa.Schema) -> None:
    documents = []
    for document in rows.metadata.documents:
        about = {"name": document.name, "media_type": document.media_type}
        documents.append((about, rows.document(document.name)))
    placed = writer.attach(rows.errors, documents)
    declared = carried(rows)
    declared["splits"] = to_json(rows.metadata).get("splits", {})
    mapped = []
    for name, own in table.names.items():
        if own is not None and table.base.table.metadata.columns[own].layout == "mapped":
            mapped.append(name)
    description = Description(
        declared=declared,
        schema=schema,
        shapes={
            field.name: list(rows.row_shape(field.name)) for field in schema if is_vector(field)
        },
        mapped=mapped,
    )
    metadata = description.metadata(placed, SplitCounts(), writer.digests)
    check_rules(rows, metadata, schema)
    writer.finish(with_metadata(schema, metadata))


def _called(meta: Struct, name: str) -> Struct:
    """The description of a chunk whose column is called otherwise."""
    kind, path = meta[ColumnMeta.PATH][1]
    return {**meta, ColumnMeta.PATH: (footer.LIST, (kind, [name.encode(), *path[1:]]))}


def _column_name(meta: Struct) -> str:
    first: bytes = footer.items(meta, ColumnMeta.PATH)[0]
    return first.decode()
