"""The command line: exit codes, streams, messages that say what is next, nothing half-written."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import onnx
import pytest

from dof_arrow.cli import exit_codes, group, help, main
from dof_arrow.dataset import dataset
from dof_arrow.heads import train
from dof_arrow.inference import predict_files
from dof_arrow.inference.fuse import fuse
from tests.support import models
from tests.support.making import ROOT
from tests.support.pictures import KEY, contents, folder_of


class Said(NamedTuple):
    code: int
    out: str
    err: str


SMALL = '{"mode": "RGB", "fit": "squash", "resize": [16, 16], "scale": 0.01}'


@pytest.fixture
def dof(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line in this process, in an empty folder, with a home of its own."""
    home = tmp_path / "home"
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments: object) -> Said:
        code = main.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err and "our own mistake" not in err
        return Said(code, out, err)

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "pictures", 40, ("cat", "dog"))


def _heed() -> None:
    """Heed interrupts, also where whoever runs the tests in the background has them ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(*arguments: object, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "HOME": str(cwd),
        "XDG_CONFIG_HOME": str(cwd / "home"),
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(cwd / "home"),
    }
    command = [sys.executable, "-m", "dof_arrow", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        text=True,
        preexec_fn=_heed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


# Help


def test_help_is_instant_and_light() -> None:
    """At most 100 ms of processor time, without pyarrow, numpy or click."""
    code = (
        "import sys; from dof_arrow.__main__ import run\ntry:\n    run()\nexcept SystemExit as e:\n"
        "    assert e.code == 0\nassert not {'pyarrow', 'numpy', 'click', 'onnx'} & {*sys.modules}"
    )
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", code, "--help"]
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert made.returncode == 0, made.stderr
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.1


@pytest.mark.parametrize(
    "command", [name for section in help.COMMANDS.values() for name in section]
)
def test_every_command_has_help(command: str, dof: Any) -> None:
    said = dof(command, "--help")
    assert said.code == 0 and f"Usage: dof {command}" in said.out and "--json" in said.out
    assert all(len(line) <= 110 for line in said.out.splitlines())
    assert command in dof().out


@pytest.mark.parametrize("command", help.EXAMPLES)
def test_a_help_says_of_each_option_what_it_does_and_ends_with_an_example(
    command: str, dof: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a screen of 80 columns. The example is one that the command takes."""
    monkeypatch.setenv("COLUMNS", "80")
    said = dof(command, "--help").out.splitlines()
    example = said[-1].strip()
    assert example == help.EXAMPLES[command] and max(map(len, said)) <= 80
    assert not any(" RANGE " in line for line in said)
    found = group.dof.get_command(click.Context(group.dof), command)
    assert found is not None
    assert all(each.help for each in found.params if isinstance(each, click.Option))
    typed = shlex.split(example.partition(" > ")[0])
    assert typed[:2] == ["dof", command]
    found.make_context(command, typed[2:])


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(arguments: tuple[str, ...], dof: Any) -> None:
    said = dof(*arguments)
    assert (
        said.code == 0
        and "Start with: dof demo" in said.out
        and "Everyday:" in said.out
        and not said.err
    )


def test_version(dof: Any) -> None:
    assert dof("--version").out == "dof, version 0.1.0\n"


