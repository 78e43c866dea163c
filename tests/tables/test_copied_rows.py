"""Rows copied out of several arrays, wherever these stand in memory."""

from __future__ import annotations

import numpy as np
import pytest

from dof_arrow.tables.buffers import Room, copy_rows

WIDTH, ROWS = 5, 40
ROW_BYTES = WIDTH * 4


def placed(kind: str, number: int, values: np.ndarray) -> np.ndarray:
    """The values in memory of their own: whole rows apart, anywhere, not aligned, and so on."""
    if kind == "float16":
        return values.astype(np.float16)
    if kind == "columns first":
        return np.asfortranarray(values)
    further = {"anywhere": 4 * number, "not aligned": number}.get(kind, 0)
    memory = Room().take(values.nbytes + further, row=ROW_BYTES)[further:]
    made: np.ndarray = memory.view(np.float32).reshape(values.shape)
    made[...] = values
    return made


@pytest.mark.parametrize("kind", ["apart", "anywhere", "not aligned", "float16", "columns first"])
def test_rows_of_any_arrays(kind: str) -> None:
    random = np.random.default_rng(0)
    given = [random.integers(0, 99, (ROWS + n, WIDTH)).astype(np.float32) for n in range(4)]
    arrays = [placed(kind, number, values) for number, values in enumerate(given)]
    which = random.integers(0, 4, 100)
    rows = random.integers(0, ROWS, 100)
    out = np.empty((100, WIDTH), np.float32)
    copy_rows(arrays, which, rows, out)
    assert np.array_equal(out, [given[a][row] for a, row in zip(which, rows, strict=True)])


def test_room_that_is_used_again_stands_at_whole_rows() -> None:
    room = Room()
    for size, before in ((100, 3), (4000, 57), (40, 0)):
        taken = room.take(size, before, row=ROW_BYTES)
        assert len(taken) == size and (taken.ctypes.data + before) % ROW_BYTES == 0
