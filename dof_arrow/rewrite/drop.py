"""Parts or rows taken out of a directory; nothing counts before the manifest is replaced.

A part that keeps all its rows stays as it is; one that loses some is written anew, without the
errors of the inputs that are dropped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError, few, one_or_more
from dof_arrow.format.append import growing
from dof_arrow.format.directory import Directory
from dof_arrow.format.remote_directory import directory_at
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.carry import renewed, write_rows
from dof_arrow.rewrite.merge import check_whole, layout_of, spare_of
from dof_arrow.storage.addresses import Address, Location, location

_SHOWN = 5


def drop(
    folder: str | os.PathLike[str] | Address, *, parts: Sequence[str] = (), ids: Sequence[str] = ()
) -> Dataset:
    """Take whole parts out of a directory, by file name, or the rows of some ids.

    Ids are those that stand in the dataset: pseudonyms, as a rule. An input that failed is dropped
    from the errors.

    Raises UsageError for parts or ids that are not there, all of them named, or where no rows would
    be left; FormatError for a damaged part; OutputError if another process writes the directory.

    >>> import numpy, tempfile
    >>> from dof_arrow.format.append import append
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.parquet")) as w:
    ...         w.write(ids=["a", "b"], vectors={"feature": numpy.eye(2, dtype="f4")})
    ...     _ = append(Path(folder, "set.dof"), Path(folder, "x.parquet"))
    ...     len(drop(Path(folder, "set.dof"), ids=["a"]))
    1
    """
    path = location(folder)
    parts, ids = one_or_more(parts), one_or_more(ids)
    if not parts and not ids:
        raise UsageError("nothing to drop", str(path), "names of parts, or ids", "none")
    manifest = directory_at(path).manifest
    with growing(path, overwrite=True, speaker=manifest) as growth:
        known = directory_at(path)  # as it is now that nobody else writes it
        left = [part for part in known.parts if part.path.name not in parts]
        _check_names(known, parts)
        wanted = pa.array(list(dict.fromkeys(ids)), pa.string())
        rows = [Dataset(part, slice(0, part.rows)) for part in left]
        _check_ids(path, rows, wanted)
        for part, each in zip(left, rows, strict=True):
            stays = ~_among(each.to_arrow([each.metadata.record.id]).column(0), wanted)
            failed = [error for error in each.errors if error["id"] not in set(ids)]
            if stays.all() and len(failed) == len(each.errors):
                growth.keep(part)
            elif stays.any():
                check_whole(part)
                with spare_of(growth) as spare:
                    _write(each, stays, failed, spare)
                    growth.add(spare, new_ids=True)
        if not growth.parts:
            raise UsageError(
                "no rows would be left",
                str(path),
                "some rows that stay",
                "none",
                "To drop all, remove the directory.",
            )
    return dataset.open(path)


def _check_names(known: Directory, parts: Sequence[str]) -> None:
    there = [part.name for part in known.metadata.parts]
    unknown = [name for name in parts if name not in there]
    if unknown:
        raise UsageError(
            "no such parts",
            str(known.path),
            ", ".join(few(there, _SHOWN)),
            ", ".join(few(unknown, _SHOWN)),
        )


def _check_ids(path: Location, parts: Sequence[Dataset], wanted: pa.Array) -> None:
    """Raise UsageError for ids that are neither rows nor errors of these parts."""
    known = set[str]()
    for part in parts:
        ids = part.to_arrow([part.metadata.record.id]).column(0).unique()
        known.update(ids.filter(_among(ids, wanted)).to_pylist())
        known.update(error["id"] for error in part.errors)
    unknown = [name for name in wanted.to_pylist() if name not in known]
    if unknown:
        raise UsageError(
            "ids that are not there",
            str(path),
            "ids as they stand in the dataset: dof convert shows them",
            f"{len(unknown):,}: {', '.join(few(unknown, _SHOWN))}",
        )


def _among(ids: Any, wanted: pa.Array) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    return np.asarray(pc.is_in(ids.cast(pa.string()), value_set=wanted).to_numpy(False))


def _write(part: Dataset, stays: NDArray[np.bool_], failed: Sequence[Json], out: Path) -> None:
    """The rows of a part that stay, as a part."""
    about = renewed(to_json(part.metadata), part.schema)
    record = part.metadata.record.id
    ids = part.to_arrow([record]).column(0)
    lost = len(ids.unique()) - len(ids.filter(pa.array(stays)).unique())
    _count(about["provenance"], lost, len(part.errors) - len(failed))
    schema = part.schema.remove_metadata()
    with Writer(
        out, about, schema=schema, overwrite=True, layout=layout_of(part.metadata), part=True
    ) as writer:
        for error in failed:
            writer.fail(**error)
        for document in part.metadata.documents:
            writer.attach(document.name, part.document(document.name), document.media_type)
        write_rows(writer, part.take(np.flatnonzero(stays)), schema)


def _count(provenance: Json, rows: int, failed: int) -> None:
    """Count the inputs without those that are dropped."""
    if "inputs" in provenance:
        provenance["inputs"] -= rows + failed
    if provenance.get("failed"):
        provenance["failed"] -= failed
