"""A stranger's video opened safely, and its packets decoded (PyAV, extra `video`).

Of several streams the first that is no cover picture is read. No other file is opened: containers
that are lists of files are not read, nor are unusual codecs. A clip is broken from the first
damaged packet on, even where the decoder could guess how it went on, and where it ends before its
container says (as far as the container says so).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from dof_arrow.errors import DofError, PictureError
from dof_arrow.media import orientation

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,"
    "h264,hevc,ivf,nut,mxf,obu,dv,mjpeg,yuv4mpegpipe"
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
# Others are sampled by an index, whose missing samples are noticed.
_ENDS_STATED = ("matroska", "avi", "flv")
_TOLERATED = 3  # frames by which a stated end may be wrong
_USUAL_RATE = 25  # frames a second, where the file says nothing
# The display matrix's signs, and the EXIF orientation that says the same (ISO 14496-12, 8.2.2).
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
_MATRIX_BYTES = 36  # nine 32-bit numbers


@contextmanager
def opened(stored: Path | bytes, most: int) -> Iterator[tuple[Any, Any]]:
    """The container and the stream to decode, nothing of it decoded yet.

    Raises PictureError for files that are not read and for frames of more than `most` pixels.
    """
    import av

    options = {"format_whitelist": _CONTAINERS, "max_pixels": str(most)}
    with _file(stored) as file:
        with explained("no video that can be read", "undecodable"):
            container = av.open(
                file, options=options, metadata_errors="replace", io_open=_no_other_file
            )
        with container:
            with explained("the video's header is damaged", "undecodable"):
                stream = _stream(container, most)
            yield container, stream


def size_of(stored: Path | bytes) -> int:
    """Bytes of a clip."""
    return len(stored) if isinstance(stored, bytes) else stored.stat().st_size


def usual_duration(stream: Any) -> Fraction:
    """Seconds that a frame is shown where it does not say so itself."""
    return 1 / Fraction(stream.average_rate or stream.guessed_rate or _USUAL_RATE)


def check_size(width: int, height: int, most: int) -> None:
    """Refuse frames of more than `most` pixels."""
    if width * height > most:
        raise PictureError(
            "too many pixels",
            expected=f"at most {most} a frame",
            found=f"{width} x {height}",
            hint="Allow more with --max-pixels N.",
            rule="too-large",
        )


def decoded(
    container: Any, stream: Any, packets: Iterable[Any] | None = None, before: int = 0
) -> Iterator[Any]:
    """All frames in the order in which they are shown, or those of `packets` on to the end.

    PictureError from the first damaged packet on, and for a clip without frames; it says how many
    frames come before, `before` of which are not decoded.
    """
    count = before
    with explained("the clip is damaged", "truncated", lambda: f"{count} frames before that"):
        for packet in container.demux(stream) if packets is None else packets:
            whole, frames = _of_packet(packet, stream)
            for frame in frames:
                count += 1
                yield frame
            if not whole:
                raise EOFError
        if not count:
            raise EOFError


def packets_from(container: Any, stream: Any, shown: int, decoded: int) -> Iterator[Any] | None:
    """The packets from a key frame on, by its times in ticks; None where it is not found."""
    container.seek(min(shown, decoded), stream=stream)  # lands there, or at a key frame before it
    packets = container.demux(stream)
    for packet in packets:
        if packet.is_keyframe and packet.pts == shown:
            return chain([packet], packets)
        if not packet.size or (packet.is_keyframe and (packet.pts is None or packet.pts > shown)):
            return None
    return None


def check_end(container: Any, end: Fraction, usual: Fraction) -> None:
    """PictureError where the clip's frames end before its container says, in seconds.

    `usual` is how long a frame lasts; the container may be wrong by a few.
    """
    import av

    name = container.format.name.split(",")[0]
    if name not in _ENDS_STATED or len(container.streams) != 1 or not container.duration:
        return
    end += _TOLERATED * usual
    if end < Fraction(container.duration, av.time_base):
        raise PictureError(
            "the clip ends too early",
            expected=f"{container.duration / av.time_base:g} seconds",
            found=f"about {float(end):g}",
            rule="truncated",
        )


def display_orientation(frame: Any) -> int:
    """The EXIF orientation, 1 to 8, that says what the frame's display matrix says.

    PictureError for a matrix that turns by no quarter. To be asked of one frame a clip: PyAV's
    `side_data` costs memory that it does not give back.
    """
    matrix = b""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            matrix = bytes(data)
            break
    if len(matrix) != _MATRIX_BYTES:
        return orientation.UPRIGHT
    a, b, _, c, d = struct.unpack("=9i", matrix)[:5]
    largest = max(abs(a), abs(b), abs(c), abs(d))
    signs = tuple(_sign(number, largest) for number in (a, b, c, d))
    if signs not in _ORIENTATIONS:
        raise PictureError("a clip that is turned by no quarter", rule="unsupported-mode")
    return _ORIENTATIONS[signs]


@contextmanager
def explained(what: str, rule: str, found: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Any failure on a stranger's bytes becomes a PictureError that quotes nothing of them."""
    try:
        yield
    except DofError:
        raise
    except MemoryError:
        raise PictureError("the clip is too large to decode", rule="too-large") from None
    except Exception:
        raise PictureError(what, found=found(), rule=rule) from None


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


def _stream(container: Any, most: int) -> Any:
    """The stream to decode, on one thread.

    Clips are decoded beside one another, and by any number of threads the frames are the same.
    """
    import av

    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise PictureError("no video in the file", rule="unsupported-format")
    codec = streams[0].codec_context
    if codec is None or codec.name not in _CODECS:
        raise PictureError(
            "a video codec that is not read",
            rule="unsupported-format",
            hint="Convert it: ffmpeg -i CLIP -c:v libx264 -crf 12 CLIP.mp4",
        )
    check_size(codec.width, codec.height, most)
    codec.thread_count = 1
    codec.thread_type = "NONE"
    return streams[0]


def _of_packet(packet: Any, stream: Any) -> tuple[bool, list[Any]]:
    """Whether a packet is whole, and the frames that it completes.

    Where it is not whole, all frames that the decoder still holds.
    """
    import av

    # An error of the decoder is damage too; what it holds from before the damage is sound.
    if not packet.is_corrupt:
        with suppress(av.error.FFmpegError):
            frames = packet.decode()
            sound = _sound(frames)
            return len(sound) == len(frames), sound
    with suppress(av.error.FFmpegError):
        return False, _sound(stream.decode(None))
    return False, []


def _sound(frames: list[Any]) -> list[Any]:
    return [frame for frame in frames if not frame.is_corrupt]


def _sign(number: int, largest: int) -> int:
    """-1, 0 or 1; 0 for what is small beside the largest number of the matrix."""
    if abs(number) * 2 <= largest:
        return 0
    return 1 if number > 0 else -1
