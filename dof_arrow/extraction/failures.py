"""What stays with the owner: which inputs failed, by their own names, in a file that is never part of a dataset."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from dof_arrow.extraction.run import Extraction
from dof_arrow.storage import owned
from dof_arrow.storage.atomic import explained, replacing
from dof_arrow.system import own_folder


def keep(run: Extraction, errors: Sequence[Mapping[str, str]]) -> Path:
    """Write the table `id,input,rule,reason` of a run's failures; returns the file, one for each run.

    It lies under `$XDG_STATE_HOME/dof-arrow` or `~/.local/state/dof-arrow`, readable by its owner only. Raises
    OutputError if it cannot be written.
    """
    path = own_folder("XDG_STATE_HOME", ".local/state") / f"failed-{run.run_digest[:16]}.csv"
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "input", "rule", "reason"])
    known = _inputs(run, {error["id"] for error in errors})
    writer.writerows([e["id"], known.get(e["id"], ""), e["rule"], e["reason"]] for e in errors)
    with explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path, overwrite=True, mode=owned.FILE) as file:
            file.write(out.getvalue().encode())
    return path


def _inputs(run: Extraction, wanted: set[str]) -> dict[str, str]:
    """The own name of each of these ids."""
    keys = run.keys
    return {
        name: key
        for name, key in zip(run.names(range(len(keys))), keys, strict=True)
        if name in wanted
    }
