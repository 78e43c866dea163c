"""What only the data can tell: every value decoded, every rule about rows looked at (SPEC sections 3 and 4.3, deep)."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import ColumnMeta, get
from dof_arrow.format.parquet.layout import Fixed, fixed, levels
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.pages import Encoded
from dof_arrow.format.spec.arrow import finite, flat_array, is_vector, numpy_values
from dof_arrow.format.spec.metadata import Metadata, Split, Target
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.validation.references import well_typed
from dof_arrow.storage.memory_map import Region


class Contents:
    """The columns of a file: proved ones (`regions`) as views of the mapped file, the others decoded within bounds."""

    def __init__(
        self,
        file: int,
        size: int,
        parquet: Any,
        schema: pa.Schema,
        outline: Outline,
        regions: Mapping[str, Sequence[Region]],
    ) -> None:
        self.parquet, self.schema, self.regions = parquet, schema, regions
        self.memory = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        self.encoded = Encoded(file, size, self.memory, parquet, schema, outline)
        self.outline = outline

    def vectors(self, name: str) -> Iterator[np.ndarray]:
        """A vector column, [rows, D] for each row group."""
        field = self.schema.field(name)
        if name in self.regions:
            yield from (self.view(fixed(field), region) for region in self.regions[name])
        else:
            yield from (numpy_values(group, field) for group in self.encoded.groups(name))

    def flat(self, name: str) -> pa.Array:
        """Any other column, whole."""
        column, kind = fixed(self.schema.field(name)), self.schema.field(name).type
        if column is None or name not in self.regions:
            return self.encoded.column(name)
        pieces = [self.view(column, region)[:, 0] for region in self.regions[name]]
        return flat_array(
            np.concatenate([np.empty(0, column.stored), *pieces]).astype(column.memory), kind
        )

    def view(self, column: Fixed | None, region: Region) -> np.ndarray:
        """The values of one proved region, [rows, items]."""
        assert column is not None
        count = region.length // column.stored.itemsize
        return np.frombuffer(self.memory, column.stored, count, region.offset).reshape(
            -1, column.items
        )


def problems(contents: Contents, metadata: Metadata) -> Iterator[Problem]:
    """Everything that is wrong with the data."""
    flat: dict[str, pa.Array] = {}
    ruled = well_typed(metadata, contents.schema)  # the others have a problem already
    for field in contents.schema:
        try:
            if field.name in ruled:
                flat[field.name] = contents.flat(field.name)
            else:
                yield from _column(contents, field)
        except FormatError as error:
            yield from error.problems
    yield from _records(metadata, flat)
    yield from _splits(metadata, flat)
    for name in sorted(metadata.targets.keys() & flat.keys()):
        yield from _target(name, metadata.targets[name], flat[name])


def _column(contents: Contents, field: pa.Field) -> Iterator[Problem]:
    if not is_vector(field):
        if field.name not in contents.regions:
            for _ in contents.encoded.groups(field.name):
                pass  # decoding is the test
        return
    yield from _levels(contents, field)
    row = 0
    for group in contents.vectors(field.name):
        if not finite(group):
            first = row + int(np.flatnonzero(~np.isfinite(group).all(axis=1))[0])
            yield problem(
                "feature-nonfinite",
                f"column {field.name}",
                "finite numbers",
                f"row {first} has others",
            )
            return
        row += len(group)


def _levels(contents: Contents, field: pa.Field) -> Iterator[Problem]:
    column, regions = fixed(field), contents.regions.get(field.name)
    if column is None or not regions:
        return
    leaf = contents.outline.index(column.path)
    for number, chunk in enumerate(contents.outline.column(leaf) if leaf is not None else ()):
        before = contents.memory[get(chunk, ColumnMeta.DATA_PAGE) : regions[number].offset]
        ours = levels(regions[number].length // column.width, column.items)
        if before[footer.decode_page(before)[1] :] != ours and not _same_decoded(
            contents, column, number
        ):
            where = f"row group {number}, column {field.name}"
            yield problem("layout-levels", where, f"lists of {column.items}", "other lists")


def _same_decoded(contents: Contents, column: Fixed, number: int) -> bool:
    """Whether pyarrow, going by the levels, finds the values where the layout says (another writer's levels)."""
    try:
        decoded = numpy_values(
            contents.encoded.group(number, column.name), contents.schema.field(column.name)
        )
    except FormatError:
        return False
    return (
        decoded.tobytes() == contents.view(column, contents.regions[column.name][number]).tobytes()
    )


def _records(metadata: Metadata, flat: Mapping[str, pa.Array]) -> Iterator[Problem]:
    record = metadata.record
    if record.id in flat and len(flat[record.id]):
        ids = _codes(flat[record.id])
        view, frame = (
            _numbers(flat.get(name or ""), len(ids)) for name in (record.view, record.frame)
        )
        yield from _order(ids, view, frame, record.id)
    if metadata.privacy is not None and metadata.privacy.ids == "pseudonym":
        for name in (record.id, record.group):
            widths = _widths(flat.get(name or ""))
            if len(widths) > 1:
                yield problem(
                    "id-width", f"column {name}", "one length", f"{widths[0]} to {widths[-1]}"
                )


def _order(ids: np.ndarray, view: np.ndarray, frame: np.ndarray, name: str) -> Iterator[Problem]:
    runs, records = np.count_nonzero(np.diff(ids)) + 1, len(np.unique(ids))
    if runs > records:
        yield problem("id-scattered", f"column {name}", f"{records} runs of rows", runs)
    order = np.lexsort((view, ids))  # stable: frames stay in file order within each clip
    ids, view, frame = ids[order], view[order], frame[order]
    clip = (np.diff(ids) == 0) & (np.diff(view) == 0)
    step = np.diff(frame)
    for rule, wrong in (("id-repeated", clip & (step == 0)), ("frame-order", clip & (step < 0))):
        if wrong.any():
            yield problem(
                rule,
                f"row {int(order[1:][wrong].min())}",
                "",
                f"{np.count_nonzero(wrong)} such rows",
            )


def _splits(metadata: Metadata, flat: Mapping[str, pa.Array]) -> Iterator[Problem]:
    ids, splits = flat.get(metadata.record.id), flat.get(metadata.record.split or "")
    if ids is None or splits is None:
        return
    found = _split_sizes(_codes(ids), splits)
    for name in sorted(found.keys() | metadata.splits.keys()):
        if found.get(name) != metadata.splits.get(name):
            yield problem(
                "split-count",
                f"$.splits.{name}",
                _told(found.get(name)),
                _told(metadata.splits.get(name)),
            )


def _split_sizes(ids: np.ndarray, splits: pa.Array) -> dict[str, Split]:
    names, codes = _encoded(splits)
    rows = {name: ids[codes == code] for code, name in enumerate(names)}
    return {
        name: Split(rows=len(r), records=len(np.unique(r)))
        for name, r in rows.items()
        if name is not None
    }


def _told(split: Split | None) -> str:
    return "nothing" if split is None else f"{split.rows} rows of {split.records} records"


def _target(name: str, target: Target, column: pa.Array) -> Iterator[Problem]:
    values = column.flatten() if pa.types.is_list(column.type) else column
    numbers = values.drop_null().to_numpy(zero_copy_only=False)
    if target.kind == "regression":
        wrong, expected = ~np.isfinite(numbers), "finite numbers, null where unknown"
    else:
        wrong, expected = (
            (numbers < 0) | (numbers >= len(target.classes)),
            f"0 to {len(target.classes) - 1}",
        )
    if wrong.any():
        yield problem("target-value", f"column {name}", expected, f"{numbers[wrong][0]}")


def _encoded(column: pa.Array) -> tuple[list[str | None], np.ndarray]:
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy(
        zero_copy_only=False
    )


def _codes(column: pa.Array) -> np.ndarray:
    return _encoded(column)[1].astype(np.int64)


def _numbers(column: pa.Array | None, rows: int) -> np.ndarray:
    return (
        np.zeros(rows, np.int64)
        if column is None
        else column.to_numpy(zero_copy_only=False).astype(np.int64)
    )


def _widths(column: pa.Array | None) -> list[int]:
    import pyarrow.compute as pc

    if column is None:
        return []
    return sorted(pc.unique(pc.binary_length(column.cast(pa.string()))).drop_null().to_pylist())
