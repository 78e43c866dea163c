"""A linear head trained by several processes, on one machine or many, and taken up by any number.

    torchrun --nproc-per-node 2 examples/ranks.py pictures.dof.parquet --target digit

Each process, a rank, takes its share of every epoch: no row twice, and equally many batches, so that
none waits for another for ever. A checkpoint holds where the loader stands. Start the same command
again, with as many processes as you like: it goes on at the very next row.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.distributed as ranks
from torch.nn.parallel import DistributedDataParallel

import dof_arrow as dof


def main() -> None:
    """Train from the checkpoint, or from the start, to the last epoch."""
    options = parsed()
    ranks.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    ds = dof.open(options.dataset)
    loader = ds.loader(
        target=options.target,
        batch_size=options.batch_size,
        shuffle=True,
        rank=ranks.get_rank(),
        world_size=ranks.get_world_size(),
    )
    torch.manual_seed(0)
    width = ds.to_torch().shape[1]
    model = torch.nn.Linear(width, len(ds.metadata.targets[options.target].classes))
    if options.checkpoint.exists():
        known = torch.load(options.checkpoint, weights_only=True)
        model.load_state_dict(known["model"])
        loader.load_state_dict(known["loader"])
    train(DistributedDataParallel(model), loader, options)
    ranks.destroy_process_group()


def train(model: DistributedDataParallel, loader: Any, options: argparse.Namespace) -> None:
    """Run the epochs that are left; the first process keeps the checkpoint and tells of each."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    batches = loader.to_torch()
    left = options.steps
    while loader.epoch < options.epochs and left:
        epoch = loader.epoch
        rows = torch.zeros(1)
        for x, y in batches:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
            rows += len(y)
            left -= 1
            if not left:  # as if a scheduler had stopped us
                break
        ranks.all_reduce(rows)
        if ranks.get_rank() == 0:
            keep(
                options.checkpoint,
                {"model": model.module.state_dict(), "loader": loader.state_dict()},
            )
            print(
                f"epoch {epoch}: {int(rows)} rows on {ranks.get_world_size()} processes", flush=True
            )


def keep(checkpoint: Path, state: dict[str, object]) -> None:
    """Write a checkpoint, whole or not at all."""
    part = checkpoint.with_suffix(".part")
    torch.save(state, part)
    part.replace(checkpoint)


def parsed() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("dataset")
    parser.add_argument("--target", default="label")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many batches")
    parser.add_argument("--checkpoint", type=Path, default=Path("ranks.pt"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
