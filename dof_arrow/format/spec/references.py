"""Names in the metadata that must lead somewhere, which JSON Schema cannot say (SPEC 4.3 and 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from dof_arrow.errors import Problem
from dof_arrow.format.spec.metadata import Metadata, Target
from dof_arrow.format.spec.rules import problem

RECORD_ROLES = (
    "id",
    "bag",
    "view",
    "frame",
    "time",
    "start",
    "end",
    "x",
    "y",
    "level",
    "mpp",
    "group",
    "split",
)
_MAX_NAME = 100  # letters of a name in a message


def references(metadata: Metadata) -> Iterator[Problem]:
    """Names that lead nowhere, whatever the table is."""
    yield from _primary_column(metadata)
    cores = [*metadata.cores, *metadata.claimed_cores]
    for name, column in metadata.columns.items():
        core = column.core
        if core is not None and core not in cores:
            known = ", ".join(cores) or "no cores"
            yield problem("core-unknown", f"$.columns.{name}.core", known, core)
    for name in metadata.claimed_cores:
        if name in metadata.cores:
            yield problem("core-claimed", f"$.claimed_cores.{name}", "a name of its own", name)
    for role, name in record_names(metadata):
        if name not in metadata.columns:
            yield problem("record-column", f"$.record.{role}", "a column", name)
    for name, target in metadata.targets.items():
        yield from _target(name, target, metadata)
    if metadata.splits and metadata.record.split is None:
        yield problem("split-column", "$.splits", "a split column in `record`", "none")
    documents = [document.name for document in metadata.documents]
    yield from _document_names(documents)


def record_names(metadata: Metadata) -> list[tuple[str, str]]:
    """The roles that `record` gives to columns: (role, column name)."""
    named = []
    for role in RECORD_ROLES:
        name = getattr(metadata.record, role)
        if name is not None:
            named.append((role, name))
    return named


def _primary_column(metadata: Metadata) -> Iterator[Problem]:
    stated = metadata.primary_column
    primary = metadata.columns.get(stated)
    if primary is None or primary.role != "feature":
        columns = metadata.columns.items()
        features = [name for name, column in columns if column.role == "feature"]
        expected = " or ".join(features) or "a feature column"
        yield problem("primary-column", "$.primary_column", expected, stated)


def _target(name: str, target: Target, metadata: Metadata) -> Iterator[Problem]:
    if name not in metadata.columns:
        yield problem("target-column", f"$.targets.{name}", "a column", "none")
    twice = _twice(target.classes)
    if twice or (not target.classes and target.kind in ("category", "multilabel")):
        found = f"{twice[0]} twice" if twice else "none"
        where = f"$.targets.{name}.classes"
        yield problem("target-classes", where, "class names, each once", found)


def _document_names(names: list[str]) -> Iterator[Problem]:
    twice = _twice(names)
    for number, name in enumerate(names):
        if name in twice or not _is_file_name(name):
            where = f"$.documents[{number}].name"
            found = repr(name[:_MAX_NAME])
            yield problem("document-name", where, "a file name of its own", found)


def _is_file_name(name: str) -> bool:
    """Whether it names a file without folders."""
    if name in ("", ".", ".."):
        return False
    return not any(letter in name for letter in "/\\\0")


def _twice(names: Iterable[str]) -> list[str]:
    counts = Counter(names)
    return [name for name, count in counts.items() if count > 1]
