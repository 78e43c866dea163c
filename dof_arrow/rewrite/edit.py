"""The information section of a file rewritten; its data are copied as bytes and not read.

The new file is made beside the old one (`reassemble`), and the rename puts it in the old one's
place. A file whose seal is false is not edited, because a new seal would hide that.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, FormatError, OutputError, Problem, UsageError
from dof_arrow.format.file import File, open_file
from dof_arrow.format.parquet.footer import Struct
from dof_arrow.format.spec import metadata, references
from dof_arrow.format.spec.json_diff import Change, changes
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import Contact
from dof_arrow.rewrite.edit_check import editable_footer, is_signed
from dof_arrow.rewrite.edit_documents import (
    EditedDocument,
    comparable,
    edited_documents,
    expected_entries,
)
from dof_arrow.rewrite.metadata_edit import Wanted, remarks, revised, section
from dof_arrow.rewrite.reassemble import reassemble
from dof_arrow.storage.addresses import on_disk
from dof_arrow.storage.atomic import replacing
from dof_arrow.storage.copy import blocks

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPlan:
    """An edit that may be carried out: what it changes, and all that the new file is made of."""

    source: File
    footer: Struct
    value: Json
    documents: Sequence[EditedDocument]
    changes: Sequence[Change]


def edit(
    path: PathLike,
    *,
    set: Mapping[str, Json] | None = None,
    unset: Sequence[str] = (),
    info: Mapping[str, Json] | PathLike | None = None,
    contacts: Sequence[Contact | Mapping[str, Json]] = (),
    training: Mapping[str, Json] | PathLike | None = None,
    performance: Mapping[str, Json] | PathLike | None = None,
    attach: Sequence[PathLike] = (),
    detach: Sequence[str] = (),
    out: PathLike | None = None,
    overwrite: bool = False,
    drop_signature: bool = False,
) -> Dataset:
    """Rewrite what a file says of itself, in place or as `out`; returns the file, opened.

    `Wanted` says what each argument does; sections may be given as JSON files. Data are copied as
    bytes and neither read nor digested, and damage in them stays detectable. uuid, provenance, mode
    bits and, where the system allows it, the owner are kept. An edit that changes nothing writes
    nothing.

    Raises UsageError for what cannot be set, FormatError for a file that is not whole (its seal is
    false or absent, an attachment is damaged), OutputError if the new file cannot be written or the
    old one is signed and `drop_signature` is not given.

    >>> import numpy, tempfile
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.dof.parquet")) as w:
    ...         w.write(ids=["a"], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...     edit(Path(folder, "x.dof.parquet"), set={"title": "One row"}).metadata.info.title
    'One row'
    """
    wanted = Wanted(
        info=_mapping(info),
        unset=unset,
        set=set or {},
        contacts=contacts,
        training=_mapping(training),
        performance=_mapping(performance),
        detach=detach,
        attach=attach,
    )
    plan = prepare(path, wanted, drop_signature=drop_signature)
    return carry_out(plan, out, overwrite=overwrite)


def prepare(path: PathLike, wanted: Wanted, *, drop_signature: bool = False) -> EditPlan:
    """What an edit would change; nothing is written.

    Warns (DofWarning) of licences and sections of unusual form. Raises as `edit` does.
    """
    source = File(Path(os.path.realpath(on_disk(path))))  # a link goes on pointing at the file
    struct = editable_footer(source, drop_signature=drop_signature)
    documents = edited_documents(source, wanted)
    value = revised(source.json, wanted)
    _check_metadata(value, documents, on_disk(source.path))
    before = comparable(source.json, source.json.get("documents", []))
    found = changes(before, comparable(value, documents))
    if is_signed(struct):
        found.append(Change(where="signature", old="signed", new=None))
    for remark in remarks(found, value):
        warnings.warn(remark, DofWarning, stacklevel=2)
    return EditPlan(source=source, footer=struct, value=value, documents=documents, changes=found)


def carry_out(plan: EditPlan, out: PathLike | None = None, *, overwrite: bool = False) -> Dataset:
    """Write the edited file in the old one's place, or as `out`, atomically; returns it, opened."""
    target = on_disk(plan.source.path) if out is None else Path(out)
    if out is None and not plan.changes:
        return dataset.open(target)
    mode = stat.S_IMODE(os.fstat(plan.source.file).st_mode)
    with replacing(target, overwrite=overwrite or out is None, mode=mode) as output:
        if out is None:
            _refuse_replaced(plan.source)
        reassemble(plan.source, plan.footer, plan.value, plan.documents, output)
        _give_owner(plan.source.file, output.file)
    return dataset.open(target)


def read_json(path: PathLike) -> dict[str, Json]:
    """The JSON object in a file; UsageError if there is none."""
    file = open_file(Path(path))
    try:
        size = os.fstat(file).st_size
        # One byte more than allowed is enough for `parse` to refuse the file.
        data = b"".join(blocks(file, 0, min(size, metadata.MAX_BYTES + 1)))
        return dict(metadata.parse(data))
    except FormatError as error:
        found = error.problems[0].found
        raise UsageError("not readable as JSON", str(path), "an object", found) from None
    finally:
        os.close(file)


def _mapping(given: Mapping[str, Json] | PathLike | None) -> Mapping[str, Json] | None:
    if given is None or isinstance(given, Mapping):
        return given
    return read_json(given)


def _check_metadata(value: Json, documents: Sequence[EditedDocument], path: Path) -> None:
    """Check new metadata as a reader will check them, documents included.

    Raises UsageError for what is no JSON, FormatError for what is not valid.
    """
    complete: Json = section(value, "documents", expected_entries(documents))
    try:
        metadata.parse(metadata.encode(complete))
        found: list[Problem] = list(metadata.problems(complete))
        if not found:
            found = list(references.references(metadata.from_json(complete)))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError("a value that is no JSON", str(path), found=str(error)[:200]) from None
    if found:
        raise FormatError("the metadata would not be valid", str(path), problems=found)


def _refuse_replaced(source: File) -> None:
    # Another edit may have been committed between opening the file and locking it; its changes
    # must not be lost.
    if not os.path.samestat(os.stat(on_disk(source.path)), os.fstat(source.file)):
        raise OutputError(
            "the file was replaced by another process meanwhile",
            str(source.path),
            hint="Repeat the command.",
        )


def _give_owner(old: int, new: int) -> None:
    """Give a new file the owner and group of an old one where the system allows it.

    That comes last: what a kill leaves while it is written is ours, or else the next edit would
    be refused.
    """
    like = os.fstat(old)
    with suppress(OSError):
        os.fchown(new, -1, like.st_gid)
    with suppress(OSError):
        os.fchown(new, like.st_uid, -1)
