"""A house full of canaries, and every command run in it once: what the owner has, and what is made of it."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from dof_arrow.cli import main
from tests.support import canary_sources as sources
from tests.support.canaries import Canaries, files
from tests.support.canary_pictures import PICTURES, clip, dicom_file
from tests.support.faulty_inputs import KINDS
from tests.support.making import ROOT
from tests.support.pictures import png

SMALL = '{"mode": "RGB", "fit": "squash", "resize": [16, 16], "scale": 0.01}'
SLOW = """
import sys, time
from dof_arrow.extraction.extract import extract
extract(sys.argv[1], core="builtin", out=sys.argv[2], id_key=sys.argv[3], workers=1, table=sys.argv[4],
        key=sys.argv[5], group=sys.argv[6], keep=sys.argv[7:], progress=lambda *_: time.sleep(0.1))
"""
_ENVIRONMENT = ("USER", "LOGNAME", "USERNAME", "HOSTNAME", "SSH_CLIENT", "OLDPWD", "MAIL")
_EACH = 3  # pictures of a format


class Said(NamedTuple):
    """How a command ended, and what it showed."""

    code: int
    shown: bytes


class House:
    """Folders of one owner: `inputs`, `outputs` made of them, and a `home`."""

    def __init__(self, root: Path) -> None:
        self.canaries = Canaries()
        self.root = root / self.canaries.name("folder above all")
        self.inputs = self._folder("inputs")
        self.outputs = self._folder("outputs")
        self.home = self._folder(self.canaries.name("home"))
        self.said: dict[str, Said] = {}
        self.finding = [self.canaries.keep("class of a label") for _ in range(2)]
        self.wards = [self.canaries.keep("cell of a kept column") for _ in range(2)]
        self.ward = self.canaries.keep("name of a kept column")
        self.key = self.canaries.name("column of keys")
        self.who = self.canaries.name("column of groups")

    def _folder(self, *names: str) -> Path:
        path = self.root.joinpath(*names)
        path.mkdir(parents=True)
        return path

    def input(self, what: str, suffix: str = "") -> Path:
        """A name for an input."""
        return self.inputs / f"{self.canaries.name(what)}{suffix}"

    def output(self, command: str, name: str) -> Path:
        """A place for what a command writes."""
        folder = self.outputs / command
        folder.mkdir(exist_ok=True)
        return folder / name

    def dof(self, *arguments: object, code: int = 0) -> None:
        """Run a command in this process; its exit code must be the one expected."""
        texts = [str(argument) for argument in arguments]
        out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            found = main.main(texts)
        shown = out.buffer.getvalue()  # type: ignore[attr-defined]
        self.said[f"{len(self.said)} {' '.join(texts)[:60]}"] = Said(found, shown)
        assert found == code, shown.decode()

    def made(self) -> Iterator[tuple[str, Path]]:
        """What may leave: all outputs and leftovers, and what lies in the owner's own folders, but for the key
        and the list of failures, which are the owner's."""
        for path in sorted(self.outputs.iterdir()):
            yield path.name, path
        for path in files(self.home):
            if path.name != "id.key" and not path.match("failed-*.csv"):
                yield f"home/{path.relative_to(self.home)}", path


@contextlib.contextmanager
def lived_in(root: Path) -> Iterator[House]:
    """A house in whose environment, working folder and command line canaries stand."""
    house = House(root)
    plant = house.canaries.plant
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(house.home))
        for name in ("CONFIG", "CACHE", "STATE", "DATA"):
            patch.setenv(f"XDG_{name}_HOME", str(house.home / name.lower()))
        for name in _ENVIRONMENT:
            patch.setenv(name, plant(f"environment: {name}"))
        host = plant("name of the machine")
        patch.setattr(socket, "gethostname", lambda: host)
        patch.setattr(platform, "node", lambda: host)
        patch.setattr(sys, "argv", ["dof", plant("argument of the command line")])
        patch.chdir(house._folder(house.canaries.name("working folder")))
        key = house.home / "config" / "dof-arrow" / "id.key"
        key.parent.mkdir(parents=True)
        key.write_text(house.canaries.key("key of the pseudonyms").hex())
        key.chmod(0o600)
        yield house


