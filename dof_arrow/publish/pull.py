"""A published dataset fetched: every file compared with its digest, the splits joined in one file.

What has arrived waits in a hidden folder beside the output, by digests, and is used when the
command is repeated.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, SourceError, UsageError
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.writer import Writer
from dof_arrow.progress import listening
from dof_arrow.publish.hub_repository import HubRepository
from dof_arrow.publish.published_files import SUMS, listed
from dof_arrow.publish.split_files import is_data_file
from dof_arrow.publish.staged import Layout, PathLike
from dof_arrow.publish.store_folder import StoreFolder
from dof_arrow.publish.targets import hub_name, place_of
from dof_arrow.rewrite.carry import renewed, write_rows
from dof_arrow.rewrite.merge import attach_all, errors_of, pseudonym_order
from dof_arrow.storage import owned
from dof_arrow.storage.addresses import Address
from dof_arrow.storage.atomic import explained, locked, refuse_existing, replacing, sibling
from dof_arrow.storage.remote import RemoteObject

_AT_ONCE = 32 << 20  # bytes that are fetched together
_CORES = "cores"  # the folder beside a dataset in which cores are looked for


def pull(
    source: PathLike | Address,
    out: PathLike,
    *,
    with_core: bool = False,
    layout: Layout = "mapped",
    overwrite: bool = False,
    filesystem: Any = None,
) -> Dataset:
    """Fetch what `push` published as one file, and open it.

    `source` is `hf://OWNER/NAME` (extra `hub`), an address of a folder (`s3://`, `gs://`, `az://`,
    `https://`; extra `remote`), or a folder, on this machine or in a `filesystem`. Rows are those
    that were pushed: in the order of their pseudonyms where they had that order, else split by
    split. With `with_core` the cores that were published come into the folder `cores` beside `out`.

    Raises UsageError where nothing was published, SourceError for a file that is not as its list
    says or cannot be had, FormatError for files that are not of one dataset, OutputError if `out`
    exists or cannot be written.

    >>> import numpy, tempfile
    >>> from dof_arrow.publish.push import push
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.dof.parquet")) as w:
    ...         w.write(ids=["a"], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...     _ = push(Path(folder, "x.dof.parquet"), Path(folder, "shared"))
    ...     len(pull(Path(folder, "shared"), Path(folder, "y.dof.parquet")))
    1
    """
    target = _checked_output(Path(out), overwrite)
    folder = _Published(_pinned(source, filesystem))
    data = [name for name in folder.sums if is_data_file(name)]
    if not data:
        raise FormatError("no files of rows", str(folder.address), "files of splits", "none")
    cores = [name for name in folder.sums if name.startswith("core/") and name.endswith(".onnx")]
    wanted = [*data, *(cores if with_core else [])]
    with _waiting(target) as waiting:
        found = dict(zip(wanted, folder.fetch(wanted, waiting), strict=True))
        opened = [dataset.open(found[name]) for name in data]
        core_files = {name: found[name] for name in cores if with_core}
        _check_cores(opened[0], core_files)
        _join(opened, target, layout, overwrite)
        for name, path in core_files.items():
            _keep_core(path, target.absolute().parent / _CORES / name.rpartition("/")[2], overwrite)
    if cores and not with_core:
        listening().say("The core was published too: --with-core fetches it.")
    return dataset.open(target)


def _checked_output(target: Path, overwrite: bool) -> Path:
    if target.suffix != ".parquet" or target.name == ".parquet":
        raise UsageError("one file is made", str(target), "NAME.dof.parquet", target.name)
    with explained(target):
        refuse_existing(target, overwrite)
    return target


def _pinned(source: PathLike | Address, filesystem: Any) -> Address:
    """The folder of published files; on the hub that of its commit of the moment."""
    place = place_of(source, filesystem)
    name = hub_name(place)
    if name is None:
        return place
    standing = HubRepository(name).standing()
    if standing is None:
        raise UsageError(
            "no such repository on the hub, or a private one",
            f"hf://datasets/{name}",
            hint="Check the name; log in with `hf auth login`, or set HF_TOKEN.",
        )
    return Address(f"hf://datasets/{name}@{standing.commit}")


@dataclass(frozen=True, slots=True)
class _Arriving:
    """A file on its way into the folder in which files wait."""

    whole: Path
    part: Path
    sha256: str

    def fetch(self, found: RemoteObject) -> bool:
        """Fetch what is lacking; whether the file then has its digest, and was put in place."""
        with self.part.open("ab") as file:
            if file.tell() > found.size:
                file.truncate(0)
            for start in range(file.tell(), found.size, _AT_ONCE):
                file.write(found.read([(start, min(start + _AT_ONCE, found.size))])[0])
        with self.part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.sha256:
            self.part.unlink()
            return False
        os.rename(self.part, self.whole)
        return True


class _Published:
    """Published files at an address, and the list of them."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.sums = listed(self._list(), str(address / SUMS))

    def fetch(self, names: Sequence[str], waiting: Path) -> Iterator[Path]:
        """Each file in the folder in which files wait, fetched unless it is there."""
        with listening().progress("fetching files") as update:
            for number, name in enumerate(names):
                update(number, len(names), 0)
                yield self._file(name, waiting)
            update(len(names), len(names), 0)

    def _list(self) -> bytes:
        data = StoreFolder(self.address, reads=True).sums()
        if data is None:
            raise UsageError(
                "nothing was published there",
                str(self.address),
                f"a folder with {SUMS}, as dof push makes it",
                hint="A single file is read as it is: dof convert ADDRESS OUT.dof.parquet",
            )
        return data

    def _file(self, name: str, waiting: Path) -> Path:
        sha256 = self.sums[name]
        arriving = _Arriving(waiting / sha256, waiting / f"{sha256}.part", sha256)
        if arriving.whole.exists():
            return arriving.whole
        where = self.address / name
        goes_on = arriving.part.exists()
        if arriving.fetch(RemoteObject(where, 1)):
            return arriving.whole
        # What was there from before may have been of another file, or damaged.
        if goes_on and arriving.fetch(RemoteObject(where, 1)):
            return arriving.whole
        raise SourceError(
            "the file is not the one that was published",
            str(where),
            f"SHA-256 {sha256}",
            "another",
            "Repeat the command; if that does not help, ask whoever published it.",
        )


@contextmanager
def _waiting(target: Path) -> Iterator[Path]:
    """The folder beside an output in which files wait; it goes when the block ends well."""
    folder = sibling(target, "pull")
    with explained(target), locked(sibling(target, "lock"), target):
        os.close(owned.make_folder(folder))
        yield folder
        shutil.rmtree(folder)


def _join(opened: Sequence[Dataset], target: Path, layout: Layout, overwrite: bool) -> None:
    """Write the rows of all files as one, with what each of them says of the whole."""
    about = _common(opened)
    whole, _ = dataset.union(opened, once=False)
    order = pseudonym_order(opened, whole)
    rows = whole if order is None else whole.take(order)
    schema = rows.schema.remove_metadata()
    writer = Writer(target, about, schema=schema, layout=layout, overwrite=overwrite)
    with writer:
        attach_all(writer, errors_of(opened), opened)
        write_rows(writer, rows, schema)


def _common(opened: Sequence[Dataset]) -> dict[str, Json]:
    """What all files say of the dataset; FormatError where they are not of one, or changed."""
    said = [renewed(to_json(each.metadata), opened[0].schema) for each in opened]
    alike = all(each.schema.equals(opened[0].schema, check_metadata=False) for each in opened)
    if not alike or any(each != said[0] for each in said) or any(each.derived for each in opened):
        raise FormatError(
            "the files are not of one dataset as dof push makes it",
            ", ".join(str(each.path) for each in opened),
            "files that differ in their rows alone",
            "others",
            "Read them one by one: dof convert ADDRESS/FILE OUT.dof.parquet",
        )
    return said[0]


def _check_cores(ds: Dataset, files: Mapping[str, Path]) -> None:
    """Raise SourceError for a core that a dataset does not name; files are called by digests."""
    known = {core.sha256 for core in ds.metadata.cores.values()}
    for name, path in files.items():
        if path.name not in known:
            raise SourceError(
                "a core that the dataset does not name",
                name,
                " or ".join(f"SHA-256 {digest}" for digest in sorted(known)) or "none",
                path.name,
                "Do not use it until you know whose it is.",
            )


def _keep_core(path: Path, target: Path, overwrite: bool) -> None:
    """Put a core into the folder beside the dataset in which cores are looked for."""
    target.parent.mkdir(exist_ok=True)
    if _digest_of(target) == path.name:
        return
    with replacing(target, overwrite=overwrite) as out:
        out.write(path.read_bytes())
    listening().say(f"core: {target}")


def _digest_of(path: Path) -> str | None:
    with suppress(FileNotFoundError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None
