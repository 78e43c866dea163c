"""Picture formats that Pillow reads by a plugin: HEIF (extra `heif`) and JPEG XL (extra `jxl`).

A plugin is loaded when the first such picture is met, as its bytes tell. Without it that picture
fails, and the reason names the extra.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from dof_arrow.errors import MissingExtra, PictureError, require

HEIF = "HEIF"
JXL = "JXL"

_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
_AVIF_BRANDS = frozenset((b"avif", b"avis"))  # which Pillow reads by itself
_MOST_BRANDS = 256  # bytes of the list of brands that are looked at
_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
# Width to height, by the number in the header (ISO/IEC 18181-1, SizeHeader); 0: the width is given.
_RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIZE_BITS = (9, 13, 18, 30)  # of a length, by the two bits in front


def plugin_format(data: bytes) -> str | None:
    """The format of a picture that needs a plugin, which is then there; None for other bytes.

    Raises PictureError with rule `missing-extra` where its plugin is not installed.
    """
    if is_heif(data):
        _load_heif()
        return HEIF
    if data.startswith((_CODESTREAM, _CONTAINER)):
        _wanted("pillow_jxl", "jxl")
        return JXL
    return None


def jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG XL picture, from its header; (0, 0) where it cannot be told.

    The plugin would decode the pixels to say so. Source: ISO/IEC 18181-1, SizeHeader.
    """
    at = _codestream_at(data)
    header = int.from_bytes(data[at + 2 : at + 16], "little")  # the first bit is the lowest
    if at < 0 or not data.startswith(_CODESTREAM, at):
        return 0, 0
    bits = _Bits(header)
    small = bits.take(1)
    height = bits.eights() if small else bits.length()
    ratio = bits.take(3)
    if ratio:
        times, parts = _RATIOS[ratio]
        return height * times // parts, height
    return (bits.eights() if small else bits.length()), height


class _Bits:
    """A number from which bits are taken, the lowest first."""

    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        """The next so many bits."""
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken

    def eights(self) -> int:
        """A length that is a multiple of eight, up to 256."""
        return (self.take(5) + 1) * 8

    def length(self) -> int:
        """A length of as many bits as are said in front of it."""
        return self.take(_SIZE_BITS[self.take(2)]) + 1


def _codestream_at(data: bytes) -> int:
    """Where the codestream begins, inside the boxes of a container; -1 where there is none."""
    if not data.startswith(_CONTAINER):
        return 0
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        header = 8
        if size == 1:  # a long box
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind == b"jxlc":
            return at + header
        if kind == b"jxlp":  # a part, behind its number
            return at + header + 4
        if size < header:
            break
        at += size
    return -1


def is_heif(data: bytes) -> bool:
    r"""Whether these bytes begin as a HEIF picture does, and not as an AVIF one (ISO/IEC 23008-12).

    >>> is_heif(b"\0\0\0\x14ftypheic\0\0\0\0mif1")
    True
    """
    if data[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(data[:4], "big"), _MOST_BRANDS)
    brands = {data[at : at + 4] for at in (8, *range(16, size, 4))}
    return not brands.isdisjoint(_HEIF_BRANDS) and brands.isdisjoint(_AVIF_BRANDS)


@cache
def _load_heif() -> None:
    _wanted("pillow_heif", "heif").register_heif_opener()


def _wanted(module: str, extra: str) -> ModuleType:
    try:
        return require(module, extra=extra)
    except MissingExtra as error:
        raise missing(error) from None


def missing(error: MissingExtra) -> PictureError:
    """The failure of one picture for want of a library."""
    return PictureError(error.what, hint=error.hint, rule="missing-extra")
