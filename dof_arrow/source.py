"""Where pictures come from: a folder, class folders, a folder with a CSV table, or one picture file.

A source is anything with a length, samples by index, and a few words on its columns (`Source`). The one made here
keeps a million names as Arrow arrays and builds a `Sample` only when it is asked for.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from dof_arrow import media
from dof_arrow.errors import OutputError, SourceError, UsageError
from dof_arrow.metadata import Target
from dof_arrow.privacy import KEY_BYTES
from dof_arrow.table import ROWS_AT_ONCE, Kind, match, read, typed
from dof_arrow.table import label as read_label

SUFFIXES = (
    ".apng", ".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)
FOLDER = "folder"
MAX_FILE_BYTES = 1 << 30

Value = bool | int | float | str | list[int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One input: its own name, where its bytes are (None: nowhere), and what is known of it.

    `target` holds a class index, a number or a list of class indexes under each target's name; None where missing.

    >>> Sample(key="a.png", data=b"bytes").load()
    b'bytes'
    """

    key: str
    data: Path | bytes | None
    target: Mapping[str, Value] = field(default_factory=dict)
    group: str | None = None
    split: str | None = None
    kept: Mapping[str, Value] = field(default_factory=dict)

    def load(self) -> bytes:
        """The stored bytes; PictureError with rule `missing`, `unreadable` or `too-large`, which names no path."""
        if isinstance(self.data, bytes):
            return self.data
        try:
            if self.data is None:
                raise FileNotFoundError
            return _bytes(self.data)
        except FileNotFoundError:
            raise media.PictureError("no such file", rule="missing") from None
        except OSError as error:
            raise media.PictureError("the file cannot be read", found=error.strerror or "", rule="unreadable") from None


