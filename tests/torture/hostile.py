"""Files made to break readers, opened, read and validated, each in a process of its own that is measured.

`python -m tests.torture.hostile FOLDER...` prints one line of JSON a file: the processor seconds of its slowest trial,
peak MiB, the signal that ended it (0), what came of it, and any fault of ours. Parquet files without our metadata
would be refused at once; so each is tried a second time with metadata put in that describes its columns, sealed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.compute
import pyarrow.parquet  # noqa: F401 - these load before the clock runs

from dof_arrow.dataset import dataset
from dof_arrow.errors import DofError
from dof_arrow.format.validation.validate import validate
from tests.torture.dress import dressed

with suppress(ImportError):
    import pandas  # noqa: F401 - pyarrow loads it where it is


def tried(path: Path) -> dict[str, Any]:
    """The rules that a file breaks, the error of opening it, and the processor seconds that the slowest trial took."""
    found, seconds = set[str](), list[float]()
    for attempt in (_shallow, _deep, _opened):
        start = time.process_time()
        found.update(attempt(path))
        seconds.append(time.process_time() - start)
    return {"seconds": round(max(seconds), 3), "result": " ".join(sorted(found))}


def _shallow(path: Path) -> Iterator[str]:
    return (p.rule for p in validate(path))


def _deep(path: Path) -> Iterator[str]:
    return (p.rule for p in validate(path, deep=True))


def _opened(path: Path) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.open(path).to_arrow()
    except DofError as error:
        return [type(error).__name__]
    return []


def measured(path: Path) -> dict[str, Any]:
    """A file tried in a child process: what came of it, its peak memory and the signal that ended it."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _report(path, write)
    os.close(write)
    _, status, usage = os.wait4(child, 0)
    with os.fdopen(read, encoding="utf-8") as pipe:
        told = json.loads(pipe.read() or "{}")
    return {"file": path.name, "mib": usage.ru_maxrss >> 10, "signal": os.WTERMSIG(status), **told}


def _report(path: Path, write: int) -> None:
    try:
        told = tried(path)
    except BaseException as error:
        told = {"fault": f"{type(error).__name__}: {error}"[:400]}
    os.write(write, json.dumps(told).encode())
    os._exit(0)


def tried_all(folders: list[Path]) -> Iterator[dict[str, Any]]:
    """Every file of the folders, as it is and dressed."""
    with tempfile.TemporaryDirectory() as scratch:
        for path in sorted(p for folder in folders for p in folder.rglob("*") if p.is_file()):
            yield measured(path)
            if (data := dressed(path.read_bytes())) is not None:
                second = Path(scratch, f"dressed-{path.name}")
                second.write_bytes(data)
                yield measured(second)


if __name__ == "__main__":
    for line in tried_all([Path(a) for a in sys.argv[1:]]):
        print(json.dumps(line), flush=True)
