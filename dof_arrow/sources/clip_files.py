"""Clips that are files, or folders of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dof_arrow.errors import SourceError
from dof_arrow.media import tiff_pages, video
from dof_arrow.sources.folder import Files, are_pictures, in_folder, one_name, with_suffix
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column

_SUFFIXES = (*video.SUFFIXES, ".npy", ".npz", ".dcm", ".dicom")
_CONTAINERS = (".tar", ".zip", ".parquet", ".arrow")  # which hold several inputs
_PAGED = (".tif", ".tiff")  # which may hold a clip, a page a frame
_FILES_OF_ARRAYS = (".h5", ".hdf5")


class ClipFiles(Files):
    """Clips that are files under `root`, by relative name, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipFolders(Listing):
    """Clips that are folders of pictures under `root`, by relative name, sorted."""

    root: Path

    def stored(self, key: str, place: int) -> Path:
        """One of the folders."""
        return self.root / key

    def files(self) -> Iterator[Path]:
        """The pictures in all of them."""
        for name in self.stored_names.to_pylist():
            with suppress(OSError), os.scandir(self.root / name) as entries:
                for entry in entries:
                    if entry.is_file():
                        yield Path(entry.path)


def clips_at(path: Path) -> Listing | None:
    """The clips at a path; None for a container of several, as a tar archive is.

    Raises SourceError where there are none.
    """
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() in (*_CONTAINERS, *_FILES_OF_ARRAYS):
        return None
    if not path.is_file():
        raise SourceError(
            "no such folder or file", str(path), hint="Give the folder that holds the clips."
        )
    return ClipFiles(root=path.parent, names=one_name(path), counts={"ignored": 0})


def _in_folder(path: Path) -> Listing | None:
    found = in_folder(path)
    names = found.names.filter(with_suffix(found.names, _SUFFIXES))
    # Pictures may lie beside clips, as previews do: then the clips are the inputs.
    if len(names):
        return ClipFiles(root=path, names=names, counts=_counts(found, len(names)))
    pictures = found.names.filter(are_pictures(found.names))
    if _hold_pages(found, pictures):
        return ClipFiles(root=path, names=pictures, counts=_counts(found, len(pictures)))
    folders = _folders_of(pictures)
    if len(folders):
        return ClipFolders(root=path, names=folders, counts=_counts(found, len(pictures)))
    if any(name.endswith(_CONTAINERS) for name in found.names.to_pylist()):
        return None
    raise SourceError(
        "no clip in the folder",
        str(path),
        " ".join(_SUFFIXES),
        f"{len(found)} other files",
        "Give the folder that holds the clips, or a folder of folders of pictures.",
    )


def _counts(found: Files, taken: int) -> dict[str, int]:
    return {**found.counts, "ignored": len(found) - taken}


def _hold_pages(found: Files, pictures: Column) -> bool:
    """Whether pictures are TIFF files, one of them at least of several pages."""
    import pyarrow.compute as pc

    if not pc.all(with_suffix(pictures, _PAGED)).as_py():
        return False
    return any(_is_paged(found.root / name) for name in pictures.to_pylist())


def _is_paged(path: Path) -> bool:
    try:
        pages = tiff_pages.pages_of_file(path)
    except OSError:  # it will be listed among the failures
        return False
    return len(tiff_pages.pictures(pages)) > 1


def _folders_of(pictures: Column) -> Column:
    """The folders in which pictures lie, sorted; the folder itself where they lie in it alone."""
    import pyarrow.compute as pc

    holders = pc.replace_substring_regex(pictures, r"/?[^/]*$", "").unique()
    names = sorted(name or "." for name in holders.to_pylist())
    return pa.array(names, pa.large_string())
