"""Everything that a planned extraction will let out: column by column, string by string (`dof extract --dry-run`)."""

from __future__ import annotations

from typing import Any

from dof_arrow.extract import Extraction
from dof_arrow.schema import is_vector

_EXAMPLES = 5


def leaving(run: Extraction) -> dict[str, Any]:
    """`inputs`, `columns` (name, type, what it holds), `strings` that leave beside them, and the whole `metadata`.

    The metadata lacks what only the pictures can tell: their sizes, modes and formats, and which of them fail.
    """
    columns = [{"name": f.name, "type": _type(f), "holds": _holds(run, f.name)} for f in run.schema]
    columns.append({"name": "processing", "type": "struct", "holds": "size, mode, depth and format of each picture, "
                    "as far as the pictures differ"})
    return {"inputs": len(run.source), "columns": columns, "strings": _strings(run), "metadata": run.metadata()}


def _type(field: Any) -> str:
    return f"{field.type.value_type}[{field.type.list_size}]" if is_vector(field) else str(field.type)


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
        return frame + " in its clip" if name == "frame" else "its time, in seconds from the clip's start"
    return {"id": named, "group": named, "split": _split_sizes(run), "view": view}[name]


def _examples(run: Extraction, name: str) -> str:
    values = sorted(map(str, run.known(name).unique().to_pylist()))
    return f"{len(values)} different values, {', '.join(values[:_EXAMPLES])}{' …' if len(values) > _EXAMPLES else ''}"


def _split_sizes(run: Extraction) -> str:
    if run.splits is None:
        return ""
    counted = run.splits.value_counts().to_pylist()
    return ", ".join(f"{pair['values']} {pair['counts']:,}" for pair in sorted(counted, key=lambda p: str(p["values"])))


def _strings(run: Extraction) -> list[str]:
    lines = []
    for core in run.cores.values():
        about = core.describe()
        origin = f"cut at {about.cut or 'its output'}, from {about.source or 'an unnamed file'}"
        lines.append(f"core {about.name}, {origin}, "
                     f"licence {about.license or 'not stated'}, sha256 {about.sha256[:16]}…, its preprocessing")
    lines.append("versions of this program and of pyarrow")
    lines.append("how many inputs there were and failed, their sizes, modes and formats; failures by "
                 + ("pseudonym" if run.ids == "pseudonym" else "name") + " with the reason")
    lines.append("no path, no EXIF, no column of the table that is not named above")
    return lines
