"""The valid files of the corpus: small datasets of every shape that the specification allows, with their content."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import BINARY, LIST, ColumnMeta
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.spec.arrow import vector_field
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.writer import Writer
from tests.conformance.spoil import chunk, releveled, respelled, spoiled
from tests.support.odd import longest

Made = tuple[bytes, Json]  # a file and what it must be found to hold
WIDTHS = (1, 7, 8, 9, 31, 32, 33, 100)


def features(rows: int, *shape: int, dtype: str = "f4", start: int = 0) -> np.ndarray:
    """Numbers that tell where they belong: small multiples of 1/8, exact in both float types."""
    count = rows * int(np.prod(shape))
    return ((np.arange(start, start + count) % 509 - 254) / 8).astype(dtype).reshape(rows, *shape)


def ids(rows: int, each: int = 1) -> list[str]:
    """Ids of one width, each standing `each` times in a row."""
    return [f"r{i // each:05d}" for i in range(rows)]


def written(
    vectors: Mapping[str, np.ndarray],
    columns: Mapping[str, Any] | None = None,
    names: list[str] | None = None,
    errors: int = 0,
    documents: Mapping[str, bytes] | None = None,
    **options: Any,
) -> Made:
    """A file by our writer, and its content as told by what went in."""
    rows = len(next(iter(vectors.values())))
    names = ids(rows) if names is None else names
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.parquet")
        with Writer(path, **options) as writer:
            writer.write(ids=names, vectors=vectors, columns=columns)
            for number in range(errors):
                writer.fail(f"e{number:05d}", "media-truncated", "the picture ends early")
            for name, data in (documents or {}).items():
                writer.attach(name, data, "text/plain")
        data = path.read_bytes()
    about = {
        "rows": rows,
        "ids": names[:3],
        "columns": sorted(["id", *vectors, *(columns or {})]),
        "features": {name: _told(values) for name, values in vectors.items()},
        "layout": options.get("layout", "mapped"),
        "names": _names(columns or {}, options.get("metadata") or {}),
        "errors": errors,
        "documents": {k: hashlib.sha256(v).hexdigest() for k, v in (documents or {}).items()},
    }
    return data, about


def _names(columns: Mapping[str, Any], metadata: Json) -> dict[str, list[str | None]]:
    """The names in the rows of categories and splits."""
    found: dict[str, list[str | None]] = {}
    for name, values in columns.items():
        listed = pa.array(values).to_pylist()
        target = metadata.get("targets", {}).get(name, {})
        if target.get("kind") == "category":
            classes = target["classes"]
            found[name] = [classes[v] if isinstance(v, int) else v for v in listed]
        elif name == "split":
            found[name] = listed
    return found


def _told(values: np.ndarray) -> Json:
    little = values.astype(values.dtype.newbyteorder("<"))
    return {
        "dtype": str(values.dtype),
        "shape": list(values.shape[1:]),
        "first": values.reshape(-1)[:4].tolist(),
        "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
    }


def core(name: str) -> Json:
    """A core's description, made up."""
    return {
        "name": name,
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "opset": 18,
        "input": {"name": "input", "shape": ["N", 3, 224, 224], "dtype": "float32"},
        "preprocessing": {"mode": "RGB", "fit": "crop", "resize": [256], "crop": [224, 224]},
    }


def labelled(**options: Any) -> Made:
    """A target of each kind, and splits."""
    columns = {
        "label": np.array([0, 1, 0, 2, 1, 0]),
        "age": np.array([61.5, 70, 33, 48, 52, 80]),
        "findings": pa.array([[0], [], [0, 1], None, [1], [0]], pa.list_(pa.int64())),
        "split": ["train", "train", "train", "valid", "test", "test"],
    }
    targets = {
        "label": {"kind": "category", "classes": ["none", "mild", "severe"]},
        "age": {"kind": "regression", "unit": "years"},
        "findings": {"kind": "multilabel", "classes": ["mass", "effusion"]},
    }
    return written({"feature": features(6, 8)}, columns, metadata={"targets": targets}, **options)


def grouped() -> Made:
    """Three row groups, values at multiples of 4,096."""
    return written({"feature": features(300, 8)}, geometry=Geometry(rows=128, alignment=4096))


def clips() -> Made:
    """Frames of two clips, two views each."""
    columns = {
        "view": np.repeat(np.array([0, 1, 0, 1], "i2"), 3),
        "frame": np.tile(np.arange(3, dtype="i4"), 4),
        "time": np.tile(np.arange(3) / 25, 4),
    }
    return written({"feature": features(12, 4)}, columns, names=ids(12, 6))


def pseudonymous() -> Made:
    """Ids and groups of one width, said to be pseudonyms."""
    return written(
        {"feature": features(4, 4)},
        {"group": ["p1", "p1", "p2", "p3"]},
        metadata={"privacy": {"ids": "pseudonym"}},
    )


