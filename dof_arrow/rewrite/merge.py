"""Datasets put together in one, their rows one after the other.

Chunks are copied as bytes where their geometry allows it, else the rows are written anew.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, FormatError, OutputError, UsageError
from dof_arrow.extraction.partition import merged_provenance, partition_of
from dof_arrow.format import append, merge_metadata
from dof_arrow.format.append import Growth
from dof_arrow.format.directory import MANIFEST, is_directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.parquet.compact import MAX_VALUES, count_values
from dof_arrow.format.parquet.footer import FileMetaData, RowGroup, Struct, get, items
from dof_arrow.format.parquet.names_chunk import NamesColumn
from dof_arrow.format.parquet.row_groups import RowGroupWriter, content_uuid, generator
from dof_arrow.format.spec.arrow import with_metadata
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import VERSION, Metadata, from_json
from dof_arrow.format.spec.names import is_names
from dof_arrow.format.statistics_anew import statistics_anew
from dof_arrow.format.validation import structure
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.carry import carried, check_rules, renewed, write_rows
from dof_arrow.rewrite.convert import save_directory
from dof_arrow.storage.addresses import Address, location
from dof_arrow.storage.atomic import refuse_existing, replacing
from dof_arrow.storage.upload import uploaded
from dof_arrow.tables import selection
from dof_arrow.tables.join import row_names

Array = NDArray[np.int64]
PathLike = str | os.PathLike[str]
Say = Callable[[str], None]
Attached = tuple[Json, bytes]  # a document's name and media type, and its bytes


def merge(
    parts: Sequence[PathLike],
    out: PathLike,
    *,
    overwrite: bool = False,
    say: Say = lambda note: None,
) -> Dataset:
    """Put datasets together as one file, or as a directory `name.dof` of all their files.

    Rows stand one part after the other, or, where all have them in the order of their pseudonyms,
    in that order. Columns are united by name, numbers widened, classes united by name; what a
    dataset lacks is missing in its rows, and an input that is in several stands there once. `say`
    is told each of these. Files are added to a directory that is there already, if it has their
    columns and classes.

    Where all are alike one file is made of the parts' own chunks if every row group but the last
    fills whole pages, else written anew; either way every byte read is checked against its digest.

    Raises UsageError that names all that cannot be united: other cores, columns of other types, one
    id with different features, a group in two splits; FormatError for a part that is not sealed or
    damaged, OutputError if the output exists or cannot be written.
    """
    parts = [parts] if isinstance(parts, str | os.PathLike) else parts
    place = location(out)
    if isinstance(place, Address):
        with uploaded(place, MANIFEST if is_directory(place) else "") as path:
            merge(parts, path, say=say)
        return dataset.open(place)
    opened = [dataset.open(part) for part in parts]
    if not opened:
        raise UsageError("nothing to put together", str(out), "one part or more", "none")
    files = _files(opened)
    for file in files:
        check_whole(file)
    if is_directory(Path(out)):
        _into_directory(opened, files, Path(out), overwrite, say)
    else:
        refuse_existing(Path(out), overwrite)
        _into_file(opened, files, Path(out), overwrite, say)
    return dataset.open(out)


def _into_file(
    opened: Sequence[Dataset], files: Sequence[File], out: Path, overwrite: bool, say: Say
) -> None:
    whole, notes = dataset.union(opened, once=True)
    for note in notes:
        say(note)
    order = pseudonym_order(opened, whole)
    if order is not None:
        _write_anew(opened, whole.take(order), out, overwrite)
    elif _is_as_given(whole, opened):
        _merge(opened, files, out, overwrite)
    else:
        _write_anew(opened, whole, out, overwrite)


def _into_directory(
    opened: Sequence[Dataset], files: Sequence[File], out: Path, overwrite: bool, say: Say
) -> None:
    """Add the files as they are, or rows in the form of what is there, or of all of them."""
    known = [dataset.open(out)] if (out / MANIFEST).exists() and not overwrite else []
    whole, notes = dataset.union([*known, *opened], once=True)
    for note in notes:
        say(note)
    if any(map(partition_of, opened)) and not known:
        order = pseudonym_order(opened, whole)
        ordered = whole if order is None else whole.take(order)
        about, errors = _about(opened), errors_of(opened)
        save_directory(ordered, out, overwrite=overwrite, about=about, errors=errors)
        return
    if known and not _is_like(known[0], whole):
        raise UsageError(
            "the directory's parts have other columns or classes",
            str(out),
            "no new columns, types or classes",
            "; ".join(notes) or "other types",
            f"Make a new one of all: dof merge {out} MORE … -o NEW.dof",
        )
    if _is_as_given(whole, [*known, *opened]):
        append.append(out, *files, overwrite=overwrite)
        return
    with append.growing(out, overwrite=overwrite) as growth:
        start = sum(map(len, known))
        for part, rows in zip(opened, _kept(whole)[len(known) :], strict=True):
            if rows:
                with _spare(growth.spare) as spare:
                    some = whole[start : start + rows]
                    _write_anew([part], some, spare, True, like=[*known, *opened][0], part=True)
                    growth.add(spare, new_ids=True)
            start += rows


def _files(opened: Sequence[Dataset]) -> list[File]:
    """The files with the rows of all datasets; a directory's manifest holds none."""
    found = []
    for part in opened:
        for file in selection.files(part.table):
            is_manifest = not file.rows and file.metadata.parts
            if not is_manifest:
                found.append(file)
    return found