# What the owner has


class Owned:
    """All inputs of a house."""

    def __init__(self, house: House) -> None:
        self.house = house
        canaries = house.canaries
        folder = house._folder("inputs", canaries.name("folder of models"))
        self.model = sources.model(canaries, folder, canaries.keep("the model's own name"))
        self.spec = house.input("file of a preprocessing", ".json")
        self.spec.write_text(SMALL)
        self.people = [canaries.plant("patient") for _ in range(8)]
        self.pictures, self.table = self._pictures()
        self.classes = self._class_folders()
        self.workbook, self.tar = self._tar()  # PATH#SHEET
        self.parquet, self.zip = self._zip()
        self.arrays = sources.arrays(canaries, house.input("arrays", ".npz"), 5)
        path = house.input("table of pictures", ".parquet")
        self.columns = sources.parquet_pictures(canaries, path, 4)
        self.dicoms = self._dicoms()
        self.clips = self._clips()
        self.vectors = self._vectors()

    def row(self, name: str, number: int) -> dict[str, Any]:
        """A row of a table: what the owner names, and two columns that nobody names."""
        house = self.house
        plant = house.canaries.plant
        if not hasattr(self, "_columns"):
            self._columns = [plant("column that nobody names") for _ in range(2)]
        return {
            house.key: name,
            "finding": house.finding[number % 2],
            house.who: self.people[number // 3 % len(self.people)],
            house.ward: house.wards[number % 2],
            **{column: plant("cell that nobody names") for column in self._columns},
        }

    def _pictures(self) -> tuple[Path, Path]:
        """Pictures of all formats in nested folders, failures of every kind, and a CSV table."""
        canaries = self.house.canaries
        folder = self.house.input("folder of pictures")
        inner = folder / canaries.name("folder in a folder")
        inner.mkdir(parents=True)
        rows = []
        for number in range(_EACH):
            for suffix, make in PICTURES.items():
                name = f"{canaries.name('picture')}.{suffix}"
                (inner / name).write_bytes(make(canaries, number))
                rows.append(self.row(name, len(rows)))
        for kind, spoil in KINDS.items():
            for name, *_ in spoil(folder, canaries.name(f"failure: {kind}")):
                rows.append(self.row(name, len(rows)))
        broken = f"{canaries.name('broken picture')}.png"
        data = b"\x89PNG\r\n\x1a\n" + canaries.plant("text of a broken picture").encode()
        (folder / broken).write_bytes(data)
        rows.append(self.row(broken, len(rows)))
        return folder, sources.csv_table(self.house.input("CSV table", ".csv"), rows)

    def _class_folders(self) -> Path:
        canaries = self.house.canaries
        folder = self.house.input("folder of classes")
        for name in (canaries.name("class folder"), canaries.name("class folder")):
            for number in range(2):
                path = folder / name / f"{canaries.name('picture of a class')}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(number))
        return folder

    def _members(self, where: str) -> dict[str, bytes]:
        canaries = self.house.canaries
        inner = canaries.name(f"folder in a {where}")
        names = [f"{inner}/{canaries.name(f'picture in a {where}')}.png" for _ in range(4)]
        return {name: png(20 + number) for number, name in enumerate(names)}

    def _tar(self) -> tuple[str, Path]:
        members = self._members("tar")
        rows = [self.row(name, number) for number, name in enumerate(members)]
        path = self.house.input("workbook", ".xlsx")
        sheet = sources.workbook(self.house.canaries, path, rows)
        tar = self.house.input("tar", ".tar")
        return f"{path}#{sheet}", sources.tar(self.house.canaries, tar, members)

    def _zip(self) -> tuple[Path, Path]:
        members = self._members("zip")
        rows = [self.row(name, number) for number, name in enumerate(members)]
        path = self.house.input("Parquet table", ".parquet")
        table = sources.parquet_table(self.house.canaries, path, rows)
        archive = self.house.input("zip", ".zip")
        return table, sources.zipped(self.house.canaries, archive, members)

    def _dicoms(self) -> Path:
        folder = self.house.input("folder of DICOM files")
        folder.mkdir()
        for number in range(3):
            path = folder / f"{self.house.canaries.name('DICOM file')}.dcm"
            path.write_bytes(dicom_file(self.house.canaries, number))
        return folder

    def _clips(self) -> Path:
        canaries = self.house.canaries
        folder = self.house.input("folder of clips")
        folder.mkdir()
        for container, suffix in (("mp4", "mp4"), ("matroska", "mkv")):
            clip(canaries, folder, f"{canaries.name('clip')}.{suffix}", container)
        broken = f"{canaries.name('broken clip')}.mp4"
        (folder / broken).write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 40)
        return folder

    def _vectors(self) -> Path:
        path = self.house.input("vectors", ".npz")
        texts = np.array([self.house.canaries.plant("text beside vectors") for _ in range(6)])
        numbers = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")
        others = {self.house.canaries.plant("array beside vectors"): texts}
        np.savez(path, allow_pickle=True, v=numbers, **others)
        return path


