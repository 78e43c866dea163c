"""The actions that every fault is tried on: whatever writes a file joins this table."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dof_arrow.core import Core
from dof_arrow.extract import Extraction
from dof_arrow.writer import Writer
from tests.faults import Scenario

PICTURES = 150  # five blocks


class Noise:
    """A source of small seeded pictures in memory, one of which is broken."""

    targets: dict[str, Any] = {}  # noqa: RUF012
    kept: dict[str, str] = {}  # noqa: RUF012
    has_group = has_split = False

    def __len__(self) -> int:
        return PICTURES

    def __getitem__(self, index: int) -> Any:
        from dof_arrow.source import Sample

        return Sample(key=f"{index:04d}", data=_picture(index))


@cache
def _picture(index: int) -> bytes:
    pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)
    return b"broken" if index == 70 else b"P6 8 8 255 " + pixels.tobytes()


@cache
def core() -> Core:
    from dof_arrow import builtin

    return builtin.load(pool="1x1")


def _extract(folder: Path) -> None:
    Extraction(source=Noise(), cores={"feature": core()}, out=folder / "x.dof.parquet", id_key=bytes(32),
               overwrite=True, workers=2).run()


def _old(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with Writer(folder / "x.dof.parquet", overwrite=True) as writer:
        writer.write(ids=["old"], vectors={"feature": np.ones((1, 8), "f4")})


def _nothing(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _write(folder: Path) -> None:
    with Writer(folder / "x.dof.parquet", overwrite=True) as writer:
        for start in range(0, 300, 50):
            values = np.arange(start * 64, (start + 50) * 64, dtype="f4").reshape(50, 64)
            writer.write(ids=[f"{i:026d}" for i in range(start, start + 50)], vectors={"feature": values})


SCENARIOS = (
    Scenario("extract", _nothing, _extract, ("x.dof.parquet",)),
    Scenario("extract over an old file", _old, _extract, ("x.dof.parquet",)),
    Scenario("write over an old file", _old, _write, ("x.dof.parquet",)),
)
