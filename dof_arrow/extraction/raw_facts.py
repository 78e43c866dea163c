"""What the raw inputs were like: told once, in classes of several inputs; of each row if asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dof_arrow.extraction.block import Block, Column, Failure
from dof_arrow.format.raw_classes import LEAST, NONE, classes, rounded
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import TYPES


class RawFacts:
    """Gathers the facts of all blocks: first `add` each, then ask.

    `rows` counts the inputs that gave features, `bytes` is their size (None: it is not known),
    `broken` counts the clips among them that were kept up to where they are damaged, `failures`
    lists the other inputs.
    `drawn` names the numbers that augmented views were made from, with their types: each row has
    its own. `own` names the facts that stand in each row.
    """

    def __init__(self, drawn: Mapping[str, str] | None = None, own: Sequence[str] = ()) -> None:
        self._drawn = dict(drawn or {})
        self._own = [name for name in TYPES if name in own]
        self._seen: dict[str, Counter[Any]] = {name: Counter() for name in TYPES}
        self.rows = 0
        self.bytes: int | None = 0
        self.broken = 0
        self.failures: list[Failure] = []

    def add(self, block: Block) -> None:
        """Count the facts of one block."""
        import pyarrow.compute as pc

        self.failures += block.failures
        self.broken += block.broken_inputs
        facts = block.facts_of_inputs
        self.rows += len(facts)
        if self.bytes is not None:
            self.bytes += pc.sum(facts.field("bytes")).as_py() or 0
        for name, seen in self._seen.items():
            seen.update(_counts(facts.field(name)))

    def add_alike(self, facts: Mapping[str, Json], count: int) -> None:
        """Count so many inputs that are all like one."""
        self.rows += count
        if self.bytes is not None:
            self.bytes += count * facts.get("bytes", 0)
        for name, seen in self._seen.items():
            seen[facts.get(name)] += count

    def exact(self) -> dict[str, Json]:
        """All counts as they are, as JSON: `add_exact` adds them to others."""
        values = {}
        for name, seen in self._seen.items():
            values[name] = sorted(seen.items(), key=lambda pair: (pair[0] is None, pair[0]))
        counts = {"rows": self.rows, "bytes": self.bytes, "broken": self.broken}
        return {**counts, "values": {name: list(map(list, values[name])) for name in values}}

    def add_exact(self, counts: Mapping[str, Json]) -> None:
        """Count the inputs of another account, as `exact` gave it."""
        self.rows += counts["rows"]
        self.broken += counts["broken"]
        if self.bytes is not None:
            self.bytes = None if counts["bytes"] is None else self.bytes + counts["bytes"]
        for name, pairs in counts["values"].items():
            for value, count in pairs:
                self._seen[name][value] += count

    def common(self) -> dict[str, Json]:
        """The facts that all inputs share, counts of the others, about how many bytes they have.

        No value is told of fewer than five inputs; of clips that are cut short, only how many.
        """
        told: dict[str, Json] = {}
        for name, seen in self._seen.items():
            summary = _summary(seen) if set(seen) - {None} else None
            if summary is not None:
                told[name] = summary
        if self.rows >= LEAST and self.bytes is not None:
            told["bytes"] = rounded(self.bytes)
        if self.broken:
            told["broken"] = self.broken
        return told

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
    """The one value, or how many inputs are in each class; None if that would tell of few."""
    if seen.total() < LEAST:
        return None
    if len(seen) == 1:
        return next(iter(seen))
    named = {NONE if value is None else str(value): count for value, count in seen.items()}
    return classes(named)
