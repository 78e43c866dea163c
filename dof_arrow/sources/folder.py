"""Pictures that are files: one, or all in a folder to any depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa

from dof_arrow.errors import PictureError, SourceError, UsageError, require
from dof_arrow.media import dicom_file, image, video
from dof_arrow.media.dicom_attributes import ATTRIBUTES, GROUPS, attributes
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column, read_bytes, read_start
from dof_arrow.sources.table import ROWS_AT_ONCE
from dof_arrow.sources.walk import files_below

SUFFIXES = (
    ".apng",
    ".avif",
    ".bmp",
    ".dcm",
    ".dicom",
    ".gif",
    ".heic",
    ".heif",
    ".hif",
    ".j2k",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".jxl",
    ".mpo",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
ALSO_CLIPS = (".apng", ".gif")  # pictures, but clips too where nothing else is there
_HEADER = 1 << 18  # bytes in which most DICOM files come to their pixels
_UNNAMED = r"(^|/)[^./]+$|\.[0-9]+$"  # as DICOM files are often called
_INDEX = r"(^|/)DICOMDIR$"  # a DICOM file without a picture


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Files(Listing):
    """Files under `root`, by relative name, sorted."""

    root: Path

    def stored(self, key: str, place: int) -> Path:
        """One of the files."""
        return self.root / key

    def files(self) -> Iterator[str]:
        """All of them, those too that are missing."""
        names = self.stored_names
        for start in range(0, len(names), ROWS_AT_ONCE):
            for name in names.slice(start, ROWS_AT_ONCE).to_pylist():
                yield f"{self.root}/{name}"

    def paths(self) -> Iterator[Path]:
        """All of them."""
        return map(Path, self.files())

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """Attributes of DICOM files, those of a list; read from all headers.

        Of other files they are missing. Raises UsageError for other attributes, and where no file
        is DICOM.
        """
        if not any(map(is_dicom, self.paths())):
            return super(Files, self).cells(names)  # a dataclass with slots knows no bare super()
        _check_attributes(names)
        found: dict[str, list[str | None]] = {name: [] for name in names}
        for path in self.paths():
            for name, value in _header(path, names).items():
                found[name].append(value)
        return {name: pa.array(values, pa.string()) for name, values in found.items()}


def in_folder(root: Path) -> Files:
    """All files in a folder but hidden ones, sorted; links are followed (`walk`).

    `counts` says what was left out.
    """
    names, counts = files_below(root)
    return Files(root=root, names=names, counts=counts)


def single(path: Path) -> Files:
    """One picture; SourceError for any other file, MissingExtra for DICOM without pydicom."""
    try:
        data = read_bytes(path)
        # DICOM is only told here; it may be refused later, for what it says of itself.
        if dicom_file.is_dicom(data):
            require("pydicom", extra="dicom")
        else:
            image.inspect(data)
    except OSError as error:
        raise SourceError(
            "the file cannot be read", str(path), found=error.strerror or ""
        ) from None
    except PictureError as error:
        hint = error.hint or "Give a picture, or the folder that holds the pictures."
        raise SourceError(error.what, str(path), error.expected, error.found, hint) from None
    return Files(root=path.parent, names=one_name(path), counts={"ignored": 0})


def pictures_only(files: Files) -> Files:
    """Those with a picture's suffix, and those without a suffix that hold DICOM.

    Raises SourceError where there are none, MissingExtra without pydicom where all are DICOM.
    """
    found, counts = _without_indexes(files)
    names = _pictures(found)
    ignored = len(found) - len(names)
    if not len(names):
        raise SourceError(
            "no picture in the folder",
            str(files.root),
            " ".join(SUFFIXES),
            f"{ignored} other files" if ignored else "an empty folder",
            "Give the folder that holds the pictures; files without a suffix need a --table that "
            "names them.",
        )
    pictures = replace(files, names=names, counts={**counts, "ignored": ignored})
    if find_spec("pydicom") is None and all(map(is_dicom, pictures.paths())):
        require("pydicom", extra="dicom")  # else those that are DICOM fail by themselves
    return pictures


def are_pictures(names: Column) -> Column:
    """Which names bear a picture's suffix."""
    return with_suffix(names, SUFFIXES)


def with_suffix(names: Column, suffixes: Sequence[str]) -> Column:
    """Which names bear one of some suffixes, in any case.

    >>> with_suffix(pa.array(["a.PNG", "png"]), [".png"]).to_pylist()
    [True, False]
    """
    import pyarrow.compute as pc

    endings = "|".join(suffix.removeprefix(".") for suffix in suffixes)
    return pc.match_substring_regex(names, rf"\.({endings})$", ignore_case=True)


def one_name(path: Path) -> Column:
    """The names of a listing of one file."""
    return pa.array([path.name], pa.large_string())


def is_dicom(path: Path) -> bool:
    """Whether a file is there and begins as DICOM does."""
    try:
        return dicom_file.is_dicom(read_start(path, dicom_file.START))
    except OSError:
        return False


def holds_clips(path: Path) -> bool:
    """Whether what stands at a path is plainly a clip, or a folder of clips and of no pictures."""
    plainly = {*video.SUFFIXES} - {*ALSO_CLIPS}
    if not path.is_dir():
        return path.suffix.lower() in plainly
    names = in_folder(path).names.to_pylist()
    kinds = {Path(name).suffix.lower() for name in names}
    return not kinds.isdisjoint(plainly) and kinds.isdisjoint(SUFFIXES)


def _check_attributes(names: Sequence[str]) -> None:
    known = (*GROUPS, *ATTRIBUTES)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            "attributes that are not taken from DICOM files",
            found=", ".join(unknown),
            expected=", ".join(known),
            hint="Name one of these, or give a --table.",
        )


def _without_indexes(files: Files) -> tuple[Files, dict[str, int]]:
    """The files but those called DICOMDIR, and how many of all kinds were left out so far."""
    import pyarrow.compute as pc

    counts = dict(files.counts)
    indexes = pc.match_substring_regex(files.names, _INDEX, ignore_case=True)
    found = pc.sum(indexes).as_py()
    if not found:
        return files, counts
    counts["dicomdir"] = found
    return replace(files, names=files.names.filter(pc.invert(indexes))), counts


def _pictures(files: Files) -> Column:
    """The names that bear a picture's suffix, and those without one that are DICOM, in order."""
    import pyarrow.compute as pc

    named = are_pictures(files.names)
    likely = pc.and_not(pc.match_substring_regex(files.names, _UNNAMED), named)
    places = pc.indices_nonzero(likely).to_pylist()
    dicom = [place for place in places if is_dicom(files.root / files.names[place].as_py())]
    if not dicom:
        return files.names.filter(named)
    taken = named.to_numpy(zero_copy_only=False).copy()
    taken[dicom] = True
    return files.names.filter(pa.array(taken))


def _header(path: Path, names: Sequence[str]) -> dict[str, str | None]:
    with suppress(OSError, PictureError):
        return attributes(read_start(path, _HEADER), names)
    with suppress(OSError, PictureError):  # deflated, or of a longer header
        return attributes(read_bytes(path), names, dicom_file.PERMISSIONS)
    return dict.fromkeys(names)  # it will be listed among the failures
