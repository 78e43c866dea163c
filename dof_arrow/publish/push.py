"""A dataset put on a hub or a store, private unless asked for otherwise.

All is made on this machine first. Only what is not there is sent, so a push that was killed ends
whole when it is repeated. On the hub all files are one commit; on a store the list of files,
`SHA256SUMS`, comes last. Then it is compared with what was to be sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import OutputError, UsageError
from dof_arrow.progress import listening
from dof_arrow.publish.audit_line import audit_line
from dof_arrow.publish.hub_repository import HubRepository, Standing
from dof_arrow.publish.published_files import SUMS, PublishedFile, listed
from dof_arrow.publish.split_files import is_data_file
from dof_arrow.publish.staged import README, Layout, PathLike, Wanted, stage
from dof_arrow.publish.store_folder import StoreFolder
from dof_arrow.publish.targets import hub_name, place_of
from dof_arrow.storage.addresses import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What was put where: the files of `address`, and which of them were `sent`.

    `commit` is the hub's name for them; `public`: whether everybody may read them there; `audit` is
    the line on the audit; `texts` are README and description.
    """

    address: str
    files: Sequence[PublishedFile]
    sent: Sequence[str]
    audit: str
    public: bool = False
    commit: str | None = None
    texts: Mapping[str, str]


def push(
    data: Dataset | PathLike,
    to: PathLike | Address,
    *,
    public: bool = False,
    with_core: bool = False,
    core: Sequence[PathLike] = (),
    layout: Layout = "compact",
    card: PathLike | None = None,
    filesystem: Any = None,
    dry_run: bool = False,
) -> Pushed:
    """Put a dataset on a hub or a store, a file for each split, with README and description.

    `to` is `hf://OWNER/NAME` (extra `hub`), an address of a folder on a store (`s3://`, `gs://`,
    `az://`; extra `remote`), or a folder, on this machine or in a `filesystem` of pyarrow or
    fsspec. `with_core` publishes the cores with it, each found by its digest beside the dataset, in
    the cache or beside one of the files `core`. `card` is an HTML file. `dry_run` makes the files
    and sends nothing.

    `public` lets everybody read a repository; it needs licence and contact. Raises UsageError for
    what cannot be published, FormatError for a damaged dataset, CoreError for a core that was not
    found, OutputError where the hub or the store refuses, or has something else.

    >>> import numpy, tempfile
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.dof.parquet")) as w:
    ...         w.write(ids=["a"], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...     done = push(Path(folder, "x.dof.parquet"), Path(folder, "shared"))
    >>> list(done.sent)
    ['data-00000-of-00001.parquet', 'croissant.json', 'README.md', 'SHA256SUMS']
    """
    ds = data if isinstance(data, Dataset) else dataset.open(data)
    target = _target(to, filesystem)
    if public:
        check_public(ds)
    _tell_of_names(ds)
    wanted = Wanted(
        layout=layout,
        card=card,
        cores=with_core or bool(core),
        core_files=[Path(path) for path in core],
        address=_told(target),
        page=None if isinstance(target, Address) else target.page,
    )
    standing = None
    if isinstance(target, HubRepository) and not dry_run:
        standing = target.standing()
        _check_visibility(target, standing, public)
    with _made(ds, wanted) as made:
        made = replace(made, address=_where(target))
        if dry_run:
            return made
        if isinstance(target, Address):
            return _to_store(StoreFolder(target), made)
        return _to_hub(target, standing, made, public)


def check_public(ds: Dataset) -> None:
    """Raise UsageError unless a dataset says who may do what with it, and whom to ask."""
    info = ds.metadata.info
    where = str(ds.path)
    lacking = {}
    if not info.license:
        lacking["a licence"] = "--set license=CC-BY-4.0"
    if not any(contact.email or contact.orcid for contact in info.contacts):
        lacking["a contact"] = "--contact 'name=YOUR NAME,email=YOUR@ADDRESS'"
    if lacking:
        raise UsageError(
            "what everybody may read says who may use it, and whom to ask",
            where,
            "a licence, and a contact with an address",
            f"without {' and '.join(lacking)}",
            f"For example: dof edit {where} {' '.join(lacking.values())}",
        )


def _tell_of_names(ds: Dataset) -> None:
    """Say so where ids may be the names of files, and so of people."""
    if ds.metadata.pseudonyms is None:
        listening().say("Note: the ids are no pseudonyms, as far as the file says.")


