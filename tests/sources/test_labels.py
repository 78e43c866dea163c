"""Labels, groups, splits and kept columns as they come in tables: the right values, or a refusal."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dof_arrow.errors import DofError, SourceError, UsageError
from dof_arrow.sources.asked import MISSING, by_column
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.open import open_source

DAY = datetime.datetime(2020, 1, 1)
NIGHT = datetime.datetime(2020, 1, 1, 5, 30)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of files that bear numbers."""
    (tmp_path / "p").mkdir()
    for number in range(30):
        (tmp_path / "p" / f"{number:02}.png").write_bytes(b"")
    return tmp_path / "p"


def listed(pictures: Path, table: str | bytes | pa.Table, **options: Any) -> Listing:
    """What is listed with a table whose column `k` numbers the pictures."""
    path = pictures.parent / "table"
    if isinstance(table, pa.Table):
        pq.write_table(table, path)
    else:
        path.write_bytes(table.encode() if isinstance(table, str) else table)
    return open_source(pictures, table=path, key="k", **options)


def rows(cells: list[str], separator: str = ",", name: str = "y") -> str:
    """A CSV table of one column."""
    lines = [f"{number:02}{separator}{cell}" for number, cell in enumerate(cells)]
    return "\n".join([f"k{separator}{name}", *lines, ""])


def columns(values: Any) -> pa.Table:
    """A table of one column `y`."""
    values = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    return pa.table({"k": [f"{number:02}" for number in range(len(values))], "y": values})


def named(found: Listing, name: str = "y") -> list[Any]:
    """The values of a label, classes by their names."""
    classes = found.targets[name].classes
    values = found.labels[name].to_pylist()
    if found.targets[name].kind == "regression":
        return values
    if found.targets[name].kind == "category":
        return [None if value is None else classes[value] for value in values]
    return [None if codes is None else [classes[code] for code in codes] for codes in values]


