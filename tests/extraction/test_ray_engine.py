"""Extraction on a Ray cluster of two nodes: the bytes of the local engine, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dof_arrow.cli.exit_codes import SOME_FAILED
from dof_arrow.cli.main import main
from dof_arrow.errors import MissingExtra, SourceError, UsageError
from dof_arrow.extraction import ray_crew
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.extraction.ray_cluster import ClusterOptions, actors_on, connected, ray_module
from dof_arrow.sources.sample import Sample
from tests.support.interrupts import interrupt_after
from tests.support.making import ROOT
from tests.support.pictures import KEY, Memory, contents, core, folder_of, png

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
COUNT = 150


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with two processors each, of which one has a pretended GPU."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    with pytest.MonkeyPatch.context() as patch:  # before ray is loaded, which reads these then
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # workers find the sources of these tests there
        ray_module()
        from ray.cluster_utils import Cluster

        small = {"num_cpus": 2, "object_store_memory": 100 << 20}
        nodes = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        try:
            nodes.add_node(**small, num_gpus=1)
            yield nodes
        finally:
            nodes.shutdown()


@pytest.fixture(scope="module")
def joined(cluster: Any) -> Iterator[None]:
    """This process is connected to the cluster: runs use that, which saves each some seconds."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two sizes, a few of them broken."""
    folder = folder_of(tmp_path_factory.mktemp("pictures"), COUNT - 40)
    folder_of(folder / "wide", 40, side=9)
    for number in (3, 40, 109):
        (folder / f"{number:04d}.png").write_bytes(b"broken")
    return folder


def run(source: Any, out: Path, **options: Any) -> bytes:
    """The bytes of a dataset; two actors are enough, each takes seconds to start."""
    if options.get("engine") == "ray" and not options.get("actor_gpus"):
        options.setdefault("workers", 2)
    return extract(source, out=out, id_key=KEY, core=core(), **options).path.read_bytes()


@dataclass(frozen=True)
class Stored:
    """A picture that leaves its reader's process number in a folder, or kills its reader."""

    number: int
    folder: Path
    deadly: bool = False

    def read(self) -> bytes:
        (self.folder / str(os.getpid())).touch()
        if self.deadly and not (self.folder / "harmless").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return png(self.number)

    def stamp(self) -> object:
        return self.number


class Watched(Memory):
    """Pictures whose readers leave their process numbers; those in `deadly` kill them."""

    def __init__(self, count: int, folder: Path, deadly: tuple[int, ...] = ()) -> None:
        super().__init__(count)
        folder.mkdir()
        self.folder, self.deadly = folder, deadly

    def __getitem__(self, index: int) -> Sample:
        stored = Stored(index, self.folder, index in self.deadly)
        return Sample(key=f"{index:04d}", data=stored)

    def readers(self) -> list[int]:
        return sorted(int(name) for name in contents(self.folder) if name.isdecimal())


