"""Tables of segments: what their cells mean, what they are called, and what belongs together."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dof_arrow.errors import UsageError
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import ClipPart, Refused
from dof_arrow.sources.segments import EMPTY, NEGATIVE, seconds
from tests.sources.listed import Make, keys, rule


@pytest.fixture
def listed(tmp_path: Path) -> Any:
    """Opens clips `a.mp4` and `b.mp4` with a table of these rows: clip, start, end, label, group."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_bytes(b"\0" * 100)

    def opened(*rows: str, separator: str = ",", **options: Any) -> Any:
        lines = ["clip,from,to,label,who".replace(",", separator), *rows]
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
        given = {"key": "clip", "start": "from", "end": "to", "label": "label", "clips": True}
        return open_source(tmp_path, table=tmp_path / "t.csv", **given | options)

    return opened


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("0", 0),
        ("12", 12),
        ("12.5", "12.5"),
        (".5", "0.5"),
        ("7.", 7),
        ("+3", 3),
        ("1e-05", "0.00001"),
        ("1.5e2", 150),
        ("-2", -2),
        ("0:07", 7),
        ("01:02.250", "62.25"),
        ("90:00", 5400),
        ("1:02:03", 3723),
        ("01:02:03,5", "3723.5"),
        ("-0:01", -1),
        *(
            (cell, None)
            for cell in ("x", "1:2", "1:60", "1:2:03", "1:60:00", "inf", "1e999", "1 2")
        ),
        *((cell, None) for cell in ("", "-", "1:", ":30", "1.2.3", "0x10", "1_0", "٣", "9" * 60)),
    ],
)
def test_times(cell: str, expected: Any) -> None:
    assert seconds(cell) == (None if expected is None else Fraction(expected))


def test_each_row_is_an_input_sorted_by_clip_and_time(listed: Any) -> None:
    found = listed("b,10,11,x,", "a,9,10,x,", "a,0:01.50,9.50,y,", "a,,,x,", "a,9,9.5,y,")
    assert keys(found) == [
        "a.mp4#t=0",
        "a.mp4#t=1.5,9.5",
        "a.mp4#t=9,9.5",
        "a.mp4#t=9,10",
        "b.mp4#t=10,11",
    ]
    assert [sample.target["label"] for sample in found] == [0, 1, 1, 0, 0]
    assert all(isinstance(sample.data, ClipPart) for sample in found)
    assert [sample.begin for sample in found] == [0, Fraction("1.5"), 9, 9, 10]
    assert len({str(sample.stamp()) for sample in found}) == 5
    assert sorted(map(str, found.files())) == sorted({str(path) for path in found.files()})
    assert found.refused is None


def test_equal_times_are_one_input_however_they_are_written(listed: Any) -> None:
    found = listed("a,60,1:30,x,p", "a,1:00.0,90.00,x,p", group="who")
    assert keys(found) == ["a.mp4#t=60,90"] and found.counts["doubled"] == 1
    found = listed("a,60,1:30,x,", "a,1:00.0,90.00,y,", "a,0,9,x,")
    assert rule(found[1]) == "table" and found.refused.to_pylist()[0] is None


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("abc,2", "start is no time"),
        ("1,xyz", "end is no time"),
        ("1:75,80", "start is no time"),
        ("inf,", "start is no time"),
        ("-1,2", NEGATIVE),
        ("-3,-2", NEGATIVE),
        ("2,2", EMPTY),
        ("3,2", EMPTY),
        (",0", EMPTY),
    ],
)
def test_bad_segments_fail_alone(cells: str, reason: str, listed: Any) -> None:
    found = listed(f"a,{cells},x,", "a,1,2,y,", f"b,{cells},x,")
    bad = [sample for sample in found if isinstance(sample.data, Refused)]
    assert len(found) == 3 and len(bad) == 2 and found[0].key == "a.mp4#t=1,2"
    assert [rule(sample) for sample in bad] == ["table"] * 2
    assert all(reason in why for why in found.refused.drop_null().to_pylist())
    assert list(found.known_failures().values()) == [2]


