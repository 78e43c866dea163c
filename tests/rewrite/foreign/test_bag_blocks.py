"""Bags in blocks: which bags share one changes nothing, and none is lost where one fails."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.rewrite.foreign.bag import BagForm, BagRefused, BagValues
from dof_arrow.rewrite.foreign.bag_blocks import NotAlike, blocks
from dof_arrow.rewrite.foreign.bag_columns import BagColumns
from dof_arrow.rewrite.foreign.survey import sample, survey
from tests.support import foreign_bags

ROWS = (3, 1, 4, 1, 5, 9, 2, 6, 30, 5, 3)


@dataclass(frozen=True)
class Given:
    """A bag of rows that all have its number."""

    number: int
    rows: int
    width: int = 2
    refused: bool = False

    @property
    def name(self) -> str:
        return str(self.number)

    def form(self) -> BagForm:
        return BagForm(rows=self.rows, width=self.width, dtype="float16")

    def values(self, form: BagForm) -> BagValues:
        if self.refused:
            raise BagRefused("not-finite")
        return BagValues(vectors=np.full((self.rows, self.width), self.number, np.float16))


def read(bags: Sequence[Given], rows: int) -> tuple[list[float], dict[int, str], list[int]]:
    """The first numbers of all rows, what was refused, and the rows of each block."""
    known = sample(bags)
    assert known is not None
    numbers: list[float] = []
    refused: dict[int, str] = {}
    sizes = []
    for block in blocks(known, bags, rows):
        assert sum(bag.form.rows for bag in block.bags) == len(block.vectors)
        numbers += block.vectors[:, 0].tolist()
        refused |= block.refused
        sizes.append(len(block.vectors))
    return numbers, refused, sizes


@pytest.mark.parametrize("rows", [1, 2, 7, 10, 1000])
def test_all_bags_are_read_in_their_order(rows: int) -> None:
    bags = [Given(number, count) for number, count in enumerate(ROWS)]
    numbers, refused, sizes = read(bags, rows)
    assert numbers == np.repeat(np.arange(len(ROWS)), ROWS).tolist() and not refused
    assert all(size <= max(rows + rows // 4 + 1, *ROWS) for size in sizes)
    assert (len(sizes) == 1) == (rows == 1000)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_bags_that_fail_leave_no_gap(rows: int) -> None:
    wrong = {0, 3, 4, 8, 10}
    bags = [Given(number, count, refused=number in wrong) for number, count in enumerate(ROWS)]
    numbers, refused, _ = read(bags, rows)
    right = [number for number in range(len(ROWS)) if number not in wrong]
    assert numbers == np.repeat(right, [ROWS[number] for number in right]).tolist()
    assert refused == dict.fromkeys(sorted(wrong), "not-finite")


def test_one_that_differs_is_told_of_and_no_thread_stays() -> None:
    bags = [Given(number, 3, width=3 if number == 1 else 2) for number in range(40)]
    before = threading.active_count()
    with pytest.raises(NotAlike):
        read(bags, 10)
    known = survey(bags, lambda done: None)
    found = blocks(known, bags, 10)
    next(found)
    found.close()
    assert threading.active_count() == before and known.refused == {1: "other-width"}


def test_narrow_and_wide_floats_meet_in_the_wider_type() -> None:
    class Wide(Given):
        def form(self) -> BagForm:
            return BagForm(rows=self.rows, width=self.width, dtype="float32")

        def values(self, form: BagForm) -> BagValues:
            return BagValues(vectors=np.full((self.rows, self.width), self.number, np.float32))

    bags = [Given(0, 2), Wide(1, 20), Given(2, 20), Wide(3, 1)]
    known = survey(bags, lambda done: None)
    numbers = []
    for block in blocks(known, bags, 4):
        assert block.vectors.dtype == np.float32
        numbers += block.vectors[:, 0].tolist()
    assert numbers == [0] * 2 + [1] * 20 + [2] * 20 + [3]


@pytest.mark.parametrize("layout", ["mapped", "compact"])
def test_blocks_of_any_size_give_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    h5py = pytest.importorskip("h5py")
    source = foreign_bags.folder("trident", tmp_path / "in", 12)
    for number in (2, 5):
        with h5py.File(source / f"slide-{number:04d}.h5", "a") as file:
            del file["coords"]
    with h5py.File(source / "slide-0007.h5", "a") as file:
        file["features"][2, 3] = np.nan
    found = set()
    for rows in (1, 8, 1000):
        monkeypatch.setattr(BagColumns, "at_once", rows)
        out = tmp_path / f"{rows}.parquet"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = dof.convert(source, out, id_key=bytes(32), layout=layout)
        assert dof.open(data).metadata.provenance.failed == 1
        found.add(out.read_bytes())
    assert len(found) == 1
