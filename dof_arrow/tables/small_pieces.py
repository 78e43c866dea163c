"""Small pieces of a flat column in many files, read into one array.

To map a piece of some kilobytes takes longer than to copy it, and what follows has one array to
work on instead of hundreds. Large pieces are mapped, and not copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError
from dof_arrow.format.file import File
from dof_arrow.format.named import from_codes
from dof_arrow.format.parquet import together
from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.arrow import flat_array
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.names import categories, is_names
from dof_arrow.storage.memory_map import Region

_SMALL = 1 << 16  # bytes of a piece, on average
_AT_ONCE = 256  # files whose chunks are decoded together
_CODE = 2  # bytes of a code, at most
Piece = tuple[File, slice]  # some rows of a file


def joined(pieces: Sequence[Piece], field: pa.Field, about: Metadata) -> pa.Array | None:
    """Rows of a column, piece after piece; None where they are large, or have to be decoded.

    `about` says what the names of a column mean. Raises FormatError for a file that has become
    shorter.
    """
    column = fixed(field)
    flat = column is not None and not column.nested
    if not flat and not (is_names(field.type) and not field.nullable):
        return None
    width = column.width if column else _CODE
    if not pieces or sum(rows.stop - rows.start for _, rows in pieces) * width > _SMALL * len(
        pieces
    ):
        return None
    try:
        return _numbers(pieces, column, field) if column else _names(pieces, field, about)
    except Unproved:
        return None


def decode_together(files: Sequence[File], field: pa.Field) -> None:
    """Decode an encoded flat column of files at once where its chunks are small.

    Each file then has its own at hand; those that it does not fit decode it by themselves.
    """
    if pa.types.is_nested(field.type) or pa.types.is_dictionary(field.type):
        return
    if fixed(field) is not None or isinstance(field.type, pa.BaseExtensionType):
        return
    field = field.remove_metadata()
    waiting = [file for file in files if not file.is_decoded(field.name)]
    for start in range(0, len(waiting), _AT_ONCE):
        _decode(waiting[start : start + _AT_ONCE], field)


def _decode(files: Sequence[File], field: pa.Field) -> None:
    found = {}
    for file in files:
        chunk = file.small_chunk(field.name)
        if chunk is not None:
            found[file] = chunk
    columns = together.decoded(list(found.values()), field) if len(found) > 1 else None
    decoded = dict(zip(found, columns or (), strict=False))
    for file in files:
        file.keep_decoded(field.name, decoded.get(file))


def _numbers(pieces: Sequence[Piece], column: Fixed, field: pa.Field) -> pa.Array:
    found = []
    for file, rows in pieces:
        for region in _cut(file.regions(column), rows, column.width):
            found.append(_read(file, region))
    values = np.frombuffer(b"".join(found), column.stored)
    return flat_array(values.astype(column.memory, copy=False), field.type)


def _names(pieces: Sequence[Piece], field: pa.Field, about: Metadata) -> pa.Array | None:
    classes = categories(about).get(field.name)
    if classes is None and field.name != about.record.split:
        return None
    found = []
    for file, rows in pieces:
        regions = file.names_regions(field.name)
        start = 0
        for each in regions:
            width = each.dtype.itemsize
            count = each.region.length // width
            inside = slice(rows.start - start, rows.stop - start)
            for region in _cut([each.region], inside, width):
                found.append((each.names, np.frombuffer(_read(file, region), each.dtype)))
            start += count
    return from_codes(found, classes).array(slice(None), field.type)


def _cut(regions: Sequence[Region], rows: slice, width: int) -> Iterator[Region]:
    """What of regions that lie behind one another holds some rows of `width` bytes."""
    first = 0
    for region in regions:
        count = region.length // width
        start = max(rows.start - first, 0)
        stop = min(rows.stop - first, count)
        if start < stop:
            yield Region(region.offset + start * width, (stop - start) * width)
        first += count


def _read(file: File, region: Region) -> bytes:
    data = os.pread(file.file, region.length, region.offset)
    if len(data) != region.length:
        raise FormatError(
            "the file has become shorter since it was opened", str(file.path), hint="Open it again."
        )
    return data