# Wrong use: 2, and what to type next


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("extrakt",), ["No such command 'extrakt'. Did you mean extract?", "Try: dof --help"]),
        (("zzz",), ["No such command 'zzz'.", "Try: dof --help"]),
        (
            ("extract", "x", "--overwrit"),
            ["Did you mean", "'--overwrite'", "Try: dof extract --help"],
        ),
        (("extract", "x"), ["Missing option '-o'", "Try: dof extract --help"]),
        (
            ("extract", "x", "-o", "y.parquet"),
            [
                "--core MODEL.onnx --preprocess imagenet",
                "--core builtin",
                "not for sharing patients' pictures",
                "hf://",
                "timm:",
                "https://",
            ],
        ),
        (
            ("extract", "nix", "-o", "y.parquet", "--core", "builtin"),
            ["nix: no such folder or file", "Give the folder"],
        ),
        (
            ("extract", ".", "-o", "y.parquet", "--core", "builtin"),
            ["no picture in the folder", "an empty folder"],
        ),
        (
            ("extract", "PICTURES", "-o", "y.parquet", "--core", "hf://a/b.onnx"),
            ["names no model", "hf://OWNER/REPO/PATH.onnx"],
        ),
        (("extract", "PICTURES", "-o", "y.parquet", "--core", "timm:no_such_model"), ["dof: "]),
        (("extract", "PICTURES", "-o", "y.parquet", "--core", "nix.onnx"), ["nix.onnx"]),
        (("headless", "nix.onnx", "-o", "y.onnx"), ["nix.onnx"]),
        (("headless", "nix.onnx"), ["-o CORE.onnx, or --list"]),
        (("train", "nix.parquet", "-o", "h.onnx"), ["nix.parquet: no such file"]),
        (
            ("fuse", "--core", "builtin", "--head", "nix.onnx", "-o", "m.onnx"),
            ["nix.onnx: cannot be read"],
        ),
        (("predict", "nix.onnx", "a.png"), ["nix.onnx"]),
        (("info", "nix.parquet"), ["nix.parquet: no such file"]),
        (("estimate", "--rows", "5"), ["give either --core or --width"]),
        (("estimate", "--width", "5"), ["give either SOURCE or --rows"]),
        (("estimate", "pictures", "--width", "5"), ["a trial needs --core"]),
        (("estimate", "--rows", "0", "--width", "5"), ["x>=1"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_wrong_use(arguments: tuple[str, ...], words: list[str], dof: Any, pictures: Path) -> None:
    said = dof(*(pictures if a == "PICTURES" else a for a in arguments))
    assert said.code == 2 and not said.out and contents(Path()) == []
    assert not (Path.cwd().parent / "home").exists()
    assert all(word in said.err for word in words), said.err


def test_a_core_without_preprocessing_is_never_guessed(dof: Any, pictures: Path) -> None:
    onnx.save(models.gemm(), "model.onnx")
    said = dof("extract", pictures, "--core", "model.onnx", "-o", "x.parquet")
    assert (
        said.code == 2
        and "never guessed. Pass --preprocess" in said.err
        and contents(Path()) == ["model.onnx"]
    )


def test_a_model_that_is_no_onnx(dof: Any, pictures: Path) -> None:
    Path("model.onnx").write_text("<html>404</html>")
    said = dof(
        "extract", pictures, "--core", "model.onnx", "--preprocess", "imagenet", "-o", "x.parquet"
    )
    assert said.code == 2 and "model.onnx" in said.err and contents(Path()) == ["model.onnx"]


def test_weights_outside_the_models_folder_are_not_read(dof: Any, pictures: Path) -> None:
    Path("inside").mkdir()
    onnx.save(
        models.gemm(),
        "inside/model.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    model = onnx.load("inside/model.onnx", load_external_data=False)
    Path("inside/weights").rename("weights")
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../weights" if entry.key == "location" else entry.value
    Path("inside/model.onnx").write_bytes(model.SerializeToString())
    said = dof(
        "extract",
        pictures,
        "--core",
        "inside/model.onnx",
        "--preprocess",
        "imagenet",
        "-o",
        "x.parquet",
    )
    assert (
        said.code == 2
        and "weights do not lie beside it" in said.err
        and "Put the weights" in said.err
    )
    assert contents(Path()) == ["inside", "weights"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--key", "file", "--label", "findin"),
            ["no such column", "file, finding", "Did you mean finding?"],
        ),
        (("--key", "name"), ["no such column"]),
        (("--label", "finding"), ["Add --key COLUMN"]),
        (
            ("--key", "finding", "--label", "finding"),
            ["no row of the table names a picture", "--key the right column"],
        ),
        (("--key", "file", "--split", "train=0.9"), ["do not add up to 1", "--split train=0.8"]),
        (("--key", "file", "--keep", "id"), ["two columns of one name", "Rename"]),
    ],
)
def test_a_table_that_does_not_fit(
    options: tuple[str, ...], words: list[str], dof: Any, pictures: Path
) -> None:
    Path("t.csv").write_text("file,finding,id\n0000,a,1\n0001,a,2\n")
    said = dof(
        "extract", pictures, "--core", "builtin", "-o", "x.parquet", "--table", "t.csv", *options
    )
    assert said.code == 2 and all(word in said.err for word in words), said.err
    assert contents(Path()) == ["t.csv"]


def test_debug_shows_where_an_error_came_from_at_any_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (
        ["--debug", "info", "nix"],
        ["info", "--debug", "nix"],
        ["info", "nix", "--debug"],
    ):
        assert main.main(arguments) == 2
        assert "Traceback" in capsys.readouterr().err


def test_our_own_mistakes_show_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dataset, "open", lambda path: 1 / 0)
    assert main.main(["info", "x"]) == exit_codes.OUR_FAULT == 70
    err = capsys.readouterr().err
    assert "Repeat with --debug" in err and "Traceback" not in err


