"""One DoF file opened for reading: its metadata, its seal, its columns (SPEC sections 4 to 7)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError, Problem, UsageError, said_of
from dof_arrow.format.columns import Columns, Places
from dof_arrow.format.named import Named, from_regions
from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet import footer, together
from dof_arrow.format.parquet.layout import Fixed
from dof_arrow.format.parquet.names_proof import NamesRegion, prove_names
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.page_rows import NotByPage, PageRows, values_of_a_row
from dof_arrow.format.parquet.pages import Encoded
from dof_arrow.format.parquet.plain_texts import plain_texts
from dof_arrow.format.parquet.proof import Unproved, prove, prove_by_footer
from dof_arrow.format.spec.arrow import KEY, is_vector
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import VERSION, Metadata, from_json, parse
from dof_arrow.format.spec.names import is_names
from dof_arrow.format.spec.rules import broken
from dof_arrow.once import once
from dof_arrow.storage.addresses import Location
from dof_arrow.storage.memory_map import OpenFile, Region, whole
from dof_arrow.storage.open_files import KeptFile, Recent, most_files

State = Literal["sealed", "broken", "unsealed"]
_RECENT = Recent(most_files())
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe would wait for its writer
# A chunk claimed in 3 bytes takes 400 in memory: longer footers are counted first.
_COUNTED = 1 << 20
# Columns, row groups or keys that a footer may claim in one list before it is refused.
_MAX_ELEMENTS = 1 << 16


class File(Columns):
    """A Parquet file with DoF metadata, opened and mapped on demand; it must stay as it is.

    Of very many files those that were used last stay open (`dof_arrow.storage.open_files`).

    `seal` is its 64 digits or None; `state` tells whether the seal is true (`sealed`), false
    (`broken`) or absent (`unsealed`: the file was rewritten by another tool).
    """

    def __init__(self, path: Location) -> None:
        super().__init__()
        self.path = path
        with said_of(path):
            self._take_footer()
        self._decoded: dict[str, pa.Array] = {}
        self.speaker: File | None = None  # of a part, the manifest, which speaks for all parts

    def _take_footer(self) -> None:
        self.size, self.tail = self._opened()
        self.footer_start = self.size - len(self.tail)
        self.parquet = parquet_metadata(self.tail)
        keys = self.parquet.metadata or {}
        self.json = dof_json(keys, self.path)
        self.seal, self.state = _seal_state(self.tail, keys)
        self.schema: pa.Schema = arrow_schema(self.parquet)
        self.rows = int(self.parquet.num_rows)

    @property
    def meaning(self) -> Metadata:
        return self.metadata if self.speaker is None else self.speaker.metadata

    def _opened(self) -> tuple[int, bytes]:
        """Open the file: its size, and its last bytes from the footer on."""
        assert isinstance(self.path, Path)
        self._kept = KeptFile(partial(open_file, self.path), str(self.path))
        file = self.file
        size = os.fstat(file).st_size
        return size, self._read_footer(file, size)

    def _read_footer(self, file: int, size: int) -> bytes:
        return footer.read(file, size)

    @property
    def file(self) -> int:
        """The descriptor of the open file; hold this object as long as the number is used."""
        _RECENT.use(self)
        return self._kept.descriptor()

    def let_go(self) -> None:
        """Close the file and forget its maps; they live on with the arrays over them."""
        self._kept.close()
        for known in (self._maps, self._pieces, self._named, self._paged):
            known.clear()
        self._proved.clear()
        self._proved_names.clear()
        for name in ("_encoded", "memory"):
            self.__dict__.pop(name, None)

    @once
    def metadata(self) -> Metadata:
        """The metadata, checked against its declaration."""
        with said_of(self.path):
            return from_json(self.json)

    def regions(self, column: Fixed) -> list[Region]:
        """Where the column's values lie, proved; raises Unproved if they must be decoded."""
        if column.name not in self._proved:
            found = proved(self.file, self.footer_start, self.outline, column, self.rows)
            self._proved[column.name] = found
        return self._proved[column.name]

    @once
    def outline(self) -> Outline:
        """Where the column chunks stand in the footer.

        Raises FormatError if readers would find them in different places.
        """
        with said_of(self.path):
            outline = Outline(self.tail)
            outline.check()
            if len(outline.leaves) != self.parquet.num_columns:
                expected = f"{len(outline.leaves)} columns"
                raise broken("footer-schema", "footer", expected, self.parquet.num_columns)
            return outline

    def places(self, column: Fixed) -> list[tuple[OpenFile, Region]]:
        return [(self, region) for region in self.regions(column)]

    def views(self, column: Fixed) -> list[np.ndarray]:
        arrays = []
        for region in self.regions(column):
            count = region.length // column.stored.itemsize
            arrays.append(np.frombuffer(self.memory, column.stored, count, region.offset))
        return arrays

    @once
    def memory(self) -> memoryview:
        """The whole file, mapped to be read."""
        return whole(self.file)

    def mapped_names(self, field: pa.Field, classes: Sequence[str] | None) -> Named:
        if field.nullable or not is_names(field.type) or not self.rows:
            raise Unproved(f"column {field.name}: not required, or no dictionary")
        return from_regions(self.names_regions(field.name), classes, self.memory)

    def names_regions(self, name: str) -> list[NamesRegion]:
        """Where the codes of a column of names lie; raises Unproved if they must be decoded."""
        if name not in self._proved_names:
            self._proved_names[name] = self._prove_names(name)
        return self._proved_names[name]

    def _prove_names(self, name: str) -> list[NamesRegion]:
        leaf = self.outline.index([name])
        if leaf is None:
            raise Unproved(f"column {name}: not stored as one leaf")
        chunks = self.outline.column(leaf)
        rows = self.outline.rows
        if sum(rows) != self.rows:
            raise Unproved(f"column {name}: row groups have other rows than the file")
        return prove_names(self.file, self.footer_start, chunks, rows, name)

    def decoded(self, name: str) -> pa.Array:
        if name not in self._decoded:
            plain = self._plain_texts(name)
            found = self._encoded.column(name) if plain is None else plain
            self._decoded[name] = self._sound(name, found)
        return self._decoded[name]

    def is_decoded(self, name: str) -> bool:
        """Whether a decoded column is at hand, or cannot be decoded with those of other files."""
        return name in self._decoded or name in self._alone

    def small_chunk(self, name: str) -> together.SmallChunk | None:
        """The only chunk of a flat column, if it is small; None where there are several."""
        leaf = self.outline.index([name])
        if leaf is None or len(self.outline.rows) != 1:
            return None
        outline = self.outline
        (meta,) = outline.column(leaf)
        return together.read(self.file, self.footer_start, meta, outline.rows[0], outline.schema)

    def keep_decoded(self, name: str, column: pa.Array | None) -> None:
        """Have a column at hand that was decoded with those of other files; None: it was not."""
        if column is None:
            self._alone.add(name)
        else:
            self._decoded[name] = self._sound(name, column)

    def _plain_texts(self, name: str) -> pa.Array | None:
        field = self.schema.field(name)
        leaf = self.outline.index([name])
        if field.nullable or field.type != pa.string() or leaf is None:
            return None
        outline = self.outline
        return plain_texts(self.file, self.footer_start, outline.column(leaf), outline.rows)

    def some_rows(self, name: str, rows: Places) -> pa.Array | None:
        """A few rows of a large encoded column, from the pages that hold them."""
        if name in self._decoded:
            self._paged[name] = None
        if name not in self._paged:
            self._paged[name] = self._by_pages(name)
        pages = self._paged[name]
        if pages is None:
            return None
        try:
            return pages.rows(rows)
        except NotByPage:
            return None

    def _by_pages(self, name: str) -> PageRows | None:
        """What reads a column by its pages; None where it is mapped, or others wrote the file."""
        field = self.schema.field(name)
        width = values_of_a_row(field)
        if self.state != "sealed" or not width or not self.rows:
            return None
        if self.mapped(name) is not None or self._mapped_pieces(field) is not None:
            return None
        leaves = [at for at, path in enumerate(self.outline.leaves) if path[0] == name.encode()]
        if len(leaves) != 1:
            return None
        chunks = self.outline.column(leaves[0])
        try:
            return PageRows(
                self.file, self.size, self.memory, chunks, self.outline.rows, field, width
            )
        except NotByPage:
            return None

    def decoded_groups(self, name: str) -> Iterator[pa.ChunkedArray]:
        """A column decoded, row group by row group; raises FormatError as `Encoded` does."""
        return self._encoded.groups(name)

    def check(self) -> None:
        """Compare every byte of a sealed file with its digests (SPEC 7.1).

        Raises FormatError if one differs. A file that is not sealed passes.
        """
        if self.state != "sealed":
            return
        self.outline.check()
        struct = footer.decode_footer(self.tail)[0]
        keys = dict(footer.key_values(struct))
        digests = integrity.decode_digests(keys.get(integrity.DIGESTS, b"")) or []
        segments = integrity.segments(struct, self.footer_start)
        for number, (start, end) in enumerate(segments):
            # A slice, because digests may be fewer than segments.
            if digests[number : number + 1] != [integrity.digest(self.file, start, end)]:
                raise FormatError(
                    "damaged: bytes are not those that were digested",
                    str(self.path),
                    found=f"others in {start:,} to {end:,}",
                    hint=f"Restore it from a backup; dof validate --deep {self.path} shows all.",
                )

    def _sound(self, name: str, column: pa.Array) -> pa.Array:
        """A decoded column, checked: valid, one value a row, no missing vectors."""
        try:
            column.validate(full=True)
        except pa.ArrowException as error:
            found = str(error)[:200]
            raise broken("data-unreadable", f"column {name}", "valid values", found) from None
        values = len(column)
        if is_vector(self.schema.field(name)):
            values = len(column.flatten().drop_null()) // column.type.list_size
        if len(column) != self.rows or values != self.rows:
            raise broken("data-unreadable", f"column {name}", f"{self.rows} values", values)
        return column

    def attachment(self, offset: int, length: int) -> bytes:
        """The bytes of an attachment: the errors table, a document."""
        if offset + length > self.footer_start:
            raise FormatError("an attachment does not lie in the file", str(self.path))
        return os.pread(self.file, length, offset)

    @once
    def _encoded(self) -> Encoded:
        return Encoded(self.file, self.size, self.memory, self.parquet, self.schema, self.outline)


