"""Every block of README.md and docs/ that is code runs, as written, page by page and in order.

Blocks of Python run in processes of their own, which begin with what many need: torch alone takes seconds to load.
README's blocks begin in a folder that holds what its reader has already (`_given`); those of each page of docs/ go on
in a copy of the folder that README's leave behind. A block is left out where `<!-- not run -->` stands before it, and
where it imports a library that is not installed: `test_a_library_of_the_pages_is_installed` counts those.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from dof_arrow.cores.origins import efficientnet_lite
from tests.support import models

ROOT = Path(__file__).resolve().parents[2]
README = "README.md"
PAGES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
_BLOCK = re.compile(r"^```(python|console|sh)\n(.*?)^```", re.M | re.S)
_NOT_RUN = "<!-- not run -->"
_LEFT_OUT = 8  # blocks in all that may be marked so: they need a network
_NEEDS = {"docs/clips.md": ("av", "torch"), "docs/clusters.md": ("ray", "torch")}
_LIBRARIES = ("torch", "keras", "jax", "sklearn", "polars", "pandas", "duckdb")
_SECONDS = 300  # for a block, on a slow machine
# A known fault of Arrow (apache/arrow issue 34314): now and then its pool's threads outlive it.
_ARROW_ENDS = "terminate called without an active exception"


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and the code of each block that runs."""
    return [(kind, code) for kind, code, runs in _all_blocks(page) if runs]


def _all_blocks(page: str) -> list[tuple[str, str, bool]]:
    text = (ROOT / page).read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        found.append((match[1], match[2], before != _NOT_RUN))
    return found


