"""Datasets put together in one, their rows one after the other.

Chunks are copied as bytes where their geometry allows it, else the rows are written anew.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, FormatError, UsageError
from dof_arrow.format import append, merge_metadata
from dof_arrow.format.directory import is_directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.parquet.footer import FileMetaData, RowGroup, Struct, get, items
from dof_arrow.format.parquet.names_chunk import NamesColumn
from dof_arrow.format.parquet.row_groups import RowGroupWriter, content_uuid, generator
from dof_arrow.format.spec.arrow import with_metadata
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import VERSION, Metadata, from_json
from dof_arrow.format.spec.names import is_names
from dof_arrow.format.validation import structure
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.carry import carried, write_rows
from dof_arrow.storage.atomic import refuse_existing, replacing
from dof_arrow.tables import selection

PathLike = str | os.PathLike[str]
Attached = tuple[Json, bytes]  # a document's name and media type, and its bytes


def merge(parts: Sequence[PathLike], out: PathLike, *, overwrite: bool = False) -> Dataset:
    """Put datasets together as one file, or as a directory `name.dof` of all their files.

    Files are added to a directory that is there already. One file is made of the parts' own chunks
    where every row group but the last fills whole pages, else written anew; either way every byte
    read is checked against its digest.

    Raises UsageError if columns, cores or targets differ or a record stands in two parts,
    FormatError for a part that is not sealed or damaged, OutputError if the output exists or cannot
    be written.
    """
    opened = [dataset.open(part) for part in parts]
    if not opened:
        raise UsageError("nothing to put together", str(out), "one part or more", "none")
    files = _files(opened)
    for file in files:
        _check_whole(file)
    if is_directory(Path(out)):
        append.append(out, *(file.path for file in files), overwrite=overwrite)
    else:
        refuse_existing(Path(out), overwrite)
        _check(opened)
        _merge(opened, files, Path(out), overwrite)
    return dataset.open(out)


def _files(opened: Sequence[Dataset]) -> list[File]:
    """The files with the rows of all datasets; a directory's manifest holds none."""
    found = []
    for part in opened:
        for file in selection.files(part.table):
            is_manifest = not file.rows and file.metadata.parts
            if not is_manifest:
                found.append(file)
    return found


def _check_whole(file: File) -> None:
    """Raise FormatError unless a file is sealed and no byte of it is damaged."""
    if file.state != "sealed":
        raise FormatError(
            "only sealed files are put together",
            str(file.path),
            "a true seal",
            file.state,
            f"See what is wrong: dof validate {file.path}",
        )
    file.check()


def _check(opened: Sequence[Dataset]) -> None:
    """Raise UsageError unless the datasets are of one kind and no record stands in two."""
    first = opened[0]
    name = first.metadata.record.id
    for number, other in enumerate(opened[1:], 1):
        where, whose = str(other.path), str(first.path)
        merge_metadata.check_alike(
            first.metadata, other.metadata, first.schema, other.schema, where, whose
        )
        for before in opened[:number]:
            merge_metadata.check_new(
                before.to_arrow([name])[0].chunks,
                other.to_arrow([name])[0].combine_chunks(),
                where,
                str(before.path),
            )


def _merge(opened: Sequence[Dataset], files: Sequence[File], out: Path, overwrite: bool) -> None:
    about = _about(opened)
    documents = _documents(opened)
    alignment = common_alignment(files)
    if alignment is not None:
        _copy(opened, files, alignment, about, documents, out, overwrite)
    else:
        _write_anew(opened, about, documents, out, overwrite)


def _write_anew(
    opened: Sequence[Dataset],
    about: Json,
    documents: Sequence[Attached],
    out: Path,
    overwrite: bool,
) -> None:
    first = opened[0]
    writer = Writer(
        out,
        about,
        schema=first.schema.remove_metadata(),
        overwrite=overwrite,
        layout="mapped" if _mapped_names(first.metadata) else "compact",
    )
    with writer:
        for error in _errors(opened):
            writer.fail(**error)
        for document, data in documents:
            writer.attach(document["name"], data, document["media_type"])
        for part in opened:
            write_rows(writer, part, first.schema)


