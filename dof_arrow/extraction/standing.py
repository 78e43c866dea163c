"""Inputs that a directory has already: they are passed over when it is extended."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.extraction.output_table import OutputTable
from dof_arrow.format.directory import MANIFEST
from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.sources import input_table
from dof_arrow.sources.folder import Files
from dof_arrow.sources.remaining import only
from dof_arrow.storage import upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How many inputs have rows already, and how many failed before.

    `changed`: how many files of these were changed after the directory was.
    """

    rows: int = 0
    failed: int = 0
    changed: int = 0

    def __bool__(self) -> bool:
        return bool(self.rows or self.failed)

    @property
    def remarks(self) -> list[str]:
        """What to know of inputs that are passed over."""
        if not self.changed:
            return []
        return [
            f"{self.changed:,} files were changed after they were added; their rows stand as they "
            "were"
        ]


def without_standing(table: OutputTable, known: Dataset) -> tuple[OutputTable, Standing]:
    """The table of the inputs that a dataset does not have, and how many it has.

    Known is whose id stands in it, as a row or among its errors. A column in which the dataset may
    lack values may do so in the new rows, too.
    """
    names = table.ids_of_inputs
    rows = _stand(names, known.to_arrow([known.metadata.record.id]).column(0))
    failed = _stand(names, pa.array([error["id"] for error in known.errors], pa.string())) & ~rows
    standing = rows | failed
    lacking = frozenset(
        field.name for field in known.schema if field.nullable and not is_vector(field)
    )
    new = replace(table, lacking=lacking)
    if not standing.any():
        return new, Standing()
    changed = _changed(table, np.flatnonzero(standing), known)
    new = replace(new, source=only(table.source, np.flatnonzero(~standing).tolist()))
    return new, Standing(rows=int(rows.sum()), failed=int(failed.sum()), changed=changed)


def _stand(names: pa.Array, known: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    found = pc.is_in(names, value_set=known.unique().cast(pa.string()))
    return np.asarray(found.to_numpy(zero_copy_only=False))


def _changed(table: OutputTable, standing: NDArray[np.int64], known: Dataset) -> int:
    """How many files of these inputs are newer than the manifest, where each is its own file."""
    if not isinstance(table.source, Files):
        return 0
    written = upload.written(known.path / MANIFEST)
    files = input_table.files(only(table.source, standing.tolist()))
    return sum(status.st_mtime_ns > written for status in files)
