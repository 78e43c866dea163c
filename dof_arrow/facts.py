"""What the raw inputs were like: common facts stand once in the metadata, the others in each row's own column."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from dof_arrow.declare import Json
from dof_arrow.media import PictureFacts

_TYPES = {"width": pa.int32(), "height": pa.int32(), "mode": pa.string(), "bits": pa.int32(), "format": pa.string(),
          "frames": pa.int32(), "orientation": pa.int32()}
_STAGED = pa.struct([*_TYPES.items(), ("bytes", pa.int64())])
_LISTED = 8  # different numbers that are counted one by one; of more, only the range is said


def staged(facts: Sequence[PictureFacts]) -> pa.Array:
    """Facts of pictures as the column `facts` of a staged block."""
    return pa.array([asdict(each) for each in facts], _STAGED)


class RawFacts:
    """Gathers the facts of all blocks: first `add` each, then ask.

    `rows` counts the inputs that gave features, `bytes` is their size, `failures` lists the others.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Counter[Any]] = {name: Counter() for name in _TYPES}
        self.rows = self.bytes = 0
        self.failures: list[Json] = []

    def add(self, block: pa.Table) -> None:
        """Count the facts of one block."""
        import pyarrow.compute as pc

        self.failures += json.loads(block.schema.metadata[b"failed"])
        facts = _facts(block)
        self.rows += len(facts)
        self.bytes += pc.sum(facts.field("bytes")).as_py() or 0
        for name, seen in self._seen.items():
            seen.update(_counts(facts.field(name)))

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
        facts = _facts(block)
        return pa.StructArray.from_arrays([facts.field(name) for name in self._own], fields=list(self.type or ()))


def _facts(block: pa.Table) -> pa.StructArray:
    return block["facts"].combine_chunks()


def _counts(values: pa.Array) -> dict[Any, int]:
    counted = values.value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _summary(seen: Counter[Any]) -> Json:
    if len(seen) == 1:
        return next(iter(seen))
    if all(isinstance(value, int) for value in seen) and len(seen) > _LISTED:
        return {"min": min(seen), "max": max(seen)}
    return {str(value): seen[value] for value in sorted(seen)}
