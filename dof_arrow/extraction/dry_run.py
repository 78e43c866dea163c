"""What a run will write, known before anything is computed: its size, and all that it lets out (row D19)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import Core
from dof_arrow.errors import DofError
from dof_arrow.extraction.run import Extraction
from dof_arrow.extraction.staging import blocks
from dof_arrow.format.parquet.row_groups import RowGroupWriter
from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.writer import Writer
from dof_arrow.security.pseudonyms import PSEUDONYM_LENGTH
from dof_arrow.sources import clip, input_table
from dof_arrow.storage.atomic import CountedOutput

_AT_ONCE = 1024  # rows
_TRIED = 64  # inputs
_EXAMPLES = 5


class Sizer(Writer):
    """A Writer that writes nothing; after `close`, `size` is the size of the file it would have made.

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

    @property
    def size(self) -> int:
        """Bytes of the file, complete after `close`."""
        return self._counted.size


def size_of_run(run: Extraction) -> int:
    """Bytes of the file that a planned extraction will write if every input can be read and is like the first.

    Exact to the byte then: the metadata is the real one. Reads one picture and asks for all files' sizes. Clips are
    asked for their frames' times, and not decoded; of theirs the facts that differ are left out.
    """
    facts, first = run.facts(), _like_the_first(run)
    schema = run.schema_with(facts)
    with Sizer(run.metadata(first), schema=schema, layout=run.layout, part=run.part) as sizer:
        for block in blocks(len(run.source)):
            rows = [number for number in block for _ in range(run.rows_of(number))]
            columns = run.columns(rows)
            if run.clips is not None:
                columns |= _of_clips(run, len(rows))
            if facts.type is not None:
                draws = [draw for number in block for draw in run.views.draws(number)]
                drawn = pa.array([{**first, **draw} for draw in draws], facts.type)
                columns["processing"] = (
                    drawn if run.clips is None else drawn.take(pa.array(np.zeros(len(rows), int)))
                )
            vectors = {
                n: np.zeros((len(rows), *c.output_shape), run.dtype) for n, c in run.cores.items()
            }
            sizer.write(ids=columns.pop("id"), vectors=vectors, columns=columns)
    return sizer.size


def _of_clips(run: Extraction, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """The columns that rows of one clip differ in."""
    view = {"view": np.zeros(rows, np.int16)} if run.views.count > 1 else {}
    return {**view, "frame": np.zeros(rows, np.int32), "time": np.zeros(rows)}


def _like_the_first(run: Extraction) -> dict[str, Json]:
    """What the metadata would say of the raw inputs if all were like the first one that can be read."""
    source = run.source
    for index in range(min(len(source), _TRIED)):
        with suppress(DofError):
            sample = source[index]
            seen = (
                sample.picture()[1]
                if run.clips is None
                else clip.open_clip(sample, run.clips).facts
            )
            facts = {n: value for n, value in asdict(seen).items() if value is not None}
            return {**facts, "bytes": input_table.size(source) or facts["bytes"] * len(source)}
    return {}


def size_of_rows(
    rows: int,
    shape: Sequence[int],
    *,
    core: Core | None = None,
    dtype: str = "float32",
    label: bool = False,
    group: bool = False,
) -> int:
    """Bytes of a file of `rows` features of this shape with pseudonyms, and label codes and groups if asked.

    Exact but for what the metadata says beside the core.

    >>> size_of_rows(1000, (512,)) - 1000 * 512 * 4 < 50_000
    True
    """
    with Sizer(_about(core)) as sizer:
        for start in range(0, rows, _AT_ONCE):
            count = min(_AT_ONCE, rows - start)
            names = ["a" * PSEUDONYM_LENGTH] * count
            columns = {
                **({"label": np.zeros(count, np.int64)} if label else {}),
                **({"group": names} if group else {}),
            }
            sizer.write(
                ids=names, vectors={"feature": np.zeros((count, *shape), dtype)}, columns=columns
            )
    return sizer.size


def _about(core: Core | None) -> dict[str, Json]:
    if core is None:
        return {}
    return {
        "cores": {"feature": to_json(core.describe())},
        "columns": {"feature": {"core": "feature", "tensor": core.output_name}},
    }


def leaving(run: Extraction) -> dict[str, Any]:
    """`inputs`, `columns` (name, type, what it holds), `strings` that leave beside them, and the whole `metadata`.

    The metadata lacks what only the pictures can tell: their sizes, modes and formats, and which of them fail.
    """
    columns = [{"name": f.name, "type": _type(f), "holds": _holds(run, f.name)} for f in run.schema]
    columns.append(
        {
            "name": "processing",
            "type": "struct",
            "holds": "size, mode, depth and format of each picture, as far as the pictures differ",
        }
    )
    return {
        "inputs": len(run.source),
        "columns": columns,
        "strings": _strings(run),
        "metadata": run.metadata(),
    }


def _type(field: Any) -> str:
    return (
        f"{field.type.value_type}[{field.type.list_size}]" if is_vector(field) else str(field.type)
    )


def _holds(run: Extraction, name: str) -> str:
    named = "pseudonyms" if run.ids == "pseudonym" else "the inputs' own names"
    if name in run.cores:
        return f"features of {run.cores[name].name}"
    if name in run.source.targets:
        target = run.source.targets[name]
        return f"{target.kind}: {', '.join(target.classes)}" if target.classes else target.kind
    if name in run.source.kept:
        return "copied from the table: " + _examples(run, name)
    view = f"number of the view, 0 to {run.views.count - 1}; 0 is the plain picture"
    frame = f"number of the {'window' if any(c.time_axis is not None for c in run.cores.values()) else 'frame'}"
    if name in ("frame", "time"):
        return (
            frame + " in its clip"
            if name == "frame"
            else "its time, in seconds from the clip's start"
        )
    return {"id": named, "group": named, "split": _split_sizes(run), "view": view}[name]


def _examples(run: Extraction, name: str) -> str:
    values = sorted(map(str, run.known(name).unique().to_pylist()))
    return f"{len(values)} different values, {', '.join(values[:_EXAMPLES])}{' …' if len(values) > _EXAMPLES else ''}"


def _split_sizes(run: Extraction) -> str:
    if run.splits is None:
        return ""
    counted = run.splits.value_counts().to_pylist()
    return ", ".join(
        f"{pair['values']} {pair['counts']:,}"
        for pair in sorted(counted, key=lambda p: str(p["values"]))
    )


def _strings(run: Extraction) -> list[str]:
    lines = []
    for core in run.cores.values():
        about = core.describe()
        origin = f"cut at {about.cut or 'its output'}, from {about.source or 'an unnamed file'}"
        lines.append(
            f"core {about.name}, {origin}, "
            f"licence {about.license or 'not stated'}, sha256 {about.sha256[:16]}…, its preprocessing"
        )
    lines.append("versions of this program and of pyarrow")
    lines.append(
        "how many inputs there were and failed, their sizes, modes and formats; failures by "
        + ("pseudonym" if run.ids == "pseudonym" else "name")
        + " with the reason"
    )
    lines.append("no path, no EXIF, no column of the table that is not named above")
    return lines
