from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.errors import UsageError
from dof_arrow.security.pseudonyms import PSEUDONYM_LENGTH, pseudonym, pseudonyms

KEY = bytes(range(32))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(NAMES)
def test_is_the_hmac_that_the_module_states(name: str) -> None:
    digest = hmac.new(KEY, b"dof pseudonym group\0" + name.encode(), hashlib.sha256).digest()
    assert pseudonym(KEY, "group", name) == base64.b32encode(digest).decode().lower()[:26]


@given(NAMES)
def test_fixed_width_and_alphabet(name: str) -> None:
    text = pseudonym(KEY, "id", name)
    assert len(text) == PSEUDONYM_LENGTH and set(text) <= set("abcdefghijklmnopqrstuvwxyz234567")


@given(NAMES)
def test_kinds_and_keys_are_apart(name: str) -> None:
    assert (
        len(
            {
                pseudonym(KEY, "id", name),
                pseudonym(KEY, "group", name),
                pseudonym(bytes(32), "id", name),
            }
        )
        == 3
    )


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    names = [f"{i}.png" for i in range(1000)]
    assert pseudonyms(KEY, "id", iter(names)) == [pseudonym(KEY, "id", name) for name in names]
    assert len(set(pseudonyms(KEY, "id", names))) == 1000


@pytest.mark.parametrize("name", ["", "\udcff.png"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError):
        pseudonym(KEY, "id", name)


def test_keys_and_kinds_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        pseudonym(b"short", "id", "a")
    with pytest.raises(UsageError, match="id or group"):
        pseudonym(KEY, "label", "a")  # type: ignore[arg-type]
