"""Heads by themselves: their cores are found by digest, and joined to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.core import Core
from dof_arrow.cores.find_cores import find_cores
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec.json_model import from_json
from dof_arrow.format.spec.metadata import CoreMetadata
from dof_arrow.inference.fuse import HEAD, fuse
from dof_arrow.inference.fuse_checks import description, read_by

if TYPE_CHECKING:
    from onnx import ModelProto


def cores_of(heads: Mapping[str | os.PathLike[str], bytes]) -> list[Core]:
    """The cores that heads were trained on, found in the cache or beside the heads' files.

    `heads` are the bytes of each file. Raises CoreError for a core that is not found, for a head
    that does not say its core, and what `graph.from_bytes` raises.
    """
    wanted: dict[str, CoreMetadata | None] = {}
    for path, data in heads.items():
        about = description(str(path), graph.from_bytes(data, str(path)))
        described = _described(about)
        for sha256 in read_by(about):
            if not isinstance(sha256, str):
                raise _without_core(str(path))
            wanted[sha256] = described.get(sha256)
    folders = [Path(path).parent for path in heads]
    return find_cores(wanted, folders, ", ".join(map(str, heads)))


def whole(path: Path) -> ModelProto | bytes:
    """A model to predict with: that of the file, or of a head, what it and its cores make.

    The output is named after the head's file. Errors as `cores_of` and `fuse`.
    """
    model = graph.load(path)
    if HEAD not in graph.properties(model):
        return model
    data = graph.to_bytes(model)
    return fuse(cores_of({path: data}), {path.stem: data})


def _described(about: Any) -> dict[str, CoreMetadata]:
    """What a head says of its cores, by their digests; nothing where it is not valid."""
    try:
        cores = [from_json(each, CoreMetadata) for each in about.get("cores") or ()]
    except (FormatError, TypeError):
        return {}
    return {core.sha256: core for core in cores}


def _without_core(where: str) -> UsageError:
    return UsageError(
        "the head was trained on features that no core made",
        where,
        hint="Run it in ONNX Runtime on features, or train one on what dof extract made.",
    )
