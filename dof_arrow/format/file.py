"""One DoF file opened for reading: its metadata, the proof, its columns mapped or decoded (SPEC sections 4 to 7)."""

from __future__ import annotations

import mmap
import os
import stat
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError, Problem, UsageError
from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.pages import Encoded
from dof_arrow.format.parquet.proof import Unproved, prove
from dof_arrow.format.spec.arrow import KEY, flat_array, is_vector, numpy_values, vector_array
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import VERSION, Metadata, from_json, parse
from dof_arrow.format.spec.rules import broken
from dof_arrow.storage.memory_map import Region, Stitched, stitchable

State = Literal["sealed", "broken", "unsealed"]
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe would wait for its writer
_COUNTED = (
    1 << 20
)  # a chunk claimed in 3 bytes takes 400 in memory: longer footers are counted first
_MAX_ELEMENTS = (
    1 << 16
)  # columns, row groups or keys that a footer may claim in one list before it is refused


class Columns(ABC):
    """Columns that lie in one file or several, mapped where their layout allows it, else decoded."""

    path: Path
    schema: pa.Schema
    rows: int

    def __init__(self) -> None:
        self._maps: dict[str, Stitched] = {}

    @abstractmethod
    def places(self, column: Fixed) -> list[tuple[int, Region]]:
        """Where the column's values lie, each region with its open file, proved; raises Unproved otherwise."""

    @abstractmethod
    def decoded(self, name: str) -> pa.Array:
        """A column as one Arrow array in memory of its own."""

    def stitched(self, column: Fixed) -> Stitched | None:
        """The column's values as one run of mapped memory, or None if the layout or the system does not allow it."""
        if column.name not in self._maps:
            try:
                places = self.places(column)
            except Unproved:
                return None
            if not stitchable([region for _, region in places]):
                return None
            self._maps[column.name] = Stitched(places)
        return self._maps[column.name]

    def mapped(self, name: str, *, writable: bool = False) -> np.ndarray | None:
        """A column as a numpy view of mapped memory, or None if it has to be decoded."""
        column = fixed(self.schema.field(name))
        memory = self.stitched(column) if column is not None and self.rows else None
        if column is None or memory is None:
            return None
        shape = (self.rows, column.items) if column.nested else (self.rows,)
        values = memory.array(column.stored, shape, writable=writable)
        return values if column.stored == column.memory else values.astype(column.memory)

    def numpy(self, name: str, *, writable: bool = False) -> np.ndarray:
        """A column as one array: [n, D] for vectors, mapped without a copy where the layout allows it."""
        values = self.mapped(name, writable=writable)
        return numpy_values(self.arrow(name), self.schema.field(name)) if values is None else values

    def arrow(self, name: str) -> pa.Array:
        """A column as one Arrow array, over the mapped memory where the layout allows it."""
        field, values = self.schema.field(name), self.mapped(name)
        if values is None:
            return self.decoded(name)
        return vector_array(values, field) if is_vector(field) else flat_array(values, field.type)


class File(Columns):
    """A Parquet file with DoF metadata, open and mapped on demand; immutable while it is open.

    `seal` is its 64 digits or None; `state` tells whether the seal is true (`sealed`), false (`broken`) or absent
    (`unsealed`: the file was rewritten by another tool).
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.file = open_file(path)
        weakref.finalize(self, os.close, self.file)
        self.size = os.fstat(self.file).st_size
        self.tail = footer.read(self.file, self.size)
        self.footer_start = self.size - len(self.tail)
        self.parquet = parquet_metadata(self.tail)
        keys = self.parquet.metadata or {}
        self.json = _dof_json(keys, path)
        self.seal, true = integrity.read_seal(self.tail, keys.get(integrity.SEAL))
        self.state: State = "unsealed" if self.seal is None else "sealed" if true else "broken"
        self.schema: pa.Schema = arrow_schema(self.parquet)
        self.rows = int(self.parquet.num_rows)
        self._decoded: dict[str, pa.Array] = {}

    @cached_property
    def metadata(self) -> Metadata:
        """The metadata, checked against its declaration."""
        return from_json(self.json)

    def regions(self, column: Fixed) -> list[Region]:
        """Where the column's values lie, proved; raises Unproved if they must be decoded."""
        return proved(self.file, self.footer_start, self.outline, column, self.rows)

    @cached_property
    def outline(self) -> Outline:
        """Where the column chunks stand in the footer; FormatError if readers would find them in different places."""
        outline = Outline(self.tail)
        outline.check()
        if len(outline.leaves) != self.parquet.num_columns:
            raise broken(
                "footer-schema",
                "footer",
                f"{len(outline.leaves)} columns",
                str(self.parquet.num_columns),
            )
        return outline

    def places(self, column: Fixed) -> list[tuple[int, Region]]:
        return [(self.file, region) for region in self.regions(column)]

    def decoded(self, name: str) -> pa.Array:
        if name not in self._decoded:
            self._decoded[name] = self._sound(name, self._encoded.column(name))
        return self._decoded[name]

    def check(self) -> None:
        """Read every byte of a sealed file and raise FormatError if one is not what was digested (SPEC 7.1)."""
        if self.state != "sealed":
            return
        self.outline.check()
        struct = footer.decode_footer(self.tail)[0]
        digests = (
            integrity.decode_digests(dict(footer.key_values(struct)).get(integrity.DIGESTS, b""))
            or []
        )
        for number, (start, end) in enumerate(integrity.segments(struct, self.footer_start)):
            if digests[number : number + 1] != [integrity.digest(self.file, start, end)]:
                raise FormatError(
                    "damaged: bytes are not those that were digested",
                    str(self.path),
                    found=f"others in {start:,} to {end:,}",
                    hint=f"Restore it from a backup; dof validate --deep {self.path} shows all.",
                )

    def _sound(self, name: str, column: pa.Array) -> pa.Array:
        """A decoded column that frameworks may be given: valid, one value a row, no missing vectors."""
        try:
            column.validate(full=True)
        except pa.ArrowException as error:
            raise broken(
                "data-unreadable", f"column {name}", "valid values", str(error)[:200]
            ) from None
        vector = is_vector(self.schema.field(name))
        values = (
            len(column.flatten().drop_null()) // column.type.list_size if vector else len(column)
        )
        if len(column) != self.rows or values != self.rows:
            raise broken("data-unreadable", f"column {name}", f"{self.rows} values", str(values))
        return column

    def attachment(self, offset: int, length: int) -> bytes:
        """The bytes of an attachment: the errors table, a document."""
        if offset + length > self.footer_start:
            raise FormatError("an attachment does not lie in the file", str(self.path))
        return os.pread(self.file, length, offset)

    @cached_property
    def _encoded(self) -> Encoded:
        memory = mmap.mmap(self.file, 0, access=mmap.ACCESS_READ)
        return Encoded(self.file, self.size, memory, self.parquet, self.schema, self.outline)


