"""Makes the corpus: `python -m tests.conformance.make [FOLDER]`. The same versions make the same bytes.

Files that stand already are of a released version and are never changed: only absent ones are written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dof_arrow.format.parquet.row_groups import generator
from dof_arrow.format.spec.json_model import Json
from tests.conformance.directories import DIRECTORIES, Files, directory
from tests.conformance.invalid import INVALID
from tests.conformance.valid import VALID

HERE = Path(__file__).parent


def made() -> Iterator[tuple[str, bytes | Files, Json]]:
    """Every file or directory of the corpus: its name, its bytes (of each of its files), and what stands beside it."""
    for name, build in VALID.items():
        data, about = build()
        yield f"valid/{name}.parquet", data, {**about, "generator": generator()}
    for name, (broken, rules, deep) in INVALID.items():
        yield f"invalid/{name}.parquet", broken(), _told(rules, deep)
    files, about = directory()
    yield "valid/directory.dof", files, {**about, "generator": generator()}
    for name, (wrong, rules, deep) in DIRECTORIES.items():
        yield f"invalid/{name}.dof", wrong(), _told(rules, deep)


def stored(path: Path) -> bytes | Files:
    """What stands in the corpus under a name."""
    return {p.name: p.read_bytes() for p in path.iterdir()} if path.is_dir() else path.read_bytes()


def main(folder: Path = HERE) -> None:
    """Write what is absent."""
    for name, data, about in made():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write(path, data)
            path.with_suffix(".json").write_text(
                json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8"
            )


def _write(path: Path, data: bytes | Files) -> None:
    if isinstance(data, bytes):
        path.write_bytes(data)
        return
    path.mkdir()
    for name, content in data.items():
        (path / name).write_bytes(content)


def _told(rules: Sequence[str], deep: Sequence[str]) -> Json:
    return {"rules": sorted(rules), "deep": sorted(deep), "generator": generator()}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
