"""Attributes of strangers: numbers and short texts are taken, nothing else, and no paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.rewrite.foreign.hdf5_attributes import said
from dof_arrow.rewrite.foreign.hdf5_file import opened

h5py = pytest.importorskip("h5py")

CASES: dict[str, tuple[Any, Any]] = {
    "whole": (np.int64(512), 512),
    "unsigned": (np.uint8(7), 7),
    "one in a list": (np.array([20], "i4"), 20),
    "fraction": (np.float32(0.5), 0.5),
    "flag": (True, True),
    "text": ("uni_v1", "uni_v1"),
    "bytes": (np.bytes_(b"uni_v2"), "uni_v2"),
    "bytes that are no letters": (np.bytes_(b"a\xff"), "a\ufffd"),
    "letters that move the cursor": ("uni\x1b[2J", "uni[2J"),
    "a long text": ("a" * 300, "a" * 200),
    "a path": ("/home/canary/slides", None),
    "a path elsewhere": ("C:\\canary", None),
    "nothing": ("", None),
    "None": ("None", None),
    "several": (np.arange(3), None),
    "too large to be exact": (1 << 60, None),
    "not a number": (np.nan, None),
    "infinite": (np.inf, None),
    "too much": (np.bytes_(b"a" * 5000), None),
    "complex": (1 + 2j, None),
    "a pair": (np.array((1, 2.0), [("a", "i4"), ("b", "f4")]), None),
    "empty": (h5py.Empty("f4"), None),
    "array type": (np.zeros((), "(3,)f4"), None),
}


def test_numbers_and_short_texts_are_taken_alone(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, (value, _) in CASES.items():
            file.attrs.create(name, value)
        file.attrs["reference"] = file.ref
        file.attrs["not looked at"] = 1
    with opened(tmp_path / "x.h5") as file:
        found = said([file], [*CASES, "reference"])
    assert found == {name: value for name, (_, value) in CASES.items() if value is not None}
    assert found["flag"] is True


def test_the_first_owner_is_believed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs.update({"core": "of the file", "unit": "um"})
        file["coords"] = np.zeros(1)
        file["coords"].attrs["core"] = "of the places"
    with opened(tmp_path / "x.h5") as file:
        inner = h5py.h5o.open(file, b"coords")
        assert said([inner, file], {"core", "unit"}) == {"core": "of the places", "unit": "um"}