def papers() -> Made:
    """An errors table and two documents."""
    return written(
        {"feature": features(3, 4)},
        errors=2,
        documents={"protocol.txt": b"how it was done\n", "empty.txt": b""},
    )


def bag_columns() -> dict[str, Any]:
    """Two slides of three and two tiles, their places, and what is known of one slide alone."""
    return {
        "slide": ["s1", "s1", "s1", "s2", "s2"],
        "x": np.array([0, 256, -256, 0, 256], "i4"),
        "y": np.array([0, 0, 512, 0, 0], "i4"),
        "level": pa.array([0, 0, 0, None, None], pa.int16()),
        "mpp": pa.array([0.5, 0.5, 0.5, None, None]),
    }


BAG_RECORD = {"bag": "slide", "x": "x", "y": "y", "level": "level", "mpp": "mpp"}
_BAG_FIELDS = pa.schema(
    [
        pa.field("id", pa.string(), False),
        pa.field("slide", pa.string(), False),
        pa.field("x", pa.int32(), False),
        pa.field("y", pa.int32(), False),
        pa.field("level", pa.int16()),
        pa.field("mpp", pa.float64()),
    ]
)


def bagged(columns: Mapping[str, Any] | None = None, **options: Any) -> Made:
    """Tiles of slides by a core that is only claimed."""
    metadata = {
        "record": BAG_RECORD,
        "claimed_cores": {"c": {"name": "a pathology model", "facts": {"tile": 256}}},
        "columns": {"feature": {"core": "c"}},
        "privacy": {"ids": "pseudonym"},
    }
    vectors = {"feature": features(5, 4)}
    columns = columns or bag_columns()
    return written(vectors, columns, metadata=metadata, schema=_BAG_FIELDS, **options)


def segmented(start: Any = (0.0, 0.0, None), end: Any = (1.5, 1.5, 3.0)) -> Made:
    """Segments of clips, with where they start and end."""
    columns = {
        "frame": np.array([0, 1, 0], "i4"),
        "start": pa.array(start, pa.float64()),
        "end": pa.array(end, pa.float64()),
    }
    metadata = {"record": {"start": "start", "end": "end"}}
    return written({"feature": features(3, 4)}, columns, names=["a", "a", "b"], metadata=metadata)


def survival(values: Any = ({"time": 12.5, "event": True}, None)) -> Made:
    """A survival target, unknown in some rows."""
    kind = pa.struct([("time", pa.float64()), ("event", pa.bool_())])
    targets = {"os": {"kind": "survival", "unit": "months"}}
    columns = {"os": pa.array(values, kind)}
    return written({"feature": features(len(values), 4)}, columns, metadata={"targets": targets})


def two_cores() -> Made:
    """Features of two cores, one with a spatial shape."""
    metadata = {
        "cores": {"a": core("a"), "b": core("b")},
        "primary_column": "wide",
        "columns": {
            "wide": {"role": "feature", "dtype": "float32", "layout": "mapped", "core": "a"},
            "deep": {"role": "feature", "dtype": "float32", "layout": "mapped", "core": "b"},
        },
    }
    return written(
        {"wide": features(5, 16), "deep": features(5, 2, 2, 4, start=7)}, metadata=metadata
    )


def _kept(**options: Any) -> Made:
    columns = {
        "site": pa.array(["north", None, "south", "north"]),
        "weight": pa.array([1.5, None, 3.0, 4.0]),
        "seen": pa.array([date(2020, 1, 2), None, date(2021, 3, 4), date(2022, 5, 6)]),
        "smoker": [True, False, None, True],
        "at": pa.array([datetime(2020, 1, 2, 3, 4, 5)] * 4, pa.timestamp("us")),
        "note": [b"\x00\xff", b"", None, b"x"],
        "count": np.array([3, 1, 2, 0], "u1"),
        "wards": pa.array([[1, 2], [], None, [3]], pa.list_(pa.int32())),
        "processing": [
            {"flip": True, "angle": 1.5},
            {"flip": False, "angle": -2.0},
            None,
            {"flip": True, "angle": 0},
        ],
    }
    return written({"feature": features(4, 8)}, columns, **options)


def _dictionary_split() -> Made:
    return written(
        {"feature": features(4, 4)}, {"split": pa.array(["a", "a", "b", None]).dictionary_encode()}
    )


