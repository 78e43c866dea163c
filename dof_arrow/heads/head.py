"""What a head says of itself: the JSON of its property `dof.head`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.metadata import SHA256, UUID, CoreMetadata, Metadata

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadInput:
    """One of the feature columns that a head reads side by side."""

    feature: str = json_model.spec("the feature column")
    core_sha256: str | None = json_model.spec("the core that made it", pattern=SHA256)
    width: int = json_model.spec("how many numbers of it a row has", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a head's property `dof.head` says."""

    target: str = json_model.spec("the target column that it was trained on")
    kind: Literal["category", "multilabel", "regression"] = json_model.spec(
        "what kind of target it is"
    )
    classes: tuple[str, ...] = json_model.spec(
        "class names, one for each column of `probabilities`"
    )
    unit: str | None = json_model.spec("unit of `value`")
    feature: str = json_model.spec("the feature column that it was trained on")
    core_sha256: str | None = json_model.spec(
        "the core that made those features, the only one it fits", pattern=SHA256
    )
    dataset_uuid: str = json_model.spec("the dataset that it was trained on", pattern=UUID)
    inputs: tuple[HeadInput, ...] = json_model.spec(
        "all columns, where it reads several side by side", default=()
    )
    clips: bool = json_model.spec(
        "whether it reads clips [time, D], not single rows", default=False
    )
    sampling: Mapping[str, Json] = json_model.spec(
        "which frames of a clip it was trained on", factory=dict
    )
    cores: tuple[CoreMetadata, ...] = json_model.spec(
        "what is known of those cores, so that they can be found, without `graph`", default=()
    )
    report: Mapping[str, Json] = json_model.spec("how it was trained and judged")


def cores_of(metadata: Metadata, names: Sequence[str]) -> tuple[CoreMetadata, ...]:
    """The cores of some feature columns, each once, as a head describes them."""
    found = {}
    for name in names:
        core = metadata.cores.get(metadata.columns[name].core or "")
        if core is not None:
            found[core.sha256] = replace(core, graph=None)
    return tuple(found.values())
