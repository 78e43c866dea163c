"""Ways to keep vectors and read them in shuffled batches, ours among them, each as its own documentation advises.

A rival is written once, outside the timed part; `batches(path, rows, batch, seed)` is timed, its opening included, and
gives float32 arrays [batch, width]. A rival whose library is missing is left out, and the result says so.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Batches = Callable[[Path, int, int, int], Iterator[Any]]


@dataclass(frozen=True)
class Rival:
    """How vectors are written and read, and the library that this takes."""

    write: Callable[[Path, np.ndarray, np.ndarray], Path]
    batches: Batches
    library: str
    module: str


def order(rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """A new permutation, cut to batches: what people write."""
    chosen = np.random.default_rng(seed).permutation(rows)
    return (chosen[i : i + batch] for i in range(0, rows, batch))


def memmap(path: Path, rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """A .npy file mapped, indexed by each batch."""
    values = np.load(path, mmap_mode="r")
    return (values[some] for some in order(rows, batch, seed))


def sequential_memmap(path: Path, rows: int, batch: int) -> Iterator[np.ndarray]:
    """The same in order: slices."""
    values = np.load(path, mmap_mode="r")
    return (values[i : i + batch] for i in range(0, rows, batch))


def _npy(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    np.save(path / "x.npy", x)
    return path / "x.npy"


def _safetensors(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    from safetensors.numpy import save_file

    save_file({"x": x}, path / "x.safetensors")
    return path / "x.safetensors"


def _read_safetensors(path: Path, rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    import torch
    from safetensors.torch import load_file

    values = load_file(path)["x"]
    return (values[torch.from_numpy(some)].numpy() for some in order(rows, batch, seed))


def _hdf5(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    import h5py

    with h5py.File(path / "x.h5", "w") as file:
        file.create_dataset("x", data=x)
    return path / "x.h5"


def _read_hdf5(path: Path, rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    import h5py

    with h5py.File(path) as file:
        values = file["x"]
        for some in order(rows, batch, seed):
            yield values[np.sort(some)]  # h5py takes increasing indices only


def _parquet(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    import pyarrow.parquet as pq

    pq.write_table(_table(x, y), path / "default.parquet")
    return path / "default.parquet"


def _read_parquet(path: Path, rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    import pyarrow.parquet as pq

    column = pq.read_table(path, columns=["x"])["x"].combine_chunks()
    values = column.flatten().to_numpy().reshape(rows, -1)
    return (values[some] for some in order(rows, batch, seed))


def _arrow(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    import pyarrow as pa

    table = _table(x, y)
    with (
        pa.OSFile(str(path / "x.arrow"), "w") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    return path / "x.arrow"


def _read_arrow(path: Path, rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    import pyarrow as pa

    column = pa.ipc.open_file(pa.memory_map(str(path))).read_all()["x"].combine_chunks()
    values = column.flatten().to_numpy().reshape(rows, -1)
    return (values[some] for some in order(rows, batch, seed))


def _lance(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    import lance

    lance.write_dataset(_table(x, y), str(path / "x.lance"), mode="overwrite")
    return path / "x.lance"


def _read_lance(path: Path, rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    import lance

    data = lance.dataset(str(path))
    for some in order(rows, batch, seed):
        column = data.take(some, columns=["x"])["x"].combine_chunks()
        yield column.flatten().to_numpy().reshape(len(some), -1)


def _hf(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset(_table(x, y)).save_to_disk(str(path / "hf"))
    return path / "hf"


def _read_hf(path: Path, rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    import datasets

    data = datasets.load_from_disk(str(path)).with_format("torch", columns=["x"])
    return (data[some]["x"].numpy() for some in order(rows, batch, seed))


def _webdataset(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    with tarfile.open(path / "x.tar", "w") as tar:
        for i, row in enumerate(x):
            data = io.BytesIO()
            np.save(data, row)
            info = tarfile.TarInfo(f"{i:08d}.x.npy")
            info.size = data.tell()
            data.seek(0)
            tar.addfile(info, data)
    return path / "x.tar"


def _read_webdataset(path: Path, rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    import webdataset

    data = (
        webdataset.WebDataset(str(path), shardshuffle=False, seed=seed)
        .shuffle(1000)
        .decode()
        .to_tuple("x.npy")
    )
    return (np.asarray(some) for (some,) in data.batched(batch))


def _dof(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    from benchmarks.data import write_dof

    return write_dof(path / "rival.dof.parquet", *x.shape)


def _read_dof(path: Path, rows: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    import dof_arrow as dof

    return iter(dof.open(path).loader(batch_size=batch, shuffle=True, seed=seed))


RIVALS = {
    "numpy memmap": Rival(_npy, memmap, "numpy", "numpy"),
    "safetensors": Rival(_safetensors, _read_safetensors, "safetensors", "safetensors"),
    "HDF5": Rival(_hdf5, _read_hdf5, "h5py", "h5py"),
    "Parquet, read into RAM": Rival(_parquet, _read_parquet, "pyarrow", "pyarrow"),
    "Arrow IPC, mapped": Rival(_arrow, _read_arrow, "pyarrow", "pyarrow"),
    "Lance": Rival(_lance, _read_lance, "pylance", "lance"),
    "HF datasets": Rival(_hf, _read_hf, "datasets", "datasets"),
    "WebDataset": Rival(_webdataset, _read_webdataset, "webdataset", "webdataset"),
    "dof": Rival(_dof, _read_dof, "dof-arrow", "dof_arrow"),
}


def present() -> dict[str, Rival]:
    """The rivals whose libraries are installed."""
    return {name: rival for name, rival in RIVALS.items() if find_spec(rival.module)}


_MDS = """
import sys, time, numpy as np, torch
operators = torch.library.Library("torchvision", "DEF")  # without which another torchvision than torch's cannot load
for name in ("nms", "qnms"):
    operators.define(name + "(Tensor d, Tensor s, float t) -> Tensor")
