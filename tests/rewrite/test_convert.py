"""Datasets in other forms and back (rows D4, D5, D15): nothing lost, nothing hidden."""

from __future__ import annotations

import datetime
import decimal
import inspect
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.errors import DofError, FormatError, OutputError, UsageError
from dof_arrow.rewrite import forms, json_form
from tests.support import making

UTC = datetime.UTC


def columns() -> dict[str, Any]:
    """A column of every kind that JSON does not know by itself."""
    when = datetime.datetime(2020, 2, 29, 13, 14, 15, 123456)
    return {
        "age": pa.array([1.5, None, float("inf")]),
        "when": pa.array([when, None, when], pa.timestamp("us")),
        "zoned": pa.array([when.replace(tzinfo=UTC)] * 3, pa.timestamp("ns", "UTC")),
        "day": pa.array([datetime.date(1969, 1, 1)] * 3),
        "clock": pa.array([datetime.time(1, 2, 3, 4)] * 3),
        "took": pa.array([datetime.timedelta(seconds=3), None, datetime.timedelta(0)]),
        "n": [1, 2**62, -3],
        "nan": np.array([np.nan, 1.0, -np.inf]),
        "half": np.array([1, 2, 3], "f2"),
        "yes": pa.array([True, None, False]),
        "raw": pa.array([b"\xff\x00", None, b""]),
        "price": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-0.01")]),
        "tags": pa.array([[1, None], None, []], pa.list_(pa.int64())),
        "facts": pa.array([{"w": 1.5, "when": when}, None, {"w": float("nan"), "when": None}]),
        "kind": pa.array(["a", None, "b"]).dictionary_encode(),
        "text": pa.array(["ä\n", "", None]),
    }


def made(path: Path) -> dof.Dataset:
    about = {
        "targets": {"label": {"kind": "category", "classes": ["a", "b"]}},
        "info": {"title": "Lungs"},
    }
    with dof.Writer(path, about) as writer:
        vectors = {
            "feature": making.vectors(3, 2, 3),
            "small": making.vectors(3, 4, dtype="float16"),
        }
        writer.write(
            ids=["a", "b", "c"],
            vectors=vectors,
            columns={"label": [1, 0, 1], "split": ["train", "train", "test"], **columns()},
        )
        writer.fail("lost", "truncated", "the picture ends too soon")
        writer.attach("protocol.txt", b"how it was done", "text/plain")
    return dof.open(path)


def same(a: dof.Dataset, b: dof.Dataset) -> bool:
    ours, theirs = (pa.table(ds).replace_schema_metadata() for ds in (a, b))
    exact = ours.drop_columns(["nan", "facts"]).equals(theirs.drop_columns(["nan", "facts"]))
    return (
        exact
        and str(ours.to_pydict()) == str(theirs.to_pydict())
        and ours.schema.equals(theirs.schema)
    )


@pytest.mark.parametrize("name", ["x.dof.json", "x.parquet", "compact.parquet", "x.dof"])
def test_row_d4_there_and_back_nothing_is_lost(tmp_path: Path, name: str) -> None:
    a = made(tmp_path / "a.parquet")
    layout = {"compact.parquet": "compact"}.get(name)
    dof.convert(tmp_path / "a.parquet", tmp_path / name, layout=layout)
    dof.convert(tmp_path / name, tmp_path / "b.parquet")
    b = dof.open(tmp_path / "b.parquet")
    assert same(a, b) and b.row_shape() == (2, 3)
    assert b.errors == a.errors and b.document("protocol.txt") == b"how it was done"
    assert b.metadata.info.title == "Lungs" and b.metadata.targets == a.metadata.targets
    assert b.metadata.splits == a.metadata.splits and b.metadata.uuid == a.metadata.uuid
    assert dof.validate(tmp_path / "b.parquet", deep=True) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({"a.parquet", "b.parquet", name})


def test_conversion_names_its_parent(tmp_path: Path) -> None:
    a = made(tmp_path / "a.parquet")
    b = dof.open(dof.save(a[:2], tmp_path / "b.parquet", layout="compact"))
    (parent,) = b.metadata.provenance.parents
    assert (parent.uuid, parent.seal) == (a.metadata.uuid, a.seal)


