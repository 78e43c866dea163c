"""Row groups read ahead: what is needed now comes before what is needed next."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from dof_arrow.tables.row_groups import Array, RowGroups

SIZE, WINDOW = 4, 2


class Held(RowGroups):
    """Groups of which those of later windows come once they are let."""

    def __init__(self) -> None:
        super().__init__([SIZE] * 6, 4, SIZE * 4 * WINDOW * 3, windows=3)
        self.let = threading.Event()
        self.asked: list[int] = []

    def read(self, number: int) -> Array:
        self.asked.append(number)
        if number not in (3, 5):
            self.let.wait(20)
        return np.full((SIZE, 1), number, np.int32)


def test_the_rest_of_a_window_comes_before_the_next_one() -> None:
    groups, out = Held(), np.empty((3, 1), np.int32)
    assert groups.window == WINDOW
    groups.expect([3, 5, 0, 1, 4, 2])
    groups.fill(np.array([3 * SIZE, 5 * SIZE + 1, 3 * SIZE + 2]), out)
    assert out[:, 0].tolist() == [3, 5, 3] and not groups.let.is_set()
    groups.let.set()
    groups.fill(np.array([0, SIZE, 5 * SIZE]), out)
    assert out[:, 0].tolist() == [0, 1, 5] and groups.asked[:4] == [3, 5, 0, 1]


def test_a_row_that_is_not_there_is_refused() -> None:
    groups = Held()
    groups.let.set()
    for row in (-1, 6 * SIZE):
        with pytest.raises(IndexError):
            groups.fill(np.array([0, row]), np.empty((2, 1), np.int32))
