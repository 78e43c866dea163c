"""Pictures and clips with a canary in every place of a file that is no pixel."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from tests.support.canaries import Canaries
from tests.support.dicoms import dicom, sequence
from tests.support.pictures import pixels

SIDE = 16
XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Tags of EXIF that say how the picture lies, or where other tags are.
_MEANT = {0x0112, 0x8769, 0x8825, 0xA005, 0x0111, 0x0117, 0x0201, 0x0202, 0x014A, 0x015B}
_XMP_FIELDS = [
    "dc:title",
    "dc:creator",
    "dc:description",
    "dc:rights",
    "dc:subject",
    "dc:contributor",
    "photoshop:City",
    "photoshop:Credit",
    "photoshop:AuthorsPosition",
    "photoshop:CaptionWriter",
    "photoshop:Headline",
    "xmpMM:DocumentID",
    "xmpMM:InstanceID",
    "xmpRights:Owner",
    "Iptc4xmpCore:Location",
    "Iptc4xmpExt:PersonInImage",
    "mwg-rs:Name",
    "exif:UserComment",
    "tiff:Artist",
    "lr:hierarchicalSubject",
]
_DICOM_KINDS = ("LO", "PN", "SH", "ST", "LT", "UT", "UC", "UR", "AE")
_DICOM_GROUPS = (0x0008, 0x0010, 0x0012, 0x0018, 0x0032, 0x0038, 0x0040, 0x0088, 0x4008)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(pixels(seed, SIDE))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


# What several formats share


def exif(canaries: Canaries, where: str) -> bytes:
    """EXIF with every tag that Pillow knows, GPS, a maker's note, and a thumbnail with EXIF of its own."""
    own = Image.Exif()
    own[0x010E] = canaries.plant(f"{where}: EXIF of the thumbnail")
    thumbnail = saved(picture(0), "JPEG", exif=own)
    inner = {0x927C: canaries.plant(f"{where}: maker's note").encode()}
    comment = canaries.plant(f"{where}: user comment").encode("utf-16-le")
    inner[0x9286] = b"UNICODE\0" + comment
    gps = {tag.value: _text(canaries, f"{where}: {tag.name}") for tag in ExifTags.GPS}
    main: dict[int, bytes | int] = {}
    for tag in ExifTags.Base:
        if tag.value not in _MEANT and not 0x0100 <= tag.value <= 0x0115:
            main[tag.value] = _text(canaries, f"{where}: EXIF {tag.name}")
    start = 8
    blocks = []
    for tag, block in ((0x8769, inner), (0x8825, gps)):
        blocks.append(_directory(block, start))
        main[tag] = start
        start += len(blocks[-1])
    length = len(_directory(main, start))
    second: dict[int, bytes | int] = {0x0202: len(thumbnail)}
    second[0x0201] = start + length + len(_directory({0: 0, 1: 0}, 0))
    blocks += [_directory(main, start, start + length), _directory(second, start + length)]
    head = b"Exif\0\0II*\0" + struct.pack("<I", start)
    return head + b"".join(blocks) + thumbnail


def _text(canaries: Canaries, place: str) -> bytes:
    return canaries.plant(place).encode() + b"\0"


def _directory(entries: Mapping[int, bytes | int], start: int, following: int = 0) -> bytes:
    """A directory of TIFF at an offset: texts of more than four bytes, and numbers."""
    data = b""
    place = start + 2 + 12 * len(entries) + 4
    listed = struct.pack("<H", len(entries))
    for tag, value in sorted(entries.items()):
        if isinstance(value, int):
            listed += struct.pack("<HHII", tag, 4, 1, value)
        else:
            listed += struct.pack("<HHII", tag, 2, len(value), place + len(data))
            data += value
    return listed + struct.pack("<I", following) + data


def xmp(canaries: Canaries, where: str) -> bytes:
    fields = [f"<{n}>{canaries.plant(f'{where}: XMP {n}')}</{n}>" for n in _XMP_FIELDS]
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{''.join(fields)}</x:xmpmeta>".encode()


def iptc(canaries: Canaries, where: str) -> bytes:
    """Photoshop's block of a JPEG with thirty fields of IPTC."""
    fields = b""
    for number in (5, 15, 20, 25, 40, 55, 80, 85, 90, 92, 95, 101, 103, 105, 110, 115, 116, 118):
        text = canaries.plant(f"{where}: IPTC 2:{number}").encode()
        fields += struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text
    if len(fields) % 2:
        fields += b"\0"
    return b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(fields)) + fields


