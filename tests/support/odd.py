"""Footers written in other ways: the same said in other bytes, and lies that some readers would believe.

The compact protocol leaves a writer many choices: headers of fields and lists in a short or a long form, numbers of
more bytes than they need, fields that readers do not know. `Scribe` takes them at random. With `lie` it also says,
once, what readers are known to take in different ways.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq

from dof_arrow.dataset import dataset
from dof_arrow.errors import DofError, DofWarning
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet.footer import (
    BINARY,
    BYTE,
    DOUBLE,
    FALSE,
    I16,
    I32,
    I64,
    LIST,
    SET,
    STRUCT,
    TRUE,
    Chunk,
    ColumnMeta,
    FileMetaData,
    RowGroup,
    Struct,
)
from tests.conformance.spoil import respelled

_NUMBERS = (I16, I32, I64)
LIES = ("twice", "order", "field", "number", "length", "count", "type", "elements", "stop")
_OTHER = {I32: I64, I64: I32, I16: I32, BINARY: BYTE, LIST: SET, TRUE: FALSE, STRUCT: BINARY}


class Scribe:
    """Writes structs in the compact protocol as it likes; `lie` names one thing that it says falsely, once, or None."""

    def __init__(
        self, random: Random, planted: list[bytes], lie: str | None = None, odd: float = 0.3
    ) -> None:
        self.random, self.planted, self.lie, self.odd = random, planted, lie, odd

    def struct(self, struct: Struct, depth: int = 1) -> bytes:
        """The bytes of a struct; the seal is written as its specification wants."""
        if footer.get(struct, 1) == digests.SEAL:
            return footer.encode(struct)
        out, last = bytearray(), 0
        fields = sorted([*struct.items(), *self._unknown(struct, depth)])
        if self._lies("order") and len(fields) > 1:
            fields.reverse()
        for field, (kind, value) in fields:
            out += self._field(field, last, kind, value, depth)
            last = field
            if self._lies("twice"):
                out += self._field(field, last, kind, value, depth)
        return bytes(out) + (b"\x10" if self._lies("stop") else b"\0")

    def _field(self, field: int, last: int, kind: int, value: Any, depth: int) -> bytes:
        wire = (TRUE if value else FALSE) if kind in (TRUE, FALSE) else kind
        wire = _OTHER.get(wire, wire) if self._lies("type") else wire
        body = b"" if kind in (TRUE, FALSE) else self._value(kind, value, depth)
        if self._lies("field"):
            return bytes([wire]) + self._number((field + 65536) << 1) + body
        if 0 < field - last <= 15 and not self._odd():
            return bytes([(field - last) << 4 | wire]) + body
        return bytes([wire]) + self._number(field << 1) + body

    def _value(self, kind: int, value: Any, depth: int) -> bytes:
        if kind in _NUMBERS:
            number = value << 1 if value >= 0 else (-value << 1) - 1
            return self._number(
                number + (1 << (16 * 2 ** (kind - I16)) if self._lies("number") else 0)
            )
        if kind == BINARY:
            return self._number(len(value) + (1 << 32 if self._lies("length") else 0)) + value
        if kind == STRUCT:
            return self.struct(value, depth + 1)
        if kind in (LIST, SET):
            return self._list(*value, depth + 1)
        return b"\1" if value is True else b"\2" if value is False else bytes(value)

    def _list(self, kind: int, elements: list[Any], depth: int) -> bytes:
        wire = _OTHER.get(kind, kind) if self._lies("elements") else kind
        count = len(elements) + (1 << 32 if self._lies("count") else 0)
        body = b"".join(self._value(kind, element, depth) for element in elements)
        if count < 15 and not self._odd():
            return bytes([count << 4 | wire]) + body
        return bytes([0xF0 | wire]) + self._number(count) + body

    def _number(self, value: int) -> bytes:
        data = footer.varint(value)
        more = self.random.randrange(10 - len(data)) if len(data) < 10 and self._odd() else 0
        return data[:-1] + bytes([data[-1] | 128]) + b"\x80" * (more - 1) + b"\0" if more else data

    def _unknown(self, struct: Struct, depth: int) -> list[tuple[int, tuple[int, Any]]]:
        if depth > 5 or not self._odd():
            return []
        field = self.random.choice([40, 130, 9_000, 32_767])
        return [] if field in struct else [(field, self._anything())]

    def _anything(self) -> tuple[int, Any]:
        text = self.random.choice(self.planted)
        return self.random.choice(
            [
                (BINARY, text),
                (LIST, (BINARY, [text, b""])),
                (SET, (I64, [1, -(1 << 62)])),
                (DOUBLE, text[:8].ljust(8)),
                (BYTE, b"\x19"),
                (TRUE, True),
                (LIST, (TRUE, [True, False])),
                (STRUCT, {3: (LIST, (BINARY, [text]))}),
            ]
        )

    def _odd(self) -> bool:
        return self.random.random() < self.odd

    def _lies(self, lie: str) -> bool:
        if self.lie != lie or self.random.random() > 0.02:
            return False
        self.lie = None
        return True


class _Always(Random):
    """Always the oddest choice."""

    def random(self) -> float:
        return 0.0

    def randrange(self, stop: int) -> int:  # type: ignore[override]
        return stop - 1

    def choice(self, seq: Any) -> Any:
        return seq[0]


def longest(struct: Struct, planted: list[bytes]) -> bytes:
    """The bytes of a struct, as many as the protocol allows, with fields unknown to readers that hold a text."""
    return Scribe(_Always(), planted, odd=1).struct(struct)


def planted(struct: Struct, random: Random) -> list[bytes]:
    """Texts that hold what a search would find: a column's path, behind it where another lies; the mark of a seal."""
    metas = [meta for _, _, meta in footer.chunks(struct)]
    found = [b"\x18\x08dof.seal\x18\x40" + b"0" * 64]
    for meta, other in zip(random.choices(metas, k=6), random.choices(metas, k=6), strict=True):
        lie = {**other, ColumnMeta.PATH: meta[ColumnMeta.PATH]}
        found.append(footer.encode({k: v for k, v in lie.items() if k >= ColumnMeta.ENCODINGS}))
    return found