def test_the_command_gives_the_bytes_of_the_local_engine(
    cluster: Any, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    given = ["extract", str(pictures), "--core", "builtin", "--id-key", str(tmp_path / "key")]
    there = ["--engine", "ray", "--address", cluster.address]
    on_ray = [*given, *there, "-o", str(tmp_path / "ray.parquet")]
    assert main([*given, "-o", str(tmp_path / "local.parquet")]) == SOME_FAILED
    assert main([*on_ray, "--dry-run"]) == 0
    assert "Nothing was written" in capsys.readouterr().err
    assert main(on_ray) == SOME_FAILED
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    assert contents(tmp_path) == ["key", "local.parquet", "ray.parquet"]
    assert main(on_ray) == SOME_FAILED
    assert "nothing to do" in capsys.readouterr().err


OPTIONS: dict[str, dict[str, Any]] = {
    "views on threads": {
        "views": 3,
        "augment": '{"seed": 1, "flip_x": 0.5}',
        "dtype": "float16",
        "actor_cpus": 2,
        "batch_size": 3,
    },
    "read apart": {"actor_gpus": 0.5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_bytes_are_those_of_the_local_engine(
    joined: None, pictures: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    common = {name: value for name, value in options.items() if "actor" not in name}
    expected = run(pictures, tmp_path / "local.parquet", **common)
    assert run(pictures, tmp_path / "ray.parquet", engine="ray", **options) == expected


@pytest.mark.parametrize("apart", [False, True], ids=["together", "read apart"])
def test_a_worker_that_is_killed_costs_its_batch_alone(
    joined: None, tmp_path: Path, apart: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = run(Watched(COUNT, tmp_path / "here"), tmp_path / "local.parquet")
    source = Watched(COUNT, tmp_path / "there")
    seen: list[tuple[int, int, int]] = []
    killed: list[int] = []

    def kill_one(done: int, total: int, failed: int) -> None:
        seen.append((done, total, failed))
        if not killed and done > 40:
            killed.append(source.readers()[0])
            with suppress(ProcessLookupError):
                os.kill(killed[0], signal.SIGKILL)

    options: dict[str, Any] = {"engine": "ray", "progress": kill_one}
    if apart:
        options["actor_gpus"] = 1
    assert run(source, tmp_path / "ray.parquet", **options) == expected
    assert killed and os.getpid() not in source.readers()
    assert capsys.readouterr().out == ""  # which is for results alone
    assert seen[0] == (0, COUNT, 0) and seen[-1] == (COUNT, COUNT, 0)
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})


def test_an_input_that_kills_its_workers_stops_the_run_and_what_is_done_stays(
    joined: None, tmp_path: Path
) -> None:
    source = Watched(COUNT, tmp_path / "there", deadly=(117,))
    out = tmp_path / "x.parquet"
    with pytest.raises(
        SourceError, match=r"workers died 3 times at the same inputs.*\d{4}"
    ) as told:
        run(source, out, engine="ray", workers=1)
    assert not out.exists()
    assert any(f"{number:04d}" in str(told.value) for number in range(112, 120))
    (source.folder / "harmless").touch()
    first: list[int] = []
    again = run(source, out, progress=lambda done, *_: first.append(done))
    assert first[0] >= 64
    assert again == run(Watched(COUNT, tmp_path / "here"), tmp_path / "local.parquet")


def test_an_input_that_kills_its_readers_stops_the_run(joined: None, tmp_path: Path) -> None:
    source = Watched(20, tmp_path / "there", deadly=(7,))
    with pytest.raises(SourceError, match=r"workers died 3 times at the same inputs.*000[67]"):
        run(source, tmp_path / "x.parquet", engine="ray", actor_gpus=1)


@pytest.mark.parametrize("engines", [("local", "ray"), ("ray", "local")], ids=str)
def test_what_one_engine_began_another_ends(
    joined: None, pictures: Path, tmp_path: Path, engines: tuple[str, str]
) -> None:
    stop = interrupt_after(1, tmp_path / "x.parquet")
    first: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run(pictures, tmp_path / "x.parquet", engine=engines[0], progress=stop)
    found = run(
        pictures,
        tmp_path / "x.parquet",
        engine=engines[1],
        progress=lambda done, *_: first.append(done),
    )
    assert 0 < first[0] < COUNT
    assert found == run(pictures, tmp_path / "whole.parquet")
    assert contents(tmp_path) == ["whole.parquet", "x.parquet"]


def test_parts_of_a_directory(joined: None, pictures: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"out": tmp_path / "x.dof", "core": core(), "ids": "name"}
    made = extract(pictures / "wide", engine="ray", workers=1, **options)
    assert len(made) == 40 and planned(pictures / "wide", **options).nothing_new


def test_clips(joined: None, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from tests.support.clips import encode, scene

    source = tmp_path / "clips"
    source.mkdir()
    for number in range(3):
        (source / f"{number}.mp4").write_bytes(encode(scene(number, 20, height=32, width=32)))
    (source / "bad.mp4").write_bytes(b"no clip")
    expected = run(source, tmp_path / "local.parquet")
    assert run(source, tmp_path / "ray.parquet", engine="ray") == expected


class Elsewhere(Memory):
    """Pictures that are others in each process."""

    def __getitem__(self, index: int) -> Sample:
        return Sample(key=f"{index:04d}", data=png(os.getpid() % 1000 + index))


class Unsent(Memory):
    """A source that cannot go to another process."""

    def __init__(self) -> None:
        super().__init__(3)
        self.lock = threading.Lock()


class Failing(Memory):
    """A source with a fault in its own code, which other processes meet."""

    def __init__(self) -> None:
        super().__init__(3)
        self.home = os.getpid()

    def data(self, index: int) -> bytes:
        if index == 1 and os.getpid() != self.home:
            raise RuntimeError("a fault of the source")
        return super().data(index)


@pytest.mark.parametrize(
    ("source", "options", "error", "said"),
    [
        (Elsewhere(3), {}, SourceError, "sees other files than this one.*under the same paths"),
        (Unsent(), {}, UsageError, "Unsent: the source cannot be sent.*--engine local"),
        (Failing(), {}, RuntimeError, "a fault of the source"),
        (Memory(3), {"workers": 9}, UsageError, "no room.*each of 9, found 2 machines with 4 CPUs"),
        (Memory(3), {"actor_cpus": 3}, UsageError, "3 CPUs and 0 GPUs on one machine"),
        (Memory(3), {"actor_gpus": 2}, UsageError, "1 CPUs and 2 GPUs.*1 GPUs in all"),
    ],
    ids=["other files", "unsent", "fault", "too many", "too large", "GPUs"],
)
def test_what_cannot_be_computed_there_is_told(
    joined: None,
    tmp_path: Path,
    source: Any,
    options: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        run(source, tmp_path / "x.parquet", engine="ray", **options)
    assert not (tmp_path / "x.parquet").exists()


def test_a_machine_that_is_lost_costs_what_it_had(
    cluster: Any, joined: None, tmp_path: Path
) -> None:
    expected = run(Watched(COUNT, tmp_path / "here"), tmp_path / "local.parquet")
    lost: list[Any] = []

    def lose_one(done: int, total: int, failed: int) -> None:
        if not lost and done > 40:
            lost.append(cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False))

    source = Watched(COUNT, tmp_path / "there")
    assert run(source, tmp_path / "ray.parquet", engine="ray", progress=lose_one) == expected
    assert lost


def test_room_on_machines() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": False, "Resources": {"CPU": 64.0}},
    ]
    assert actors_on(nodes, ClusterOptions()) == 6
    assert actors_on(nodes, ClusterOptions(cpus=2)) == 3
    assert actors_on(nodes, ClusterOptions(gpus=0.5)) == 4
    assert actors_on(nodes[:1], ClusterOptions(gpus=0.25)) == 3  # one CPU reads
    with pytest.raises(UsageError, match="and a CPU besides, which reads pictures"):
        actors_on([{"Alive": True, "Resources": {"CPU": 1.0, "GPU": 1.0}}], ClusterOptions(gpus=1))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: no Ray cluster answers.*refused.*ray start --head"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
        ("ray://127.0.0.1:10001", "expected HOST:PORT.*on a machine of the cluster"),
        ("nonsense", "expected HOST:PORT.*found nonsense"),
    ],
)
def test_addresses_without_a_cluster_are_told_at_once(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UsageError, match=said), connected(address):
        raise AssertionError("connected")


def test_machines_with_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_crew, "versions", lambda _: {"PIL": "12", "av": "15"})
    with pytest.raises(UsageError, match=r"box: .*expected PIL 12, av 15, found PIL 11, av none"):
        ray_crew._check_versions("box", {"PIL": "11"})


def test_without_ray_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'dof-arrow\[ray\]'"):
        planned(
            folder_of(tmp_path / "p", 2), core=core(), out=tmp_path / "x", id_key=KEY, engine="ray"
        )