def proved(file: int, end: int, outline: Outline, column: Fixed, rows: int) -> list[Region]:
    """Where a column's values lie in the file open as `file`.

    The file's footer begins at byte `end` and counts `rows` rows. Raises Unproved if the values
    must be decoded, FormatError if readers would find them in different places.
    """
    regions = prove(file, end, _chunks(outline, column), column)
    return _of_all_rows(regions, outline, column, rows)


def proved_by_footer(end: int, outline: Outline, column: Fixed, rows: int) -> list[Region]:
    """As `proved`, for a sealed file of which nothing but the footer is at hand (SPEC 6.5)."""
    regions = prove_by_footer(end, _chunks(outline, column), column)
    return _of_all_rows(regions, outline, column, rows)


def _chunks(outline: Outline, column: Fixed) -> list[footer.Struct]:
    leaf = outline.index(column.path)
    if leaf is None:
        raise Unproved(f"column {column.name}: not stored as {'.'.join(column.path)}")
    return outline.column(leaf)


def _of_all_rows(regions: list[Region], outline: Outline, column: Fixed, rows: int) -> list[Region]:
    groups = outline.rows
    expected = [count * column.width for count in groups]
    lengths = [region.length for region in regions]
    if sum(groups) != rows or lengths != expected:
        raise Unproved(f"column {column.name}: its chunks have other rows than their groups")
    return regions


