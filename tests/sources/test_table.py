"""Columns of a table beside the pictures: read, typed, and matched with files."""

from __future__ import annotations

import csv
import io
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources import table as table_module
from dof_arrow.sources.columns import typed
from dof_arrow.sources.folder import Files
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Sample
from tests.sources.listed import Make, column, keys, rule
from tests.support.shared import shared_data


def test_a_table_gives_label_group_split_and_kept_columns_and_nothing_else(
    folder: Make, table: Make
) -> None:
    root = folder("b.png", "a.png", "c.png")
    path = table(
        "file,finding,who,part,age,secret,\n"
        "a.png,flu,p1,train,61,Erika,\nb.png,,p2,test,,Max,\nc.png,ok,,,7,X,\n"
    )
    files = open_source(
        root, table=path, key="file", label="finding", group="who", split="part", keep=["age"]
    )
    assert files.targets == {"finding": Target(kind="category", classes=("flu", "ok"))}
    assert files.kept == {"age": "int64"} and files.has_group and files.has_split
    a, b, c = (root / f"{name}.png" for name in "abc")
    assert [files[i] for i in range(3)] == [
        Sample(
            key="a.png", data=a, target={"finding": 0}, group="p1", split="train", kept={"age": 61}
        ),
        Sample(
            key="b.png",
            data=b,
            target={"finding": None},
            group="p2",
            split="test",
            kept={"age": None},
        ),
        Sample(key="c.png", data=c, target={"finding": 1}, kept={"age": 7}),
    ]
    assert b"Erika" not in pickle.dumps(files)


def test_rows_without_file_fail_and_files_without_row_are_counted(
    folder: Make, table: Make
) -> None:
    root = folder("a.png", "extra.png", "notes.txt", ".hidden.png")
    files = open_source(root, table=table("k\ngone.png\na.png\n.hidden.png\n"), key="k")
    assert keys(files) == [".hidden.png", "a.png", "gone.png"] and files[1].load() == b"a.png"
    assert rule(files[0]) == rule(files[2]) == "missing"
    assert files.counts == {"hidden": 1, "ignored": 1, "without_row": 1, "without_file": 2}


@pytest.mark.parametrize(
    "rows", ["x/1.png\ny/2.png", "1.png\n2.png", "1\n2", "./x/1.png\n.//y/2.png"]
)
def test_keys_are_relative_names_file_names_or_names_without_suffix(
    folder: Make, table: Make, rows: str
) -> None:
    root = folder("x/1.png", "y/2.png")
    assert keys(open_source(root, table=table(f"k\n{rows}\n"), key="k")) == ["x/1.png", "y/2.png"]


def test_a_file_without_suffix_counts_if_the_table_names_it(folder: Make, table: Make) -> None:
    assert (
        open_source(folder("000012", "b"), table=table("k\n000012\n"), key="k")[0].load()
        == b"000012"
    )


