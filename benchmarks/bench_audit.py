"""What `dof audit` finds in small public collections, as float32 and as float16.

`python -m benchmarks.bench_audit --data FOLDER` wants FOLDER to hold `images/chest-xray` with `metadata.csv`,
`images/cifar10` (a folder a class), `images/pneumoniamnist.npz` and `models/mobilenetv2-12-fp32-from-int8.onnx`. It writes
the result, and the table in docs/privacy.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks import tables
from benchmarks.measure import keep
from dof_arrow.cores.builtin import SCATTERING_1
from dof_arrow.cores.headless import headless
from dof_arrow.extraction.extract import extract
from dof_arrow.privacy.audit import Audit, audit
from dof_arrow.rewrite.convert import convert

KEY = bytes(32)
MODEL = "models/mobilenetv2-12-fp32-from-int8.onnx"
DTYPES = ("float32", "float16")


class Collection(NamedTuple):
    """Pictures, and what `extract` is told of them."""

    name: str
    source: Path
    options: dict[str, Any]


def collections(data: Path, work: Path) -> Iterator[Collection]:
    """Radiographs with their patients, radiographs of 28 x 28, photographs of 32 x 32."""
    images = data / "images"
    xrays = images / "chest-xray"
    about = {"table": xrays / "metadata.csv", "key": "filename"}
    columns = {"label": "finding", "group": "patientid", "keep": ["sex", "age", "view"]}
    yield Collection("chest X-rays", xrays / "images", {**about, **columns})
    yield Collection("PneumoniaMNIST, test", small_radiographs(images, work), {"label": "folder"})
    yield Collection("CIFAR-10, some", images / "cifar10", {"label": "folder"})


def small_radiographs(images: Path, work: Path) -> Path:
    """The test part of PneumoniaMNIST as files, in a folder for each class."""
    folder = work / "pneumonia"
    with np.load(images / "pneumoniamnist.npz") as arrays:
        pictures, labels = arrays["test_images"], arrays["test_labels"].ravel()
    for number, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True)):
        path = folder / f"class {label}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return folder


def cores(data: Path, work: Path) -> dict[str, str | Path]:
    """The cores by name; one that is made of a model lies beside the datasets, where it is looked for."""
    made = work / "mobilenetv2.onnx"
    made.write_bytes(headless(data / MODEL, preprocess="imagenet"))
    return {"MobileNetV2": made, SCATTERING_1: SCATTERING_1}


def attacked(path: Path, collection: Collection) -> Audit:
    """The audit of a file, with the pictures behind it."""
    found = {name: collection.options.get(name) for name in ("table", "key")}
    return audit(path, source=collection.source, id_key=KEY, **found)


def brief(told: dict[str, Any]) -> dict[str, Any]:
    """What attackers reached, rounded, without what each of them knew."""
    findings = []
    for each in told["findings"]:
        kept = {name: each[name] for name in ("attack", "of", "attacker", "metric", "found")}
        for name in ("reached", "control"):
            kept[name] = {end: round(value, 4) for end, value in each[name].items()}
        findings.append({**kept, "baseline": round(each["baseline"], 4)})
    counts = {name: told[name] for name in ("rows", "groups", "seed", "notes")}
    return {**counts, "findings": findings}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DOF_SHARED_DATA"))
    data = Path(parser.parse_args().data)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for collection in collections(data, work):
            for name, core in cores(data, work).items():
                made = work / f"{len(results)}.parquet"
                extract(collection.source, core=core, out=made, id_key=KEY, **collection.options)
                for dtype in DTYPES:
                    path = made.with_suffix(f".{dtype}.parquet")
                    convert(made, path, dtype=dtype)
                    start = time.perf_counter()
                    told = attacked(path, collection).to_json()
                    seconds = round(time.perf_counter() - start, 1)
                    known = {"data": collection.name, "core": name, "dtype": dtype}
                    results.append({**known, "seconds": seconds, **brief(told)})
                    print(collection.name, name, dtype, seconds, flush=True)
    keep("audit", {"audits": results}, "pillow", "onnxruntime")
    tables.put(tables.PRIVACY, [tables.audit])


if __name__ == "__main__":
    main()
