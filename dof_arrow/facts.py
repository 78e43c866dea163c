"""What the raw inputs were like: common facts stand once in the metadata, the others in each row's own column."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from dof_arrow.declare import Json

_TYPES = {"width": pa.int32(), "height": pa.int32(), "mode": pa.string(), "bits": pa.int32(), "format": pa.string(),
          "frames": pa.int32(), "orientation": pa.int32()}


class RawFacts:
    """Gathers the facts of all blocks: first `add` each, then ask.

    `rows` counts the inputs that gave features, `failures` lists the others.
    """

    def __init__(self) -> None:
        self._seen: dict[str, dict[Any, int]] = {name: {} for name in _TYPES}
        self.rows = self.bytes = 0
        self.failures: list[Json] = []

    def add(self, block: pa.Table) -> None:
        """Count the facts of one block."""
        self.failures += json.loads(block.schema.metadata[b"failed"])
        for facts in map(json.loads, block["facts"].to_pylist()):
            self.rows += 1
            self.bytes += facts["bytes"]
            for name, seen in self._seen.items():
                seen[facts[name]] = seen.get(facts[name], 0) + 1

    def common(self) -> dict[str, Json]:
        """The facts that all inputs share, the range or the counts of the others, and the sum of their bytes."""
        return {**{name: _summary(seen) for name, seen in self._seen.items() if seen}, "bytes": self.bytes}

    @property
    def _own(self) -> list[str]:
        return [name for name, seen in self._seen.items() if len(seen) > 1]

    @property
    def type(self) -> pa.DataType | None:
        """The type of the `processing` column: the facts that differ; None if none does."""
        return pa.struct([pa.field(name, _TYPES[name]) for name in self._own]) if self._own else None

    def own(self, block: pa.Table) -> pa.Array:
        """The `processing` column of one block."""
        facts = [json.loads(text) for text in block["facts"].to_pylist()]
        return pa.array([{name: f[name] for name in self._own} for f in facts], self.type)


def _summary(seen: dict[Any, int]) -> Json:
    if len(seen) == 1:
        return next(iter(seen))
    if all(isinstance(value, int) for value in seen) and len(seen) > 8:
        return {"min": min(seen), "max": max(seen)}
    return {str(value): seen[value] for value in sorted(seen)}
