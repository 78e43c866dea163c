"""Heads by themselves: joined to the cores of their digests."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.inference.fuse import fuse
from dof_arrow.inference.head_cores import cores_of, whole
from dof_arrow.inference.predict import Predictor
from tests.cores.test_core import SQUASHED, small_model
from tests.inference.test_fuse import small_head


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def core() -> Core:
    return Core.from_bytes(small_model(), preprocess=SQUASHED)


def test_a_head_predicts_with_the_core_beside_it(core: Core, tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(core.data)
    head = small_head(
        core,
        unit=None,
        kind="category",
        feature="feature",
        report={},
        dataset_uuid=str(uuid.UUID(int=1)),
    )
    (tmp_path / "finding.onnx").write_bytes(head)
    made = whole(tmp_path / "finding.onnx")
    assert made == fuse(core, {"finding": head})
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert Predictor(made)(picture)["finding"].label in ("c0", "c1", "c2")


def test_a_fused_model_is_taken_as_it_is(core: Core, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(fuse(core, {"finding": small_head(core)}))
    made = whole(path)
    assert not isinstance(made, bytes)
    assert graph.to_bytes(made) == path.read_bytes()


def test_heads_of_several_folders_find_each_core_once(core: Core, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "b" / "core.onnx").write_bytes(core.data)
    head = small_head(core)
    found = cores_of({tmp_path / "a" / "x.onnx": head, tmp_path / "b" / "y.onnx": head})
    assert [each.sha256 for each in found] == [core.sha256]


def test_without_the_core_the_digest_is_named(core: Core, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(small_head(core))
    with pytest.raises(CoreError, match=f"found by its digest: expected SHA-256 {core.sha256}"):
        whole(path)


@pytest.mark.parametrize("cores", [[], 5, "x", [5], [{"name": "x"}]])
def test_what_a_head_says_wrongly_of_its_core_is_passed_over(
    cores: object, core: Core, tmp_path: Path
) -> None:
    (tmp_path / "core.onnx").write_bytes(core.data)
    found = cores_of({tmp_path / "x.onnx": small_head(core, cores=cores)})
    assert found[0].sha256 == core.sha256


def test_a_head_of_features_that_no_core_made_is_refused(core: Core, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(small_head(core, core_sha256=None))
    with pytest.raises(UsageError, match="features that no core made"):
        whole(path)