from streaming import MDSWriter, StreamingDataset
from importlib.metadata import version
rows, width, batch = map(int, sys.argv[1:4])
seconds, folder = float(sys.argv[4]), sys.argv[5]
with MDSWriter(out=folder, columns={"x": f"ndarray:float32:{width}"}) as out:
    for start in range(0, rows, 8192):
        for row in np.random.default_rng([0, start]).standard_normal((min(8192, rows - start), width), np.float32):
            out.write({"x": row})
start, seen, first = time.perf_counter(), 0, 0.0
data, some = StreamingDataset(local=folder, shuffle=True, batch_size=batch), []
for sample in data:
    some.append(sample["x"])
    if len(some) == batch:
        np.stack(some); seen += batch; some = []; first = first or time.perf_counter() - start
        if time.perf_counter() - start > seconds: break
print("RESULT", seen / (time.perf_counter() - start), first, version("mosaicml-streaming"))
"""


def mosaic(
    python: str, rows: int, width: int, batch: int, seconds: float, folder: Path
) -> dict[str, Any]:
    """MDS in an interpreter of its own (it wants other versions of what others share): rows a second, first batch."""
    arguments = [str(rows), str(width), str(batch), str(seconds), str(folder / "mds")]
    done = subprocess.run(
        [python, "-c", _MDS, *arguments], capture_output=True, text=True, check=False
    )
    found = [line.split() for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not found:
        return {
            "left out": done.stderr.strip().splitlines()[-1:]
            or [f"{python} on {sys.platform} said nothing"]
        }
    speed, first, version = found[0][1:]
    return {
        "rows_per_second": float(speed),
        "first_batch_seconds": float(first),
        "version": version,
    }


def _table(x: np.ndarray, y: np.ndarray) -> Any:
    import pyarrow as pa

    return pa.table(
        {"x": pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1]), "label": y}
    )
