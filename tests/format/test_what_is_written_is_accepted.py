"""Whatever odd thing is written: it is refused before anything stands there, or the file is valid and opens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.errors import DofError, OutputError
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.spec.metadata import Target
from dof_arrow.format.validation.validate import validate
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.convert import save
from dof_arrow.rewrite.foreign.arrays import from_arrays
from dof_arrow.rewrite.label import label
from dof_arrow.rewrite.merge import merge

SEEDS = 60
ODD = (
    [1, 2, 3, 4], [0, 0, 0, 0], [3, 2, 1, 0], [1.5, 2.5, float("nan"), 0.0], ["a", "b", "a", "b"],
    ["a", None, "b", ""], [None] * 4, [True, False, True, None], [[0], [1], [], None], [[0.5]] * 4,
    ["train", "valid", "TEST", "x"], ["a", "a", "b", "b"], [{"x": 1}, None, {"x": None}, {"x": 2}],
    [-1, 0, 1, 2], [2**40] * 4, ["\x00", "é", "b" * 400, "c"], [float("inf"), 0, 1, 2],
)  # fmt: skip
NAMES = ("label", "group", "split", "view", "frame", "time", "processing", "kept", "", "a.b", "x")
IDS = (["a", "b", "c", "d"], ["a", "a", "b", "b"], ["a", "b", "a", "b"], ["", "b", "c", "d"],
       ["a", "bb", "c", "d"], [None, "b", "c", "d"], [1, 2, 3, 4])  # fmt: skip
CLASSES = ((), ("a", "b"), ("a", "a"), ("b", "a", ""), ("a", "b", "c", "d"))


def few(random: np.random.Generator) -> dict[str, Any]:
    """Some columns of some values."""
    names = random.choice(NAMES, random.integers(0, 3), replace=False)
    return {str(name): ODD[random.integers(len(ODD))] for name in names}


def one(random: np.random.Generator, choices: tuple[Any, ...]) -> Any:
    return choices[random.integers(len(choices))]


def target(random: np.random.Generator) -> dict[str, Any]:
    kind = one(random, ("category", "multilabel", "regression"))
    return {"kind": kind, "classes": list(one(random, CLASSES))}


def declared(random: np.random.Generator, columns: dict[str, Any]) -> dict[str, Any]:
    """Metadata that may be right or wrong."""
    about: dict[str, Any] = {}
    named = [*columns, "id", "feature", "ghost"]
    if random.random() < 0.3:
        about["targets"] = {str(random.choice(named)): target(random)}
    if random.random() < 0.15:
        role = one(random, ("group", "split", "view", "frame", "time", "id"))
        about["record"] = {role: str(random.choice(named))}
    if random.random() < 0.15:
        said = one(random, ({"role": "target"}, {"role": "kept"}, {"core": "x"}, {"shape": [3]}))
        about["columns"] = {str(random.choice(named)): said}
    if random.random() < 0.2:
        about["privacy"] = {"ids": one(random, ("pseudonym", "name"))}
    if random.random() < 0.05:
        about["splits"] = {"train": {"rows": 1, "records": 1}}
    if random.random() < 0.1:
        about["primary_column"] = str(random.choice(named))
    return about


def by_writer(random: np.random.Generator, folder: Path) -> Path:
    columns = few(random)
    options: dict[str, Any] = {"layout": one(random, ("mapped", "compact"))}
    path = folder / "out.parquet"
    with Writer(path, declared(random, columns), **options) as writer:
        ids = one(random, IDS) if random.random() < 0.4 else IDS[0]
        feature = {"feature": np.ones((4, 3), one(random, ("f4", "f2")))}
        writer.write(ids=ids, vectors=feature, columns=columns)
        if random.random() < 0.2:
            writer.fail("z", "rule", one(random, ("a reason", "x" * 70_000, None)))
        if random.random() < 0.2:
            writer.attach(one(random, ("a.txt", "../a", "")), b"x", "text/plain")
    return path


def by_arrays(random: np.random.Generator, folder: Path) -> Path:
    said = target(random)
    given = {
        "y": one(random, (None, *ODD)),
        "ids": one(random, IDS) if random.random() < 0.3 else None,
        "groups": one(random, ODD) if random.random() < 0.2 else None,
        "splits": one(random, ODD) if random.random() < 0.2 else None,
        "columns": few(random),
        "kind": one(random, (None, said["kind"])),
        "classes": one(random, (None, said["classes"])),
    }
    from_arrays(np.ones((4, 3), np.float32), out=folder / "out.parquet", **given)
    return folder / "out.parquet"


def sound(folder: Path, first: str = "a") -> Path:
    path = folder / f"{first}.parquet"
    from_arrays(
        np.ones((4, 3), np.float32),
        ["x", "y", "x", "y"],
        ids=[f"{first}{row}" for row in range(4)],
        out=path,
    )
    return path


def by_columns(random: np.random.Generator, folder: Path) -> Path:
    columns = few(random)
    targets: dict[str, Target] = {}
    if columns and random.random() < 0.5:
        said = target(random)
        targets[str(random.choice([*columns]))] = Target(
            kind=said["kind"], classes=tuple(said["classes"])
        )
    data = dataset.open(sound(folder)).with_columns(columns, targets=targets)
    rows = data if random.random() < 0.6 else data.take([0, 0, 2])
    return save(rows, folder / "out.parquet")


def by_label(random: np.random.Generator, folder: Path) -> Path:
    path = sound(folder)
    values = [str(one(random, ("1", "2", "x", "", "nan", "inf"))) for _ in range(4)]
    lines = [f"a{row},{value},{value}" for row, value in enumerate(values)]
    table = folder / "t.csv"
    table.write_text("\n".join(["id,v,w", *lines]))
    kind = one(random, (None, "number", "classes"))
    options = {} if kind is None else {"kind": kind}
    group = {"group": "w"} if random.random() < 0.4 else {}
    label(path, out=folder / "out.parquet", table=table, key="id", label="v", **options, **group)
    return folder / "out.parquet"


def by_merge(random: np.random.Generator, folder: Path) -> Path:
    parts = [sound(folder), sound(folder, one(random, ("a", "b")))]
    changed = dataset.open(parts[1]).with_columns(few(random))
    parts[1] = save(changed, folder / "changed.parquet")
    merge(parts, folder / "out.parquet")
    return folder / "out.parquet"


@pytest.mark.parametrize("write", [by_writer, by_arrays, by_columns, by_label, by_merge])
def test_refused_or_valid(
    write: Callable[[np.random.Generator, Path], Path], tmp_path: Path
) -> None:
    written = refused = 0
    for seed in range(SEEDS if write is not by_merge else SEEDS // 3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                path = write(np.random.default_rng([5, seed]), folder)
            except DofError:
                refused += 1
                assert not (folder / "out.parquet").exists()
                continue
        written += 1
        assert [str(told) for told in validate(path, deep=True)] == [], seed
        rows = dataset.open(path)
        assert rows.to_arrow().num_rows == len(rows)
    assert min(written, refused) >= 5


def test_a_footer_that_no_reader_takes_is_not_written(tmp_path: Path) -> None:
    """Many groups of many columns: refused as soon as the footer would be too much, nothing stands there."""
    path = tmp_path / "x.parquet"
    names = [f"c{number}" for number in range(1000)]
    schema = pa.schema([pa.field(name, pa.int8(), nullable=False) for name in names])
    columns = dict.fromkeys(names, np.zeros(60, np.int8))
    with (
        pytest.raises(OutputError, match="more row groups than one file may have"),
        Writer(path, schema=schema, geometry=Geometry(1, 64)) as writer,
    ):
        writer.write(
            ids=[f"r{row:03}" for row in range(60)],
            vectors={"feature": np.zeros((60, 1), np.float32)},
            columns=columns,
        )
    assert not path.exists()
