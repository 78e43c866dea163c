"""Whole commands, from start to end, against the scripts that people would write (`benchmarks/rivals/`).

`python -m benchmarks.bench_commands --data DATA [--only CASE …] [--rounds 5]`. Each run is a process
of its own, ours and theirs in turn, before all other processes where the system allows it; medians of the
seconds by the clock, and of the processors' (user and system, of all processes of a run), since a
busy machine moves the former alone. Byte code is compiled before, in a folder of its own; both get
the same core, whose head is cut already, and our cache knows it from a run that is not measured.
What favours us: batches of two. What favours them: they keep no provenance, make no pseudonyms,
look at nothing twice, sync nothing, and do not go on where they were interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, before_all_others, keep

RIVALS = Path(__file__).with_name("rivals")
ROOT = RIVALS.parents[1]
FLOAT, INT8 = "mobilenetv2-12-fp32-from-int8.onnx", "mobilenetv2-12-int8.onnx"
STARTER = "efficientnet-lite0"
VIT = "vit_small_patch16_224.onnx"  # made by benchmarks/vit.py, with random weights
CLIP_RATE = 10  # frames a second
LIBRARIES = ("onnxruntime", "openvino", "torch", "torchvision", "pillow", "av")

Command = Sequence[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What ours and theirs do, and how many times faster ours is to be."""

    ours: Command
    theirs: Command
    target: float


