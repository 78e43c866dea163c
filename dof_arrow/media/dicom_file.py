"""Named attributes of a DICOM file, its pixels left unread (DICOM PS3.10)."""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dof_arrow.errors import DofError, MissingExtra, PictureError, require
from dof_arrow.media.bounds import MEMORY
from dof_arrow.media.decoder_noise import without_warnings
from dof_arrow.media.plugins import missing

PERMISSIONS = ("burned-in", "deflated")
DEFLATED = "1.2.840.10008.1.2.1.99"

_PREAMBLE = 128
_MAGIC = b"DICM"
START = _PREAMBLE + len(_MAGIC)  # bytes by which such a file is told
# Value representations whose length takes four bytes, after two that are reserved (PS3.5, 7.1.2).
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_BARE = b"\x02\x00\x00\x00UL\x04\x00"
_META_GROUP = b"\x02\x00"
_TRANSFER_SYNTAX = b"\x10\x00"

logging.getLogger("pydicom").addHandler(logging.NullHandler())  # it would quote values on stderr


def is_dicom(data: bytes) -> bool:
    """Whether these bytes begin as a DICOM file does: 128 bytes of anything, then `DICM`.

    Files without both begin with the length of their meta information.

    >>> is_dicom(bytes(128) + b"DICM")
    True
    """
    return data[_PREAMBLE:START] == _MAGIC or data.startswith(_BARE)


def read(data: bytes, names: Sequence[str], allow: Collection[str]) -> Any:
    """The named attributes, and no others, as a pydicom dataset; empty ones are left out.

    Its `pixels_at` is the byte at which the element of the pixels begins, unless all is deflated.
    Raises PictureError for a deflated file unless `allow` names `deflated`.
    """
    import pydicom

    syntax, start = transfer_syntax(data)
    if syntax == DEFLATED:
        _check_deflated(data[start:], allow)
    file = io.BytesIO(data)
    found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(names), force=True)
    found.pixels_at = file.tell()
    return without_empty(found)


def without_empty(about: Any) -> Any:
    """A dataset without its empty attributes, which say no more than absent ones (PS3.5, 7.4.5)."""
    for tag in list(about.keys()):
        if about[tag].is_empty:
            del about[tag]
    return about


def transfer_syntax(data: bytes) -> tuple[str, int]:
    """The transfer syntax UID, and where the data set begins behind the file's meta information.

    Source: PS3.10, section 7.1.
    """
    at = 0 if data.startswith(_BARE) else START
    syntax = ""
    while data[at : at + 2] == _META_GROUP:
        if data[at + 4 : at + 6] in _LONG:
            start = at + 12
            length = int.from_bytes(data[at + 8 : start], "little")
        else:
            start = at + 8
            length = int.from_bytes(data[at + 6 : start], "little")
        if data[at + 2 : at + 4] == _TRANSFER_SYNTAX:
            syntax = data[start : start + length].rstrip(b"\0 ").decode("ascii")
        at = start + length
    return syntax, at


@contextmanager
def explained() -> Iterator[None]:
    """Any failure on a stranger's bytes becomes a PictureError that quotes nothing of them.

    So does pydicom's absence, with rule `missing-extra`.
    """
    try:
        require("pydicom", extra="dicom")
        with without_warnings:
            yield
    except MissingExtra as error:
        raise missing(error) from None
    except DofError:
        raise
    except MemoryError:
        raise PictureError("the picture is too large to decode", rule="too-large") from None
    except Exception:
        raise PictureError("the DICOM file is damaged") from None


def _check_deflated(stream: bytes, allow: Collection[str]) -> None:
    if "deflated" not in allow:
        raise PictureError(
            "the DICOM file is deflated as a whole",
            rule="deflated",
            hint="Allow it with --allow deflated, or convert it: dcmconv +te IN OUT",
        )
    state = zlib.decompressobj(-zlib.MAX_WBITS)
    state.decompress(stream, MEMORY // 4)  # no more is inflated, however much there is
    if state.unconsumed_tail:
        raise PictureError("the DICOM file is too large when inflated", rule="too-large")
