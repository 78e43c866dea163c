"""The notebooks of examples/: small, without outputs, and they run as they are; and the scripts there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NEEDS = {
    "digits.ipynb": ("sklearn",),
    "xrays.ipynb": ("sklearn",),
    "clips.ipynb": ("av", "torch"),
    "torch_head.ipynb": ("sklearn", "torch"),
}
_LARGEST = 16_384  # bytes
_SECONDS = 300  # for one cell, on a slow machine


def cells(name: str) -> list[dict[str, Any]]:
    """The cells of a notebook that hold code."""
    made = json.loads((EXAMPLES / name).read_text("utf-8"))
    return [cell for cell in made["cells"] if cell["cell_type"] == "code"]


def test_every_notebook_is_run() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.ipynb")) == sorted(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_a_notebook_is_small_and_has_no_outputs(name: str) -> None:
    assert (EXAMPLES / name).stat().st_size <= _LARGEST
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells(name))


@pytest.mark.parametrize("name", NEEDS)
def test_no_notebook_hides_warnings(name: str) -> None:
    code = "".join(line for cell in cells(name) for line in cell["source"])
    assert "warnings" not in code and "2>" not in code and "%%capture" not in code


@pytest.mark.parametrize("name", NEEDS)
def test_g16_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G16: from the first cell to the last, in an empty folder, without an error and without a warning."""
    for library in ("nbclient", "ipykernel", *NEEDS[name]):
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    _command_line(tmp_path / "bin")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    for place in ("CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{place}_HOME", str(tmp_path / place.lower()))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    said = _run(name, folder)
    assert "Warning" not in said, said


def _command_line(folder: Path) -> None:
    """A folder with the command `dof` of this checkout."""
    folder.mkdir()
    command = folder / "dof"
    command.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dof_arrow "$@"\n', "utf-8"
    )
    command.chmod(0o755)


def _run(name: str, folder: Path) -> str:
    """Run all cells in a kernel of this Python; what they wrote on stderr."""
    import nbformat
    from nbclient import NotebookClient

    made = nbformat.read(EXAMPLES / name, as_version=4)
    NotebookClient(made, timeout=_SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in made.cells for output in cell.get("outputs", ())]
    return "".join(each.text for each in outputs if each.get("name") == "stderr")


def _ranks(count: int, folder: Path, *options: str) -> str:
    """What the processes of an example say."""
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}"]
    command = [*launcher, "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    alone = {"PYTHONPATH": str(EXAMPLES.parent), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(EXAMPLES / "ranks.py"), "x.dof.parquet", "--batch-size", "8", *options],
        cwd=folder,
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="gloo over the loopback, by name")
def test_processes_of_torchrun_share_the_rows_and_others_go_on(tmp_path: Path) -> None:
    """Two processes are stopped amid an epoch; one alone takes up what is left of it."""
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    random = np.random.default_rng(0)
    dof.from_arrays(
        random.random((100, 4), np.float32), ["cat", "dog"] * 50, out=tmp_path / "x.dof.parquet"
    )
    assert _ranks(2, tmp_path, "--steps", "4") == "epoch 0: 64 rows on 2 processes\n"
    assert _ranks(1, tmp_path) == (
        "epoch 0: 36 rows on 1 processes\nepoch 1: 100 rows on 1 processes\n"
    )