def proved(file: int, end: int, outline: Outline, column: Fixed, rows: int) -> list[Region]:
    """Where a column's values lie in the file open as `file`, whose footer begins at `end` and counts so many rows.

    Raises Unproved if they must be decoded, FormatError if readers would find them in different places.
    """
    leaf = outline.index(column.path)
    if leaf is None:
        raise Unproved(f"column {column.name}: not stored as {'.'.join(column.path)}")
    regions = prove(file, end, outline.column(leaf), column)
    groups = outline.rows
    if sum(groups) != rows or [region.length for region in regions] != [
        count * column.width for count in groups
    ]:
        raise Unproved(f"column {column.name}: its chunks have other rows than their groups")
    return regions


def open_file(path: Path) -> int:
    """A descriptor of a regular file, for reading; UsageError if there is none. The caller closes it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | _NO_WAIT)
    except FileNotFoundError:
        raise UsageError("no such file", str(path)) from None
    except OSError as error:
        raise UsageError(f"cannot be opened: {error.strerror}", str(path)) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UsageError("not a file", str(path), "a Parquet file", "a folder, pipe or device")
    return file


def parquet_metadata(tail: bytes) -> Any:
    """pyarrow's FileMetaData of a file with these last bytes (`footer.read`); FormatError if there is none."""
    import pyarrow.parquet as pq

    if len(tail) > _COUNTED:
        Outline(tail)
    limits = {
        "thrift_string_size_limit": footer.MAX_FOOTER,
        "thrift_container_size_limit": _MAX_ELEMENTS,
    }
    try:
        return pq.ParquetFile(pa.BufferReader(footer.MAGIC + tail), **limits).metadata
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        footer.decode_footer(tail)  # has the say where it is the Thrift that is wrong
        raise footer.unreadable(str(error)[:200], "footer-schema") from None


def arrow_schema(parquet: Any) -> pa.Schema:
    """The Arrow schema of a Parquet file; FormatError if none can be made."""
    try:
        return parquet.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise footer.unreadable(str(error)[:200], "footer-schema", "ARROW:schema") from None


def _dof_json(keys: Mapping[bytes, bytes], path: Path) -> Json:
    data = keys.get(KEY)
    if data is None:
        problem = Problem(
            rule="metadata-absent",
            where="footer",
            message="no key `dof`",
            expected="a DoF file",
            found="a Parquet file without it",
        )
        raise FormatError(
            "not a DoF file", str(path), hint="Make one with: dof extract", problems=[problem]
        )
    value = parse(data)
    _refuse_unknown(value, path)
    return value


def _refuse_unknown(value: Json, path: Path) -> None:
    version = str(value.get("version", VERSION))
    known = set(Metadata.__dataclass_fields__)
    must = value.get("must_understand", [])
    unknown = sorted({str(f) for f in must} - known) if isinstance(must, list) else []
    if version.split(".")[0] != VERSION.split(".")[0] or unknown:
        raise FormatError(
            "made for a later version of the format",
            str(path),
            f"version {VERSION.split('.')[0]}.x",
            f"{version} {' '.join(unknown)}".strip(),
            "pip install --upgrade dof-arrow",
        )