def planted_everywhere(struct: Struct, random: Random, texts: list[bytes]) -> None:
    """Put such texts where a footer has room for them: keys of others, statistics, the name of the program."""
    pairs = struct[FileMetaData.KEYS][1][1]
    for number in range(random.randrange(4)):
        note = {1: (BINARY, b"note%d" % number), 2: (BINARY, random.choice(texts))}
        pairs.insert(random.randrange(len(pairs) + 1), note)
    for _, _, meta in footer.chunks(struct):
        if random.random() < 0.2:
            text = (BINARY, random.choice(texts))
            meta[ColumnMeta.STATISTICS] = (STRUCT, {1: text, 2: text})
        if random.random() < 0.1:
            meta[ColumnMeta.KEYS] = footer.structs([{1: (BINARY, random.choice(texts))}])


def moved(struct: Struct, random: Random) -> None:
    """One thing of a chunk, group or element of the schema said falsely."""
    group = random.choice(footer.items(struct, FileMetaData.GROUPS))
    chunks = group[RowGroup.COLUMNS][1][1]
    number = random.randrange(len(chunks))
    chunk, other = chunks[number], random.choice(chunks)
    meta, place = (
        footer.get(chunk, Chunk.META),
        footer.get(footer.get(chunk, Chunk.META), ColumnMeta.DATA_PAGE),
    )
    element = random.choice(footer.items(struct, FileMetaData.SCHEMA)[1:])

    def put(field: int, value: Any) -> None:
        meta[field] = (meta[field][0] if field in meta else I64, value)

    random.choice(
        [
            lambda: chunk.update({Chunk.FILE: (BINARY, random.choice([b"", b"other.parquet"]))}),
            lambda: chunk.update({Chunk.CRYPTO: (STRUCT, {random.choice([1, 3]): (STRUCT, {})})}),
            lambda: chunk.update({Chunk.ENCRYPTED: (BINARY, b"x")}),
            lambda: chunk.update({Chunk.META: other[Chunk.META]}),
            lambda: meta.update({ColumnMeta.PATH: footer.get(other, Chunk.META)[ColumnMeta.PATH]}),
            lambda: put(ColumnMeta.PATH, (BINARY, [b"Feature", b"list", b"element"])),
            lambda: chunks.__setitem__(number, other),
            lambda: chunks.append(other),
            lambda: chunks.pop(),
            lambda: chunks.reverse(),
            lambda: put(
                ColumnMeta.DICTIONARY_PAGE, random.choice([0, -1, 4, place - 1, place + 1])
            ),
            lambda: put(
                ColumnMeta.DATA_PAGE, random.choice([-place, 0, place + 64, 1 << 62, -(1 << 63)])
            ),
            lambda: put(ColumnMeta.TYPE, random.randrange(9)),
            lambda: put(ColumnMeta.CODEC, random.choice([1, 6, 7, 99, -1])),
            lambda: put(
                ColumnMeta.VALUES,
                footer.get(meta, ColumnMeta.VALUES) + random.choice([-8, -1, 1, 8]),
            ),
            lambda: put(
                ColumnMeta.STORED_BYTES,
                footer.get(meta, ColumnMeta.STORED_BYTES) + random.choice([-8, 8]),
            ),
            lambda: put(ColumnMeta.BYTES, random.choice([0, -1, 1 << 40])),
            lambda: footer.put(
                group, RowGroup.ROWS, footer.get(group, RowGroup.ROWS) + random.choice([-4, 4])
            ),
            lambda: footer.put(
                struct,
                FileMetaData.ROWS,
                footer.get(struct, FileMetaData.ROWS) + random.choice([-1, 1]),
            ),
            lambda: element.update({5: (I32, random.choice([0, 1, -1]))}),
            lambda: element.update({1: (I32, random.randrange(8))}),
            lambda: struct[FileMetaData.KEYS][1][1].append(
                {1: (BINARY, b"dof"), 2: (BINARY, b"{}")}
            ),
            lambda: struct.update({8: (STRUCT, {1: (STRUCT, {})})}),
            lambda: (
                footer.items(struct, FileMetaData.GROUPS)
                and struct[FileMetaData.GROUPS][1][1].reverse()
            ),
        ]
    )()


