"""Models of torch as ONNX, by torch's own exporter: those of timm by name, other modules as given.

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
from dof_arrow.cores.origins.huggingface import Repository
from dof_arrow.cores.origins.licenses import spdx
from dof_arrow.errors import CoreError, MissingExtra, UsageError, require
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import as_text, channel_count, load_spec, output_size

if TYPE_CHECKING:
    from onnx import ModelProto

_ROWS = 2  # torch's exporter takes a batch of one for a batch that is always one
_ITSELF = "Export it yourself, and name the .onnx file."
_WEIGHTS = "model.safetensors"
_DECLARED: list[Any] = []  # torch forgets operators with the object that declared them


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A model of timm without its classifier, the file of its weights, and what is known of it."""

    module: Any
    preprocessing: Preprocessing
    weights: Path
    repository: Repository
    license: str | None


def exported(module: Any, spec: Preprocessing) -> ModelProto:
    """A module as an ONNX model.

    It takes `input` float32 [N, channels, height, width] as `spec` makes it, N free. A module that
    gives several tensors by name, as those of transformers do, has them as outputs of these names.
    Raises CoreError where torch cannot export it, UsageError where `spec` leaves the size of its
    input open.
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
    shape = (_ROWS, channel_count(spec), *size)
    sample = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
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
    """The preprocessing of a module; UsageError where there is none.

    `preprocess` is a preset's name, a declaration, a transform or an image processor; where it is
    None, modules of timm carry their own.
    """
    if isinstance(preprocess, str):
        return load_spec(preprocess)
    if isinstance(preprocess, Preprocessing):
        return preprocess
    if preprocess is not None:
        return transforms.of_transform(preprocess)
    if not hasattr(module, "pretrained_cfg"):
        raise UsageError(
            "the module carries no preprocessing, and it is never guessed",
            type(module).__name__,
            hint="Give preprocess: a preset's name, weights.transforms(), "
            "or the model's image processor.",
        )
    return _of_timm(module)


def pretrained(name: str, revision: str | None = None) -> Pretrained:
    """The model of timm of this name with its weights.

    Raises UsageError for a name that timm does not know, CoreError where its weights are no
    safetensors file on the hub.
    """
    timm = _timm()
    _check_name(timm, name)
    config = timm.get_pretrained_cfg(name)
    file = (config.hf_hub_filename or _WEIGHTS).replace("pytorch_model.bin", _WEIGHTS)
    if not config.hf_hub_id or not file.endswith(".safetensors"):
        raise CoreError(
            "timm has no safetensors file for this model",
            name,
            hint="Choose another: other files of weights may run code when they are read, "
            "and are not read here.",
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


def _check_name(timm: ModuleType, name: str) -> None:
    base, _, tag = name.partition(".")
    if timm.is_model(base) and (not tag or name in timm.list_pretrained()):
        return
    near = difflib.get_close_matches(name, timm.list_pretrained(), 3)
    hint = "timm.list_pretrained() lists them."
    if near:
        hint = f"Did you mean {' or '.join(near)}?"
    raise UsageError("timm has no pretrained model of this name", name, hint=hint)


def _loaded(timm: ModuleType, name: str, weights: Path) -> Any:
    # custom_load is for the files of other projects that timm's own were made from.
    overlay = {"file": str(weights), "custom_load": False}
    try:
        return timm.create_model(
            name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
        )
    except Exception as error:  # whatever timm, torch and safetensors raise
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
    """torchvision, also if its compiled part was built for another torch, for example with CUDA.

    It then fails for two operators that it describes and does not have. A core needs neither: they
    are declared here.
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
