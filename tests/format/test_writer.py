"""Rows in, one file out (rows C1, D3, D19).

Equal rows give equal bytes, refusals say what is wrong, and nothing is left behind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dof_arrow.dataset import dataset
from dof_arrow.errors import FormatError, OutputError, UsageError
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.spec.arrow import finite, vector_field
from dof_arrow.format.writer import Writer
from tests.support import making

ROWS = 70
NAMES = "dictionary<values=string, indices=int32, ordered=0>"
_COLUMNS = {
    "label": pa.array(range(ROWS), pa.int16()),
    "age": pa.array([None if i % 7 == 0 else i for i in range(ROWS)]),
    "split": pa.array([("train", "valid", None)[i % 3] for i in range(ROWS)]),
    "note": pa.array([f"ü{i}" * (i % 4) for i in range(ROWS)]),
    "flag": pa.array([i % 2 == 0 for i in range(ROWS)]),
    "kept": pa.array([[j for j in range(i % 3)] for i in range(ROWS)]),
    "processing": pa.array([{"flip": i % 2 == 0, "angle": i / 2} for i in range(ROWS)]),
}
_SCHEMA = pa.schema(
    [pa.field("label", pa.int16(), nullable=False)]
    + [pa.field(n, a.type) for n, a in _COLUMNS.items() if n != "label"]
)


@given(st.sets(st.integers(0, ROWS), max_size=8), st.sampled_from([8, 32, 70, 1000]), st.booleans())
def test_row_d3_equal_rows_give_equal_bytes_however_batched(
    cuts: set[int], group: int, mapped: bool
) -> None:
    """C1, D3: one container whose bytes its content alone decides."""
    import tempfile

    options: dict[str, Any] = {
        "group": group,
        "schema": _SCHEMA,
        "layout": "mapped" if mapped else "compact",
    }
    with tempfile.TemporaryDirectory() as folder:
        whole = making.write(Path(folder, "a"), ROWS, making.vectors(ROWS, 3), _COLUMNS, **options)
        parts = making.write(
            Path(folder, "b"), ROWS, making.vectors(ROWS, 3), _COLUMNS, cuts=sorted(cuts), **options
        )
        assert whole.read_bytes() == parts.read_bytes()


def test_equal_bytes_across_page_boundaries_of_encoded_columns(tmp_path: Path) -> None:
    """pyarrow begins a page every 20,000 rows or MiB: where must not depend on the batches."""
    rows = 50_000
    columns = {
        "note": pa.array([f"note {i % 30_011}" for i in range(rows)]),
        "kept": pa.array([[i] for i in range(rows)]),
    }
    feature = making.vectors(rows, 2)
    files = [
        making.write(tmp_path / str(n), rows, feature, columns, cuts=cuts).read_bytes()
        for n, cuts in enumerate([[], [1], [777, 20_001], range(0, rows, 999)])
    ]
    assert len(set(files)) == 1


def test_writing_twice_and_later_gives_equal_bytes(tmp_path: Path) -> None:
    first = making.write(tmp_path / "a", 20).read_bytes()
    os.utime(tmp_path / "a", (0, 0))
    assert making.write(tmp_path / "b", 20).read_bytes() == first


def test_time_enters_only_when_source_date_epoch_gives_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provenance = dataset.open(making.write(tmp_path / "a", 3)).metadata.provenance
    assert (
        provenance is not None and provenance.created is None and "pyarrow" in provenance.generator
    )
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    provenance = dataset.open(making.write(tmp_path / "b", 3)).metadata.provenance
    assert provenance is not None and provenance.created == "2023-11-14T22:13:20+00:00"


def test_the_uuid_follows_the_content_alone(tmp_path: Path) -> None:
    def uuid(name: str, title: str, seed: int) -> str:
        path = making.write(
            tmp_path / name, 9, making.vectors(9, 3, seed=seed), metadata={"info": {"title": title}}
        )
        return dataset.open(path).metadata.uuid

    assert uuid("a", "one", 0) == uuid("b", "two", 0) != uuid("c", "one", 1)


@pytest.mark.parametrize("layout", ["mapped", "compact"])
def test_a_reused_array_does_not_change_what_was_written(tmp_path: Path, layout: Any) -> None:
    array, label, level = np.empty((4, 3), "float32"), np.empty(4, np.int64), np.empty(4, "i2")
    schema = pa.schema([pa.field("level", pa.int16()), pa.field("open", pa.int64())])
    options = {"geometry": Geometry(8, 64), "layout": layout, "schema": schema}
    with Writer(tmp_path / "x", {"record": {"level": "level"}}, **options) as writer:
        for i in range(5):
            array[:], label[:], level[:] = i, i, i
            ids = making.ids(20)[4 * i : 4 * i + 4]
            columns = {"label": label, "open": label, "level": level}
            writer.write(ids=ids, vectors={"feature": array}, columns=columns)
        level[:] = -1  # which no row has
    ds = dataset.open(tmp_path / "x")
    wanted = np.repeat(range(5), 4).tolist()
    assert ds.to_numpy()[:, 0].tolist() == ds.to_numpy("label").tolist() == wanted
    assert ds.to_arrow(["open"])["open"].to_pylist() == wanted


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_tensors_are_stored_flat_with_their_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    feature = making.vectors(5, *shape)
    ds = dataset.open(making.write(tmp_path / "x", 5, feature))
    assert ds.metadata.columns["feature"].shape == (shape or (1,))
    assert ds.to_numpy().shape == (5, max(int(np.prod(shape)), 1))
    assert np.array_equal(ds[3]["feature"].reshape(shape), feature[3])


def test_arrays_of_any_order_and_any_framework(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    feature = making.vectors(6, 4)
    for n, given_ in enumerate(
        (
            np.asfortranarray(feature),
            feature.astype(">f4").astype("f4"),
            feature[::-1][::-1],
            torch.from_numpy(feature.copy()),
        )
    ):
        assert np.array_equal(
            dataset.open(making.write(tmp_path / str(n), 6, given_)).to_numpy(), feature
        )


def test_what_metadata_does_not_say_is_inferred(tmp_path: Path) -> None:
    columns = {
        "view": [0, 1] * 3,
        "label": np.arange(6),
        "note": ["a"] * 6,
        "split": ["train"] * 4 + ["test"] * 2,
        "processing": [{"angle": 1.0}] * 6,
    }
    ds = dataset.open(
        making.write(
            tmp_path / "x",
            6,
            None,
            columns,
            metadata={"targets": {"label": {"kind": "category", "classes": list("abcdef")}}},
        )
    )
    told = {n: (c.role, c.dtype, c.layout) for n, c in ds.metadata.columns.items()}
    assert told == {
        "id": ("id", "string", "encoded"),
        "view": ("view", "int16", "mapped"),
        "label": ("target", NAMES, "mapped"),
        "note": ("kept", "string", "encoded"),
        "split": ("split", NAMES, "mapped"),
        "processing": ("processing", "struct<angle: double>", "encoded"),
        "feature": ("feature", "float32", "mapped"),
    }
    assert (ds.metadata.record.view, ds.metadata.record.split, ds.primary) == (
        "view",
        "split",
        "feature",
    )
    assert {k: (s.rows, s.records) for k, s in ds.metadata.splits.items()} == {
        "train": (4, 4),
        "test": (2, 2),
    }


def test_the_key_dof_is_the_same_in_footer_and_schema(tmp_path: Path) -> None:
    """C1: what read_table shows is what was added at close."""
    path = making.write(tmp_path / "x", 3)
    footer_value = pq.read_metadata(path).metadata[b"dof"]
    assert pq.read_table(path).schema.metadata == {b"dof": footer_value}
    assert dataset.open(path).schema.metadata[b"dof"] == footer_value


def test_records_are_counted_once_a_clip(tmp_path: Path) -> None:
    with Writer(tmp_path / "x") as writer:
        for clip in ("a", "b"):
            writer.write(
                ids=[clip] * 3,
                vectors={"feature": making.vectors(3, 2)},
                columns={"frame": np.arange(3, dtype=np.int32), "split": ["train"] * 3},
            )
    assert dataset.open(tmp_path / "x").metadata.splits["train"].records == 2


def test_row_d12_errors_and_documents_lie_inside(tmp_path: Path) -> None:
    """D12: documents; one file holds what failed, too."""
    with Writer(tmp_path / "x") as writer:
        writer.write(ids=["a"], vectors={"feature": making.vectors(1, 2)})
        writer.fail("b", "decode", "truncated ünicode")
        writer.attach("paper.pdf", b"%PDF" + bytes(1000), "application/pdf")
        writer.attach("empty.txt", b"", "text/plain")
    ds = dataset.open(tmp_path / "x")
    assert ds.errors == [{"id": "b", "rule": "decode", "reason": "truncated ünicode"}]
    assert ds.document("paper.pdf") == b"%PDF" + bytes(1000) and ds.document("empty.txt") == b""
    assert len(pq.read_table(tmp_path / "x")) == 1


def test_row_d3_everything_is_in_the_one_file(tmp_path: Path) -> None:
    """D3: vectors, columns, information, failures and documents move with it, and nothing else."""
    (tmp_path / "here").mkdir()
    with Writer(tmp_path / "here" / "x", {"info": {"title": "Lungs"}}) as writer:
        columns = {"note": ["é"], "split": ["train"]}
        writer.write(ids=["a"], vectors={"feature": making.vectors(1, 2)}, columns=columns)
        writer.fail("b", "decode", "truncated")
        writer.attach("paper.pdf", b"%PDF", "application/pdf")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["x"]
    ds = dataset.open((tmp_path / "here" / "x").rename(tmp_path / "y"))
    assert np.array_equal(ds.to_numpy(), making.vectors(1, 2)) and ds[0]["note"] == "é"
    assert ds.metadata.info.title == "Lungs" and ds.document("paper.pdf") == b"%PDF"
    assert [failure["id"] for failure in ds.errors] == ["b"]


def test_a_dataset_of_no_rows(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("id", pa.string(), nullable=False), vector_field("feature", (4,))])
    with Writer(tmp_path / "x", schema=schema) as writer:
        writer.fail("a", "decode", "all failed")
    ds = dataset.open(tmp_path / "x")
    assert (len(ds), ds.to_numpy().shape, ds.to_arrow().num_rows, list(ds)) == (0, (0, 4), 0, [])
    assert len(pq.read_table(tmp_path / "x")) == 0 and len(ds.errors) == 1


# What does not fit, each with words that say so.

_GOOD: dict[str, Any] = {
    "ids": ["a", "b"],
    "vectors": {"feature": np.ones((2, 3), "f4")},
    "columns": {"n": [1, 2]},
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"vectors": {"feature": np.array([[1, 2, np.nan], [1, 2, 3]], "f4")}},
            "NaN or infinity.*allow_nonfinite",
        ),
        (
            {"vectors": {"feature": np.array([[1, 2, 3], [1, -np.inf, 3]], "f2")}},
            "float32 .n, 3., found float16",
        ),
        ({"vectors": {"feature": np.ones((2, 3))}}, "float32 .n, 3., found float64"),
        ({"vectors": {"feature": np.ones((2, 4), "f4")}}, r"\[n, 3\], found float32 \[2, 4\]"),
        ({"vectors": {"feature": np.ones((2, 3, 1), "f4")}}, r"found float32 \[2, 3, 1\]"),
        ({"vectors": {"feature": np.float32(1)}}, "vectors do not fit"),
        ({"vectors": {"feature": np.ones((3, 3), "f4")}}, "differ in length"),
        ({"vectors": {"feature": [[1.0, 2.0, 3.0]] * 2}}, "found float64"),
        ({"vectors": {}}, "columns of this batch differ"),
        ({"ids": ["a"]}, "differ in length"),
        ({"ids": ["a", None]}, "a missing value in a required column"),
        ({"ids": [1, 2]}, "id: values do not fit the column: expected string"),
        ({"ids": ["a", "\ud800"]}, "id: values do not fit"),
        (
            {"columns": {"n": [1, None]}},
            "a missing value in a required column.*Declare the column nullable",
        ),
        ({"columns": {"n": [1, "x"]}}, "n: values do not fit the column: expected int64"),
        ({"columns": {"n": [1, 2**70]}}, "n: values do not fit"),
        ({"columns": {"n": np.ones((2, 2))}}, "n: values do not fit"),
        (
            {"columns": {"n": [1, 2], "m": [1, 2]}},
            "columns of this batch differ.*expected id, n, feature, found id, n, m",
        ),
        ({"columns": {}}, "columns of this batch differ"),
        ({"columns": {"n": [1, 2], "feature": [1, 2]}}, "given twice.*feature"),
        ({"columns": {"n": [1, 2], "id": ["c", "d"]}}, "given twice.*id"),
    ],
)
def test_a_later_batch_that_does_not_fit(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words), Writer(tmp_path / "x") as writer:
        writer.write(**_GOOD)
        writer.write(**{**_GOOD, **change})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"vectors": {}}, "no feature column"),
        ({"vectors": {"feature": np.ones((2, 3), "i4")}}, "float32 or float16, found int32"),
        ({"vectors": {"feature": np.ones((2, 0), "f4")}}, "without elements"),
        (
            {"columns": {"n": [object(), 1]}},
            "n: values do not fit the column: expected values of one type",
        ),
        ({"columns": {"n": ["a", 1]}}, "n: values do not fit"),
        ({"columns": {"n": [2**70, 1]}}, "n: values do not fit"),
        ({"columns": {"n": ["\ud800", "a"]}}, "n: values do not fit"),
    ],
)
def test_a_first_batch_that_cannot_be(tmp_path: Path, batch: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words), Writer(tmp_path / "x") as writer:
        writer.write(**{**_GOOD, **batch})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("metadata", "error", "words"),
    [
        ({"primary_column": "other"}, UsageError, "columns that are not there.*found other"),
        (
            {"targets": {"lable": {"kind": "regression"}}},
            UsageError,
            "columns that are not there.*found lable",
        ),
        ({"record": {"group": "patient"}}, UsageError, "columns that are not there.*found patient"),
        ({"info": {"title": 3}}, FormatError, r"\$\.info\.title"),
        ({"uuid": 3}, None, ""),
    ],
)
def test_metadata_that_cannot_be(
    tmp_path: Path,
    metadata: dict[str, Any],
    error: type[Exception] | None,
    words: str,
) -> None:
    if error is None:  # derived by the writer, whatever is given
        making.write(tmp_path / "x", 3, metadata=metadata)
        return
    with pytest.raises(error, match=words):
        making.write(tmp_path / "x", 3, metadata=metadata)
    assert list(tmp_path.iterdir()) == []


def test_nothing_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no feature column"), Writer(tmp_path / "x"):
        pass
    with pytest.raises(UsageError, match="no feature column"):
        Writer(tmp_path / "x").close()
    assert list(tmp_path.iterdir()) == []


def test_nonfinite_numbers_when_asked_for(tmp_path: Path) -> None:
    for dtype in ("float32", "float16"):
        feature = np.array([[np.nan, np.inf], [-np.inf, 1]], dtype)
        path = making.write(tmp_path / dtype, 2, feature, allow_nonfinite=True)
        assert np.array_equal(dataset.open(path).to_numpy(), feature, equal_nan=True)


@given(st.lists(st.floats(width=16), max_size=20), st.sampled_from(["f2", "f4"]))
@settings(max_examples=100)
def test_finite_is_what_numpy_says(values: list[float], dtype: str) -> None:
    array = np.array(values, dtype)
    assert finite(array) == bool(np.isfinite(array).all())


def test_an_exception_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        Writer(tmp_path / "x", geometry=Geometry(8, 64)) as writer,
    ):
        writer.write(ids=making.ids(100), vectors={"feature": making.vectors(100, 4)})
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    path = making.write(tmp_path / "x", 3)
    with pytest.raises(OutputError, match="exists already"):
        Writer(path)
    with pytest.raises(OutputError, match="Make the folder first"):
        Writer(tmp_path / "no" / "x")
    with Writer(tmp_path / "y") as writer:
        with pytest.raises(OutputError, match="another process is working"):
            Writer(tmp_path / "y")
        writer.write(**_GOOD)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x", "y"]


def test_closing_again_is_nothing(tmp_path: Path) -> None:
    with Writer(tmp_path / "x") as writer:
        writer.write(**_GOOD)
        assert writer.close() == tmp_path / "x"
    assert writer.close() == tmp_path / "x" and len(dataset.open(tmp_path / "x")) == 2


def test_more_groups_than_one_file_may_have(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"more row groups.*Write a directory"):
        making.write(tmp_path / "x", 1026, group=1, align=64)
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_at_one_group(tmp_path: Path) -> None:
    with Writer(tmp_path / "x", geometry=Geometry(1024, 4096)) as writer:
        ids = making.ids(50_000)
        for start in range(0, 50_000, 1000):
            feature = making.vectors(1000, 8)
            writer.write(ids=ids[start : start + 1000], vectors={"feature": feature})
            assert sum(b.rows for b in writer._pending) <= 1024


@pytest.mark.parametrize("width", [128, 512])
def test_row_d19_d20_the_size_is_hardly_more_than_the_numbers(tmp_path: Path, width: int) -> None:
    """D19, D20: at most 1.01 of vectors and columns from 128 numbers."""
    rows = 20_000
    path = tmp_path / "x"
    with Writer(path) as writer:
        writer.write(
            ids=making.ids(rows),
            vectors={"feature": making.vectors(rows, width)},
            columns={"label": np.arange(rows)},
        )
    assert path.stat().st_size < 1.01 * rows * (4 * width + 8 + 12)


def test_the_size_of_fixed_width_columns_is_known_ahead(tmp_path: Path) -> None:
    """D19: it depends on counts and widths, not on values."""
    sizes = {
        making.write(
            tmp_path / str(s),
            100,
            making.vectors(100, 16, seed=s),
            {"label": np.arange(s, s + 100)},
            group=32,
        )
        .stat()
        .st_size
        for s in range(3)
    }
    assert len(sizes) == 1


def test_names_with_dots_and_none(tmp_path: Path) -> None:
    columns = {
        "a.b": ["x"] * 3,
        "a": ["y"] * 3,
        "a.c": [1, 2, 3],
        "feature.list.element": [1.0, 2.0, 3.0],
        "": [4, 5, 6],
    }
    for layout in ("mapped", "compact"):
        feature = {"feature": making.vectors(3, 2), "v.w": making.vectors(3, 2, seed=1)}
        ds = dataset.open(making.write(tmp_path / layout, 3, feature, columns, layout=layout))
        for name, values in columns.items():
            assert ds.to_arrow([name])[name].to_pylist() == values
        for name, array in feature.items():
            assert np.array_equal(ds.to_numpy(name), array)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_compact_layout_holds_the_same(tmp_path: Path, dtype: str) -> None:
    feature = making.vectors(100, 32, dtype=dtype)
    ds = dataset.open(
        making.write(
            tmp_path / "x", 100, feature, {"label": np.arange(100)}, group=32, layout="compact"
        )
    )
    assert {c.layout for c in ds.metadata.columns.values()} == {"encoded"}
    assert np.array_equal(ds.to_numpy(), feature) and np.array_equal(
        ds.to_numpy("label"), np.arange(100)
    )


def test_a_split_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="split"):
        making.write(
            tmp_path / "x", 3, columns={"fold": [0, 1, 2]}, metadata={"record": {"split": "fold"}}
        )
    assert list(tmp_path.iterdir()) == []


def test_columns_of_views_lists_and_splits_of_other_libraries(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    columns = {
        "sex": pa.array(["f", "m"], pa.string_view()),
        "split": polars.Series(["Train", "TEST"]),
        "marks": polars.Series([[1, 2], None]),
    }
    with Writer(tmp_path / "x.dof.parquet") as writer:
        writer.write(ids=["a", "b"], vectors={"feature": np.eye(2, dtype="f4")}, columns=columns)
    found = pq.read_table(tmp_path / "x.dof.parquet")
    assert found.schema.field("sex").type == pa.string()
    assert found["split"].to_pylist() == ["train", "test"]
    assert found["marks"].to_pylist() == [[1, 2], None]