# What is made of it


def live(house: House) -> Owned:
    """Run every command on what the owner has."""
    owned = Owned(house)
    core = _extract(house, owned)
    _read(house, owned)
    _kill(house, owned)
    _use(house, owned, core)
    _rewrite(house, owned)
    return owned


def _extract(house: House, owned: Owned) -> Path:
    """Datasets of every source, in both layouts; returns the core."""
    core = house.output("headless", "core.onnx")
    licence = house.canaries.keep("licence of the model")
    house.dof("headless", "--list", owned.model)
    given = ["--preprocess", owned.spec, "--license", licence, "--sample", owned.classes]
    house.dof("headless", owned.model, *given, "-o", core)
    table = ["--key", house.key, "--label", "finding", "--group", house.who]
    table += ["--keep", house.ward]
    asked = ["--table", owned.table, *table, "--split", "train=0.6,test=0.4", "--split-exact"]
    uncut = ["--core", owned.model, "--preprocess", owned.spec]
    runs: dict[str, list[object]] = {
        "mapped": ["--core", core],
        "compact": [*uncut, "--layout", "compact"],
        "views": [*uncut, "--views", 2, "--augment", "photo", "--dtype", "float16"],
    }
    for name, options in runs.items():
        out = house.output(f"extract, {name}", "x.dof.parquet")
        house.dof("extract", owned.pictures, *asked, *options, "-o", out, code=3)
    out = house.root / "none.parquet"
    house.dof("extract", owned.pictures, *asked, *uncut, "-o", out, "--dry-run")
    directory = house.output("extract, a directory", "x.dof")
    for source, rows in ((owned.tar, owned.workbook), (owned.zip, owned.parquet)):
        given = ["--table", rows, *table, "--core", core]
        house.dof("extract", source, *given, "-o", directory)
    simple = {
        "class folders": (owned.classes,),
        "arrays": (owned.arrays, "--pictures", "images"),
        "columns": (owned.columns,),
        "DICOM": (owned.dicoms, "--keep", "Modality", "--group", "PatientID"),
        "clips": (owned.clips, "--clips"),
        "one picture": (next(owned.classes.rglob("*.png")),),
    }
    for name, source in simple.items():
        out = house.output(f"extract, {name}", "x.dof.parquet")
        code = 3 if name == "clips" else 0
        house.dof("extract", *source, "--core", core, "-o", out, code=code)
    return core


def _first(house: House) -> Path:
    return house.outputs / "extract, mapped" / "x.dof.parquet"