def test_failures_of_all_kinds_are_counted_apart(listed: Any) -> None:
    found = listed("a,2,1,x,", "gone,1,2,x,", "gone,3,2,x,", "../a,1,2,x,", "a,1,2,y,")
    counts = found.known_failures()
    assert counts.pop("no such file") == 1 and sorted(counts.values()) == [1, 2]


def test_names_of_bad_cells_never_meet(listed: Any) -> None:
    found = listed('a,"x#t=1",2,x,', 'a,x,"1,2",x,', 'a,"x,1",2,x,', "a,\x07é,2,x,", "b,,,x,")
    assert len(set(keys(found))) == len(found) == 5
    assert all(key.isascii() and key.isprintable() for key in keys(found))


def test_words_for_missing_and_decimal_commas(listed: Any) -> None:
    found = listed("a,NA,2,x,", "a,3,nan,x,")
    assert keys(found) == ["a.mp4#t=0,2", "a.mp4#t=3"]
    assert [text for text in found.remarks if "taken as the clip's" in text] == [
        "from: 1 cells, NA, are taken as the clip's begin",
        "to: 1 cells, nan, are taken as the clip's end",
    ]
    found = listed("a;0,5;2,25;x;", separator=";")
    assert keys(found) == ["a.mp4#t=0.5,2.25"]


def test_segments_of_a_clip_share_a_group(listed: Any) -> None:
    found = listed("a,0,1,x,", "b,0,1,x,", "a,1,2,y,")
    assert [sample.group for sample in found] == ["a.mp4", "a.mp4", "b.mp4"]
    found = listed("a,0,1,x,", "a,1,2,y,ann", "b,0,1,x,", "b,3,4,x,", group="who")
    assert [sample.group for sample in found] == ["ann", "ann", "b.mp4", "b.mp4"]
    found = listed("a,0,1,x,bob", "a,1,2,y,ann", "b,0,1,x,cy", group="who")
    assert [sample.group for sample in found] == ["bob", "ann", "cy"]
    assert "1 clips have segments of several groups, which a split may part" in found.remarks


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (["a,0,2,x,", "a,1,3,y,"], 2),
        (["a,0,2,x,", "a,1,3,x,"], 0),
        (["a,0,2,x,", "a,2,3,y,"], 0),
        (["a,0,2,x,", "a,1,3,,"], 0),
        (["a,0,2,x,", "b,1,3,y,"], 0),
        (["a,0,,x,", "a,1,2,y,", "a,3,4,y,", "a,5,6,x,"], 3),
        (["a,0,9,x,", "a,1,2,x,", "a,3,4,y,"], 2),
        (["a,5,2,x,", "a,1,3,y,"], 0),
    ],
)
def test_overlaps_with_other_labels_are_told(rows: list[str], count: int, listed: Any) -> None:
    told = [text for text in listed(*rows).remarks if "overlap" in text]
    expected = f"{count} segments overlap others of their clip whose labels differ"
    assert told == ([expected] if count else [])


def test_one_column_may_be_left_out(listed: Any) -> None:
    assert keys(listed("a,5,,x,", "a,6,,x,", end=None)) == ["a.mp4#t=5", "a.mp4#t=6"]
    assert keys(listed("a,,5,x,", "a,,6,x,", start=None)) == ["a.mp4#t=0,5", "a.mp4#t=0,6"]


def test_refused_where_they_cannot_be(folder: Make, table: Make, listed: Any) -> None:
    path = table("k,from,to\na.png,1,2\n")
    with pytest.raises(UsageError, match=r"the inputs are pictures.*--start from.*--clips"):
        open_source(folder("a.png"), table=path, key="k", start="from", end="to")
    with pytest.raises(UsageError, match="rows of a table"):
        open_source(folder("a.png"), end="to", clips=True)
    with pytest.raises(UsageError, match="no such column"):
        listed("a,1,2,x,", start="begin")
