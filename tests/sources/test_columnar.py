"""Pictures in a column of Parquet and Arrow files."""

from __future__ import annotations

import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dof_arrow.errors import PictureError, SourceError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources import column_files
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.open import open_source

_SIGNS = {"feature": {"names": ["x", "y", "z"], "_type": "ClassLabel"}, "_type": "List"}
_LABEL = {"names": ["zebra", "ant"], "_type": "ClassLabel"}
FEATURES = json.dumps(
    {"info": {"features": {"image": {"_type": "Image"}, "label": _LABEL, "signs": _SIGNS}}}
)


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def table(count: int = 10, *, paths: bool = True, first: int = 0, **columns: Any) -> pa.Table:
    pictures = [
        {"bytes": png(i), "path": f"p{i + first}.png" if paths else None} for i in range(count)
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table(
        {"image": pa.array(pictures, kind), **{n: pa.array(v) for n, v in columns.items()}}
    )


def grey(source: Listing, index: int) -> int:
    return int(source[index].picture(mode="L")[0][0, 0, 0])


def stored(made: pa.Table, path: Path, form: str) -> Path:
    if form == "parquet":
        pq.write_table(made, path, row_group_size=4)
    else:
        new = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, new(sink, made.schema) as writer:
            writer.write_table(made, max_chunksize=4)
    return path


@pytest.mark.parametrize("form", ["parquet", "file", "stream"])
def test_pictures_in_a_column_with_others_beside(form: str, tmp_path: Path) -> None:
    rows = np.arange(10)
    who = [f"p{row // 3}" for row in rows]
    made = table(label=rows % 2, who=who, age=rows.astype(float))
    source = open_source(
        stored(made, tmp_path / "x", form), label="label", group="who", keep=["age"]
    )
    assert len(source) == 10 and source.targets == {
        "label": Target(kind="category", classes=("0", "1"))
    }
    assert (source[7].key, source[7].group, source[7].kept) == ("p7.png", "p2", {"age": 7})
    assert source[7].target == {"label": 1}
    assert [grey(source, i) for i in (9, 0, 5, 4, 3)] == [9, 0, 5, 4, 3]
    again = pickle.loads(pickle.dumps(source))
    assert grey(again, 8) == 8 and again[8].stamp() == source[8].stamp()


def test_threads_read_the_same_pictures(tmp_path: Path) -> None:
    source = open_source(stored(table(40), tmp_path / "x", "parquet"))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: grey(source, i), range(40))) == list(range(40))
    assert column_files.group.cache_info().currsize <= 4


def test_class_names_are_those_of_the_file(tmp_path: Path) -> None:
    made = table(4, label=[0, 1, -1, 1], signs=[[0, 2], [], None, [1]])
    path = stored(
        made.replace_schema_metadata({"huggingface": FEATURES}), tmp_path / "x", "parquet"
    )
    source = open_source(path, label="label")
    assert source.targets["label"] == Target(kind="category", classes=("zebra", "ant"))
    assert [source[i].target["label"] for i in range(4)] == [0, 1, None, 1]
    several = open_source(path, label="signs")
    assert several.targets["signs"] == Target(kind="multilabel", classes=("x", "y", "z"))
    assert [several[i].target["signs"] for i in range(4)] == [[0, 2], [], None, [1]]
    stored(
        table(2, label=[0, 7]).replace_schema_metadata({"huggingface": FEATURES}), path, "parquet"
    )
    with pytest.raises(SourceError, match="none of the classes"):
        open_source(path, label="label")


def test_a_folder_of_shards_tells_the_splits_by_its_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, first in (
        ("train-00000-of-00001", 0),
        ("validation-00000-of-00001", 20),
        ("test-00000-of-00001", 40),
    ):
        stored(
            table(3, first=first, label=[0, 1, 1]), tmp_path / "data" / f"{name}.parquet", "parquet"
        )
    source = open_source(tmp_path, label="label", split="split")
    assert [source[i].split for i in range(9)] == ["test"] * 3 + ["train"] * 3 + ["valid"] * 3
    assert [source[i].key for i in (0, 3, 8)] == ["p40.png", "p0.png", "p22.png"]


def test_what_the_datasets_library_writes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["b", "a"])}
    )
    made = datasets.Dataset.from_dict(
        {"image": [{"bytes": png(i), "path": None} for i in range(5)], "label": [0, 1, 1, 0, 1]},
        features=features,
    )
    made.to_parquet(str(tmp_path / "x.parquet"))
    made.save_to_disk(str(tmp_path / "saved"))
    for path in (tmp_path / "x.parquet", tmp_path / "saved"):
        source = open_source(path, label="label")
        assert source.targets["label"].classes == ("b", "a") and source[4].key == "4"
        assert [grey(source, i) for i in range(5)] == [0, 1, 2, 3, 4] and source[3].target == {
            "label": 0
        }


