"""What the raw inputs were like: common facts stand once in the metadata, the others in each row's own column."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import TYPES
from dof_arrow.media.facts import PictureFacts

_STAGED = {**TYPES, "bytes": pa.int64()}
_LISTED = 8  # different numbers that are counted one by one; of more, only the range is said


def staged(facts: Sequence[PictureFacts]) -> pa.Array:
    """Facts of pictures as the column `facts` of a staged block."""
    columns = [
        pa.array([getattr(each, name) for each in facts], kind) for name, kind in _STAGED.items()
    ]
    return pa.StructArray.from_arrays(columns, fields=[pa.field(*each) for each in _STAGED.items()])


class RawFacts:
    """Gathers the facts of all blocks: first `add` each, then ask.

    `rows` counts the inputs that gave features, `bytes` is their size, `broken` counts the clips among them that were
    kept up to where they are damaged, `failures` lists the others. `drawn` names the numbers that
    augmented views were made from, with their types: they are always a row's own. `own`: the facts that are, instead of
    those that differ.
    """

    def __init__(
        self, drawn: Mapping[str, str] | None = None, own: Sequence[str] | None = None
    ) -> None:
        self._drawn, self._given = dict(drawn or {}), own
        self._seen: dict[str, Counter[Any]] = {name: Counter() for name in TYPES}
        self.rows = self.bytes = self.broken = 0
        self.failures: list[Json] = []

    def add(self, block: pa.Table) -> None:
        """Count the facts of one block."""
        import pyarrow.compute as pc

        self.failures += json.loads(block.schema.metadata[b"failed"])
        facts = _facts(block)
        if "first" in block.column_names:  # of a clip, whose rows say the same
            facts = facts.filter(block["first"].combine_chunks())
            self.broken += len(pc.unique(block["input"].filter(block["broken"])))
        elif "view" in block.column_names:
            facts = facts.filter(pc.equal(block["view"].combine_chunks(), 0))
        self.rows += len(facts)
        self.bytes += pc.sum(facts.field("bytes")).as_py() or 0
        for name, seen in self._seen.items():
            seen.update(_counts(facts.field(name)))

    def common(self) -> dict[str, Json]:
        """The facts that all inputs share, the range or the counts of the others, and the sum of their bytes."""
        told = {name: _summary(seen) for name, seen in self._seen.items() if {*seen} - {None}}
        return {**told, "bytes": self.bytes, **({"broken": self.broken} if self.broken else {})}

    @property
    def _own(self) -> list[str]:
        if self._given is not None:
            return [name for name in TYPES if name in self._given]
        return [name for name, seen in self._seen.items() if len(seen) > 1]

    @property
    def type(self) -> pa.DataType | None:
        """The type of the `processing` column: the facts that differ, and what was drawn; None if there are none."""
        fields = [
            *((name, TYPES[name]) for name in self._own),
            *((name, pa.type_for_alias(kind)) for name, kind in self._drawn.items()),
        ]
        return pa.struct(fields) if fields else None

    def own(self, block: pa.Table) -> pa.Array:
        """The `processing` column of one block."""
        facts = _facts(block)
        values = [facts.field(name) for name in self._own]
        if self._drawn:
            values += block["drawn"].combine_chunks().flatten()
        return pa.StructArray.from_arrays(values, fields=list(self.type or ()))


def _facts(block: pa.Table) -> pa.StructArray:
    return block["facts"].combine_chunks()


def _counts(values: Any) -> dict[Any, int]:
    counted = values.value_counts()
    return dict(
        zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    )


def _summary(seen: Counter[Any]) -> Json:
    if len(seen) == 1:
        return next(iter(seen))
    known = sorted(value for value in seen if value is not None)
    if all(isinstance(value, (int, float)) for value in known) and len(known) > _LISTED:
        return {"min": known[0], "max": known[-1]}
    return {
        "none" if value is None else str(value): seen[value]
        for value in [*known, *({*seen} - {*known})]
    }
