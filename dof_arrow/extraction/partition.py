"""A partition of a run: one of several processes, each of which extracts some of the inputs.

`dof merge` puts the partitions together, and what it writes is what one run would have written, to
the byte: whole blocks are shared out, and each partition keeps what the summaries are made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.extraction.raw_facts import RawFacts
from dof_arrow.format.merge_raw import OF_INPUTS
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import PartitionOf
from dof_arrow.security.pseudonyms import sum_of_digests


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The `index`-th of `count` partitions, from 1.

    >>> Partition.parse("2/4").of(range(10))
    range(2, 5)
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Partition:
        """Of a text such as `2/4`; UsageError for another."""
        first, _, last = text.partition("/")
        numbers = [int(part) for part in (first, last) if part.isascii() and part.isdecimal()]
        if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1]:
            raise UsageError(
                "no such partition", "--partition", "I/N, from 1/N to N/N, such as 2/4", text
            )
        return cls(index=numbers[0], count=numbers[1])

    def of(self, numbers: range) -> range:
        """Those of so many that are in this partition: neighbours."""
        total = len(numbers)
        start = total * (self.index - 1) // self.count
        return numbers[start : total * self.index // self.count]

    def describe(self, run: str, facts: RawFacts) -> Json:
        """What a file says of being one, of the run with this digest."""
        exact = facts.exact()
        return {"index": self.index, "of": self.count, "run": run, "raw": exact}


def merged_provenance(parts: Sequence[Dataset], about: Mapping[str, Json]) -> dict[str, Json]:
    """The provenance of one run, of all its partitions; `about` as it is, of other datasets.

    Raises UsageError where partitions of a run are missing, given twice or mixed with others.
    """
    found = [partition_of(part) for part in parts]
    if not any(found):
        return dict(about)
    partitions = [each for each in found if each is not None]
    _check_complete(parts, partitions)
    facts = RawFacts()
    sizes = []
    for part in parts:
        each = part.metadata.provenance
        assert each is not None and each.partition is not None
        facts.add_exact(each.partition.raw)
        sizes.append(each.size)
    whole: dict[str, Json] = {
        name: about[name] for name in about if name not in ("parents", "partition", "raw")
    }
    common = {name: value for name, value in about.get("raw", {}).items() if name not in OF_INPUTS}
    whole |= {"raw": {**common, **facts.common()}, "run": partitions[0].run}
    if None not in sizes:
        whole["size"] = sum_of_digests([size for size in sizes if size is not None])
    return whole


def partition_of(part: Dataset) -> PartitionOf | None:
    """What a dataset says of being a partition, if it is one."""
    about = part.metadata.provenance
    return None if about is None else about.partition


def _check_complete(parts: Sequence[Dataset], found: Sequence[PartitionOf]) -> None:
    first = found[0]
    runs = {(each.run, each.of) for each in found}
    if len(found) < len(parts) or len(runs) > 1:
        raise UsageError(
            "partitions of one run, and other datasets",
            ", ".join(str(part.path) for part in parts),
            "all partitions of one run",
            hint="Merge the partitions of each run first, then what comes of it.",
        )
    indexes = sorted(each.index for each in found)
    missing = sorted(set(range(1, first.of + 1)) - set(indexes))
    if missing or len(indexes) > first.of:
        told = [f"{index}/{first.of}" for index in indexes]
        raise UsageError(
            "partitions are missing" if missing else "a partition twice",
            ", ".join(str(part.path) for part in parts),
            f"each of the {first.of} once",
            ", ".join(told),
            _missing_hint(missing, first.of),
        )


def _missing_hint(missing: Sequence[int], count: int) -> str:
    if not missing:
        return ""
    named = ", ".join(f"{index}/{count}" for index in missing)
    return f"Extract the others, by the same command with --partition {named}."
