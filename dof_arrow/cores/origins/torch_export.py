"""Models of torch as ONNX, by torch's own exporter: those of timm by name, any other module as it is.

Weights come from safetensors files alone: nothing is unpickled, and no code of a repository is run.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dof_arrow.cores.graph import model
from dof_arrow.cores.graph.model import Array
from dof_arrow.cores.graph.torch_onnx import evaluating, onnx_of
from dof_arrow.cores.origins import transforms
from dof_arrow.cores.origins.huggingface import Repository, spdx
from dof_arrow.errors import CoreError, MissingExtra, UsageError, require
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import as_text, channel_count, load_spec, output_size

if TYPE_CHECKING:
    from onnx import ModelProto

_ROWS = 2  # torch's exporter takes a batch of one for a batch that is always one
_ITSELF = "Export it yourself, and name the .onnx file."
_DECLARED: list[Any] = []  # torch forgets operators with the object that declared them


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A model of timm without its classifier, as timm publishes it: where its weights lie, and what is said of them."""

    module: Any
    preprocessing: Preprocessing
    weights: Path
    repository: Repository
    license: str | None


def exported(module: Any, spec: Preprocessing) -> ModelProto:
    """A module as an ONNX model: `input` float32 [N, channels, height, width] as `spec` makes it, N free.

    A module that gives several tensors by name, as those of transformers do, has them as outputs of these names.
    Raises CoreError where torch cannot export it, UsageError where `spec` leaves the size of its input open.
    """
    size = output_size(spec)
    if size is None:
        raise UsageError(
            "the size of the model's input is open",
            type(module).__name__,
            "a preprocessing that resizes",
            as_text(spec),
            "Give one with resize, or a preset.",
        )
    sample = (
        np.random.default_rng(0)
        .standard_normal((_ROWS, channel_count(spec), *size))
        .astype(np.float32)
    )
    with evaluating(module):
        try:
            return _exported(module, sample)
        except (CoreError, MissingExtra):
            raise
        except Exception as error:  # whatever the module or the exporter raises
            raise CoreError(
                "torch cannot export the module",
                type(module).__name__,
                found=model.first_line(error),
                hint=_ITSELF,
            ) from error


def declared(module: Any, preprocess: Any) -> Preprocessing:
    """The preprocessing of a module: as given by a preset's name, a declaration, a transform or an image processor;
    else as timm's models carry it themselves. UsageError where there is none."""
    if isinstance(preprocess, str):
        return load_spec(preprocess)
    if preprocess is not None:
        return (
            preprocess
            if isinstance(preprocess, Preprocessing)
            else transforms.of_transform(preprocess)
        )
    if not hasattr(module, "pretrained_cfg"):
        raise UsageError(
            "the module carries no preprocessing, and it is never guessed",
            type(module).__name__,
            hint="Give preprocess: a preset's name, weights.transforms(), or the model's image processor.",
        )
    return _of_timm(module)


def pretrained(name: str, revision: str | None = None) -> Pretrained:
    """The model of timm of this name with its weights; CoreError where these are no safetensors file on the hub."""
    timm = _timm()
    base, _, tag = name.partition(".")
    if not timm.is_model(base) or (tag and name not in timm.list_pretrained()):
        near = difflib.get_close_matches(name, timm.list_pretrained(), 3)
        raise UsageError(
            "timm has no pretrained model of this name",
            name,
            hint=" ".join(
                ["Did you mean " + " or ".join(near) + "?"]
                if near
                else ["timm.list_pretrained() lists them."]
            ),
        )
    config = timm.get_pretrained_cfg(name)
    file = (config.hf_hub_filename or "model.safetensors").replace(
        "pytorch_model.bin", "model.safetensors"
    )
    if not config.hf_hub_id or not file.endswith(".safetensors"):
        raise CoreError(
            "timm has no safetensors file for this model",
            name,
            hint="Choose another: other files of "
            "weights may run code when they are read, and are not read here.",
        )
    repository, path = Repository(name=config.hf_hub_id, revision=revision).pinned(file)
    module = _loaded(timm, name, path)
    license = spdx(config.license) if config.license else repository.license()
    return Pretrained(
        module=module,
        preprocessing=_of_timm(module),
        weights=path,
        repository=repository,
        license=license,
    )


def _loaded(timm: ModuleType, name: str, weights: Path) -> Any:
    # custom_load speaks of the files of other projects that timm made its own of
    overlay = {"file": str(weights), "custom_load": False}
    try:
        return timm.create_model(
            name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
        )
    except (
        Exception
    ) as error:  # whatever timm, torch and safetensors raise at weights that do not fit
        raise CoreError(
            "timm cannot load the weights",
            name,
            found=model.first_line(error),
            hint="Bring timm up to date: pip install -U timm",
        ) from error


def _of_timm(module: Any) -> Preprocessing:
    data = _timm().data.resolve_data_config(pretrained_cfg=dict(module.pretrained_cfg))
    return transforms.of_timm(data, type(module).__name__)


def _exported(module: Any, sample: Array) -> ModelProto:
    import torch

    class Tensors(torch.nn.Module):  # type: ignore[misc]
        """The module, its answer as a tensor or as a plain dictionary of tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, picture: Any) -> Any:
            found = self.module(picture)
            return dict(found.items()) if hasattr(found, "items") else found

    with torch.no_grad():
        found = Tensors().eval()(torch.from_numpy(sample))
    names = list(found) if isinstance(found, dict) else ["output"]
    return onnx_of(Tensors().eval(), sample, input_names=["input"], output_names=names)


def _timm() -> ModuleType:
    torchvision()
    return require("timm", extra="timm")


def torchvision() -> ModuleType:
    """torchvision, also one whose compiled part was built for another torch, the one with CUDA say.

    It then fails for two operators that it describes and does not have. A core needs neither: they are declared.
    """
    require("torch", extra="timm")
    try:
        return require("torchvision", extra="timm")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARED.append(library)
    return require("torchvision", extra="timm")
