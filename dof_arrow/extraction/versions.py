"""Versions of the libraries that features depend on."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from contextlib import suppress

LIBRARIES = ("dof_arrow", "onnxruntime", "PIL", "pyarrow", "av")  # the last one for clips


def versions(modules: Iterable[str]) -> dict[str, str]:
    """The versions of those modules that are installed.

    >>> versions(["numpy", "no_such_module"]).keys()
    dict_keys(['numpy'])
    """
    found = {}
    for name in modules:
        with suppress(ImportError):
            found[name] = str(importlib.import_module(name).__version__)
    return found
