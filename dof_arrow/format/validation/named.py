"""Whether mapped columns of names have the names and codes that they should (SPEC 6.7, deep)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dof_arrow.errors import Problem
from dof_arrow.format.parquet.names_proof import NamesRegion
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.names import categories, split_order
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.validation.contents import Contents

_LISTED = 10  # names in a message


def problems(contents: Contents, metadata: Metadata) -> Iterator[Problem]:
    """Dictionaries of other names or in another order, codes without a name, spare bits."""
    for name, groups in contents.names.items():
        for number, group in enumerate(groups):
            where = f"row group {number}, column {name}"
            yield from _dictionary(name, group, metadata, where)
            yield from _codes(contents, group, where)


def without_names(found: Sequence[Problem]) -> set[str]:
    """The columns that cannot be decoded because codes have no name."""
    told = [problem.where for problem in found if problem.rule == "names-code"]
    return {where.partition(", column ")[2] for where in told}


def _dictionary(name: str, group: NamesRegion, metadata: Metadata, where: str) -> Iterator[Problem]:
    wanted = categories(metadata).get(name)
    if wanted is None:
        if name != metadata.record.split:
            return
        wanted = split_order(group.names)
    if group.names != wanted:
        expected = ", ".join(wanted[:_LISTED])
        found = ", ".join(group.names[:_LISTED])
        yield problem("names-dictionary", where, expected, found)


def _codes(contents: Contents, group: NamesRegion, where: str) -> Iterator[Problem]:
    codes = group.codes(contents.memory)
    largest = int(codes.max(initial=0))
    if largest >= len(group.names):
        yield problem("names-code", where, f"0 to {len(group.names) - 1}", largest)
    spare = group.codes(contents.memory, filled=True)[len(codes) :]
    if spare.any():
        yield problem("names-spare", where, "zeros behind the last code", spare.tolist())