def _read(house: House, owned: Owned) -> None:
    """Commands that only show."""
    first, other = _first(house), house.outputs / "extract, compact" / "x.dof.parquet"
    for arguments in (("info", first), ("validate", "--deep", first), ("doctor",)):
        house.dof(*arguments)
        house.dof(*arguments, "--json")
    house.dof("diff", first, other, code=1)
    house.dof("estimate", "--rows", 10, "--core", owned.model, "--preprocess", owned.spec)


def _kill(house: House, owned: Owned) -> None:
    """A run that is killed when its first block is staged, in a process of its own."""
    canaries = house.canaries
    folder = house.input("folder of many pictures")
    folder.mkdir()
    rows = []
    for number in range(200):
        name = f"{canaries.name('one of many pictures')}.png"
        data = png(number, 4) if number != 3 else canaries.plant("text of a failure").encode()
        (folder / name).write_bytes(data)
        rows.append(owned.row(name, number))
    table = sources.csv_table(house.input("table of many pictures", ".csv"), rows)
    out = house.output("killed", "x.dof.parquet")
    command = [sys.executable, "-c", SLOW, str(folder), str(out)]
    key = house.home / "config" / "dof-arrow" / "id.key"
    command += [str(key), str(table), house.key, house.who, house.ward]
    around = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=around)
    staging = out.with_name(f".{out.name}.staging")
    while not list(staging.glob("*.arrow")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL and list(staging.glob("*.arrow"))
    house.dof("repair", out)


def _use(house: House, owned: Owned, core: Path) -> None:
    """Heads, what judges them, and a fused model."""
    first = _first(house)
    head = house.output("train", "head.onnx")
    report = house.output("train", "report.json")
    house.dof("train", first, "-o", head, "--report", report)
    report = house.output("evaluate", "report.json")
    house.dof("evaluate", head, first, "--report", report, "--by", house.ward)
    fused = house.output("fuse", "model.onnx")
    house.dof("fuse", "--core", core, "--head", head, "-o", fused)
    house.dof("predict", fused, owned.pictures, code=3)
    house.dof("predict", fused, owned.classes, "--json")
    copy = house.output("train", "core.onnx")
    copy.write_bytes(core.read_bytes())  # found beside the head by its digest
    house.dof("predict", head, owned.classes, "--csv")
    given = ["--source", owned.pictures, "--core", core, "--table", owned.table]
    given += ["--key", house.key]
    house.dof("reproduce", first, *given)


def _rewrite(house: House, owned: Owned) -> None:
    """Datasets made of datasets."""
    first = _first(house)
    others = [house.outputs / f"extract, {name}" / "x.dof.parquet" for name in ("arrays", "DICOM")]
    house.dof("merge", first, *others, "-o", house.output("merge", "x.dof.parquet"))
    house.dof("merge", first, *others, "-o", house.output("merge", "x.dof"))
    for suffix in ("parquet", "dof", "dof.json", "arrow", "npy", "safetensors"):
        house.dof("convert", first, house.output("convert", f"x.{suffix}"))
    house.dof("convert", first, house.output("convert", "y.parquet"), "--layout", "compact")
    given = ["--table", owned.table, "--key", house.key, "--label", "finding"]
    given += ["--source", owned.pictures]
    house.dof("label", first, *given, "-o", house.output("label", "x.dof.parquet"))
    for option, name in (("--groups", owned.people[0]), ("--names", _a_name(owned))):
        listed = house.input("list of who is to go", ".txt")
        listed.write_text(f"{name}\n")
        out = house.output("erase", f"{option[2:]}.dof.parquet")
        house.dof("erase", first, option, listed, "-o", out)
    title = house.canaries.keep("title")
    contact = f"name={house.canaries.keep('contact')}"
    out = house.output("edit", "x.dof.parquet")
    house.dof("edit", first, "--set", f"title={title}", "--contact", contact, "-o", out)
    out = house.output("import", "x.dof.parquet")
    house.dof("import", owned.vectors, "--vector", "v", "-o", out)


def _a_name(owned: Owned) -> str:
    """What extraction calls a picture: its path in the folder."""
    path = next(owned.pictures.rglob("*.png"))
    return str(path.relative_to(owned.pictures))
