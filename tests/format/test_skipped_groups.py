"""Readers that leave out row groups by what we say of values lose no row (the long run is in `tests/torture`)."""

from __future__ import annotations

import pytest

from tests.torture import skipped_groups


@pytest.mark.parametrize("number", range(3))
def test_every_predicate_finds_what_a_look_at_all_rows_finds(number: int) -> None:
    """Of one column of each type, with NaN, missing values, zeros of both signs and extremes."""
    report = skipped_groups.run([1000 + number])
    assert report["faults"] == []
    assert report["tables"] == len(skipped_groups.VALUES)
    assert min(report["answered"].values()) > 200
