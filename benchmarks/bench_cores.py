"""Cores on photographs: what their own head says of ImageNet's classes, what linear heads on their features say.

`python -m benchmarks.bench_cores --top1 FOLDER --classes FOLDER [MODEL.onnx …]` measures `efficientnet-lite0`, each
MODEL with the preprocessing `imagenet`, and the built-in core. FOLDER of `--top1` holds pictures named
`nWNID_name.JPEG` and ALL_1000_CLASS_NAMES.json, the names of all classes in ImageNet's order; that of `--classes` a
folder of pictures for each class. A linear head is judged on five folds, for each of five seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measure import keep
from dof_arrow.cores import builtin
from dof_arrow.cores.core import Core
from dof_arrow.cores.origins import resolve
from dof_arrow.extraction.extract import extract
from dof_arrow.heads.train import train

STARTER = "efficientnet-lite0"
SEEDS = range(5)


def top1(model: str, folder: Path, **options: Any) -> dict[str, int]:
    """How many of a folder's pictures a model's own head names rightly, and how many there are."""
    names = json.loads((folder / "ALL_1000_CLASS_NAMES.json").read_text())
    output = resolve.find(model).model.graph.output[0].name
    core = Core.load(model, at=output, **options)
    right = []
    for path in sorted(folder.glob("*.JPEG")):
        picture = np.asarray(Image.open(path).convert("RGB"))
        right.append(names[int(core([picture])[0].argmax())] == path.stem)
    return {"right": sum(right), "of": len(right)}


def heads(model: str, folder: Path, work: Path, **options: Any) -> list[float]:
    """The accuracy of a linear head for each seed."""
    out = work / f"{len(list(work.iterdir()))}.parquet"
    core = builtin.resolve(model, **options)
    made = extract(folder, core=core, out=out, label="folder", id_key=bytes(32))
    return [float(train(made, seed=seed).report["score"]) for seed in SEEDS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--top1", type=Path)
    parser.add_argument("--classes", type=Path)
    parser.add_argument("models", nargs="*")
    given = parser.parse_args()
    asked = [(STARTER, {}), *((model, {"preprocess": "imagenet"}) for model in given.models)]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for model, options in [*asked, ("builtin", {})]:
            figures: dict[str, Any] = {}
            if given.top1 and model != "builtin":
                figures["top1"] = top1(model, given.top1, **options)
            if given.classes:
                figures["heads"] = heads(model, given.classes, Path(work), **options)
            found[Path(model).name] = figures
            print(Path(model).name, figures, flush=True)
    keep("cores", found)


if __name__ == "__main__":
    main()