# Loads libraries, and forks a child for each line that asks for one; answers with its exit code.
_FORKS = """
import importlib, json, os, signal, sys, types
from importlib.util import find_spec
import dof_arrow
for name in sys.argv[1:]:
    if find_spec(name.partition(".")[0]):
        importlib.import_module(name)
print("loaded", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
asked = json.loads(line)
signal.alarm(asked["seconds"])
os.chdir(asked["folder"])
os.environ.update(asked["environment"])
for number, path in enumerate((os.devnull, *asked["streams"])):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
sys.argv = ["-c"]
server, main = sys.modules["__main__"], types.ModuleType("__main__")
sys.modules["__main__"] = main
exec(compile(asked["code"], "<block>", "exec"), vars(main))
"""
_LOADED = (
    *("numpy", "pandas", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet", "PIL.Image"),
    *("onnx", "onnxruntime", "sklearn.linear_model", "torch", "torch._dynamo"),
)


class Interpreter:
    """Runs blocks of Python, each in a child of one process that has loaded libraries."""

    def __init__(self, folder: Path) -> None:
        self._streams = [str(folder / name) for name in ("stdout", "stderr")]
        self._errors = folder / "errors"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _FORKS, *_LOADED],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **_environment(folder)},
                text=True,
            )
        self._told("loaded")

    def run(self, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a block in a folder."""
        for stream in self._streams:
            Path(stream).unlink(missing_ok=True)
        asked = {
            "code": code,
            "folder": str(folder),
            "environment": _environment(folder),
            "streams": self._streams,
            "seconds": _SECONDS,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code_of_exit = int(self._told())
        out, err = (Path(stream).read_text("utf-8") for stream in self._streams)
        return subprocess.CompletedProcess([], code_of_exit, out, err)

    def close(self) -> None:
        """End the process; what it said, of its libraries, is no warning either."""
        self._process.communicate()
        assert "Warning" not in self._errors.read_text("utf-8")

    def _told(self, expected: str = "") -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line and line.startswith(expected), self._errors.read_text("utf-8")
        return line


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interpreter]:
    started = Interpreter(tmp_path_factory.mktemp("python"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def worked_through(tmp_path_factory: pytest.TempPathFactory, python: Interpreter) -> Path:
    """The folder in which README's blocks have run."""
    if find_spec("sklearn") is None:
        pytest.skip("sklearn is not installed")
    if not efficientnet_lite.is_installed():
        pytest.skip("the extra starter is not installed")
    folder = tmp_path_factory.mktemp("readme")
    _given(folder)
    _work_through(README, folder, python)
    return folder


def test_row_g16_the_readme_runs(worked_through: Path) -> None:
    """G16: from the first block to a head, a fused model and a prediction."""
    for name in ("dof-demo/model.onnx", "xrays.dof.parquet", "head.onnx", "model.onnx"):
        assert (worked_through / name).is_file()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_a_page_runs(page: str, worked_through: Path, tmp_path: Path, python: Interpreter) -> None:
    """G16: the documentation is worked through."""
    for name in _NEEDS.get(page, ()):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    folder = tmp_path / "work"
    shutil.copytree(worked_through, folder)
    _work_through(page, folder, python)


def test_few_blocks_are_left_out() -> None:
    marked = [page for page in (README, *PAGES) for *_, runs in _all_blocks(page) if not runs]
    assert len(marked) <= _LEFT_OUT, marked


@pytest.mark.parametrize("library", _LIBRARIES)
def test_a_library_of_the_pages_is_installed(library: str) -> None:
    """Each has a block of its own; it is skipped here, and there, where the library is not installed."""
    code = [code for page in (README, *PAGES) for kind, code in blocks(page) if kind == "python"]
    assert any(library in _imported(each) for each in code)
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def _work_through(page: str, folder: Path, python: Interpreter) -> None:
    for kind, code in blocks(page):
        if kind == "python" and any(find_spec(name) is None for name in _imported(code)):
            continue
        run = python.run if kind == "python" else _run
        done = run(code, folder)
        if _ARROW_ENDS in done.stderr:  # behind all that the block does, on a machine under load
            done = run(code, folder)
        said = f"{page}:\n{code}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        assert "Warning" not in done.stderr, said


def _environment(folder: Path) -> dict[str, str]:
    return {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_STATE_HOME": str(folder / "state"),
        "KERAS_BACKEND": "jax",
        # torchdata's own, when it loads.
        "PYTHONWARNINGS": "ignore::UserWarning:torchdata.stateful_dataloader.stateful_dataloader",
    }


def _run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", _shell(code)],
        cwd=folder,
        env={**os.environ, **_environment(folder)},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def _shell(code: str) -> str:
    """The lines of a block, `dof` being the one of this checkout."""
    lines = [line.removeprefix("$ ") for line in code.splitlines()]
    return "\n".join([f'dof() {{ {shlex.quote(sys.executable)} -m dof_arrow "$@"; }}', *lines])


def _imported(code: str) -> set[str]:
    """The top-level names of all modules that a block imports."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def _given(folder: Path) -> None:
    """What a reader of the README has already: pictures, a table on them, clips, and a model.

    Stand-ins, small and seeded: radiographs of 20 patients, half of them with a bright lower third; two class folders;
    a classifier whose weights were drawn.
    """
    rng = np.random.default_rng(0)
    # Splits follow from the key: with one of their own, few patients could all be on one side.
    key = folder / "config" / "dof-arrow" / "id.key"
    key.parent.mkdir(parents=True)
    key.write_text(bytes(range(32)).hex() + "\n")
    _radiographs(folder, rng)
    _class_folders(folder, rng)
    _classifier(folder / "mobilenetv2.onnx")
    if find_spec("av") is not None:
        from tests.support import clips

        clips.pairs(folder / "clips", 8, lengths=(5, 6), height=32, width=48)


def _radiographs(folder: Path, rng: np.random.Generator) -> None:
    lines = ["filename,finding,patientid,age,sex,name"]
    for number in range(60):
        ill = number % 3 == 0
        pixels = rng.integers(0, 90, (64, 64), dtype=np.uint8)
        if ill:
            pixels[40:] += 120
        _save(pixels, folder / "xrays" / f"{number:03d}.png")
        finding = "effusion" if ill else "none"
        lines.append(
            f"{number:03d}.png,{finding},p{number // 3:02d},{40 + number % 40},{'FM'[number % 2]},Doe"
        )
    (folder / "meta.csv").write_text("\n".join(lines) + "\n", "utf-8")
    _save(rng.integers(0, 90, (64, 64), dtype=np.uint8), folder / "new.png")


def _class_folders(folder: Path, rng: np.random.Generator) -> None:
    for number in range(40):
        label = ("clear", "striped")[number % 2]
        pixels = rng.integers(0, 80, (48, 48, 3), dtype=np.uint8)
        if label == "striped":
            pixels[:, ::4] = 255
        _save(pixels, folder / "pictures" / label / f"{number:02d}.png")


def _classifier(path: Path) -> None:
    import onnx

    builder = models.Builder()
    pooled = builder.op("Dropout", models.pooled(builder))
    scores = models.dense(builder, pooled, 1000, to="logits")
    onnx.save(builder.model([scores], shape=(3, 224, 224)), path)


def _save(pixels: np.ndarray, path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
