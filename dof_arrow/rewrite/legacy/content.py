"""What a file of DoF 1.0 or 2.x holds in any form: elements, links, information, documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dof_arrow.errors import FormatError
from dof_arrow.format.spec.json_model import Json

SECTIONS = ("model", "training", "data_processing", "performance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """An input (X) or an output (Y): its number, its value, and what is said of it.

    `elsewhere`: it has no value here but the place of a file, which is never followed.
    """

    id: int
    is_x: bool
    value: Any
    info: dict[str, Json] | None = None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyDocument:
    """A document: its bytes or another value, and what is said of it."""

    data: Any
    info: dict[str, str]


@dataclass(slots=True, kw_only=True)
class Content:
    """All that a file holds.

    `links` are pairs of the numbers of an X and of a Y. In a file of 1.0 Xs and Ys are pairs, and
    have no numbers of their own (`is_numbered`).
    """

    form: str
    elements: list[Element] = field(default_factory=list)
    links: list[tuple[int, int]] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)
    next_id: int = 0
    is_numbered: bool = True
    info: dict[str, Json] = field(default_factory=dict)
    model: dict[str, dict[str, Any]] = field(default_factory=dict)
    documents: list[LegacyDocument] = field(default_factory=list)
    notes: dict[str, Json] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def unfit(where: str, expected: str, found: Any) -> FormatError:
    """The error for a file of an older version in which something else stands than should."""
    shown = found if isinstance(found, str) else type(found).__name__
    return FormatError("not a whole file of an older DoF", where, expected, shown[:200])


def expect(value: Any, kind: type, where: str, what: str) -> Any:
    """A value that is to be of a type; FormatError if it is not.

    >>> expect({"a": 1}, dict, "x.dof", "information")
    {'a': 1}
    """
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise unfit(where, f"{what}: {kind.__name__}", value)
    return value
