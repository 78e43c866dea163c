"""Texts from files cannot disturb a terminal, nor be formulas for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dof_arrow.cli import main, terminal
from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.dataset import dataset
from dof_arrow.errors import UNSAFE
from dof_arrow.extraction.extract import extract
from dof_arrow.heads import train
from dof_arrow.inference.fuse import fuse
from tests.support.hostile_texts import HOSTILE, SHOWN, described
from tests.support.pictures import KEY, core, folder_of

CAT = f"cat{HOSTILE}"
DOG = "=HYPERLINK(dog)"
ORDINARY = "Röntgen 胸部 صدر ריאות छाती 👩‍⚕️ naïve"


def is_safe(text: str) -> bool:
    """Whether a text has nothing that disturbs a terminal, but for its own line breaks."""
    return not UNSAFE.search(text.replace("\n", ""))


def assert_told(out: str, err: str, lines: int | None = None) -> None:
    assert is_safe(out), repr(out)
    assert is_safe(err), repr(err)
    assert SHOWN in out + err
    told = [line for line in (out + err).split("\n") if line.startswith("licence  CC0-1.0")]
    assert not told, "a text from a file has begun a line of its own"
    if lines is not None:
        assert len(out.splitlines()) == lines


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    return described(tmp_path / "x.parquet", HOSTILE)


# What commands say of files


def test_what_info_says(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capsys, "info", hostile)
    assert code == 0
    assert_told(out, err)
    assert len([line for line in out.splitlines() if line.startswith("licence")]) == 1
    widths = {len(line.split("  ")[0]) for line in out.splitlines() if "sex" in line}
    assert widths == {len("sex" + SHOWN.split("  ")[0])}


def test_ordinary_text_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = told(capsys, "info", described(tmp_path / "x.parquet", ORDINARY))
    assert f"  {ORDINARY}\n" in out
    assert "\\" not in out


def test_json_holds_the_same_texts(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "info", hostile, "--json")
    assert code == 0
    assert is_safe(out)
    info = json.loads(out)["metadata"]["info"]
    assert info["title"] == info["license"] == HOSTILE


def test_what_validate_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = described(tmp_path / "x.parquet", "plain")
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"dof"])
    about["version"] = HOSTILE
    about["columns"][HOSTILE] = about["columns"].pop("label")
    changed = table.replace_schema_metadata({"dof": json.dumps(about)})
    pq.write_table(changed, tmp_path / "y.parquet")
    code, out, err = told(capsys, "validate", tmp_path / "y.parquet")
    assert code == 1
    assert_told(out, err)
    _, out, _ = told(capsys, "validate", tmp_path / "y.parquet", "--json")
    assert is_safe(out)
    assert any(HOSTILE in problem["where"] + problem["found"] for problem in json.loads(out))


def test_what_diff_says(hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = described(tmp_path / "y.parquet", "plain")
    code, out, err = told(capsys, "diff", hostile, other)
    assert code == 1
    assert_told(out, err)


def test_what_train_and_evaluate_say(
    hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = tmp_path / f"head{HOSTILE}.onnx"
    code, out, err = told(capsys, "train", hostile, "-o", head, "--by", f"sex{HOSTILE}")
    assert code == 0
    assert_told(out, err)
    assert f"recall of dog{SHOWN}" in out
    code, out, err = told(capsys, "evaluate", head, hostile)
    assert code == 0
    assert_told(out, err)


def test_what_edit_says(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capsys, "edit", hostile, "--set", "title=new", "--dry-run")
    assert code == 0
    assert is_safe(out)
    assert is_safe(err)
    code, out, err = told(capsys, "edit", hostile, "--template", "training")
    assert code == 0
    assert is_safe(out)


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", f"no{HOSTILE}.parquet"),
        ("info", "x.parquet", f"--no-such{HOSTILE}"),
        ("train", "x.parquet", "-o", "h.onnx", "--target", HOSTILE),
        ("train", "x.parquet", "-o", "h.onnx", "--by", HOSTILE),
        ("fuse", "--core", f"no{HOSTILE}.onnx", "--head", "h.onnx", "-o", "m.onnx"),
        ("extract", f"no{HOSTILE}", "--core", "builtin", "-o", "y.parquet"),
        ("info", f"no{HOSTILE}.parquet", "--debug"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_errors_say(
    arguments: tuple[str, ...],
    hostile: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(hostile.parent)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(hostile.parent))
    code, out, err = told(capsys, *arguments)
    assert code == 2
    assert not out
    assert is_safe(err), repr(err)
    assert "licence  CC0-1.0\n" not in err


def test_what_our_own_mistakes_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: object) -> None:
        raise KeyError(f"a{HOSTILE}") from ValueError(HOSTILE)

    monkeypatch.setattr(dataset, "open", fail)
    for options in ([], ["--debug"]):
        code, out, err = told(capsys, "info", "x", *options)
        assert code == 70
        assert not out
        assert is_safe(err), repr(err)
        assert "our own mistake: KeyError: " in err


def test_what_warnings_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"x{HOSTILE}.parquet"
    pq.write_table(pq.read_table(described(tmp_path / "x.parquet", "plain")), path)
    code, out, err = told(capsys, "info", path)
    assert code == 0
    assert_told(out, err)
    assert len([line for line in err.splitlines() if line.startswith("dof: note: ")]) == 1


def test_names_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.parquet")
    described(tmp_path / "x.parquet", "plain").rename(path)
    code, out, _ = told(capsys, "info", path)
    assert code == 0
    assert r"\udcff\udcfe.parquet" in out
    code, out, _ = told(capsys, "info", path, "--json")
    assert json.loads(out)["path"] == path


# Predictions


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fused model for two classes: a hostile name, and one that looks like a formula."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    pictures = folder_of(tmp_path / "pictures", 40, (CAT, DOG))
    dataset = extract(
        pictures, core=core(), label="folder", id_key=KEY, out=tmp_path / "pictures.parquet"
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(fuse(core(), {"class": train.train(dataset).onnx}))
    return path


def test_what_predict_says(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = tmp_path / "pictures"
    bad = pictures / CAT / f"bad{HOSTILE}.png"
    bad.write_bytes(b"")
    code, out, err = told(capsys, "predict", model, pictures)
    assert code == 3
    assert_told(out, err, lines=41)
    code, out, _ = told(capsys, "predict", model, pictures, "--json")
    assert is_safe(out)
    answers = json.loads(out)
    assert str(bad) in [answer["input"] for answer in answers]


def test_csv_cells_are_texts_and_numbers_never_formulas(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path / "pictures" / DOG)
    for start in ("=1+1", "+1", "@x", "\tx", "\rx"):
        Path(f"{start}.png").write_bytes(Path("0001.png").read_bytes())
    code, out, _ = told(capsys, "predict", model, ".", "=1+1.png", "@x.png", "\tx.png", "--csv")
    assert code == 0
    assert is_safe(out)
    rows = list(csv.reader(io.StringIO(out)))
    assert {row[1] for row in rows[1:]} == {f"'{DOG}", f"cat{SHOWN}"}
    assert [row[0] for row in rows[-3:]] == ["'=1+1.png", "'@x.png", r"\tx.png"]
    for row in rows[1:]:
        assert 0 <= float(row[2]) <= 1
        assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_negative_numbers_stay_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    from dof_arrow.cli.commands import predict

    answers = [("-1.png", {"age": {"value": -1.5}}), ("b.png", {"error": "-x"})]
    predict._print_csv(answers, ["age"])
    assert capsys.readouterr().out.splitlines() == [
        "input,prediction,confidence,error",
        "'-1.png,-1.5,,",
        "b.png,,,'-x",
    ]


# The parts that commands speak through


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().say("a\nb")
    Terminal().result(None, "c\x1b", "d\ne")
    Terminal().results([(None, "f\ng")])
    assert capsys.readouterr() == ("c\\x1b\nd\\ne\nf\\ng\n", "a\\nb\n")


def test_cells_are_aligned_as_they_are_shown() -> None:
    assert table([("a\x1b", "b"), ("c", "d")]) == ["a\\x1b  b", "c      d"]


def test_names_are_no_markup_on_a_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Terminal().progress("writing [red]x[/red]\x1b[2J") as update:
        update(1, 1, 0)
    err = capsys.readouterr().err
    assert "[red]x[/red]" in err
    assert "\x1b[2J" not in err


def test_a_stream_without_a_file_is_abandoned_quietly() -> None:
    terminal.abandon(None)
    terminal.abandon(io.StringIO())


def test_arrow_texts_are_not_touched(hostile: Path) -> None:
    """What is escaped on a terminal is not escaped in Python."""
    first = dataset.open(hostile).to_arrow(["id"]).column(0)[0]
    assert first == pa.scalar(f"0{HOSTILE}", first.type)