def check_whole(file: File) -> None:
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


def pseudonym_order(opened: Sequence[Dataset], whole: Dataset) -> Array | None:
    """The order in which rows stand by their pseudonyms; None where they need no other one.

    Where every part has its rows in that order, the whole has too: else it would tell which part
    a row came from, and partitions of one run would not be as the run.
    """
    if not _are_by_pseudonym(opened) or _ascend(_names(whole)):
        return None
    ids = _names(whole).to_numpy(zero_copy_only=False)
    return np.argsort(ids, kind="stable")


def _are_by_pseudonym(opened: Sequence[Dataset]) -> bool:
    """Whether all have their rows in the order of their pseudonyms."""

    def ascends(part: Dataset) -> bool:
        return part.metadata.pseudonyms is not None and _ascend(_names(part))

    return all(map(ascends, opened))


def _names(data: Dataset) -> pa.Array:
    """What rows are ordered by: their ids, or their bags and then their ids."""
    record = data.metadata.record
    columns = [name for name in (record.bag, record.id) if name]
    return row_names(data.to_arrow(columns).columns)


def _ascend(ids: pa.Array) -> bool:
    import pyarrow.compute as pc

    return len(ids) < 2 or pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py()


def _is_as_given(whole: Dataset, opened: Sequence[Dataset]) -> bool:
    """Whether the whole is the rows of all parts, none left out, none in another form."""
    alike = all(part.schema.equals(whole.schema, check_metadata=False) for part in opened)
    targets = all(part.metadata.targets == whole.metadata.targets for part in opened)
    return alike and targets and len(whole) == sum(map(len, opened))


def _is_like(known: Dataset, whole: Dataset) -> bool:
    """Whether the form of all rows is that of the directory that is there."""
    same_columns = known.schema.equals(whole.schema, check_metadata=False)
    return same_columns and known.metadata.targets == whole.metadata.targets


def _kept(whole: Dataset) -> list[int]:
    """How many rows each part has in the whole."""
    table = whole.table
    assert isinstance(table, selection.Chained | selection.United)
    return [len(part) for part in table.parts]


@contextmanager
def _spare(path: Path) -> Iterator[Path]:
    """A file beside a directory, for rows that are to be added to it."""
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def spare_of(growth: Growth) -> Iterator[Path]:
    """The file beside a directory in which a part is made anew.

    Raises OutputError where rows of an extraction wait there to be added.
    """
    if growth.spare.exists():
        raise OutputError(
            "rows wait to be added, or a killed command left them",
            str(growth.spare),
            hint="Repeat that extraction, or drop them: dof repair --discard",
        )
    with _spare(growth.spare) as spare:
        yield spare


