"""Makes the corpus: `python -m tests.conformance.make [FOLDER]`. The same versions make the same bytes.

Files that stand already are of a released version and are never changed: only absent ones are written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dof_arrow.metadata import Json
from dof_arrow.place import generator
from tests.conformance.invalid import INVALID
from tests.conformance.valid import VALID

HERE = Path(__file__).parent


def made() -> Iterator[tuple[str, bytes, Json]]:
    """Every file of the corpus: its name without ending, its bytes, and what stands beside it."""
    for name, build in VALID.items():
        data, about = build()
        yield f"valid/{name}", data, {**about, "generator": generator()}
    for name, (broken, rules, deep) in INVALID.items():
        yield f"invalid/{name}", broken(), {"rules": sorted(rules), "deep": sorted(deep), "generator": generator()}


def main(folder: Path = HERE) -> None:
    """Write what is absent."""
    for name, data, about in made():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(data)
            path.with_suffix(".json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
