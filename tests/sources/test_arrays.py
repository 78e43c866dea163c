"""Pictures in .npy, .npz and HDF5 files, with arrays beside them."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.errors import MissingExtra, PictureError, SourceError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.rewrite.foreign.import_file import import_file
from dof_arrow.sources import arrays
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Sample
from tests.support.shared import shared_data

PICTURES = np.random.default_rng(0).integers(0, 256, (12, 9, 7), dtype=np.uint8)
BESIDE: dict[str, Any] = {
    "finding": np.array([0, 1] * 6),
    "who": np.array([f"p{i // 3}" for i in range(12)]),
    "cofactors": np.arange(24.0).reshape(12, 2) / 4,
    "age": np.arange(12) + 30,
    "short": np.arange(3),
}


def save(
    kind: str, folder: Path, pictures: np.ndarray = PICTURES, beside: dict[str, Any] = BESIDE
) -> Path:
    path = folder / f"x.{kind}"
    if kind == "h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, values in {"pictures": pictures, **beside}.items():
                texts = values.dtype.kind == "U"
                file.create_dataset(
                    name,
                    data=values.astype(object) if texts else values,
                    **({} if texts else {"chunks": True, "compression": "gzip"}),
                )
    elif kind == "npy":
        np.save(path, pictures)
        for name, values in beside.items():
            np.save(folder / f"{name}.npy", values)
    else:
        saver = np.savez if kind == "npz" else np.savez_compressed
        with path.open("wb") as file:
            saver(file, pictures=pictures, **beside)
    return path


def pixels(source: Listing, index: int) -> np.ndarray:
    return source[index].picture(mode="L")[0][..., 0]


@pytest.mark.parametrize("kind", ["npy", "npz", "packed", "h5"])
def test_row_G9_arrays_with_labels_and_tabular_co_factors(kind: str, tmp_path: Path) -> None:
    """Row G9: numpy and HDF5 sources, columns beside pictures."""
    source = open_source(
        save(kind, tmp_path), label="finding", group="who", keep=["cofactors", "age"]
    )
    assert len(source) == 12 and source.targets == {
        "finding": Target(kind="category", classes=("0", "1"))
    }
    assert source.kept == {"cofactors_0": "float64", "cofactors_1": "float64", "age": "int64"}
    seventh = source[7]
    assert (seventh.key, seventh.group, seventh.target) == ("07", "p2", {"finding": 1})
    assert seventh.kept == {"cofactors_0": 3.5, "cofactors_1": 3.75, "age": 37}
    assert all(np.array_equal(pixels(source, i), PICTURES[i]) for i in (11, 0, 5))
    assert source[-1].key == "11" and np.array_equal(pixels(source, -1), PICTURES[-1])


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_row_G9_arrays_without_co_factors(kind: str, tmp_path: Path) -> None:
    """Row G9: what crashed the generator that this succeeds."""
    source = open_source(save(kind, tmp_path, beside={}))
    assert len(source) == 12 and not source.targets and not source.kept and not source.has_group
    assert np.array_equal(pixels(source, 3), PICTURES[3])
    (tmp_path / "t.csv").write_text("number,label\n03,a\n7,b\n")
    joined = open_source(
        tmp_path / f"x.{kind}", table=tmp_path / "t.csv", key="number", label="label"
    )
    assert [joined[i].data is None for i in range(2)] == [False, True]
    assert np.array_equal(pixels(joined, 0), PICTURES[3])


def test_a_folder_of_npy_files_is_one_source(tmp_path: Path) -> None:
    save("npy", tmp_path)
    source = open_source(tmp_path, label="finding")
    assert len(source) == 12 and np.array_equal(pixels(source, 5), PICTURES[5])


def test_samples_cross_processes_and_know_when_they_change(tmp_path: Path) -> None:
    for kind in ("npy", "npz", "packed", "h5"):
        source = open_source(save(kind, tmp_path), label="finding")
        again = pickle.loads(pickle.dumps(source))
        assert (
            np.array_equal(pixels(again, 4), PICTURES[4]) and again[4].stamp() == source[4].stamp()
        )
        stamp = source[4].stamp()
        (tmp_path / f"x.{kind}").write_bytes(b"")
        assert source[4].stamp() != stamp


def test_a_file_that_shrinks_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = save("npy", tmp_path)
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(PictureError, match="ends too early"):
        source[11].load()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3, 8, 6), np.uint16),
        ((3, 8, 6, 1), np.float32),
        ((3, 8, 6, 3), np.uint8),
        ((3, 3, 8, 6), np.uint8),
        ((3, 8, 6, 4), np.uint8),
        ((3, 8, 6), np.int16),
        ((3, 8, 6), bool),
        ((3, 8, 6), np.float16),
    ],
)
def test_shapes_and_types(shape: tuple[int, ...], dtype: Any, tmp_path: Path) -> None:
    values = (np.random.default_rng(0).random(shape) * 250).astype(dtype)
    np.save(tmp_path / "x.npy", np.asfortranarray(values) if dtype == np.int16 else values)
    made, facts = open_source(tmp_path / "x.npy")[1].picture()
    assert made.shape == (8, 6, 3) and made.dtype == np.uint8
    assert facts.format == "array" and facts.bits == (
        1 if dtype is bool else 8 * values.dtype.itemsize
    )
    if shape == (3, 8, 6, 3):
        assert np.array_equal(made, values[1])
    if shape == (3, 3, 8, 6):
        assert np.array_equal(made, values[1].transpose(1, 2, 0))


def test_the_parts_of_medmnist_are_one(tmp_path: Path) -> None:
    source = open_source(
        shared_data() / "images" / "pneumoniamnist.npz", label="labels", split="split"
    )
    assert len(source) == 3166 and source.targets["labels"].classes == ("0", "1")
    raw = np.load(shared_data() / "images" / "pneumoniamnist.npz")
    for index, part, split in (
        (0, "train", "train"),
        (2428, "val", "valid"),
        (3165, "test", "test"),
    ):
        at = {"train": 0, "val": 0, "test": -1}[part]
        assert np.array_equal(pixels(source, index), raw[f"{part}_images"][at])
        assert source[index].split == split and source[index].target == {
            "labels": raw[f"{part}_labels"][at, 0]
        }


def test_two_dimensional_labels_are_several_at_once(tmp_path: Path) -> None:
    hot = np.array([[1, 0, 1], [0, 0, 0]] * 6)
    source = open_source(save("npz", tmp_path, beside={"y": hot}), label="y")
    assert source.targets["y"] == Target(kind="multilabel", classes=("0", "2"))
    assert [source[i].target["y"] for i in range(2)] == [[0, 1], []]


def test_names_come_from_an_array(tmp_path: Path) -> None:
    names = np.array([f"n{i}" for i in range(12)])
    assert open_source(save("npz", tmp_path, beside={"name": names}), key="name")[3].key == "n3"
    names[1] = "n0"
    with pytest.raises(SourceError, match="stands twice"):
        open_source(save("npz", tmp_path, beside={"name": names}), key="name")


def test_what_cannot_be_meant(tmp_path: Path) -> None:
    path = save(
        "npz", tmp_path, beside={"masks": PICTURES, "age": np.arange(12), "short": np.arange(3)}
    )
    with pytest.raises(SourceError, match=r"several arrays.*--pictures"):
        open_source(path)
    assert len(open_source(path, pictures="masks")) == 12
    with pytest.raises(UsageError, match="expected pictures, age, found short"):
        open_source(path, pictures="masks", label="short")
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(path, pictures="age")
    with pytest.raises(UsageError, match="too many axes"):
        open_source(path, pictures="masks", label="pictures")
    with pytest.raises(SourceError, match="no array could be"):
        open_source(save("npz", tmp_path, pictures=np.arange(3), beside={}))
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(save("npy", tmp_path, pictures=np.zeros((0, 3, 3)), beside={}))


def test_nothing_is_unpickled_and_damage_is_said(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (tmp_path / "boom").touch, ()

    np.save(tmp_path / "x.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(SourceError, match="pickled objects"):
        open_source(tmp_path / "x.npy")
    assert not (tmp_path / "boom").exists()
    good = save("npz", tmp_path).read_bytes()
    npy = b"\x93NUMPY\1\0"
    for data in (
        b"PK\3\4",
        good[:500],
        npy,
        npy + b"\x10\0{'a': 1}         ",
        b"\x89HDF\r\n\x1a\n",
    ):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises((SourceError, MissingExtra)):
            open_source(tmp_path / "bad")
    file = io.BytesIO()
    np.save(file, PICTURES)
    (tmp_path / "x.npy").write_bytes(file.getvalue()[:200])
    with pytest.raises(SourceError, match="damaged"):
        open_source(tmp_path / "x.npy")


def test_a_compressed_npz_is_unpacked_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save("packed", tmp_path)
    monkeypatch.setattr("dof_arrow.sources.array_files.MAX_UNPACKED", 100)
    with pytest.raises(SourceError, match=r"numpy\.savez"):
        open_source(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()


def test_hdf5_values_in_other_files_are_left_out(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "raw").write_bytes(bytes(12 * 63))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a/outside", (12, 9, 7), "u1", external=str(tmp_path / "raw"))
        file.create_dataset("a/inside", data=PICTURES)
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
    source = open_source(tmp_path / "x.h5")
    assert np.array_equal(pixels(source, 2), PICTURES[2])


def test_pictures_beyond_the_bounds_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        # Of no bytes on disk, and 3.6 GB in memory.
        file.create_dataset("x", (2, 60_000, 60_000), np.uint8, chunks=(1, 1000, 1000))
    huge = open_source(tmp_path / "huge.h5")
    np.save(tmp_path / "small.npy", np.zeros((2, 30, 40, 3), np.uint16))
    small = open_source(tmp_path / "small.npy")
    monkeypatch.setattr(arrays.Plane, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(PictureError, match="found 60000 x 60000") as caught:
        huge[0].picture()
    assert caught.value.rule == "too-large"
    with pytest.raises(PictureError, match="expected at most 1199, found 40 x 30"):
        small[0].picture(reading=ReadingOptions(max_pixels=1199))
    monkeypatch.undo()
    assert small[0].picture(reading=ReadingOptions(max_pixels=1200))[0].shape == (30, 40, 3)
    with pytest.raises(PictureError, match="at most 1073741824 bytes"):
        huge[1].load()


def test_arrays_in_memory_keep_the_bound_that_is_asked_for() -> None:
    reading = ReadingOptions(max_pixels=11)
    for shape in ((3, 4), (3, 4, 1), (3, 4, 4)):
        with pytest.raises(PictureError, match="too many pixels"):
            Sample(key="k", data=np.zeros(shape, np.uint8)).picture(reading=reading)


NUMBERS = np.array([0, 1, 2] * 4)


@pytest.mark.parametrize("type_", [">i2", ">i4", ">i8", ">u8", ">f4", ">f8"])
@pytest.mark.parametrize("kind", ["npy", "npz", "packed", "h5"])
def test_labels_and_pictures_of_the_other_byte_order(kind: str, type_: str, tmp_path: Path) -> None:
    deep = PICTURES.astype(np.uint16) * 257
    path = save(kind, tmp_path, deep.astype(">u2"), {"finding": NUMBERS.astype(type_)})
    source = open_source(path, label="finding")
    assert [source[place].target["finding"] for place in range(12)] == NUMBERS.tolist()
    for place in (0, 11):
        assert np.array_equal(pixels(source, place), deep[place] >> 8)
        assert source[place].load().dtype == np.uint16


@pytest.mark.parametrize("shape", [(12, 1), (12, 1, 1), (12, 1, 1, 1)])
@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_labels_with_axes_of_length_1(kind: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = save(kind, tmp_path, beside={"finding": NUMBERS.reshape(shape)})
    source = open_source(path, label="finding")
    assert [source[place].target["finding"] for place in range(12)] == NUMBERS.tolist()
    assert np.array_equal(pixels(source, 5), PICTURES[5])


@pytest.mark.parametrize("block", [0, 512, 2048])
def test_hdf5_behind_a_user_block(block: int, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.data"
    with h5py.File(path, "w", userblock_size=block) as file:
        file["x"] = PICTURES
        file["finding"] = NUMBERS
    source = open_source(path, label="finding")
    assert len(source) == 12 and np.array_equal(pixels(source, 7), PICTURES[7])


def test_matlab_files_are_refused_whose_pictures_would_be_turned(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = PICTURES
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    with pytest.raises(SourceError, match="axes in reverse order"):
        open_source(path)


@pytest.mark.parametrize("header", [b"(" * 3000, b"{" * 3000, b"(" + b"-" * 50_000])
def test_a_header_that_python_cannot_read_is_refused(header: bytes, tmp_path: Path) -> None:
    data = b"\x93NUMPY\x01\x00" + len(header + b"\n").to_bytes(2, "little") + header + b"\n"
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(SourceError, match=r"x\.npy"):
        open_source(tmp_path / "x.npy")
    with pytest.raises(SourceError, match=r"x\.npy"):
        import_file(tmp_path / "x.npy", out=tmp_path / "o.parquet")


@pytest.mark.parametrize(
    "header", [b"[[[", b'{"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}']
)
def test_damaged_safetensors_and_a_number_alone_are_refused(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(SourceError, match="not a sound safetensors file"):
        import_file(path, out=tmp_path / "o.parquet")
    np.save(tmp_path / "x.npy", np.float32(1))
    with pytest.raises(SourceError, match="no vectors"):
        import_file(tmp_path / "x.npy", out=tmp_path / "o.parquet")
