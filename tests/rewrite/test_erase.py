"""A person taken out of a dataset: nothing of theirs is left, and nothing else is touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import dof_arrow as dof
from dof_arrow.cli.main import main
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.json_diff import changes
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import Target
from dof_arrow.format.validation.validate import validate
from dof_arrow.rewrite.erase import erase
from dof_arrow.rewrite.merge import merge
from dof_arrow.rewrite.name_list import names_in
from dof_arrow.rewrite.reidentify import reidentify, write_pairs
from dof_arrow.security.pseudonyms import pseudonym, pseudonyms
from tests.support.pictures import core, png

KEY = bytes(range(32))
GONE = "p3"
BROKEN = (11, 19)  # of p3
# What tells one file from another, and what only the pictures could make again.
_OF_THE_FILE = ("provenance.run", "provenance.size", "provenance.raw", "provenance.parents", "uuid")


@dataclass
class Hospital:
    """Pictures of eight people, ten each, as folders with and without one of them."""

    folder: Path

    def extracted(self, name: str, *, numbers: range, out: str, gone: bool) -> Dataset:
        """Some of the pictures extracted, with or without those of the person who goes."""
        pictures = self.folder / name
        pictures.mkdir()
        lines = ["file,label,who,age"]
        for number in numbers:
            who = f"p{number % 8}"
            if gone and who == GONE:
                continue
            data = b"broken" if number in BROKEN else png(number)
            (pictures / f"{number}.png").write_bytes(data)
            lines.append(f"{number}.png,{'ab'[number // 8 % 2]},{who},{20 + number % 8}")
        table = self.folder / f"{name}.csv"
        table.write_text("\n".join(lines))
        return dof.extract(
            pictures,
            core=core(),
            out=self.folder / out,
            id_key=KEY,
            table=table,
            key="file",
            label="label",
            group="who",
            keep=("age",),
        )


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def ids_gone(numbers: range) -> list[str]:
    names = [f"{number}.png" for number in numbers if f"p{number % 8}" == GONE]
    return [*pseudonyms(KEY, "id", names), pseudonym(KEY, "group", GONE)]


def differences(one: Dataset, other: Dataset) -> list[str]:
    """Where the metadata of two datasets differ, but for what identifies a file."""
    found = []
    for change in changes(to_json(one.metadata), to_json(other.metadata)):
        if not change.where.startswith(_OF_THE_FILE):
            found.append(change.where)
    return found


def assert_gone(made: Path, numbers: range) -> None:
    """No byte of any of the person's pseudonyms is left, and the dataset is whole."""
    files = [made] if made.is_file() else sorted(path for path in made.iterdir() if path.is_file())
    for file in files:
        data = file.read_bytes()
        assert not [name for name in ids_gone(numbers) if name.encode() in data], file
    assert validate(made, deep=True) == []


@pytest.mark.parametrize(("before", "after"), [("a.parquet", "b.parquet"), ("a.dof", "b.dof")])
def test_row_d22_a_person_is_gone_as_if_never_there(
    hospital: Hospital, tmp_path: Path, before: str, after: str
) -> None:
    numbers = range(80)
    hospital.extracted("all", numbers=numbers, out=before, gone=False)
    never = hospital.extracted("others", numbers=numbers, out="never.parquet", gone=True)
    done = erase(tmp_path / before, tmp_path / after, groups=[GONE], id_key=KEY)
    made = dof.open(tmp_path / after)
    assert (done.rows, done.records, done.groups, done.failures) == (8, 8, 1, 2)
    assert made.to_arrow().equals(never.to_arrow())
    assert made.errors == never.errors == []
    if after.endswith(".parquet"):
        assert differences(made, never) == []
    assert_gone(tmp_path / after, numbers)


def test_of_a_merged_file(hospital: Hospital, tmp_path: Path) -> None:
    first, second = range(40), range(40, 80)
    for name, numbers in (("one", first), ("two", second)):
        hospital.extracted(name, numbers=numbers, out=f"{name}.parquet", gone=False)
        hospital.extracted(f"{name}-", numbers=numbers, out=f"{name}-.parquet", gone=True)
    merge([tmp_path / "one.parquet", tmp_path / "two.parquet"], tmp_path / "both.parquet")
    never = merge([tmp_path / "one-.parquet", tmp_path / "two-.parquet"], tmp_path / "n.parquet")
    erase(tmp_path / "both.parquet", tmp_path / "made.parquet", groups=[GONE], id_key=KEY)
    made = dof.open(tmp_path / "made.parquet")
    assert made.to_arrow().equals(never.to_arrow())
    assert differences(made, never) == []
    assert_gone(tmp_path / "made.parquet", range(80))


def test_inputs_by_name_and_by_pseudonym(hospital: Hospital, tmp_path: Path) -> None:
    data = hospital.extracted("all", numbers=range(80), out="a.parquet", gone=False)
    one = data.by_names(["5.png"], id_key=KEY)[0]["id"]
    asked = ["3.png", "11.png", "none.png", one]  # a row, a failure, nothing, a row
    done = erase(tmp_path / "a.parquet", tmp_path / "b.parquet", names=asked, id_key=KEY)
    assert (done.rows, done.failures, done.unknown) == (2, 1, 1)
    made = dof.open(tmp_path / "b.parquet")
    about = made.metadata.provenance
    assert about is not None
    assert (len(made), about.inputs, about.failed) == (len(data) - 2, 77, 1)


