"""The pages of a TIFF file, and which of them are pictures of their own.

A file chains its pages (TIFF 6.0, section 2; BigTIFF). Pages that say they are a reduced picture or
a mask (NewSubfileType), and levels of a pyramid, belong to the full page; all others are pictures.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dof_arrow.errors import PictureError
from dof_arrow.system import open_file

_KIND, _OLD_KIND, _WIDTH, _HEIGHT = 254, 255, 256, 257  # tags
_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
_OLD_REDUCED = 2  # the value of SubfileType that says the same
_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # by the type of a tag's value
_MOST = 1 << 16  # pages, and tags of a page, that are looked at

Read = Callable[[int, int], bytes]  # an offset and a count -> at most so many bytes from there


class Page(NamedTuple):
    """A page: its size in pixels, and whether it says that it belongs to another."""

    width: int
    height: int
    belongs: bool

    def is_level_of(self, full: Page) -> bool:
        """Whether it is a smaller picture of the same proportions, but for rounding."""
        if self.width >= full.width or self.height >= full.height:
            return False
        difference = self.width * full.height - full.width * self.height
        return abs(difference) <= max(full.width, full.height)


class _Layout(NamedTuple):
    """How a file's directories are written: struct formats, and the length of an entry."""

    order: str
    offset: str
    number: str
    entry: int
    value: int  # where, in an entry, its value begins


def is_tiff(data: bytes) -> bool:
    """Whether these bytes begin as a TIFF or BigTIFF file does.

    >>> is_tiff(b"II*" + bytes(5)), is_tiff(b"PNG")
    (True, False)
    """
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pages(data: bytes) -> list[Page]:
    """The pages of a file's bytes, as far as their chain is sound; no pixels are looked at."""
    return _chain(lambda at, count: data[at : at + count])


def pages_of_file(path: Path) -> list[Page]:
    """The pages of a file, of which little is read; raises OSError where it cannot be."""
    with open_file(path) as file:
        handle = file.fileno()
        return _chain(lambda at, count: os.pread(handle, count, at))


def _chain(read: Read) -> list[Page]:
    found: list[Page] = []
    start = read(0, 16)
    if not is_tiff(start):
        return found
    layout = _layout(start)
    # What lies behind the file's end is read as nothing; offsets beyond any file's are refused.
    with suppress(struct.error, OverflowError, OSError):
        (at,) = struct.unpack_from(layout.offset, start, 8 if layout.entry == 20 else 4)
        seen: set[int] = set()
        while at and at not in seen and len(found) < _MOST:
            seen.add(at)
            page, at = _page(read, at, layout)
            found.append(page)
    return found


def pictures(found: Sequence[Page]) -> list[int]:
    """The numbers of the pages that are pictures of their own, in order.

    >>> pictures([Page(100, 80, False), Page(50, 40, False), Page(9, 9, True)])
    [0]
    >>> pictures([Page(100, 80, False), Page(100, 80, False)])
    [0, 1]
    """
    own = [number for number, page in enumerate(found) if not page.belongs]
    if len(own) < 2:
        return own or [0]
    full = max((found[number] for number in own), key=lambda page: page.width * page.height)
    return [number for number in own if not found[number].is_level_of(full)]


def only_picture(data: bytes) -> int:
    """The number of the page that is the picture; PictureError where several are."""
    own = pictures(pages(data))
    if len(own) > 1:
        raise PictureError(
            f"the TIFF file holds {len(own)} pages",
            expected="one picture",
            hint="Give --clips to take each page as a frame, or part the file: tiffsplit FILE",
            rule="several-pages",
        )
    return own[0]


def _layout(data: bytes) -> _Layout:
    order = "<" if data.startswith(b"II") else ">"
    if 43 in data[2:4]:  # the version number of a BigTIFF
        return _Layout(order, order + "Q", order + "Q", 20, 12)
    return _Layout(order, order + "I", order + "H", 12, 8)


def _page(read: Read, at: int, layout: _Layout) -> tuple[Page, int]:
    """The page at an offset, and where the next one lies; 0 where none does."""
    before = struct.calcsize(layout.number)
    (entries,) = struct.unpack(layout.number, read(at, before))
    length = layout.entry * min(entries, _MOST)
    directory = read(at + before, length + struct.calcsize(layout.offset))
    (behind,) = struct.unpack_from(layout.offset, directory, length)
    values = dict.fromkeys((_KIND, _OLD_KIND, _WIDTH, _HEIGHT), 0)
    for entry in range(0, length, layout.entry):
        tag, kind = struct.unpack_from(layout.order + "HH", directory, entry)
        if tag in values and kind in _FORMATS:
            form = layout.order + _FORMATS[kind]
            (values[tag],) = struct.unpack_from(form, directory, entry + layout.value)
    belongs = bool(values[_KIND] & _REDUCED_OR_MASK) or values[_OLD_KIND] == _OLD_REDUCED
    return Page(values[_WIDTH], values[_HEIGHT], belongs), behind
