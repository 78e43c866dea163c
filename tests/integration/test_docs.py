"""Every block of README.md that is code runs, as written, in one folder, in order."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(python|console|sh)\n(.*?)^```", re.M | re.S)
_FRAMEWORKS = re.compile(r"^(?:import|from) (torch|keras|jax|sklearn)", re.M)
_NOT_RUN = "<!-- not run -->"


def blocks(page: Path) -> list[tuple[str, str]]:
    text = page.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        before = text[: match.start()].rstrip().rsplit("\n", 1)[-1]
        if before != _NOT_RUN:
            found.append((match[1], match[2]))
    return found


def _pictures(folder: Path) -> None:
    """What a reader of the README has already: two class folders of pictures, and a table on them."""
    from PIL import Image

    rng = np.random.default_rng(0)
    lines = ["file,finding,patient"]
    for number in range(40):
        label = ("clear", "striped")[number % 2]
        pixels = rng.integers(0, 80, (48, 48, 3), dtype=np.uint8)
        if label == "striped":
            pixels[:, ::4] = 255
        path = folder / "pictures" / label / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        lines.append(f"{label}/{path.name},{label},p{number // 2}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def _clips(folder: Path) -> None:
    """Clips too, where PyAV is installed."""
    from tests.support import clips

    clips.pairs(folder / "clips", 8, lengths=(5, 6), height=32, width=48)


@pytest.mark.parametrize("page", ["README.md"])
def test_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G16: the documentation is worked through, from the first block to the last."""
    _pictures(tmp_path)
    filmed = find_spec("av") is not None and find_spec("torch") is not None
    if filmed:
        _clips(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    found = blocks(ROOT / page)
    assert found
    for kind, code in found:
        if kind == "python" and any(find_spec(name) is None for name in _FRAMEWORKS.findall(code)):
            continue  # counted by test_frameworks
        if not filmed and "clips" in code:
            continue
        command = (
            [sys.executable, "-W", "ignore", "-c", code]
            if kind == "python"
            else ["bash", "-euc", _shell(code)]
        )
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{page}:\n{code}\n{done.stdout}\n{done.stderr}"


def _shell(code: str) -> str:
    lines = [line.removeprefix("$ ") for line in code.splitlines()]
    return f'dof() {{ {shlex.quote(sys.executable)} -m dof_arrow "$@"; }}\n' + "\n".join(lines)


@pytest.mark.parametrize("framework", ["torch", "keras", "jax", "sklearn"])
def test_frameworks(framework: str) -> None:
    """The README has a page for each framework; it is skipped here, and there, where the framework is not installed."""
    assert any(framework in _FRAMEWORKS.findall(code) for _, code in blocks(ROOT / "README.md"))
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
