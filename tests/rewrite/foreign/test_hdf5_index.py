"""The index of chunks read from a file's bytes is HDF5's own, or HDF5 is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.rewrite.foreign import hdf5_bag, hdf5_stored
from dof_arrow.rewrite.foreign.bag import BagRefused
from dof_arrow.rewrite.foreign.hdf5_bag import Hdf5Bag
from dof_arrow.rewrite.foreign.hdf5_file import item, opened
from dof_arrow.rewrite.foreign.hdf5_index import Chunks, DamagedIndex, chunk_starts
from tests.support import foreign_bags

h5py = pytest.importorskip("h5py")


def made(path: Path, values: np.ndarray, step: int = 1, **options: Any) -> Path:
    """A file with one dataset `features` in chunks of so many rows."""
    with h5py.File(path, "w", libver=options.pop("libver", "earliest")) as file:
        cut = {"chunks": (step, *values.shape[1:]), "maxshape": (None, *values.shape[1:])}
        file.create_dataset("features", data=values, **cut, **options)
    return path


def starts(path: Path, step: int = 1) -> np.ndarray | None:
    """What the index says of `features`."""
    with opened(path) as file:
        found = item(file, "features")
        assert found is not None
        lengths = (step, *found.shape[1:], found.dtype.itemsize)
        cut = Chunks(rows=found.shape[0], lengths=lengths)
        return chunk_starts(file.get_vfd_handle(), found.header, cut)


def told(path: Path) -> list[int]:
    """Where the chunks of `features` start, as HDF5 tells."""
    with h5py.File(path, "r") as file:
        found: list[Any] = []
        file["features"].id.chunk_iter(found.append)
        return [chunk.byte_offset for chunk in sorted(found, key=lambda chunk: chunk.chunk_offset)]


@pytest.mark.parametrize(("rows", "step"), [(1, 1), (57, 1), (201, 1), (4000, 1), (300, 3)])
def test_the_index_is_that_of_hdf5(tmp_path: Path, rows: int, step: int) -> None:
    values = foreign_bags.vectors(0, rows, 4)
    path = made(tmp_path / "x.h5", values, step)
    found = starts(path, step)
    assert found is not None and found.tolist() == told(path)


def test_rows_that_were_written_in_any_order_are_read_in_theirs(tmp_path: Path) -> None:
    values = foreign_bags.vectors(0, 300, 4)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        cut = {"chunks": (1, 4), "maxshape": (None, 4), "dtype": "f4"}
        file.create_dataset("features", (100, 4), **cut)
        for row in np.random.default_rng(0).permutation(100):
            file["features"][row] = values[row]
        file["features"].attrs.update({f"later-{number}": number for number in range(20)})
        file["features"].resize((300, 4))  # as CLAM appends
        file["features"][100:] = values[100:]
    found = starts(path)
    assert found is not None and found.tolist() == told(path)
    bag = Hdf5Bag("x", path)
    assert np.array_equal(bag.values(bag.form()).vectors, values)


@pytest.mark.parametrize("libver", ["v110", "latest"])
def test_of_another_index_hdf5_is_asked(tmp_path: Path, libver: str) -> None:
    values = foreign_bags.vectors(0, 70, 4)
    path = made(tmp_path / "x.h5", values, libver=libver)
    assert starts(path) is None
    bag = Hdf5Bag("x", path)
    form = bag.form()
    assert form.extents == (None, None)
    assert np.array_equal(bag.values(form).vectors, values)


def test_a_damaged_index_gives_no_other_values_than_hdf5(tmp_path: Path) -> None:
    """Single bytes of header and index are changed: a bag that is taken has what HDF5 reads."""
    whole = made(tmp_path / "x.h5", foreign_bags.vectors(0, 130, 4)).read_bytes()
    assert starts(tmp_path / "x.h5") is not None
    nodes = [at for at in range(len(whole)) if whole.startswith(b"TREE\x01", at)]
    assert len(nodes) > 2
    places = [*range(800, 1100), *(at + step for at in nodes for step in range(24 + 57 * 40 + 32))]
    random = np.random.default_rng(0)
    path = tmp_path / "damaged.h5"
    taken = 0
    for at in random.choice(places, 300):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        bag = Hdf5Bag("x", path)
        try:
            found = bag.values(bag.form()).vectors
        except BagRefused:
            continue
        taken += 1
        with h5py.File(path, "r") as file:
            assert np.array_equal(found, file["features"][...]), at
    assert 30 < taken < 270


def test_a_node_that_is_named_again_and_again_is_not_read_again(tmp_path: Path) -> None:
    path = made(tmp_path / "x.h5", foreign_bags.vectors(0, 300, 4))
    data = bytearray(path.read_bytes())
    nodes = [at for at in range(len(data)) if data.startswith(b"TREE\x01", at)]
    root = next(at for at in nodes if data[at + 5])
    for number in range(int.from_bytes(data[root + 6 : root + 8], "little")):
        child = root + 24 + number * 40 + 32
        data[child : child + 8] = root.to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(DamagedIndex):
        starts(path)


def test_a_chunk_that_hdf5_does_not_find_is_not_made_up(tmp_path: Path) -> None:
    """HDF5 reads zeros for it, without a word."""
    path = made(tmp_path / "x.h5", foreign_bags.vectors(0, 130, 4))
    data = bytearray(path.read_bytes())
    nodes = [at for at in range(len(data)) if data.startswith(b"TREE\x01", at)]
    root = next(at for at in nodes if data[at + 5])
    data[root + 24 + 8] = 1  # the tree is said to begin with row 1
    path.write_bytes(data)
    with h5py.File(path, "r") as file:
        assert not file["features"][0].any() and file["features"].id.get_num_chunks() == 130
    with pytest.raises(BagRefused) as refused:
        Hdf5Bag("x", path).form()
    assert refused.value.rule == "unreadable"


def test_an_index_that_hdf5_knows_otherwise_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = foreign_bags.vectors(0, 70, 4)
    bag = Hdf5Bag("x", made(tmp_path / "x.h5", values))
    monkeypatch.setattr(hdf5_bag, "read_directly", lambda file: None)
    assert bag.form().extents[0] is not None

    def wrong(file: int, header: int, chunks: Chunks) -> np.ndarray:
        return np.arange(chunks.rows, dtype=np.int64)

    monkeypatch.setattr(hdf5_stored.hdf5_index, "chunk_starts", wrong)
    form = bag.form()
    assert form.extents[0] is None
    assert np.array_equal(bag.values(form).vectors, values)
