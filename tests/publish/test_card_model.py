"""What a card needs to run a model: the runtime that somebody names, and a model of this dataset."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from dof_arrow.cores import builtin
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.publish.card import card
from dof_arrow.publish.card_model import read_runtime
from tests.publish.judged_pictures import Judged, judged

SCRIPT = "const a=1,b=2;export{a as env,b};\n//# sourceMappingURL=x.map\n"
PACKAGE = {
    "package.json": json.dumps({"version": "9.8.7"}),
    "dist/ort.wasm.bundle.min.mjs": SCRIPT,
    "dist/ort-wasm-simd-threaded.wasm": "binary",
    "dist/other.js": "not wanted",
}


def packed(path: Path, files: dict[str, str]) -> Path:
    """An archive as npm makes it."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def unpacked(folder: Path, files: dict[str, str]) -> Path:
    """A folder as npm unpacks it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_runtime_is_read_from_its_archive_or_folder(tmp_path: Path) -> None:
    found = read_runtime(packed(tmp_path / "ort.tgz", PACKAGE))
    assert found == read_runtime(unpacked(tmp_path / "ort", PACKAGE))
    assert (found.version, found.binary) == ("9.8.7", b"binary")
    assert found.script == 'const a=1,b=2;globalThis.ort={"env":a,"b":b};'


def test_without_a_runtime_one_line_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="npm pack onnxruntime-web"):
        read_runtime(None)


@pytest.mark.parametrize("name", list(PACKAGE)[:3])
def test_a_runtime_that_lacks_a_file_is_refused(tmp_path: Path, name: str) -> None:
    less = {key: text for key, text in PACKAGE.items() if key != name}
    with pytest.raises(UsageError, match=f"no {name}"):
        read_runtime(packed(tmp_path / "ort.tgz", less))


@pytest.mark.parametrize("change", [{"package.json": "[]"}, {"dist/ort.wasm.bundle.min.mjs": "a"}])
def test_a_runtime_of_another_form_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="another form"):
        read_runtime(packed(tmp_path / "ort.tgz", PACKAGE | change))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(b"no archive")
    for path in (tmp_path / "x.tgz", tmp_path / "none.tgz", tmp_path):
        with pytest.raises(UsageError, match="not onnxruntime-web"):
            read_runtime(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    pytest.importorskip("sklearn")
    return judged(tmp_path_factory.mktemp("model"))


def test_the_page_holds_the_model_and_its_scores(made: Judged, tmp_path: Path) -> None:
    runtime = packed(tmp_path / "ort.tgz", PACKAGE)
    told = card(made.data, tmp_path / "a.html", model=made.model, onnxruntime_web=runtime)
    assert told.model is not None
    (head,) = told.model.heads
    assert (head.target, head.classes) == ("label", ("dark", "light"))
    assert [each.name for each in told.scores.heads] == ["label"]
    twice = {"heads": [made.head], "model": made.model, "onnxruntime_web": runtime}
    again = card(made.data, tmp_path / "b.html", **twice)
    assert [each.name for each in again.scores.heads] == ["own"]  # one head, told once
    text = (tmp_path / "a.html").read_text("utf-8")
    assert "'wasm-unsafe-eval'" in text
    assert 'globalThis.ort={"env":a' in text


def test_models_that_the_page_cannot_run_are_refused(made: Judged, tmp_path: Path) -> None:
    runtime = packed(tmp_path / "ort.tgz", PACKAGE)
    out = tmp_path / "a.html"
    with pytest.raises(UsageError, match="without --batch"):
        card(made.data, out, model=made.batched, onnxruntime_web=runtime)
    with pytest.raises(UsageError, match="another core"):
        card(made.other, out, model=made.model, onnxruntime_web=runtime)
    core = tmp_path / "core.onnx"
    builtin.load(pool="1x1").save(core)
    with pytest.raises(CoreError, match="not a fused model"):
        card(made.data, out, model=core, onnxruntime_web=runtime)
    assert not out.exists()
