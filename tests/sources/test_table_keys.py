"""Keys of a table matched with names: exactly, by spelling, and further where it is asked for."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.sources.open import open_source
from dof_arrow.sources.table_keys import OUTSIDE, READINGS, SEVERAL, match
from tests.sources.listed import Make, keys, rule

NFC, NFD = (unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD"))


def found(
    rows: list[str | None], names: list[str], *loosely: str
) -> tuple[list[str | None], list[str | None], dict[str, int]]:
    """The picture of each row, why rows are refused, and what further readings would find."""
    sorted_names = pa.array(sorted(names), pa.large_string())
    matched = match(pa.array(rows, pa.string()), sorted_names, Path("t.csv"), loosely)
    places = matched.place.to_pylist()
    pictures = [None if place is None else sorted(names)[place] for place in places]
    return pictures, matched.refused.to_pylist(), dict(matched.offers)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (NFC, NFD),
        (NFD, NFC),
        ("sub\\a.png", "sub/a.png"),
        ("./sub/a.png", "sub/a.png"),
        (NFC.removesuffix(".png"), NFD),
    ],
)
def test_another_spelling_of_the_same_name(row: str, name: str) -> None:
    assert found([row], [name]) == ([name], [None], {})


@pytest.mark.parametrize(
    ("reading", "row", "name"),
    [
        ("case", "A.PNG", "a.png"),
        ("case", "ÀB", "àb.png"),
        ("folder", "images/a.png", "a.png"),
        ("folder", "/data/images/a.png", "x/a.png"),
        ("folder", "C:\\data\\a.png", "a.png"),
        ("folder", "../a.png", "a.png"),
        ("suffix", "a.jpg", "a.png"),
        ("suffix", "x/a.jpeg", "x/a.png"),
        ("padding", "7", "0007.png"),
        ("padding", "p07_1.png", "p7_01.png"),
        ("padding", "0", "000.png"),
    ],
)
def test_further_readings_are_offered_and_taken_only_if_asked_for(
    reading: str, row: str, name: str
) -> None:
    assert found(["other.png", row], [name, "other.png"]) == (
        ["other.png", None],
        [None, OUTSIDE if row[:2] in ("/d", "C:", "..") else None],
        {reading: 1},
    )
    pictures, refused, offers = found(["other.png", row], [name, "other.png"], reading)
    assert pictures == ["other.png", name] and refused == [None, None] and not offers


def test_readings_together_are_offered_where_one_alone_finds_nothing() -> None:
    with pytest.raises(SourceError, match="--match case,folder,suffix,padding would find 1 more"):
        found(["X/A01.JPG"], ["a1.png"])
    assert found(["X/A01.JPG"], ["a1.png"], *READINGS)[0] == ["a1.png"]


def test_a_key_that_fits_several_pictures_refuses_its_row_alone() -> None:
    pictures, refused, _ = found(["b.png", "a.png"], ["a.png", "x/b.png", "y/b.png"])
    assert pictures == [None, "a.png"] and refused == [SEVERAL, None]
    pictures, refused, _ = found(["A.png", "c.png"], ["a.PNG", "a.png", "c.png"], "case")
    assert pictures == [None, "c.png"] and refused == [SEVERAL, None]


@pytest.mark.parametrize(
    "unsafe", ["../a.png", "/etc/passwd", "x/../../a.png", "C:\\a.png", "..\\a.png", "\\a.png"]
)
def test_keys_that_lead_out_are_refused_each_alone(folder: Make, table: Make, unsafe: str) -> None:
    root = folder("a.png", "b.png")
    (root.parent / "a.png").write_bytes(b"secret")
    files = open_source(root, table=table(f"k,v\nb.png,1\n{unsafe},2\n,3\n"), key="k")
    lost = keys(files).index(unsafe)
    assert sorted(keys(files)) == sorted([unsafe, "b.png"]) and rule(files[lost]) == "table"
    assert files.counts == {"without_row": 1, "without_key": 1}
    assert files.refused.to_pylist()[lost] == OUTSIDE


def test_no_key_in_a_message_and_no_row_without_a_reason(folder: Make, table: Make) -> None:
    with pytest.raises(SourceError, match="no rows"):
        open_source(folder("a.png"), table=table("k\n"), key="k")
    with pytest.raises(SourceError, match="no row of the table names a picture: found 2 rows") as e:
        open_source(folder("a.png"), table=table("k\nErika\nMax\n"), key="k")
    assert "Erika" not in str(e.value) and "--key the right column" in str(e.value)
    with pytest.raises(UsageError, match="expected case or folder or suffix or padding, found x"):
        open_source(folder("a.png"), table=table("k\na\n"), key="k", match=["x"])


def test_exact_names_win_over_every_other_reading() -> None:
    names = ["1.png", "01.png", "A/1.png"]
    assert found(["1.png", "01.png", "A/1.png"], names, *READINGS)[0] == names


def reference(row: str, names: list[str], readings: list[str]) -> str | None:
    """The picture that a key names by one level at a time, written apart."""

    def fold(text: str) -> str:
        text = unicodedata.normalize("NFC", text.replace("\\", "/"))
        if "folder" in readings:
            text = text.rpartition("/")[2]
        if "case" in readings:
            text = text.lower()
        return text

    fits = [name for name in names if fold(name) == fold(row)]
    return fits[0] if len(fits) == 1 else None


@pytest.mark.parametrize("seed", range(20))
def test_against_a_search_written_apart(seed: int) -> None:
    rng = random.Random(seed)
    parts = ["a", "A", "é", "e\u0301", "b"]
    names = sorted({f"{rng.choice(parts)}/{rng.choice(parts)}.png" for _ in range(8)})
    rows = [rng.choice(names) for _ in range(4)]
    rows += [f"{rng.choice(parts)}\\{rng.choice(parts)}.png" for _ in range(4)]
    readings = [name for name in ("case",) if rng.random() < 0.5]
    pictures, _, _ = found(rows, names, *readings)
    for row, picture in zip(rows, pictures, strict=True):
        if row in names:
            assert picture == row
            continue
        spelled = reference(row, names, [])
        assert picture in (spelled, reference(row, names, readings))
        assert picture is not None or reference(row, names, readings) is None


def test_what_letters_tell_is_what_a_search_tells() -> None:
    """Keys without any of some letters need no look for what leads outside, or is respelled."""
    names = pa.array(["a", "b", "c.png", "d/e"], pa.large_string())
    for rows in (["a", "b"], ["a", None], ["..", "a"], ["c", "a"], ["/a", "b"], ["d\\e", "a"]):
        matched = match(pa.array(rows, pa.string()), names, Path("t"))
        outside = [key is not None and key in ("..", "/a") for key in rows]
        assert [reason == OUTSIDE for reason in matched.refused.to_pylist()] == outside
        known = {"a": 0, "b": 1, "c": 2, "d\\e": 3}
        assert matched.place.to_pylist() == [known.get(key or "") for key in rows]


def test_names_that_stand_twice_are_noticed_whatever_the_keys_are() -> None:
    names = pa.array(["a", "a", "b"], pa.large_string())
    matched = match(pa.array(["a", "b", "b", "b"]), names, Path("t"))
    assert matched.place.to_pylist() == [None, 2, 2, 2]
    assert matched.refused.to_pylist() == [SEVERAL, None, None, None]
