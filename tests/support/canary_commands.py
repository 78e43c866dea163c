"""Every command run once in a house full of canaries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support import canary_sources as sources
from tests.support.canary_house import House, Owned
from tests.support.interrupts import staged_blocks
from tests.support.making import ROOT
from tests.support.pictures import png

SLOW = """
import sys, time
from dof_arrow.extraction.extract import extract
extract(sys.argv[1], core="builtin", out=sys.argv[2], id_key=sys.argv[3], workers=1, table=sys.argv[4],
        key=sys.argv[5], group=sys.argv[6], keep=sys.argv[7:], progress=lambda *_: time.sleep(0.1))
"""


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
    while not staged_blocks(out) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL and staged_blocks(out)
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
    house.dof("card", first, "--head", head, "-o", house.output("card", "card.html"))
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