RIGHT: dict[str, tuple[list[str], dict[str, Any], list[str], list[Any]]] = {
    # what: cells, options, classes, values
    "points": (["0", "1", "1.0", "0.0"], {}, ["0", "1"], ["0", "1", "1", "0"]),
    "floats": (["0.0", "1.0", ""], {}, ["0", "1"], ["0", "1", None]),
    "signs": (["+1", "1", "-1"], {}, ["-1", "1"], ["1", "1", "-1"]),
    "exponents": (["1e0", "1", "2.50E1"], {}, ["1", "25"], ["1", "1", "25"]),
    "a bare point": (["3.", "3", "4"], {}, ["3", "4"], ["3", "3", "4"]),
    "minus zero": (["-0.0", "0", "1.5"], {}, ["0", "1.5"], ["0", "0", "1.5"]),
    "zeros behind": (["0.50", "0.5", ".5"], {}, ["0.5"], ["0.5", "0.5", "0.5"]),
    "order of numbers": (["10", "9", "2.5"], {}, ["2.5", "9", "10"], ["10", "9", "2.5"]),
    "mixed texts": (["12", "12.0", "A7"], {}, ["12", "A7"], ["12", "12", "A7"]),
    "leading zeros": (["007", "012"], {}, ["007", "012"], ["007", "012"]),
    "truth": (["True", "TRUE", "false"], {}, ["false", "true"], ["true", "true", "false"]),
    "truth and bits": (["True", "0", "1.0"], {}, ["false", "true"], ["true", "false", "true"]),
    "truth and texts": (["True", "maybe"], {}, ["True", "maybe"], ["True", "maybe"]),
    "large": (
        ["9007199254740993", "9007199254740992", "5"],
        {},
        ["5", "9007199254740992", "9007199254740993"],
        ["9007199254740993", "9007199254740992", "5"],
    ),
    "large beside a fraction": (
        ["9007199254740993", "9007199254740992", "0.5"],
        {},
        ["0.5", "9007199254740992", "9007199254740993"],
        ["9007199254740993", "9007199254740992", "0.5"],
    ),
    "more digits than 64 bits": (
        ["12345678901234567890", "12345678901234567891"],
        {},
        ["12345678901234567890", "12345678901234567891"],
        ["12345678901234567890", "12345678901234567891"],
    ),
    "missing among texts": (["a", "NA", "None", "<NA>", ""], {}, ["a"], ["a", *[None] * 4]),
    "missing among numbers": (["1", "NaN", "n/a"], {}, ["1"], ["1", None, None]),
    "more words": (["a", "-", "NA"], {"missing": "-,unknown"}, ["a"], ["a", None, None]),
    "words of a column": (["a", "-"], {"missing": "y:-"}, ["a"], ["a", None]),
    "a declared class": (
        ["None", "mild"],
        {"classes": "None,mild"},
        ["None", "mild"],
        ["None", "mild"],
    ),
    "case": (["cat", " cat", "Cat"], {}, ["Cat", "cat"], ["cat", "cat", "Cat"]),
    "an order": (
        ["hi", "lo", "hi"],
        {"classes": ["lo", "mid", "hi"]},
        ["lo", "mid", "hi"],
        ["hi", "lo", "hi"],
    ),
    "an order of numbers": (["1.0", "0"], {"classes": "1,0"}, ["1", "0"], ["1", "0"]),
    "an order of truth": (
        ["True", "false"],
        {"classes": "True,False"},
        ["true", "false"],
        ["true", "false"],
    ),
    "a map": (
        ["COVID-19", "covid", "todo", "flu", ""],
        {"map": "COVID*=covid,todo=,*=other"},
        ["covid", "other"],
        ["covid", "other", None, "other", None],
    ),
    "a map without a rest": (["a1", "b"], {"map": {"a*": "a"}}, ["a", "b"], ["a", "b"]),
    "a map before missing": (["None", "NA"], {"map": "None=none"}, ["none"], ["none", None]),
    "a map before types": (["one", "2"], {"map": "y:one=1.0"}, ["1", "2"], ["1", "2"]),
    "a map in Python": (["x", "y"], {"map": {"y": {"x": None}}}, ["y"], [None, "y"]),
    "several": (
        ["b | a", "", "a|a", "|", "NA", "1.0|1"],
        {"kind": "several"},
        ["1", "a", "b"],
        [["a", "b"], None, ["a"], [], None, ["1"]],
    ),
    "several with a map": (
        ["COVID-19;flu", "todo;x"],
        {"kind": "several", "separator": ";", "map": "COVID*=covid,todo="},
        ["covid", "flu", "x"],
        [["covid", "flu"], ["x"]],
    ),
    "classes of many": (
        [str(number) for number in range(25)],
        {"kind": "classes"},
        [str(number) for number in range(25)],
        [str(number) for number in range(25)],
    ),
}


@pytest.mark.parametrize("what", RIGHT)
def test_labels_in_csv(pictures: Path, what: str) -> None:
    cells, options, classes, values = RIGHT[what]
    found = listed(pictures, rows(cells), label="y", **options)
    assert list(found.targets["y"].classes) == classes
    assert named(found) == values


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        (pa.array([0.0, 1.0, None]), ["0", "1"], ["0", "1", None]),
        (pa.array([0.1, 0.3], pa.float32()), ["0.1", "0.3"], ["0.1", "0.3"]),
        (pa.array(np.array([0.1, 1], np.float16)), ["0.1", "1"], ["0.1", "1"]),
        (pa.array([2**53 + 1, 2**53]), [str(2**53), str(2**53 + 1)], [str(2**53 + 1), str(2**53)]),
        (pa.array([2**64 - 1, 2**64 - 2], pa.uint64()), None, [str(2**64 - 1), str(2**64 - 2)]),
        (pa.array([True, None, False]), ["false", "true"], ["true", None, "false"]),
        (pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00")]), None, ["1.5", "2"]),
        (pa.array([DAY, NIGHT]), None, ["2020-01-01", "2020-01-01T05:30:00"]),
        (
            pa.array([DAY], pa.timestamp("us", "Europe/Berlin")),
            None,
            ["2020-01-01T01:00:00+01:00"],
        ),
        (pa.array([DAY.date(), None]), ["2020-01-01"], ["2020-01-01", None]),
        (pa.array(["a ", "b"], pa.string_view()), ["a", "b"], ["a", "b"]),
        (pa.array(["a", ""], pa.large_string()), ["a"], ["a", None]),
        (pa.array(["b", "a"]).dictionary_encode(), ["a", "b"], ["b", "a"]),
        (pa.array([["x", "y"]] * 2, pa.list_(pa.string(), 2)), ["x", "y"], [["x", "y"]] * 2),
        (pa.array([["x"], None, []], pa.large_list(pa.string_view())), ["x"], [["x"], None, []]),
        (pa.array([[1.0, 2.0], [1.0]]), ["1", "2"], [["1", "2"], ["1"]]),
        (pa.array([1.0, float("nan"), 2.0]), ["1", "2"], ["1", None, "2"]),
    ],
)
def test_labels_in_parquet(
    pictures: Path, values: pa.Array, classes: list[str] | None, expected: list[Any]
) -> None:
    found = listed(pictures, columns(values), label="y")
    assert named(found) == expected
    assert classes is None or list(found.targets["y"].classes) == classes