def test_row_d15_records_are_left_out_by_saving_a_selection(tmp_path: Path) -> None:
    a = made(tmp_path / "a.parquet")
    b = dof.open(dof.save(a.filter(pc.field("split") == "train"), tmp_path / "b.parquet"))
    assert b.to_numpy("id").tolist() == ["a", "b"] and b.metadata.splits["train"].rows == 2
    c = dof.open(dof.save(a.take([2, 0]), tmp_path / "c.parquet"))
    assert c.to_numpy("id").tolist() == ["c", "a"] and np.array_equal(
        c.to_numpy(), a.to_numpy()[[2, 0]]
    )
    d = dof.open(dof.save(a[:0], tmp_path / "d.parquet"))
    assert len(d) == 0 and d.row_shape() == (2, 3)
    assert all(dof.validate(tmp_path / f"{n}.parquet", deep=True) == [] for n in "bcd")


def test_row_d5_content_tells_the_form_not_the_name(tmp_path: Path) -> None:
    a = made(tmp_path / "a.parquet")
    dof.convert(tmp_path / "a.parquet", tmp_path / "a.dof.json")
    shutil.move(tmp_path / "a.dof.json", tmp_path / "json.parquet")
    shutil.move(tmp_path / "a.parquet", tmp_path / "parquet.json")
    for name in ("json.parquet", "parquet.json"):
        assert same(
            dof.open(dof.convert(tmp_path / name, tmp_path / "b.parquet", overwrite=True)), a
        )


def test_json_is_for_people_too(tmp_path: Path) -> None:
    """Times are texts, and a text made by hand, without schema and with plain lists, is read."""
    made(tmp_path / "a.parquet")
    value = json.loads(
        dof.convert(tmp_path / "a.parquet", tmp_path / "a.dof.json").read_text("utf-8")
    )
    assert value["columns"]["day"][0] == "1969-01-01" and value["columns"]["nan"] == [
        "NaN",
        1.0,
        "-Infinity",
    ]
    plain = {
        "form": json_form.FORM,
        "dof": {},
        "vectors": {"feature": [[1, 2], [3, 4.5]]},
        "columns": {"id": ["a", "b"], "age": [1, None]},
    }
    (tmp_path / "hand.json").write_text(json.dumps(plain))
    ds = dof.open(dof.convert(tmp_path / "hand.json", tmp_path / "hand.parquet"))
    assert ds.to_numpy().tolist() == [[1, 2], [3, 4.5]] and ds[1]["age"] is None