def test_columns_that_are_not_there_name_the_near_ones(folder: Make, table: Make) -> None:
    root, path = folder("a.png"), table("filename,finding,\na.png,x,\n")
    with pytest.raises(
        UsageError, match=r"expected filename, finding, found findings\. Did you mean finding\?"
    ):
        open_source(root, table=path, key="filename", label="findings")
    for name in ("zzz", ""):
        with pytest.raises(UsageError, match="Name one of these columns"):
            open_source(root, table=path, key="filename", group=name)
    with pytest.raises(UsageError, match="--key COLUMN"):
        open_source(root, table=path)
    with pytest.raises(UsageError, match="--table"):
        open_source(root, label="finding")
    with pytest.raises(UsageError, match="twice"):
        open_source(root, table=table("k,x,x\na.png,,\n"), key="k", keep=["x"])


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        ("k,v\na.png,é\n", "latin-1", "UTF-8"),
        ('k,v\na.png,"open\n', "utf-8", "no valid CSV"),
        ("k,v\na.png\n", "utf-8", "row 1 after the header"),
        ("k,v\na.png,1,2\n", "utf-8", "expected 2 cells, found 3"),
    ],
)
def test_tables_that_cannot_be_read(
    folder: Make, table: Make, text: str, encoding: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(folder("a.png"), table=table(text, encoding), key="k")


def test_an_absent_or_empty_table(folder: Make, table: Make, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        open_source(folder("a.png"), table=tmp_path / "absent.csv", key="k")
    with pytest.raises(UsageError, match="a header line"):
        open_source(folder("a.png"), table=table(""), key="k")


@pytest.mark.parametrize(
    "text", ["k;v\na.png;1 x,5\n", "k\tv\na.png\t1 x,5\n", 'k,v\n\n" a.png ","1 x,5"\n\n']
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_marks_and_blank_lines(
    folder: Make, table: Make, text: str, encoding: str
) -> None:
    files = open_source(folder("a.png"), table=table(text, encoding), key="k", keep=["v"])
    assert files[0].kept == {"v": "1 x,5"}


@pytest.mark.parametrize(
    ("cells", "type", "values"),
    [
        (["1", "-2", ""], "int64", [1, -2, None]),
        (["1", "NA", "3"], "int64", [1, None, 3]),
        (["1", ".5", "2e3", "nan"], "float64", [1.0, 0.5, 2000.0, None]),
        (["007", "12"], "string", ["007", "12"]),
        (["12345678901234567890", "1"], "string", ["12345678901234567890", "1"]),
        (["True", "false", ""], "bool", [True, False, None]),
        (["NA", "b"], "string", [None, "b"]),
        (["1.0", "2", "+3"], "int64", [1, 2, 3]),
        (["True", "0"], "bool", [True, False]),
        (["inf", "1"], "float64", [float("inf"), 1.0]),
        (["", ""], "string", [None, None]),
        (["1.2.840.1", "1"], "string", ["1.2.840.1", "1"]),
    ],
)
def test_types_of_kept_columns(
    folder: Make, table: Make, cells: list[str], type: str, values: list[Any]
) -> None:
    names = [f"{i}.png" for i in range(len(cells))]
    path = table("k,v\n" + "".join(f"{n},{c}\n" for n, c in zip(names, cells, strict=True)))
    files = open_source(folder(*names), table=path, key="k", keep=["v"])
    assert files.kept == {"v": type} and [files[i].kept["v"] for i in range(len(files))] == values


def test_what_begins_like_another_type() -> None:
    """The first cells alone do not tell a column's type."""
    many = 5000
    numbers, words = ["7"] * many, [None] * many
    assert typed(pa.array([*words, "7"], pa.string())).type == pa.int64()
    assert typed(pa.array([*words, "7.5"], pa.string())).type == pa.float64()
    assert typed(pa.array([*words, "true"], pa.string())).type == pa.bool_()
    assert typed(pa.array([*numbers, "7.5"])).type == pa.float64()
    assert typed(pa.array([*numbers, "seven"])).type == pa.string()


def labelled(folder: Make, table: Make, cells: list[str], **options: Any) -> Files:
    names = [f"{i:03}.png" for i in range(len(cells))]
    path = table("k,v\n" + "".join(f"{n},{c}\n" for n, c in zip(names, cells, strict=True)))
    return open_source(folder(*names), table=path, key="k", label="v", **options)


def test_labels_are_categories_unless_they_measure(folder: Make, table: Make) -> None:
    assert labelled(folder, table, ["10", "9", "NA"]).targets["v"] == Target(
        kind="category", classes=("9", "10")
    )
    few = labelled(folder, table, ["0.5", "1.5"])
    assert few.targets["v"].kind == "category"
    many = labelled(folder, table, [f"{i}.5" for i in range(21)] + [""])
    assert many.targets["v"].kind == "regression" and column(many, "v")[-2:] == [20.5, None]
    whole = [str(i) for i in range(30)]
    assert labelled(folder, table, whole).targets["v"].kind == "regression"
    assert labelled(folder, table, whole, kind="classes").targets["v"].kind == "category"


def test_the_kind_of_a_label_can_be_said(folder: Make, table: Make) -> None:
    ages = labelled(folder, table, ["61", "7"], kind="number")
    assert ages.targets["v"].kind == "regression" and column(ages, "v") == [61.0, 7.0]
    with pytest.raises(UsageError, match="needs numbers"):
        labelled(folder, table, ["old", "7"], kind="number")
    both = labelled(folder, table, ["b | a", "", "a|a", "|"], kind="several")
    assert both.targets["v"] == Target(kind="multilabel", classes=("a", "b"))
    assert column(both, "v") == [[0, 1], None, [0], []]
    assert column(labelled(folder, table, ["x;y"], kind="several", separator=";"), "v") == [[0, 1]]


def test_class_folders_beside_a_table(folder: Make, table: Make) -> None:
    root, path = folder("x/1.png", "y/2.png"), table("k,w\n1,p\n2,q\n")
    files = open_source(root, table=path, key="k", group="w", label="folder")
    assert column(files, "label") == [0, 1] and [files[i].group for i in range(2)] == ["p", "q"]


def test_the_real_radiographs() -> None:
    folder = shared_data() / "images" / "chest-xray"
    files = open_source(
        folder, table=folder / "metadata.csv", key="filename", label="finding", group="patientid"
    )
    assert len(files) == 40 and files.counts == {"ignored": 1}
    assert len(files.targets["finding"].classes) == 3 and files[0].load()


def test_a_large_source_holds_no_object_for_each_row(folder: Make, table: Make) -> None:
    rows = 100_000
    root = folder("1.png")
    path = table("k,v,g\n" + "".join(f"{i}.png,{i % 7},p{i // 4}\n" for i in range(rows)))
    tracemalloc.start()
    files = open_source(root, table=path, key="k", label="v", group="g")
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(files) == rows and kept < 1 << 20 and peak < 100 << 20
    assert files.names.nbytes + files.groups.nbytes + files.labels["v"].nbytes < 50 * rows


CELL = st.text("ab \"',;\n\u00e9", max_size=5)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5),
    quoting=st.sampled_from([0, 1]),
    spoil=st.one_of(st.none(), st.tuples(st.integers(0, 60), st.sampled_from('",\n'))),
)
def test_both_readers_of_tables_read_the_same(
    tmp_path: Path, rows: list[tuple[str, str, str]], quoting: Any, spoil: tuple[int, str] | None
) -> None:
    """Arrow's parser, where it is used, against Python's, which reads all that is not plain."""
    text = io.StringIO()
    csv.writer(text, quoting=quoting).writerows([("k", "l", "m"), *rows])
    data = text.getvalue()
    if spoil and spoil[0] > len("k,l,m\r\n") + 6:
        data = data[: spoil[0]] + spoil[1] + data[spoil[0] :]
    path = tmp_path / "t.csv"
    path.write_bytes(data.encode())
    form = table_module._Form(encoding="utf-8", above="", delimiter=",")
    quick = table_module._read_plain(path, form, {"l": 1})
    if quick is not None:
        strict = csv.reader(io.StringIO(data, newline=""), strict=True)
        assert quick["l"].to_pylist() == [row[1].strip() or None for row in list(strict)[1:] if row]