def test_an_order_is_kept_where_it_is_flagged(pictures: Path) -> None:
    levels = ["lo", "mid", "hi", "never"]
    for ordered, classes in ((True, levels), (False, ["hi", "lo", "mid"])):
        values = pd.Categorical(["hi", "lo", "mid", None], categories=levels, ordered=ordered)
        found = listed(pictures, columns(pa.array(values)), label="y")
        assert list(found.targets["y"].classes) == classes
        assert named(found) == ["hi", "lo", "mid", None]
    enum = pl.Series(["hi", "lo"], dtype=pl.Enum(["mid", "lo", "hi"]))
    frame = pl.DataFrame({"k": ["00", "01"], "y": enum})
    frame.write_ipc(pictures.parent / "table")
    table: dict[str, Any] = {"table": pictures.parent / "table", "key": "k"}
    found = open_source(pictures, label="y", keep="y", group="y", **table)
    assert found.targets["y"].classes == ("mid", "lo", "hi")
    assert found.columns["y"].to_pylist() == found.groups.to_pylist() == ["hi", "lo"]


def test_numbers_of_which_many_differ_are_a_number(pictures: Path) -> None:
    whole = listed(pictures, rows([str(number) for number in range(21)]), label="y")
    assert whole.targets["y"].kind == "regression" and named(whole)[-1] == 20.0
    assert whole.remarks == (
        "y: a number, 21 different values; --kind classes makes classes of them",
    )
    few = listed(pictures, rows(["1", "2.5"]), label="y", kind="number")
    assert named(few) == [1.0, 2.5] and few.remarks == ()
    zeros = listed(pictures, rows(["007", "12"]), label="y", kind="number")
    assert named(zeros) == [7.0, 12.0]


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (["02", "2"], {}, "a number in the label column is written in two ways"),
        (["02", "2.0"], {"kind": "classes"}, "leading zeros"),
        (["+1", "1", "a"], {}, "written in two ways"),
        (["", "NA"], {}, "without a label"),
        (["a", "1"], {"kind": "number"}, "needs numbers"),
        ([str(2**53 + 1)], {"kind": "number"}, "float64 does not hold"),
        (["1", "inf"], {"kind": "number"}, "float64 does not hold"),
        (["a", "b"], {"classes": "a,c"}, "found b besides"),
        (["a"], {"classes": "a,a"}, "each once"),
        (["1"], {"kind": "number", "classes": "1"}, "has no classes"),
        (["a"], {"kind": "regression"}, "number or classes or several"),
        (["a"], {"map": "a"}, "a pattern without a name"),
        (["a"], {"map": {"": "x"}}, "a pattern is empty"),
        (["a"], {"kind": {"z": "classes"}}, "a column that is no label"),
        (["a"], {"missing": {"z": "-"}}, "not asked for"),
    ],
)
def test_labels_that_are_refused(
    pictures: Path, cells: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DofError, match=message):
        listed(pictures, rows(cells), label="y", **options)


