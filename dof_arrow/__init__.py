"""Share what a frozen deep model saw instead of the pictures themselves.

>>> import dof_arrow as dof
>>> dof.__version__.count(".")
2
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from dof_arrow._version import __version__ as __version__
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
    from dof_arrow.cores.core import Core
    from dof_arrow.dataset.dataset import Dataset, concat, open
    from dof_arrow.dataset.diff import diff
    from dof_arrow.extraction.extract import extract
    from dof_arrow.extraction.reproduce import reproduce
    from dof_arrow.format.append import append
    from dof_arrow.format.validation.validate import validate
    from dof_arrow.format.writer import Writer
    from dof_arrow.heads.evaluate import evaluate
    from dof_arrow.heads.export import export_head
    from dof_arrow.heads.sklearn_heads import ClassHead as HeadClassifier
    from dof_arrow.heads.sklearn_heads import NumberHead as HeadRegressor
    from dof_arrow.heads.train import train
    from dof_arrow.inference.fuse import fuse
    from dof_arrow.inference.predict_files import predict
    from dof_arrow.inference.transformer import PictureFeatures as DofFeatures
    from dof_arrow.loader.raw.pictures import pictures
    from dof_arrow.publish.card import card
    from dof_arrow.publish.pull import pull
    from dof_arrow.publish.push import push
    from dof_arrow.rewrite.compact import compact
    from dof_arrow.rewrite.convert import convert, save
    from dof_arrow.rewrite.drop import drop
    from dof_arrow.rewrite.edit import edit
    from dof_arrow.rewrite.erase import erase
    from dof_arrow.rewrite.foreign.arrays import from_arrays
    from dof_arrow.rewrite.foreign.frames import from_arrow, from_pandas, from_polars
    from dof_arrow.rewrite.foreign.import_file import from_parquet
    from dof_arrow.rewrite.label import label
    from dof_arrow.rewrite.merge import merge
    from dof_arrow.rewrite.reidentify import reidentify

# ONNX Runtime keeps a device id and reports to its makers, unless told not to before it is loaded.
# What runs on pictures of patients reports to nobody; set the variable to 0 to change that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Core",
    "CoreError",
    "Dataset",
    "DofError",
    "DofFeatures",
    "DofWarning",
    "FormatError",
    "HeadClassifier",
    "HeadRegressor",
    "MissingExtra",
    "OutputError",
    "Problem",
    "SourceError",
    "UsageError",
    "Writer",
    "append",
    "card",
    "compact",
    "concat",
    "convert",
    "diff",
    "drop",
    "edit",
    "erase",
    "evaluate",
    "export_head",
    "extract",
    "from_arrays",
    "from_arrow",
    "from_pandas",
    "from_parquet",
    "from_polars",
    "fuse",
    "label",
    "merge",
    "open",
    "pictures",
    "predict",
    "pull",
    "push",
    "reidentify",
    "reproduce",
    "save",
    "train",
    "validate",
]

# Loaded when first used: importing this package must stay light.
_HOMES = {
    "Core": "cores.core",
    "Dataset": "dataset.dataset",
    "DofFeatures": "inference.transformer",
    "HeadClassifier": "heads.sklearn_heads",
    "HeadRegressor": "heads.sklearn_heads",
    "Writer": "format.writer",
    "append": "format.append",
    "card": "publish.card",
    "compact": "rewrite.compact",
    "concat": "dataset.dataset",
    "convert": "rewrite.convert",
    "diff": "dataset.diff",
    "drop": "rewrite.drop",
    "edit": "rewrite.edit",
    "erase": "rewrite.erase",
    "evaluate": "heads.evaluate",
    "export_head": "heads.export",
    "extract": "extraction.extract",
    "from_arrays": "rewrite.foreign.arrays",
    "from_arrow": "rewrite.foreign.frames",
    "from_pandas": "rewrite.foreign.frames",
    "from_parquet": "rewrite.foreign.import_file",
    "from_polars": "rewrite.foreign.frames",
    "fuse": "inference.fuse",
    "label": "rewrite.label",
    "merge": "rewrite.merge",
    "open": "dataset.dataset",
    "pictures": "loader.raw.pictures",
    "predict": "inference.predict_files",
    "pull": "publish.pull",
    "push": "publish.push",
    "reidentify": "rewrite.reidentify",
    "reproduce": "extraction.reproduce",
    "save": "rewrite.convert",
    "train": "heads.train",
    "validate": "format.validation.validate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dof_arrow.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
