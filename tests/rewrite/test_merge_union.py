"""Datasets of other columns and classes put together: the right values, or one refusal of all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.dataset.dataset import Dataset, concat
from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.extraction.extract import extract
from dof_arrow.rewrite.merge import merge
from tests.support import pictures
from tests.support.making import vectors
from tests.support.pictures import folder_of

VALUES = vectors(40, 4)


def category(*classes: str) -> dict[str, Any]:
    return {"kind": "category", "classes": list(classes)}


def hospital(
    path: Path, numbers: list[int], columns: dict[str, Any], values: Any = VALUES, **about: Any
) -> Dataset:
    with dof.Writer(path, about) as writer:
        writer.write(
            ids=[f"r{number:02d}" for number in numbers],
            vectors={"feature": values[numbers]},
            columns=columns,
        )
    return dof.open(path)


def two(folder: Path) -> tuple[Dataset, Dataset]:
    """Two hospitals: other columns, classes in another order, other widths of numbers."""
    a = hospital(
        folder / "a.parquet",
        [0, 1, 2],
        {
            "group": pa.array(["p", "q", None]),
            "split": pa.array(["train", "test", "train"]),
            "finding": np.array([0, 1, 0], np.int64),
            "many": pa.array([[0], [], None], pa.list_(pa.int64())),
            "age": np.array([1, 2, 3], np.int32),
            "dose": np.array([0.5, 1.5, 2.5], np.float32),
            "count": np.array([7, 8, 9], np.int64),
        },
        targets={
            "finding": category("flu", "none"),
            "many": {"kind": "multilabel", "classes": ["x", "y"]},
        },
    )
    b = hospital(
        folder / "b.parquet",
        [10, 11],
        {
            "split": pa.array(["test", "train"]),
            "finding": pa.array([1, None], pa.int64()),
            "many": pa.array([[0, 1], [1]], pa.list_(pa.int64())),
            "age": np.array([2**40, 5], np.int64),
            "dose": np.array([1e-300, 3.0]),
            "count": np.array([0.25, 1.0]),
            "site": pa.array(["B", "B"]),
        },
        targets={
            "finding": category("cold", "flu"),
            "many": {"kind": "multilabel", "classes": ["z", "x"]},
        },
    )
    return a, b


def told(ds: Dataset) -> dict[str, list[Any]]:
    """All values but vectors, classes by name."""
    found = {}
    for name in ds.columns:
        values = ds.to_arrow([name])[name].to_pylist()
        target = ds.metadata.targets.get(name)
        if target is not None:
            values = [_named(value, target.classes) for value in values]
        found[name] = values
    return found


def _named(value: Any, classes: Any) -> Any:
    if isinstance(value, list):
        return [_named(each, classes) for each in value]
    return classes[value] if isinstance(value, int) else value


EXPECTED = {
    "id": ["r00", "r01", "r02", "r10", "r11"],
    "group": ["p", "q", None, None, None],
    "split": ["train", "test", "train", "test", "train"],
    "finding": ["flu", "none", "flu", "flu", None],
    "many": [["x"], [], None, ["z", "x"], ["x"]],
    "age": [1, 2, 3, 2**40, 5],
    "dose": [0.5, 1.5, 2.5, 1e-300, 3.0],
    "count": [7.0, 8.0, 9.0, 0.25, 1.0],
    "site": [None, None, None, "B", "B"],
}


def check(ds: Dataset) -> None:
    found = told(ds)
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    assert np.array_equal(ds.to_numpy(), VALUES[[0, 1, 2, 10, 11]])
    assert ds.metadata.targets["finding"].classes == ("flu", "none", "cold")
    assert ds.metadata.targets["many"].classes == ("x", "y", "z")
    kinds = [ds.schema.field(name).type for name in ("age", "dose", "count")]
    assert kinds == [pa.int64(), pa.float64(), pa.float64()]


def test_columns_numbers_and_classes_are_united_in_memory(tmp_path: Path) -> None:
    both = concat(two(tmp_path))
    check(both)
    assert told(both[3:5])["finding"] == ["flu", None]
    assert told(both.take([4, 0]))["dose"] == [3.0, 0.5]
    known = both.filter(pc.field("age") > 2)
    assert known.to_numpy("count").tolist() == [9.0, 0.25, 1.0]
    taken = np.empty((3, 4), np.float32)
    known.gather().fill(np.array([2, 0, 1]), taken)
    assert np.array_equal(taken, VALUES[[11, 2, 10]])


@pytest.mark.parametrize("out", ["all.parquet", "all.dof"])
def test_a_file_or_directory_of_two_hospitals(out: str, tmp_path: Path) -> None:
    a, b = two(tmp_path)
    notes: list[str] = []
    ds = merge([a.path, b.path], tmp_path / out, say=notes.append)
    check(ds)
    assert dof.validate(tmp_path / out, deep=True) == []
    assert "finding: the classes cold are new" in notes
    assert "b.parquet has no column group: missing in its rows" in notes
    assert "a.parquet has no column site: missing in its rows" in notes
    assert {name: size.rows for name, size in ds.metadata.splits.items()} == {"train": 3, "test": 2}


def test_more_is_added_to_a_directory_that_has_its_classes(tmp_path: Path) -> None:
    a, b = two(tmp_path)
    merge([a.path, b.path], tmp_path / "all.dof")
    c = hospital(
        tmp_path / "c.parquet",
        [20],
        {
            "split": pa.array(["train"]),
            "finding": np.array([0]),
            "age": np.array([1], np.int16),
            "dose": np.array([1.0]),
            "count": np.array([2]),
        },
        targets={"finding": category("cold")},
    )
    ds = merge([c.path], tmp_path / "all.dof")
    assert told(ds)["finding"] == [*EXPECTED["finding"], "cold"] and len(ds.metadata.parts) == 3
    d = hospital(
        tmp_path / "d.parquet", [21], {"finding": np.array([0])}, targets={"finding": category("e")}
    )
    with pytest.raises(UsageError, match=r"the classes e are new.*dof merge .*-o NEW\.dof"):
        merge([d.path], tmp_path / "all.dof")
    assert len(dof.open(tmp_path / "all.dof")) == 6


def test_all_that_cannot_be_united_is_named_at_once(tmp_path: Path) -> None:
    a = hospital(tmp_path / "a.parquet", [0], {"age": np.array([1]), "sex": pa.array(["f"])})
    b = hospital(tmp_path / "b.parquet", [1], {"age": pa.array(["old"]), "sex": np.array([True])})
    for unite in (lambda: concat([a, b]), lambda: merge([a.path, b.path], tmp_path / "c.parquet")):
        with pytest.raises(UsageError, match=r"age: string instead of int64; .*sex: bool"):
            unite()


def test_whole_numbers_that_a_float_cannot_hold_are_refused(tmp_path: Path) -> None:
    a = hospital(tmp_path / "a.parquet", [0], {"age": np.array([0.5])})
    b = hospital(tmp_path / "b.parquet", [1], {"age": np.array([2**53 + 1])})
    with pytest.raises(UsageError, match="the column age"):
        concat([a, b])


def core(digest: str) -> dict[str, Any]:
    about = {"name": f"core-{digest}", "sha256": digest * 64, "opset": 17}
    about["input"] = {"name": "x", "dtype": "float32", "shape": [1]}
    return {**about, "preprocessing": {"mode": "RGB", "fit": "none"}}


def test_other_cores_are_refused_by_their_digests(tmp_path: Path) -> None:
    made = []
    for number, digest in enumerate("ab"):
        about = {
            "cores": {"feature": core(digest)},
            "columns": {"feature": {"core": "feature", "tensor": "y"}},
        }
        with dof.Writer(tmp_path / f"{digest}.parquet", about) as writer:
            writer.write(ids=[digest], vectors={"feature": VALUES[[number]]})
        made.append(dof.open(tmp_path / f"{digest}.parquet"))
    with pytest.raises(
        UsageError, match=r"core-b, sha256 bbbbbbbbbbbbbbbb.*the core core-a, sha256 aaaa"
    ):
        concat(made)


def test_an_input_in_both_is_one_row_with_what_each_says_of_it(tmp_path: Path) -> None:
    a = hospital(tmp_path / "a.parquet", [0, 1], {"age": pa.array([1, None])})
    b = hospital(tmp_path / "b.parquet", [1, 2], {"age": pa.array([7, 3]), "sex": pa.array("fm")})
    notes: list[str] = []
    ds = merge([a.path, b.path], tmp_path / "c.parquet", say=notes.append)
    assert told(ds)["id"] == ["r00", "r01", "r02"] and told(ds)["age"] == [1, 7, 3]
    assert told(ds)["sex"] == [None, "f", "m"] and "1 rows are in several" in notes[-1]
    assert len(concat([a, b])) == 4 and len(concat([a, b], once=True)) == 3


def test_one_id_of_two_inputs_is_refused(tmp_path: Path) -> None:
    a = hospital(tmp_path / "a.parquet", [0, 1], {})
    b = hospital(tmp_path / "b.parquet", [1, 2], {}, values=VALUES + 1)
    with pytest.raises(UsageError, match=r"1 rows whose features are others.*--site NAME"):
        merge([a.path, b.path], tmp_path / "c.parquet")
    a = hospital(tmp_path / "d.parquet", [0, 1], {"age": np.array([1, 2])})
    b = hospital(tmp_path / "e.parquet", [1, 2], {"age": np.array([3, 4])})
    with pytest.raises(UsageError, match=r"different things.*age in 1"):
        merge([a.path, b.path], tmp_path / "c.parquet")


def test_a_group_on_two_sides_is_refused(tmp_path: Path) -> None:
    made = []
    for number, side in enumerate(("train", "test")):
        columns = {"group": pa.array(["p"]), "split": pa.array([side])}
        made.append(hospital(tmp_path / f"{side}.parquet", [number], columns).path)
    with pytest.raises(UsageError, match=r"1 groups in several.*--split-from"):
        merge(made, tmp_path / "c.parquet")


def test_alike_datasets_tell_of_one_input_what_the_other_leaves_open(tmp_path: Path) -> None:
    a = hospital(tmp_path / "a.parquet", [0, 1], {"age": pa.array([1, None])})
    b = hospital(tmp_path / "b.parquet", [1, 2], {"age": pa.array([7, None])})
    for ds in (concat([a, b], once=True), merge([a.path, b.path], tmp_path / "c.parquet")):
        assert told(ds)["id"] == ["r00", "r01", "r02"] and told(ds)["age"] == [1, 7, None]
        assert np.array_equal(ds.to_numpy(), VALUES[:3])


def foreign(path: Path, numbers: list[int], values: pa.Array, classes: tuple[str, ...]) -> Dataset:
    """A file of another maker: its own type of column for the target `ill`."""
    made = hospital(
        path,
        numbers,
        {"ill": pa.nulls(len(numbers), pa.int64())},
        targets={"ill": category(*classes)},
    )
    table = pq.read_table(made.path)
    place = table.schema.get_field_index("ill")
    value = json.loads(table.schema.metadata[b"dof"])
    value["columns"]["ill"] = {
        "role": "target",
        "dtype": dtype_of(values.type),
        "layout": "encoded",
    }
    table = table.set_column(place, pa.field("ill", values.type), values)
    metadata = {**table.schema.metadata, b"dof": json.dumps(value).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.warns(DofWarning, match="rewritten by another tool"):
        return dof.open(path)


def dtype_of(kind: pa.DataType) -> str:
    return str(kind.value_type if pa.types.is_dictionary(kind) else kind)


SMALL = pa.dictionary(pa.int8(), pa.string())


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.array([1, None, 0], pa.int8()), pa.array(["a", "c", None])),
        (pa.array(["b", None, "a"]).dictionary_encode().cast(SMALL), pa.array([0, 1, None])),
        (pa.array(["b", None, "a"], pa.large_string()), pa.array(["a", "c", None]).cast(SMALL)),
    ],
)
def test_codes_and_names_of_other_makers_are_united_by_name(
    left: pa.Array, right: pa.Array, tmp_path: Path
) -> None:
    a = foreign(tmp_path / "a.parquet", [0, 1, 2], left, ("a", "b"))
    b = foreign(tmp_path / "b.parquet", [3, 4, 5], right, ("a", "c"))
    for ds in (concat([a, b]), concat([a, b], once=True)):
        assert told(ds)["ill"] == ["b", None, "a", "a", "c", None]
        assert ds.metadata.targets["ill"].classes == ("a", "b", "c")


@pytest.mark.parametrize("values", [pa.array(["x"]), pa.array([2]), pa.array([-1], pa.int8())])
def test_a_value_that_is_no_class_is_refused(values: pa.Array, tmp_path: Path) -> None:
    a = foreign(tmp_path / "a.parquet", [0], pa.array(["a"]), ("a", "b"))
    b = foreign(tmp_path / "b.parquet", [1], values, ("a", "c"))
    with pytest.raises(UsageError, match=r"b\.parquet.*the column ill: .* is none of its classes"):
        concat([a, b])


def test_more_classes_than_a_small_code_holds(tmp_path: Path) -> None:
    codes = pa.array([99], pa.int8())
    a = foreign(tmp_path / "a.parquet", [0], codes, tuple(f"a{i}" for i in range(100)))
    b = foreign(tmp_path / "b.parquet", [1], codes, tuple(f"b{i}" for i in range(100)))
    assert told(concat([a, b]))["ill"] == ["a99", "b99"]


def test_rows_in_the_order_of_pseudonyms_stay_in_it(tmp_path: Path) -> None:
    """So the whole does not tell which part a row came from; else parts follow one another."""
    whole = folder_of(tmp_path / "whole", 30)
    (whole / "zz.png").write_bytes(b"broken")
    (whole / "yy.png").write_bytes(b"broken")
    for number, path in enumerate(sorted(whole.iterdir())):
        part = tmp_path / f"part{number % 3}"
        part.mkdir(exist_ok=True)
        (part / path.name).write_bytes(path.read_bytes())
    options = {"core": pictures.core(), "id_key": bytes(32)}
    one = extract(whole, out=tmp_path / "one.parquet", **options)
    parts = []
    for number in range(3):
        out = tmp_path / f"{number}.parquet"
        parts.append(extract(tmp_path / f"part{number}", out=out, **options).path)
    merged = merge(parts, tmp_path / "merged.parquet")
    assert merged.to_arrow().equals(one.to_arrow())
    assert merged.errors == one.errors
    assert dof.validate(merged.path, deep=True) == []
    named = []
    for number in (1, 0):
        out = tmp_path / f"named{number}.parquet"
        made = extract(tmp_path / f"part{number}", out=out, ids="name", **options)
        named.append(made.path)
    ids = merge(named, tmp_path / "named.parquet").to_numpy("id").tolist()
    assert ids != sorted(ids)