def test_rules_need_a_label(pictures: Path) -> None:
    with pytest.raises(UsageError, match="--map is said of labels, and none is asked for"):
        listed(pictures, rows(["a"]), keep=["y"], map="a=b")
    with pytest.raises(UsageError, match="--kind is said twice"):
        by_column("kind", ["y:classes", "y:number"], ["y"])
    with pytest.raises(UsageError, match="one value a row, for --kind number"):
        listed(pictures, columns([["a"]]), label="y", kind="number")


def test_several_labels_each_with_its_rules(pictures: Path) -> None:
    text = "k,a,b,c\n00,1,x|y,NA\n01,2,,u\n02,2.0,y,-\n"
    found = listed(
        pictures,
        text,
        label=["a", "b"],
        kind={"b": "several"},
        keep="c",
        missing={"c": "-"},
        map={"a": {"1": "one"}},
    )
    assert named(found, "a") == ["one", "2", "2"]
    assert named(found, "b") == [["x", "y"], None, ["y"]]
    assert found.columns["c"].to_pylist() == [None, "u", None]
    assert (
        "c: 2 cells are missing: - (1), NA (1); --map '-=NAME' would make a value of such a cell"
        in found.remarks
    )


def test_class_folders_beside_a_column(tmp_path: Path) -> None:
    for name in ("None/1.png", "b/2.png"):
        (tmp_path / "p" / name).parent.mkdir(parents=True)
        (tmp_path / "p" / name).write_bytes(b"")
    (tmp_path / "t.csv").write_text("k,y,label\n1,u,v\n2,w,v\n")
    options: dict[str, Any] = {"table": tmp_path / "t.csv", "key": "k"}
    found = open_source(tmp_path / "p", label=["y", "folder"], **options)
    assert found.targets["label"].classes == ("None", "b") and found.labels["y"].to_pylist() == [
        0,
        1,
    ]
    mapped = open_source(tmp_path / "p", label="folder", map="None=healthy", **options)
    assert mapped.targets["label"].classes == ("b", "healthy")
    with pytest.raises(UsageError, match="two labels of one name"):
        open_source(tmp_path / "p", label=["label", "folder"], **options)


def test_groups_are_told_by_value(pictures: Path) -> None:
    found = listed(pictures, rows(["12", "12.0", "A7", "NA"]), group="y")
    assert found.groups.to_pylist() == ["12", "12", "A7", None]
    floats = listed(pictures, columns([12.0, 12.0, None]), group="y")
    assert floats.groups.to_pylist() == ["12", "12", None]
    with pytest.raises(SourceError) as caught:
        listed(pictures, rows(["012", "12", "A7"]), group="y")
    assert "group column" in str(caught.value) and "12" not in str(caught.value)