def profile(canaries: Canaries, where: str) -> bytes:
    """A colour profile that is called by a canary, by Pillow's own sRGB."""
    from PIL import ImageCms

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    text = canaries.plant(f"{where}: ICC description").encode()
    data += b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text
    struct.pack_into(">I", data, 0, len(data))
    return bytes(data)


# One format each


def png(canaries: Canaries, seed: int = 0) -> bytes:
    about, icc = exif(canaries, "PNG"), profile(canaries, "PNG")
    data = saved(picture(seed), "PNG", exif=about, icc_profile=icc)
    text = canaries.plant
    chunks = [(b"tEXt", f"Author\0{text('PNG tEXt')}".encode())]
    chunks += [(b"tEXt", f"{text('PNG keyword')}\0x".encode())]
    packed = zlib.compress(text("PNG zTXt").encode())
    chunks += [(b"zTXt", b"Comment\0\0" + packed)]
    plain = f"Title\0\0\0en\0{text('PNG iTXt keyword')}\0{text('PNG iTXt')}"
    chunks += [(b"iTXt", plain.encode())]
    packed = zlib.compress(text("PNG iTXt, compressed").encode())
    chunks += [(b"iTXt", b"Title\0\1\0en\0\0" + packed)]
    chunks += [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(canaries, "PNG"))]
    chunks += [(b"prVt", text("PNG private chunk").encode())]
    chunks += [(b"sPLT", text("PNG palette's name").encode() + b"\0\x08")]
    behind = text("PNG behind IEND").encode()
    return data[:33] + b"".join(_chunk(*chunk) for chunk in chunks) + data[33:] + behind


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg(canaries: Canaries, seed: int = 0) -> bytes:
    about, icc = exif(canaries, "JPEG"), profile(canaries, "JPEG")
    comment = canaries.plant("JPEG comment")
    data = saved(picture(seed), "JPEG", exif=about, icc_profile=icc, comment=comment)
    segments = _segment(0xE1, XMP + xmp(canaries, "JPEG")) + _segment(0xED, iptc(canaries, "JPEG"))
    for number in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15):
        segments += _segment(0xE0 + number, canaries.plant(f"JPEG APP{number}").encode())
    segments += _segment(0xFE, canaries.plant("JPEG second comment").encode("utf-16-le"))
    return data[:2] + segments + data[2:] + canaries.plant("JPEG behind EOI").encode()


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def gif(canaries: Canaries, seed: int = 0) -> bytes:
    data = saved(picture(seed), "GIF", comment=canaries.plant("GIF comment"))
    return data + canaries.plant("GIF behind its end").encode()


def tiff(canaries: Canaries, seed: int = 0) -> bytes:
    named = (269, 270, 271, 272, 285, 305, 306, 315, 316, 337, 33432, 65000, 65001, 65535)
    tags = {tag: canaries.plant(f"TIFF tag {tag}") for tag in named}
    tags |= {34377: iptc(canaries, "TIFF"), 700: xmp(canaries, "TIFF")}
    icc = profile(canaries, "TIFF")
    data = saved(picture(seed), "TIFF", tiffinfo=tags, icc_profile=icc)
    return data + canaries.plant("TIFF behind its end").encode()


def webp(canaries: Canaries, seed: int = 0) -> bytes:
    about, icc = exif(canaries, "WebP"), profile(canaries, "WebP")
    data = saved(picture(seed), "WEBP", exif=about, xmp=xmp(canaries, "WebP"), icc_profile=icc)
    text = canaries.plant("WebP chunk").encode()
    data += b"CNRY" + struct.pack("<I", len(text)) + text
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    return data + canaries.plant("WebP behind its end").encode()


def bmp(canaries: Canaries, seed: int = 0) -> bytes:
    return saved(picture(seed), "BMP") + canaries.plant("BMP behind its end").encode()


def ico(canaries: Canaries, seed: int = 0) -> bytes:
    data = saved(picture(seed), "ICO", sizes=[(SIDE, SIDE)])
    return data + canaries.plant("ICO behind its end").encode()


def jpeg_2000(canaries: Canaries, seed: int = 0) -> bytes:
    data = saved(picture(seed), "JPEG2000")
    text = canaries.plant("JPEG 2000 XML box").encode()
    return data + struct.pack(">I", len(text) + 8) + b"xml " + text


