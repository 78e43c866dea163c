"""Files of torch's first form: read like torch reads them, and nothing else is let in."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.cores.origins.torch_file import read_tensors
from dof_arrow.errors import CoreError

MAGIC = 0x1950A86A20F9469CFC6C


def saved(tensors: dict[str, Any]) -> bytes:
    """What torch writes in its first form."""
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save(OrderedDict(tensors), file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def beginning() -> bytes:
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return b"".join(pickle.dumps(each, 2) for each in (MAGIC, 1001, facts))


def calling(module: str, name: str) -> bytes:
    """A file whose description calls a function without arguments."""
    return beginning() + f"c{module}\n{name}\n)R.".encode() + pickle.dumps([], 2)


def described(shape: str, stride: str, count: int, offset: int = 0, after: str = "") -> bytes:
    """A file of one tensor `t` of `count` numbers, written opcode by opcode."""
    storage = f"(Vstorage\nctorch\nFloatStorage\nVk\nVcpu\nI{count}\nNtQ"
    tensor = (
        f"ctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n{shape}{stride}I00\nNtR{after}"
    )
    text = f"ccollections\nOrderedDict\n)RVt\n{tensor}s.".encode()
    numbers = struct.pack("<q", count) + np.arange(count, dtype="<f4").tobytes()
    return beginning() + text + pickle.dumps(["k"], 2) + numbers


def test_tensors_are_torchs_in_any_order_of_their_axes() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    made = {
        "plain": torch.randn(4, 3, 2, 2),
        "turned": torch.randn(2, 2, 3, 4).permute(3, 2, 0, 1),
        "part": torch.randn(10, 6)[2:5, ::2],
        "number": torch.tensor(7),
        "none": torch.empty(0, 3),
    }
    found = read_tensors(saved(made), "x.pth")
    assert list(found) == list(made)
    for name, tensor in made.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
        assert found[name].dtype == tensor.numpy().dtype


def test_a_description_is_read_opcode_by_opcode() -> None:
    found = read_tensors(described("(I2\nI3\nt", "(I3\nI1\nt", 6), "x.pth")["t"]
    np.testing.assert_array_equal(found, np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "getcwd"),
        ("builtins", "getattr"),
        ("builtins", "eval"),
        ("torch", "DoubleStorage"),
        ("torch.nn.modules.linear", "Linear"),
        ("collections", "Counter"),
        ("dof_arrow.storage.torch_tensors", "_tensor"),
    ],
)
def test_other_names_are_refused(module: str, name: str) -> None:
    with pytest.raises(CoreError, match=f"found {module}.{name}"):
        read_tensors(calling(module, name), "x.pth")


def test_a_dictionary_is_not_called() -> None:
    with pytest.raises(CoreError, match="no file of tensors"):
        read_tensors(calling("builtins", "dict"), "x.pth")


@given(
    st.text(st.characters(codec="ascii", categories=["L", "Nd"]), min_size=1),
    st.text(st.characters(codec="ascii", categories=["L", "Nd"]), min_size=1),
)
def test_any_other_name_is_refused_before_it_is_imported(module: str, name: str) -> None:
    with pytest.raises(CoreError, match="no file of tensors"):
        read_tensors(calling(module, name), "x.pth")


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "after"),
    [
        ("(I3\nI3\nt", "(I3\nI1\nt", 0, ""),  # more numbers than there are
        ("(I2\nI3\nt", "(I4\nI1\nt", 0, ""),  # reaches beyond
        ("(I2\nI3\nt", "(I3\nI1\nt", 1, ""),
        ("(I2\nI3\nt", "(I3\nI1\nt", -1, ""),
        ("(I2\nI-3\nt", "(I3\nI1\nt", 0, ""),
        ("(I99999999999\nt", "(I0\nt", 0, ""),  # one number, very often
        ("(I2\nt", "(I-1\nt", 1, ""),
        ("(I6\nt", "(I1\nI1\nt", 0, ""),
        ("(I6\nt", "(I1\nt", 0, "(dVoffset\nI4\nsb"),  # changed after it was checked
    ],
)
def test_a_tensor_lies_within_its_storage(shape: str, stride: str, offset: int, after: str) -> None:
    with pytest.raises(CoreError, match="no file of tensors"):
        read_tensors(described(shape, stride, 6, offset, after), "x.pth")


@given(st.data())
def test_a_damaged_file_is_refused_or_read(data: st.DataObject) -> None:
    """Whatever is changed, nothing but a CoreError comes of it."""
    whole = described("(I2\nI3\nt", "(I3\nI1\nt", 6)
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] = data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.integers(0, len(whole)))])
    for damaged in (bytes(changed), cut):
        try:
            read_tensors(damaged, "x.pth")
        except CoreError as error:
            assert "x.pth" in str(error)
