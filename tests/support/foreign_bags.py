"""Files of bags as other programs write them, made by their published descriptions from seeded numbers.

TRIDENT (`trident/IO.py`, `save_h5`): `features` and `coords`, both in chunks of one row, attributes at `coords`. CLAM
(`utils/file_utils.py`, `save_hdf5`): the same chunks, coordinates without attributes. STAMP (`preprocessing`): `feats`
in float16 and `coords` in micrometres, attributes at the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

LAYOUTS = ("trident", "clam", "stamp")
SECRET = "/home/canary/slides"


def vectors(number: int, rows: int, width: int, dtype: str = "f4") -> np.ndarray:
    """The vectors of a bag, by its number."""
    return np.random.default_rng(number).standard_normal((rows, width), np.float32).astype(dtype)


def places(rows: int, step: int = 256) -> np.ndarray:
    """The places of tiles in rows of ten, int64 [rows, 2]."""
    number = np.arange(rows)
    return np.stack([number % 10 * step, number // 10 * step], axis=1)


def write(layout: str, path: Path, number: int, rows: int, width: int = 16) -> np.ndarray:
    """Write a bag in one of `LAYOUTS`; returns its vectors."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    values = vectors(number, rows, width, "f2" if layout == "stamp" else "f4")
    with h5py.File(path, "w") as file:
        if layout == "stamp":
            file["coords"] = (places(rows) * 0.5).astype("f4")
            file["feats"] = values
            about: dict[str, Any] = {
                "stamp_version": "2.3.0",
                "extractor": "virchow2",
                "unit": "um",
            }
            file.attrs.update(about | {"tile_size_um": 256.0, "tile_size_px": 224})
            return values
        features = _by_rows(file, "features", values)
        coords = _by_rows(file, "coords", places(rows))
        if layout == "trident":
            features.attrs.update({"name": path.stem, "savetodir": SECRET})
            cut = {"patch_size": 256, "patch_size_level0": 512, "target_magnification": 20}
            coords.attrs.update(cut | {"name": path.stem, "savetodir": SECRET, "overlap": 0})
    return values


def folder(layout: str, root: Path, count: int, rows: int = 5, width: int = 16) -> Path:
    """A folder of bags of `rows` and more rows, as the program lays it out."""
    inner = {"trident": "features_uni_v1", "clam": "h5_files", "stamp": "virchow2"}[layout]
    for number in range(count):
        path = root / inner / f"slide-{number:04d}.h5"
        write(layout, path, number, rows + number % 3, width)
    return root / inner


def _by_rows(file: Any, name: str, values: np.ndarray) -> Any:
    chunks, most = (1, *values.shape[1:]), (None, *values.shape[1:])
    made = file.create_dataset(name, values.shape, values.dtype, maxshape=most, chunks=chunks)
    made[:] = values
    return made