def open_file(path: Path) -> int:
    """A descriptor of a regular file, for reading, which the caller closes.

    Raises UsageError if there is no such file, or it cannot be read.
    """
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
    """pyarrow's FileMetaData of a file whose last bytes are `tail` (`footer.read`).

    Raises FormatError if there is none.
    """
    import pyarrow.parquet as pq

    if len(tail) > _COUNTED:
        Outline(tail)  # counts, and refuses too many
    limits = {
        "thrift_string_size_limit": footer.MAX_FOOTER,
        "thrift_container_size_limit": _MAX_ELEMENTS,
    }
    try:
        return pq.ParquetFile(pa.BufferReader(footer.MAGIC + tail), **limits).metadata
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        footer.decode_footer(tail)  # says more where it is the Thrift that is wrong
        raise footer.unreadable(str(error)[:200], "footer-schema") from None


def arrow_schema(parquet: Any) -> pa.Schema:
    """The Arrow schema of a Parquet file; FormatError if none can be made."""
    try:
        return parquet.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise footer.unreadable(str(error)[:200], "footer-schema", "ARROW:schema") from None


def dof_json(keys: Mapping[bytes, bytes], path: Location) -> Json:
    """The metadata among a footer's keys; FormatError if it is none, or of a later version."""
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


def _seal_state(tail: bytes, keys: Mapping[bytes, bytes]) -> tuple[str | None, State]:
    """The seal of a file, and whether it is true, false or absent."""
    seal, is_true = integrity.read_seal(tail, keys.get(integrity.SEAL))
    if seal is None:
        return None, "unsealed"
    return seal, "sealed" if is_true else "broken"


def _refuse_unknown(value: Json, path: Location) -> None:
    """Raise FormatError for a file that only a later version can read."""
    version = str(value.get("version", VERSION))
    must = value.get("must_understand", [])
    known = set(Metadata.__dataclass_fields__)
    unknown: list[str] = []
    if isinstance(must, list):
        unknown = sorted(set(map(str, must)) - known)
    major = VERSION.partition(".")[0]
    if version.partition(".")[0] != major or unknown:
        raise FormatError(
            "made for a later version of the format",
            str(path),
            f"version {major}.x",
            " ".join([version, *unknown]),
            "pip install --upgrade dof-arrow",
        )
