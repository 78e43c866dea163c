"""Cores found by their digest: beside a file, in the cache, or made again; never by their name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dof_arrow.cores import builtin, find_cores
from dof_arrow.cores.core import Core, headless
from dof_arrow.cores.origins import by_digest, efficientnet_lite
from dof_arrow.errors import CoreError
from dof_arrow.format.spec.metadata import CoreMetadata
from dof_arrow.progress import heard_by
from tests.support import models

SPEC = '{"mode": "RGB", "fit": "squash", "resize": [16, 16], "scale": 0.01}'


class Listener:
    """Hears what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset's folder, with `cores/` in it."""
    (tmp_path / "data" / "cores").mkdir(parents=True)
    return tmp_path / "data"


def original(path: Path, kind: str = "gemm") -> Path:
    path.write_bytes(getattr(models, kind)().SerializeToString())
    return path


def core_of(model: Path, license: str | None = "MIT", pool: str | None = None) -> Core:
    return Core(headless(model, preprocess=SPEC, license=license, pool=pool))


def found(core: Core, folder: Path, *, described: bool = True) -> tuple[Core, str]:
    """The core that is found, and what is said of it."""
    about: CoreMetadata | None = core.describe() if described else None
    listener = Listener()
    with heard_by(listener):  # type: ignore[arg-type]
        (one,) = find_cores.find_cores({core.sha256: about}, [folder], "x.parquet")
    return one, listener.said[-1]


@pytest.mark.parametrize("place", ["any name.onnx", "cores/core.onnx"])
def test_a_file_beside_is_taken_whatever_its_name(place: str, folder: Path, tmp_path: Path) -> None:
    wanted = core_of(original(tmp_path / "a.onnx"))
    other = core_of(original(tmp_path / "b.onnx", "matmul_add"))
    (folder / "core.onnx").write_bytes(other.data)
    (folder / place).write_bytes(wanted.data)
    for described in (True, False):
        core, said = found(wanted, folder, described=described)
        assert core.data == wanted.data
        assert said.endswith(f"SHA-256 {wanted.sha256}: {(folder / place).resolve()}")


def test_a_kept_core_is_taken_and_no_folder_is_read(folder: Path, tmp_path: Path) -> None:
    wanted = core_of(original(tmp_path / "a.onnx"))
    by_digest.keep(wanted.data)
    core, said = found(wanted, folder)
    assert core.data == wanted.data
    assert str(tmp_path / "cache") in said
    assert not (by_digest.cache_folder() / "digests.json").exists()


@pytest.mark.parametrize("pool", [None, "2x2"])
def test_a_core_is_made_again_of_its_model_under_another_name(
    pool: str | None, folder: Path, tmp_path: Path
) -> None:
    model = original(tmp_path / "a.onnx")
    wanted = core_of(model, pool=pool)
    shutil.move(model, folder / "renamed.onnx")
    core, said = found(wanted, folder)
    assert core.data == wanted.data
    assert said.endswith(f"made again of {(folder / 'renamed.onnx').resolve()}")


def test_cores_of_this_program_need_no_file(folder: Path) -> None:
    for pool in ("2x2", None):
        wanted = builtin.load(pool=pool)
        for described in (True, False):
            assert found(wanted, folder, described=described)[0].data == wanted.data


@pytest.mark.skipif(not efficientnet_lite.is_installed(), reason="the extra starter")
def test_the_core_to_start_with_needs_no_file(folder: Path) -> None:
    wanted = Core.load(efficientnet_lite.NAME, pool="2x2")
    assert found(wanted, folder)[0].data == wanted.data
    plain = Core.load(efficientnet_lite.NAME)
    assert found(plain, folder, described=False)[0].data == plain.data


def test_all_that_are_missing_are_described(folder: Path, tmp_path: Path) -> None:
    wanted = core_of(original(tmp_path / "a.onnx"), pool="2x2")
    other = core_of(original(tmp_path / "b.onnx", "matmul_add"), license=None)
    here = core_of(original(tmp_path / "c.onnx", "hidden_layer"))
    (folder / "core.onnx").write_bytes(here.data)
    asked = {core.sha256: core.describe() for core in (wanted, here)}
    with pytest.raises(CoreError) as caught:
        find_cores.find_cores({**asked, other.sha256: None}, [folder], "x.parquet")
    told = str(caught.value)
    assert "x.parquet: the core was not found by its digest" in told
    assert (
        f"a, SHA-256 {wanted.sha256} (made of a.onnx, licence MIT, cut at map, pooled 2x2)" in told
    )
    assert f"SHA-256 {other.sha256}" in told
    assert here.sha256 not in told
    for place in (folder, folder / "cores", by_digest.cache_folder()):
        assert str(place) in told
    assert "none of the 1 ONNX files" in told
    assert "--core CORE.onnx" in told


def test_a_model_of_which_another_core_comes_is_told(folder: Path, tmp_path: Path) -> None:
    model = original(folder / "a.onnx")
    wanted = core_of(model)
    about = replace(wanted.describe(), sha256="1" * 64)
    with pytest.raises(CoreError, match=r"of .*a\.onnx comes another core than the one of this"):
        find_cores.find_cores({"1" * 64: about}, [folder], "x.parquet")


def test_a_cache_that_cannot_be_trusted_is_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    wanted = core_of(original(tmp_path / "a.onnx"))
    by_digest.keep(wanted.data)
    by_digest.cache_folder().chmod(0o777)
    with pytest.raises(CoreError, match="another user may have put this there"):
        find_cores.find_cores({wanted.sha256: None}, [folder], "x.parquet")
    (folder / "core.onnx").write_bytes(wanted.data)
    assert found(wanted, folder)[0].data == wanted.data
