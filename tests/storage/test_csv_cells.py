"""Texts in CSV files are never formulas."""

from __future__ import annotations

import pytest

from dof_arrow.storage.csv_cells import guarded


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_what_a_spreadsheet_would_compute_is_guarded(start: str) -> None:
    assert guarded(f"{start}1+1") == f"'{start}1+1"
    assert guarded(f"a{start}1") == f"a{start}1"


@pytest.mark.parametrize("text", ["", "cat", "'cat", "3", "Röntgen 胸部", " =1"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text
