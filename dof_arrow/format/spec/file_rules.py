"""Rules across fields and rows, for whoever writes a file or checks one (SPEC 3 and 4.3).

What the validator would report is refused before a file is sealed: both ask here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.spec import column_types, records, target_values
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.references import record_names, references

_MOST = 20  # problems in a message
_MAX_LINE = 1 << 16  # bytes of an errors table's line
_ERROR_FIELDS = ("id", "rule", "reason")


def of_columns(metadata: Metadata, schema: pa.Schema) -> Iterator[Problem]:
    """What is wrong with the metadata in itself, and with the columns of the table."""
    yield from references(metadata)
    yield from column_types.listed(metadata, schema)
    yield from column_types.typed(metadata, schema)


def of_rows(metadata: Metadata, flat: Mapping[str, pa.Array]) -> Iterator[Problem]:
    """What is wrong with the rows; `flat` has the columns that are named, as far as they are sound.

    Each is whole, and has the type that it should have.
    """
    yield from records.problems(metadata, flat)
    for name, target in sorted(metadata.targets.items()):
        if name in flat:
            yield from target_values.problems(name, target, flat[name])


def named(metadata: Metadata) -> set[str]:
    """The columns whose rows have rules: those of records and of targets."""
    return {name for _, name in record_names(metadata)} | {*metadata.targets}


def failures(table: bytes, where: str) -> list[dict[str, str]]:
    """What an errors table tells: `id`, `rule`, `reason` of each input, and `group` if it has one.

    Raises FormatError for a table that is not what it should be.
    """
    lines = table.splitlines()
    if not all(map(is_error, lines)):
        raise FormatError("the errors table cannot be read", where, hint="dof validate --deep")
    return [parsed(line) for line in lines]


def is_error(line: bytes) -> bool:
    """Whether a line of an errors table tells of one input (SPEC 5)."""
    if len(line) > _MAX_LINE:
        return False
    try:
        value = parsed(line)
    except ValueError:
        return False
    if not isinstance(value, dict):
        return False
    fields = [value.get(name) for name in _ERROR_FIELDS]
    fields.append(value.get("group", ""))
    return all(isinstance(field, str) for field in fields)


def refuse(found: Iterable[Problem], where: str) -> None:
    """Raise FormatError if there is a problem, for a file that must not be written."""
    told = list(found)
    if told:
        more = f"{len(told) - _MOST} more" if len(told) > _MOST else ""
        raise FormatError(
            "the file would not be valid, and is not written",
            where,
            found=more,
            problems=told[:_MOST],
        )
