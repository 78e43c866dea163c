"""The table that a run will write: its identity, its columns, and what it says of itself."""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.cores.core import BATCH, Core
from dof_arrow.cores.graph.runtime import CPU
from dof_arrow.errors import UsageError
from dof_arrow.extraction import sides
from dof_arrow.extraction.block import Block, Column
from dof_arrow.extraction.partition import Partition
from dof_arrow.extraction.raw_facts import RawFacts
from dof_arrow.extraction.sides import SplitRule, Units
from dof_arrow.extraction.staging import block_rows, blocks
from dof_arrow.extraction.versions import used_versions
from dof_arrow.extraction.views import ONE, ViewPlan
from dof_arrow.format.spec.arrow import vector_field
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.names import NAMES
from dof_arrow.media import decode
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Sampling
from dof_arrow.sampling import splits
from dof_arrow.security.pseudonyms import Kind, digest_of_sizes, fingerprint, pseudonyms
from dof_arrow.sources import input_table
from dof_arrow.sources.input_table import Roster, at_site
from dof_arrow.sources.sample import Source

PROCESSING = "processing"
_AT_ONCE = 65_536  # names of inputs

Numbers = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class OutputTable:
    """All that the bytes of an output depend on, and what follows from it before anything is read.

    `cores` are by feature column; `split` says how splits are drawn that never part a group;
    `id_key` is the owner's key for pseudonyms, `site` stands before all names of inputs, `lacking`
    names columns that may lack values, though they need not; of a `partition` only some inputs are
    extracted. Equal tables give equal bytes whoever computes them.
    """

    source: Source
    cores: Mapping[str, Core]
    id_key: bytes
    ids: Literal["pseudonym", "name"] = "pseudonym"
    order: Literal["pseudonym", "source"] = "pseudonym"
    facts: Literal["summary", "exact"] = "summary"
    site: str | None = None
    split: SplitRule | None = None
    dtype: Literal["float32", "float16"] = "float32"
    layout: Literal["mapped", "compact"] = "mapped"
    batch_size: int = BATCH
    reading: ReadingOptions = decode.DEFAULT
    views: ViewPlan = ONE
    clips: Sampling | None = None
    lacking: frozenset[str] = frozenset()
    partition: Partition | None = None

    # What makes it this table and no other

    @cached_property
    def identity(self) -> dict[str, Json]:
        """What makes a run what it is; two runs with equal identity give equal bytes."""
        if self.partition is None:
            return self._identity_of_whole
        part = f"{self.partition.index}/{self.partition.count}"
        return {**self._identity_of_whole, "partition": part}

    @cached_property
    def _identity_of_whole(self) -> dict[str, Json]:
        return {
            "inputs": len(self.source),
            "names and labels": self._inputs.digest(self.id_key),
            "core": {name: core.sha256 for name, core in self.cores.items()},
            # Other providers, threads and batches may add up the same numbers in another order.
            "provider": {name: core.provider for name, core in self.cores.items()},
            "threads": {name: core.threads for name, core in self.cores.items()},
            "batch size": self.batch_size,
            "dtype": self.dtype,
            "layout": self.layout,
            "ids": self.ids,
            "order": self.order,
            "facts": self.facts,
            "split": {} if self.split is None else dict(self.split.fractions),
            "split sides": self._sides_digest,
            "id key": self._keyed(b"id key"),
            "views": self.views.to_json(),
            "max pixels": self.reading.max_pixels,
            "allow": sorted(self.reading.allow),
            **({} if self.site is None else {"site": self.site}),
            **({"may lack values": sorted(self.lacking)} if self.lacking else {}),
            **self._sampled,
            **self.libraries,
        }

    @cached_property
    def run_digest(self) -> str:
        """A digest of the identity that only the owner of the key can make or recognise."""
        return self._digest_of(self.identity)

    def _digest_of(self, identity: dict[str, Json]) -> str:
        return self._keyed(json.dumps(identity, sort_keys=True).encode())

    def digest_of_sizes(self, inputs: range) -> str | None:
        """A keyed digest of the bytes of some inputs' files; None where they are not files.

        The numbers themselves would tell of single inputs.
        """
        sizes = input_table.sizes(self.source, inputs)
        return None if sizes is None else digest_of_sizes(self.id_key, sizes)

    def bytes_of_files(self) -> int | None:
        """Bytes of the inputs' files, each once; None where they are not files."""
        sizes = input_table.sizes(self.source, self.inputs)
        return None if sizes is None else sum(size for _, size in sizes)

    @property
    def _sides_digest(self) -> str | None:
        """A keyed digest of the splits that were drawn, whichever way, with those taken over."""
        if self.split is None or self.splits is None:
            return None
        # By contents: a part that is in its directory already knows its own sides.
        return self._keyed("\n".join(self.splits.to_pylist()).encode())

    @property
    def libraries(self) -> dict[str, str]:
        """Versions of what features depend on, by module."""
        providers = {core.provider for core in self.cores.values()}
        return used_versions(clips=self.clips is not None, providers=providers)

    @property
    def _sampled(self) -> dict[str, Json]:
        """Which frames are taken, where inputs are clips."""
        if self.clips is None:
            return {}
        cut = {"segments": True} if self.segments else {}
        return {"clips": self.clips.to_json(), **cut}

    @property
    def segments(self) -> bool:
        """Whether inputs are segments of clips."""
        return input_table.are_segments(self.source)

    def _keyed(self, data: bytes) -> str:
        return hmac.new(self.id_key, data, "sha256").hexdigest()

    # Its columns

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns but for `processing`, which depends on what the pictures are like.

        Raises UsageError where two columns have one name.
        """
        fields = [
            pa.field("id", pa.string(), nullable=False),
            *self._fields_of_rows(),
            *self._fields_of_inputs(),
        ]
        for name, core in self.cores.items():
            fields.append(vector_field(name, core.output_shape, self.dtype))
        # Whether there will be a column `processing` is not known yet: its name is taken anyhow.
        counts = Counter([PROCESSING, *(field.name for field in fields)])
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise UsageError(
                "two columns of one name",
                found=", ".join(twice),
                hint="Rename the table's column, or the core's file.",
            )
        return pa.schema(fields)

    def schema_with(self, facts: RawFacts) -> pa.Schema:
        """All columns, once it is known what the pictures are like."""
        if facts.type is None:
            return self.schema
        place = len(self.schema) - len(self.cores)
        return self.schema.insert(place, pa.field(PROCESSING, facts.type))

    def _fields_of_rows(self) -> list[pa.Field]:
        """What rows of one input differ in."""
        fields = []
        if self.views.count > 1:
            fields.append(pa.field("view", pa.int16(), nullable=False))
        if self.clips is not None:
            fields.append(pa.field("frame", pa.int32(), nullable=False))
            fields.append(pa.field("time", pa.float64(), nullable=False))
        return fields

    def _fields_of_inputs(self) -> list[pa.Field]:
        """What is known of inputs before they are read: group, split, span, targets, kept."""
        fields = []
        if self.source.has_group:
            fields.append(pa.field("group", pa.string()))
        if self.split is not None or self.source.has_split:
            fields.append(pa.field("split", NAMES, self._lacks_splits))
        for name in self.spans:
            fields.append(pa.field(name, pa.float64()))
        for name, target in self.source.targets.items():
            missing = self._inputs.targets[name].null_count > 0
            nullable = missing or target.kind == "multilabel" or name in self.lacking
            kind = NAMES if target.kind == "category" else input_table.target_type(target)
            fields.append(pa.field(name, kind, nullable))
        for name, alias in self.source.kept.items():
            fields.append(pa.field(name, pa.type_for_alias(alias)))
        return fields

    @property
    def _lacks_splits(self) -> bool:
        """Whether inputs may be in no split; drawn by fractions, each is in one."""
        given = self._inputs.splits
        if "split" in self.lacking:
            return True
        return self.split is None and (given is None or given.null_count > 0)

    # The inputs that are extracted

    @cached_property
    def blocks(self) -> list[range]:
        """All inputs of the source in the blocks that they are computed in."""
        count = len(self.source)
        return blocks(count, block_rows(count, self.batch_size) if self.clips is None else 1)

    @property
    def own_blocks(self) -> range:
        """The numbers of the blocks that are extracted."""
        numbers = range(len(self.blocks))
        return numbers if self.partition is None else self.partition.of(numbers)

    @property
    def inputs(self) -> range:
        """The numbers of the inputs that are extracted."""
        own = [self.blocks[number] for number in self.own_blocks]
        return range(own[0].start, own[-1].stop) if own else range(0)

    # The values of its columns

    @cached_property
    def _inputs(self) -> Roster:
        """All that is known of the inputs before any is read."""
        return Roster.of(self.source)

    @cached_property
    def splits(self) -> pa.Array | None:
        """The split of each input, or None. Raises UsageError where a given split parts a group."""
        known = self._inputs
        if self.split is not None:
            return self._drawn[0]
        if known.splits is not None and known.groups is not None:
            splits.check_groups(known.groups.to_pylist(), known.splits.to_pylist())
        return known.splits

    @cached_property
    def _drawn(self) -> tuple[pa.Array, int]:
        """The split of each input by the rule, and how many groups have it from elsewhere."""
        assert self.split is not None
        return sides.drawn(self.units, self.split, self.id_key, self._classes())

    @property
    def units(self) -> Units:
        """What splits must not part: each input's group, or the input itself."""
        known = self._inputs
        united = getattr(self.source, "united_groups", {})
        keys = at_site(known.keys, self.site)
        return Units(keys=keys, groups=known.groups, united=united)

    @property
    def split_remarks(self) -> list[str]:
        """What came of drawing splits: shares, sides taken over, what a split lacks."""
        if self.split is None:
            return []
        made, adopted = self._drawn
        told = [*sides.shares(made, self.split.fractions), *self._exact_remark()]
        if self.split.known is not None:
            told.append(f"{adopted:,} groups or inputs stay in the split that they were in before")
        lacking = self.split_lacks()
        return [*told, *([f"splits lack: {'; '.join(lacking)}"] if lacking else [])]

    def _exact_remark(self) -> list[str]:
        if self.split is None or not self.split.exact:
            return []
        return ["splits are dealt exactly: with other inputs a person may be in another split"]

    def split_lacks(self) -> list[str]:
        """Splits that no usable input is drawn into, and classes that a split lacks."""
        if self.split is None or self.splits is None:
            return []
        known = self._inputs
        usable = None if known.refused is None else known.refused.is_null()
        classes = {}
        for name, target in self.source.targets.items():
            if target.kind == "category":
                classes[name] = (_only(known.targets[name], usable), target.classes)
        return sides.lacking(_only(self.splits, usable), self.split.fractions, classes)

    def _classes(self) -> list[int | None] | None:
        """The classes within each of which fractions are to be met: those of the first category."""
        for name, target in self.source.targets.items():
            if target.kind == "category":
                return list(self._inputs.targets[name].to_pylist())
        return None

    @cached_property
    def spans(self) -> dict[str, pa.Array]:
        """Where each segment of a clip starts and ends, by column; nothing for other inputs.

        The columns are called as their roles, unless a column of the table has that name already.
        """
        taken = {*self.source.targets, *self.source.kept}
        found = input_table.spans(self.source)
        return {f"segment_{role}" if role in taken else role: found[role] for role in found}

    def known(self, column: str) -> pa.Array:
        """The values of a target or kept column for all inputs."""
        if column in self._inputs.targets:
            return self._inputs.targets[column]
        return self._inputs.kept[column]

    @property
    def groups(self) -> pa.Array | None:
        """The group of each input by its own name, or None."""
        return self._inputs.groups

    @property
    def keys(self) -> list[str]:
        """The inputs' own names."""
        return list(self._inputs.keys.to_pylist())

    @cached_property
    def ids_of_inputs(self) -> pa.Array:
        """What each input is called in the file."""
        keys = at_site(self._inputs.keys, self.site)
        parts = [pa.array([], pa.string())]
        for start in range(0, len(keys), _AT_ONCE):
            names = keys.slice(start, _AT_ONCE).to_pylist()
            parts.append(pa.array(self._called("id", names), pa.string()))
        return pa.concat_arrays(parts)

    def names(self, inputs: Numbers) -> list[str]:
        """What some inputs, by number, are called in the file."""
        return list(self.ids_of_inputs.take(pa.array(inputs, pa.int64())).to_pylist())

    def in_order(self) -> NDArray[np.int64] | None:
        """The numbers of all inputs in the order of their rows; None: that of the source."""
        import pyarrow.compute as pc

        if self.order == "source":
            return None
        return np.asarray(pc.sort_indices(self.ids_of_inputs).to_numpy().astype(np.int64))

    def groups_of(self, inputs: Numbers) -> list[str | None]:
        """What the groups of some inputs, by number, are called in the file; None without one."""
        if self._inputs.groups is None:
            return [None] * len(inputs)
        return list(self._groups(pa.array(inputs, pa.int64())).to_pylist())

    def _called(self, kind: Kind, names: list[str]) -> list[str]:
        return names if self.ids == "name" else pseudonyms(self.id_key, kind, names)

    def _groups(self, inputs: pa.Array) -> pa.Array:
        """What some inputs' groups are called in the file; each group is named once."""
        # Many rows have few groups, and a pseudonym costs more than a look into a dictionary.
        groups = self._inputs.groups.take(inputs).dictionary_encode()
        called = self._called("group", groups.dictionary.to_pylist())
        return pa.array(called, pa.string()).take(groups.indices)

    def columns(self, inputs: Numbers) -> dict[str, Any]:
        """What is known of the inputs of some rows, by number: names, groups, targets and such.

        Every view and every frame is a row: an input stands there once for each.
        """
        known = self._inputs
        places = pa.array(inputs, pa.int64())
        columns: dict[str, Any] = {"id": self.names(inputs)}
        if known.groups is not None:
            columns["group"] = self._groups(places)
        if self.splits is not None:
            columns["split"] = self.splits.take(places)
        for name, column in {**self.spans, **known.targets, **known.kept}.items():
            columns[name] = column.take(places)
        return columns

    def columns_of(self, block: Block, facts: RawFacts) -> dict[str, Any]:
        """The values of all columns but the features, for the rows of a block."""
        columns = self.columns(block.inputs)
        own = {"view": block.view, "frame": block.frame, "time": block.time}
        for name, values in own.items():
            if values is not None:
                columns[name] = values
        if facts.type is not None:
            columns[PROCESSING] = facts.own(block)
        return columns

    def vectors_of(self, block: Block) -> dict[str, Any]:
        """The features [n, *shape] of a block's rows, by column."""
        vectors = {}
        for name, core in self.cores.items():
            vectors[name] = block.vectors(name, core.output_shape)
        return vectors

    # What it says of itself

    def metadata(self, facts: RawFacts | None = None) -> dict[str, Json]:
        """The file's metadata, as far as it is known: once all is extracted, with the facts."""
        return {
            "primary_column": next(iter(self.cores)),
            "columns": self._described_columns(),
            "record": self._record,
            "augmentation": self.views.to_json(),
            "cores": {name: to_json(core.describe()) for name, core in self.cores.items()},
            "targets": {name: to_json(target) for name, target in self.source.targets.items()},
            "privacy": self._privacy,
            "provenance": {**self._provenance(), **self._of_inputs(facts)},
        }

    @property
    def _privacy(self) -> dict[str, Json]:
        if self.ids == "name":
            return {"ids": self.ids}
        return {"ids": self.ids, "key": fingerprint(self.id_key)}

    def _described_columns(self) -> dict[str, Json]:
        columns: dict[str, Json] = {}
        for name, core in self.cores.items():
            shape = list(core.output_shape)
            columns[name] = {"core": name, "tensor": core.output_name, "shape": shape}
        for name in self.source.kept:
            columns[name] = {"role": "kept"}
        return columns

    @property
    def _record(self) -> dict[str, Json]:
        """The columns of roles that their names alone do not tell."""
        return {name.removeprefix("segment_"): name for name in self.spans}

    def _of_inputs(self, facts: RawFacts | None) -> dict[str, Json]:
        """What the provenance says of the inputs."""
        if facts is None:
            return {"raw": self._sampled}
        told: dict[str, Json] = {
            "failed": len(facts.failures),
            "size": self.digest_of_sizes(self.inputs),
            "raw": {**self._sampled, **facts.common()},
        }
        if self.partition is not None:
            whole = self._digest_of(self._identity_of_whole)
            told["partition"] = self.partition.describe(whole, facts)
        return told

    def _provenance(self) -> dict[str, Json]:
        providers = {}
        batches = {}
        for name, core in self.cores.items():
            if core.provider != CPU:
                providers[name] = [core.provider]
                batches[name] = [self.batch_size]
        return {
            "inputs": len(self.inputs),
            "failed": 0,
            "run": self.run_digest,
            "libraries": self.libraries,
            "providers": providers,
            "batches": batches,
        }


def _only(column: Column, wanted: Column | None) -> Column:
    return column if wanted is None else column.filter(wanted)
