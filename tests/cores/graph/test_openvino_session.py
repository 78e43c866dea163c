"""OpenVINO beside ONNX Runtime: nearly the same features, or an error that says why not."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.cores import builtin
from dof_arrow.cores.core import BATCH, Core
from dof_arrow.cores.device_batch import batch_for
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import openvino_session, runtime
from dof_arrow.errors import CoreError, MissingExtra, OutputError
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.format.validation.validate import validate
from tests.support import models
from tests.support.interrupts import interrupt_after
from tests.support.pictures import KEY, folder_of, pixels

SQUASHED = '{"mode": "RGB", "fit": "squash", "resize": [16, 16], "scale": 0.00392156862745098}'
needs_openvino = pytest.mark.skipif(
    not openvino_session.is_installed(), reason="openvino not installed"
)


def small(name: str, provider: str) -> Core:
    data = graph.to_bytes(getattr(models, name)())
    return Core.from_bytes(data, name=name, preprocess=SQUASHED, provider=provider)


def test_what_is_to_be_installed_is_said_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    folder, out = folder_of(tmp_path / "p", 2), tmp_path / "x.parquet"
    command = ["extract", folder, "--core", "builtin", "-o", out, "--provider", "openvino"]
    assert main.main(list(map(str, command))) == 2
    assert "pip install 'dof-arrow[openvino]'" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["p"]
    with pytest.raises(MissingExtra):
        openvino_session.session(builtin.load().data)


def test_a_module_is_kept_out_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO counts each import at its makers', unless the package that does it is missing."""
    with openvino_session._kept_out("wave"), pytest.raises(ImportError):
        import wave  # noqa: F401
    assert "wave" not in sys.modules
    loaded: Any = object()
    monkeypatch.setitem(sys.modules, "wave", loaded)
    with openvino_session._kept_out("wave"):
        assert sys.modules["wave"] is loaded


def test_only_the_operators_are_told_of_what_it_says() -> None:
    said = RuntimeError(
        "Exception from src/inference/src/cpp/core.cpp:105:\nFrontEnd API failed:\n"
        "-- QLinearConv-18 with a message:\nWhile validating ONNX node\n\nSummary:\n"
        "-- No conversion rule found for operations: a.b.Twist, Turn\n"
        "-- Conversion is failed for: QLinearConv-18\n"
    )
    assert openvino_session._told(said) == "the operators QLinearConv, a.b.Twist, Turn"
    assert openvino_session._told(RuntimeError("Exception\n\n no such shape\n")) == "no such shape"
    assert openvino_session._told(RuntimeError()) == "RuntimeError"


@needs_openvino
def test_the_same_features_but_for_the_last_digits() -> None:
    seen = [pixels(seed, 40) for seed in range(9)]
    for name in ("gemm", "vit", "sixteen"):
        here, there = (small(name, provider)(seen) for provider in ("cpu", "openvino"))
        assert np.abs(here - there).max() <= 1e-3 * np.abs(here).max()
    there = builtin.load(provider="openvino")
    assert there.provider == "openvino" and batch_for([there]) == BATCH
    assert 0 < np.abs(there(seen) - builtin.load()(seen)).max() < 1e-6
    assert "openvino_telemetry" not in sys.modules


@needs_openvino
def test_threads_at_once_each_get_the_features_of_their_own_inputs() -> None:
    made = builtin.load(pool="1x1", provider="openvino")
    batches = [made.input_of(pixels(seed, 40))[None] for seed in range(8)]
    alone = [made.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(made.run, batches * 20))
    for place, found in enumerate(together):
        assert np.array_equal(found, alone[place % 8])


@needs_openvino
def test_a_core_that_it_cannot_read_is_named_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CoreError, match=r"squeezed: OpenVINO cannot read.* Squeeze.*--provider"):
        small("squeezed", "openvino")
    folder, model, out = folder_of(tmp_path / "p", 2), tmp_path / "m.onnx", tmp_path / "x.parquet"
    model.write_bytes(graph.to_bytes(models.squeezed()))
    command = ["extract", folder, "--core", model, "--preprocess", SQUASHED, "-o", out]
    assert main.main([*map(str, command), "--provider", "openvino"]) == 2
    assert "m: OpenVINO cannot read" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.onnx", "p"]


@needs_openvino
def test_other_features_than_onnx_runtime_gives_are_refused() -> None:
    data = small("gemm", "cpu").data
    other = small("vit", "cpu")
    runner = openvino_session.session(other.data)
    inputs = other._trial()
    with pytest.raises(CoreError, match=r"mine: OpenVINO gives other numbers.* within 0\.001"):
        openvino_session.check_agrees(runner, data, inputs, "mine")
    openvino_session.check_agrees(runner, other.data, inputs, "mine")


@needs_openvino
def test_the_run_the_file_and_its_reproduction_tell_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = folder_of(tmp_path / "p", 40), tmp_path / "a.parquet"
    options: dict[str, Any] = {"core": "builtin", "pool": "1x1", "id_key": KEY, "ids": "name"}
    made = extract(folder, out=out, provider="openvino", **options)
    about = made.metadata.provenance
    assert about is not None and validate(out, deep=True) == []
    assert about.providers == {"feature": ("openvino",)} and about.batches == {"feature": (BATCH,)}
    assert about.libraries["openvino"]
    again = extract(folder, out=tmp_path / "b.parquet", provider="openvino", workers=1, **options)
    assert again.path.read_bytes() == out.read_bytes()
    plain = planned(folder, out=tmp_path / "c.parquet", **options)
    assert "openvino" not in plain.table.libraries
    command = ["reproduce", out, "--source", folder, "--core", "builtin", "--pool", "1x1"]
    assert main.main(list(map(str, command))) == 0
    assert "feature was made by the provider openvino; here by cpu." in capsys.readouterr().err
    there = builtin.load(pool="1x1", provider="openvino")
    found = dof.reproduce(out, folder, core=there)
    assert found.agrees and not found.providers and found.columns["feature"].largest == 0


@needs_openvino
def test_a_run_that_was_begun_is_not_ended_by_another_provider(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", 70)
    options: dict[str, Any] = {"core": "builtin", "out": tmp_path / "a.parquet", "id_key": KEY}

    stop = interrupt_after(1, options["out"])
    with pytest.raises(KeyboardInterrupt):
        extract(folder, provider="openvino", progress=stop, **options)
    with pytest.raises(OutputError, match=r"a difference in .*provider"):
        extract(folder, **options)
    assert len(extract(folder, provider="openvino", **options)) == 70


def test_it_runs_on_processors_as_the_cpu_does() -> None:
    assert [runtime.is_device(name) for name in ("cpu", "openvino", "cuda")] == [False, False, True]
    assert ("openvino" in runtime.available()) == openvino_session.is_installed()
