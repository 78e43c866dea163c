"""Categories as names and as integers: valid files, and chunks of names that are wrong in one respect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import (
    DATA_PAGE,
    I32,
    I64,
    RLE,
    RLE_DICTIONARY,
    STRUCT,
    ColumnMeta,
    Page,
    encode,
    varint,
)
from dof_arrow.format.parquet.names_chunk import names_chunk
from dof_arrow.format.spec.arrow import vector_field
from dof_arrow.format.spec.json_model import Json
from tests.conformance.spoil import chunk, split, spoiled
from tests.conformance.valid import Made, features, written

CLASSES = ("no", "yes")
CODES = (1, 0, 1, 1, 0)
_LAST = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        vector_field("feature", (4,)),
        pa.field("label", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    ]
)


def declared(made: Made, **targets: Json) -> Made:
    """A file whose columns are said afterwards to be targets: they stay what they are."""

    def edit(meta: Json) -> None:
        meta.setdefault("targets", {}).update(targets)
        for name in targets:
            meta["columns"][name]["role"] = "target"

    data, about = made
    return spoiled(data, meta=edit), about


def integers(codes: Any, classes: Sequence[str], **options: Any) -> Made:
    """A category of integers, as early drafts had them."""
    made = written({"feature": features(len(codes), 4)}, {"label": codes}, **options)
    return declared(made, label={"kind": "category", "classes": list(classes)})


def last_named() -> bytes:
    """Five rows of a category whose chunk is the last of the file."""
    about = {"targets": {"label": {"kind": "category", "classes": list(CLASSES)}}}
    columns = {"label": np.array(CODES)}
    return written({"feature": features(5, 4)}, columns, metadata=about, schema=_LAST)[0]


def rechunked(dictionary: bytes, page: bytes) -> bytes:
    """That file with another chunk of its category: a dictionary page, and a page of eight codes."""
    data = last_named()
    old, _ = footer.chunk_range(chunk(footer.decode(split(data)[1])[0], "label"))
    size = len(dictionary) + len(page)
    gap = bytes(-(old + size - 8) % 64)  # the codes start at a multiple of 64
    start = old + len(gap)

    def edit(struct: Any) -> None:
        meta = chunk(struct, "label")
        meta[ColumnMeta.DICTIONARY_PAGE] = (I64, start)
        meta[ColumnMeta.DATA_PAGE] = (I64, start + len(dictionary))
        meta[ColumnMeta.BYTES] = meta[ColumnMeta.STORED_BYTES] = (I64, size)

    return spoiled(data, body=lambda body: body[:old] + gap + dictionary + page, footer=edit)


def renamed(names: Sequence[str], codes: Sequence[int] = CODES) -> bytes:
    """That file with these names in its dictionary, and these codes."""
    made = names_chunk("label", names, np.zeros(len(codes), np.int32))
    stored = made.codes.copy()
    stored[: len(codes)] = codes
    return rechunked(made.dictionary, made.before + stored.tobytes())


def spare() -> bytes:
    """A code behind the last row that is not 0."""
    made = names_chunk("label", CLASSES, np.array(CODES, np.int32))
    return rechunked(made.dictionary, made.before + made.codes.tobytes()[:-1] + b"\1")


def paged(payload: bytes, rows: int = 5) -> bytes:
    """That file with these bytes in its data page: bit width and runs."""
    about = {
        Page.VALUES: (I32, rows),
        Page.ENCODING: (I32, RLE_DICTIONARY),
        Page.DEFINITION: (I32, RLE),
        Page.REPETITION: (I32, RLE),
    }
    header = {
        Page.TYPE: (I32, DATA_PAGE),
        Page.BYTES: (I32, len(payload)),
        Page.STORED_BYTES: (I32, len(payload)),
        Page.DATA: (STRUCT, about),
    }
    made = names_chunk("label", CLASSES, np.array(CODES, np.int32))
    return rechunked(made.dictionary, encode(header) + payload)


def packed(width: int, codes: Sequence[int]) -> bytes:
    """Codes as one run of packed bits, without its bit width."""
    filled = [*codes, *[0] * (-len(codes) % 8)]
    bits = [code >> bit & 1 for code in filled for bit in range(width)]
    return varint(len(filled) // 8 << 1 | 1) + np.packbits(bits, bitorder="little").tobytes()


def run(code: int, count: int, width: int = 8) -> bytes:
    """A run of one code."""
    return varint(count << 1) + code.to_bytes(-(-width // 8), "little")


# Pages that say the same in other ways than the layout's: to be decoded.
OTHER_PAGES: dict[str, Callable[[], bytes]] = {
    "width-1": lambda: paged(b"\x01" + packed(1, CODES)),
    "width-2": lambda: paged(b"\x02" + packed(2, CODES)),
    "width-16": lambda: paged(b"\x10" + packed(16, CODES)),
    "width-32": lambda: paged(b"\x20" + packed(32, CODES)),
    "runs": lambda: paged(b"\x08" + run(1, 1) + run(0, 1) + run(1, 2) + run(0, 1)),
    "mixed-runs": lambda: paged(b"\x08" + run(1, 1) + run(0, 1) + packed(8, CODES[2:])),
    "long-run": lambda: paged(b"\x08" + packed(8, [*CODES, *[0] * 8])),
}
# Pages that no reader can make rows of, or that readers take in different ways.
BROKEN_PAGES: dict[str, Callable[[], bytes]] = {
    "code-beyond": lambda: renamed(CLASSES, (1, 0, 2, 1, 0)),
    "code-far-beyond": lambda: renamed(CLASSES, (1, 0, 255, 1, 0)),
    "repeated-name": lambda: renamed(("no", "no", "yes"), (2, 1, 2, 2, 0)),
    "repeated-name-early": lambda: renamed(("no", "no", "yes"), (1, 1, 0, 1, 0)),
    "short-run": lambda: paged(b"\x08" + run(1, 2)),
    "no-codes": lambda: paged(b"\x08"),
}
