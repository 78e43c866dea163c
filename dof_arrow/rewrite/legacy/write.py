"""An older dataset as a DoF file: a row for each X, and what no row holds in the metadata.

What has no column stands in `provenance.raw.legacy`: numbers that were deleted, links in an order
of their own, elements that are no vectors or belong to nothing. Where that is long it is a document
of its own, `legacy.json`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from dof_arrow.errors import DofWarning, few
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.legacy import record_columns
from dof_arrow.rewrite.legacy.about import About, about
from dof_arrow.rewrite.legacy.content import Content, Element
from dof_arrow.rewrite.legacy.features import REASONS, Features, features
from dof_arrow.rewrite.legacy.labels import Labels, labels
from dof_arrow.rewrite.legacy.plain_values import depth, json_text, plain
from dof_arrow.rewrite.legacy.read import read

FEATURE = "feature"
DOCUMENT = "legacy.json"
_INLINE = 64 << 10  # bytes of JSON that stand in the metadata
_DEEP = 16  # levels of JSON; metadata may have 32 in all
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows to write, and what each column holds."""

    features: Features
    linked: list[list[Element]]  # the Ys of each row, in the order of the links
    labels: Labels
    columns: dict[str, pa.Array]


def convert(
    source: Path,
    out: Path,
    *,
    layout: Literal["mapped", "compact"] = "mapped",
    overwrite: bool = False,
) -> None:
    """Write a file of DoF 1.0 or 2.x as a DoF file; what no column holds is told as DofWarning.

    Raises FormatError for a file of none of these forms, SourceError for one that is damaged or
    not to be trusted, OutputError if the output cannot be written.
    """
    content = read(source)
    told = about(content)
    rows = _rows(content)
    left = _left_over(content, rows, told)
    metadata = _metadata(content, rows, told, left)
    writer = Writer(out, metadata, schema=_schema(rows), layout=layout, overwrite=overwrite)
    with writer:
        for document in told.documents:
            writer.attach(*document)
        for number, rule in sorted(rows.features.left_out.items()):
            writer.fail(str(number), rule, REASONS[rule])
        ids = pa.array([str(element.id) for element in rows.features.elements], pa.string())
        vectors = {FEATURE: rows.features.vectors}
        writer.write(ids=ids, vectors=vectors, columns=rows.columns)
    for text in _warnings(content, rows):
        warnings.warn(f"{source}: {text}", DofWarning, stacklevel=3)


def _rows(content: Content) -> _Rows:
    inputs = sorted((each for each in content.elements if each.is_x), key=lambda each: each.id)
    outputs = {each.id: each for each in content.elements if not each.is_x}
    of_input: dict[int, list[Element]] = {each.id: [] for each in inputs}
    for x, y in content.links:
        if x in of_input and y in outputs:
            of_input[x].append(outputs[y])
    found = features(inputs)
    linked = [of_input[element.id] for element in found.elements]
    told = labels([[each.value for each in ys] for ys in linked])
    columns = dict(told.columns)
    if found.exact is not None:
        columns["x"] = found.exact
    if content.is_numbered and any(linked):
        columns["y_id"] = _numbers([[each.id for each in ys] for ys in linked])
    columns.update(_unused(record_columns.columns([e.info for e in found.elements]), columns))
    columns.update(_unused(_output_information(linked), columns))
    return _Rows(features=found, linked=linked, labels=told, columns=columns)


def _numbers(rows: Sequence[Sequence[int]]) -> pa.Array:
    """Numbers of each row: one, or lists of them where some row has several."""
    if all(len(row) < 2 for row in rows):
        return pa.array([row[0] if row else None for row in rows], pa.int64())
    return pa.array(rows, pa.list_(pa.int64()))


def _unused(columns: Mapping[str, pa.Array], taken: Mapping[str, Any]) -> dict[str, pa.Array]:
    found = {}
    for name, column in columns.items():
        while name in taken:
            name = f"info_{name}"
        found[name] = column
    return found


def _output_information(linked: Sequence[Sequence[Element]]) -> dict[str, pa.Array]:
    """What is said of Ys, as columns, or as JSON texts where a row has several."""
    if not any(each.info for ys in linked for each in ys):
        return {}
    if all(len(ys) < 2 for ys in linked):
        infos = [ys[0].info if ys else None for ys in linked]
        return record_columns.columns(infos, prefix="y_")
    texts = []
    for ys in linked:
        texts.append(json_text([each.info for each in ys]) if ys else None)
    return {"y_info": pa.array(texts, pa.string())}


def _schema(rows: _Rows) -> pa.Schema:
    """All columns but vectors and ids; those without a missing value are required."""
    fields = []
    for name, column in rows.columns.items():
        is_open = column.null_count > 0 or not pa.types.is_primitive(column.type)
        if name in ("label", record_columns.SPLIT):  # whose names are mapped as codes
            is_open = column.null_count > 0
        fields.append(pa.field(name, column.type, nullable=is_open))
    return pa.schema(fields)


