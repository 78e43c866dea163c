"""Small DoF files for tests: seeded vectors, ids of one width, many row groups at little cost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer

PAGE = 4096  # the alignment that maps on every system with pages of 4 KiB
ROOT = Path(__file__).resolve().parents[2]


def ids(rows: int) -> list[str]:
    """Names of one width."""
    return [f"r{i:07d}" for i in range(rows)]


def vectors(rows: int, *shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray[Any, Any]:
    """Seeded normal numbers."""
    return np.random.default_rng(seed).normal(size=(rows, *shape)).astype(dtype)


def group_rows(*widths: int) -> int:
    """The smallest number of rows that fills whole pages of every column of these widths in bytes."""
    return max(PAGE // np.gcd(w, PAGE) for w in widths)


def write(
    path: Path,
    rows: int,
    feature: Mapping[str, np.ndarray[Any, Any]] | np.ndarray[Any, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    *,
    group: int = 1 << 20,
    align: int = PAGE,
    cuts: Sequence[int] = (),
    schema: pa.Schema | None = None,
    metadata: Any = None,
    **options: Any,
) -> Path:
    """A file of `rows` rows, written in batches that end at `cuts`."""
    feature = vectors(rows, 4) if feature is None else feature
    wide = feature if isinstance(feature, Mapping) else {"feature": feature}
    names, columns, ends = ids(rows), columns or {}, [*sorted(cuts), rows]
    with Writer(
        path, metadata, schema=schema, geometry=Geometry(group, align), overwrite=True, **options
    ) as writer:
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            writer.write(
                ids=names[start:end],
                vectors={k: v[start:end] for k, v in wide.items()},
                columns={k: v[start:end] for k, v in columns.items()},
            )
    return path


@contextmanager
def unruled() -> Iterator[None]:
    """Let the Writer seal what the validator reports, as a careless program might."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "_check", lambda self, *checked: None)
        yield


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