# The first ten minutes


def test_the_main_job(dof: Any, pictures: Path) -> None:
    (pictures / "cat" / "notes.txt").write_text("no picture")
    extract = ("extract", pictures, "--core", "builtin", "--label", "folder", "-o", "x.parquet")
    plan = dof(*extract, "--dry-run")
    assert plan.code == 0 and contents(Path()) == [] and not (Path.cwd().parent / "home").exists()
    assert (
        "category: cat, dog" in plan.out
        and "no path, no EXIF" in plan.out
        and "Nothing was written" in plan.err
    )
    assert "1  files left out: no pictures" in plan.out
    done = dof(*extract)
    assert done.code == 0 and "x.parquet: 40 rows" in done.out and "the pictures were" in done.out
    assert (
        "not for sharing patients' pictures" in done.err and "Next: dof train x.parquet" in done.err
    )
    assert "Made a key for pseudonyms" in done.err and "keep it secret" in done.err
    assert (
        f"{Path('x.parquet').stat().st_size:,} bytes" in plan.out
    )  # the pictures are alike: exact to the byte
    again = dof(*extract)
    assert (
        again.code == 0
        and "complete and unchanged: nothing to do" in again.err
        and "Made a key" not in again.err
    )
    trained = dof("train", "x.parquet", "-o", "head.onnx")
    assert trained.code == 0 and "accuracy" in trained.out and "baseline" in trained.out
    assert "Next: dof fuse --core builtin:scattering-1 --pool 4x4 --head head.onnx" in trained.err
    fused = dof("fuse", "--core", "builtin:scattering-1", "--head", "head.onnx", "-o", "model.onnx")
    assert fused.code == 0 and "Next: dof predict model.onnx" in fused.err
    told = dof("predict", "model.onnx", pictures / "cat" / "0000.png")
    assert told.code == 0 and "%" in told.out and len(told.out.splitlines()) == 1
    for command in (("info", "x.parquet"), ("validate", "--deep", "x.parquet"), ("doctor",)):
        assert dof(*command).code == 0
    assert contents(Path()) == ["head.onnx", "model.onnx", "x.parquet"]


