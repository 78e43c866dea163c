"""How far the answers of a head may be from its model's."""

from __future__ import annotations

import numpy as np

from dof_arrow.heads.export_check import TOLERANCE, _Compared


def test_answers_that_few_changes_move_are_known_to_be_rounded() -> None:
    """A sound head of Keras in forty was refused where two changes moved no answer."""
    step = 1e-4
    edges = np.arange(200, 300)[:, None] * step + step / 2
    rows = np.nextafter(edges.astype(np.float32), np.float32(0))

    def says(given: np.ndarray) -> np.ndarray:
        return np.asarray(np.round(given.astype(np.float64) / step) * step)

    allowed = _Compared(says, 1.0, False).allowed(rows, says(rows))
    assert (allowed > 2 * TOLERANCE).mean() > 0.95