def test_keys_of_whole_numbers_that_were_kept_as_floats(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name in ("0.png", "1.png"):
        (tmp_path / "p" / name).write_bytes(b"")
    for table in ("k,y\n0.0,a\n1.0,b\n", "k,y\n0,a\n1,b\n"):
        (tmp_path / "t.csv").write_text(table)
        found = open_source(tmp_path / "p", table=tmp_path / "t.csv", key="k", label="y")
        assert found.names.to_pylist() == ["0.png", "1.png"] and not found.place.null_count


def test_splits_in_all_spellings(pictures: Path) -> None:
    found = listed(
        pictures, rows(["Training", "trn", "dev", "VALIDATION", "Testing", ""]), split="y"
    )
    assert found.splits.to_pylist() == ["train", "train", "valid", "valid", "test", None]
    assert (
        "y: Testing is test, Training is train, VALIDATION is valid, dev is valid, trn is train"
        in found.remarks
    )
    with pytest.raises(SourceError, match=r"found fold1, holdout\. Say.*--map 'y:fold1=test'"):
        listed(pictures, rows(["train", "holdout", "fold1"]), split="y")
    mapped = listed(pictures, rows(["train", "out", "mine"]), split="y", map="y:out=TEST,mine=mine")
    assert mapped.splits.to_pylist() == ["train", "test", "mine"]


def test_remarks_say_what_was_chosen(pictures: Path) -> None:
    text = rows(["cat", "Cat", "NA", "None", "None", "a", "b", "c", "d"])
    found = listed(pictures, text, label="y", map="dgo=dog")
    assert found.remarks == (
        "y: no cell fits dgo of --map",
        "y: 3 cells are missing: NA (1), None (2); --map 'NA=NAME' would make a value of such a cell",
        "y: Cat, cat differ only in case or blanks, and are classes of their own; --map makes one "
        "of them",
    )
    ways = listed(pictures, rows(["1", "1.0"]), label="y").remarks
    assert ways[0] == "y: a number that is written in several ways is one value"


def test_the_words_for_missing_are_those_of_pandas() -> None:
    from pandas._libs.parsers import STR_NA_VALUES

    assert STR_NA_VALUES - {""} == MISSING


@pytest.mark.parametrize(
    ("cells", "separator", "values"),
    [
        (["0,5", "1,25"], ";", [0.5, 1.25]),
        (["0,5", "12", ""], "\t", [0.5, 12.0, None]),
        (["1,234", "0,5"], ";", [1.234, 0.5]),
        (["1,234", "2,500"], ";", ["1,234", "2,500"]),  # these may be thousands
        (["1.234,5", "0,5"], ";", ["1.234,5", "0,5"]),
        (["1,234,567", "1"], ";", ["1,234,567", "1"]),
        (['"0,5"', '"1,5"'], ",", ["0,5", "1,5"]),
    ],
)
def test_decimal_commas(
    pictures: Path, cells: list[str], separator: str, values: list[Any]
) -> None:
    found = listed(pictures, rows(cells, separator), keep="y")
    assert found.columns["y"].to_pylist() == values


TABLE = "k,y\n00,Grün\n01,b\n"


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (TABLE.encode(), {}),
        (TABLE.encode("utf-8-sig"), {}),
        (TABLE.encode("utf-8-sig"), {"encoding": "utf-8"}),
        (TABLE.encode("utf-16"), {}),
        (TABLE.encode("utf-32"), {}),
        (TABLE.encode("latin-1"), {"encoding": "latin-1"}),
        (TABLE.encode("cp1252"), {"encoding": "cp1252"}),
        (TABLE.encode("utf-16-le"), {"encoding": "utf-16-le"}),
        (("sep=;\n" + TABLE.replace(",", ";")).encode(), {}),
        (('"sep=|"\n' + TABLE.replace(",", "|")).encode("utf-8-sig"), {}),
        (("# made by us, today, \n# twice\n" + TABLE).encode(), {}),
        (("\n\n" + TABLE).encode(), {}),
        (TABLE.replace("\n", "\r").encode(), {}),
        (TABLE.replace("\n", "\r\n").encode("utf-16"), {}),
        (TABLE.replace("k,y", '"k",y ').encode(), {}),
    ],
)
def test_encodings_and_what_stands_above_the_header(
    pictures: Path, data: bytes, options: dict[str, Any]
) -> None:
    found = listed(pictures, data, label="y", **options)
    assert named(found) == ["Grün", "b"]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (TABLE.encode("latin-1"), {}, "not UTF-8.*--encoding latin-1, or cp1252"),
        (TABLE.encode("latin-1"), {"encoding": "ascii"}, "not of the encoding"),
        (TABLE.encode("utf-16-le"), {}, "UTF-16 without a mark.*--encoding utf-16-le"),
        (TABLE.encode(), {"encoding": "klingon"}, "no such encoding: found klingon"),
        (b"# nothing\nk,z\n00,a\n", {}, "no such column"),
        (TABLE.encode(), {"keep": ["u", "v"]}, "no such columns in the table.*found u, v"),
    ],
)
def test_tables_that_are_refused(
    pictures: Path, data: bytes, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DofError, match=message):
        listed(pictures, data, label="y", **options)


def test_names_to_keep(pictures: Path) -> None:
    text = 'k,"a, b",c,d\n00,1,2,3\n'
    for keep in ("c , d", ["c", "d"], ["c,d"]):
        assert set(listed(pictures, text, keep=keep).columns) == {"c", "d"}
    for keep in (["a, b", "c"], '"a, b",c'):
        assert set(listed(pictures, text, keep=keep).columns) == {"a, b", "c"}


# Workbooks


