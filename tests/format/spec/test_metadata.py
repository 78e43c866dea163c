"""The content of the key `dof`.

Row C1: file-level key-value metadata; row D6: information about the dataset.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.errors import FormatError
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import (
    MAX_BYTES,
    Info,
    Metadata,
    encode,
    from_json,
    parse,
    problems,
)

SMALL = {
    "version": "1.0",
    "uuid": "00000000-0000-8000-8000-000000000000",
    "primary_column": "feature",
    "columns": {
        "feature": {"role": "feature", "dtype": "float32", "layout": "mapped", "shape": [2]}
    },
}
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
)


def test_the_smallest_metadata() -> None:
    value = from_json(SMALL)
    assert value.columns["feature"].shape == (2,)
    assert to_json(value) == SMALL
    assert parse(encode(value)) == SMALL


@given(st.dictionaries(st.text(max_size=6), _json, max_size=4), st.text(max_size=20))
def test_free_sections_and_any_text_come_back_as_they_were(
    free: dict[str, Any], title: str
) -> None:
    """D6: any more keys; D11: performance and training."""
    value = from_json(
        {**SMALL, "performance": free, "info": {"title": title.encode("utf-8", "ignore").decode()}}
    )
    assert from_json(parse(encode(value))) == value


@given(_json)
def test_any_json_is_valid_or_told(value: Any) -> None:
    for field in Metadata.__dataclass_fields__:
        told = list(problems({**SMALL, field: value}))
        assert told or from_json({**SMALL, field: value})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" * 100_000,
        b'{"a": ' + b"1" * 5000 + b"}",
    ],
)
def test_what_is_no_metadata_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse(text)
    assert [p.rule for p in caught.value.problems] == ["metadata-json"]


def test_the_size_is_bounded_both_ways() -> None:
    with pytest.raises(FormatError, match="too large"):
        encode(from_json({**SMALL, "info": {"notes": "x" * MAX_BYTES}}))
    with pytest.raises(FormatError):
        parse(b" " * (MAX_BYTES + 1))


def test_equal_metadata_gives_equal_bytes_whatever_the_language() -> None:
    assert encode(Info(title="Übung 図")) == '{"title":"Übung 図"}'.encode()


@pytest.mark.parametrize(
    ("field", "value"), [("version", "one"), ("uuid", "x"), ("columns", {"f": {"role": "chair"}})]
)
def test_wrong_values_are_told_with_their_place(field: str, value: Any) -> None:
    assert all(p.where.startswith(f"$.{field}") for p in problems({**SMALL, field: value}))
    with pytest.raises(FormatError, match=rf"\$\.{field}"):
        from_json({**SMALL, field: value})


def test_nothing_mutable_is_left_at_its_default() -> None:
    assert json.loads(encode(from_json(SMALL))).keys() == SMALL.keys()
    assert from_json(SMALL).targets is not from_json(SMALL).targets
