"""Encoded video -> frames, by PyAV (extra `video`): upright, with exact times, streamed, in bounded memory.

Of several streams the first that is no cover picture. Times are the frames' own, pts x time base; a frame without one
follows its forerunner by the frame rate. The first frame's display matrix is applied to all, as far as it turns by
quarters or mirrors. Wide pixels are left as they are stored, interlaced lines too. Colours become 8-bit RGB as PyAV's
`to_ndarray` has them, by the matrix that the stream states (BT.601 where it states none); what is transparent lies on
white; high dynamic range is not mapped.

A stranger's file opens no other file: containers that are lists of files are not read, nor are unusual codecs. A clip
is broken from the first damaged packet on, even where the decoder could guess how it went on, and where it ends before
its container says (as far as the container says so).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dof_arrow.errors import DofError, PictureError, require
from dof_arrow.media import array
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.frames import Still, unseen, with_ends
from dof_arrow.media.image import MEMORY, Pixels

SUFFIXES = (
    ".3gp",
    ".apng",
    ".asf",
    ".avi",
    ".flv",
    ".gif",
    ".h264",
    ".hevc",
    ".ivf",
    ".m2ts",
    ".m4v",
    ".mj2",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".mxf",
    ".nut",
    ".ogv",
    ".ts",
    ".webm",
    ".wmv",
    ".y4m",
)
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,h264,hevc,ivf,"
    "nut,mxf,obu,dv,mjpeg,yuv4mpegpipe"
)
_CODECS = frozenset(
    (
        "h264",
        "hevc",
        "libdav1d",
        "av1",
        "vp8",
        "vp9",
        "libvpx",
        "libvpx-vp9",
        "mpeg4",
        "mpeg1video",
        "mpeg2video",
        "msmpeg4v1",
        "msmpeg4v2",
        "msmpeg4",
        "msmpeg4v3",
        "wmv1",
        "wmv2",
        "wmv3",
        "vc1",
        "h263",
        "flv",
        "theora",
        "mjpeg",
        "gif",
        "apng",
        "png",
        "ffv1",
        "huffyuv",
        "ffvhuff",
        "utvideo",
        "prores",
        "dnxhd",
        "rawvideo",
        "dvvideo",
        "jpeg2000",
        "libopenjpeg",
        "qtrle",
        "cinepak",
        "wrapped_avframe",
    )
)
_ENDS_STATED = (
    "matroska",
    "avi",
    "flv",
)  # others are sampled by an index, whose missing samples are noticed
_TOLERATED = 3  # frames by which a stated end may be wrong
_COST = 40  # bytes of memory that a pixel takes at the most: what the decoder keeps to refer to, and the picture
# The display matrix's signs, and the EXIF orientation that says the same (ISO 14496-12, 8.2.2; EXIF 2.3, Orientation).
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[::-1],
}


class Video:
    """A clip in a video file, or in its bytes; opened when its facts or frames are asked for.

    Raises PictureError with rule `unsupported-format`, `undecodable`, `too-large`, `truncated`, `missing` or
    `unreadable`, whose text holds neither a path nor anything that the file says; MissingExtra without PyAV.
    """

    def __init__(
        self,
        stored: Path | bytes,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        orientation: Literal["exif", "ignore"] = "exif",
        max_pixels: int | None = None,
    ) -> None:
        require("av", extra="video")
        self._stored, self._mode, self._upright = stored, mode, orientation == "exif"
        self._most = MEMORY // _COST if max_pixels is None else max_pixels

    @cached_property
    def facts(self) -> PictureFacts:
        """Size and bits as stored, of the first frame; `frames` as the container says it, 0 where it does not."""
        with self._opened() as (container, stream):
            return self._facts(container, stream, next(_decoded(container, stream)))

    def _facts(self, container: Any, stream: Any, frame: Any) -> PictureFacts:
        component = max(frame.format.components, key=lambda c: c.bits)
        return PictureFacts(
            width=frame.width,
            height=frame.height,
            mode=frame.format.name,
            bits=component.bits,
            format=f"{stream.codec_context.codec.canonical_name} in {container.format.name.split(',')[0]}",
            frames=stream.frames,
            orientation=_orientation(frame),
            bytes=_size(self._stored),
        )

    def stills(self) -> Iterator[Still]:
        """The frames, decoded one by one; PictureError where the clip is broken."""
        return with_ends(self._timed())

    def times(self) -> Iterator[Still]:
        """When each frame is shown, by the packets, which are not decoded."""
        with self._opened() as (container, stream), _explained("the clip is damaged", "truncated"):
            usual, base = _usual(stream), stream.time_base
            # Numbers, not packets: those hold the file's bytes.
            shown = [
                (p.pts, p.duration or 0)
                for p in container.demux(stream)
                if p.size and not p.is_discard
            ]
            known = sorted(
                (pts * base, lasts * base or usual) for pts, lasts in shown if pts is not None
            )
        starts = (
            known if len(known) == len(shown) else [(k * usual, usual) for k in range(len(shown))]
        )
        return with_ends((start, lasts, unseen) for start, lasts in starts)

    def _timed(self) -> Iterator[tuple[Fraction, Fraction, Callable[[], Pixels]]]:
        with self._opened() as (container, stream):
            usual, next_start, look = _usual(stream), Fraction(0), None
            for frame in _decoded(container, stream):
                if look is None:
                    self.facts = self._facts(container, stream, frame)
                    look = _Look(
                        self._mode, self.facts.orientation if self._upright else 1, self._most
                    )
                base = frame.time_base or stream.time_base
                start = next_start if frame.pts is None or base is None else frame.pts * base
                lasts = frame.duration * base if frame.duration and base else usual
                next_start = start + lasts
                yield start, lasts, partial(look, frame)
            _check_end(container, next_start + _TOLERATED * usual)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """The container and the stream to decode, nothing of it decoded yet."""
        import av

        options = {"format_whitelist": _CONTAINERS, "max_pixels": str(self._most)}
        with _file(self._stored) as file:
            with _explained("no video that can be read", "undecodable"):
                container = av.open(
                    file, options=options, metadata_errors="replace", io_open=_no_other_file
                )
            with container:
                with _explained("the video's header is damaged", "undecodable"):
                    stream = _stream(container, self._most)
                yield container, stream


class _Look:
    """Frames as pixels; what converts them is made once for all."""

    def __init__(self, mode: Literal["RGB", "L"], orientation: int, most: int) -> None:
        from av.video.reformatter import VideoReformatter

        self._mode, self._turn, self._most = mode, _UPRIGHT[orientation], most
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Pixels:
        """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous."""
        _check_size(frame.width, frame.height, self._most)
        clear = frame.format.has_palette or any(c.is_alpha for c in frame.format.components)
        with _explained("a frame cannot be converted", "unsupported-mode"):
            seen: Any = self._reformatter.reformat(
                frame, format="rgba" if clear else "rgb24", threads=1
            ).to_ndarray()
        return array.in_mode(np.ascontiguousarray(self._turn(seen)), self._mode)


def _file(stored: Path | bytes) -> Any:
    if isinstance(stored, bytes):
        return io.BytesIO(stored)
    try:
        return stored.open("rb")
    except FileNotFoundError:
        raise PictureError("no such file", rule="missing") from None
    except OSError as error:
        raise PictureError(
            "the file cannot be read", found=error.strerror or "", rule="unreadable"
        ) from None


def _no_other_file(*_: object) -> Any:
    raise PermissionError


def _size(stored: Path | bytes) -> int:
    return len(stored) if isinstance(stored, bytes) else stored.stat().st_size


def _stream(container: Any, most: int) -> Any:
    """The stream to decode, on one thread: clips are decoded beside one another, and the frames are the same."""
    import av

    streams = [
        s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic
    ]
    if not streams:
        raise PictureError("no video in the file", rule="unsupported-format")
    stream, codec = streams[0], streams[0].codec_context
    if codec is None or codec.name not in _CODECS:
        raise PictureError(
            "a video codec that is not read",
            rule="unsupported-format",
            hint="Convert it: ffmpeg -i CLIP -c:v libx264 -crf 12 CLIP.mp4",
        )
    _check_size(codec.width, codec.height, most)
    codec.thread_count, codec.thread_type = 1, "NONE"
    return stream


def _usual(stream: Any) -> Fraction:
    """How long a frame is shown where it does not say so itself."""
    return 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)


def _check_size(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise PictureError(
            "too many pixels",
            expected=f"at most {most} a frame",
            found=f"{width} x {height}",
            hint="Allow more with --max-pixels N.",
            rule="too-large",
        )


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """All frames in the order in which they are shown; PictureError from the first damaged packet on."""
    count = 0
    with _explained("the clip is damaged", "truncated", lambda: f"{count} frames before that"):
        for packet in container.demux(stream):
            whole, frames = _of_packet(packet, stream)
            for frame in frames:
                count += 1
                yield frame
            if not whole:
                raise EOFError
        if not count:
            raise EOFError


def _of_packet(packet: Any, stream: Any) -> tuple[bool, list[Any]]:
    """Whether a packet is whole, and the frames it completes; all that the decoder still holds where it is not."""
    import av

    if not packet.is_corrupt:
        with suppress(av.error.FFmpegError):
            frames = packet.decode()
            sound = [frame for frame in frames if not frame.is_corrupt]
            return len(sound) == len(frames), sound
    with suppress(av.error.FFmpegError):
        return False, [frame for frame in stream.decode(None) if not frame.is_corrupt]
    return False, []


def _check_end(container: Any, end: Fraction) -> None:
    import av

    stated = container.format.name.split(",")[0] in _ENDS_STATED and len(container.streams) == 1
    if stated and container.duration and end < Fraction(container.duration, av.time_base):
        raise PictureError(
            "the clip ends too early",
            expected=f"{container.duration / av.time_base:g} seconds",
            found=f"about {float(end):g}",
            rule="truncated",
        )


def _orientation(frame: Any) -> int:
    """The EXIF orientation, 1 to 8, that says what the frame's display matrix says.

    To be asked of one frame a clip: PyAV's `side_data` costs memory that it does not give back.
    """
    matrix = next(
        (bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), b""
    )
    if len(matrix) != 36:
        return 1
    a, b, _, c, d = struct.unpack("=9i", matrix)[:5]
    largest = max(map(abs, (a, b, c, d)))
    signs = tuple((v > 0) - (v < 0) if abs(v) * 2 > largest else 0 for v in (a, b, c, d))
    if signs not in _ORIENTATIONS:
        raise PictureError("a clip that is turned by no quarter", rule="unsupported-mode")
    return _ORIENTATIONS[signs]


@contextmanager
def _explained(what: str, rule: str, found: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Any failure on a stranger's bytes becomes a PictureError that quotes nothing of them."""
    try:
        yield
    except DofError:
        raise
    except MemoryError:
        raise PictureError("the clip is too large to decode", rule="too-large") from None
    except Exception:
        raise PictureError(what, found=found(), rule=rule) from None
