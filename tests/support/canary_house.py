"""A house full of canaries: all that an owner has, and what is made of it."""

from __future__ import annotations

import contextlib
import io
import platform
import socket
import sys
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
from tests.support.pictures import png

SMALL = '{"mode": "RGB", "fit": "squash", "resize": [16, 16], "scale": 0.01}'
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
        self.inputs = self.folder("inputs")
        self.outputs = self.folder("outputs")
        self.home = self.folder(self.canaries.name("home"))
        self.said: dict[str, Said] = {}
        self.finding = [self.canaries.keep("class of a label") for _ in range(2)]
        self.wards = [self.canaries.keep("cell of a kept column") for _ in range(2)]
        self.ward = self.canaries.keep("name of a kept column")
        self.key = self.canaries.name("column of keys")
        self.who = self.canaries.name("column of groups")

    def folder(self, *names: str) -> Path:
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
        patch.chdir(house.folder(house.canaries.name("working folder")))
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
        folder = house.folder("inputs", canaries.name("folder of models"))
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