def test_a_core_that_is_not_named_is_found_by_its_digest(
    dof: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """fuse, predict and reproduce; two files of one name and other content do not confuse them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    Path("cores").mkdir()
    for name, kind in (("cores/core.onnx", "gemm"), ("core.onnx", "matmul_add")):
        Path("model.onnx").write_bytes(getattr(models, kind)().SerializeToString())
        made = dof("headless", "model.onnx", "--preprocess", SMALL, "--no-measure", "-o", name)
        assert made.code == 0, made.err
    core = Path("cores", "core.onnx").resolve()
    extract = ("extract", pictures, "--core", "cores/core.onnx", "--label", "folder")
    assert dof(*extract, "-o", "x.parquet").code == 0
    assert dof("train", "x.parquet", "-o", "head.onnx").code == 0
    for command in (
        ("fuse", "--head", "head.onnx", "-o", "fused.onnx"),
        ("predict", "head.onnx", pictures / "cat" / "0000.png"),
        ("reproduce", "x.parquet", "--source", pictures),
    ):
        said = dof(*command)
        assert (said.code, f": {core}" in said.err) == (0, True), said.err
    by_name = dof("fuse", "--head", "head.onnx", "--core", core, "-o", "named.onnx")
    assert by_name.code == 0
    assert Path("fused.onnx").read_bytes() == Path("named.onnx").read_bytes()
    refused = dof("fuse", "--head", "head.onnx", "--pool", "2x2", "-o", "no.onnx")
    assert refused.code == 2 and "found --pool. Name it, --core MODEL.onnx" in refused.err
    core.unlink()
    Path("model.onnx").unlink()
    gone = dof("predict", "head.onnx", pictures / "cat" / "0000.png")
    assert gone.code != 0 and "(made of model.onnx, cut at feat" in gone.err


def test_row_d20_the_bytes_of_a_row_are_printed(dof: Any, pictures: Path) -> None:
    """D20: how large a row is, beside how large its picture was."""
    told = dof("extract", pictures, "--core", "builtin", "-o", "x.parquet")
    found = re.search(r"40 rows, [\d.]+ kB, ([\d.]+) k?B a row; the pictures were about", told.out)
    assert found, told.out


def test_json_wherever_there_is_a_result(dof: Any, pictures: Path) -> None:
    def value(*arguments: object) -> Any:
        said = dof(*arguments, "--json", "--quiet")
        assert said.code == 0 and not said.err
        return json.loads(said.out)

    extract = ("extract", pictures, "--core", "builtin", "--label", "folder", "-o", "x.parquet")
    assert value(*extract, "--dry-run")["bytes"] > 0
    first = value(*extract)
    assert first == {**first, "rows": 40, "failed": 0, "new": True, "errors": []}
    assert value(*extract) == {**first, "new": False}
    assert value("train", "x.parquet", "-o", "head.onnx")["metric"] == "accuracy"
    assert (
        value("fuse", "--core", "builtin", "--head", "head.onnx", "-o", "model.onnx")["bytes"]
        > 1000
    )
    assert value("predict", "model.onnx", pictures / "cat" / "0000.png")[0]["head"]["label"] in (
        "cat",
        "dog",
    )
    assert value("info", "x.parquet")["rows"] == 40 and value("validate", "x.parquet") == []
    assert value("estimate", "--rows", "10", "--width", "8")["bytes"] > 320
    assert "versions" in value("doctor")
    onnx.save(models.gemm(), "m.onnx")
    assert [c["tensor"] for c in value("headless", "m.onnx", "--list") if c["chosen"]] == ["feat"]
    assert value("headless", "m.onnx", "-o", "bare.onnx")["path"] == "bare.onnx"


def test_a_core_has_no_place_to_be_cut_at(dof: Any) -> None:
    onnx.save(models.gemm(), "m.onnx")
    assert dof("headless", "m.onnx", "-o", "core.onnx").code == 0
    said = dof("headless", "core.onnx", "--list")
    assert said.code == 0 and "core.onnx is a core already" in said.err and "--at" not in said.err


def test_some_inputs_failed(dof: Any, pictures: Path) -> None:
    (pictures / "cat" / "secretname.png").write_bytes(b"")
    said = dof("extract", pictures, "--core", "builtin", "-o", "x.parquet", "--json")
    assert said.code == 3 and json.loads(said.out)["failed"] == 1
    assert "1  failed: the file holds 0 bytes" in said.err and "stays with you" in said.err
    assert "secretname" not in said.out + said.err and "Next: dof info x.parquet" in said.err
    assert (
        "secretname.png"
        in next((Path.cwd().parent / "home" / "dof-arrow").glob("failed-*.csv")).read_text()
    )
    assert dof("extract", pictures, "--core", "builtin", "-o", "x.parquet").code == 3
    few = dof("extract", pictures, "--core", "builtin", "-o", "y.parquet", "--max-errors", "0")
    assert few.code == 2 and "too many inputs failed" in few.err and not Path("y.parquet").exists()


def test_an_invalid_file_is_the_answer_no(dof: Any, pictures: Path) -> None:
    dof("extract", pictures, "--core", "builtin", "-o", "x.parquet")
    data = bytearray(Path("x.parquet").read_bytes())
    data[200] ^= 1
    Path("x.parquet").write_bytes(data)
    said = dof("validate", "--deep", "x.parquet")
    assert said.code == 1 and said.out and "schemas/SPEC.md" in said.err


def test_outputs_are_not_overwritten_unasked(dof: Any, pictures: Path) -> None:
    Path("x.parquet").write_text("mine")
    said = dof("extract", pictures, "--core", "builtin", "-o", "x.parquet")
    assert said.code == 2 and "--overwrite" in said.err and Path("x.parquet").read_text() == "mine"
    assert dof("extract", pictures, "--core", "builtin", "-o", "x.parquet", "--overwrite").code == 0
    Path("m.onnx").write_bytes(models.gemm().SerializeToString())
    said = dof("headless", "m.onnx", "-o", "m.onnx")
    assert said.code == 2 and "--overwrite" in said.err
    Path("folder").mkdir()
    assert "is a folder" in dof("extract", pictures, "--core", "builtin", "-o", "folder").err


# Predicting


@pytest.fixture
def model(dof: Any, pictures: Path) -> Path:
    from tests.support.pictures import core

    dof(
        "extract",
        pictures,
        "--core",
        "builtin",
        "--pool",
        "1x1",
        "--label",
        "folder",
        "-o",
        "x.parquet",
    )
    head = train.train(dataset.open("x.parquet")).onnx
    Path("model.onnx").write_bytes(fuse(core(), {"animal": head}))
    Path("two.onnx").write_bytes(fuse(core(), {"a": head, "b": head}))
    return Path("model.onnx")


def test_predictions_as_csv(dof: Any, pictures: Path, model: Path) -> None:
    (pictures / "cat" / "bad.png").write_bytes(b"")
    said = dof("predict", model, pictures, "nix.png", "--csv")
    rows = list(csv.reader(io.StringIO(said.out)))
    assert (
        said.code == 3
        and rows[0] == ["input", "prediction", "confidence", "error"]
        and len(rows) == 1 + 42
    )
    assert {row[1] for row in rows[1:]} == {"cat", "dog", ""} and all(len(row) == 4 for row in rows)
    assert [row[3] for row in rows[1:] if row[3]] == ["the file holds 0 bytes", "no such file"]
    several = dof("predict", "two.onnx", pictures / "cat" / "0000.png", "--csv").out.splitlines()
    assert (
        several[0] == "input,prediction_a,confidence_a,prediction_b,confidence_b,error"
        and len(several) == 2
    )


def test_predictions_come_one_by_one(
    dof: Any, pictures: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for is printed before the next is computed: memory does not grow."""

    printed: list[str] = []
    monkeypatch.setattr(sys, "stdout", io.StringIO())

    def watched(*arguments: Any, **options: Any) -> Iterator[Any]:
        for number, answer in enumerate(whole(*arguments, **options)):
            printed.append(sys.stdout.getvalue())
            assert len(printed[-1].splitlines()) == number
            yield answer

    whole = predict_files.predict_files
    monkeypatch.setattr("dof_arrow.inference.predict_files.predict_files", watched)
    assert main.main(["predict", str(model), str(pictures)]) == 0
    assert len(printed) == 40


def test_a_reader_that_leaves_is_no_error(pictures: Path, dof: Any, model: Path) -> None:
    process = started("predict", model.resolve(), *[pictures] * 100, cwd=Path.cwd())
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0 and "Traceback" not in process.stderr.read()
    process.stderr.close()


# Interrupts, full disks


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_done(kind: int, tmp_path: Path) -> None:
    pictures = folder_of(tmp_path / "p", 1500)
    (tmp_path / "key").write_text(KEY.hex())
    command = (
        "extract",
        pictures,
        "--core",
        "builtin",
        "--id-key",
        tmp_path / "key",
        "-o",
        "x.parquet",
    )
    process = started(*command, "--workers", 1, cwd=tmp_path)
    staging = tmp_path / ".x.parquet.staging"
    until = time.monotonic() + 60
    while (
        len(list(staging.glob("*.arrow")) if staging.exists() else []) < 2
        and time.monotonic() < until
    ):
        time.sleep(0.01)
    process.send_signal(kind)
    out, err = process.communicate()
    assert process.returncode == 130 and not out
    assert (
        "interrupted; what is done is kept: the same command goes on from there" in err
        and "Traceback" not in err
    )
    assert not (tmp_path / "x.parquet").exists() and len(list(staging.glob("*.arrow"))) >= 2
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob(".*.partial"))


