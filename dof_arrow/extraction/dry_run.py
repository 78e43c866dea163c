"""What a run will write, known before anything is computed: how much, and all that it lets out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import Core
from dof_arrow.errors import DofError
from dof_arrow.extraction import clip_rows
from dof_arrow.extraction.combinations import Combinations, combinations
from dof_arrow.extraction.output_table import PROCESSING
from dof_arrow.extraction.raw_facts import RawFacts
from dof_arrow.extraction.run import Extraction
from dof_arrow.extraction.staging import blocks
from dof_arrow.format.parquet.row_groups import RowGroupWriter
from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import COUNTED, TYPES, Metadata
from dof_arrow.format.spec.names import is_names
from dof_arrow.format.writer import Writer
from dof_arrow.security.pseudonyms import PSEUDONYM_LENGTH
from dof_arrow.sources import clip
from dof_arrow.sources.sample import Sample
from dof_arrow.storage.atomic import CountedOutput

_AT_ONCE = 1024  # rows
_TRIED = 64  # inputs
_EXAMPLES = 5
_SPOKEN = {"PIL": "Pillow", "av": "PyAV"}  # libraries that people know by another name


# How much


class Sizer(Writer):
    """A Writer that writes nothing: after `close`, `size` is the size of the file not written.

    >>> import numpy
    >>> with Sizer() as sizer:
    ...     sizer.write(ids=["a" * 26], vectors={"feature": numpy.zeros((1, 128), "f4")})
    >>> sizer.size > 512
    True
    """

    def __init__(self, metadata: Mapping[str, Json] | None = None, **options: object) -> None:
        super().__init__(os.devnull, metadata, **options)  # type: ignore[arg-type]

    def _open(self, overwrite: bool) -> RowGroupWriter:
        self._counted = CountedOutput()
        return RowGroupWriter(self._counted, None)

    def _check(self, metadata: Metadata, schema: pa.Schema) -> None:
        """Nothing: names of rows that are not there are all alike."""

    @property
    def size(self) -> int:
        """Bytes of the file, complete after `close`."""
        return self._counted.size


def size_of_run(run: Extraction) -> int:
    """Bytes of the file that a run will write if all inputs can be read and are like the first one.

    It is exact to the byte then: the metadata is the real one. Reads one picture and asks for all
    files' sizes. Clips are asked for the times of their frames, and not decoded; facts that differ
    among them are left out.
    """
    table = run.table
    first = _first_facts(run)
    facts = _as_if_alike(run, first)
    about = table.metadata(facts)
    schema = table.schema_with(facts)
    part = run.destination.part
    with Sizer(about, schema=schema, layout=table.layout, part=part) as sizer:
        for block in _in_order(run):
            inputs: list[int] = []
            for number in block:
                inputs += [number] * _rows_of(run, number)
            columns = table.columns(inputs)
            columns |= _of_rows(run, len(inputs))
            if facts.type is not None:
                columns[PROCESSING] = _processing_like(run, facts, first, block, len(inputs))
            vectors = {}
            for name, core in run.cores.items():
                vectors[name] = np.zeros((len(inputs), *core.output_shape), table.dtype)
            sizer.write(ids=columns.pop("id"), vectors=vectors, columns=columns)
    return sizer.size


def _in_order(run: Extraction) -> Iterator[list[int]]:
    """Numbers of inputs as rows will stand: how well a column is packed depends on that."""
    inputs = run.table.inputs
    order = run.table.in_order()
    numbers = list(inputs)
    if order is not None:
        numbers = order[np.isin(order, numbers)].tolist()
    for block in blocks(len(numbers)):
        yield numbers[block.start : block.stop]


def _rows_of(run: Extraction, number: int) -> int:
    """How many rows an input will have; of a clip as its container says, 0 if it cannot be read."""
    if run.clips is None:
        return run.views.count
    with suppress(DofError):
        return clip_rows.count(run.source[number], run.job) * run.views.count
    return 0


def _of_rows(run: Extraction, rows: int) -> dict[str, Any]:
    """The columns that rows of one input differ in; those of clips are numbered through."""
    views = run.views.count
    if run.clips is None:
        return {"view": run.views.numbers(rows // views)} if views > 1 else {}
    # Columns of fixed width take as much whatever they hold, but that zeros alone have no bounds.
    columns = {"frame": np.arange(rows, dtype=np.int32), "time": np.arange(rows, dtype=np.float64)}
    if views > 1:
        columns["view"] = np.zeros(rows, np.int16)
    return columns


def _processing_like(
    run: Extraction, facts: RawFacts, first: Mapping[str, Json], block: list[int], rows: int
) -> pa.Array:
    """The column `processing` if all inputs were like the first one."""
    values = []
    for number in block:
        for draw in run.job.draws(run.source[number]):
            values.append({**first, **draw})
    column = pa.array(values, facts.type)
    if run.clips is None:
        return column
    return column.take(pa.array(np.zeros(rows, int)))


def _first_facts(run: Extraction) -> dict[str, Json]:
    """The facts of the first input that can be read; none if none of the first few can."""
    for index in run.table.inputs[:_TRIED]:
        with suppress(DofError):
            return _facts_of(run, run.source[index])
    return {}


def _as_if_alike(run: Extraction, first: Mapping[str, Json]) -> RawFacts:
    """What would be known of the inputs if all were like the first one, but for their bytes."""
    facts = run.facts()
    facts.add_alike(first, len(run.table.inputs))
    size = run.table.bytes_of_files()
    if size is not None or run.table.segments:  # as the run itself: clips come several times
        facts.bytes = size
    return facts


def _facts_of(run: Extraction, sample: Sample) -> dict[str, Json]:
    if run.clips is None:
        _, seen = sample.picture()
    else:
        seen = clip.open_clip(sample, run.clips).facts
    return {name: value for name, value in asdict(seen).items() if value is not None}


def size_of_rows(
    rows: int,
    shape: Sequence[int],
    *,
    core: Core | None = None,
    dtype: str = "float32",
    label: bool = False,
    group: bool = False,
) -> int:
    """Bytes of a file of `rows` features with pseudonyms, and labels and groups if asked.

    Exact but for what the metadata says beside the core.

    >>> size_of_rows(1000, (512,)) - 1000 * 512 * 4 < 50_000
    True
    """
    with Sizer(_about(core, label)) as sizer:
        for start in range(0, rows, _AT_ONCE):
            count = min(_AT_ONCE, rows - start)
            names = ["a" * PSEUDONYM_LENGTH] * count
            columns: dict[str, Any] = {}
            if label:
                columns["label"] = np.zeros(count, np.int64)
            if group:
                columns["group"] = names
            vectors = {"feature": np.zeros((count, *shape), dtype)}
            sizer.write(ids=names, vectors=vectors, columns=columns)
    return sizer.size


def _about(core: Core | None, label: bool) -> dict[str, Json]:
    about: dict[str, Json] = {}
    if label:
        about["targets"] = {"label": {"kind": "category", "classes": ["0", "1"]}}
    if core is None:
        return about
    return {
        **about,
        "cores": {"feature": to_json(core.describe())},
        "columns": {"feature": {"core": "feature", "tensor": core.output_name}},
    }


# All that it lets out


def told_apart(run: Extraction) -> Combinations:
    """How many inputs could be told by what leaves with them beside the features.

    Counted are targets and kept columns, and where exact facts leave, these: for them every input
    is read. Inputs that fail have none.
    """
    table = run.table
    names = [*run.source.targets, *run.source.kept]
    columns = {name: table.known(name) for name in names}
    if table.facts == "exact":
        columns |= _facts_of_all(run)
    return combinations(columns, table.groups)


def _facts_of_all(run: Extraction) -> dict[str, pa.Array]:
    values: dict[str, list[Json]] = {name: [] for name in COUNTED}
    for number in run.table.inputs:
        facts: Mapping[str, Json] = {}
        with suppress(DofError):
            facts = _facts_of(run, run.source[number])
        for name, column in values.items():
            column.append(facts.get(name))
    return {name: pa.array(column, TYPES[name]) for name, column in values.items()}


def leaving(run: Extraction) -> dict[str, Any]:
    """All that will leave: `inputs`, `columns`, `strings`, `metadata`.

    `inputs` is their number; each of `columns` has a `name`, a `type` and what it `holds`;
    `strings` say in words what leaves beside the columns. `metadata` is the file's, without what
    only the inputs can tell: their sizes, modes and formats, and which of them fail.
    """
    columns = []
    for field in run.schema:
        holds = _holds(run, field.name)
        columns.append({"name": field.name, "type": _type(field), "holds": holds})
    if run.facts().type is not None:
        own = {"name": PROCESSING, "type": "struct", "holds": _processing(run)}
        columns.insert(len(columns) - len(run.cores), own)  # where the file has it
    return {
        "inputs": len(run.table.inputs),
        "columns": columns,
        "strings": _strings(run),
        "metadata": run.metadata(),
    }


def _type(field: Any) -> str:
    if is_vector(field):
        return f"{field.type.value_type}[{field.type.list_size}]"
    return "names" if is_names(field.type) else str(field.type)


def _holds(run: Extraction, name: str) -> str:
    if name in run.cores:
        return f"features of {run.cores[name].name}"
    if name in run.source.targets:
        target = run.source.targets[name]
        classes = ", ".join(target.classes)
        return f"{target.kind}: {classes}" if classes else target.kind
    if name in run.source.kept:
        return "copied from the table: " + _examples(run, name)
    if name == "split":
        return _split_sizes(run)
    if name == "view":
        return f"number of the view, 0 to {run.views.count - 1}; 0 is the plain picture"
    if name == "frame":
        windows = any(core.time_axis is not None for core in run.cores.values())
        whole = "segment" if run.table.segments else "clip"
        return f"number of the {'window' if windows else 'frame'} in its {whole}"
    if name == "time":
        return "its time, in seconds from the clip's start"
    if name in run.table.spans:
        return (
            f"where the segment {name.removeprefix('segment_')}s, in seconds from the clip's start"
        )
    assert name in ("id", "group")
    return "pseudonyms" if run.table.ids == "pseudonym" else "the inputs' own names"


def _processing(run: Extraction) -> str:
    told = []
    # A directory may have the facts of its earlier rows: then those of new ones join them.
    if run.destination.own_facts(run.table.facts):
        told.append("size, mode, depth, format and such of each picture")
    if run.views.count > 1:
        told.append("the numbers that its view was made with")
    return "; ".join(told)


def _examples(run: Extraction, name: str) -> str:
    values = sorted(map(str, run.table.known(name).unique().to_pylist()))
    shown = ", ".join(values[:_EXAMPLES])
    more = " …" if len(values) > _EXAMPLES else ""
    return f"{len(values)} different values, {shown}{more}"


def _split_sizes(run: Extraction) -> str:
    if run.splits is None:
        return ""
    sizes = {}
    for pair in run.splits.value_counts().to_pylist():
        sizes[str(pair["values"])] = pair["counts"]
    return ", ".join(f"{name} {sizes[name]:,}" for name in sorted(sizes))


def _strings(run: Extraction) -> list[str]:
    lines = [_core_line(core) for core in run.cores.values()]
    versions = []
    for name, version in run.table.libraries.items():
        versions.append(f"{_SPOKEN.get(name, name)} {version}")
    lines.append(f"versions of this program and its libraries: {', '.join(versions)}")
    lines += _run_lines(run)
    named = "pseudonym" if run.table.ids == "pseudonym" else "name"
    lines.append(
        "how many inputs there were and failed, about how many bytes they have, how many are in "
        "each class of sizes, modes, depths, formats, numbers of frames, EXIF orientations, lowest "
        "and highest values, where five are; "
        f"failures by {named} with the reason"
    )
    lines.append("digests of the file's contents, and an id and a seal made of them")
    lines.append(
        "no path, no EXIF tag but the orientation, "
        "no column of the table or DICOM attribute that is not named above"
    )
    return lines


def _core_line(core: Core) -> str:
    about = core.describe()
    return (
        f"core {about.name}, cut at {about.cut or 'its output'}, "
        f"from {about.source or 'an unnamed file'}, licence {about.license or 'not stated'}, "
        f"sha256 {about.sha256[:16]}…, the shape of its input, its preprocessing"
    )


def _run_lines(run: Extraction) -> list[str]:
    """What leaves of the run itself."""
    lines = [
        f"a digest of this run, {run.run_digest[:16]}…: whoever has the key for pseudonyms can "
        "tell with it whether inputs and options were the same, nobody else can"
    ]
    others = [core.provider for core in run.cores.values() if core.provider != "cpu"]
    if others:
        rows = run.table.batch_size
        lines.append(f"what ran the cores: {', '.join(others)}, {rows} rows at a time")
    if run.table.order == "source" and run.table.ids == "pseudonym":
        lines.append(
            "the order of the source: names, sizes or times in that order tell whose row is whose"
        )
    if run.views.count > 1:
        lines.append("how the views were augmented")
    if run.clips is not None:
        lines.append("which frames of the clips were taken")
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdecimal():
        lines.append(f"the time of SOURCE_DATE_EPOCH, {epoch}")
    return lines
