"""The actions that every fault is tried on: whatever writes a file joins this table."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import dof_arrow as dof
from dof_arrow.cores.core import Core
from dof_arrow.errors import UsageError
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer
from tests.support.faults import Scenario

PICTURES = 120  # four blocks


class Noise:
    """A source of small seeded pictures in memory, one of which is broken."""

    targets: dict[str, Any] = {}
    kept: dict[str, str] = {}
    has_group = has_split = False

    def __len__(self) -> int:
        return PICTURES

    def __getitem__(self, index: int) -> Any:
        from dof_arrow.sources.sample import Sample

        return Sample(key=f"{index:04d}", data=_picture(index))


@cache
def _picture(index: int) -> bytes:
    pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)
    return b"broken" if index == 40 else b"P6 8 8 255 " + pixels.tobytes()


@cache
def core() -> Core:
    from dof_arrow.cores import builtin

    return builtin.load(pool="1x1")


def _extract(folder: Path) -> None:
    dof.extract(
        Noise(),
        core=core(),
        out=folder / "x.dof.parquet",
        id_key=bytes(32),
        overwrite=True,
        workers=2,
    )


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
            writer.write(
                ids=[f"{i:026d}" for i in range(start, start + 50)], vectors={"feature": values}
            )


def _edit(folder: Path) -> None:
    dof.edit(
        folder / "x.dof.parquet", set={"title": "new"}, attach=[__file__] if _plain(folder) else []
    )


def _plain(folder: Path) -> bool:
    return not dof.open(folder / "x.dof.parquet").metadata.documents


def _source(folder: Path) -> None:
    """A file of two groups to be converted, or to be added."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.arange(600 * 64, dtype="f4").reshape(600, 64)
    with Writer(folder / "new.parquet", overwrite=True, geometry=Geometry(512, 65_536)) as writer:
        writer.write(ids=[f"{i:026d}" for i in range(600)], vectors={"feature": values})
        writer.fail("lost", "truncated", "the picture ends too soon")


def _old_and_source(folder: Path) -> None:
    _old(folder)
    _source(folder)


def _convert(folder: Path) -> None:
    dof.convert(folder / "new.parquet", folder / "x.dof.parquet", layout="compact", overwrite=True)


def _split(folder: Path) -> None:
    dof.convert(folder / "new.parquet", folder / "x.dof", rows_per_part=256, overwrite=True)


def _directory(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with Writer(folder / "old.parquet") as writer:
        writer.write(ids=["old" + "0" * 23], vectors={"feature": np.ones((1, 64), "f4")})
    dof.append(folder / "x.dof", folder / "old.parquet")
    (folder / "old.parquet").unlink()
    _source(folder)


def _append(folder: Path) -> None:
    with suppress(UsageError):  # the dataset holds these rows already
        dof.append(folder / "x.dof", folder / "new.parquet")


def _extract_into(folder: Path) -> None:
    dof.extract(Noise(), core=core(), out=folder / "x.dof", id_key=bytes(32), workers=2)


def rows(folder: Path) -> Any:
    """The rows of the directory `x.dof`, if it is there: what must be old or new as a whole."""
    if not (folder / "x.dof").exists():
        return None
    ds = dof.open(folder / "x.dof")
    assert {part.name for part in ds.metadata.parts} <= {
        p.name for p in (folder / "x.dof").iterdir()
    }
    return ds.to_numpy("id").tolist(), ds.to_numpy().tobytes(), len(ds.errors)


SCENARIOS = (
    Scenario("extract", _nothing, _extract, ("x.dof.parquet",)),
    Scenario("extract over an old file", _old, _extract, ("x.dof.parquet",)),
    Scenario("write over an old file", _old, _write, ("x.dof.parquet",)),
    Scenario("edit", _old, _edit, ("x.dof.parquet",)),
    Scenario(
        "convert over an old file", _old_and_source, _convert, ("x.dof.parquet", "new.parquet")
    ),
    Scenario("convert into a directory", _source, _split, ("x.dof", "new.parquet"), rows),
    Scenario("append to a directory", _directory, _append, ("x.dof", "new.parquet"), rows),
    Scenario("extract into a directory", _nothing, _extract_into, ("x.dof",), rows),
)
