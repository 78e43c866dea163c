"""What is known of pictures before any is read, as a table with a row for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import VERSION, Column, Metadata, Record, Split, Target
from dof_arrow.format.spec.names import NAMES, code_array, codes_or_missing, names_array, text_array
from dof_arrow.sampling import splits
from dof_arrow.sources.input_table import Roster
from dof_arrow.sources.sample import Source

_NO_FILE = "00000000-0000-0000-0000-000000000000"  # the nil UUID (RFC 9562, section 5.9)
_ROLES = ("id", "group", "split")


def picture_table(source: Source, fractions: Mapping[str, float] | None, seed: int) -> pa.Table:
    """All that is known of the samples, a row each: `id`, `group`, `split`, targets, kept columns.

    `fractions` makes splits that never part a group. Raises UsageError for two columns of one name.
    """
    known = Roster.of(source)
    pairs: list[tuple[str, Any]] = [("id", known.keys)]
    if known.groups is not None:
        pairs.append(("group", known.groups))
    split = _splits(source, known, fractions, seed)
    if split is not None:
        pairs.append(("split", split))
    pairs += [*_targets(source, known), *known.kept.items()]
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            "two columns of one name",
            "pictures",
            found=", ".join(twice),
            hint="Rename the table's column, or leave it out.",
        )
    return pa.table(dict(pairs))


def metadata_of(
    table: pa.Table, targets: Mapping[str, Target], primary: str, pictures: Column
) -> Metadata:
    """What a file of features would say of the table: columns, targets, splits."""
    columns = {}
    for name in table.column_names:
        role = "target" if name in targets else "kept"
        columns[name] = Column(
            role=name if name in _ROLES else role,  # type: ignore[arg-type]
            dtype=str(table.schema.field(name).type),
            layout="encoded",
        )
    columns[primary] = pictures
    present = {name: name for name in _ROLES if name in table.column_names}
    return Metadata(
        version=VERSION,
        uuid=_NO_FILE,
        primary_column=primary,
        columns=columns,
        record=Record(**present),
        targets=targets,
        splits=_sizes(table["split"]) if "split" in present else {},
    )


def _sizes(column: pa.ChunkedArray) -> dict[str, Split]:
    """How many rows each split has."""
    import pyarrow.compute as pc

    found = {}
    for count in pc.value_counts(column.drop_null()):
        rows = count["counts"].as_py()
        found[count["values"].as_py()] = Split(rows=rows, records=rows)
    return found


def _targets(source: Source, known: Roster) -> Iterator[tuple[str, Any]]:
    """The targets as a file has them: categories as names."""
    for name, values in known.targets.items():
        about = source.targets[name]
        if about.kind == "category":
            codes = codes_or_missing(code_array(values, about.classes))
            values = names_array(codes, text_array(about.classes), NAMES)
        yield name, values


def _splits(source: Source, known: Roster, fractions: Mapping[str, float] | None, seed: int) -> Any:
    """The split of each sample: a column's, or by fractions, None where there are no splits.

    Fractions are kept in each class of the first category that is a target.
    """
    if fractions is None:
        if known.splits is not None and known.groups is not None:
            splits.check_groups(known.groups.to_pylist(), known.splits.to_pylist())
        return known.splits
    strata = None
    for name, target in source.targets.items():
        if target.kind == "category":
            strata = known.targets[name].to_pylist()
            break
    made = splits.split_by_fraction(_groups(known), fractions, seed=seed, stratify=strata)
    return pa.array(made, pa.string())


def _groups(known: Roster) -> list[str]:
    """The group of each sample; one without a group is alone."""
    keys: list[str] = known.keys.to_pylist()
    if known.groups is None:
        return keys
    groups = known.groups.to_pylist()
    return [group or own for group, own in zip(groups, keys, strict=True)]