def _about(opened: Sequence[Dataset]) -> dict[str, Json]:
    """The metadata of all rows, but for the sizes of splits, which are counted as rows go by."""
    value = merge_metadata.together([carried(part) for part in opened])
    value.pop("splits")
    return value


def _errors(opened: Sequence[Dataset]) -> list[Json]:
    return [error for part in opened for error in part.errors]


def _documents(opened: Sequence[Dataset]) -> list[Attached]:
    """The documents of all parts; of several of one name the first."""
    found: dict[str, Attached] = {}
    for part in opened:
        for document in part.metadata.documents:
            data = part.document(document.name)
            about = {"name": document.name, "media_type": document.media_type}
            _, first = found.setdefault(document.name, (about, data))
            if first != data:
                warnings.warn(
                    f"{part.path}: another document {document.name} than that of an earlier part "
                    "is left out",
                    DofWarning,
                    stacklevel=4,
                )
    return list(found.values())


def common_alignment(files: Sequence[File]) -> int | None:
    """The alignment, in bytes, at which the row groups of all files can stand in one file.

    Every group but the last has to fill whole pages, and the same columns have to be mapped in all
    files; None where that is not so (SPEC 6.1).
    """
    groups = [group for file in files for group in _groups(file)]
    mapped = [_mapped_names(file.metadata) for file in files]
    if len(groups) > layouts.MAX_GROUPS or any(names != mapped[0] for names in mapped):
        return None
    fixed = filter(None, map(layouts.fixed, files[0].schema))
    widths = [column.width for column in fixed if column.nested and column.name in mapped[0]]
    best = layouts.geometry(widths).alignment
    if len(groups) < 2 or best == layouts.SMALL_ALIGNMENT:
        return layouts.SMALL_ALIGNMENT
    rows = [get(group, RowGroup.ROWS) for group in groups[:-1]]
    sizes = {count * width for count, width in product(rows, widths)}
    for alignment in layouts.ALIGNMENTS:
        if alignment <= best and not any(size % alignment for size in sizes):
            return alignment
    return None


def _mapped_names(metadata: Metadata) -> set[str]:
    return {name for name, column in metadata.columns.items() if column.layout == "mapped"}


def _groups(file: File) -> list[Struct]:
    return items(structure.parse(file.tail)[0], FileMetaData.GROUPS)


def _copy(
    opened: Sequence[Dataset],
    files: Sequence[File],
    alignment: int,
    about: Json,
    documents: Sequence[Attached],
    out: Path,
    overwrite: bool,
) -> None:
    """Write one file of the chunks of all files, copied as they are."""
    schema = files[0].schema.remove_metadata()
    names = _mapped_names(opened[0].metadata)
    fixed = filter(None, map(layouts.fixed, schema))
    mapped = [column for column in fixed if column.name in names]
    named = []
    for field in schema:
        if is_names(field.type) and field.name in names:
            named.append(NamesColumn(field.name, None, mapped=True))
    with replacing(out, overwrite=overwrite) as output, ThreadPoolExecutor(1) as pool:
        placer = RowGroupWriter(output, pool)
        placer.begin(schema, mapped, alignment, named)
        for file in files:
            for group in _groups(file):
                placer.copy(file.file, group, alignment)
        placed = placer.attach(_errors(opened), documents)
        value = _merged_metadata(opened, about, placed, placer.digests)
        placer.finish(with_metadata(schema, from_json(value)))


def _merged_metadata(
    opened: Sequence[Dataset], about: Json, placed: Mapping[str, Json], digests: Sequence[bytes]
) -> Json:
    columns = {name: to_json(column) for name, column in opened[0].metadata.columns.items()}
    cores = [core["sha256"] for core in about.get("cores", {}).values()]
    splits = [to_json(part.metadata.splits) for part in opened]
    return {
        "version": VERSION,
        **about,
        **placed,
        "columns": columns,
        "uuid": content_uuid(digests, cores),
        "splits": merge_metadata.split_sizes(splits),
        "provenance": {**about["provenance"], "generator": generator()},
    }
