"""Which inputs failed, by their own names, in a file that stays with the owner."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from dof_arrow.extraction.run import Extraction
from dof_arrow.storage import owned
from dof_arrow.storage.atomic import explained, replacing
from dof_arrow.storage.csv_cells import guarded
from dof_arrow.system import own_folder


def keep(run: Extraction, errors: Sequence[Mapping[str, str]]) -> Path:
    """Write the table `id,input,rule,reason` of a run's failures; returns its file, one a run.

    It is never part of a dataset. It lies under `$XDG_STATE_HOME/dof-arrow` or
    `~/.local/state/dof-arrow`, readable by its owner only. Raises OutputError if it cannot be
    written.
    """
    path = own_folder("XDG_STATE_HOME", ".local/state") / f"failed-{run.run_digest[:16]}.csv"
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "input", "rule", "reason"])
    known = _inputs(run, {error["id"] for error in errors})
    for error in errors:
        own_name = known.get(error["id"], "")
        texts = [error["id"], own_name, error["rule"], error["reason"]]
        writer.writerow([guarded(text) for text in texts])
    with explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path, overwrite=True, mode=owned.FILE) as file:
            file.write(out.getvalue().encode())
    return path


def _inputs(run: Extraction, wanted: set[str]) -> dict[str, str]:
    """The own name of each of these ids."""
    keys = run.table.keys
    names = run.table.names(range(len(keys)))
    return {name: key for name, key in zip(names, keys, strict=True) if name in wanted}