def test_row_d4_lists_and_base64_are_the_same(tmp_path: Path) -> None:
    """Vectors as lists of numbers, of any number of axes, are those that base64 has."""
    a = made(tmp_path / "a.parquet")
    path = dof.convert(tmp_path / "a.parquet", tmp_path / "a.dof.json")
    value = json.loads(path.read_text("utf-8"))
    for name in ("feature", "small"):
        value["vectors"][name] = a[name].tolist()
    (tmp_path / "lists.json").write_text(json.dumps(value))
    assert same(dof.open(dof.convert(tmp_path / "lists.json", tmp_path / "b.parquet")), a)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"form": "other"}',
        '{"form": "dof-json-1"}',
        "[" * 10_000,
        '{"a":' * 10_000,
        '{"form":"dof-json-1","dof":{"columns":3},"vectors":{"f":[[1]]},"columns":{"id":["a"]}}',
        '{"form":"dof-json-1","dof":[],"vectors":{"f":[[1]]},"columns":{"id":["a"]}}',
        '{"form":"dof-json-1","dof":{},"vectors":{"f":[[1],[2]]},"columns":{"id":["a"]}}',
        '{"form":"dof-json-1","dof":{},"vectors":{"f":{"dtype":"object","shape":[1],"base64":""}},"columns":{"id":["a"]}}',
        '{"form":"dof-json-1","dof":{},"vectors":{"f":[["x"]]},"columns":{"id":["a"]}}',
        '{"form":"dof-json-1","dof":{},"vectors":{"f":[[1]]},"columns":{"id":["a"]},"schema":"AAAA"}',
        '{"form":"dof-json-1","dof":{},"vectors":{"f":[[1]]},"columns":{"id":["a"]},'
        '"documents":{"../x":{"base64":"","media_type":"a"}}}',
        '{"form":"dof-json-1","dof":{},"vectors":{"f":[[1]]},"columns":{"id":["a"]},"errors":[3]}',
    ],
)
def test_bad_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DofError):
        dof.convert(tmp_path / "x.json", tmp_path / "y.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_exports_are_what_their_readers_expect(tmp_path: Path) -> None:
    a = made(tmp_path / "a.parquet")
    dof.save(a[1:], tmp_path / "x.arrow")
    assert pa.ipc.open_file(tmp_path / "x.arrow").read_all().column("id").to_pylist() == ["b", "c"]
    assert np.array_equal(np.load(dof.save(a, tmp_path / "x.npy")), a.to_numpy())
    assert np.load(dof.save(a[:0], tmp_path / "none.npy")).shape == (0, 6)
    numpy = pytest.importorskip("safetensors.numpy")
    tensors = numpy.load_file(dof.save(a, tmp_path / "x.safetensors"))
    assert sorted(tensors) == ["feature", "half", "label", "n", "nan", "small"]
    assert tensors["feature"].shape == (3, 2, 3)
    assert np.array_equal(tensors["small"], a.to_numpy("small")) and tensors["n"].tolist() == [
        1,
        2**62,
        -3,
    ]


def test_float16_and_what_it_cannot_hold(tmp_path: Path) -> None:
    values = np.array([[1.0, 2.5]], "f4")
    making.write(tmp_path / "a.parquet", 1, values)
    half = dof.open(dof.convert(tmp_path / "a.parquet", tmp_path / "b.parquet", dtype="float16"))
    assert half.to_numpy().dtype == np.float16 and half.to_numpy().tolist() == [[1.0, 2.5]]
    making.write(tmp_path / "large.parquet", 1, values * 1e5)
    with pytest.raises(UsageError, match="NaN or infinity"):
        dof.convert(tmp_path / "large.parquet", tmp_path / "c.parquet", dtype="float16")


def test_a_directory_of_parts_maps_as_one_array(tmp_path: Path) -> None:
    """Row D16: parts made by us hold whole units of rows, so they lie in a row in memory."""
    values = making.vectors(2000, 64)
    making.write(tmp_path / "a.parquet", 2000, values)
    dof.convert(tmp_path / "a.parquet", tmp_path / "x.dof", rows_per_part=700)
    ds = dof.open(tmp_path / "x.dof")
    assert [p.rows for p in ds.metadata.parts] == [512, 512, 512, 464]  # 256 rows fill 64 KiB
    assert np.array_equal(ds.to_numpy(), values) and not ds.to_numpy().flags.owndata
    assert np.array_equal(ds[500:600].to_numpy(), values[500:600])
    assert dof.validate(tmp_path / "x.dof", deep=True) == []


def test_refusals(tmp_path: Path) -> None:
    making.write(tmp_path / "a.parquet", 3)
    source = tmp_path / "a.parquet"
    for out, options, message in (
        ("x.txt", {}, "no such form"),
        ("x.parquet", {"dtype": "int8"}, "no such type"),
        ("x.parquet", {"layout": "flat"}, "no such layout"),
        ("x.npy", {"dtype": "float16"}, "dtype is chosen for .parquet and .dof only"),
        ("x.parquet", {"rows_per_part": 3}, "rows_per_part is chosen for .dof only"),
        ("x.dof", {"rows_per_part": 3}, "so few rows"),
        ("x.dof", {"rows_per_part": 0}, "so few rows"),
        (".npy", {}, "no such form"),
        (".dof.json", {}, "no such form"),
    ):
        with pytest.raises(UsageError, match=message):
            dof.convert(source, tmp_path / out, **options)
    with pytest.raises(OutputError, match="exists"):
        dof.convert(source, source)
    dof.convert(source, tmp_path / "x.dof")
    with pytest.raises(OutputError, match="exists"):
        dof.convert(source, tmp_path / "x.dof")
    (tmp_path / "other.dof").mkdir()
    (tmp_path / "other.dof" / "data-000000.parquet").write_bytes(b"mine")
    with pytest.raises(OutputError, match="no dataset"):
        dof.convert(source, tmp_path / "other.dof", overwrite=True)
    assert (tmp_path / "other.dof" / "data-000000.parquet").read_bytes() == b"mine"


@pytest.mark.parametrize("form", forms.FORMS, ids=lambda form: form.suffix)
def test_each_form_has_a_writer_that_takes_its_options(form: forms.Form) -> None:
    taken = inspect.signature(form.load_writer()).parameters
    asked = [name for name in taken if name not in ("about", "errors")]  # for callers of ours
    assert asked == ["rows", "path", *form.options, "overwrite"]


def test_the_help_names_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["convert", "--help"]) == 0
    text = capsys.readouterr().out
    for form in forms.FORMS:
        assert re.search(rf"  x{re.escape(form.suffix)} +{form.help}( |$)", text, re.MULTILINE)


