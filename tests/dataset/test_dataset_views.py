"""What a dataset gives to frameworks, and datasets combined: no copy where none is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import dof_arrow as dof
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset, concat
from dof_arrow.errors import UsageError
from dof_arrow.format.writer import Writer
from tests.support.making import write
from tests.support.making_rows import features, made
from tests.support.maps import mapping_at

ROWS, WIDTH = 4096 * 3 + 100, 16  # more than one row group of whole pages
NAMES = [("sick", "well", "unsure")[row % 3] for row in range(ROWS)]


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(tmp_path_factory.mktemp("more") / "x.dof.parquet", ROWS, WIDTH)


def address(ds: Dataset) -> int:
    return int(ds.to_numpy().ctypes.data)


def is_uncopied(pointer: int, ds: Dataset) -> bool:
    """Whether an address lies in a map of the dataset's file, in which nothing was copied."""
    return mapping_at(pointer) == (str(ds.path), 0)


def test_c3_dlpack_without_a_copy(ds: Dataset) -> None:
    values = np.from_dlpack(ds)
    assert values.shape == (ROWS, WIDTH) and is_uncopied(values.ctypes.data, ds)
    assert is_uncopied(np.from_dlpack(ds[64:128]).ctypes.data, ds)


def test_c3_torch_without_a_copy(ds: Dataset) -> None:
    torch = pytest.importorskip("torch")
    for tensor in (torch.from_dlpack(ds), ds.to_torch(), ds[9:].to_torch("age")):
        assert is_uncopied(tensor.data_ptr(), ds)


def test_c3_jax_without_a_copy(ds: Dataset) -> None:
    """The whole matrix, and slices from multiples of 64 bytes; other slices are copied."""
    pytest.importorskip("jax")
    assert is_uncopied(ds.to_jax().unsafe_buffer_pointer(), ds)
    assert is_uncopied(ds[100:300].to_jax().unsafe_buffer_pointer(), ds)
    assert np.array_equal(np.asarray(ds[3:9].to_jax()), ds.to_numpy()[3:9])
    assert np.array_equal(np.asarray(ds.take([7, 3]).to_jax()), features(ROWS, WIDTH)[[7, 3]])


def test_c3_tensorflow_without_a_copy(ds: Dataset) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    tensor = ds.to_tf()
    assert np.array_equal(tensor.numpy(), ds.to_numpy())
    capsule = tensorflow.experimental.dlpack.to_dlpack(tensor)
    assert is_uncopied(pointer_of(capsule), ds)
    assert ds[:50].to_tf("label").numpy().tolist() == [i % 3 for i in range(50)]


def pointer_of(capsule: Any) -> int:
    import ctypes

    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(ctypes.c_void_p.from_address(get(capsule, b"dltensor")).value or 0)


def test_c5_readers_over_the_same_memory(ds: Dataset) -> None:
    polars = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    table = pa.table(ds)
    assert table["feature"].num_chunks == 1
    assert table["feature"].chunk(0).flatten().buffers()[1].address == address(ds)
    assert polars.DataFrame(ds)["label"].to_list() == NAMES
    assert (
        duckdb.sql("select count(*) from ds where age > 40").fetchall()[0][0]
        == (ds.to_numpy("age") > 40).sum()
    )
    frame = ds.to_pandas()
    assert list(frame.columns) == ds.columns
    cells = frame["feature"]
    assert (
        cells[0].ctypes.data == address(ds)
        and cells[7].ctypes.data == ds.to_numpy()[7:].ctypes.data
    )
    assert np.stack(cells).dtype == np.float32 and np.array_equal(np.stack(cells), ds.to_numpy())


