"""Datasets of several files: a valid one, and what is wrong with others, each with the ids it must get (SPEC 8)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dof_arrow.format import append
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.parquet.row_groups import content_uuid
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.writer import Writer
from tests.conformance.spoil import spoiled
from tests.conformance.valid import _told, features

Files = dict[str, bytes]
MANIFEST, FIRST, SECOND = "manifest.parquet", "data-000000.parquet", "data-000001.parquet"
_GEOMETRY = Geometry(128, 4096)


def _part(
    path: Path, start: int, rows: int, names: Sequence[str] | None = None, **options: Any
) -> Path:
    about = {"targets": {"label": {"kind": "category", "classes": ["a", "b"]}}}
    schema = pa.schema([pa.field("label", pa.int64())])
    with Writer(path, about, schema=schema, geometry=_GEOMETRY, part=True, **options) as writer:
        names = names or [f"r{i:05d}" for i in range(start, start + rows)]
        writer.write(
            ids=names,
            vectors={"feature": features(rows, 8, start=8 * start)},
            columns={"label": pa.array([i % 2 for i in range(rows)]), "split": ["train"] * rows},
        )
        writer.fail(f"e{start:05d}", "media-truncated", "the picture ends early")
    return path


@cache
def _made() -> Files:
    with tempfile.TemporaryDirectory() as folder:
        parts = [_part(Path(folder, "a"), 0, 256), _part(Path(folder, "b"), 256, 3)]
        whole = Path(folder, "x.dof")
        append.append(whole, *parts)
        return {path.name: path.read_bytes() for path in sorted(whole.iterdir())}


def directory() -> tuple[Files, Json]:
    """Two parts that map as one array, and what they hold."""
    values = np.concatenate([features(256, 8), features(3, 8, start=2048)])
    about = {
        "rows": 259,
        "ids": [f"r{i:05d}" for i in range(3)],
        "columns": ["feature", "id", "label", "split"],
        "features": {"feature": _told(values)},
        "layout": "mapped",
        "names": {
            "label": [*["a", "b"] * 128, "a", "b", "a"],
            "split": ["train"] * 259,
        },
        "errors": 2,
        "documents": {},
    }
    return _made(), about


def _with(name: str, data: bytes | None) -> Files:
    files = {**_made(), name: data}
    return {name: data for name, data in files.items() if data is not None}


def _manifest(change: Callable[[Json], None]) -> Files:
    return _with(
        MANIFEST, spoiled(_made()[MANIFEST], meta=lambda value: (_restored(value), change(value)))
    )


def _json(name: str) -> Json:
    return json.loads(pq.read_schema(pa.BufferReader(_made()[name])).metadata[b"dof"])


def _restored(value: Json) -> None:
    """The uuid of a manifest is that of its parts, not of its own segments, which `spoiled` derives it from."""
    uuids = [_json(name)["uuid"] for name in (FIRST, SECOND)]
    value["uuid"] = content_uuid([bytes.fromhex(uuid.replace("-", "")) for uuid in uuids], [])


def _other_part(**options: Any) -> Files:
    """Another file as the second part, which the manifest lists with its size, rows and seal."""
    with tempfile.TemporaryDirectory() as folder:
        data = _part(Path(folder, "b"), options.pop("start", 256), 3, **options).read_bytes()
    return {**_listing(SECOND, data), SECOND: data}


def _listing(name: str, data: bytes) -> Files:
    seal = pq.read_metadata(pa.BufferReader(data)).metadata[digests.SEAL].decode()

    def change(value: Json) -> None:
        part = next(p for p in value["parts"] if p["name"] == name)
        part |= {"bytes": len(data), "seal": seal}

    return _manifest(change)


def _renamed() -> Files:
    """A part whose column of vectors has another name."""

    def meta(value: Json) -> None:
        value["columns"] = {
            ("other" if k == "label" else k): v for k, v in value["columns"].items()
        }
        value["targets"] = {"other": value["targets"]["label"]}

    def schema(table: pa.Schema) -> pa.Schema:
        return pa.schema(
            [f.with_name("other") if f.name == "label" else f for f in table], table.metadata
        )

    def chunks(struct: Any) -> None:
        for _, _, chunk in footer.chunks(struct):
            path = footer.items(chunk, footer.ColumnMeta.PATH)
            if path == [b"label"]:
                footer.put(chunk, footer.ColumnMeta.PATH, (footer.BINARY, [b"other"]))

    data = spoiled(_made()[SECOND], meta=meta, schema=schema, footer=chunks)
    return {**_listing(SECOND, data), SECOND: data}


def _classes() -> Files:
    data = spoiled(_made()[SECOND], meta=lambda v: v["targets"]["label"].update(classes=["b", "a"]))
    return {**_listing(SECOND, data), SECOND: data}


def _rowed() -> Files:
    """A manifest with rows of its own."""
    with tempfile.TemporaryDirectory() as folder:
        data = _part(Path(folder, "m"), 600, 3).read_bytes()
    parts = _json(MANIFEST)["parts"]
    return _with(MANIFEST, spoiled(data, meta=lambda v: v.update(parts=parts)))


def _twice(value: Json) -> None:
    value["parts"] = [value["parts"][0], *value["parts"]]


def _with_old_ids() -> Files:
    return _other_part(names=["r00001", "r00500", "r00501"])


DIRECTORIES: dict[str, tuple[Callable[[], Files], Sequence[str], Sequence[str]]] = {
    "part-missing": (lambda: _with(SECOND, None), ["part-missing"], ["part-missing"]),
    "part-changed": (
        lambda: _with(SECOND, _other_part(start=300)[SECOND]),
        ["metadata-uuid", "part-changed"],
        ["metadata-uuid", "part-changed"],
    ),
    "part-columns": (_renamed, ["part-columns"], ["part-columns"]),
    "part-metadata": (_classes, ["part-metadata"], ["part-metadata"]),
    "part-repeated": (lambda: _manifest(_twice), ["part-repeated"], ["part-repeated"]),
    "manifest-rows": (
        _rowed,
        ["manifest-rows", "metadata-uuid"],
        ["manifest-rows", "metadata-uuid", "split-count"],
    ),
    "manifest-splits": (
        lambda: _manifest(lambda v: v["splits"]["train"].update(rows=1)),
        [],
        ["split-count"],
    ),
    "manifest-uuid": (
        lambda: _manifest(lambda v: v.update(uuid="0" * 8 + "-0000-8000-8000-" + "0" * 12)),
        ["metadata-uuid"],
        ["metadata-uuid"],
    ),
    "directory-stray": (
        lambda: {**_made(), "data-000002.parquet": _made()[SECOND]},
        ["directory-stray"],
        ["directory-stray"],
    ),
    "directory-ids": (_with_old_ids, ["metadata-uuid"], ["id-repeated", "metadata-uuid"]),
}