class Place:
    """A folder with inputs, cores and a cache for one run of the benchmark."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data
        self.environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }

    def run(self, command: Command) -> tuple[float, float]:
        """Seconds by the clock and of the processors."""
        start = time.perf_counter()
        words = [sys.executable, *map(str, command)]
        done = subprocess.Popen(
            words,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=_hurried,
        )
        assert done.stderr is not None
        said = done.stderr.read()
        _, status, used = os.wait4(done.pid, 0)
        taken = time.perf_counter() - start
        done.returncode = os.waitstatus_to_exitcode(status)
        if done.returncode:
            raise RuntimeError(f"{words}: {said.decode()}")
        return taken, used.ru_utime + used.ru_stime

    def dof(self, *words: object) -> list[object]:
        """A command of ours."""
        return ["-m", "dof_arrow", *words, "-q"]

    def rival(self, script: str, *words: object) -> list[object]:
        """A command of theirs."""
        return [RIVALS / f"{script}.py", *words]

    def core(self, model: str) -> Path:
        """A model without its head, with its preprocessing."""
        path = self.folder / f"{Path(model).stem}.core.onnx"
        if not path.exists():
            made: list[object] = [self._model(model), "--preprocess", "imagenet"]
            if model == STARTER:
                made = [model]
            self.run(self.dof("headless", *made, "-o", path))
        return path

    def _model(self, model: str) -> Path:
        if model != VIT:
            return self.data / "models" / model
        self.run(["-m", "benchmarks.vit", self.folder / VIT])
        return self.folder / VIT

    def pictures(self, kind: str, count: int) -> Path:
        """A folder of so many pictures, which are repeated."""
        folder = self.folder / f"{kind}-{count}"
        if not folder.exists():
            folder.mkdir()
            found = [p for p in sorted(self.data.rglob(f"images/{kind}/**/*")) if _is_jpeg(p)]
            for number in range(count):
                shutil.copy(found[number % len(found)], folder / f"{number:05d}.jpg")
        return folder

    def clips(self, count: int) -> Path:
        """A folder of so many clips of ten seconds, 320 x 240, ten frames a second."""
        import numpy as np

        from tests.support import clips

        folder = self.folder / f"clips-{count}"
        if not folder.exists():
            folder.mkdir()
            made = np.concatenate(
                [clips.scene(seed, 2 * CLIP_RATE, height=240, width=320) for seed in range(5)]
            )
            for number in range(count):
                data = clips.encode(np.roll(made, number, axis=0), fps=CLIP_RATE)
                (folder / f"{number:03d}.mp4").write_bytes(data)
        return folder

    @property
    def out(self) -> Path:
        """Where ours writes."""
        return self.folder / "ours.dof.parquet"

    def extract(self, source: Path, core: Path, *words: object) -> list[object]:
        """Our extraction."""
        return self.dof("extract", source, "--core", core, "-o", self.out, "--overwrite", *words)


def _hurried() -> None:
    with suppress(OSError):  # not everybody may, and not every system can
        before_all_others()


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg") and path.read_bytes()[:2] == b"\xff\xd8"


def _pool(model: str, kind: str, count: int, target: float, *how: str) -> Callable[[Place], Case]:
    def made(place: Place) -> Case:
        source, core = place.pictures(kind, count), place.core(model)
        theirs = place.rival("ort_pool", source, core, place.folder / "theirs.parquet", *how)
        return Case(ours=place.extract(source, core), theirs=theirs, target=target)

    return made


def _reduced(place: Place) -> Case:
    """Decoding at a half, a quarter or an eighth."""
    source = place.pictures("chest-xray", 500)
    model, path = place.data / "models" / FLOAT, place.folder / "reduced.onnx"
    how = ("--preprocess", "imagenet", "--decode", "reduced", "-o", path, "--overwrite")
    place.run(place.dof("headless", model, *how))
    theirs = place.rival("ort_pool", source, place.core(FLOAT), place.folder / "theirs.parquet")
    return Case(ours=place.extract(source, path), theirs=theirs, target=1.5)


def _other(script: str, target: float, *options: str) -> Callable[[Place], Case]:
    def made(place: Place) -> Case:
        source, core = place.pictures("imagenet-sample", 300), place.core(FLOAT)
        cores = () if script == "torch_loader" else (core,)
        theirs = place.rival(script, source, *cores, place.folder / "theirs.parquet")
        ours = place.extract(source, core, *options)
        return Case(ours=ours, theirs=theirs, target=target)

    return made


def _clips(count: int) -> Callable[[Place], Case]:
    def made(place: Place) -> Case:
        source, core = place.clips(count), place.core(FLOAT)
        theirs = place.rival("av_pool", source, core, place.folder / "theirs.parquet")
        return Case(ours=place.extract(source, core), theirs=theirs, target=1.0)

    return made


CASES: dict[str, Callable[[Place], Case]] = {
    "1,000 photographs, float MobileNetV2": _pool(FLOAT, "imagenet-sample", 1000, 1.0),
    "300 photographs, float MobileNetV2": _pool(FLOAT, "imagenet-sample", 300, 0.85),
    "300 photographs, int8 MobileNetV2": _pool(INT8, "imagenet-sample", 300, 1.0),
    "300 photographs, efficientnet-lite0": _pool(STARTER, "imagenet-sample", 300, 1.0, "cubic"),
    "500 radiographs, float MobileNetV2": _pool(FLOAT, "chest-xray", 500, 1.0),
    "500 radiographs, decoded smaller": _reduced,
    "300 photographs, OpenVINO's queue": _other("openvino_queue", 0.9),
    "300 photographs, OpenVINO on both sides": _other(
        "openvino_queue", 0.9, "--provider", "openvino"
    ),
    "300 photographs, torch's DataLoader": _other("torch_loader", 2.5),
    "200 photographs, ViT-S/16": _pool(VIT, "imagenet-sample", 200, 1.0),
    "12 clips of 10 s, PyAV": _clips(12),
    "60 clips of 10 s, PyAV": _clips(60),
}
ALONE = {"extract": 0.6, "predict": 0.6, "info": 0.3, "--help": 0.1}


def measured(place: Place, case: Case, rounds: int) -> dict[str, Any]:
    """Medians of ours and theirs, in turn, after one of each that is not measured."""
    taken: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for number in range(rounds + 1):
        for name, command in (("ours", case.ours), ("theirs", case.theirs)):
            one = place.run(command)
            if number:
                taken[name].append(one)
    found: dict[str, Any] = {"target": case.target}
    for name, runs in taken.items():
        found[name] = {
            "seconds": statistics.median(clock for clock, _ in runs),
            "processor_seconds": statistics.median(used for _, used in runs),
        }
    for kind in ("seconds", "processor_seconds"):
        found[f"ratio_of_{kind}"] = found["theirs"][kind] / found["ours"][kind]
    return found


def alone(place: Place, rounds: int) -> dict[str, Any]:
    """Commands on two pictures: how long one waits for them."""
    core, two = place.core(FLOAT), place.pictures("imagenet-sample", 2)
    _train_and_fuse(place, core)
    commands = {
        "extract": place.extract(two, core),
        "predict": place.dof("predict", place.folder / "fused.onnx", two),
        "info": place.dof("info", place.folder / "labelled.parquet"),
        "--help": ["-m", "dof_arrow", "--help"],
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            one = place.run(command)
            if number:
                runs[name].append(one)
    found = {}
    for name, taken in runs.items():
        found[name] = {
            "seconds": statistics.median(clock for clock, _ in taken),
            "processor_seconds": statistics.median(used for _, used in taken),
            "target": ALONE[name],
        }
    return found


def _train_and_fuse(place: Place, core: Path) -> None:
    source = place.pictures("imagenet-sample", 60)
    lines = [f"{path.name},{'ab'[i % 2]}" for i, path in enumerate(sorted(source.iterdir()))]
    table = place.folder / "labels.csv"
    table.write_text("\n".join(["file,kind", *lines]))
    data, head = place.folder / "labelled.parquet", place.folder / "head.onnx"
    about = ("--table", table, "--key", "file", "--label", "kind")
    place.run(place.dof("extract", source, "--core", core, "-o", data, *about))
    place.run(place.dof("train", data, "-o", head))
    fused = place.folder / "fused.onnx"
    place.run(place.dof("fuse", "--core", core, "--head", head, "-o", fused))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[*CASES, "alone"], help="names of cases")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    kept = RESULTS / "commands.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    found = {"cases": found.get("cases", {}), "alone": found.get("alone", {})}
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name), given.data.resolve())
        for each in given.only:
            if each == "alone":
                found["alone"] = alone(place, given.rounds)
                print(found["alone"], flush=True)
                continue
            found["cases"][each] = measured(place, CASES[each](place), given.rounds)
            print(each, found["cases"][each], flush=True)
    keep("commands", found, *LIBRARIES)


if __name__ == "__main__":
    main()
