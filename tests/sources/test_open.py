from __future__ import annotations

import csv
import io
import multiprocessing
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dof_arrow.errors import OutputError, PictureError, SourceError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.security.keys import load_or_make_key
from dof_arrow.sources import table as table_module
from dof_arrow.sources.folder import Files
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Sample, Source
from dof_arrow.sources.table import typed
from tests.support.shared import shared_data

Make = Callable[..., Path]


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Make:
    """Make a folder of files, each holding its own name, and name it."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
        return tmp_path / "pictures"

    return make


@pytest.fixture
def table(tmp_path: Path) -> Make:
    def make(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return make


def keys(source: Source) -> list[str]:
    return [source[i].key for i in range(len(source))]


def column(source: Source, name: str) -> list[Any]:
    return [source[i].target[name] for i in range(len(source))]


# folders


def test_a_folder_in_order_at_any_depth_with_hidden_and_other_files_left_out(folder: Make) -> None:
    files = open_source(
        folder("b.png", "a/x.JPG", "a/.hidden.png", ".git/c.png", "a.png", "notes.txt", "é/ü.tif")
    )
    assert keys(files) == ["a.png", "a/x.JPG", "b.png", "é/ü.tif"]
    assert files.counts == {"ignored": 1} and files[1].load() == b"a/x.JPG"
    assert (files.targets, files.kept, files.has_group, files.has_split) == ({}, {}, False, False)
    with pytest.raises(IndexError):
        files[4]


def test_class_folders_when_asked(folder: Make) -> None:
    files = open_source(folder("dog/1.png", "cat/2.png", "cat/deep/0.png"), label="folder")
    assert files.targets == {"label": Target(kind="category", classes=("cat", "dog"))}
    assert column(files, "label") == [0, 0, 1]
    with pytest.raises(SourceError, match="1 at the top"):
        open_source(folder("loose.png"), label="folder")


def test_one_picture_is_a_source_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "picture.bin").write_bytes(png())
    files = open_source(tmp_path / "picture.bin")
    assert keys(files) == ["picture.bin"] and files[0].load() == png()
    (tmp_path / "text.png").write_bytes(b"hello")
    with pytest.raises(SourceError, match="not a picture"):
        open_source(tmp_path / "text.png")


def test_folders_that_hold_nothing(folder: Make, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        open_source(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="an empty folder"):
        open_source(tmp_path / "empty")
    with pytest.raises(SourceError, match=r"2 other files.*--table"):
        open_source(folder("a.txt", "b.csv"))


def test_links_out_of_the_folder_are_refused_and_inner_ones_followed(
    folder: Make, tmp_path: Path
) -> None:
    root = folder("a.png", "sub/b.png")
    (root / "link.png").symlink_to("sub/b.png")
    (root / "loop").symlink_to(".")
    (root / "gone.png").symlink_to("sub/gone.png")
    files = open_source(root)
    assert (
        keys(files) == ["a.png", "gone.png", "link.png", "sub/b.png"]
        and files[2].load() == b"sub/b.png"
    )
    assert rule(files[1]) == "missing"
    (tmp_path / "secret.png").write_bytes(b"secret")
    for target in (tmp_path / "secret.png", tmp_path):
        (root / "out.png").symlink_to(target)
        with pytest.raises(SourceError, match="leads out of the folder"):
            open_source(root)
        (root / "out.png").unlink()


def test_the_folder_itself_may_be_a_link(folder: Make, tmp_path: Path) -> None:
    root = folder("a.png", "b.png")
    (root / "c.png").symlink_to("a.png")
    (tmp_path / "link").symlink_to(root)
    assert len(open_source(tmp_path / "link")) == 3


def test_a_name_that_is_not_utf8_is_said(folder: Make) -> None:
    root = folder("a.png")
    try:
        (root / os.fsdecode(b"\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system keeps names in Unicode")
    with pytest.raises(SourceError, match="not UTF-8"):
        open_source(root)


# samples


def rule(sample: Sample) -> str:
    with pytest.raises(PictureError) as caught:
        sample.load()
    assert sample.key not in str(caught.value)
    return caught.value.rule


def test_a_file_that_cannot_be_read_names_no_path(folder: Make, tmp_path: Path) -> None:
    files = open_source(folder("a.png"))
    (files.root / "a.png").unlink()
    assert rule(files[0]) == "missing"
    (files.root / "a.png").mkdir()
    assert rule(files[0]) == "unreadable"
    os.mkfifo(tmp_path / "pipe")
    assert rule(Sample(key="pipe", data=tmp_path / "pipe")) == "unreadable"


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 31)
    assert rule(open_source(tmp_path)[0]) == "too-large"


def test_samples_and_sources_cross_processes(folder: Make) -> None:
    files = open_source(folder("a/x.png"), label="folder")
    assert pickle.loads(pickle.dumps(files[0])) == files[0] == pickle.loads(pickle.dumps(files))[0]


def test_a_source_of_ones_own_takes_ten_lines() -> None:
    class Mine:
        targets = {"digit": Target(kind="category", classes=("0", "1"))}
        kept: dict[str, str] = {}
        has_group = has_split = False

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Sample:
            return Sample(key=f"{index}", data=png(), target={"digit": index})

    source: Source = Mine()
    assert keys(source) == ["0", "1"] and source[1].load() == png()


# tables


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
    assert files.counts == {"ignored": 1, "without_row": 1, "without_file": 2}


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


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png\na.png", "two rows name the same picture: found rows 1 and 2"),
        ("x/b.png\n./x/b.png", "two rows name the same picture"),
        ("b.png", "row 1 after the header: a key fits several files"),
        ("a.png\n../a.png", "row 2 after the header: a key is empty or leads out"),
        ("/etc/passwd", "leads out"),
        ("x/../../a.png", "leads out"),
        ("C:\\a.png", "leads out"),
        ("..\\a.png", "leads out"),
        ("a.png\n''", "row 2 after the header: a key is empty"),
        ("", "no rows"),
    ],
)
def test_keys_that_cannot_be(folder: Make, table: Make, rows: str, message: str) -> None:
    root, path = (
        folder("a.png", "x/b.png", "y/b.png"),
        table("k,v\n" + "".join(f"{r},\n" for r in rows.split())),
    )
    path.write_text(path.read_text().replace("''", ""))
    with pytest.raises(SourceError, match=message) as caught:
        open_source(root, table=path, key="k")
    assert not any(row in str(caught.value) for row in rows.split() if len(row) > 3)


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
    "text", ["k;v\na.png;1,5\n", "k\tv\na.png\t1,5\n", 'k,v\n\n" a.png ","1,5"\n\n']
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_marks_and_blank_lines(
    folder: Make, table: Make, text: str, encoding: str
) -> None:
    files = open_source(folder("a.png"), table=table(text, encoding), key="k", keep=["v"])
    assert files[0].kept == {"v": "1,5"}


@pytest.mark.parametrize(
    ("cells", "type", "values"),
    [
        (["1", "-2", ""], "int64", [1, -2, None]),
        (["1", "NA", "3"], "int64", [1, None, 3]),
        (["1", ".5", "2e3", "nan"], "float64", [1.0, 0.5, 2000.0, None]),
        (["007", "12"], "string", ["007", "12"]),
        (["12345678901234567890", "1"], "string", ["12345678901234567890", "1"]),
        (["True", "false", ""], "bool", [True, False, None]),
        (["NA", "b"], "string", ["NA", "b"]),
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
    assert labelled(folder, table, [str(i) for i in range(30)]).targets["v"].kind == "category"


def test_the_kind_of_a_label_can_be_said(folder: Make, table: Make) -> None:
    ages = labelled(folder, table, ["61", "7"], kind="regression")
    assert ages.targets["v"].kind == "regression" and column(ages, "v") == [61.0, 7.0]
    with pytest.raises(UsageError, match="needs numbers"):
        labelled(folder, table, ["old", "7"], kind="regression")
    both = labelled(folder, table, ["b | a", "", "a|a", "|"], kind="multilabel")
    assert both.targets["v"] == Target(kind="multilabel", classes=("a", "b"))
    assert column(both, "v") == [[0, 1], None, [0], []]
    assert column(labelled(folder, table, ["x;y"], kind="multilabel", separator=";"), "v") == [
        [0, 1]
    ]


def test_class_folders_beside_a_table(folder: Make, table: Make) -> None:
    root, path = folder("x/1.png", "y/2.png"), table("k,w\n1,p\n2,q\n")
    files = open_source(root, table=path, key="k", group="w", label="folder")
    assert column(files, "label") == [0, 1] and [files[i].group for i in range(2)] == ["p", "q"]


def test_the_real_radiographs() -> None:
    folder = shared_data() / "images" / "chest-xray"
    files = open_source(
        folder, table=folder / "metadata.csv", key="filename", label="finding", group="patientid"
    )
    assert len(files) == 40 and files.counts == {"ignored": 1, "without_row": 0, "without_file": 0}
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


# the key


def test_a_key_is_made_once_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    key, made, path = load_or_make_key()
    assert made and len(key) == 32 and path == tmp_path / "config" / "dof-arrow" / "id.key"
    assert path.stat().st_mode & 0o777 == 0o600 and path.read_text() == key.hex() + "\n"
    assert load_or_make_key() == (key, False, path) and os.listdir(path.parent) == ["id.key"]


def test_without_an_xdg_folder_the_key_lies_under_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_or_make_key()[2] == tmp_path / ".config" / "dof-arrow" / "id.key"


def test_processes_that_race_for_a_key_share_one(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        results = pool.map(load_or_make_key, [tmp_path / "id.key"] * 32, chunksize=1)
    assert len({key for key, _, _ in results}) == 1 and sum(made for _, made, _ in results) == 1
    assert os.listdir(tmp_path) == ["id.key"]


@pytest.mark.parametrize("content", [b"", b"secret words", b"ab" * 31, b"\xff" * 64])
def test_a_file_that_holds_no_key_is_neither_used_nor_quoted(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "id.key").write_bytes(content)
    with pytest.raises(UsageError, match="64 hexadecimal digits") as caught:
        load_or_make_key(tmp_path / "id.key")
    assert "secret" not in str(caught.value) and (tmp_path / "id.key").read_bytes() == content


def test_a_key_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="--id-key"):
        load_or_make_key(tmp_path / "file" / "id.key")


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
    """Arrow's parser where it is used, against Python's, which is used for all that is not plain."""
    text = io.StringIO()
    csv.writer(text, quoting=quoting).writerows([("k", "l", "m"), *rows])
    data = text.getvalue()
    if spoil and spoil[0] > len("k,l,m\r\n") + 6:
        data = data[: spoil[0]] + spoil[1] + data[spoil[0] :]
    path = tmp_path / "t.csv"
    path.write_bytes(data.encode())
    quick = table_module._plain(path, ",", {"l": 1})
    if quick is not None:
        strict = csv.reader(io.StringIO(data, newline=""), strict=True)
        assert quick["l"].to_pylist() == [row[1].strip() or None for row in list(strict)[1:] if row]
