"""Features of a folder of pictures as Parquet: torch's DataLoader and torchvision's MobileNetV2.

    python torch_loader.py PICTURES OUT.parquet

Its weights are random: they decide nothing about the time that it takes.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

# Without these a torchvision made for another build of torch than the installed one does not load.
operators = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    operators.define(operator + "(Tensor d, Tensor s, float t) -> Tensor")

from torchvision import models, transforms  # noqa: E402


class Pictures(Dataset):
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.prepare = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        with Image.open(self.paths[number]) as picture:
            return self.prepare(picture.convert("RGB"))


def main(folder: str, out: str) -> None:
    paths = sorted(Path(folder).iterdir())
    network = models.mobilenet_v2().eval()
    network.classifier = torch.nn.Identity()
    with torch.inference_mode():
        batches = DataLoader(Pictures(paths), batch_size=32, num_workers=2)
        rows = np.concatenate([network(batch).numpy() for batch in batches])
    feature = pa.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])
    names = [path.name for path in paths]
    pq.write_table(pa.table({"id": names, "feature": feature}), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
