"""Unusual inputs give the values that their own libraries read, or a clear refusal."""

from __future__ import annotations

import io
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import SourceError, UsageError
from dof_arrow.rewrite.foreign.import_file import import_file
from tests.support import foreign_bags

X = foreign_bags.vectors(3, 7, 4)


def taken(source: Path) -> Dataset:
    """What is converted, opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = source.with_name(f"{source.name}.parquet")
        if source.suffix in (".h5", ".pt"):
            return dof.open(dof.convert(source, out, ids="name"))
        return dof.open(dof.convert(source, out))


def refusal(source: Path) -> str:
    """Why nothing of it is converted."""
    with pytest.raises((SourceError, UsageError)) as refused:
        taken(source)
    return str(refused.value)


@pytest.mark.parametrize("is_new", [True, False])
def test_tensors_are_seen_as_torch_sees_them(tmp_path: Path, is_new: bool) -> None:
    """The imaginary part of a conjugate is stored as it was, and negated where it is read."""
    torch = pytest.importorskip("torch")
    base = torch.tensor(X)
    views = {
        "negated": torch.complex(base, base).conj().imag,
        "negated rows": torch.complex(base, base).conj().imag[1::2, ::2],
        "conjugate": torch.complex(base, base).conj().real,
        "turned": torch.tensor(X.T.copy()).T,
        "every second": base[::2, 1::2],
        "spread": base[:1].expand(5, 4),
        "bfloat16": base.bfloat16(),
        "double": base.double()[2:],
        "shared": {"features": base[2:5], "rest": base},
    }
    for name, view in views.items():
        path = tmp_path / f"{name}.pt"
        torch.save(view, path, _use_new_zipfile_serialization=is_new)
        wanted = view["features"] if isinstance(view, dict) else view
        seen = wanted.float().resolve_neg().numpy()
        assert np.array_equal(taken(path).to_numpy(), seen), name
        assert (seen[0, 0] == -X[0, 0]) == (name == "negated")


def test_a_tensor_that_is_seen_in_an_unknown_way_is_refused() -> None:
    from dof_arrow.storage.pickled_values import Refused
    from dof_arrow.storage.torch_tensors import Storage, _tensor

    floats, flags = Storage(np.ones(2, "f4")), Storage(np.ones(2, bool))
    assert _tensor(floats, 0, (2,), (1,), False, None, {"neg": True}).tolist() == [-1, -1]
    for storage, about in (
        (floats, {"conj": True}),
        (floats, {"neg": 1, "x": 2}),
        (flags, {"neg": True}),
    ):
        with pytest.raises(Refused):
            _tensor(storage, 0, (2,), (1,), False, None, about)


def _own_type(file: Any, name: str, values: np.ndarray, kind: Any) -> None:
    import h5py

    space = h5py.h5s.create_simple(values.shape)
    made = h5py.h5d.create(file.id, name.encode(), kind, space)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)


def test_numbers_that_only_hdf5_knows_are_read_by_it(tmp_path: Path) -> None:
    """h5py names a type of numpy for them, in which they do not stand in the file."""
    h5py = pytest.importorskip("h5py")
    short = h5py.h5t.IEEE_F32LE.copy()  # bfloat16
    short.set_fields(15, 7, 8, 0, 7)
    short.set_size(2)
    other = h5py.h5t.IEEE_F32LE.copy()
    other.set_ebias(100)
    shifted = h5py.h5t.STD_I32LE.copy()
    shifted.set_precision(20)
    shifted.set_offset(8)
    for name, kind in {"short": short, "other": other}.items():
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            _own_type(file, "features", X, kind)
            _own_type(file, "coords", foreign_bags.places(7).astype("i4"), shifted)
        with h5py.File(path, "r") as file:
            vectors, places = file["features"][...], file["coords"][...]
        assert np.array_equal(places, foreign_bags.places(7))
        found = taken(path)
        assert np.array_equal(found.to_numpy(), vectors.astype("f4"))
        assert np.array_equal(np.stack([found.to_numpy("x"), found.to_numpy("y")], 1), places)


BAD_PLACES: dict[str, Any] = {
    "texts": np.array(["1"] * 7, "S3"),
    "pairs": np.zeros(7, [("x", "i4"), ("y", "i4")]),
    "flags": np.zeros((7, 2), bool),
    "fewer": foreign_bags.places(6),
    "more": foreign_bags.places(8),
    "three": np.zeros((7, 3), "i4"),
    "between pixels": foreign_bags.places(7) + 0.5,
}


@pytest.mark.parametrize("kind", [*BAD_PLACES, "nothing", "a group"])
def test_places_of_another_kind_are_told_of_as_places(tmp_path: Path, kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["features"] = X
        if kind == "a group":
            file.create_group("coords")
        else:
            file["coords"] = BAD_PLACES.get(kind, h5py.Empty("i4"))
    assert "coordinates that do not fit" in refusal(path)


def test_no_values_are_no_damage(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["features"] = h5py.Empty("f4")
    assert "found no vector" in refusal(path)


def test_a_flag_is_no_size(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["features"], file["coords"] = X, foreign_bags.places(7)
        file.attrs.update({"tile_size_um": True, "tile_size_px": True, "patch_level": True})
    assert {"mpp", "level"}.isdisjoint(taken(path).schema.names)


def _safe(path: Path, tensors: dict[str, Any]) -> Path:
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from safetensors.torch import save_file

    save_file({name: torch.tensor(values) for name, values in tensors.items()}, str(path))
    return path


def test_safetensors_are_read_without_their_library(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.safetensors"
    _safe(path, {"x": X})
    assert np.array_equal(taken(path).to_numpy(), X)
    from safetensors.torch import save_file

    narrow = torch.tensor(X).bfloat16()
    save_file({"x": narrow, "flags": torch.ones(3, dtype=torch.bool)}, tmp_path / "b.safetensors")
    found = import_file(tmp_path / "b.safetensors", out=tmp_path / "b.parquet", vector="x")
    assert np.array_equal(found.to_numpy(), narrow.float().numpy())
    save_file({"x": narrow.to(torch.float8_e4m3fn)}, tmp_path / "c.safetensors")
    assert "F8_E4M3" in refusal(tmp_path / "c.safetensors")
    _safe(tmp_path / "d.safetensors", {"x": X, "y": X})
    assert "dof import" in refusal(tmp_path / "d.safetensors")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda whole: b"",
    "cut": lambda whole: whole[:-4],
    "more": lambda whole: whole + bytes(4),
    "a long head": lambda whole: (1 << 62).to_bytes(8, "little") + whole[8:],
    "no JSON": lambda whole: whole[:8] + b"x" + whole[9:],
    "a list": lambda whole: (2).to_bytes(8, "little") + b"[]",
    "a word": lambda whole: (11).to_bytes(8, "little") + b'{"x": "abc"}'[:11] + b" ",
    "no place": lambda whole: whole.replace(b"data_offsets", b"data_offsetz"),
    "a negative length": lambda whole: whole.replace(b"[7,4]", b"[-7,4]".rjust(5)),
    "another shape": lambda whole: whole.replace(b"[7,4]", b"[7,5]"),
    "another place": lambda whole: whole.replace(b"[0,112]", b"[1,113]"),
    "a fraction": lambda whole: whole.replace(b"[7,4]", b"[7.0]"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_safetensors_are_refused(tmp_path: Path, kind: str) -> None:
    path = _safe(tmp_path / "x.safetensors", {"x": X})
    whole = path.read_bytes()
    damaged = DAMAGE[kind](whole)
    assert damaged != whole
    path.write_bytes(damaged)
    assert "not a sound safetensors file" in refusal(path)


def _folder(root: Path, arrays: list[np.ndarray], rows: int | None = None) -> Path:
    (root / "img_emb").mkdir(parents=True)
    for number, array in enumerate(arrays):
        np.save(root / "img_emb" / f"img_emb_{number}.npy", array)
    if rows is not None:
        (root / "metadata").mkdir()
        pq.write_table(pa.table({"key": range(rows)}), root / "metadata" / "metadata_0.parquet")
    return root


@pytest.mark.parametrize("order", [1, -1])
def test_arrays_of_narrow_and_wide_floats_meet_in_the_wider_type(
    tmp_path: Path, order: int
) -> None:
    arrays = [X, X.astype("f2"), X.astype(">f2"), X.astype(">f4")][::order]
    data = taken(_folder(tmp_path / "in", arrays))
    assert data.to_numpy().dtype == np.float32
    assert np.array_equal(data.to_numpy(), np.concatenate([each.astype("f4") for each in arrays]))


def test_the_order_of_bytes_is_no_other_type(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X.astype(">f2"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = dof.open(dof.convert(tmp_path / "x.npy", tmp_path / "x.parquet"))
    assert data.to_numpy().dtype == np.float16
    assert np.array_equal(data.to_numpy(), X.astype("f2"))


def test_a_table_of_other_rows_is_refused_though_no_column_is_asked_for(tmp_path: Path) -> None:
    assert "7" in refusal(_folder(tmp_path / "in", [X], rows=2))
    assert len(taken(_folder(tmp_path / "whole", [X], rows=7))) == 7


def test_arrays_without_rows_or_axes_are_no_vectors(tmp_path: Path) -> None:
    for name, array in {"a": np.float32(3), "b": X[0], "c": X[:0]}.items():
        np.save(tmp_path / f"{name}.npy", array)
        assert "no vectors" in refusal(tmp_path / f"{name}.npy")
    np.savez(tmp_path / "d.npz")
    assert "no array in the file" in refusal(tmp_path / "d.npz")


def test_lists_of_lists_are_vectors_of_two_axes(tmp_path: Path) -> None:
    """As Hugging Face `datasets` writes an `Array2D`."""
    cells = X[:6].reshape(6, 2, 2)
    for number, column in enumerate([pa.array(cells.tolist()), pa.array(list(X[:6]))]):
        made = dof.from_arrow(
            pa.table({"e": column.cast(_floats(column.type))}),
            vector="e",
            out=tmp_path / f"{number}.parquet",
        )
        assert np.array_equal(made.to_numpy(), X[:6])
        assert tuple(made.row_shape("feature")) == ((2, 2), (4,))[number]
    for wrong, rows in (
        ([[1.0, 2.0], [3.0]], "1, 2"),
        ([[1.0, None], [3.0, 4.0]], "1, 2"),
        (None, "1, 2"),
    ):
        values = [cells[0].tolist(), wrong, wrong, cells[1].tolist()]
        table = pa.table({"e": pa.array(values, pa.list_(pa.list_(pa.float32())))})
        with pytest.raises(SourceError, match=f"2 rows that are not, from 0: {rows}"):
            dof.from_arrow(table, vector="e", out=tmp_path / "x.parquet")


def _floats(kind: pa.DataType) -> pa.DataType:
    is_nested = pa.types.is_list(kind.value_type)
    return pa.list_(_floats(kind.value_type)) if is_nested else pa.list_(pa.float32())


@pytest.mark.parametrize("names", [("a.img", "a.txt", "b.img"), ("a.img", "b.img", "x.y/a.img")])
def test_several_arrays_of_a_sample_are_told_of(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Of a picture and of its text, say, which then stand in one column."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for row, name in enumerate(names):
            sink = io.BytesIO()
            np.save(sink, X[row])
            member = tarfile.TarInfo(f"{name}.npy")
            member.size = sink.tell()
            sink.seek(0)
            archive.addfile(member, sink)
    with pytest.warns(dof.DofWarning) as told:
        data = dof.open(dof.convert(tmp_path / "x.tar", tmp_path / "x.parquet", ids="name"))
    assert len(data) == 3
    said = "; ".join(str(each.message) for each in told)
    assert ("2 members have names that differ" in said) == ("a.txt" in names)


def test_a_dictionary_of_datasets_is_no_dataset(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_dict({"e": X.tolist()})
    both = datasets.DatasetDict(train=part, test=part)
    with pytest.raises(
        UsageError, match=r"several tables: expected one dataset, found train, test"
    ):
        dof.from_arrow(both, vector="e", out=tmp_path / "x.parquet")
