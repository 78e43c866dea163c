"""Share what a frozen deep model saw instead of the pictures themselves.

>>> import dof_arrow as dof
>>> dof.__version__.count(".")
2
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dof_arrow.errors import (
    CoreError,
    DofError,
    DofWarning,
    FormatError,
    MissingExtra,
    OutputError,
    Problem,
    SourceError,
    UsageError,
)

if TYPE_CHECKING:
    from dof_arrow.compare import diff
    from dof_arrow.convert import convert, save
    from dof_arrow.core import Core
    from dof_arrow.dataset import Dataset, concat, open
    from dof_arrow.edit import edit
    from dof_arrow.export import export_head
    from dof_arrow.extract import extract
    from dof_arrow.fuse import fuse
    from dof_arrow.growth import append
    from dof_arrow.pictures import pictures
    from dof_arrow.reproduce import reproduce
    from dof_arrow.verify import validate
    from dof_arrow.writer import Writer

__version__ = "0.1.0"

# ONNX Runtime keeps a device id and reports to its makers, unless told not to before it is loaded. What runs on
# pictures of patients reports to nobody; who wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Core", "CoreError", "Dataset", "DofError", "DofWarning", "FormatError", "MissingExtra", "OutputError", "Problem",
    "SourceError", "UsageError", "Writer", "append", "concat", "convert", "diff", "edit", "export_head", "extract",
    "fuse", "open", "pictures", "reproduce", "save", "validate",
]

# Loaded when first used: importing this package must stay light.
_HOMES = {"Core": "core", "Dataset": "dataset", "Writer": "writer", "concat": "dataset", "extract": "extract",
          "fuse": "fuse", "open": "dataset", "validate": "verify", "export_head": "export", "append": "growth",
          "convert": "convert", "save": "convert", "edit": "edit", "diff": "compare", "pictures": "pictures",
          "reproduce": "reproduce"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dof_arrow.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps `dof.extract`, `dof.fuse` and their like the functions, whoever imports the modules of those names."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
