"""What is read from an HDF5 file's bytes is what HDF5 reads, or HDF5 is asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.rewrite.foreign import hdf5_bag, hdf5_direct
from dof_arrow.rewrite.foreign.bag import BagForm, BagRefused
from dof_arrow.rewrite.foreign.hdf5_bag import Hdf5Bag, read_directly
from tests.support import foreign_bags

h5py = pytest.importorskip("h5py")

Known = tuple[BagForm | str, bytes | str, bytes | None]


def is_direct(path: Path) -> bool:
    """Whether a file is read without HDF5."""
    with path.open("rb") as file:
        return read_directly(file.fileno()) is not None


def known(path: Path) -> Known:
    """What is known of a bag: its form, its vectors and places as bytes, or why it is refused."""
    bag = Hdf5Bag("x", path)
    try:
        form = bag.form()
        values = bag.values(form)
    except BagRefused as error:
        return error.rule, "", None
    places = None if values.places is None else values.places.tobytes()
    return replace(form, extents=(None, None)), values.vectors.tobytes(), places


def by_hdf5(path: Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    """The same where nothing is read directly."""
    with monkeypatch.context() as patch:
        patch.setattr(hdf5_bag, "read_directly", lambda file: None)
        return known(path)


@pytest.mark.parametrize("layout", foreign_bags.LAYOUTS)
@pytest.mark.parametrize("rows", [1, 5, 200])
def test_files_of_known_programs_are_read_without_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, rows: int
) -> None:
    path = tmp_path / "x.h5"
    values = foreign_bags.write(layout, path, 7, rows)
    wanted = by_hdf5(path, monkeypatch)
    monkeypatch.setattr(hdf5_bag, "opened", None)
    assert is_direct(path) and known(path) == wanted
    assert wanted[1] == values.tobytes() and wanted[2]
    assert isinstance(wanted[0], BagForm) and bool(wanted[0].facts) == (layout != "clam")


@pytest.mark.parametrize("layout", foreign_bags.LAYOUTS)
def test_damage_is_what_it_is_to_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """Single bytes are changed, words are exchanged, the file is cut."""
    path = tmp_path / "x.h5"
    foreign_bags.write(layout, path, 0, 5, 2)
    whole = path.read_bytes()
    words = np.frombuffer(whole[: len(whole) // 8 * 8], "<u8")
    random = np.random.default_rng(1)
    used = [at for at in range(len(whole)) if any(whole[max(at - 8, 0) : at + 8])]
    taken = 0
    for turn in range(500):
        damaged = bytearray(whole)
        at = int(random.choice(used))
        if turn % 3:
            damaged[at] = random.choice([0, 1, 2, 8, 16, 255, damaged[at] ^ 1 << turn % 8])
        else:
            at &= ~7
            near = int(random.choice(words)) + int(random.integers(-8, 9))
            damaged[at : at + 8] = (near % (1 << 64)).to_bytes(8, "little")
        if turn % 20 == 0:
            del damaged[int(random.integers(at, len(whole))) :]
        # Each is a file of its own: HDF5 may keep one that it cannot close, and then knows it.
        path = tmp_path / f"{turn}.h5"
        path.write_bytes(damaged)
        if is_direct(path):
            taken += 1
            assert known(path) == by_hdf5(path, monkeypatch), (turn, at)
    assert 30 < taken < 400


@pytest.mark.parametrize("layout", foreign_bags.LAYOUTS)
def test_messages_of_any_length_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """Those of one type at a time are cut; of such a file HDF5 is asked."""
    path = tmp_path / "x.h5"
    foreign_bags.write(layout, path, 0, 5, 2)
    whole = hdf5_direct.messages
    for cut, length in itertools.product(range(20), range(30)):

        def shortened(
            data: Any, header: int, cut: int = cut, length: int = length
        ) -> list[tuple[int, bytes]]:
            return [
                (kind, part[:length] if kind == cut else part) for kind, part in whole(data, header)
            ]

        monkeypatch.setattr(hdf5_direct, "messages", shortened)
        is_direct(path)


def _odd(**options: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file["feats"]
        file.create_dataset("feats", **options)

    return change


def _with(name: str, value: Any) -> Callable[[Any], None]:
    return lambda file: file.attrs.create(name, value)


VALUES = foreign_bags.vectors(0, 6, 4)
ODD: dict[str, Callable[[Any], None]] = {
    "big-endian": _odd(data=VALUES, dtype=">f4"),
    "compressed": _odd(data=VALUES, chunks=(2, 4), compression="gzip"),
    "chunks that are no rows": _odd(data=VALUES, chunks=(2, 2)),
    "chunks that do not divide": _odd(data=VALUES, chunks=(4, 4)),
    "compact": _odd(data=VALUES, fillvalue=3.0),
    "a flag": _with("flag", True),
    "a text of one length": _with("extractor", np.bytes_(b"uni")),
    "no text": _with("extractor", ""),
    "a name of other letters": _with("größe", 1),
    "a list": _with("list", np.arange(3)),
    "many attributes": lambda file: file.attrs.update({f"x{n}": n for n in range(80)}),
    "many arrays": lambda file: [file.create_dataset(f"x{n}", data=n) for n in range(40)],
    "a group": lambda file: file.create_group("deeper").create_dataset("x", data=[1]),
    "a link": lambda file: file.__setitem__("soft", h5py.SoftLink("/feats")),
    "a comment": lambda file: file["feats"].attrs.create("x", "a"),
    "a float for an integer": _with("tile_size_px", 224.5),
    "not a number": _with("tile_size_um", np.nan),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("form", ["usual", "user block", "latest"])
def test_odd_files_are_what_they_are_to_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, form: str
) -> None:
    path = tmp_path / "x.h5"
    options: dict[str, Any] = {
        "user block": {"userblock_size": 512},
        "latest": {"libver": "latest"},
    }.get(form, {})
    with h5py.File(path, "w", **options) as file:
        file["feats"] = VALUES
        file["coords"] = foreign_bags.places(6) / 2
        file.attrs.update({"unit": "um", "extractor": "virchow2", "tile_size_um": 256})
        ODD[kind](file)
    wanted = by_hdf5(path, monkeypatch)
    assert known(path) == wanted and wanted[1] == VALUES.tobytes()
    assert form == "usual" or not is_direct(path)


def test_texts_of_any_length_are_those_of_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.h5"
    for text in ("a", "ä" * 199, "b" * 5000, "line\nline", "C:\\canary", "None", "x" * 70_000):
        foreign_bags.write("stamp", path, 0, 3)
        with h5py.File(path, "a") as file:
            file.attrs["extractor"] = text
        assert known(path) == by_hdf5(path, monkeypatch)
        assert is_direct(path) == (len(text) < 60_000)
