"""Pictures that are files: one, or all in a folder to any depth."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa

from dof_arrow.errors import PictureError, SourceError, UsageError, require
from dof_arrow.media import dicom_file, image, video
from dof_arrow.media.dicom_attributes import ATTRIBUTES, GROUPS, attributes
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column, read_bytes
from dof_arrow.sources.table import ROWS_AT_ONCE

SUFFIXES = (
    ".apng",
    ".avif",
    ".bmp",
    ".dcm",
    ".dicom",
    ".gif",
    ".j2k",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
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
_INDEX = "DICOMDIR"  # a DICOM file without a picture


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Files(Listing):
    """Files under `root`, by relative name, sorted."""

    root: Path

    def stored(self, key: str, place: int) -> Path:
        """One of the files."""
        return self.root / key

    def files(self) -> Iterator[str]:
        """All of them, those too that are missing."""
        for start in range(0, len(self), ROWS_AT_ONCE):
            for name in self.names.slice(start, ROWS_AT_ONCE).to_pylist():
                yield f"{self.root}/{name}"

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """Attributes of DICOM files, those of a list; read from all headers.

        Raises UsageError for other attributes, and where the files are no DICOM.
        """
        if not len(self) or not is_dicom(self.root / self.names[0].as_py()):
            return super(Files, self).cells(names)  # a dataclass with slots knows no bare super()
        _check_attributes(names)
        found: dict[str, list[str | None]] = {name: [] for name in names}
        for file in self.files():
            for name, value in _header(Path(file), names).items():
                found[name].append(value)
        return {name: pa.array(values, pa.string()) for name, values in found.items()}


def in_folder(root: Path) -> Files:
    """All files in a folder but hidden ones, sorted; links that lead out of it are refused."""
    return Files(root=root, names=_listed(root))


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
    """Those with a picture's suffix; where there are none, those without a suffix that hold DICOM.

    Raises SourceError where there are none either, MissingExtra for DICOM without pydicom.
    """
    names = files.names.filter(are_pictures(files.names))
    if not len(names):
        names = _unnamed_dicom(files)
    ignored = len(files) - len(names)
    if not len(names):
        raise SourceError(
            "no picture in the folder",
            str(files.root),
            " ".join(SUFFIXES),
            f"{ignored} other files" if ignored else "an empty folder",
            "Give the folder that holds the pictures; files without a suffix need a --table that "
            "names them.",
        )
    if is_dicom(files.root / names[0].as_py()):
        require("pydicom", extra="dicom")
    return replace(files, names=names, counts={"ignored": ignored})


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
        with path.open("rb") as file:
            return dicom_file.is_dicom(file.read(132))
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


def _unnamed_dicom(files: Files) -> Column:
    """The names of DICOM files without a suffix, or with a number for one."""
    import pyarrow.compute as pc

    likely = files.names.filter(pc.match_substring_regex(files.names, _UNNAMED))
    found = []
    for name in likely.to_pylist():
        if name.rpartition("/")[2] != _INDEX and is_dicom(files.root / name):
            found.append(name)
    return pa.array(found, pa.large_string())


def _header(path: Path, names: Sequence[str]) -> dict[str, str | None]:
    with suppress(OSError, PictureError), path.open("rb") as file:
        return attributes(file.read(_HEADER), names)
    with suppress(OSError, PictureError):  # deflated, or of a longer header
        return attributes(read_bytes(path), names, dicom_file.PERMISSIONS)
    return dict.fromkeys(names)  # it will be listed among the failures


def _listed(root: Path) -> Column:
    """The relative names of all files under a folder, sorted by their UTF-8 bytes."""
    import pyarrow.compute as pc

    parts = [pa.array([], pa.large_string())]
    names = _walk(root, root.resolve())
    try:
        while batch := list(islice(names, ROWS_AT_ONCE)):
            parts.append(pa.array(batch, pa.large_string()))
    except UnicodeEncodeError:
        raise SourceError(
            "a file name is not UTF-8", str(root), hint="Rename it, for example with convmv."
        ) from None
    except OSError as error:
        raise SourceError(
            "a folder cannot be read", str(root), found=error.strerror or ""
        ) from None
    found = pa.concat_arrays(parts)
    return found.take(pc.sort_indices(found))


def _walk(root: Path, real: Path) -> Iterator[str]:
    """The relative names of all files under a folder but hidden ones, in any order."""
    folders = [""]  # still to be read; a stack, since folders may lie deeper than calls may nest
    while folders:
        prefix = folders.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    _check_link(entry, real)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{prefix}{entry.name}/")
                elif not entry.is_dir():  # linked folders are read where they really are
                    yield prefix + entry.name


def _check_link(entry: os.DirEntry[str], real: Path) -> None:
    if not Path(os.path.realpath(entry.path)).is_relative_to(real):
        hint = "Copy what it points to into the folder, or give that folder instead."
        raise SourceError("a link leads out of the folder", entry.path, hint=hint)
