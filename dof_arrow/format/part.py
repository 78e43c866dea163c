"""A part of a directory: it is what the manifest says, and that is compared once it is opened.

A part's seal covers its footer, and the manifest lists the seal: a part with that seal is, to the
bit, the one that was listed. So of its footer no more is read than its rows and where its columns
lie, and that its schema is the manifest's. Of thousands of parts that is what an epoch, a filter or
a single row waits for.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable
from pathlib import Path
from threading import RLock
from typing import Any

import pyarrow as pa

from dof_arrow.errors import FormatError, said_of
from dof_arrow.format.columns import Columns
from dof_arrow.format.file import File, dof_json, parquet_metadata
from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.spec import metadata
from dof_arrow.format.spec.arrow import KEY
from dof_arrow.once import once
from dof_arrow.storage.addresses import Location

_ARROW_SCHEMA = b"ARROW:schema"
_FOOTER = 1 << 12  # bytes that a footer is thought to have, until one was read
_OPENED = ("tail", "footer_start", "_kept", "outline")  # known once the part is opened
_DECODED = ("parquet", "json")  # known once all of the footer is read
# How the metadata of a file begins that needs no look at its version.
_MAJOR = metadata.VERSION.partition(".")[0]
_USUAL = f'{{"version":"{_MAJOR}.'.encode()
_UNUSUAL = (b"must_understand", b"\\u")


class Kin:
    """What the parts of a directory have in common with its manifest."""

    def __init__(self, manifest: File) -> None:
        self.manifest = manifest
        self.guess = _FOOTER  # bytes of the next footer
        self._alike = set[tuple[bytes, bytes]]()  # stored Arrow schemas without the metadata

    @once
    def _schemas(self) -> tuple[bytes, pa.Schema | None]:
        """The manifest's own, as Parquet and as Arrow have them."""
        outline = Outline(self.manifest.tail)
        return outline.schema, _arrow_schema(_stored_schema(outline))

    def read(self, file: int, size: int) -> bytes:
        """The footer of a part; most are as long as the one before."""
        tail = footer.read(file, size, self.guess)
        self.guess = min(len(tail) + len(tail) // 8, footer.GUESS)
        return tail

    def has_same_columns(self, outline: Outline) -> bool:
        """Whether a part's columns are known to be the manifest's; else its schema tells more."""
        parquet, arrow = self._schemas
        if outline.schema != parquet or arrow is None:
            return False
        # The Arrow schema holds the metadata, in which each part differs.
        stored = _stored_schema(outline)
        rest = stored.partition(outline.text(KEY) or stored)
        columns = (rest[0], rest[2])
        if columns not in self._alike:
            found = _arrow_schema(stored)
            if found is None or not arrow.equals(found):
                return False
            self._alike.add(columns)
        return True


class Part(File):
    """A part of a directory; until something else is asked of it, it is what the manifest says.

    What is asked for then raises FormatError unless it is so.
    """

    def __init__(self, path: Path, about: metadata.Part, kin: Kin) -> None:
        Columns.__init__(self)
        self.path = path
        self._about = about
        self._kin = kin
        self.size = about.bytes
        self.rows = about.rows
        self.seal = about.seal
        self.state = "sealed"
        self.schema = kin.manifest.schema
        self.speaker = kin.manifest
        self._decoded = {}
        self._opening = RLock()

    def __getattr__(self, name: str) -> Any:
        """What only the opened file knows."""
        if name not in _OPENED and name not in _DECODED:
            raise AttributeError(name)
        with self._opening, said_of(self.path):
            if "tail" not in self.__dict__:
                self._open()
            if name not in self.__dict__:
                self.__dict__[name] = self._of_footer(name)
        return self.__dict__[name]

    def _of_footer(self, name: str) -> Any:
        if name == "json":
            return dof_json({KEY: self.outline.text(KEY) or b""}, self.path)
        return parquet_metadata(self.tail)

    def open(self) -> None:
        """Open it, if that was not done."""
        _ = self.tail

    @once
    def outline(self) -> Outline:
        """Where the column chunks stand in the footer."""
        self.open()
        found: Outline = self.__dict__["outline"]
        return found

    def _read_footer(self, file: int, size: int) -> bytes:
        return self._kin.read(file, size)

    def _open(self) -> None:
        size, tail = self._opened()
        compare(self.path, (("size", self._about.bytes, size),))
        outline = self._recognised(tail)
        if outline is None:
            self._read_whole()  # which says what is wrong, if anything is
            return
        self.__dict__.update(tail=tail, footer_start=size - len(tail), outline=outline)

    def _recognised(self, tail: bytes) -> Outline | None:
        """The outline of the footer that was listed; None where all of it has to be read."""
        _, is_true = integrity.read_seal(tail, self._about.seal.encode())
        if not is_true:
            return None
        outline = Outline(tail)
        outline.check()
        about = outline.text(KEY) or b""
        if not about.startswith(_USUAL) or any(word in about for word in _UNUSUAL):
            return None
        if outline.text(integrity.SEAL) != self._about.seal.encode():
            return None
        if outline.all_rows != self._about.rows or not self._kin.has_same_columns(outline):
            return None
        return outline

    def _read_whole(self) -> None:
        whole = File(self.path)
        check_part(whole, self._about, self._kin.manifest)
        for name in (*_OPENED, *_DECODED):
            self.__dict__.setdefault(name, getattr(whole, name))


def check_part(part: File, about: metadata.Part, manifest: File) -> None:
    """Raise FormatError unless a part is what the manifest says."""
    compared = (
        ("size", about.bytes, part.size),
        ("seal", about.seal, part.seal),
        ("rows", about.rows, part.rows),
    )
    compare(part.path, compared)
    if part.state != "sealed" or not part.schema.equals(manifest.schema):
        raise FormatError(
            "a part does not belong to this dataset",
            str(part.path),
            "its seal and columns",
            "others",
            f"See what is wrong: dof validate {manifest.path.parent}",
        )


def compare(path: Location | str, compared: Iterable[tuple[str, object, object]]) -> None:
    """Raise FormatError where the manifest says of a part what was not found."""
    for what, expected, found in compared:
        if expected != found:
            raise FormatError(
                f"a part has another {what} than the manifest says",
                str(path),
                str(expected),
                str(found),
                "Restore the part from a backup.",
            )


def _stored_schema(outline: Outline) -> bytes:
    """The Arrow schema that a footer keeps for readers of Arrow; nothing if it keeps none."""
    try:
        return b64decode(outline.text(_ARROW_SCHEMA) or b"")
    except Base64Error:
        return b""


def _arrow_schema(stored: bytes) -> pa.Schema | None:
    try:
        return pa.ipc.read_schema(pa.py_buffer(stored)) if stored else None
    except (pa.ArrowException, OSError, ValueError):
        return None
