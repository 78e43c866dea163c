"""A dataset, or a selection of its rows, in another form; JSON and older files read back.

The content of a file says what it is; the name asked for says what to write (`forms`). To leave
records out, write what `filter` or `take` gives. (Rows D4, D5, D15, D24.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np
import pyarrow as pa

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import OutputError, UsageError
from dof_arrow.format.append import growing, waiting_mode
from dof_arrow.format.directory import MANIFEST, is_directory
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.spec.arrow import VECTOR_TYPES, element_type, is_vector, vector_field
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite import forms, json_form
from dof_arrow.rewrite.carry import attach, carried, renewed, write_rows
from dof_arrow.rewrite.legacy import read as legacy_files
from dof_arrow.rewrite.legacy import write as legacy
from dof_arrow.rewrite.splice import splice, spliced
from dof_arrow.storage.addresses import Address, Location, location, on_disk
from dof_arrow.storage.upload import uploaded
from dof_arrow.tables import selection
from dof_arrow.tables.clip_bounds import bounds

if TYPE_CHECKING:
    from dof_arrow.rewrite.foreign.convert import ForeignOptions

Layout = Literal["mapped", "compact"]
PathLike = str | os.PathLike[str]


def save(
    rows: Dataset,
    out: PathLike,
    *,
    layout: Layout | None = None,
    dtype: str | None = None,
    rows_per_part: int | None = None,
    overwrite: bool = False,
) -> Location:
    """Write a dataset, or a selection of one, in the form that the name of `out` asks for.

    `.parquet`: a DoF file in `layout`, by default mapped, its vectors cast to `dtype`; `.dof`: a
    directory of such files of at most `rows_per_part` rows each, which map as one array;
    `.dof.json`: DoF as JSON; `.arrow`: an Arrow IPC file; `.npy`: the primary vectors;
    `.safetensors`: all vectors and numbers. Lossless unless `dtype` narrows. On a store (`s3://`,
    `gs://`, `az://`) the name must be a new one.

    Raises UsageError for another name or type, OutputError if the file cannot be written,
    FormatError if the dataset is damaged.

    >>> import numpy, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.parquet")) as w:
    ...         w.write(ids=["a", "b"], vectors={"feature": numpy.eye(2, dtype="f4")})
    ...     kept = save(dataset.open(Path(folder, "x.parquet"))[:1], Path(folder, "y.parquet"))
    ...     len(dataset.open(kept))
    1
    """
    place = location(out)
    if isinstance(place, Address):
        with uploaded(place, MANIFEST if is_directory(place) else "") as path:
            save(rows, path, layout=layout, dtype=dtype, rows_per_part=rows_per_part)
        return place
    path = place
    form = forms.DIRECTORY if is_directory(path) else forms.file_form(path)
    given = {"layout": layout, "dtype": dtype, "rows_per_part": rows_per_part}
    options = {name: value for name, value in given.items() if value is not None}
    _check_values(path, layout, dtype)
    for option in options:
        forms.check_taken(form, option, path)
    if form is forms.FORMS[0] and not options and spliced(rows) is not None:
        splice(rows, path, overwrite=overwrite)  # old digests stay, so that no damage is hidden
        return path
    for file in selection.files(rows.table):
        file.check()  # a new seal would hide damage
    write = form.load_writer()
    write(rows, path, overwrite=overwrite, **options)
    return path


def convert(
    source: PathLike,
    out: PathLike,
    *,
    layout: Layout | None = None,
    dtype: str | None = None,
    rows_per_part: int | None = None,
    overwrite: bool = False,
    **foreign: Unpack[ForeignOptions],
) -> Location:
    """Write a DoF file or directory, its JSON form, or a file of DoF 1.0 or 2.x; see `save`.

    The content of the source says what it is. JSON and older files become a `.parquet` first; what
    an older file holds that has no place there is told as DofWarning. Raises FormatError if the
    source is none of these, SourceError for an older file that is damaged or not to be trusted.

    So do vectors of other programs: HDF5 of TRIDENT, CLAM and STAMP, files of torch, WebDataset
    archives of .npy members, one file or a folder of them (`ids`, `id_key` and `core` are of
    these), and folders that `embedding-reader` reads.
    """
    path = location(source)
    if not isinstance(path, Address) and _is_foreign(path):
        return _from_foreign(path, out, layout, dtype or rows_per_part, overwrite, foreign)
    if foreign:
        raise UsageError(
            "options of vectors that another program wrote",
            str(path),
            "HDF5, files of torch, archives or folders of them",
            ", ".join(foreign),
        )
    is_old = not isinstance(path, Address) and legacy_files.may_be(legacy_files.start_of(path))
    if isinstance(path, Address) or not (is_old or json_form.is_text(path)):
        return save(
            dataset.open(path),
            out,
            layout=layout,
            dtype=dtype,
            rows_per_part=rows_per_part,
            overwrite=overwrite,
        )
    target = on_disk(out)
    if target.suffix != ".parquet" or dtype is not None or rows_per_part is not None:
        raise UsageError(
            "JSON and older files become a Parquet file first",
            str(path),
            "OUT.parquet",
            str(out),
            f"First: dof convert {path} {target.stem}.parquet",
        )
    read = legacy.convert if is_old else _from_json
    read(path, target, layout=layout or "mapped", overwrite=overwrite)
    return target


def _is_foreign(path: Path) -> bool:
    """Whether another program wrote the vectors at a path."""
    from dof_arrow.rewrite.foreign.convert import may_be_foreign

    return not is_directory(path) and may_be_foreign(path)


def _from_foreign(
    path: Path,
    out: PathLike,
    layout: Layout | None,
    form: object,
    overwrite: bool,
    options: ForeignOptions,
) -> Path:
    """Write vectors of other programs as a DoF file, which other options may rewrite later."""
    from dof_arrow.rewrite.foreign.convert import convert as convert_foreign

    target = on_disk(out)
    if target.suffix != ".parquet" or form is not None:
        raise UsageError(
            "vectors of other programs become a Parquet file first",
            str(path),
            "OUT.parquet",
            str(out),
            f"First: dof convert {path} {target.stem}.parquet",
        )
    convert_foreign(path, target, layout=layout or "mapped", overwrite=overwrite, **options)
    return target


def save_file(
    rows: Dataset,
    path: Path,
    *,
    layout: Layout = "mapped",
    dtype: str | None = None,
    overwrite: bool = False,
    about: Mapping[str, Json] | None = None,
    errors: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Write a dataset as one DoF file, by default with its own metadata and errors."""
    schema = _cast_schema(rows, dtype)
    about = carried(rows) if about is None else about
    writer = Writer(path, about, schema=schema, layout=layout, overwrite=overwrite)
    with writer:
        attach(writer, rows, errors)
        write_rows(writer, rows, schema)


