"""A dataset in memory, with what training asks of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.format.spec.metadata import (
    VERSION,
    Column,
    CoreMetadata,
    Metadata,
    Preprocessing,
    Record,
    Target,
    TensorSpec,
)

UUID = "00000000-0000-4000-8000-000000000000"
SHA256 = "ab" * 32
CORE = CoreMetadata(
    name="core",
    sha256=SHA256,
    opset=18,
    input=TensorSpec(name="input", shape=("N", 3, 8, 8), dtype="float32"),
    preprocessing=Preprocessing(mode="RGB", fit="squash", resize=(8, 8)),
)


@dataclass(frozen=True)
class Memory:
    metadata: Metadata
    features: np.ndarray
    table: pa.Table

    def __len__(self) -> int:
        return len(self.features)

    @property
    def columns(self) -> list[str]:
        return ["feature", *self.table.column_names]

    def to_numpy(self, name: str | None = None) -> np.ndarray:
        assert name in (None, "feature")
        return self.features

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        return self.table if columns is None else self.table.select(list(columns))


def memory(features: np.ndarray, targets: Mapping[str, Target], **columns: Any) -> Memory:
    """A dataset of these features, with an `id` a row unless given, and `group` and `split` where given."""
    columns = {"id": [f"r{i}" for i in range(len(features))], **columns}
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    about = {
        name: Column(role="kept", dtype=str(table[name].type), layout="encoded") for name in columns
    }
    feature = Column(
        role="feature", dtype="float32", shape=features.shape[1:], core="core", layout="mapped"
    )
    record = Record(**{role: role for role in ("id", "group", "split") if role in columns})
    metadata = Metadata(
        uuid=UUID,
        primary_column="feature",
        columns={"feature": feature, **about},
        cores={"core": CORE},
        record=record,
        targets=targets,
        version=VERSION,
    )
    return Memory(metadata, features, table)


def category(*classes: str) -> Target:
    return Target(kind="category", classes=classes)


def blobs(
    count: int, width: int = 16, classes: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [count, width] around one centre a class, far from zero, and their classes."""
    random = np.random.default_rng(seed)
    y = random.integers(classes, size=count)
    centres = random.normal(size=(classes, width))
    return (5 + centres[y] + random.normal(size=(count, width))).astype(np.float32), y
