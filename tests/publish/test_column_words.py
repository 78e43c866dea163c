"""Words for columns: every role of the format has some, and a claimed core is never told as known."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from dof_arrow.format.spec.metadata import Column, Target
from dof_arrow.publish.column_words import ROLES, target_words, type_words


def test_every_role_has_words() -> None:
    assert set(get_args(get_type_hints(Column)["role"])) == set(ROLES)


@pytest.mark.parametrize("kind", get_args(get_type_hints(Target)["kind"]))
def test_every_kind_of_target_has_words(kind: str) -> None:
    target = Target(kind=kind, classes=("a", "b"), unit="days")  # type: ignore[arg-type]
    assert ("days" in target_words(target)) == (kind in ("regression", "survival"))


def test_types_are_told_as_people_read_them() -> None:
    assert type_words("list<element: int32 not null>") == "lists of int32"
    assert type_words("timestamp[us, tz=UTC]") == "timestamp[us, tz=UTC]"
    assert type_words("list<element: list<element: int32>>").startswith("list<")