def rewritten(data: bytes, seed: int, kind: str) -> bytes:
    """A file with its footer written anew and sealed: `kind` is "same", "moved" or one of LIES."""
    random = Random(seed)

    def spell(struct: Struct) -> bytes:
        texts = planted(struct, random)
        planted_everywhere(struct, random, texts)
        if kind == "moved":
            moved(struct, random)
        lie = kind if kind in LIES else None
        return Scribe(random, texts, lie, random.choice([0.0, 0.02, 0.2, 0.5])).struct(struct)

    return respelled(data, spell)


def seen(path: Path) -> dict[str, Any]:
    """Each column of a file as we read it; the error in place of those that we refuse."""
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DofWarning)
        table = dataset.open(path)
    for name in table.schema.names:
        try:
            found[name] = table.to_arrow([name])[name].combine_chunks()
        except DofError as error:
            found[name] = error
    return found


def compared(path: Path) -> str:
    """How we read a file: `read` as pyarrow reads it, `partly`, or `refused`. Raises AssertionError for other data."""
    try:
        found = seen(path)
    except DofError:
        return "refused"
    theirs = pq.ParquetFile(path)
    ours = {name: column for name, column in found.items() if not isinstance(column, DofError)}
    for name, column in ours.items():
        assert column.equals(theirs.read([name])[name].combine_chunks()), name
    if len(ours) < len(found):
        return "partly" if ours else "refused"
    return "read"
