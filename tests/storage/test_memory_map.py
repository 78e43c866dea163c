"""One contiguous array over all row groups, 0 bytes copied, shown by address (rows C3, D16)."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dof_arrow.dataset import dataset
from dof_arrow.format.writer import Writer
from dof_arrow.storage.memory_map import Region, Stitched, stitchable
from tests.support import making
from tests.support.maps import mapping_at

pytestmark = pytest.mark.skipif(
    mmap.PAGESIZE > making.PAGE, reason="pages are larger than these files' alignment"
)
WIDTHS = st.sampled_from([1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 100, 512, 1280, 2048]) | st.integers(
    1, 3000
)


def _arrow_address(table: pa.Table, name: str) -> int:
    column = table.column(name)
    assert column.num_chunks == 1, "one Arrow chunk over all row groups"
    chunk = column.chunk(0)
    dtype, width = chunk.type, 1
    if pa.types.is_fixed_size_list(dtype):
        dtype, width = dtype.value_type, dtype.list_size
    values = chunk.buffers()[-1]
    return int(values.address) + chunk.offset * width * dtype.byte_width


def _check(
    path: Path, feature: dict[str, np.ndarray[Any, Any]], label: np.ndarray[Any, Any], groups: int
) -> None:
    ds = dataset.open(path)
    assert ds._file.parquet.num_row_groups == groups
    ds.to_arrow(["id"])  # what is decoded is decoded before bytes are counted
    before = pa.total_allocated_bytes()
    assert ds.to_arrow().num_rows == len(label) and pa.total_allocated_bytes() == before, (
        "Arrow allocates nothing"
    )
    table = pa.table(ds)
    # Numbers that lie apart in each group are joined once, so that the vectors stay one chunk.
    joined = label.nbytes + 64 if groups > 1 else 0
    assert pa.total_allocated_bytes() - before < 4096 + joined, (
        "the stream describes each column in some hundred bytes"
    )
    for name, values in {**feature, "label": label}.items():
        flat = values.reshape(len(values), -1) if values.ndim > 1 else values
        seen = ds.to_numpy(name)
        assert seen.flags.c_contiguous and not seen.flags.writeable and not seen.flags.owndata
        assert seen.shape == flat.shape and seen.dtype == flat.dtype and np.array_equal(seen, flat)
        assert _arrow_address(table, name) == seen.ctypes.data


@given(data=st.data())
@settings(max_examples=30)
def test_one_array_whatever_the_rows_groups_widths_and_types(
    data: Any, tmp_path_factory: Any
) -> None:
    """C3: several vector columns and a label column, as numpy and as Arrow, at one address each."""
    kind = st.tuples(WIDTHS, st.sampled_from(["float32", "float16"]))
    kinds = data.draw(st.lists(kind, min_size=1, max_size=3))
    sizes = [width * np.dtype(dtype).itemsize for width, dtype in kinds]
    group = making.group_rows(8, *sizes) * data.draw(st.sampled_from([1, 1, 2]))
    most = max(int(2e6 / sum(sizes)), 1)
    rows = data.draw(st.integers(1, min(most, 5 * group)) | st.just(min(most, 3 * group)))
    feature = {}
    for seed, (width, dtype) in enumerate(kinds):
        feature[f"f{seed}"] = making.vectors(rows, width, dtype=dtype, seed=seed)
    path = making.write(
        tmp_path_factory.mktemp("s") / "x", rows, feature, {"label": np.arange(rows)}, group=group
    )
    _check(path, feature, np.arange(rows), -(-rows // group))


@pytest.mark.parametrize(
    ("rows", "width", "dtype"),
    [
        (5, 100_000, "float32"),
        (3, 100_000, "float16"),
        (1, 1, "float32"),
    ],
)
def test_the_widest_and_the_smallest(tmp_path: Path, rows: int, width: int, dtype: str) -> None:
    feature = {"feature": making.vectors(rows, width, dtype=dtype)}
    group = making.group_rows(width * np.dtype(dtype).itemsize)
    _check(
        making.write(tmp_path / "x", rows, feature, {"label": np.arange(rows)}, group=group),
        feature,
        np.arange(rows),
        -(-rows // group),
    )


def test_hundreds_of_groups(tmp_path: Path) -> None:
    feature = {"feature": making.vectors(512 * 700, 2)}
    label = np.arange(512 * 700)
    _check(
        making.write(tmp_path / "x", len(label), feature, {"label": label}, group=512),
        feature,
        label,
        700,
    )


def test_the_file_that_the_rules_make_has_several_groups_and_one_array(tmp_path: Path) -> None:
    """No geometry given: values at multiples of 65,536, some 64 MiB a group."""
    feature = np.zeros((1100, 20_000), "float32")
    feature[:, 0] = np.arange(1100)
    with Writer(tmp_path / "x") as writer:
        writer.write(ids=making.ids(1100), vectors={"feature": feature})
    ds = dataset.open(tmp_path / "x")
    assert ds._file.parquet.num_row_groups == 3
    assert ds.to_numpy().flags.c_contiguous and np.array_equal(ds.to_numpy()[:, 0], np.arange(1100))
    assert ds.to_numpy().ctypes.data % mmap.PAGESIZE == 0


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_torch_lies_over_the_file_in_a_map_of_its_own(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    feature = making.vectors(3000, 64, dtype=dtype)
    ds = dataset.open(
        making.write(tmp_path / "x", 3000, feature, {"label": np.arange(3000)}, group=1024)
    )
    tensor = ds.to_torch()
    assert ds.to_numpy().ctypes.data == _arrow_address(pa.table(ds), "feature")
    assert torch.equal(tensor, torch.from_numpy(feature.copy()))
    for other in (tensor, ds.to_torch(), ds[5:].to_torch()):
        assert mapping_at(other.data_ptr()) == (str(ds.path), 0)


def test_numbers_that_are_joined_are_each_time_a_tensor_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    labels = np.arange(3000)
    path = making.write(tmp_path / "x", 3000, making.vectors(3000, 4), {"label": labels}, group=512)
    ds = dataset.open(path)
    before = ds.to_numpy("label")
    for seen in (ds.to_torch("label"), ds[1:].to_torch("label")):
        seen.zero_()
    assert np.array_equal(before, labels) and np.array_equal(ds.to_numpy("label"), labels)
    assert pa.table(ds)["label"].to_pylist() == labels.tolist()


def test_polars_takes_the_memory_as_it_is(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    columns = {"label": np.arange(3000)}
    ds = dataset.open(
        making.write(tmp_path / "x", 3000, making.vectors(3000, 64), columns, group=1024)
    )
    frame = pl.DataFrame(ds)
    assert frame["label"].to_numpy(allow_copy=False).ctypes.data == ds.to_numpy("label").ctypes.data
    vectors = frame["feature"].to_numpy(allow_copy=False)
    assert vectors.ctypes.data == ds.to_numpy().ctypes.data and vectors.shape == (3000, 64)


def test_pandas_takes_the_memory_as_it_is(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    ds = dataset.open(making.write(tmp_path / "x", 3000, making.vectors(3000, 64), group=1024))
    assert ds.to_pandas()["feature"][9].ctypes.data == ds.to_numpy()[9:].ctypes.data
    frame = ds.to_arrow(["feature"]).to_pandas(types_mapper=pandas.ArrowDtype)
    column = pa.chunked_array(frame["feature"].array.__arrow_array__())
    assert column.chunk(0).flatten().buffers()[1].address == ds.to_numpy().ctypes.data


def test_slices_are_views_at_their_places(tmp_path: Path) -> None:
    feature = making.vectors(3000, 64)
    ds = dataset.open(
        making.write(tmp_path / "x", 3000, feature, {"label": np.arange(3000)}, group=1024)
    )
    base = ds.to_numpy().ctypes.data
    part = ds[100:2900][50:-50]
    assert part.to_numpy().ctypes.data == base + 150 * 256
    assert _arrow_address(pa.table(part), "feature") == base + 150 * 256
    assert np.array_equal(part.to_numpy(), feature[150:2850])


@given(st.integers(0, 200), st.lists(st.integers(1, 3), min_size=1, max_size=5), st.booleans())
@example(0, [1], False)
def test_regions_of_any_file_read_as_one(skew: int, pages: list[int], ragged: bool) -> None:
    import tempfile

    data = np.random.default_rng(0).bytes(40 * mmap.PAGESIZE)
    regions, at = [], 3 * mmap.PAGESIZE + (skew if len(pages) == 1 else 0)
    for count in pages:
        regions.append(Region(at, count * mmap.PAGESIZE))
        at += (count + 1) * mmap.PAGESIZE
    if ragged:
        regions[-1] = Region(regions[-1].offset, regions[-1].length - 100)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        assert stitchable(regions)
        stitched = Stitched([(SimpleNamespace(file=file.fileno()), r) for r in regions])
        array = stitched.array(np.dtype(np.uint8), (stitched.nbytes,))
        del stitched
        assert array.tobytes() == b"".join(data[r.offset : r.offset + r.length] for r in regions)


def test_what_cannot_be_stitched_is_known() -> None:
    page = mmap.PAGESIZE
    assert not stitchable([]) and not stitchable([Region(page, 0)])
    assert not stitchable([Region(page, page), Region(3 * page + 64, page)])
    assert not stitchable([Region(page, page - 64), Region(3 * page, page)])
    assert stitchable([Region(100, 7)])


def test_where_it_cannot_be_stitched_it_is_decoded_with_the_same_values(tmp_path: Path) -> None:
    feature = making.vectors(50, 8)
    ds = dataset.open(
        making.write(tmp_path / "x", 50, feature, {"label": np.arange(50)}, group=8, align=64)
    )
    assert ds._file.mapped("feature") is None
    assert np.array_equal(ds.to_numpy(), feature) and np.array_equal(
        ds.to_numpy("label"), np.arange(50)
    )
    assert np.array_equal(ds[7:19].to_numpy(), feature[7:19])


_IN_PLACE = """
import sys, dof_arrow.dataset.dataset
ds = dof_arrow.dataset.dataset.open(sys.argv[1])
tensor = ds.to_torch()
tensor.mul_(0).add_(7)
assert float(tensor.sum()) == 7 * tensor.numel()
assert float(dof_arrow.dataset.dataset.open(sys.argv[1]).to_numpy()[5, 5]) != 7
print("lived")
"""


def test_an_in_place_write_neither_crashes_nor_reaches_the_file(tmp_path: Path) -> None:
    """The map is private, copied on write; on a read-only map the write would kill the process."""
    pytest.importorskip("torch")
    path = making.write(tmp_path / "x", 3000, making.vectors(3000, 64), group=1024)
    before = path.read_bytes()
    done = making.run(_IN_PLACE, path)
    assert (done.returncode, done.stdout) == (0, "lived\n"), done.stderr
    assert path.read_bytes() == before


_AT_EXIT = """
import atexit, sys
kept = []
atexit.register(lambda: print(float(kept[0].sum())))
import dof_arrow.dataset.dataset
kept.append(dof_arrow.dataset.dataset.open(sys.argv[1]).to_numpy())
"""


def test_arrays_live_until_the_very_end(tmp_path: Path) -> None:
    """Exit handlers that ran before ours were registered still see the memory."""
    path = making.write(tmp_path / "x", 30, np.ones((30, 4), "float32"))
    done = making.run(_AT_EXIT, path)
    assert (done.returncode, done.stdout) == (0, "120.0\n"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="counts the process's mappings")
def test_memory_goes_back_when_the_last_array_goes(tmp_path: Path) -> None:
    path = making.write(tmp_path / "x", 3000, making.vectors(3000, 64), group=1024)

    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count(str(path))

    ds = dataset.open(path)
    view = ds[10:20].to_numpy()
    assert mappings() > 0
    del ds
    assert mappings() > 0 and view.sum() != 0
    del view
    assert mappings() == 0
