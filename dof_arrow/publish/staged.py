"""What is to be published, made in a folder of this machine: equal datasets give equal bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dof_arrow.cores.find_cores import find_cores
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec.metadata import CoreMetadata
from dof_arrow.progress import listening
from dof_arrow.publish import croissant, hub_readme
from dof_arrow.publish.croissant import RecordFile
from dof_arrow.publish.descriptions import as_text
from dof_arrow.publish.published_files import SUMS, PublishedFile, list_text
from dof_arrow.publish.spdx import license_url
from dof_arrow.publish.split_files import SplitRows, split_rows
from dof_arrow.rewrite.convert import save_file
from dof_arrow.storage.atomic import replacing
from dof_arrow.system import open_file
from dof_arrow.tables import selection

Layout = Literal["mapped", "compact"]
PathLike = str | os.PathLike[str]

README = "README.md"
CROISSANT = "croissant.json"
CARD = "card.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be published with the rows, and how.

    `cores`: the cores themselves; `core_files` are where they are, if not beside the dataset or in
    the cache. `address` is where the dataset will be, `page` its page there.
    """

    layout: Layout = "compact"
    card: PathLike | None = None
    cores: bool = False
    core_files: Sequence[Path] = ()
    address: str = "hf://OWNER/NAME"
    page: str | None = None


def stage(ds: Dataset, folder: Path, wanted: Wanted) -> list[PublishedFile]:
    """Make all files in a folder; the last of them lists the others.

    Raises UsageError for what cannot be published, FormatError for a damaged dataset, CoreError
    where a core that is wanted was not found, OutputError if the disk is full.
    """
    _check(ds)
    cores = _found_cores(ds, wanted)
    splits = split_rows(ds)
    files = list(_data_files(splits, folder, wanted.layout))
    records = []
    for each, file in zip(splits, files, strict=True):
        records.append(RecordFile(file=file, record_set=each.hub_name, rows=len(each.rows)))
    described = croissant.described(ds, records, wanted.page)
    texts = _licences(ds.metadata.cores.values(), cores)
    texts[CROISSANT] = as_text(described)
    if wanted.card is not None:
        texts[CARD] = _card(wanted.card)
    texts[README] = hub_readme.text(ds, splits, wanted.address)
    for name, data in cores.items():
        files.append(_written(folder, name, data))
    files += [_written(folder, name, text.encode()) for name, text in texts.items()]
    return [*files, _written(folder, SUMS, list_text(files).encode())]


def _check(ds: Dataset) -> None:
    """Raise an error unless the rows may be published: whole, sealed, none of a part of a run."""
    where = str(ds.path)
    if not len(ds):
        raise UsageError("nothing to publish", where, "one row or more", "none")
    if ds.derived:
        raise FormatError(
            "only sealed files are published",
            where,
            "a true seal",
            hint=f"See what is wrong: dof validate {where}",
        )
    said = ds.metadata.provenance
    if said is not None and said.partition is not None:
        raise UsageError(
            "a part of a run is not published",
            where,
            "the whole",
            f"partition {said.partition.index} of {said.partition.of}",
            "First put the parts together: dof merge",
        )
    for file in selection.files(ds.table):
        file.check()  # a new seal would hide damage


def _data_files(
    splits: Sequence[SplitRows], folder: Path, layout: Layout
) -> Iterator[PublishedFile]:
    """A file of each split; the errors stand in the first of them alone."""
    with listening().progress("making files") as update:
        for number, each in enumerate(splits):
            update(number, len(splits), 0)
            path = folder / each.file
            save_file(each.rows, path, layout=layout, errors=[] if number else None)
            yield PublishedFile.of(each.file, path)
        update(len(splits), len(splits), 0)


def _found_cores(ds: Dataset, wanted: Wanted) -> dict[str, bytes]:
    """The bytes of each core, by the name of its file; none where they are not wanted."""
    if not wanted.cores:
        return {}
    about = {core.sha256: core for core in ds.metadata.cores.values()}
    if not about:
        raise UsageError("the dataset names no core", str(ds.path), "a core, for --with-core")
    folders = [path.parent for path in wanted.core_files]
    if isinstance(ds.path, Path):
        folders.append(ds.path.absolute().parent)
    found = {}
    for core in find_cores(about, folders, str(ds.path)):
        found[_core_file(about[core.sha256])] = core.data
    return found


def _core_file(core: CoreMetadata) -> str:
    """The name of a core's file: its own, as far as files may be called so, and its digest."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", core.name).strip(".-")[:80] or "core"
    return f"core/{plain}-{core.sha256[:8]}.onnx"


def _licences(about: Iterable[CoreMetadata], cores: Mapping[str, bytes]) -> dict[str, str]:
    """A text for each core that is published: its licence, and what it was made of."""
    texts = {}
    for core in about:
        name = _core_file(core)
        if name in cores:
            stated = core.license or "NOASSERTION"
            lines = [f"SPDX-License-Identifier: {stated}", f"Core: {core.name}"]
            lines.append(f"Made of: {core.source or 'not said'}")
            if core.license:
                lines.append(f"Text: {license_url(core.license)}")
            texts[f"{name.removesuffix('.onnx')}.license.txt"] = "\n".join(lines) + "\n"
    return texts


def _card(path: PathLike) -> str:
    try:
        with open_file(Path(path)) as file:
            return file.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the card cannot be read", os.fspath(path), "an HTML file", type(error).__name__
        ) from None


def _written(folder: Path, name: str, data: bytes) -> PublishedFile:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as out:
        out.write(data)
    return PublishedFile.of(name, path)
