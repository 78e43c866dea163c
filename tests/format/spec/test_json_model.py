"""Declared fields: JSON in and out, every problem at once, JSON Schema and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from dof_arrow.errors import FormatError
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.json_model import spec


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A part."""

    size: int = spec("how large", minimum=1)


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A whole."""

    name: str = spec("a name", pattern="^[a-z]+$")
    kind: Literal["a", "b"] = spec("a kind", default="a")
    part: Inner | None = spec("a part", default=None)
    parts: Mapping[str, Inner] = spec("parts", factory=dict)
    axes: tuple[int | str, ...] = spec("axes", default=())
    sides: tuple[int, ...] = spec("sides", default=(), minimum=1)
    share: float = spec("a share", default=1.0)
    free: Mapping[str, Any] = spec("anything", factory=dict)


FULL = {
    "name": "x",
    "kind": "b",
    "part": {"size": 2},
    "parts": {"p": {"size": 3}},
    "axes": ["n", 3],
    "sides": [1],
    "share": 0.5,
    "free": {"deep": [1, {"a": None}]},
}


def test_json_goes_in_and_comes_out() -> None:
    value = json_model.from_json(FULL, Outer)
    assert (value.part, value.parts["p"].size, value.axes, value.sides) == (
        Inner(size=2),
        3,
        ("n", 3),
        (1,),
    )
    assert json_model.to_json(value) == FULL


def test_defaults_are_left_out() -> None:
    assert json_model.to_json(Outer(name="x", share=1.0)) == {"name": "x"}


def test_unknown_fields_are_ignored() -> None:
    assert json_model.from_json({"name": "x", "later": 1}, Outer) == Outer(name="x")


def test_whole_numbers_are_numbers() -> None:
    assert json_model.from_json({"name": "x", "share": 2}, Outer).share == 2.0


def test_every_problem_is_told_at_once() -> None:
    wrong = {
        "name": "X",
        "kind": "c",
        "part": {"size": 0},
        "parts": {"p": {}},
        "axes": [1.5],
        "sides": [0],
        "share": True,
        "free": [],
    }
    with pytest.raises(FormatError) as caught:
        json_model.from_json(wrong, Outer)
    told = {(p.rule, p.where) for p in caught.value.problems}
    assert told == {
        ("metadata-pattern", "$.name"),
        ("metadata-type", "$.kind"),
        ("metadata-range", "$.part.size"),
        ("metadata-missing", "$.parts.p.size"),
        ("metadata-type", "$.axes[0]"),
        ("metadata-range", "$.sides"),
        ("metadata-type", "$.share"),
        ("metadata-type", "$.free"),
    }


@pytest.mark.parametrize("share", [float("inf"), float("nan"), 10**400, -(10**400), "1", None])
def test_no_number_that_floats_cannot_hold(share: Any) -> None:
    assert [p.where for p in json_model.problems({"name": "x", "share": share}, Outer)] == [
        "$.share"
    ]


@pytest.mark.parametrize("value", [None, 3, "x", [], [{}]])
def test_an_object_is_asked_for(value: Any) -> None:
    assert [p.expected for p in json_model.problems(value, Outer)] == ["an object"]


def test_the_schema_says_the_same() -> None:
    schema = json_model.json_schema(Outer)
    assert schema["required"] == ["name"]
    assert schema["properties"]["sides"]["items"] == {"type": "integer", "minimum": 1}
    assert schema["properties"]["kind"]["enum"] == ["a", "b"]
    assert schema["$defs"]["Inner"]["required"] == ["size"]


def test_tables_name_the_fields_in_order() -> None:
    rows = list(json_model.declarations(Outer))
    assert [r[0] for r in rows] == list(FULL)
    assert rows[0] == ("name", "string", True, "1.0", "a name")
    assert rows[3][1] == "object of Inner"


def test_a_class_may_bear_another_name_in_the_schema() -> None:
    @dataclass(frozen=True, kw_only=True)
    class PartMetadata:
        """A part."""

        schema_name: ClassVar[str] = "Part"
        size: int = spec("how large")

    kind = make_dataclass("Whole", [("part", PartMetadata, spec("a part"))])
    schema = json_model.json_schema(kind)
    assert schema["properties"]["part"]["$ref"] == "#/$defs/Part"
    assert schema["$defs"]["Part"]["title"] == "Part"
    assert [row[1] for row in json_model.declarations(kind)] == ["Part"]
    assert json_model.to_json(PartMetadata(size=1)) == {"size": 1}


def test_objects_of_plain_fields_alone_are_read_and_written_as_others() -> None:
    """Such as a directory's parts, by a shorter way."""

    @dataclass(frozen=True, kw_only=True)
    class Plain:
        """Two plain fields."""

        name: str = spec("a name", pattern="^[a-z]+$")
        size: int = spec("how large", minimum=1)

    assert json_model.from_json({"name": "a", "size": 3, "more": None}, Plain).size == 3
    assert json_model.to_json(Plain(name="a", size=3)) == {"name": "a", "size": 3}
    wrong = (
        ({"name": "A", "size": 1}, "metadata-pattern", "$.name"),
        ({"name": "a", "size": 0}, "metadata-range", "$.size"),
        ({"name": "a", "size": True}, "metadata-type", "$.size"),
        ({"name": "a", "size": 1.0}, "metadata-type", "$.size"),
        ({"name": None, "size": 1}, "metadata-type", "$.name"),
        ({"size": 1}, "metadata-missing", "$.name"),
    )
    for value, rule, where in wrong:
        (found,) = json_model.problems(value, Plain)
        assert (found.rule, found.where) == (rule, where)


def test_a_dataclass_that_declares_nothing_is_written_too() -> None:
    made = make_dataclass("Made", [("name", "Unknown"), ("size", int)])
    assert json_model.to_json(made("a", 2)) == {"name": "a", "size": 2}


def test_json_of_others_is_read_in_one_place() -> None:
    """`json.loads` alone raises RecursionError where a stranger nests deeply, besides ValueError."""
    own = {"format/spec/json_model", "format/spec/metadata", "heads/judged", "storage/file_digests"}
    package = Path(json_model.__file__).parents[2]
    found = set()
    for path in package.rglob("*.py"):
        if "json.load" in path.read_text("utf-8"):
            found.add(path.relative_to(package).with_suffix("").as_posix())
    assert found == own
