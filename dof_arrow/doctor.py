"""What is installed here, and what to install for each ability (`dof doctor`)."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

_BASE = ("pyarrow", "numpy", "onnxruntime", "onnx", "pillow", "click", "rich")
_EXTRAS = {"train": ("scikit-learn",), "torch": ("torch",), "video": ("av",), "dicom": ("pydicom",), "hdf5": ("h5py",)}


def examine() -> dict[str, Any]:
    """Versions, ONNX Runtime providers, threads, where the pseudonym key lies, and what each extra still lacks."""
    import onnxruntime

    from dof_arrow import __version__
    from dof_arrow.source import key_file

    versions = {"dof-arrow": __version__, "python": platform.python_version()}
    return {
        "versions": {**versions, **{name: _version(name) or "missing" for name in _BASE}},
        "providers": onnxruntime.get_available_providers(),
        "threads": len(os.sched_getaffinity(0)),
        "id_key": {"path": str(key_file()), "exists": key_file().exists()},
        "extras": {extra: [name for name in names if not _version(name)] for extra, names in _EXTRAS.items()},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
