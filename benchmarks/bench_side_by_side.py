"""From arrays to shuffled batches of torch, as each library's own documentation does it: lines of code, and seconds.

`x` float32 [n, D], `y` and a frame `df` are in memory, libraries are imported, and a few rows went the same way before. `keep` puts them where they can be
used again, `load` gives a shuffled epoch of (vectors, labels, ages). Both are run as they stand here; their lines are
counted. Another process would need `load` alone, but for torch's TensorDataset, which lives in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import keep

_FEW = 1024  # rows that go each way before, so that nothing is loaded in the timed part


@dataclass(frozen=True)
class Way:
    """What is imported, what is written down, and how features come out of a batch."""

    imports: str
    keep: str
    load: str
    library: str
    module: str
    features: str = "batch[0]"

    @property
    def lines(self) -> int:
        """Lines of code, without those of imports."""
        return len((self.keep + self.load).splitlines())


_TABLE = """\
vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])
table = pa.table({"x": vectors, "label": y, "age": df["age"]})
"""

WAYS = {
    "dof": Way(
        imports="import torch\nimport dof_arrow as dof",
        keep="""\
ds = dof.from_arrays(x, y, columns=df, out="x.dof.parquet")
""",
        load="""\
loader = ds.loader(target="label", columns=["age"], batch_size=batch_size, shuffle=True)
batches = loader.to_torch()
""",
        library="dof-arrow",
        module="dof_arrow",
    ),
    "torch TensorDataset": Way(
        imports="import torch\nfrom torch.utils.data import DataLoader, TensorDataset",
        keep="""\
tensors = torch.from_numpy(x), torch.from_numpy(y), torch.tensor(df["age"].to_numpy())
""",
        load="""\
batches = DataLoader(TensorDataset(*tensors), batch_size=batch_size, shuffle=True)
""",
        library="torch",
        module="torch",
    ),
    "Hugging Face datasets": Way(
        imports="import datasets\nimport pyarrow as pa\nfrom torch.utils.data import DataLoader",
        keep=_TABLE
        + """\
datasets.Dataset(table).save_to_disk("x.hf")
""",
        load="""\
ds = datasets.load_from_disk("x.hf").with_format("torch")
batches = DataLoader(ds, batch_size=batch_size, shuffle=True)
""",
        library="datasets",
        module="datasets",
        features='batch["x"]',
    ),
    "Lance": Way(
        imports="import lance, torch\nimport numpy as np\nimport pyarrow as pa",
        keep=_TABLE
        + """\
lance.write_dataset(table, "x.lance", mode="overwrite")
""",
        load="""\
ds = lance.dataset("x.lance")
def tensors(rows):
    part = ds.take(rows).combine_chunks()
    features = part["x"].chunk(0).flatten().to_numpy().reshape(len(rows), -1)
    return [torch.tensor(values) for values in (features, part["label"].to_numpy(), part["age"].to_numpy())]
order = np.random.permutation(ds.count_rows())
batches = (tensors(order[i : i + batch_size]) for i in range(0, len(order), batch_size))
""",
        library="pylance",
        module="lance",
    ),
}


def once(name: str, rows: int, width: int, batch_size: int) -> dict[str, float]:
    """Seconds of one way in this process and folder: of keeping, and of an epoch, every row of which is seen once."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        _timed(WAYS[name], _FEW, width, batch_size)
    return _timed(WAYS[name], rows, width, batch_size)


def _timed(way: Way, rows: int, width: int, batch_size: int) -> dict[str, float]:
    random = np.random.default_rng(0)
    known: dict[str, Any] = {
        "x": random.standard_normal((rows, width), np.float32),
        "y": random.integers(0, 10, rows),
        "df": pd.DataFrame({"age": np.arange(rows)}),
        "batch_size": batch_size,
    }
    exec(way.imports, known)
    times = [_now()]
    exec(way.keep, known)
    times.append(_now())
    exec(way.load, known)
    take = eval(f"lambda batch: {way.features}")
    seen = sum(len(take(batch)) for batch in known["batches"])
    times.append(_now())
    if seen != rows:
        raise ValueError(f"{way.library}: {seen} rows of {rows}")
    taken = {}
    for step, before, after in zip(("keep", "epoch"), times, times[1:], strict=False):
        taken[step] = after[0] - before[0]
        taken[f"{step}, processor"] = after[1] - before[1]
    return taken


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def run(rows: int, width: int, batch_size: int, processes: int) -> dict[str, Any]:
    """Medians over processes, the ways in turn, each process in a new folder."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in _present()}
    for _ in range(processes):
        for name, taken in found.items():
            with tempfile.TemporaryDirectory() as folder:
                asked = ["--one", name, "--rows", rows, "--width", width, "--batch", batch_size]
                command = [sys.executable, __file__, *map(str, asked)]
                done = subprocess.run(
                    command, cwd=folder, env=_environment(), check=True, capture_output=True
                )
                taken.append(json.loads(done.stdout.splitlines()[-1]))
    ways = {}
    for name, taken in found.items():
        medians = {step: statistics.median(each[step] for each in taken) for step in taken[0]}
        ways[name] = {"library": WAYS[name].library, "lines": WAYS[name].lines, **medians}
    return {
        "rows": rows,
        "width": width,
        "batch": batch_size,
        "processes": processes,
        "ways": ways,
        "left out": [name for name in WAYS if name not in found],
    }


def _present() -> list[str]:
    """The ways whose library is installed."""
    return [name for name, way in WAYS.items() if find_spec(way.module) is not None]


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def main() -> None:
    """Measure, and keep the result; in a child, measure one way and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--one", choices=WAYS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(once(asked.one, asked.rows, asked.width, asked.batch)))
        return
    result = run(asked.rows, asked.width, asked.batch, asked.processes)
    libraries = [WAYS[name].library for name in result["ways"]]
    keep("side_by_side", result, *(name for name in libraries if name != "dof-arrow"))


if __name__ == "__main__":
    main()
