"""Datasets put together in one: rows one after the other, by byte copies of chunks where their geometry allows it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, FormatError, UsageError
from dof_arrow.format import append, merge_metadata
from dof_arrow.format.directory import is_directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.parquet.footer import FileMetaData, RowGroup, Struct, get, items
from dof_arrow.format.parquet.row_groups import RowGroupWriter, content_uuid, generator
from dof_arrow.format.spec.arrow import with_metadata
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import VERSION, from_json
from dof_arrow.format.validation import structure
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.convert import carried, write_rows
from dof_arrow.storage.atomic import refuse_existing, replacing
from dof_arrow.tables import selection

PathLike = str | os.PathLike[str]


def merge(parts: Sequence[PathLike], out: PathLike, *, overwrite: bool = False) -> Dataset:
    """Put datasets together, their rows one after the other: as one file, or as a directory `name.dof` of all files.

    Files are added to a directory that is there already. One file is made of the parts' own chunks where every row
    group but the last fills whole pages, else written anew; either way every byte read is checked against its digest.
    Raises UsageError if columns, cores or targets differ or a record stands in two parts, FormatError for a part that
    is not sealed or damaged, OutputError if the output exists or cannot be written.
    """
    opened = [dataset.open(part) for part in parts]
    if not opened:
        raise UsageError("nothing to put together", str(out), "one part or more", "none")
    files = [
        file
        for part in opened
        for file in selection.files(part.table)
        if file.rows or not file.metadata.parts
    ]
    for file in files:
        if file.state != "sealed":
            raise FormatError(
                "only sealed files are put together",
                str(file.path),
                "a true seal",
                file.state,
                f"See what is wrong: dof validate {file.path}",
            )
        file.check()
    if is_directory(Path(out)):
        append.append(out, *(file.path for file in files), overwrite=overwrite)
    else:
        refuse_existing(Path(out), overwrite)
        _check(opened)
        _merge(opened, files, Path(out), overwrite)
    return dataset.open(out)


def _check(opened: Sequence[Dataset]) -> None:
    first, name = opened[0], opened[0].metadata.record.id
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
    if (alignment := common_alignment(files)) is not None:
        _copy(opened, files, alignment, about, documents, out, overwrite)
        return
    compact = all(c.layout == "encoded" for c in opened[0].metadata.columns.values())
    with Writer(
        out,
        about,
        schema=opened[0].schema.remove_metadata(),
        overwrite=overwrite,
        layout="compact" if compact else "mapped",
    ) as writer:
        for error in (error for part in opened for error in part.errors):
            writer.fail(**error)
        for document, data in documents:
            writer.attach(document["name"], data, document["media_type"])
        for part in opened:
            write_rows(writer, part, opened[0].schema)


def _about(opened: Sequence[Dataset]) -> dict[str, Json]:
    value = merge_metadata.together([carried(part) for part in opened])
    value.pop("splits")
    return value


def _documents(opened: Sequence[Dataset]) -> list[tuple[Json, bytes]]:
    """The documents of all parts; of several of one name the first."""
    found: dict[str, tuple[Json, bytes]] = {}
    for part in opened:
        for document in part.metadata.documents:
            data = part.document(document.name)
            about = {"name": document.name, "media_type": document.media_type}
            if found.setdefault(document.name, (about, data))[1] != data:
                warnings.warn(
                    f"{part.path}: another document {document.name} than that of an earlier part is left out",
                    DofWarning,
                    stacklevel=4,
                )
    return list(found.values())


def common_alignment(files: Sequence[File]) -> int | None:
    """The alignment at which the row groups of all files can stand in one file, or None if they cannot (SPEC 6.1).

    Every group but the last has to fill whole pages, and the same columns have to be mapped in all.
    """
    groups = [(file, group) for file in files for group in _groups(file)]
    mapped = [
        {n for n, c in file.metadata.columns.items() if c.layout == "mapped"} for file in files
    ]
    if len(groups) > layouts.MAX_GROUPS or any(names != mapped[0] for names in mapped):
        return None
    widths = [c.width for c in map(layouts.fixed, files[0].schema) if c and c.name in mapped[0]]
    best = layouts.geometry(widths).alignment
    rows = [get(group, RowGroup.ROWS) for _, group in groups[:-1]]
    if len(groups) < 2 or best == layouts.SMALL_ALIGNMENT:
        return layouts.SMALL_ALIGNMENT
    return next(
        (
            a
            for a in layouts.ALIGNMENTS
            if a <= best and not any(n * w % a for n in rows for w in widths)
        ),
        None,
    )


def _groups(file: File) -> list[Struct]:
    return items(structure.parse(file.tail)[0], FileMetaData.GROUPS)


def _copy(
    opened: Sequence[Dataset],
    files: Sequence[File],
    alignment: int,
    about: Json,
    documents: Sequence[tuple[Json, bytes]],
    out: Path,
    overwrite: bool,
) -> None:
    schema = files[0].schema.remove_metadata()
    columns = {n: to_json(c) for n, c in opened[0].metadata.columns.items()}
    mapped = [c for c in map(layouts.fixed, schema) if c and columns[c.name]["layout"] == "mapped"]
    with replacing(out, overwrite=overwrite) as output, ThreadPoolExecutor(1) as pool:
        placer = RowGroupWriter(output, pool)
        placer.begin(schema, mapped, alignment)
        for file in files:
            for group in _groups(file):
                placer.copy(file.file, group, alignment)
        uuid = content_uuid(
            placer.digests, [core["sha256"] for core in about.get("cores", {}).values()]
        )
        placed = placer.attach([error for part in opened for error in part.errors], documents)
        splits = merge_metadata.split_sizes([to_json(part.metadata.splits) for part in opened])
        value = {
            "version": VERSION,
            **about,
            **placed,
            "columns": columns,
            "uuid": uuid,
            "splits": splits,
        }
        value["provenance"] = {**value["provenance"], "generator": generator()}
        placer.finish(with_metadata(schema, from_json(value)))