def test_what_counted_the_person_is_dropped_and_said(hospital: Hospital, tmp_path: Path) -> None:
    data = hospital.extracted("all", numbers=range(80), out="a.parquet", gone=False)
    (tmp_path / "note.txt").write_text("p3 came twice")
    dof.edit(data.path, performance={"accuracy": 0.9}, attach=[tmp_path / "note.txt"])
    head = dof.open(data.path).metadata.uuid.encode()
    (tmp_path / "head.onnx").write_bytes(b"..." + head + b"...")
    (tmp_path / "other.onnx").write_bytes(b"")
    done = erase(data.path, tmp_path / "b.parquet", groups=[GONE], id_key=KEY)
    assert done.dropped == ["performance", "provenance.raw"]
    assert done.documents == ["note.txt"]
    assert done.heads == [tmp_path / "head.onnx"]


def test_a_class_that_only_they_had(hospital: Hospital, tmp_path: Path) -> None:
    data = hospital.extracted("all", numbers=range(80), out="a.parquet", gone=False)
    (hers,) = data.by_names(["3.png"], id_key=KEY).to_arrow(["id"])["id"].to_pylist()
    labels = ["rare" if row["id"] == hers else row["label"] for row in data]
    classes = Target(kind="category", classes=("a", "b", "rare"))
    dof.save(
        data.with_columns({"label": labels}, targets={"label": classes}), tmp_path / "b.parquet"
    )
    done = erase(tmp_path / "b.parquet", tmp_path / "c.parquet", groups=[GONE], id_key=KEY)
    assert done.empty_classes == ["label: rare"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nobody is named"),
        ({"groups": ["p99"], "id_key": KEY}, "none of the names is in the dataset"),
        ({"groups": ["p3"], "id_key": bytes(32)}, "another key than the one that made"),
        ({"names": ["3.png"], "id_key": "no-such.key"}, "their key is not there"),
    ],
    ids=["nobody", "unknown", "another key", "no key"],
)
def test_what_cannot_be(
    hospital: Hospital, tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    hospital.extracted("all", numbers=range(16), out="a.parquet", gone=False)
    with pytest.raises(UsageError, match=said):
        erase(tmp_path / "a.parquet", tmp_path / "b.parquet", **given)
    assert not (tmp_path / "b.parquet").exists()


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xff\xfe\x00"], ids=["empty", "blank", "latin"])
def test_a_list_without_names_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "names.txt").write_bytes(data)
    with pytest.raises(UsageError, match="list of names"):
        names_in(tmp_path / "names.txt")
    with pytest.raises(UsageError, match="cannot be read"):
        names_in(tmp_path)


def test_a_list_keeps_names_as_they_are(tmp_path: Path) -> None:
    names = ["ä b.png", " leading.png", "line\u2028separator.png"]
    (tmp_path / "names.txt").write_bytes("\r\n".join(names).encode("utf-8-sig"))
    assert names_in(tmp_path / "names.txt") == names


def test_only_the_owner_reads_pseudonyms_back(hospital: Hospital, tmp_path: Path) -> None:
    data = hospital.extracted("all", numbers=range(80), out="a.parquet", gone=False)
    pairs = reidentify(data, source=tmp_path / "all", names=[GONE, "x"], id_key=KEY)
    kinds = pairs["kind"].to_pylist()
    assert (kinds.count("id"), kinds.count("group"), kinds.count("failed")) == (78, 1, 2)
    names = dict(zip(pairs["pseudonym"].to_pylist(), pairs["name"].to_pylist(), strict=True))
    for row in data[:5]:
        again = data.by_names([names[row["id"]]], id_key=KEY)
        assert again[0]["id"] == row["id"]
    write_pairs(pairs, tmp_path / "pairs.csv")
    assert (tmp_path / "pairs.csv").stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="no name fits"):
        reidentify(data, names=["nobody"], id_key=KEY)
    with pytest.raises(UsageError, match="no names to compare"):
        reidentify(data, id_key=KEY)


def test_the_commands(
    hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital.extracted("all", numbers=range(80), out="a.parquet", gone=False)
    (tmp_path / "id.key").write_text(KEY.hex())
    (tmp_path / "who.txt").write_text("p3\nnobody\n")
    file, out, pairs = tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "pairs.csv"
    key = ("--id-key", str(tmp_path / "id.key"))
    who = ("--groups", str(tmp_path / "who.txt"))
    assert main(["erase", str(file), *who, *key, "-o", str(out)]) == 0
    told = capsys.readouterr()
    assert "without 8 rows of 8 inputs and 2 failures" in told.out
    assert "1 of the names are not in" in told.err
    assert "Remove them" in told.err
    source = ("--source", str(tmp_path / "all"))
    assert main(["reidentify", str(out), *source, *key, "-o", str(pairs)]) == 0
    assert "70 inputs, 0 groups, 0 failed inputs" in capsys.readouterr().out
    assert len(pairs.read_text().splitlines()) == 71
    none = ("--names", str(tmp_path / "none.txt"))
    assert main(["erase", str(file), *none, *key, "-o", str(out), "--overwrite"]) == 2
    assert "list of names cannot be read" in capsys.readouterr().err