def test_c5_duckdb_scans_the_same_memory(tmp_path: Path) -> None:
    """What is written into the map, for this process alone, is what DuckDB sees: it has no copy."""
    duckdb = pytest.importorskip("duckdb")
    ds = made(tmp_path / "x.parquet", 300)
    query = "select feature[1] from ds where id = 'r00007'"
    assert duckdb.sql(query).fetchall() == [(7.0,)]
    ctypes.c_float.from_address(address(ds) + ds.to_numpy()[:7].nbytes).value = 1234.5
    assert duckdb.sql(query).fetchall() == [(1234.5,)]
    assert dataset.open(ds.path).to_numpy()[7, 0] == 7


def test_c3_hf_datasets_without_a_copy(ds: Dataset) -> None:
    datasets = pytest.importorskip("datasets")
    hf = datasets.Dataset(ds.to_arrow(["feature", "label"]).replace_schema_metadata(None))
    assert hf.data.table["feature"].chunk(0).flatten().buffers()[1].address == address(ds)
    assert np.array_equal(hf.with_format("numpy")[:100]["feature"], ds.to_numpy()[:100])


def test_c3_scikit_learn_without_a_copy(ds: Dataset) -> None:
    """Its own check of inputs, which every estimator begins with, hands our memory on."""
    utils, linear = (
        pytest.importorskip("sklearn.utils"),
        pytest.importorskip("sklearn.linear_model"),
    )
    assert utils.check_array(ds.to_numpy()).ctypes.data == address(ds)
    model = linear.LogisticRegression().fit(ds.to_numpy()[:60] / ROWS, ds.to_numpy("label")[:60])
    assert model.coef_.shape == (3, WIDTH)


def _double(values: Any) -> None:
    values *= 2


@pytest.mark.parametrize(
    ("view", "write"),
    [
        (lambda ds: ds.to_torch(), lambda tensor: tensor.mul_(2)),
        (lambda ds: ds[50:200].to_torch(), lambda tensor: tensor.zero_()),
        (lambda ds: ds.to_torch("age"), lambda tensor: tensor.neg_()),
        (lambda ds: _torch().from_dlpack(ds), lambda tensor: tensor.mul_(2)),
        (lambda ds: np.from_dlpack(ds), _double),
    ],
)
def test_what_is_written_to_a_tensor_is_seen_nowhere_else(
    tmp_path: Path, view: Callable[[Dataset], Any], write: Callable[[Any], Any]
) -> None:
    pytest.importorskip("torch")
    ds = made(tmp_path / "x.parquet", 300)
    before = ds.path.read_bytes()
    other, table, values = ds.to_torch(), ds.to_arrow(), ds.to_numpy()
    changed = view(ds)
    if isinstance(changed, np.ndarray) and not changed.flags.writeable:
        pytest.skip("this NumPy takes DLPack tensors read-only")
    write(changed)
    expected = features(300, 4)
    for seen in (other, ds.to_torch(), ds.to_numpy(), ds[:].to_numpy(), values):
        assert np.array_equal(np.asarray(seen), expected)
    assert ds.to_arrow().equals(table) and ds.path.read_bytes() == before
    dof.save(ds, tmp_path / "y.parquet")
    assert np.array_equal(dataset.open(tmp_path / "y.parquet").to_numpy(), expected)
    batch = next(iter(ds.loader(batch_size=300)))
    assert np.array_equal(batch, expected)


