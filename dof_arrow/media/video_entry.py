"""At which packets of a video decoding may begin, with the same frames as from its start on.

A container calls packets key frames that are none, or behind which frames still need what was
decoded before (open groups of pictures, gradual refresh). So what the codec itself says is looked
at: an IDR picture of H.264 (ITU-T H.264, 7.4.1.2.4) and a shown key frame of VP8 (RFC 6386, 9.1) or
VP9 (bitstream specification, 7.2) make the decoder forget all that came before; each frame of
Motion JPEG and ProRes stands alone. Of other codecs and containers nothing is known here: they are
decoded from the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_CONTAINERS = ("mov", "matroska")  # which say when each frame is shown, and can be entered
_ALONE = ("mjpeg", "prores")  # codecs that have no other frames
_IDR, _SPS, _PPS = 5, 7, 8  # types of units (H.264, table 7-1)
_SLICES = range(1, 6)
_CHANGES = ("new_extradata", "param_change", "palette")  # what a packet may say of those behind it


class Entries:
    """Tells of each packet of a stream, in order, whether decoding may begin there."""

    def __init__(self, container: Any, stream: Any) -> None:
        codec = stream.codec_context
        known = container.format.name.split(",")[0] in _CONTAINERS
        self._codec = codec.codec.canonical_name if known else ""
        self._prefix = _prefix(codec.extradata or b"")
        self._sets: set[bytes] = set()

    def __call__(self, packet: Any) -> bool:
        """Whether decoding may begin at this packet."""
        if any(packet.has_sidedata(change) for change in _CHANGES):
            self._codec = ""  # what it says holds for all that come: none can be entered
        if self._codec == "h264":
            return self._is_idr(packet)
        return bool(packet.is_keyframe) and self._starts_anew(bytes(memoryview(packet)[:10]))

    def _starts_anew(self, start: bytes) -> bool:
        if self._codec == "vp8":
            # Bit 0: no key frame; bit 4: shown; then three bytes of size, and a start code.
            return start[0] & 0x11 == 0x10 and start[3:6] == b"\x9d\x01\x2a"
        if self._codec == "vp9":
            # From the top: marker 10, profile, an old frame shown again, no key frame, shown.
            return start[0] & 0xCE == 0x82 and start[0] & 0x30 != 0x30
        return self._codec in _ALONE

    def _is_idr(self, packet: Any) -> bool:
        """Whether an IDR picture brings all sets of parameters that stood among the packets."""
        if not self._prefix:
            return False
        own: set[bytes] = set()
        for unit in _units(memoryview(packet), self._prefix):
            kind = unit[0] & 31
            if kind in (_SPS, _PPS):
                own.add(bytes(unit))
            elif kind in _SLICES:
                self._sets |= own
                return kind == _IDR and bool(packet.is_keyframe) and self._sets <= own
        self._sets |= own
        return False


def _prefix(extradata: bytes) -> int:
    """Bytes of the length before each unit (ISO 14496-15, 5.3.3.1); 0 where there is none."""
    return (extradata[4] & 3) + 1 if len(extradata) > 6 and extradata[0] == 1 else 0


def _units(data: memoryview, prefix: int) -> Iterator[memoryview]:
    """The units of a packet, none of them empty; those before a damaged length."""
    place = 0
    while place + prefix < len(data):
        length = int.from_bytes(data[place : place + prefix], "big")
        place += prefix
        if not 0 < length <= len(data) - place:
            return
        yield data[place : place + length]
        place += length