def test_workbooks(pictures: Path) -> None:
    frame = pd.DataFrame(
        {
            "k": [0, 1, 2],
            "y": ["a", "b", "None"],
            "n": [1.0, 2.5, None],
            "d": [DAY, NIGHT, DAY],
            "t": [True, False, True],
        }
    )
    (pictures.parent / "n").mkdir()
    for number in range(3):
        (pictures.parent / "n" / f"{number}.png").write_bytes(b"")
    path = pictures.parent / "t.xlsx"
    with pd.ExcelWriter(path) as book:
        frame.to_excel(book, sheet_name="one", index=False)
        frame.assign(y="z").to_excel(book, sheet_name="two", index=False, startrow=2)
    options: dict[str, Any] = {"key": "k", "label": "y", "keep": "n,d,t"}
    found = open_source(pictures.parent / "n", table=path, **options)
    assert named(found) == ["a", "b", None]
    assert found.columns["n"].to_pylist() == [1.0, 2.5, None]
    assert found.columns["d"].to_pylist() == ["2020-01-01", "2020-01-01T05:30:00", "2020-01-01"]
    assert found.columns["t"].to_pylist() == [True, False, True]
    assert found.remarks[0] == "t.xlsx: the sheet one is read, not two"
    second = open_source(pictures.parent / "n", table=f"{path}#two", **options)
    assert named(second) == ["z", "z", "z"]
    with pytest.raises(UsageError, match="no such sheet in the workbook: expected one, two"):
        open_source(pictures.parent / "n", table=f"{path}#three", **options)
    path.write_bytes(b"PK\3\4 nothing")
    with pytest.raises(SourceError, match="the workbook cannot be read"):
        open_source(pictures.parent / "n", table=path, **options)


# Any column that pandas writes

WHOLE = st.integers(-3, 3) | st.sampled_from([10, 2**53 + 1, -(2**60)])
COLUMNS = st.one_of(
    st.lists(st.none() | WHOLE, min_size=1, max_size=6),
    st.lists(st.none() | st.sampled_from([0.0, 1.0, 0.5, 1e-7, 12.25]), min_size=1, max_size=6),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=6),
    st.lists(st.none() | st.sampled_from(["a", "B b", "A7", "é", "x-1"]), min_size=1, max_size=6),
)


def reference(values: list[Any]) -> list[str | None]:
    """What each value is called: numbers by value, whole ones without a point."""
    found: list[str | None] = []
    for value in values:
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, float):
            value = (
                int(value) if value == int(value) else np.format_float_scientific(value, trim="-")
            )
        found.append(None if value is None else str(value))
    return found


def same(name: str | None, other: str | None) -> bool:
    if name is None or other is None or name == other:
        return name == other
    return float(name) == float(other) if other[0].isdigit() and "e" in other else False


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=COLUMNS, form=st.sampled_from(["csv", "parquet", "xlsx"]))
def test_what_pandas_writes_is_read_as_its_values(
    pictures: Path, values: list[Any], form: str
) -> None:
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return
    if form == "xlsx" and kinds == {int}:  # Excel keeps numbers as float64
        values = [value if value is None or abs(value) < 2**53 else 7 for value in values]
    if kinds == {int} and None in values and form != "parquet":
        # pandas makes floats of these, as it does of all whole numbers beside a missing one.
        values = [value if value is None or abs(value) < 2**53 else 7 for value in values]
        series = pd.Series(values, dtype="float64")
    else:
        kind = {int: "Int64", bool: "boolean", str: "object", float: "float64"}[kinds.pop()]
        series = pd.Series(values, dtype=kind)
    frame = pd.DataFrame({"k": [f"{number:02}" for number in range(len(values))], "y": series})
    path = pictures.parent / "table"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_excel(path.with_suffix(".xlsx"), index=False)
        path = path.with_suffix(".xlsx")
    found = named(open_source(pictures, table=path, key="k", label="y", kind="classes"))
    expected = reference(values)
    assert all(same(*pair) for pair in zip(found, expected, strict=True)), (found, expected)
    pairs = set(zip(found, expected, strict=True))
    assert len(pairs) == len(set(found)) == len(set(expected))
