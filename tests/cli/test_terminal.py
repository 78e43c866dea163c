"""Manners: what goes to stdout, what to stderr, and how progress is told."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from dof_arrow.cli import terminal
from dof_arrow.cli.terminal import Terminal, table, wrapped
from dof_arrow.progress import duration, size


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now


def test_results_and_remarks_go_their_own_ways(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().say("remark")
    Terminal().result({"a": 1}, "text")
    assert capsys.readouterr() == ("text\n", "remark\n")
    quiet = Terminal(quiet=True, as_json=True)
    quiet.say("remark")
    quiet.result({"ä": [1]}, "text")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"ä": [1]} and "ä" in out and not err


@pytest.mark.parametrize("count", [0, 1, 3])
def test_many_results_are_one_json_array_or_lines(
    count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal(as_json=True).results(({"n": i}, f"line {i}") for i in range(count))
    assert json.loads(capsys.readouterr().out) == [{"n": i} for i in range(count)]
    Terminal().results(({"n": i}, f"line {i}") for i in range(count))
    assert capsys.readouterr().out.splitlines() == [f"line {i}" for i in range(count)]


def test_results_are_printed_when_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    def values() -> Iterator[tuple[int, str]]:
        yield 1, "one"
        assert capsys.readouterr().out == "one\n"
        yield 2, "two"

    Terminal().results(values())


def test_plain_lines_for_logs(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Terminal().progress("extracting") as update:
        update(1000, 5000, 0)  # what was done before does not count as speed
        clock[0] += 5
        update(1500, 5000, 0)
        clock[0] += 5
        update(2000, 5000, 1)
        clock[0] += 10
        update(4000, 5000, 1)
        clock[0] += 5
        update(5000, 5000, 2)
    assert capsys.readouterr().err.splitlines() == [
        "extracting: 2,000 of 5,000, 100.0 a second, 30 s left, 1 failed",
        "extracting: 4,000 of 5,000, 200.0 a second, 5 s left, 1 failed",
        "extracting: 5,000 of 5,000, 160.0 a second, 2 failed",
    ]


def test_an_unknown_total_is_not_told(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with Terminal().progress("predicting") as update:
        update(1, None, 0)
        clock[0] += 10
        update(51, None, 0)
    assert capsys.readouterr().err == "predicting: 51, 5.0 a second\n"


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Terminal(quiet=True)
    with silent.progress("x") as update, silent.busy("y"):
        update(1, 1, 0)
    assert capsys.readouterr() == ("", "")


def test_long_work_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "_PLAIN_EVERY", 0.02)
    said = ""
    with Terminal().busy("training"):
        while not said:
            time.sleep(0.02)
            said = capsys.readouterr().err
    assert "training: 0 s so far" in said
    monkeypatch.setattr(terminal, "_PLAIN_EVERY", 10.0)
    capsys.readouterr()  # what was said between the last look and the end
    with pytest.raises(KeyError), Terminal().busy("training"):
        raise KeyError
    assert not capsys.readouterr().err


def test_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Terminal().progress("extracting") as update:
        update(0, 3, 0)
        update(3, 3, 1)
    err = capsys.readouterr().err
    assert "extracting" in err and "3/3" in err and "1 failed" in err
    with Terminal().busy("training"):
        pass


def test_on_a_screen_lines_are_parted_between_words() -> None:
    """On a real terminal of 50 columns; commands stay whole, and words too."""
    code = (
        "import sys; from dof_arrow.cli.terminal import Terminal, tell\n"
        "Terminal().result({}, 'privacy  ids are pseudonyms, which nobody without the key undoes')\n"
        "tell('note: of ' + 'x' * 60 + ' nothing is known to this program')\n"
        "tell('Next: dof extract pictures --core core.onnx -o out.dof.parquet')\n"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 50))
    subprocess.run([sys.executable, "-c", code], stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    assert os.read(ours, 10_000).decode().splitlines() == [
        "privacy  ids are pseudonyms, which nobody without",
        "         the key undoes",
        "note: of",
        "  " + "x" * 60,
        "  nothing is known to this program",
        "Next: dof extract pictures --core core.onnx -o out.dof.parquet",
    ]


@pytest.mark.parametrize("line", ["", " ", "x" * 300, " " * 300, "a  " * 90, "\u3000" * 90])
def test_any_line_can_be_parted(line: str) -> None:
    assert "".join("".join(wrapped(line, 80)).split()) == "".join(line.split())


def test_what_is_parted_begins_no_line() -> None:
    """A text from a file cannot put words where messages of ours begin."""
    title = "title  " + "x" * 70 + " Next: dof erase everything"
    assert all(line.startswith("  ") for line in wrapped(title, 80)[1:])


def test_numbers_as_people_say_them() -> None:
    assert [duration(s) for s in (0.4, 59, 60, 3599)] == ["0 s", "59 s", "1 min 0 s", "59 min 59 s"]
    assert duration(86400) == "24 h 0 min"
    assert [size(b) for b in (0, 999, 1000, 10**9, 10**15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.0 GB",
        "1000.0 TB",
    ]
    assert table([("a", "bb"), ("ccc", "")]) == ["a    bb", "ccc"]