def _metadata(content: Content, rows: _Rows, told: About, left: Json) -> dict[str, Json]:
    columns: dict[str, Json] = {}
    for name in rows.columns:
        if name != record_columns.SPLIT:
            columns[name] = {"role": "kept"}
    metadata: dict[str, Json] = {
        "primary_column": FEATURE,
        "columns": columns,
        "info": told.info,
        "training": told.training,
        "performance": told.performance,
        "privacy": {"ids": "name"},
        "provenance": {"raw": {"legacy": {"form": content.form, **left}}},
    }
    if told.core:
        # Only claimed: there is no digest by which it could be known again.
        metadata["claimed_cores"] = {FEATURE: {"name": told.core}}
        columns[FEATURE] = {"core": FEATURE}
    if rows.labels.target is not None:
        columns["label"] = {"role": "target"}
        metadata["targets"] = {"label": to_json(rows.labels.target)}
    return metadata


def _left_over(content: Content, rows: _Rows, told: About) -> dict[str, Json]:
    """What no column holds, as JSON; a pointer to a document where that is long."""
    left: dict[str, Json] = dict(content.notes)
    if content.is_numbered:
        left["next_id"] = content.next_id
    left.update(_that_are_there(deleted=content.deleted, documents=told.told))
    if rows.features.dtype != str(rows.features.vectors.dtype):
        left["dtype"] = rows.features.dtype
    if content.is_numbered and content.links != _links_of_rows(rows):
        left["links"] = [list(pair) for pair in content.links]
    left.update(_that_are_there(elements=_homeless(content, rows)))
    unknown = [rows.features.elements[row].id for row in rows.labels.unknown]
    left.update(_that_are_there(nan_labels=unknown))
    text = json_text(left)
    if len(text) <= _INLINE and depth(left) <= _DEEP:
        return left
    return {"document": told.attach(DOCUMENT, text.encode())}


def _that_are_there(**lists: Any) -> dict[str, Json]:
    return {name: found for name, found in lists.items() if found}


def _links_of_rows(rows: _Rows) -> list[tuple[int, int]]:
    """The links in the order that the rows give."""
    found = []
    for element, ys in zip(rows.features.elements, rows.linked, strict=True):
        found += [(element.id, y.id) for y in ys]
    return found


def _homeless(content: Content, rows: _Rows) -> list[Json]:
    """The elements that stand in no row, whole: Xs without a vector, Ys without an X."""
    housed = {each.id for each in rows.features.elements}
    for ys in rows.linked:
        housed.update(each.id for each in ys)
    found: list[Json] = []
    for each in content.elements:
        if each.id in housed:
            continue
        entry = {"id": each.id, "type": "x" if each.is_x else "y", "value": plain(each.value)}
        found.append(entry if each.info is None else {**entry, "info": dict(each.info)})
    return found


def _warnings(content: Content, rows: _Rows) -> list[str]:
    """What a reader should know: what was deleted, what is kept elsewhere, what is left out."""
    told = list(content.warnings)
    if content.deleted:
        told.append(f"elements that were deleted before: {_listed(content.deleted)}")
    for rule, reason in REASONS.items():
        numbers = [each for each, found in rows.features.left_out.items() if found == rule]
        if numbers:
            told.append(f"Xs without a row, since {reason}: {_listed(sorted(numbers))}")
    alone = [e.id for e, ys in zip(rows.features.elements, rows.linked, strict=True) if not ys]
    if alone:
        told.append(f"Xs without a Y, whose rows have no label: {_listed(alone)}")
    ys = {y for _, y in content.links}
    lonely = [each.id for each in content.elements if not each.is_x and each.id not in ys]
    if lonely:
        told.append(f"Ys without an X, kept in provenance.raw.legacy: {_listed(lonely)}")
    told += _of_links(content)
    if rows.features.exact is not None:
        told.append(
            f"the numbers are {rows.features.dtype}: {rows.features.vectors.dtype} in the column "
            f"{FEATURE}, and exactly in the column x"
        )
    if not rows.features.elements:
        told.append("there is no vector in it: the width of the column is made up")
    return told + rows.labels.warnings


def _of_links(content: Content) -> list[str]:
    kinds = {each.id: each.is_x for each in content.elements}
    wrong = []
    for x, y in content.links:
        if kinds.get(x) is not True or kinds.get(y) is not False:
            wrong.append(f"{x}-{y}")
    twice = len(content.links) - len(set(content.links))
    told = [f"links of no X to a Y: {', '.join(few(wrong, _SHOWN))}"] if wrong else []
    return told + ([f"{twice:,} links stand twice"] if twice else [])


def _listed(numbers: Sequence[int]) -> str:
    return f"{len(numbers):,} ({', '.join(few([str(number) for number in numbers], _SHOWN))})"