def _merge(opened: Sequence[Dataset], files: Sequence[File], out: Path, overwrite: bool) -> None:
    alignment = common_alignment(files)
    if alignment is None:
        _write_anew(opened, dataset.union(opened, once=False)[0], out, overwrite)
    else:
        about, documents = _about(opened), _documents(opened)
        _copy(opened, files, alignment, about, documents, out, overwrite)


def _write_anew(
    opened: Sequence[Dataset],
    whole: Dataset,
    out: Path,
    overwrite: bool,
    like: Dataset | None = None,
    part: bool = False,
) -> None:
    """Write rows as one file, laid out `like` another, which speaks for all that they are of."""
    about = {**_about(opened), **_form(whole)}
    _write_rows(opened, whole, about, out, overwrite, like, part)


def _write_rows(
    opened: Sequence[Dataset],
    whole: Dataset,
    about: Json,
    out: Path,
    overwrite: bool,
    like: Dataset | None = None,
    part: bool = False,
) -> None:
    """Write rows as one file that says of itself what `about` does."""
    schema = whole.schema.remove_metadata()
    writer = Writer(
        out,
        about,
        schema=schema,
        overwrite=overwrite,
        layout=layout_of((like or opened[0]).metadata),
        part=part,
    )
    with writer:
        attach_all(writer, errors_of(opened), opened)
        write_rows(writer, whole, schema)


def attach_all(
    writer: Writer, errors: Sequence[Mapping[str, str]], opened: Sequence[Dataset]
) -> None:
    """Hand errors on, and the documents of all parts."""
    for error in errors:
        writer.fail(**error)
    for document, data in _documents(opened):
        writer.attach(document["name"], data, document["media_type"])


def layout_of(metadata: Metadata) -> Literal["mapped", "compact"]:
    """The layout in which rows are written like those of a file."""
    return "mapped" if _mapped_names(metadata) else "compact"


def join_parts(parts: Sequence[File], out: Path) -> None:
    """Write parts of one directory as one part: as `merge` does, and without naming parents."""
    opened = [Dataset(part, slice(0, part.rows)) for part in parts]
    about = about_parts(opened)
    alignment = common_alignment(parts) if len(parts) > 1 else None
    if alignment is None:
        whole = dataset.union(opened, once=False)[0]
        _write_rows(opened, whole, {**about, **_form(whole)}, out, overwrite=True, part=True)
    else:
        _copy(opened, parts, alignment, about, _documents(opened), out, overwrite=True)


def about_parts(opened: Sequence[Dataset]) -> dict[str, Json]:
    """The metadata of parts of one directory together, without parents."""
    values = [renewed(to_json(part.metadata), part.schema) for part in opened]
    about = merge_metadata.together(values)
    about.pop("splits")
    return about


def errors_of(opened: Sequence[Dataset]) -> list[Json]:
    """The errors of all parts, by id where rows are."""
    whole = [error for part in opened for error in part.errors]
    if whole and _are_by_pseudonym(opened):  # which reads all ids
        whole.sort(key=itemgetter("id"))
    return whole


def _form(whole: Dataset) -> dict[str, Json]:
    """What the metadata of united rows says of their columns."""
    value = renewed(to_json(whole.metadata), whole.schema)
    return {name: value[name] for name in ("columns", "targets", "record") if name in value}


def _about(opened: Sequence[Dataset]) -> dict[str, Json]:
    """The metadata of all rows, but for the sizes of splits, which are counted as rows go by."""
    value = merge_metadata.together([carried(part) for part in opened])
    value["provenance"] = merged_provenance(opened, value["provenance"])
    value.pop("splits")
    return value


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
    if sum(map(count_values, groups)) > MAX_VALUES:
        return None  # more than a footer can describe: groups written anew are larger
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
            for group, stated in zip(_groups(file), statistics_anew(file), strict=True):
                placer.copy(file.file, group, alignment, stated)
        placed = placer.attach(errors_of(opened), documents)
        metadata: Metadata = from_json(_merged_metadata(opened, about, placed, placer.digests))
        check_rules(dataset.union(opened, once=False)[0], metadata, schema)
        placer.finish(with_metadata(schema, metadata))


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