def save_directory(
    rows: Dataset,
    path: Path,
    *,
    layout: Layout = "mapped",
    dtype: str | None = None,
    rows_per_part: int | None = None,
    overwrite: bool = False,
    about: Mapping[str, Json] | None = None,
    errors: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Write a dataset as a directory of DoF files, each of `rows_per_part` rows but the last.

    `about` and `errors` are its own by default.
    """
    if path.exists() and not overwrite:
        raise OutputError(
            "the output exists already",
            str(path),
            hint="Give another name, or --overwrite; to add to it: dof merge.",
        )
    schema = _cast_schema(rows, dtype)
    about = carried(rows) if about is None else about
    step = part_rows(schema, rows_per_part)
    with growing(path, overwrite=overwrite) as growth:
        for start, end in _part_bounds(rows, step, _page_rows(schema)):
            writer = Writer(
                growth.spare,
                about,
                schema=schema,
                layout=layout,
                overwrite=True,
                part=True,
                mode=waiting_mode(growth.spare),
            )
            with writer:
                if start == 0:  # errors and documents stand once in a dataset
                    attach(writer, rows, errors)
                write_rows(writer, rows[start:end], schema)
            growth.add(growth.spare, take=True, new_ids=True)
            growth.spare.unlink()


def _part_bounds(rows: Dataset, step: int, unit: int) -> Iterator[tuple[int, int]]:
    """The first row and the end of each part, of at most `step` rows unless a record has more.

    A record lies in one part, and so does a bag. Of the places where one ends the last is taken
    that is a multiple of `unit`, if there is one: parts of full pages map as one array.
    """
    if not len(rows):
        yield 0, 0
        return
    record = rows.metadata.record
    whole = rows.to_arrow([record.bag or record.id])
    _, ends = bounds(whole.columns, str(rows.path), "bag" if record.bag else "record")
    start = 0
    while start < len(rows):
        first, last = np.searchsorted(ends, [start, start + step], side="right").tolist()
        fitting = ends[first:last] if last > first else ends[first : first + 1]
        full = fitting[(fitting - start) % unit == 0]
        chosen = fitting if fitting[-1] == len(rows) or not len(full) else full
        end = int(chosen[-1])
        yield start, end
        start = end


def part_rows(schema: pa.Schema, wanted: int | None) -> int:
    """Rows of each part of a directory but the last, such that all parts map as one array.

    That is `wanted`, rounded down so that the values of each vector column fill whole pages; by
    default four row groups of 64 MiB. Raises UsageError if `wanted` rows fill no page.
    """
    unit = _page_rows(schema)
    if wanted is None:
        return min(4 * layouts.schema_geometry(schema).rows, layouts.most_rows(schema))
    if wanted < unit:
        raise UsageError(
            "parts of so few rows do not map as one array",
            expected=f"{unit:,} rows or more",
            found=f"{wanted:,}",
            hint=f"--rows-per-part {unit}",
        )
    return min(wanted // unit * unit, layouts.most_rows(schema))


def _page_rows(schema: pa.Schema) -> int:
    """The fewest rows that fill whole pages of every vector column."""
    vectors = [column for column in map(layouts.fixed, schema) if column and column.nested]
    chosen = layouts.schema_geometry(schema)
    pages = (chosen.alignment // gcd(column.width, chosen.alignment) for column in vectors)
    return max(pages, default=1)


def _check_values(path: Path, layout: str | None, dtype: str | None) -> None:
    if dtype is not None and dtype not in VECTOR_TYPES:
        raise UsageError("no such type of vectors", str(path), " or ".join(VECTOR_TYPES), dtype)
    if layout not in (None, "mapped", "compact"):
        raise UsageError("no such layout", str(path), "mapped or compact", str(layout))


def _from_json(source: Path, target: Path, *, layout: Layout, overwrite: bool) -> None:
    def open_writer(about: Json, schema: pa.Schema) -> Writer:
        about = renewed(about, schema)
        return Writer(target, about, schema=schema, layout=layout, overwrite=overwrite)

    json_form.write(source, open_writer)


def _cast_schema(rows: Dataset, dtype: str | None) -> pa.Schema:
    """The schema of the rows, their vectors of another element type if `dtype` names one."""
    fields = []
    for field in rows.schema:
        if is_vector(field):
            kind = dtype or element_type(field)
            fields.append(vector_field(field.name, rows.row_shape(field.name), kind))
        else:
            fields.append(field)
    return pa.schema(fields)