class Source(Protocol):
    """What can be extracted from; samples stand in a fixed order and can be asked for by index, in any order."""

    @property
    def targets(self) -> Mapping[str, Target]:
        """How each entry of a sample's `target` is to be read."""

    @property
    def kept(self) -> Mapping[str, str]:
        """The Arrow type name of each entry of a sample's `kept`."""

    @property
    def has_group(self) -> bool:
        """Whether samples have groups."""

    @property
    def has_split(self) -> bool:
        """Whether samples have splits."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Pictures in a folder, sorted by relative name, with what a table says of them; a `Source`.

    `counts`: `ignored` files that are no pictures, `without_row` pictures that the table does not name, `without_file`
    rows whose picture is missing (they are samples that fail to load).
    """

    root: Path
    names: Any
    present: Any = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    groups: Any = None
    splits: Any = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> dict[str, str]:
        """The Arrow type name of each kept column."""
        return {name: str(column.type).replace("double", "float64") for name, column in self.columns.items()}

    @property
    def has_group(self) -> bool:
        """Whether the table gave groups."""
        return self.groups is not None

    @property
    def has_split(self) -> bool:
        """Whether the table gave splits."""
        return self.splits is not None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        key = self.names[index].as_py()
        there = self.present is None or self.present[index].as_py()
        return Sample(
            key=key, data=self.root / key if there else None,
            target={name: column[index].as_py() for name, column in self.labels.items()},
            group=self.groups[index].as_py() if self.has_group else None,
            split=self.splits[index].as_py() if self.has_split else None,
            kept={name: column[index].as_py() for name, column in self.columns.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The table and the columns of it that are asked for."""

    table: Path | None
    key: str | None
    label: str | None
    group: str | None
    split: str | None
    keep: tuple[str, ...]
    kind: Kind | None
    separator: str

    @property
    def columns(self) -> list[str]:
        label = None if self.label == FOLDER else self.label
        return [name for name in (self.key, label, self.group, self.split, *self.keep) if name is not None]


def open_source(
    path: str | Path, *, table: str | Path | None = None, key: str | None = None, label: str | None = None,
    group: str | None = None, split: str | None = None, keep: Sequence[str] = (),
    kind: Kind | None = None, separator: str = "|",
) -> Files:
    """The pictures under `path`, with those columns of the CSV `table` that are named here and no others.

    Folders are read to any depth; hidden files are left out, and without a table what bears no picture's suffix too.
    `key` names the column that holds each picture's relative name, file name, or file name without suffix. `label`
    names a column, or is `folder`: the first folder of each name is its class, and the target is called `label`.
    `kind` and `separator` are those of `table.label`. Raises UsageError for a wrong call, SourceError for what cannot
    be read; links and table keys that lead out of the folder are refused.
    """
    asked = _Asked(
        table=Path(table) if table is not None else None, key=key, label=label, group=group, split=split,
        keep=tuple(keep), kind=kind, separator=separator,
    )
    _check(asked)
    files = _find(Path(path))
    files = _pictures_only(files, path) if asked.table is None else _joined(files, asked.table, asked)
    return _labelled_by_folder(files, path) if label == FOLDER else files


def _check(asked: _Asked) -> None:
    if asked.table is None and asked.columns:
        hint = "Add --table FILE.csv --key COLUMN, or --label folder if pictures lie in a folder for each class."
        raise UsageError("columns need a table", found=", ".join(asked.columns), hint=hint)
    if asked.table is not None and asked.key is None:
        hint = "Add --key COLUMN: the column with file names."
        raise UsageError("a table needs the column that names the pictures", hint=hint)


def _find(path: Path) -> Files:
    """The one place that chooses how to read a source, by what it is and not by its name."""
    if path.is_dir():
        return Files(root=path, names=_listed(path))
    if path.is_file():
        return _single(path)
    raise SourceError("no such folder or file", str(path), hint="Give the folder that holds the pictures.")


def _single(path: Path) -> Files:
    try:
        media.inspect(_bytes(path))
    except media.PictureError as error:
        hint = error.hint or "Give a picture, or the folder that holds the pictures."
        raise SourceError(error.what, str(path), error.expected, error.found, hint) from None
    return Files(root=path.parent, names=pa.array([path.name], pa.large_string()), counts={"ignored": 0})


def _listed(root: Path) -> Any:
    """The relative names of all files under a folder, sorted by their UTF-8 bytes."""
    import pyarrow.compute as pc

    parts, names = [pa.array([], pa.large_string())], _walk(root, root.resolve())
    try:
        while batch := list(islice(names, ROWS_AT_ONCE)):
            parts.append(pa.array(batch, pa.large_string()))
    except UnicodeEncodeError:
        raise SourceError("a file name is not UTF-8", str(root), hint="Rename it, for example with convmv.") from None
    except OSError as error:
        raise SourceError("a folder cannot be read", str(root), found=error.strerror or "") from None
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


def _pictures_only(files: Files, path: str | Path) -> Files:
    if not Path(path).is_dir():
        return files
    pictures = _are_pictures(files.names)
    names = files.names.filter(pictures)
    ignored = len(files.names) - len(names)
    if not len(names):
        found = f"{ignored} other files" if ignored else "an empty folder"
        hint = "Give the folder that holds the pictures; files without a suffix need a --table that names them."
        raise SourceError("no picture in the folder", str(path), " ".join(SUFFIXES), found, hint)
    return replace(files, names=names, counts={"ignored": ignored})


def _are_pictures(names: Any) -> Any:
    import pyarrow.compute as pc

    return pc.match_substring_regex(names, rf"\.({'|'.join(s[1:] for s in SUFFIXES)})$", ignore_case=True)


def _labelled_by_folder(files: Files, path: str | Path) -> Files:
    import pyarrow.compute as pc

    loose = pc.sum(pc.invert(pc.match_substring(files.names, "/"))).as_py()
    if loose:
        hint = "Move each into its class's folder, or leave out --label folder."
        raise SourceError("pictures lie in no class folder", str(path), found=f"{loose} at the top", hint=hint)
    folders = pc.replace_substring_regex(files.names, "(?s)/.*$", "")
    target, codes = read_label("label", folders.cast(pa.string()), "category")
    return replace(files, targets={"label": target}, labels={"label": codes})


def _joined(files: Files, path: Path, asked: _Asked) -> Files:
    import pyarrow.compute as pc

    cells = read(path, asked.columns)
    names, place = match(cells[asked.key or ""], files.names, path)
    order = pc.sort_indices(names)
    cells = {name: column.take(order) for name, column in cells.items()}
    joined = replace(
        files, names=names.take(order), present=place.is_valid().take(order), counts=_counts(files.names, place),
        groups=cells.get(asked.group or ""), splits=cells.get(asked.split or ""),
        columns={name: typed(cells[name]) for name in asked.keep},
    )
    name = asked.label
    if name is None or name == FOLDER:
        return joined
    target, values = read_label(name, cells[name], asked.kind, asked.separator)
    return replace(joined, targets={name: target}, labels={name: values})


def _counts(names: Any, place: Any) -> dict[str, int]:
    import numpy as np

    named = np.zeros(len(names), bool)
    named[place.drop_null().to_numpy()] = True
    pictures = _are_pictures(names).to_numpy(zero_copy_only=False)
    return {
        "ignored": int((~named & ~pictures).sum()), "without_row": int((~named & pictures).sum()),
        "without_file": place.null_count,
    }


def _bytes(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        expected, found = f"at most {MAX_FILE_BYTES} bytes", f"{status.st_size} bytes"
        raise media.PictureError("the file is too large", "", expected, found, rule="too-large")
    return path.read_bytes()


def load_or_make_key(path: str | Path | None = None) -> tuple[bytes, bool, Path]:
    """The owner's pseudonym key (32 bytes), whether it was made just now, and the file that holds it in hexadecimal.

    Default: `$XDG_CONFIG_HOME/dof-arrow/id.key`, else under `~/.config`. Of several processes that make it at once one
    wins and all get its key. Raises OutputError if it cannot be made, UsageError if the file holds no key.
    """
    path = Path(path) if path is not None else _config_folder() / "dof-arrow" / "id.key"
    try:
        made = not path.exists() and _made(path)
        key = bytes.fromhex(path.read_text("ascii"))
    except ValueError:
        key = b""
    except OSError as error:
        hint = "Name another file with --id-key FILE."
        raise OutputError("the pseudonym key can be neither read nor made", str(path), "", error.strerror or "", hint
                          ) from None
    if len(key) != KEY_BYTES:
        hint = "Restore it from a backup, or name another with --id-key FILE."
        raise UsageError("the file holds no pseudonym key", str(path), f"{2 * KEY_BYTES} hexadecimal digits", hint=hint)
    return key, made, path


def _config_folder() -> Path:
    folder = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return folder if folder.is_absolute() else Path.home() / ".config"  # the XDG specification ignores relative ones


def _made(path: Path) -> bool:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".id-key-")  # mode 0600
    try:
        with open(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, it never replaces a key that another process made meanwhile
        return True
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
