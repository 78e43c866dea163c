"""Execution providers: the one asked for runs all that pixels pass through, or an error says so."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from dof_arrow.cli import main
from dof_arrow.cores import builtin
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import runtime
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.format.validation.validate import validate
from dof_arrow.rewrite.merge import merge
from tests.support import models
from tests.support.pictures import KEY, core, folder_of, pixels

AZURE = "AzureExecutionProvider"  # in every wheel for Linux; it knows none of a core's operators
SQUASHED = '{"mode": "RGB", "fit": "squash", "resize": [16, 16], "scale": 0.00392156862745098}'

needs_azure = pytest.mark.skipif(
    "azure" not in runtime.available(), reason="this ONNX Runtime has but the CPU"
)


class _Pretended:
    """A session that says where its nodes run: all on `full`, but for those named in `strays`."""

    def __init__(self, real: Any, full: str, strays: dict[str, str]) -> None:
        self._real, self._full, self._strays = real, full, strays

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_providers(self) -> list[str]:
        return [self._full, "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            _Part(
                "CPUExecutionProvider"
                if part.get_nodes()[0].op_type in self._strays
                else self._full,
                part,
            )
            for part in self._real.get_provider_graph_assignment_info()
        ]


class _Part:
    def __init__(self, ep_name: str, real: Any) -> None:
        self.ep_name, self.get_nodes = ep_name, real.get_nodes


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """ONNX Runtime pretends to have CUDA; a call says which operators it then leaves to the CPU."""
    known = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    real, seen = graph.session, []

    def leaving(*strays: str) -> list[Any]:
        def session(data: bytes, threads: int = 1, provider: Any = None) -> Any:
            seen.append(provider)
            made = real(data, threads, provider and ("CPUExecutionProvider", {}))
            return (
                made
                if provider is None
                else _Pretended(made, provider[0], dict.fromkeys(strays, ""))
            )

        monkeypatch.setattr(runtime, "plain_session", session)
        return seen

    return leaving


def test_the_cpu_is_the_default_and_always_there() -> None:
    assert (
        "cpu" in runtime.available()
        and core().provider == runtime.short("CPUExecutionProvider") == "cpu"
    )
    assert runtime.session(core().data, provider="CPUExecutionProvider").get_providers() == [
        "CPUExecutionProvider"
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensorrt", "pip uninstall onnxruntime, then pip install onnxruntime-gpu"),
        ("DmlExecutionProvider", "directml"),
        ("gpu", "See onnxruntime.ai"),
    ],
)
def test_a_provider_that_is_not_installed(name: str, said: str) -> None:
    with pytest.raises(
        UsageError, match=r"no such execution provider here: expected .*cpu, found"
    ) as caught:
        builtin.load(provider=name)
    assert said in str(caught.value)


@pytest.mark.filterwarnings(
    "ignore:Specified provider"
)  # ONNX Runtime's own, since nothing but the list is faked
def test_a_provider_that_onnx_runtime_drops_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with onnxruntime-gpu and no driver: it is listed, and a session then has the CPU alone."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert graph.session(core().data, 1, ("CUDAExecutionProvider", {})).get_providers() == [
        "CPUExecutionProvider"
    ]
    with pytest.raises(
        CoreError, match=r"cannot start the execution provider.* found cuda.*driver"
    ):
        builtin.load(provider="cuda")


@needs_azure
def test_a_provider_that_leaves_all_nodes_to_the_cpu() -> None:
    assert graph.session(core().data, 1, (AZURE, {})).get_providers()[0] == AZURE
    with pytest.raises(
        CoreError, match=r"leaves a part of the model to the CPU.* on azure, found .*18 Conv"
    ):
        builtin.load(provider="azure")


def test_one_operator_on_the_cpu_is_one_too_many(cuda: Any) -> None:
    cuda("Softmax")
    with pytest.raises(CoreError, match="on cuda, found 1 Softmax"):
        runtime.session(graph.to_bytes(models.vit()), provider="cuda")


def test_what_works_out_shapes_may_run_on_the_cpu(cuda: Any) -> None:
    """A class token is repeated for each picture: how often is worked out on the CPU, for CUDA."""
    seen = cuda("Shape", "Expand")
    runtime.session(graph.to_bytes(models.vit()), provider="CUDA")
    assert seen == [
        ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"})
    ]
    cuda("Shape", "Concat")  # of which one joins the token to the picture's
    with pytest.raises(CoreError, match="found 1 Concat"):
        runtime.session(graph.to_bytes(models.vit()), provider="cuda")


def test_nodes_set_aside_may_run_on_the_cpu(cuda: Any) -> None:
    cuda("Conv", "Reshape")
    model = models.vit()
    for node in model.graph.node[:2]:
        for name in node.output:
            graph.rename_tensor(model, name, f"preprocessing/{name}")
    runtime.session(graph.to_bytes(model), provider="cuda", aside="preprocessing/")
    with pytest.raises(CoreError, match="1 Conv, 1 Reshape"):
        runtime.session(graph.to_bytes(model), provider="cuda")


def test_an_onnx_runtime_that_does_not_tell(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda()
    monkeypatch.delattr(_Pretended, "get_provider_graph_assignment_info")
    monkeypatch.delattr(
        onnxruntime.InferenceSession.__mro__[1], "get_provider_graph_assignment_info"
    )
    with pytest.raises(
        CoreError, match=r"does not tell what runs where: expected version 1\.24\.1"
    ):
        builtin.load(provider="cuda")


def test_the_provider_stands_in_the_run_and_in_the_file(cuda: Any, tmp_path: Path) -> None:
    cuda()
    folder = folder_of(tmp_path / "p", 4)
    ran = builtin.load(pool="1x1", provider="CUDAExecutionProvider")
    assert ran.provider == pickle.loads(pickle.dumps(ran)).provider == "cuda"
    made = extract(folder, core=ran, out=tmp_path / "a.parquet", id_key=KEY, ids="name")
    assert (
        made.metadata.provenance.providers == {"feature": ("cuda",)}
        and validate(made.path, deep=True) == []
    )
    plain = planned(folder, core=core(), out=tmp_path / "b.parquet", id_key=KEY, ids="name")
    other = planned(
        folder, core="builtin", pool="1x1", provider="cuda", out=tmp_path / "b.parquet", id_key=KEY
    )
    assert [run.identity["provider"] for run in (plain, other)] == [
        {"feature": "cpu"},
        {"feature": "cuda"},
    ]
    assert plain.run().metadata.provenance.providers == {} and plain.run_digest != other.run_digest
    folder_of(tmp_path / "q", 6)
    for i in range(4):
        (tmp_path / "q" / f"{i:04d}.png").unlink()
    more = extract(tmp_path / "q", core=core(), out=tmp_path / "c.parquet", id_key=KEY, ids="name")
    both = merge([made.path, more.path], tmp_path / "d.parquet")
    assert both.metadata.provenance.providers == {"feature": ("cpu", "cuda")}
    with pytest.raises(
        UsageError, match="runs on another execution provider: expected cuda, found cpu"
    ):
        planned(folder, core=core(), provider="cuda", out=tmp_path / "e.parquet", id_key=KEY)


@pytest.mark.parametrize(
    "command",
    [
        ("extract", "p", "-o", "x.parquet", "--core", "builtin"),
        ("headless", "m.onnx", "-o", "x.onnx", "--preprocess", SQUASHED),
    ],
)
def test_commands_do_not_fall_back(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    folder_of(tmp_path / "p", 2)
    Path("m.onnx").write_bytes(graph.to_bytes(models.gemm()))
    assert main.main([*command, "--provider", "tensorrt"]) == 2
    said = capsys.readouterr()
    assert not said.out and "found tensorrt" in said.err and "onnxruntime-gpu" in said.err
    assert not Path(command[3]).exists()


# Threads


@pytest.mark.parametrize(("threads", "workers"), [(1, None), (2, None), (64, None), (2, 3)])
def test_workers_are_the_processors_that_threads_leave(
    threads: int, workers: int | None, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "p", 2)
    run = planned(
        folder,
        core="builtin",
        out=tmp_path / "x.parquet",
        id_key=KEY,
        threads=threads,
        workers=workers,
    )
    count = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    assert (
        run.workers == (workers or max(count // threads, 1))
        and run.cores["feature"].threads == threads
    )
    assert run.identity["threads"] == {"feature": threads}


def test_threads_change_no_feature(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", 20)
    with pytest.raises(UsageError, match="threads must be at least 1: found 0"):
        extract(folder, core="builtin", out=tmp_path / "x.parquet", id_key=KEY, threads=0)
    one, many = (
        extract(folder, core="builtin", out=tmp_path / f"{n}.parquet", id_key=KEY, threads=n)
        for n in (1, 3)
    )
    assert np.array_equal(one.to_numpy(), many.to_numpy())


# Cores whose features depend on the batch


def test_a_core_that_depends_on_its_batch_gives_the_same_at_any_batch_size_and_workers(
    tmp_path: Path,
) -> None:
    """Where a scale is taken from all rows of a batch, a core runs one picture at a time."""
    folder = folder_of(tmp_path / "p", 41, side=16)
    (folder / "0007.png").write_bytes(b"broken")
    ranged = Core.from_bytes(
        graph.to_bytes(models.dynamic_range()), name="ranged", preprocess=SQUASHED
    )
    assert ranged.batch_dependent
    prepared = np.stack([ranged.prepare(pixels(i, 16)) for i in range(8)])
    together = graph.run(graph.session(ranged.data), {ranged.describe().input.name: prepared})[0]
    assert np.abs(together - ranged.run(prepared)).max() > 0  # or nothing is shown here

    def made(batch_size: int, workers: int) -> Any:
        out = tmp_path / f"{batch_size}-{workers}.parquet"
        return extract(
            folder,
            core=ranged,
            out=out,
            id_key=KEY,
            order="source",
            batch_size=batch_size,
            workers=workers,
        )

    first = made(8, 2)
    assert len(first) == 40 and not first.metadata.cores["feature"].deterministic
    assert np.array_equal(first.to_numpy()[:7], ranged.run(prepared[:7]))
    for batch_size in (1, 3, 64):
        other = made(batch_size, 2)
        assert (
            np.array_equal(other.to_numpy(), first.to_numpy())
            and other.metadata.uuid == first.metadata.uuid
        )
    for workers in (1, 3):
        assert made(8, workers).path.read_bytes() == first.path.read_bytes()
