"""Which program's vectors lie at a path, and the bags there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dof_arrow.errors import SourceError, UsageError, few
from dof_arrow.rewrite.foreign.bag import ForeignBag
from dof_arrow.rewrite.foreign.hdf5_bag import Hdf5Bag
from dof_arrow.rewrite.foreign.tar_array import TarArray, tar_arrays
from dof_arrow.rewrite.foreign.torch_bag import TorchBag

_KINDS = {
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".pt": "torch",
    ".pth": "torch",
    ".tar": "tar",
}
_ARRAYS = (".npy", ".npz", ".safetensors")
_SHOWN = 5
# The folder in which TRIDENT puts the features of a core.
_OF_CORE = re.compile(r"features_([\w.-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The bags at a path, and how many other files lie there, by the ends of their names."""

    bags: Sequence[ForeignBag]
    left_out: Counter[str]

    @property
    def of_shared_samples(self) -> int:
        """How many members of archives are of a sample that has several."""
        counts = Counter(_sample(bag.name) for bag in self.bags if isinstance(bag, TarArray))
        return sum(count for count in counts.values() if count > 1)


def holds_bags(path: Path) -> bool:
    """Whether a file, or some file in a folder, is of a kind that holds bags."""
    if path.is_dir():
        return any(_kind(file) for file in path.rglob("*"))
    return _kind(path) is not None


def embedding_reader(path: Path) -> tuple[Path, Path | None] | None:
    """Where the arrays and the tables of a folder lie that `embedding-reader` reads.

    Its layout: a folder `img_emb` or `text_emb` of .npy files, and `metadata` of Parquet files.
    None for what is no such folder; UsageError where two such folders could be meant.
    """
    if path.is_file():
        return (path, None) if path.suffix.lower() in _ARRAYS else None
    arrays = sorted(each for each in path.glob("*_emb") if any(each.glob("*.npy")))
    if len(arrays) > 1:
        names = ", ".join(each.name for each in arrays)
        raise UsageError(
            "several folders of vectors",
            str(path),
            "one of them",
            names,
            f"Name it: dof import {arrays[0]} --table {path / 'metadata'}",
        )
    table = path / "metadata"
    if arrays:
        return arrays[0], table if table.is_dir() else None
    return (path, None) if any(path.glob("*.npy")) else None


def found(path: Path) -> Found:
    """The bags of a file, or of all files of one kind in a folder; each is called by its path.

    Raises SourceError where there is none, UsageError where they are of several kinds or two have
    one name.
    """
    if path.is_dir():
        return _in_folder(path)
    left_out: Counter[str] = Counter()
    kind = _kind(path)
    if kind is None:
        raise SourceError("no file of vectors", str(path), ", ".join(_KINDS))
    return Found(bags=_bags(kind, path.parent, [path], left_out), left_out=left_out)


def _in_folder(folder: Path) -> Found:
    left_out: Counter[str] = Counter()
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        kind = _kind(path)
        if kind is not None:
            files.setdefault(kind, []).append(path)
        elif path.is_file():
            left_out[path.suffix.lower() or "no ending"] += 1
    if len(files) > 1:
        told = [f"{len(paths):,} {kind}" for kind, paths in sorted(files.items())]
        raise UsageError(
            "files of several kinds",
            str(folder),
            "a folder of one kind",
            " and ".join(told),
            "Give the folder of one of them: h5_files or pt_files, say.",
        )
    if not files:
        raise SourceError("no files of vectors", str(folder), ", ".join(_KINDS))
    ((kind, paths),) = files.items()
    return Found(bags=_bags(kind, folder, paths, left_out), left_out=left_out)


def _bags(
    kind: str, root: Path, paths: Sequence[Path], left_out: Counter[str]
) -> Sequence[ForeignBag]:
    bags: list[ForeignBag]
    if kind == "tar":
        bags = list(tar_arrays(paths, left_out))
    elif kind == "torch":
        bags = [TorchBag(_name(path, root), path) for path in paths]
    else:
        bags = [Hdf5Bag(_name(path, root), path, _core_of(path)) for path in paths]
    if not bags:
        raise SourceError("no vectors in these archives", str(root), "members *.npy")
    _check_names(bags, root)
    return bags


def _sample(name: str) -> str:
    """What WebDataset calls a sample: a member's name up to the first dot behind its folder.

    >>> _sample("00/cat.img")
    '00/cat'
    """
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _check_names(bags: Iterable[ForeignBag], root: Path) -> None:
    counts = Counter(bag.name for bag in bags)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UsageError(
            "two inputs of one name",
            str(root),
            "each name once",
            ", ".join(few([ascii(name) for name in twice], _SHOWN)),
        )


def _kind(path: Path) -> str | None:
    if path.name.startswith(".") or not path.is_file():
        return None
    return _KINDS.get(path.suffix.lower())


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def _core_of(path: Path) -> str | None:
    match = _OF_CORE.fullmatch(path.parent.name)
    return match[1] if match else None
