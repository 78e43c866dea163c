"""What differs between two datasets is found, whatever they are stored as; what does not is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.dataset.column_values import differing
from dof_arrow.errors import DofError, UsageError
from dof_arrow.rewrite.merge import merge
from dof_arrow.tables.agreement import Tally
from tests.support import making, making_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """300 rows of several groups, with targets of every kind."""
    return making_rows.made(tmp_path / "a.parquet", 300, 64, group_rows=128).path


def changed(path: Path, out: Path, about: dict[str, Any] | None = None, **columns: Any) -> Path:
    """The same dataset with other values in some columns."""
    ds = dof.open(path)
    table = {
        name: columns.get(name, ds.to_arrow([name]).column(0))
        for name in ds.columns
        if name != "feature"
    }
    about = {"targets": ds.metadata.targets, **(about or {})}
    with making.unruled(), dof.Writer(out, about) as writer:
        writer.write(
            ids=table.pop("id"),
            vectors={"feature": columns.get("feature", ds.to_numpy())},
            columns=table,
        )
    return out


@pytest.mark.parametrize("form", ["compact", "directory", "parts", "reversed"])
def test_the_same_rows_are_equal_however_they_are_stored(
    form: str, path: Path, tmp_path: Path
) -> None:
    ds = dof.open(path)
    if form == "compact":
        other = dof.convert(path, tmp_path / "b.parquet", layout="compact")
    elif form in ("directory", "parts"):
        pieces = (
            (slice(0, 90), slice(90, 300))
            if form == "directory"
            else (slice(90, 300), slice(0, 90))
        )
        saved = [dof.save(ds[s], tmp_path / f"{s.start}.parquet") for s in pieces]
        other = merge(saved, tmp_path / ("b.dof" if form == "directory" else "b.parquet")).path
    else:
        other = dof.save(ds.take(np.arange(299, -1, -1)), tmp_path / "b.parquet", layout="compact")
    for first, second in ((path, other), (other, path)):
        found = dof.diff(first, second)
        assert found.equal and found.both == 300 and found.features["feature"].equal == 300
        assert (
            not found.metadata
            and not found.values
            and found.reordered == (form in ("parts", "reversed"))
        )
    told = {change.where for change in dof.diff(path, other).stored}
    assert ("columns.feature.layout" in told) == (form in ("compact", "reversed"))
    assert ("parts" in told) == (form == "directory")


def test_float16_is_the_same_within_a_tolerance(tmp_path: Path) -> None:
    first = making.write(tmp_path / "a.parquet", 50, making.vectors(50, 32))
    other = dof.convert(first, tmp_path / "b.parquet", dtype="float16")
    exact, near = dof.diff(first, other), dof.diff(first, other, tolerance=1e-3)
    assert not exact.equal and exact.values["feature"].rows == 50 and near.equal
    assert near.features["feature"].close == 50 and 0 < near.features["feature"].relative < 2**-10
    assert near.features["feature"].cosine > 0.999999
    assert ("columns.feature.dtype", "float32", "float16") in {
        (c.where, c.old, c.new) for c in near.stored
    }
    assert dof.diff(other, dof.convert(other, tmp_path / "c.parquet", dtype="float32")).equal
    with pytest.raises(UsageError, match="no such tolerance"):
        dof.diff(first, other, tolerance=-1)


def test_values_that_differ_are_counted_and_named(path: Path, tmp_path: Path) -> None:
    ds = dof.open(path)
    label, signs, sex = (
        ds.to_numpy("label").copy(),
        ds.to_arrow(["signs"]).column(0).to_pylist(),
        ds.to_numpy("sex"),
    )
    label[[7, 200]] = (label[[7, 200]] + 1) % 3
    signs[5], signs[9] = [*signs[5], 0], None
    age, values = ds.to_numpy("age").copy(), ds.to_numpy().copy()
    age[299] = -1
    values[3, 2] += 1
    other = changed(
        path,
        tmp_path / "b.parquet",
        label=label,
        signs=pa.array(signs, pa.list_(pa.int32())),
        age=age,
        feature=values,
        sex=["x", *sex[1:]],
    )
    found = dof.diff(path, other)
    assert not found.equal and {
        name: (some.rows, [*some.first]) for name, some in found.values.items()
    } == {
        "label": (2, ["r00007", "r00200"]),
        "signs": (2, ["r00005", "r00009"]),
        "age": (1, ["r00299"]),
        "feature": (1, ["r00003"]),
        "sex": (1, ["r00000"]),
    }
    agreement = found.features["feature"]
    assert (agreement.rows, agreement.equal, agreement.largest) == (300, 299, 1.0)
    unknown = dof.save(ds.with_columns({"w": np.full(len(ds), np.nan)}), tmp_path / "w.parquet")
    assert dof.diff(unknown, unknown).equal  # NaN is itself


def test_rows_and_columns_that_only_one_has(path: Path, tmp_path: Path) -> None:
    ds = dof.open(path)
    one, two = (
        dof.save(ds[:200], tmp_path / "b.parquet"),
        dof.save(ds[100:], tmp_path / "c.parquet"),
    )
    found = dof.diff(one, two)
    assert (found.rows, found.both) == ((200, 200), 100) and not found.equal and not found.values
    assert [(some.rows, some.first[0], len(some.first)) for some in found.only] == [
        (100, "r00000", 5),
        (100, "r00200", 5),
    ]
    selected = dof.diff(ds[100:200], dof.open(two)[:100])
    assert (
        selected.both == 100
        and not selected.values
        and not any(some.rows for some in selected.only)
    )
    with dof.Writer(tmp_path / "d.parquet") as writer:
        writer.write(
            ids=ds.to_numpy("id"), vectors={"feature": ds.to_numpy(), "second": ds.to_numpy()}
        )
    found = dof.diff(path, tmp_path / "d.parquet")
    assert found.columns == (["label", "ill", "age", "signs", "sex", "group", "split"], ["second"])
    none = dof.diff(ds[:0], ds)
    assert (none.both, none.only[1].rows, none.features["feature"].rows) == (0, 300, 0)


def test_metadata_that_matters(path: Path, tmp_path: Path) -> None:
    (tmp_path / "how.txt").write_text("how")
    dof.edit(path, set={"title": "one"}, attach=[tmp_path / "how.txt"], out=tmp_path / "b.parquet")
    told = {c.where: (c.old, c.new) for c in dof.diff(path, tmp_path / "b.parquet").metadata}
    assert (
        told["info.title"] == (None, "one")
        and "documents.how.txt.sha256" in told
        and len(told) == 3
    )
    other = changed(
        path,
        tmp_path / "c.parquet",
        {"targets": {"age": {"kind": "regression", "unit": "months"}}},
        split=["test"] * 300,
    )
    found = dof.diff(path, other)
    told = {c.where: (c.old, c.new) for c in found.metadata}
    assert told["targets.age.unit"] == ("years", "months") and told["splits.test.rows"] == (
        None,
        300,
    )
    assert told["columns.label.role"] == ("target", "kept") and found.values["split"].rows == 300


def test_categories_are_compared_by_name(path: Path, tmp_path: Path) -> None:
    ds = dof.open(path)
    targets = {
        **making_rows.TARGETS,
        "label": {"kind": "category", "classes": ["well", "unsure", "sick"]},
    }
    order = np.array([2, 0, 1])
    found = dof.diff(
        path,
        changed(
            path, tmp_path / "b.parquet", {"targets": targets}, label=order[ds.to_numpy("label")]
        ),
    )
    assert not found.values and [change.where for change in found.metadata] == [
        "targets.label.classes"
    ]
    found = dof.diff(
        path,
        changed(path, tmp_path / "c.parquet", {"targets": targets}, label=ds.to_numpy("label")),
    )
    assert found.values["label"].rows == 300


def test_rows_meet_by_view_and_frame(tmp_path: Path) -> None:
    columns = {
        "view": np.array([0, 0, 1, 1, 0], np.int16),
        "frame": np.array([0, 1, 0, 1, 0], np.int32),
        "time": np.array([0, 1, 0, 1, 0.0]),
    }
    values = making.vectors(5, 8)

    def written(name: str, rows: list[int]) -> Path:
        with dof.Writer(tmp_path / name) as writer:
            writer.write(
                ids=["a"] * (len(rows) - 1) + ["b"],
                vectors={"feature": values[rows]},
                columns={k: v[rows] for k, v in columns.items()},
            )
        return tmp_path / name

    first, other = written("a.parquet", [0, 1, 2, 3, 4]), written("b.parquet", [2, 3, 0, 4])
    found = dof.diff(first, other)
    assert (
        found.both == 4
        and not found.values
        and [*found.only[0].first] == ["a/0/1"]
        and found.reordered
    )
    plain = making.write(tmp_path / "c.parquet", 3, making.vectors(3, 8))
    with pytest.raises(UsageError, match="not told apart"):
        dof.diff(first, plain)


def test_widths_that_differ_are_metadata(tmp_path: Path) -> None:
    first = making.write(tmp_path / "a.parquet", 4, making.vectors(4, 8))
    found = dof.diff(first, making.write(tmp_path / "b.parquet", 4, making.vectors(4, 9)))
    assert [(c.where, c.old, c.new) for c in found.metadata] == [
        ("columns.feature.shape", [8], [9])
    ]
    assert not found.features and not found.equal
    with pytest.raises(DofError):
        dof.diff(first, tmp_path / "none.parquet")


def test_the_numbers_of_an_agreement() -> None:
    tally = Tally(0.01)
    ours = np.array([[3, 4], [0, 0], [1, 0], [1, 1], [np.nan, 1], [0, 2]], np.float32)
    theirs = np.array([[3, 4], [0, -0.0], [0, 1], [np.inf, 1], [np.nan, 1], [0, 2.01]], np.float32)
    shares = tally.add(ours, theirs)
    assert (
        shares[:3].tolist() == [0, 0, 1]
        and np.isinf(shares[3])
        and shares[4] == 0
        and 0.004 < shares[5] < 0.006
    )
    a = tally.agreement
    assert (a.rows, a.equal, a.close, a.largest, a.cosine) == (6, 2, 4, np.inf, 0)
    assert tally.add(ours[:0], theirs[:0]).tolist() == [] and tally.agreement == a


def _naive(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) != len(b) or any(map(_naive, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return any(_naive(a.get(name), b.get(name)) for name in {**a, **b})
    return not (a == b or (a != a and b != b))


@pytest.mark.parametrize(
    "kind",
    [
        pa.int8(),
        pa.float32(),
        pa.string(),
        pa.bool_(),
        pa.list_(pa.int16()),
        pa.list_(pa.float64(), 2),
        pa.binary(),
        pa.list_(pa.list_(pa.string())),
        pa.struct([("x", pa.int32()), ("y", pa.list_(pa.string()))]),
        pa.timestamp("us"),
        pa.dictionary(pa.int32(), pa.string()),
        pa.map_(pa.string(), pa.int32()),
        pa.null(),
    ],
    ids=str,
)
def test_differing_agrees_with_plain_python(kind: pa.DataType) -> None:
    random = np.random.default_rng(3)

    def value(kind: pa.DataType) -> Any:
        if pa.types.is_null(kind) or random.random() < 0.2:
            return None
        if pa.types.is_map(kind):
            return [(str(k), int(random.integers(2))) for k in range(random.integers(3))]
        if pa.types.is_nested(kind) and not pa.types.is_struct(kind):
            return [
                value(kind.value_type)
                for _ in range(getattr(kind, "list_size", random.integers(3)))
            ]
        if pa.types.is_struct(kind):
            return {field.name: value(field.type) for field in kind}
        number = int(random.integers(2))
        text = pa.types.is_string(kind) or pa.types.is_dictionary(kind)
        floats = [0.5, float("nan")]
        return (
            str(number)
            if text
            else bytes([number])
            if pa.types.is_binary(kind)
            else (
                floats[number]
                if pa.types.is_floating(kind)
                else bool(number)
                if pa.types.is_boolean(kind)
                else number
            )
        )

    ours, theirs = (pa.array([value(kind) for _ in range(200)], kind) for _ in range(2))
    expected = [_naive(a, b) for a, b in zip(ours.to_pylist(), theirs.to_pylist(), strict=True)]
    assert differing(ours, theirs).tolist() == expected and any(expected) != pa.types.is_null(kind)
    assert differing(ours[50:], theirs[50:]).tolist() == expected[50:]
    assert not differing(ours, ours).any()


def test_other_types_of_the_same_values_are_equal() -> None:
    same = [
        (pa.array([1, None], pa.int8()), pa.array([1, None], pa.float64())),
        (pa.array(["a"]), pa.array(["a"], pa.large_string())),
        (pa.array(["a"]).dictionary_encode(), pa.array(["a"])),
        (pa.array([[1]], pa.list_(pa.int8())), pa.array([[1]], pa.large_list(pa.int64()))),
        (pa.array([None, None]), pa.array([None, None], pa.string())),
    ]
    assert not any(differing(a, b).any() for a, b in same)
    assert differing(pa.array(["1", None]), pa.array([1, None])).tolist() == [True, False]


def test_the_command_line(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "b.parquet"
    dof.convert(path, other, layout="compact")

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main.main(["diff", *map(str, arguments)])
        return code, *capsys.readouterr()

    code, said, aside = run(path, other)
    assert (
        code == 0
        and "hold the same" in said
        and "Stored otherwise: columns.feature.layout mapped, encoded" in aside
    )
    dof.edit(other, set={"title": "two"})
    code, said, _ = run(path, other)
    assert code == 1 and "info.title" in said and "two" in said
    dof.save(dof.open(path)[:299], tmp_path / "c.parquet")
    code, said, _ = run(path, tmp_path / "c.parquet", "--json")
    told = json.loads(said)
    assert code == 1 and not told["equal"] and told["only"][0] == {"rows": 1, "first": ["r00299"]}
    assert (
        run(path, tmp_path / "none")[0]
        == run(path)[0]
        == run(path, other, "--tolerance", "-1")[0]
        == 2
    )
