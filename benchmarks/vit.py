"""A ViT-S/16 of timm with random weights as an ONNX model: python -m benchmarks.vit OUT.onnx."""

from __future__ import annotations

import sys
from pathlib import Path

from dof_arrow.cores.origins.torch_export import torchvision


def write_vit(path: Path) -> None:
    """Export the model with its head and a free batch size; the same weights each time."""
    torchvision()  # one that was made for another torch loads with its help
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch16_224", pretrained=False).eval()
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, 224, 224),),
        str(path),
        input_names=["picture"],
        output_names=["scores"],
        dynamic_axes={"picture": {0: "n"}, "scores": {0: "n"}},
        dynamo=False,
    )


if __name__ == "__main__":
    write_vit(Path(sys.argv[1]))