def test_plain_bytes_and_rows_without_them(tmp_path: Path) -> None:
    made = pa.table(
        {"a": pa.array([png(1), None, png(3)], pa.large_binary()), "n": ["x", "y", "z"]}
    )
    source = open_source(stored(made, tmp_path / "x", "parquet"), key="n")
    assert [source[i].key for i in range(3)] == ["x", "y", "z"] and grey(source, 2) == 3
    with pytest.raises(PictureError) as caught:
        source[1].load()
    assert caught.value.rule == "missing"


def test_what_cannot_be_meant(tmp_path: Path) -> None:
    both = pa.table(
        {"a": pa.array([png(1)]), "b": pa.array([png(2)]), "nested": pa.array([{"x": 1}])}
    )
    path = stored(both, tmp_path / "x.parquet", "parquet")
    with pytest.raises(SourceError, match="--pictures a"):
        open_source(path)
    assert grey(open_source(path, pictures="b"), 0) == 2
    with pytest.raises(UsageError, match="found bb"):
        open_source(path, pictures="bb")
    with pytest.raises(UsageError, match="neither numbers nor texts"):
        open_source(path, pictures="b", keep=["nested"])
    with pytest.raises(SourceError, match="no column of pictures"):
        open_source(stored(pa.table({"a": [1]}), tmp_path / "x.parquet", "parquet"))
    path.write_bytes(b"PAR1 broken")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        open_source(path)


def test_a_parquet_table_beside_pictures(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in "ab":
        (tmp_path / "pictures" / f"{name}.png").write_bytes(png(1))
    about = pa.table(
        {
            "file": ["a", "b"],
            "finding": pa.array(["flu", "ok"]).dictionary_encode(),
            "age": [61, None],
            "secret": ["Erika", "Max"],
        }
    )
    pq.write_table(about, tmp_path / "t.parquet")
    source = open_source(
        tmp_path / "pictures",
        table=tmp_path / "t.parquet",
        key="file",
        label="finding",
        keep=["age"],
    )
    assert [(source[i].target, source[i].kept) for i in range(2)] == [
        ({"finding": 0}, {"age": 61}),
        ({"finding": 1}, {"age": None}),
    ]
    assert b"Erika" not in pickle.dumps(source)
    with pytest.raises(UsageError, match="Did you mean finding"):
        open_source(
            tmp_path / "pictures", table=tmp_path / "t.parquet", key="file", label="findings"
        )
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match="the table is damaged"):
        open_source(tmp_path / "pictures", table=tmp_path / "t.parquet", key="file")


def _views() -> dict[str, pa.Array]:
    """Columns of pictures in the types that polars, DuckDB and Arrow itself write."""
    raw = [png(level) for level in range(6)]
    structs = [{"bytes": data, "path": f"{place}.png"} for place, data in enumerate(raw)]
    viewed = pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())])
    large = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
    encoded = pa.array(raw).dictionary_encode()
    of_dictionaries = pa.StructArray.from_arrays(
        [encoded, pa.array(list("abcdef"))], ["bytes", "path"]
    )
    return {
        "binary view": pa.array(raw, pa.binary_view()),
        "large binary": pa.array(raw, pa.large_binary()),
        "structs of views": pa.array(structs, viewed),
        "structs of large binaries": pa.array(structs, large),
        "dictionary": encoded,
        "structs of dictionaries": of_dictionaries,
    }


@pytest.mark.parametrize("kind", _views())
@pytest.mark.parametrize("suffix", ["arrow", "stream", "parquet"])
def test_pictures_in_columns_of_every_type_of_bytes(kind: str, suffix: str, tmp_path: Path) -> None:
    labels = pa.array(list("ababab"), pa.string_view())
    made = pa.table({"image": _views()[kind], "label": labels})
    path = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        if kind == "structs of dictionaries":
            pytest.skip("Parquet has no such type")
        pq.write_table(made, path)
    elif suffix == "arrow":
        with pa.ipc.new_file(path, made.schema) as file:
            file.write_table(made)
    else:
        with pa.ipc.new_stream(path, made.schema) as file:
            file.write_table(made)
    source = open_source(path, label="label")
    assert [grey(source, place) for place in range(6)] == [*range(6)]
    assert [source[place].target["label"] for place in range(6)] == [0, 1] * 3
