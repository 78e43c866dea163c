"""What the raw inputs were like: common facts once in the metadata, the others in each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dof_arrow.extraction.block import Block, Column, Failure
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import TYPES

_LISTED = 8  # different numbers that are counted one by one; of more, the range is enough


class RawFacts:
    """Gathers the facts of all blocks: first `add` each, then ask.

    `rows` counts the inputs that gave features, `bytes` is their size, `broken` counts the clips
    among them that were kept up to where they are damaged, `failures` lists the other inputs.
    `drawn` names the numbers that augmented views were made from, with their types: each row has
    its own. `own` names the facts that stand in each row, by default those that differ.
    """

    def __init__(
        self, drawn: Mapping[str, str] | None = None, own: Sequence[str] | None = None
    ) -> None:
        self._drawn = dict(drawn or {})
        self._given = own
        self._seen: dict[str, Counter[Any]] = {name: Counter() for name in TYPES}
        self.rows = 0
        self.bytes = 0
        self.broken = 0
        self.failures: list[Failure] = []

    def add(self, block: Block) -> None:
        """Count the facts of one block."""
        import pyarrow.compute as pc

        self.failures += block.failures
        self.broken += block.broken_inputs
        facts = block.facts_of_inputs
        self.rows += len(facts)
        self.bytes += pc.sum(facts.field("bytes")).as_py() or 0
        for name, seen in self._seen.items():
            seen.update(_counts(facts.field(name)))

    def common(self) -> dict[str, Json]:
        """The facts that all inputs share, ranges or counts of the others, the sum of the bytes."""
        told: dict[str, Json] = {}
        for name, seen in self._seen.items():
            if set(seen) - {None}:
                told[name] = _summary(seen)
        told["bytes"] = self.bytes
        if self.broken:
            told["broken"] = self.broken
        return told

    @property
    def _own(self) -> list[str]:
        if self._given is not None:
            return [name for name in TYPES if name in self._given]
        # None is a value here: what only some inputs tell stands in each row too.
        return [name for name, seen in self._seen.items() if len(seen) > 1]

    @property
    def type(self) -> pa.DataType | None:
        """The type of the column `processing`: a row's own facts, and what was drawn for it.

        None if there are neither.
        """
        fields = [(name, TYPES[name]) for name in self._own]
        for name, alias in self._drawn.items():
            fields.append((name, pa.type_for_alias(alias)))
        return pa.struct(fields) if fields else None

    def own(self, block: Block) -> Column:
        """The column `processing` of one block."""
        facts = block.facts
        values = [facts.field(name) for name in self._own]
        if self._drawn:
            values += block.drawn
        return pa.StructArray.from_arrays(values, fields=list(self.type or ()))


def _counts(values: Column) -> dict[Any, int]:
    counted = values.value_counts()
    keys = counted.field("values").to_pylist()
    return dict(zip(keys, counted.field("counts").to_pylist(), strict=True))


def _summary(seen: Counter[Any]) -> Json:
    """The one value, or the range of many numbers, or how often each value occurs."""
    if len(seen) == 1:
        return next(iter(seen))
    known = sorted(value for value in seen if value is not None)
    numbers = all(isinstance(value, (int, float)) for value in known)
    if numbers and len(known) > _LISTED:
        return {"min": known[0], "max": known[-1]}
    counts = {str(value): seen[value] for value in known}
    if None in seen:
        counts["none"] = seen[None]
    return counts