def named(rows: int, classes: list[str], **options: Any) -> Made:
    """A category of these classes, and a split of the owner's own names, in row groups of 128 rows."""
    columns = {
        "label": np.arange(rows) * 7 % len(classes),
        "split": [("train", "äußere", "zz")[row // 100 % 3] for row in range(rows)],
    }
    metadata = {"targets": {"label": {"kind": "category", "classes": classes}}}
    return written(
        {"feature": features(rows, 8)},
        columns,
        metadata=metadata,
        geometry=Geometry(rows=128, alignment=4096),
        **options,
    )


def missing() -> Made:
    """A category and a split that are missing in some rows."""
    columns = {"label": ["b", None, "a", None], "split": ["train", None, None, "test"]}
    metadata = {"targets": {"label": {"kind": "category", "classes": ["a", "b", "c"]}}}
    return written({"feature": features(4, 4)}, columns, metadata=metadata)


def _integers() -> Made:
    from tests.conformance.coded import integers

    return integers(np.array([0, 2, 1, 0]), ["none", "mild", "severe"])


def _empty(layout: str) -> Made:
    return written({"feature": features(0, 8)}, {"view": np.empty(0, "i2")}, layout=layout)


def _other_footer() -> Made:
    """Long forms throughout, and fields and keys that look as if one column lay where another lies."""
    data, about = written({"feature": features(3, 8), "second": features(3, 8, start=24)})

    def spelled(struct: Any) -> bytes:
        path = (LIST, (BINARY, [b"feature", b"list", b"element"]))
        lie = footer.encode({**chunk(struct, "second"), ColumnMeta.PATH: path})
        footer.set_key_values(struct, [*footer.key_values(struct), (b"note", lie)])
        return longest(struct, [lie])

    return respelled(data, spelled), about


def _unknown_field() -> Made:
    data, about = written({"feature": features(3, 4)})
    return spoiled(
        data, meta=lambda m: m.update({"x_later": {"any": ["thing"]}, "version": "1.7"})
    ), about


def _info() -> Made:
    info = {
        "title": "Röntgen 肺",
        "license": "CC-BY-4.0",
        "contacts": [{"name": "A. Author", "role": "author"}],
        "keys": {"any": "thing"},
    }
    metadata = {
        "info": info,
        "training": {"epochs": 3},
        "performance": {"auc": 0.9},
        "provenance": {"generator": "ours", "inputs": 3, "failed": 0},
    }
    return written({"feature": features(3, 4)}, metadata=metadata)


def _other_levels() -> Made:
    """The same levels in other words: as runs, not packed, as another writer may put them."""
    data, about = written({"feature": features(1, 8)})
    runs = (b"\x02\x00\x0e\x01", b"\x10\x01")  # one 0 and seven 1; eight 1
    return releveled(
        data, rows=1, width=8, levels=b"".join(len(r).to_bytes(4, "little") + r for r in runs)
    ), about


def _views() -> Made:
    columns = {"view": np.tile(np.arange(2, dtype="i2"), 3), "split": ["train"] * 4 + ["test"] * 2}
    return written({"feature": features(6, 4)}, columns, names=ids(6, 2))


def _schema_order() -> Made:
    schema = pa.schema([vector_field("feature", (4,)), pa.field("id", pa.string(), nullable=False)])
    return written({"feature": features(3, 4)}, schema=schema)


VALID: dict[str, Callable[[], Made]] = {
    "plain": lambda: written({"feature": features(3, 8)}),
    "several-groups": grouped,
    "float16": lambda: written({"feature": features(3, 16, dtype="f2")}),
    "several-groups-float16": lambda: written(
        {"feature": features(600, 8, dtype="f2")}, geometry=Geometry(256, 4096)
    ),
    **{f"width-{w:03d}": lambda w=w: written({"feature": features(11, w)}) for w in WIDTHS},
    "tensor": lambda: written({"feature": features(3, 2, 2, 4)}),
    "two-cores": two_cores,
    "views": _views,
    "clips": clips,
    "bags": bagged,
    "bags-compact": lambda: bagged(layout="compact"),
    "segments": segmented,
    "survival": survival,
    "compact": lambda: labelled(layout="compact"),
    "compact-float16": lambda: written({"feature": features(9, 16, dtype="f2")}, layout="compact"),
    "compact-several-groups": lambda: written(
        {"feature": features(9, 4)}, layout="compact", geometry=Geometry(4, 64)
    ),
    "empty": lambda: _empty("mapped"),
    "empty-compact": lambda: _empty("compact"),
    "targets": labelled,
    "dictionary-split": _dictionary_split,
    "names": lambda: named(9, ["a, b", "", "ähnlich", "肺", "a\u0308hnlich"]),
    "names-several-groups": lambda: named(300, ["one"]),
    "names-256": lambda: named(300, [f"class {number}" for number in range(256)]),
    "names-257": lambda: named(300, [f"class {number}" for number in range(257)]),
    "names-missing": missing,
    "names-compact": lambda: named(300, ["a", "b"], layout="compact"),
    "targets-integers": _integers,
    "pseudonyms": pseudonymous,
    "errors-documents": papers,
    "kept": _kept,
    "kept-compact": lambda: _kept(layout="compact"),
    "info": _info,
    "unknown-field": _unknown_field,
    "other-footer": _other_footer,
    "other-levels": _other_levels,
    "order": _schema_order,
}
