"""Streams that lack characters, that are closed or full: no crash, and no result is spoilt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dof_arrow.dataset import dataset
from tests.support.hostile_texts import described
from tests.support.making import ROOT
from tests.support.pictures import KEY, folder_of


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with buffered streams as is usual."""
    encoding = options.pop("encoding", "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.run(
        [sys.executable, "-m", "dof_arrow", *map(str, arguments)],
        env=environment,
        encoding=encoding,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("ascii", r"R\xf6ntgen \u80f8 \U0001f600"),
        ("latin-1", r"Röntgen \u80f8 \U0001f600"),
        ("utf-8", "Röntgen 胸 😀"),
    ],
)
def test_characters_that_an_encoding_lacks(tmp_path: Path, encoding: str, title: str) -> None:
    path = described(tmp_path / "x.parquet", "Röntgen 胸 😀")
    said = run("info", path, encoding=encoding)
    assert said.returncode == 0, said.stderr
    assert f"  {title}\n" in said.stdout
    said = run("info", path, "--json", encoding=encoding)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["metadata"]["info"]["title"] == "Röntgen 胸 😀"
    said = run("info", tmp_path / "Röntgen 胸", encoding=encoding)
    assert said.returncode == 2
    assert "no such file" in said.stderr
    said = run("--help", encoding=encoding)
    assert said.returncode == 0, said.stderr


# Streams that cannot be written


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return described(tmp_path / "x.parquet", "plain")


def test_a_full_disk_behind_stderr_spoils_no_result(plain: Path) -> None:
    wanted = run("info", plain)
    with open("/dev/full", "w") as full:
        said = run("info", plain, stderr=full)
    assert (said.returncode, said.stdout) == (0, wanted.stdout)
    with open("/dev/full", "w") as full:
        assert run("info", "nix", stderr=full).returncode == 2


def test_a_closed_stderr_leaves_stdout_alone(plain: Path) -> None:
    command = 'exec "$0" -m dof_arrow "$@" 2>&-'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def said(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["sh", "-c", command, sys.executable, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            check=False,
        )

    good = said("info", plain, "--json")
    assert good.returncode == 0
    assert json.loads(good.stdout)["rows"] == 60
    bad = said("info", "nix", "--json")
    assert (bad.returncode, bad.stdout) == (2, b"")


def test_nobody_reads_stderr_and_work_goes_on(tmp_path: Path) -> None:
    pictures = folder_of(tmp_path / "pictures", 5)
    key = tmp_path / "key"
    key.write_text(KEY.hex())
    made = tmp_path / "x.parquet"
    arguments = ("extract", pictures, "--core", "builtin", "--id-key", key, "-o", made)
    with closed_pipe() as writer:
        said = run(*arguments, stderr=writer)
    assert said.returncode == 0
    assert said.stdout.startswith(f"{made}: 5 rows")
    assert len(dataset.open(made)) == 5


@pytest.mark.parametrize("arguments", [("info", "X"), ("info", "X", "--json"), ("--help",), ()])
def test_a_closed_pipe_behind_stdout_stays_quiet(arguments: tuple[str, ...], plain: Path) -> None:
    with closed_pipe() as writer:
        said = run(*(plain if each == "X" else each for each in arguments), stdout=writer)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [("info", "X"), ("info", "X", "--json"), ("--help",), ()])
def test_a_full_disk_behind_stdout_is_told(arguments: tuple[str, ...], plain: Path) -> None:
    with open("/dev/full", "w") as full:
        said = run(*(plain if each == "X" else each for each in arguments), stdout=full)
    assert said.returncode == 2
    assert said.stderr == "dof: [Errno 28] No space left on device\n"


@contextmanager
def closed_pipe() -> Iterator[int]:
    """The end of a pipe to write to, whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)
