"""Pictures and clips that are files: one, or all in a folder to any depth; a clip may be a folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow import errors
from dof_arrow.errors import SourceError, UsageError, require
from dof_arrow.media import dicom, image, video
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
_HEADER = 1 << 18  # bytes in which most DICOM files come to their pixels
_UNNAMED = r"(^|/)[^./]+$|\.[0-9]+$"  # as DICOM files are often called
_ALSO_PICTURES = (".apng", ".gif")
_SUFFIXES = (*video.SUFFIXES, ".npy", ".npz", ".dcm", ".dicom")


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
            yield from (
                f"{self.root}/{name}" for name in self.names.slice(start, ROWS_AT_ONCE).to_pylist()
            )

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """Attributes of DICOM files, those of a list; read from all headers."""
        if not len(self) or not is_dicom(self.root / self.names[0].as_py()):
            return super(Files, self).cells(names)  # a dataclass with slots knows no bare super()
        if unknown := [name for name in names if name not in (*dicom.ATTRIBUTES, *dicom.GROUPS)]:
            raise UsageError(
                "attributes that are not taken from DICOM files",
                found=", ".join(unknown),
                expected=", ".join((*dicom.GROUPS, *dicom.ATTRIBUTES)),
                hint="Name one of these, or give a --table.",
            )
        found: dict[str, list[str | None]] = {name: [] for name in names}
        for file in self.files():
            for name, value in _header(Path(file), names).items():
                found[name].append(value)
        return {name: pa.array(values, pa.string()) for name, values in found.items()}


def in_folder(root: Path) -> Files:
    """All files in a folder but hidden ones, sorted; links that lead out of it are refused."""
    return Files(root=root, names=_listed(root))


def single(path: Path) -> Files:
    """One picture; SourceError for any other file."""
    try:
        data = read_bytes(path)
        if dicom.is_dicom(data):
            require("pydicom", extra="dicom")
        else:
            image.inspect(data)
    except OSError as error:
        raise SourceError(
            "the file cannot be read", str(path), found=error.strerror or ""
        ) from None
    except errors.PictureError as error:
        hint = error.hint or "Give a picture, or the folder that holds the pictures."
        raise SourceError(error.what, str(path), error.expected, error.found, hint) from None
    return Files(
        root=path.parent, names=pa.array([path.name], pa.large_string()), counts={"ignored": 0}
    )


def pictures_only(files: Files) -> Files:
    """Those with a picture's suffix; where there are none, those without a suffix that hold DICOM."""
    names = files.names.filter(are_pictures(files.names))
    names = names if len(names) else _unnamed_dicom(files)
    ignored = len(files) - len(names)
    if not len(names):
        found = f"{ignored} other files" if ignored else "an empty folder"
        hint = "Give the folder that holds the pictures; files without a suffix need a --table that names them."
        raise SourceError(
            "no picture in the folder", str(files.root), " ".join(SUFFIXES), found, hint
        )
    if is_dicom(files.root / names[0].as_py()):
        require("pydicom", extra="dicom")
    return replace(files, names=names, counts={"ignored": ignored})


def are_pictures(names: Column) -> Any:
    """Which names bear a picture's suffix."""
    import pyarrow.compute as pc

    return pc.match_substring_regex(
        names, rf"\.({'|'.join(s[1:] for s in SUFFIXES)})$", ignore_case=True
    )


def is_dicom(path: Path) -> bool:
    """Whether a file is there and begins as DICOM does."""
    try:
        with path.open("rb") as file:
            return dicom.is_dicom(file.read(132))
    except OSError:
        return False


def _unnamed_dicom(files: Files) -> Column:
    import pyarrow.compute as pc

    likely = files.names.filter(pc.match_substring_regex(files.names, _UNNAMED)).to_pylist()
    return pa.array(
        [n for n in likely if n.rpartition("/")[2] != "DICOMDIR" and is_dicom(files.root / n)],
        pa.large_string(),
    )


def _header(path: Path, names: Sequence[str]) -> dict[str, str | None]:
    with suppress(OSError, errors.PictureError), path.open("rb") as file:
        return dicom.attributes(file.read(_HEADER), names)
    with suppress(OSError, errors.PictureError):  # deflated, or of a longer header
        return dicom.attributes(read_bytes(path), names, dicom.PERMISSIONS)
    return dict.fromkeys(names)  # it will be listed among the failures


def _listed(root: Path) -> Column:
    """The relative names of all files under a folder, sorted by their UTF-8 bytes."""
    import pyarrow.compute as pc

    parts, names = [pa.array([], pa.large_string())], _walk(root, root.resolve())
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
    folders = [""]
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


class Reels(Files):
    """Clips that are files under `root`, by relative name, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folders(Listing):
    """Clips that are folders of pictures under `root`, by relative name, sorted."""

    root: Path

    def stored(self, key: str, place: int) -> Path:
        """One of the folders."""
        return self.root / key

    def files(self) -> Iterator[Path]:
        """The pictures in all of them."""
        for name in self.names.to_pylist():
            yield from (
                Path(entry.path) for entry in os.scandir(self.root / name) if entry.is_file()
            )


def holds_clips(path: Path) -> bool:
    """Whether what stands at a path is plainly a clip, or a folder of clips and of no pictures."""
    if not path.is_dir():
        return path.suffix.lower() in video.SUFFIXES and path.suffix.lower() not in _ALSO_PICTURES
    names = [Path(name) for name in in_folder(path).names.to_pylist()]
    kinds = {name.suffix.lower() for name in names}
    return bool(kinds & {*video.SUFFIXES} - {*_ALSO_PICTURES}) and not kinds & {*SUFFIXES}


def clips_at(path: Path) -> Listing | None:
    """The clips at a path; None for a container of several, as a tar archive is."""
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() in (".tar", ".parquet", ".arrow", ".h5", ".hdf5"):
        return None
    if not path.is_file():
        raise SourceError(
            "no such folder or file", str(path), hint="Give the folder that holds the clips."
        )
    return Reels(
        root=path.parent, names=pa.array([path.name], pa.large_string()), counts={"ignored": 0}
    )


def _in_folder(path: Path) -> Listing | None:
    import pyarrow.compute as pc

    found = in_folder(path)
    pattern = rf"\.({'|'.join(suffix[1:] for suffix in _SUFFIXES)})$"
    names = found.names.filter(pc.match_substring_regex(found.names, pattern, ignore_case=True))
    if len(names):
        return Reels(root=path, names=names, counts={"ignored": len(found) - len(names)})
    folders = _folders(found)
    if len(folders):
        return Folders(root=path, names=folders)
    if len(found.names.filter(pc.match_substring_regex(found.names, r"\.(tar|parquet|arrow)$"))):
        return None
    raise SourceError(
        "no clip in the folder",
        str(path),
        " ".join(_SUFFIXES),
        f"{len(found)} other files",
        "Give the folder that holds the clips, or a folder of folders of pictures.",
    )


def _folders(found: Files) -> pa.Array:
    """The folders in which pictures lie, sorted; the folder itself where they lie in it alone."""
    import pyarrow.compute as pc

    pictures = found.names.filter(are_pictures(found.names))
    holders = pc.replace_substring_regex(pictures, r"/?[^/]*$", "").unique()
    names = sorted(name or "." for name in holders.to_pylist())
    return pa.array(names, pa.large_string())
