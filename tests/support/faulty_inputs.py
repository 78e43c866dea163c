"""A folder of pictures with a table, among them inputs with faults of many kinds.

Each kind is a function that makes one faulty input under a stem of its own, and returns the rows of
the table that name it: key, label, group. Every one of them must be listed as failed, alone.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.support.dicoms import dicom
from tests.support.pictures import png

Rows = list[tuple[str, str, str]]
Kind = Callable[[Path, str], Rows]

KINDS: dict[str, Kind] = {}
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"


def kind(make: Kind) -> Kind:
    """Count a function among the kinds, by its name."""
    KINDS[make.__name__] = make
    return make


def named(name: str) -> Rows:
    return [(name, "a", f"who {name}")]


def written(folder: Path, name: str, data: bytes) -> Rows:
    (folder / name).write_bytes(data)
    return named(name)


def encoded(form: str, **options: Any) -> bytes:
    """A noisy picture of 32 x 32 in a format of Pillow's."""
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, form, **options)
    return out.getvalue()


@kind
def empty(folder: Path, stem: str) -> Rows:
    return written(folder, f"{stem}.png", b"")


@kind
def page_of_html(folder: Path, stem: str) -> Rows:
    return written(folder, f"{stem}.jpg", HTML)


@kind
def text(folder: Path, stem: str) -> Rows:
    return written(folder, f"{stem}.png", b"version https://git-lfs.github.com/spec/v1\n")


@kind
def random_bytes(folder: Path, stem: str) -> Rows:
    return written(folder, f"{stem}.bmp", np.random.default_rng(0).bytes(400))


@kind
def zeros(folder: Path, stem: str) -> Rows:
    return written(folder, f"{stem}.tif", bytes(500))


