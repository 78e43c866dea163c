"""Values out of pickles of every protocol, equal to what went in; files of torch; zips."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.errors import SourceError
from dof_arrow.storage import bounded_zip, torch_tensors
from dof_arrow.storage.pickled_values import Limits, Name, Record
from dof_arrow.storage.restricted_pickle import load
from tests.support.legacy import old_classes

VALUES = [
    [None, True, False, 0, -1, 255, 2**31, -(2**40), 2**80, 1.5, float("inf")],
    ["", "é\n", "日本", b"", b"\x00\xff"],
    [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [[]], {}, {"a": {1: "b"}, None: 2.5}],
    [OrderedDict(a=1)],
]
ARRAYS = [
    np.arange(6, dtype="f4").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(6.0)[::2],
    np.arange(3, dtype=">i2"),
    np.zeros((0, 3)),
    np.zeros(()),
    np.array([True, False]),
    np.array(["a", "bb"]),
    np.array([b"ab"]),
    np.zeros(2, "c8"),
    np.float16(2),
    np.int64(3),
    np.bool_(True),
    np.str_("xy"),
    np.str_(""),
]


@pytest.mark.parametrize("protocol", range(6))
def test_values_of_every_protocol(protocol: int) -> None:
    for value in VALUES:
        assert load(pickle.dumps(value, protocol), where="x", allowed={}) == value
    for array in ARRAYS:
        found = load(pickle.dumps(array, protocol), where="x", allowed={})
        assert found.dtype == array.dtype and found.shape == array.shape
        assert np.array_equal(found, array)


@pytest.mark.parametrize("protocol", range(6))
def test_a_value_that_stands_twice_is_one(protocol: int) -> None:
    array = np.arange(3)
    data = pickle.dumps({"a": array, "b": (array, [array])}, protocol)
    found = load(data, where="x", allowed={})
    assert found["a"] is found["b"][0] is found["b"][1][0]


@pytest.mark.parametrize("protocol", range(6))
def test_objects_of_classes_that_are_named(protocol: int) -> None:
    with old_classes() as classes:
        made = classes["DataElementInfo"](a="b")
        made.__dict__["note"] = np.arange(2)
        held = classes["DocumentContainer"]([made])
        data = pickle.dumps(held, protocol)
    allowed = dict.fromkeys(
        ("dof.information.DataElementInfo", "dof.information.DocumentContainer")
    )
    found = load(data, where="x", allowed=allowed)
    assert isinstance(found, Record) and found.name.endswith("DocumentContainer")
    (inner,) = found.items
    assert inner.entries == {"a": "b"} and inner.state["note"].tolist() == [0, 1]
    with pytest.raises(SourceError, match=r"found dof.information"):
        load(data, where="x", allowed={})


def test_makers_and_names() -> None:
    """A maker stands in for a function; a name that is allowed may be a value."""
    data = b"\x80\x02cfractions\nFraction\nK\x03K\x04\x86R."
    made = load(data, where="x", allowed={"fractions.Fraction": lambda a, b: f"{a}/{b}"})
    assert made == "3/4"
    found = load(b"cnumpy\nndarray\n.", where="x", allowed={})
    assert found == Name("numpy.ndarray")


@pytest.mark.parametrize(
    "limits",
    [Limits(bytes=10), Limits(values=20), Limits(expanded=100), Limits(depth=3)],
)
def test_limits(limits: Limits) -> None:
    data = pickle.dumps([[[["a" * 20] * 10]]])
    load(data, where="x", allowed={})
    with pytest.raises(SourceError):
        load(data, where="x", allowed={}, limits=limits)


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_refused_or_seen(seed: int) -> None:
    """Bytes changed at random give a value or a SourceError, and never anything else."""
    rng = np.random.default_rng(seed)
    whole = pickle.dumps({"a": [np.arange(4.0), ("b", 1)], "c": {1: 2}}, int(rng.integers(6)))
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(len(data), size=3):
            data[place] = rng.integers(256)
        try:
            load(bytes(data), where="x", allowed={})
        except SourceError:
            continue


def _tensors() -> list[Any]:
    torch = pytest.importorskip("torch")
    whole = torch.arange(12.0).reshape(3, 4)
    return [
        whole,
        whole.T,
        whole[1:, ::2],
        whole.half(),
        whole.bfloat16(),
        whole.double(),
        whole.long(),
        whole > 3,
        torch.zeros(0, 3),
        torch.nn.Parameter(whole),
    ]


def test_tensors_in_pickles_and_in_files_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    for tensor in _tensors():
        wanted = tensor.detach().float().numpy()
        found = [load(pickle.dumps(tensor), where="x", allowed=torch_tensors.TORCH)]
        value = {"a": tensor, "b": [tensor, 1]}
        old = io.BytesIO()
        torch.save(value, old, _use_new_zipfile_serialization=False)
        read = torch_tensors.read_old(old.getvalue(), "x")
        found += [read["a"], read["b"][0]]
        torch.save(value, tmp_path / "x.pt")
        with bounded_zip.opened(tmp_path / "x.pt") as archive:
            read = torch_tensors.read_zip(archive, "x")
        found += [read["a"], read["b"][0]]
        for array in found:
            assert array.shape == wanted.shape and np.array_equal(array.astype("f4"), wanted)


def test_a_tensor_beyond_its_storage_is_refused() -> None:
    torch = pytest.importorskip("torch")
    data = pickle.dumps(torch.arange(4.0).reshape(2, 2))
    shape = b"K\x02K\x02\x86\x94"
    assert shape in data
    with pytest.raises(SourceError, match="beyond its storage"):
        wide = data.replace(shape, b"K\x02K\x09\x86\x94")
        load(wide, where="x", allowed=torch_tensors.TORCH)


def test_an_archive_within_its_bounds(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", "x" * 1000)
        archive.writestr("é", b"")
        archive.mkdir("folder")
    with bounded_zip.opened(tmp_path / "x") as found:
        assert found.names == ("a/b.txt", "é") and "folder/" not in found
        assert found.read("a/b.txt") == b"x" * 1000 and found.read("é") == b""
        assert found.size("a/b.txt") == 1000
        with pytest.raises(SourceError, match="missing"):
            found.read("c")
    for limits in (bounded_zip.Limits(members=2), bounded_zip.Limits(bytes=999)):
        with (
            pytest.raises(SourceError, match=r"too m"),
            bounded_zip.opened(tmp_path / "x", limits),
        ):
            pass
