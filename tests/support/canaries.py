"""Canaries: texts that stand nowhere else, each planted in one place, and the search for them in files.

What a file holds is searched in every form in which a text may lie in it: as it is, in UTF-16 or UTF-32
at any alignment, in base64 or hexadecimal, escaped in JSON, compressed, or as a value of a table.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Twelve characters: short enough for every field of a DICOM file.
_CANARY = re.compile(rb"canary\d{5}q", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}")
_HEX = re.compile(rb"[0-9A-Fa-f]{24,}")
_ESCAPED = re.compile(rb"\\u00([0-9A-Fa-f]{2})")
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd")
_INSIDE = 3  # how many wrappings are taken off
_MOST = 1 << 20  # bytes of a compressed stream


class Canaries:
    """Every canary by its text, with the place where it was planted.

    `kept` are those that the owner asks to keep: they may leave, and are there to show that the search finds what
    is there. `names` stand in names of files, folders and inputs, which an owner's own screen may show.
    """

    def __init__(self) -> None:
        self.places: dict[str, str] = {}
        self.kept: set[str] = set()
        self.names: set[str] = set()
        self._exact: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self.places)

    def plant(self, place: str) -> str:
        """A new canary for a place."""
        text = f"canary{len(self.places):05d}q"
        self.places[text] = place
        return text

    def keep(self, place: str) -> str:
        """A canary that the owner asks to keep."""
        text = self.plant(place)
        self.kept.add(text)
        return text

    def name(self, place: str) -> str:
        """A canary in the name of a file, a folder or an input."""
        text = self.plant(f"name: {place}")
        self.names.add(text)
        return text

    def uid(self, place: str) -> str:
        """A canary where only digits and points may stand."""
        return self._of(f"1.2.7531.{10_000 + len(self.places)}.1357", place)

    def date(self, place: str) -> str:
        """A canary that is a date of the seventeenth century, YYYYMMDD."""
        day = datetime.date(1601, 1, 1) + datetime.timedelta(days=len(self.places))
        return self._of(day.strftime("%Y%m%d"), place)

    def key(self, place: str) -> bytes:
        """A canary of 32 bytes; it is found raw, in hexadecimal and in base64."""
        text = self.plant(place)
        secret = (text.encode() * 3)[:32][::-1]  # no canary as it is
        self._exact[secret] = text
        return secret

    def _of(self, text: str, place: str) -> str:
        self.places[text] = place
        self._exact[text.encode()] = text
        return text

    def found(self, layers: Iterable[bytes]) -> set[str]:
        """The canaries in some bytes."""
        met: set[str] = set()
        for data in layers:
            met.update(text.decode().lower() for text in _CANARY.findall(data))
            met.update(text for exact, text in self._exact.items() if exact in data)
        return met & self.places.keys()

    def found_in(self, path: Path) -> set[str]:
        """The canaries in a file, or in a folder and in the names of what it holds."""
        return self.found(held(path))

    def told(self, texts: Iterable[str]) -> list[str]:
        """Canaries with their places, for people."""
        return sorted(f"{text}: {self.places[text]}" for text in texts)


def files(path: Path) -> list[Path]:
    """A file, or the files of a folder, hidden ones too."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def held(path: Path) -> Iterator[bytes]:
    """All that a file holds, in every form; of a folder also the names in it."""
    if path.is_dir():
        for inner in path.rglob("*"):
            yield str(inner.relative_to(path)).encode()
    for file in files(path):
        data = file.read_bytes()
        yield from layers(data)
        for inner_data in _containers(data):
            yield from layers(inner_data)


def layers(data: bytes, inside: int = _INSIDE) -> Iterator[bytes]:
    """Some bytes, and what they are when wrappings are taken off."""
    yield data
    if inside == 0:
        return
    for inner in _unwrapped(data):
        yield from layers(inner, inside - 1)


def _unwrapped(data: bytes) -> Iterator[bytes]:
    if b"\0" in data:
        yield data.replace(b"\0", b"")  # UTF-16 and UTF-32, whichever end comes first
    if b"\\u00" in data:
        yield _ESCAPED.sub(lambda met: bytes.fromhex(met[1].decode()), data)
    for run in _BASE64.findall(data):
        for start in range(4):  # other characters of the alphabet may stand before it
            yield _of_base64(run[start:])
    for run in _HEX.findall(data):
        for digits in (run, run[1:]):
            yield bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
    for met in _ZLIB.finditer(data):
        with suppress(zlib.error):
            yield zlib.decompressobj(wbits=47).decompress(data[met.start() :], _MOST)
    for met in _ZSTD.finditer(data):
        with suppress(OSError):
            raw = pa.BufferReader(data[met.start() :])
            yield pa.CompressedInputStream(raw, "zstd").read(_MOST)


def _of_base64(run: bytes) -> bytes:
    whole = run[:-1] if len(run) % 4 == 1 else run
    whole = whole.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(whole) % 4)
    with suppress(binascii.Error):
        return base64.b64decode(whole)
    return b""


def _containers(data: bytes) -> Iterator[bytes]:
    """The values of a table, the members of an archive."""
    if data[:4] == data[-4:] == b"PAR1":
        yield from _rows(pq.read_table(io.BytesIO(data)))
    if data[:6] == b"ARROW1":
        yield from _rows(pa.ipc.open_file(data).read_all())
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield archive.read(name)


def _rows(table: pa.Table) -> Iterator[bytes]:
    yield repr(table.schema).encode()
    for column in table.columns:
        if not pa.types.is_fixed_size_list(column.type):  # features
            yield from _values(column.to_pylist())


def _values(value: Any) -> Iterator[bytes]:
    """What a value says, and all bytes in it as they are."""
    yield repr(value).encode()
    inner = value.values() if isinstance(value, dict) else value
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, list | dict):
        for each in inner:
            if isinstance(each, bytes | list | dict):
                yield from _values(each)
