"""Clips that are files, or folders of pictures, one a clip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dof_arrow import files, video
from dof_arrow.errors import SourceError
from dof_arrow.files import Files
from dof_arrow.sample import Listing

_ALSO_PICTURES = (".apng", ".gif")
_SUFFIXES = (*video.SUFFIXES, ".npy", ".npz", ".dcm", ".dicom")


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
            yield from (Path(entry.path) for entry in os.scandir(self.root / name) if entry.is_file())


def holds_clips(path: Path) -> bool:
    """Whether what stands at a path is plainly a clip, or a folder of clips and of no pictures."""
    if not path.is_dir():
        return path.suffix.lower() in video.SUFFIXES and path.suffix.lower() not in _ALSO_PICTURES
    names = [Path(name) for name in files.in_folder(path).names.to_pylist()]
    kinds = {name.suffix.lower() for name in names}
    return bool(kinds & {*video.SUFFIXES} - {*_ALSO_PICTURES}) and not kinds & {*files.SUFFIXES}


def find(path: Path) -> Listing | None:
    """The clips at a path; None for a container of several, as a tar archive is."""
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() in (".tar", ".parquet", ".arrow", ".h5", ".hdf5"):
        return None
    if not path.is_file():
        raise SourceError("no such folder or file", str(path), hint="Give the folder that holds the clips.")
    return Reels(root=path.parent, names=pa.array([path.name], pa.large_string()), counts={"ignored": 0})


def _in_folder(path: Path) -> Listing | None:
    import pyarrow.compute as pc

    found = files.in_folder(path)
    pattern = rf"\.({'|'.join(suffix[1:] for suffix in _SUFFIXES)})$"
    names = found.names.filter(pc.match_substring_regex(found.names, pattern, ignore_case=True))
    if len(names):
        return Reels(root=path, names=names, counts={"ignored": len(found) - len(names)})
    folders = _folders(found)
    if len(folders):
        return Folders(root=path, names=folders)
    if len(found.names.filter(pc.match_substring_regex(found.names, r"\.(tar|parquet|arrow)$"))):
        return None
    raise SourceError("no clip in the folder", str(path), " ".join(_SUFFIXES), f"{len(found)} other files",
                      "Give the folder that holds the clips, or a folder of folders of pictures.")


def _folders(found: Files) -> pa.Array:
    """The folders in which pictures lie, sorted; the folder itself where they lie in it alone."""
    import pyarrow.compute as pc

    pictures = found.names.filter(files.are_pictures(found.names))
    holders = pc.replace_substring_regex(pictures, r"/?[^/]*$", "").unique()
    names = sorted(name or "." for name in holders.to_pylist())
    return pa.array(names, pa.large_string())
