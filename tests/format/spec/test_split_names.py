"""The names of splits."""

from __future__ import annotations

import pyarrow as pa

from dof_arrow.format.spec.split_names import SPELLINGS, standard, standardised


def test_every_spelling_is_one_of_three_in_any_case() -> None:
    assert set(SPELLINGS.values()) == {"train", "valid", "test"}
    for name, wanted in SPELLINGS.items():
        assert standard(name) == standard(f" {name.upper()}\n") == standard(name.title()) == wanted
    assert standard("holdout") is None and standard("") is None


def test_arrays_keep_other_names_and_nulls() -> None:
    for kind in (pa.string(), pa.large_string()):
        names = pa.array(["Dev", None, "mine", "TRAINING"], kind)
        assert standardised(names).equals(pa.array(["valid", None, "mine", "train"], kind))
