"""What is known of the inputs, in bulk: the same for every kind of source, and keyed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources import input_table
from dof_arrow.sources.folder import Files
from dof_arrow.sources.input_table import Roster
from dof_arrow.sources.open import open_source
from tests.support.pictures import KEY, Memory, folder_of

TARGETS = {
    "kind": Target(kind="category", classes=("a", "b")),
    "size": Target(kind="regression"),
    "flags": Target(kind="multilabel", classes=("x", "y")),
}


def memory() -> Memory:
    return Memory(
        5,
        targets=TARGETS,
        kept={"age": "int64"},
        group=lambda i: f"g{i // 2}" if i < 4 else None,
        split=lambda i: "train" if i % 2 else None,
        target=lambda i: {"kind": i % 2 if i else None, "size": i / 2, "flags": [0] * (i % 2)},
    )


def files() -> Files:
    return Files(
        root=Path("nowhere"),
        names=pa.array([f"{i:04d}" for i in range(5)], pa.large_string()),
        targets=TARGETS,
        labels={
            "kind": pa.array([None, 1, 0, 1, 0], pa.int32()),
            "size": pa.array([0, 0.5, 1, 1.5, 2]),
            "flags": pa.array([[], [0], [], [0], []], pa.list_(pa.int32())),
        },
        groups=pa.array(["g0", "g0", "g1", "g1", None]),
        splits=pa.array([None, "train", None, "train", None]),
        columns={"age": pa.array([None] * 5, pa.int64())},
    )


def test_every_kind_of_source_gives_the_same() -> None:
    one, other = Roster.of(memory()), Roster.of(files())
    assert one.keys.to_pylist() == other.keys.to_pylist()
    assert one.groups.to_pylist() == other.groups.to_pylist()
    assert one.targets.keys() == other.targets.keys()
    for name, column in one.targets.items():
        assert column.to_pylist() == other.targets[name].to_pylist()
    assert one.digest(KEY) == other.digest(KEY) != one.digest(bytes(32))


def test_every_value_counts() -> None:
    known = Roster.of(files())
    for value in (7, 0):
        changed = Roster(
            keys=known.keys,
            targets=known.targets,
            groups=known.groups,
            splits=known.splits,
            kept={"age": pa.array([None, None, value, None, None], pa.int64())},
        )
        assert known.digest(KEY) != changed.digest(KEY)
    grouped = Roster(keys=known.keys, groups=known.splits)
    split = Roster(keys=known.keys, splits=known.splits)
    assert grouped.digest(KEY) != split.digest(KEY)


def test_files_that_are_there(tmp_path: Path) -> None:
    source = open_source(folder_of(tmp_path, 3))
    (tmp_path / "0001.png").unlink()
    left = [(tmp_path / name).stat().st_size for name in ("0000.png", "0002.png")]
    assert [status.st_size for status in input_table.files(source)] == left
    assert list(input_table.files(memory())) == []