def test_only_what_is_written_is_copied(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    tensor = made(tmp_path / "x.parquet", 1 << 14, 64).to_torch()
    assert mapping_at(tensor.data_ptr())[1] == 0
    tensor[7] = 1
    assert 0 < mapping_at(tensor.data_ptr())[1] <= 64 << 10
    assert tensor.sum() > 0 and mapping_at(tensor.data_ptr())[1] <= 64 << 10


def _torch() -> Any:
    return pytest.importorskip("torch")


def test_a_requested_schema_chooses_columns_and_types(ds: Dataset) -> None:
    wanted = pa.schema([pa.field("age", pa.float64()), pa.field("id", pa.large_string())])
    table = pa.table(ds[:10], schema=wanted)
    assert (
        table.schema.equals(wanted) and table["age"].to_pylist() == ds[:10].to_numpy("age").tolist()
    )


def test_tensors_on_request(tmp_path: Path) -> None:
    with Writer(tmp_path / "t.parquet") as writer:
        writer.write(ids=["a", "b"], vectors={"map": np.arange(12, dtype="f4").reshape(2, 2, 3)})
    ds = dataset.open(tmp_path / "t.parquet")
    table = ds.to_arrow(tensors=True)
    assert table.schema.field("map").type == pa.fixed_shape_tensor(pa.float32(), (2, 3))
    assert np.array_equal(
        table["map"].combine_chunks().to_numpy_ndarray(), np.arange(12).reshape(2, 2, 3)
    )
    assert table["map"].chunk(0).storage.flatten().buffers()[1].address == address(ds)


@pytest.mark.parametrize(
    "condition",
    [
        pc.field("age") > 70,
        (pc.field("age") > 70) & (pc.field("sex") == "f"),
        pc.field("number") >= 12_000,
        (pc.field("number") < 10) | (pc.field("number") == 9000),
        ~(pc.field("number") > 100),
        pc.field("id") == "r00042",
        pc.field("number") == -1,
        pc.field("number").isin([1, 5000]),
    ],
)
@pytest.mark.parametrize("part", [slice(None), slice(5000, 9500), [4, 9001, 8999, 3]])
def test_d14_filters_agree_with_arrow(numbered: Dataset, condition: Any, part: Any) -> None:
    rows = numbered[part]
    expected = pa.table(rows).filter(condition)["number"].to_pylist()
    assert rows.filter(condition).to_numpy("number").tolist() == expected


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("numbered") / "x.dof.parquet"
    return made(path, ROWS, WIDTH, number=np.arange(ROWS, dtype=np.int64), group_rows=4096)


def test_filters_look_at_no_row_group_that_statistics_exclude(
    numbered: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def may_match(rows: Dataset, condition: Any) -> list[slice]:
        return rows._selection.may_match(condition, ["number", "sex"])

    assert may_match(numbered, pc.field("number") >= 12_000) == [slice(8192, ROWS)]
    edges = (pc.field("number") < 10) | (pc.field("number") > 12_287)
    assert may_match(numbered, edges) == [slice(0, 4096), slice(12288, ROWS)]
    assert may_match(numbered[9000:9100], pc.field("number") < 10_000) == [slice(0, 100)]
    assert may_match(numbered, pc.field("sex") == "f") == [slice(0, ROWS)]
    assert may_match(numbered, pc.field("sex") == "z") == []
    seen: list[Any] = []
    read = Dataset.to_arrow

    def watched(self: Dataset, columns: list[str]) -> pa.Table:
        seen.append((columns, self.to_numpy("number")[0], len(self)))
        return read(self, columns)

    monkeypatch.setattr(Dataset, "to_arrow", watched)
    numbered.filter(pc.field("number") > 12_287)
    assert seen == [(["number"], 12288, ROWS - 12288)]


def test_filters_that_cannot_be(ds: Dataset) -> None:
    for wrong in (pc.field("nothing") > 3, pc.field("sex") > 3, "age > 3"):
        with pytest.raises(UsageError, match="an expression over id, label"):
            ds.filter(wrong)


def test_d13_join_by_id_of_two_cores(tmp_path: Path) -> None:
    """Features of two cores made apart, without a copy where the rows are the same."""
    left, right = made(tmp_path / "a.parquet", 300), made(tmp_path / "b.parquet", 300, width=8)
    both = left.join(right, suffix="_b")
    assert both.columns[:9] == left.columns and both.columns[9:] == [
        f"{c}_b" for c in right.columns if c != "id"
    ]
    assert np.shares_memory(both.to_numpy("feature_b"), right.to_numpy()) and len(both) == 300
    assert (
        both.metadata.columns["feature_b"].shape == (8,)
        and both.metadata.targets["label_b"].classes
    )
    assert both[5]["feature_b"].tolist() == features(300, 8)[5].tolist()
    assert pa.table(both)["feature_b"].chunk(0).flatten().buffers()[1].address == address(right)


def test_d13_join_in_any_order_keeps_what_both_have(tmp_path: Path) -> None:
    left, right = made(tmp_path / "a.parquet", 300), made(tmp_path / "b.parquet", 200, width=8)
    order = np.random.default_rng(0).permutation(200)
    both = left[50:].join(right.take(order).drop_columns("split"))
    assert both.to_numpy("id").tolist() == [f"r{i:05d}" for i in range(50, 200)]
    assert np.array_equal(both.to_numpy("feature_right")[:, 0], np.arange(50, 200))
    assert np.array_equal(both.take([3, 1]).to_numpy("feature_right")[:, 0], [53, 51])
    assert both.filter(pc.field("label_right") == "well").to_numpy("label").tolist() == [1] * 50
    assert both.split("train").to_numpy()[:, 0].tolist() == list(range(50, 200))


def test_joins_that_cannot_be(tmp_path: Path) -> None:
    ds = made(tmp_path / "a.parquet", 20)
    with pytest.raises(UsageError, match="not unique"):
        ds.join(ds.take([1, 1]))
    with pytest.raises(UsageError, match="two columns of one name"):
        ds.join(ds).join(ds)


def test_d15_concat_append_and_delete(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a.parquet", 300), made(tmp_path / "b.parquet", 200)
    both = concat([a, b[20:120], b.take([3, 1])])
    expected = [*range(300), *range(20, 120), 3, 1]
    assert len(both) == 402 and both.to_numpy()[:, 0].tolist() == expected
    assert both.to_arrow()["label"].to_pylist() == [NAMES[n] for n in expected]
    assert both.to_numpy("label").tolist() == [n % 3 for n in expected]
    assert np.shares_memory(both[10:20].to_numpy(), a.to_numpy())
    chosen = [400, 5, 350, 301, 5]
    assert both.take(chosen).to_numpy()[:, 0].tolist() == [expected[i] for i in chosen]
    assert both.take(chosen).to_arrow()["id"].to_pylist() == [f"r{expected[i]:05d}" for i in chosen]
    assert both[-1]["id"] == "r00001" and both[350]["age"] == b[70]["age"]
    assert len(both.split("train")) == len(a.split("train")) + len(b[20:120].split("train")) + 2
    rest = both[:300].filter(pc.field("label") != "sick")
    with Writer(tmp_path / "rest.parquet", {"targets": {}}) as writer:
        table = rest.to_arrow()
        writer.write(
            ids=[f"n{number:03}" for number in range(len(rest))],
            vectors={"feature": rest.to_numpy()},
            columns={name: table[name] for name in ("label", "sex")},
        )
    assert dataset.open(tmp_path / "rest.parquet").to_numpy()[:, 0].tolist() == [
        n for n in range(300) if n % 3
    ]


def test_datasets_that_differ_cannot_be_chained(tmp_path: Path) -> None:
    a = made(tmp_path / "a.parquet", 20)
    with pytest.raises(UsageError, match="columns differ"):
        concat([a, made(tmp_path / "b.parquet", 20, width=8)])
    with pytest.raises(UsageError, match="nothing"):
        concat([])


def test_g10_folds_grouped_and_stratified(tmp_path: Path) -> None:
    """G10: never the same patient on both sides."""
    ds = made(tmp_path / "a.parquet", 300)
    pairs = ds.folds(5, stratify="ill", seed=1)
    assert sorted(r for _, valid in pairs for r in valid.to_numpy()[:, 0]) == list(range(300))
    for train, valid in pairs:
        assert len(train) + len(valid) == 300
        assert not set(train.to_numpy("group")) & set(valid.to_numpy("group"))
        assert valid.to_numpy("ill").mean() == pytest.approx(0.1, abs=0.03)
    again = ds.folds(5, stratify="ill", seed=1)
    assert [v.to_numpy()[:, 0].tolist() for _, v in again] == [
        v.to_numpy()[:, 0].tolist() for _, v in pairs
    ]
    assert len(ds.folds(3, group="id")) == 3
    with pytest.raises(UsageError, match="2 to 60"):
        ds.folds(61)
    with pytest.raises(UsageError, match="no such column"):
        ds.folds(3, group="patient")


def test_clips_are_slices(tmp_path: Path) -> None:
    sizes = [3, 1, 5, 2]
    ids = [f"clip{i}" for i, size in enumerate(sizes) for _ in range(size)]
    frame = np.concatenate([np.arange(size) for size in sizes]).astype(np.int32)
    with Writer(tmp_path / "v.parquet") as writer:
        writer.write(
            ids=ids,
            vectors={"feature": features(11)},
            columns={"frame": frame, "time": frame / 25.0},
        )
    ds = dataset.open(tmp_path / "v.parquet")
    clips = list(ds.sequences())
    assert [(clip.id, len(clip), clip.view) for clip in clips] == [
        (f"clip{i}", n, 0) for i, n in enumerate(sizes)
    ]
    assert all(np.shares_memory(clip.features, ds.to_numpy()) for clip in clips)
    assert clips[2].features[:, 0].tolist() == [4, 5, 6, 7, 8]
    assert clips[2].frame.tolist() == [0, 1, 2, 3, 4] and clips[2].time[1] == pytest.approx(0.04)
    with pytest.raises(UsageError, match="do not stand together"):
        list(ds.take([0, 3, 1]).sequences())
    for nothing in (ds[0:0], ds.take([]), ds.filter(pc.field("frame") > 99)):
        assert list(nothing.sequences()) == []


def test_statistics_of_a_split(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(3, 2, (9000, 4)).astype(np.float32)
    with Writer(tmp_path / "s.parquet") as writer:
        writer.write(
            ids=[str(i) for i in range(9000)],
            vectors={"feature": values},
            columns={"split": ["train"] * 8500 + ["test"] * 500},
        )
    ds = dataset.open(tmp_path / "s.parquet")
    mean, deviation = ds.split("test").statistics("train")
    assert np.allclose(mean, values[:8500].mean(0, dtype=float))
    assert np.allclose(deviation, values[:8500].std(0, dtype=float))
    assert np.allclose(ds[:10].statistics()[0], values[:10].mean(0))


def test_columns_are_what_was_written(ds: Dataset) -> None:
    """C1, C4: an ordinary Parquet file."""
    import pyarrow.parquet as pq

    table = pq.read_table(ds.path)
    assert table["label"].to_pylist() == NAMES
    some = table["feature"].slice(4090, 10).to_numpy(zero_copy_only=False)
    assert np.array_equal(np.stack(some), ds.to_numpy()[4090:4100])


@pytest.mark.parametrize("layout", ["mapped", "compact"])
def test_statistics_hide_neither_nan_nor_missing_values(tmp_path: Path, layout: str) -> None:
    ages = np.arange(400, dtype=np.float64)
    ages[5] = np.nan  # in a row group whose other values are all below 100
    sites = pa.array([None if row % 50 == 3 else f"s{row // 100}" for row in range(400)])
    path = write(
        tmp_path / "x.parquet", 400, columns={"age": ages, "site": sites}, group=100, layout=layout
    )
    ds = dof.open(path)
    plain = pa.table(ds.to_arrow(["id", "age", "site"]))
    for condition in (
        ~(pc.field("age") < 100),
        pc.field("site") == "s2",
        pc.field("site").is_null(),
        ~(pc.field("site") == "s1"),
    ):
        expected = plain.filter(condition)["id"].to_pylist()
        assert ds.filter(condition).to_arrow(["id"])["id"].to_pylist() == expected
    assert ds._selection.may_match(pc.field("site") == "s2", ["site"]) == [slice(200, 300)]