PICTURES: dict[str, Callable[[Canaries, int], bytes]] = {
    "png": png,
    "jpg": jpeg,
    "gif": gif,
    "tif": tiff,
    "webp": webp,
    "bmp": bmp,
    "ico": ico,
    "jp2": jpeg_2000,
}


# DICOM


def dicom_file(canaries: Canaries, seed: int = 0) -> bytes:
    """A DICOM file with canaries in its preamble, in private attributes, deep in sequences, and in whatever
    attribute takes a text."""
    given: dict[str, Any] = _dicom_texts(canaries) if seed == 0 else {}
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
        given[name] = canaries.uid(f"DICOM {name}")
    for name in ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate"):
        given[name] = canaries.date(f"DICOM {name}")
    deep = sequence(
        CodeMeaning=canaries.plant("DICOM sequence in a sequence"),
        PatientID=canaries.plant("DICOM PatientID in a sequence"),
    )
    given["RequestAttributesSequence"] = sequence(
        ScheduledProcedureStepID=canaries.plant("DICOM sequence"),
        RequestedProcedureCodeSequence=deep,
    )
    given["Modality"] = "DX"
    data = dicom(pixels(seed, SIDE)[..., 0].copy(), **given)
    about = _reopened(data)
    _with_private(canaries, about)
    about.preamble = canaries.plant("DICOM preamble").encode().ljust(128, b"\0")
    about.file_meta.SourceApplicationEntityTitle = canaries.plant("DICOM AE title")
    about.file_meta.ImplementationVersionName = canaries.plant("DICOM implementation")
    out = io.BytesIO()
    about.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _dicom_texts(canaries: Canaries) -> dict[str, str]:
    """A canary for each attribute in use that takes a short text."""
    from pydicom.datadict import DicomDictionary

    texts = {}
    for tag, (kind, many, _, retired, keyword) in sorted(DicomDictionary.items()):
        wanted = kind in _DICOM_KINDS and many.startswith("1") and not retired
        if wanted and tag >> 16 in _DICOM_GROUPS:
            texts[keyword] = canaries.plant(f"DICOM {keyword}")
    return texts


def _reopened(data: bytes) -> Any:
    import pydicom

    return pydicom.dcmread(io.BytesIO(data))


def _with_private(canaries: Canaries, about: Any) -> None:
    block = about.private_block(0x0013, canaries.plant("DICOM private creator"), create=True)
    block.add_new(1, "LO", canaries.plant("DICOM private text"))
    block.add_new(2, "OB", canaries.plant("DICOM private bytes").encode())
    block.add_new(3, "SQ", sequence(PatientComments=canaries.plant("DICOM private sequence")))


# Clips


def clip(canaries: Canaries, folder: Path, name: str, container: str) -> Path:
    """A clip whose container, stream, chapter and boxes bear canaries."""
    import av

    from tests.support import clips

    plain = clips.encode(clips.scene(1, 6, height=32, width=48), container=container)
    path = folder / name
    with av.open(io.BytesIO(plain)) as source, av.open(str(path), "w", format=container) as made:
        for key in ("title", "artist", "comment", "description", "copyright", "album"):
            made.metadata[key] = canaries.plant(f"clip's {key}, {container}")
        stream: Any = made.add_stream_from_template(source.streams.video[0])
        for key in ("title", "handler_name"):
            stream.metadata[key] = canaries.plant(f"stream's {key}, {container}")
        title = canaries.plant(f"chapter's title, {container}")
        base = stream.time_base or 1
        made.set_chapters([_chapter(title, base)])
        if container == "matroska":
            letter = canaries.plant("attachment of a clip").encode()
            made.add_attachment(canaries.plant("name of an attachment"), "text/plain", letter)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    if container == "mp4":
        _with_boxes(canaries, path)
    return path


def _chapter(title: str, base: Any) -> Any:
    from fractions import Fraction

    return {"id": 0, "start": 0, "end": 1, "time_base": Fraction(1), "metadata": {"title": title}}


def _with_boxes(canaries: Canaries, path: Path) -> None:
    with path.open("ab") as file:
        for kind in (b"free", b"udta", b"uuid"):
            text = canaries.plant(f"mp4 box {kind.decode()}").encode()
            body = text.rjust(40, b"\0")
            file.write(struct.pack(">I", len(body) + 8) + kind + body)


def array(seed: int, count: int) -> np.ndarray[Any, Any]:
    """Pictures uint8 [count, SIDE, SIDE, 3]."""
    return np.stack([pixels(seed + number, SIDE) for number in range(count)])