def test_damage_is_not_sealed_anew(tmp_path: Path) -> None:
    making.write(tmp_path / "a.parquet", 100)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[len(data) // 8] ^= 1
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        dof.convert(tmp_path / "a.parquet", tmp_path / "b.parquet")


def test_a_copy_by_another_tool_is_taken_for_what_it_is(tmp_path: Path) -> None:
    """Its uuid, errors and documents may be another file's; columns that it lost are forgotten."""
    made(tmp_path / "a.parquet")
    pq.write_table(
        pq.read_table(tmp_path / "a.parquet").drop_columns(["label", "split"]),
        tmp_path / "copy.parquet",
    )
    with pytest.warns(dof.DofWarning):
        dof.convert(tmp_path / "copy.parquet", tmp_path / "b.parquet")
    b = dof.open(tmp_path / "b.parquet")
    assert b.errors == [] and not b.metadata.targets and not b.metadata.provenance.parents
    assert dof.validate(tmp_path / "b.parquet", deep=True) == []


def test_another_column_of_ids_and_order_are_kept(tmp_path: Path) -> None:
    schema = pa.schema(
        [_field("feature"), pa.field("n", pa.int64()), pa.field("name", pa.string(), False)]
    )
    with dof.Writer(tmp_path / "a.parquet", {"record": {"id": "name"}}, schema=schema) as writer:
        writer.write(
            ids=["a", "b"], vectors={"feature": making.vectors(2, 4)}, columns={"n": [1, None]}
        )
    for name in ("b.parquet", "b.dof.json"):
        dof.convert(tmp_path / "a.parquet", tmp_path / name)
    dof.convert(tmp_path / "b.dof.json", tmp_path / "c.parquet")
    for name in ("b", "c"):
        ds = dof.open(tmp_path / f"{name}.parquet")
        assert ds.columns == ["feature", "n", "name"] and ds.metadata.record.id == "name"
        assert dof.validate(tmp_path / f"{name}.parquet", deep=True) == []


def _field(name: str) -> pa.Field:
    from dof_arrow.format.spec.arrow import vector_field

    return vector_field(name, (4,))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    making.write(tmp_path / "a.parquet", 600, making.vectors(600, 64), group=256)
    a, out = str(tmp_path / "a.parquet"), str(tmp_path / "x.dof")
    assert main.main(["convert", a, out, "--rows-per-part", "256", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 600
    assert [p.rows for p in dof.open(out).metadata.parts] == [256, 256, 88]
    assert (
        main.main(["info", out]) == 0 and "in 3 parts of up to 256 rows" in capsys.readouterr().out
    )
    assert main.main(["convert", a, str(tmp_path / "x.npy"), "--quiet"]) == 0
    assert main.main(["convert", a, str(tmp_path / "x.doc")]) == 2
    assert np.array_equal(dof.open(out).to_numpy(), dof.open(a).to_numpy())
