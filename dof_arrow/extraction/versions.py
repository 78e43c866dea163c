"""Versions of the libraries that features depend on."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable
from contextlib import suppress
from importlib import metadata

from dof_arrow.cores.graph.runtime import OPENVINO

_FOR_CLIPS = "av"
LIBRARIES = ("dof_arrow", "onnxruntime", "PIL", "pyarrow", _FOR_CLIPS, OPENVINO)


def used_versions(*, clips: bool, providers: Collection[str]) -> dict[str, str]:
    """The versions of those libraries that a run uses, by module."""
    unused = set()
    if not clips:
        unused.add(_FOR_CLIPS)
    if OPENVINO not in providers:
        unused.add(OPENVINO)
    return versions(name for name in LIBRARIES if name not in unused)


def versions(modules: Iterable[str]) -> dict[str, str]:
    """The versions of those modules that are installed.

    >>> versions(["numpy", "no_such_module"]).keys()
    dict_keys(['numpy'])
    """
    found = {}
    for name in modules:
        with suppress(ImportError):  # which PackageNotFoundError is too
            if name == OPENVINO:  # it is not loaded to be asked: that takes long, and tells of it
                found[name] = metadata.version(name)
            else:
                found[name] = str(importlib.import_module(name).__version__)
    return found