def test_an_interrupt_while_loading_shows_no_traceback(tmp_path: Path) -> None:
    process = started(
        "extract",
        folder_of(tmp_path / "p", 50),
        "--core",
        "builtin",
        "-o",
        "x.parquet",
        cwd=tmp_path,
    )
    assert process.stderr and "for trying out" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    # Python ends by the signal itself, which is a shell's 130 too, where the interrupt came while a
    # text was being executed.
    assert (
        process.returncode in (130, -signal.SIGINT)
        and "interrupted" in err
        and "Traceback" not in err
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB, where this process may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(dof: Any, pictures: Path, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(120_000))
    command = ("extract", pictures, "--core", "builtin", "-o", small_disk / "x.parquet")
    said = dof(*command)
    assert (
        said.code == 2 and "the disk is full. Free some space and repeat the command." in said.err
    )
    assert not (small_disk / "x.parquet").exists() and not list(small_disk.glob(".*.partial"))
    (small_disk / "ballast").unlink()
    small = dof(*command, "--pool", "1x1", "--overwrite")
    assert small.code == 0 and contents(small_disk) == ["x.parquet"]


def test_a_disk_that_cannot_be_written(dof: Any, pictures: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = dof("extract", pictures, "--core", "builtin", "-o", small_disk / "x.parquet")
    assert said.code == 2 and os.strerror(errno.EROFS) in said.err and "Choose a folder" in said.err
    said = dof("extract", pictures, "--core", "builtin", "-o", small_disk / "no" / "x.parquet")
    assert said.code == 2 and "Make the folder first" in said.err


def test_warnings_are_plain_lines(dof: Any, pictures: Path) -> None:
    import pyarrow.parquet as pq

    dof("extract", pictures, "--core", "builtin", "-o", "x.parquet")
    pq.write_table(pq.read_table("x.parquet"), "y.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        said = dof("info", "y.parquet")
    assert said.code == 0 and "dof: note: y.parquet was rewritten by another tool" in said.err
    assert "DofWarning" not in said.err


def test_no_colours_where_there_is_no_terminal(dof: Any, pictures: Path) -> None:
    said = dof("extract", pictures, "--core", "builtin", "-o", "x.parquet")
    assert "\x1b" not in said.out + said.err and "extracting: 40 of 40" in said.err
    assert not dof("extract", pictures, "--core", "builtin", "-o", "y.parquet", "--quiet").err


def test_segments_of_clips(dof: Any, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from tests.support import numbered

    numbered.write(tmp_path / "clips/a.mp4", 20)
    table = tmp_path / "t.csv"
    table.write_text("clip,from,to,label\na,0,0.4,x\na,0.2,,y\na,0.2,9,x\na,3,2,x\n")
    named = ["--table", table, "--key", "clip", "--start", "from", "--end", "to"]
    asked = ["extract", tmp_path / "clips", "--core", "builtin", *named, "--label", "label"]
    said = dof(*asked, "-o", "x.parquet", "--dry-run")
    assert said.code == 0 and "3  segments to be read" in said.out
    assert "will fail: the segment ends where it starts" in said.out
    assert "3 segments overlap others of their clip whose labels differ" in said.out
    said = dof(*asked, "-o", "x.parquet")
    assert said.code == 3 and "2  segments read" in said.err
    assert "failed: the segment ends behind the clip's end" in said.err
    (failures,) = (tmp_path / "home").rglob("failed-*.csv")
    assert "a.mp4#t=0.2,9,segment" in failures.read_text().replace('"', "")
    said = dof("reproduce", "x.parquet", "--source", tmp_path / "clips", *named, "--rows", "1.0")
    assert said.code == 0 and "25 of 25 rows" in said.out
    assert dof("extract", tmp_path, *asked[2:], "--no-clips", "-o", "y.parquet").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("fuse", "--core", "builtin", "--head", "pipe", "-o", "x.onnx"),
        ("extract", "SOURCE", "--core", "builtin", "--id-key", "pipe", "-o", "x.parquet"),
        (
            "extract",
            "SOURCE",
            "--core",
            "builtin",
            "--table",
            "pipe",
            "--key",
            "a",
            "-o",
            "x.parquet",
        ),
        (
            "extract",
            "SOURCE",
            "--core",
            "builtin",
            "--augment",
            "pipe",
            "--views",
            "2",
            "-o",
            "x.parquet",
        ),
        ("headless", "m.onnx", "--preprocess", "pipe", "-o", "x.onnx"),
    ],
)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(
    arguments: tuple[str, ...], dof: Any, pictures: Path
) -> None:
    os.mkfifo("pipe")
    onnx.save(models.gemm(), "m.onnx")
    asked = [pictures if word == "SOURCE" else word for word in arguments]
    with time_limit(60):
        said = dof(*asked)
    assert said.code == 2 and "pipe" in said.err


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Fail what waits."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