def _target(to: PathLike | Address, filesystem: Any) -> HubRepository | Address:
    place = place_of(to, filesystem)
    name = hub_name(place)
    return place if name is None else HubRepository(name)


def _where(target: HubRepository | Address) -> str:
    return str(target) if isinstance(target, Address) else target.where


def _told(target: HubRepository | Address) -> str:
    """What README calls the place; a path of this machine is nobody else's business."""
    if isinstance(target, HubRepository):
        return f"hf://{target.name}"
    return str(target) if target.filesystem is None else "FOLDER"


@contextmanager
def _made(ds: Dataset, wanted: Wanted) -> Iterator[Pushed]:
    """All files, in a folder that goes when the block ends."""
    with TemporaryDirectory(prefix="dof-push-") as folder:
        files = stage(ds, Path(folder), wanted)
        texts = {}
        for file in files:
            if file.name.endswith((".md", ".json")):
                texts[file.name] = file.path.read_text("utf-8")
        yield Pushed(
            address=wanted.address,
            files=files,
            sent=[],
            audit=audit_line(ds.metadata),
            texts=texts,
        )


def _to_store(folder: StoreFolder, made: Pushed) -> Pushed:
    """Put files into a folder, in their order; those that stand there are not sent."""
    sums = made.files[-1]
    known = folder.sums()
    if known is not None and hashlib.sha256(known).hexdigest() != sums.sha256:
        raise OutputError(
            "another dataset stands there",
            str(folder.address),
            hint="Nothing is replaced there: give another name.",
        )
    if known is not None and all(folder.size(file.name) == file.size for file in made.files):
        return made
    sent = []
    with listening().progress("sending files") as update:
        for number, file in enumerate(made.files):
            update(number, len(made.files), 0)
            if not folder.holds(file):
                folder.put(file)
                sent.append(file.name)
        update(len(made.files), len(made.files), 0)
    return replace(made, sent=sent)


def _check_visibility(target: HubRepository, standing: Standing | None, public: bool) -> None:
    if standing is not None and not standing.private and not public:
        raise UsageError(
            "everybody may read this repository",
            target.where,
            "a private one",
            "a public one",
            "If the dataset is for everybody: --public. Else give another name.",
        )


def _to_hub(target: HubRepository, standing: Standing | None, made: Pushed, public: bool) -> Pushed:
    """Send files, and make them one commit; a repository becomes public when all is there."""
    there = standing or target.create()
    new = [file for file in made.files if not _holds(there, file)]
    removed = _check_replaced(target, there, made.files)
    commit = target.put(new, removed, there) if new or removed else there.commit
    found = replace(there, files=target.files(commit))
    wrong = [file.name for file in made.files if not _holds(found, file)]
    if wrong:
        raise OutputError(
            "the hub has other files than were sent",
            target.where,
            found=", ".join(wrong),
            hint="Repeat the command; a .gitignore there may leave files out.",
        )
    if public and there.private:
        target.make_public()
    is_public = public or not there.private
    sent = [file.name for file in new]
    return replace(made, sent=sent, commit=commit, public=is_public)


def _holds(standing: Standing, file: PublishedFile) -> bool:
    kept = standing.files.get(file.name)
    return kept is not None and kept.holds(file)


def _check_replaced(
    target: HubRepository, there: Standing, files: Sequence[PublishedFile]
) -> list[str]:
    """Which files of an earlier push go; OutputError where README.md is of somebody else's making.

    The hub keeps what goes in its history.
    """
    names = {file.name for file in files}
    before = _listed_before(target, there)
    readme = there.files.get(README)
    ours = next(file for file in files if file.name == README)
    if readme is not None and not readme.holds(ours):
        data = target.read(README, there)
        if hashlib.sha256(data).hexdigest() != before.get(README):
            raise OutputError(
                "the README.md there is not as a push wrote it",
                f"{target.where}/{README}",
                hint="Keep a copy of it, remove it there, and repeat the command.",
            )
    gone = [name for name in there.files if name in before or is_data_file(name)]
    return sorted(set(gone) - names)


def _listed_before(target: HubRepository, there: Standing) -> dict[str, str]:
    if SUMS not in there.files:
        return {}
    return listed(target.read(SUMS, there), f"{target.where}/{SUMS}")