@kind
def half_a_png(folder: Path, stem: str) -> Rows:
    data = png(0, side=32)
    return written(folder, f"{stem}.png", data[: len(data) // 2])


@kind
def half_a_jpeg(folder: Path, stem: str) -> Rows:
    data = encoded("JPEG")
    return written(folder, f"{stem}.jpg", data[: len(data) // 2])


@kind
def half_a_webp(folder: Path, stem: str) -> Rows:
    data = encoded("WEBP")
    return written(folder, f"{stem}.webp", data[: len(data) // 2])


@kind
def half_a_tiff(folder: Path, stem: str) -> Rows:
    data = encoded("TIFF")
    return written(folder, f"{stem}.tif", data[: len(data) // 2])


@kind
def half_a_gif(folder: Path, stem: str) -> Rows:
    data = encoded("GIF")
    return written(folder, f"{stem}.gif", data[: len(data) // 2])


@kind
def half_a_jpeg_2000(folder: Path, stem: str) -> Rows:
    data = encoded("JPEG2000")
    return written(folder, f"{stem}.jp2", data[: len(data) // 3])


@kind
def bits_turned(folder: Path, stem: str) -> Rows:
    data = bytearray(png(0, side=32))
    place = data.index(b"IDAT") + 20
    data[place : place + 8] = bytes(255 - byte for byte in data[place : place + 8])
    return written(folder, f"{stem}.png", bytes(data))


@kind
def far_too_large(folder: Path, stem: str) -> Rows:
    head = b"P6 400000 400000 255\n"
    return written(folder, f"{stem}.ppm", head + bytes(100))


@kind
def without_width(folder: Path, stem: str) -> Rows:
    return written(folder, f"{stem}.ppm", b"P6 0 10 255\n")


@kind
def zip_archive(folder: Path, stem: str) -> Rows:
    return written(folder, f"{stem}.png", b"PK\3\4" + bytes(60))


@kind
def several_pages(folder: Path, stem: str) -> Rows:
    data = encoded("TIFF", save_all=True, append_images=[Image.new("RGB", (32, 32))])
    return written(folder, f"{stem}.tif", data)


@kind
def dicom_cut_off(folder: Path, stem: str) -> Rows:
    data = dicom(np.zeros((16, 16), np.uint8))
    return written(folder, f"{stem}.dcm", data[:-100])


@kind
def dicom_with_names_burned_in(folder: Path, stem: str) -> Rows:
    data = dicom(np.zeros((16, 16), np.uint8), BurnedInAnnotation="YES")
    return written(folder, f"{stem}.dcm", data)


@kind
def dicom_of_many_frames(folder: Path, stem: str) -> Rows:
    data = dicom(np.zeros((3, 16, 16), np.uint8), frames=3)
    return written(folder, f"{stem}.dcm", data)


@kind
def link_to_nothing(folder: Path, stem: str) -> Rows:
    (folder / f"{stem}.png").symlink_to("nothing there.png")
    return named(f"{stem}.png")


@kind
def link_to_itself(folder: Path, stem: str) -> Rows:
    (folder / f"{stem}.png").symlink_to(f"{stem}.png")
    return named(f"{stem}.png")


@kind
def pipe(folder: Path, stem: str) -> Rows:
    os.mkfifo(folder / f"{stem}.png")
    return named(f"{stem}.png")


@kind
def folder_called_like_a_picture(folder: Path, stem: str) -> Rows:
    (folder / f"{stem}.png").mkdir()
    return named(f"{stem}.png")


@kind
def row_without_a_picture(folder: Path, stem: str) -> Rows:
    return named(f"{stem}.png")


@kind
def key_that_leads_out(folder: Path, stem: str) -> Rows:
    return named(f"../{stem}.png")


@kind
def key_of_several_pictures(folder: Path, stem: str) -> Rows:
    for name in ("one", "other"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"{stem}.png").write_bytes(png(0))
    return named(f"{stem}.png")


@kind
def rows_of_other_labels(folder: Path, stem: str) -> Rows:
    name = f"{stem}.png"
    (folder / name).write_bytes(png(0))
    return [(name, "a", f"who {name}"), (name, "b", f"who {name}")]


def folder_with_faults(folder: Path, sound: int, each: int) -> tuple[Path, Path, int]:
    """A folder of sound pictures and `each` inputs of every kind of fault; its table; how many."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    rows: Rows = []
    for number in range(sound):
        rows += written(pictures, f"p{number:05d}.png", png(number % 64))
    for name, make in KINDS.items():
        for number in range(each):
            rows += make(pictures, f"{name}-{number}")
    table = folder / "table.csv"
    lines = [",".join(row) for row in [("file", "label", "who"), *rows]]
    table.write_text("\n".join(lines) + "\n")
    return pictures, table, each * len(KINDS)


def check(folder: Path, sound: int, each: int) -> dict[str, Any]:
    """Extract such a folder twice; hold that every fault is told and the bytes are the same.

    Returns the report.
    """
    pictures, table, faults = folder_with_faults(folder / "in", sound, each)
    command = ["extract", str(pictures), "--core", "builtin", "--pool", "1x1", "--table"]
    command += [str(table), "--key", "file", "--label", "label", "--group", "who", "--json"]
    outputs = [folder / "1.parquet", folder / "2.parquet"]
    reports = [extracted([*command, "-o", str(out)], folder / "home") for out in outputs]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    for value in reports:
        assert value["rows"] == sound and value["failed"] == faults
        lines = [line for line in value["report"]["inputs"] if line["what"].startswith("failed")]
        assert sum(line["count"] for line in lines) == faults
    check_reasons(folder / "home", each)
    return dict(reports[0]["report"])


def extracted(command: list[str], home: Path) -> dict[str, Any]:
    places = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"), str(home))
    said = subprocess.run(
        [sys.executable, "-m", "dof_arrow", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **places},
    )
    assert said.returncode == 3, said.stderr
    assert "Traceback" not in said.stderr and "our own mistake" not in said.stderr
    return dict(json.loads(said.stdout))


def check_reasons(home: Path, each: int) -> None:
    """Every fault stands in the owner's list, by its own name, with a reason for people."""
    (kept,) = home.rglob("failed-*.csv")
    with kept.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = Counter(row["input"].removeprefix("../").rpartition("-")[0] for row in rows)
    assert kinds == dict.fromkeys(KINDS, each)
    assert all(row["reason"] and "Errno" not in row["reason"] for row in rows)
