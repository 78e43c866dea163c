"""What all bags of a source have in common, which of them do not fit, before any value is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.foreign.bag import BagForm, BagRefused, ForeignBag

_SAMPLE = 8  # bags


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The forms of bags that fit each other by their places, and why others do not."""

    forms: Mapping[int, BagForm]
    refused: Mapping[int, str]
    is_sample: bool = False

    @cached_property
    def first(self) -> BagForm:
        """The form of one that fits: its width is that of all."""
        return next(iter(self.forms.values()))

    @cached_property
    def dtype(self) -> str:
        """float16 if all are, else float32, which holds both."""
        kinds = {form.dtype for form in self.forms.values()}
        return "float16" if kinds == {"float16"} else "float32"

    @cached_property
    def core(self) -> str | None:
        """The core that the inputs name, if some do."""
        return next((form.core for form in self.forms.values() if form.core), None)

    @cached_property
    def facts(self) -> dict[str, Json]:
        """What all inputs say alike."""
        shared = dict(self.first.facts)
        for form in self.forms.values():
            shared = {name: value for name, value in shared.items() if _says(form, name, value)}
        layouts = {form.layout for form in self.forms.values()}
        return {"layout": ", ".join(sorted(filter(None, layouts))), **shared}

    def known(self, name: str) -> tuple[bool, bool]:
        """Whether some inputs have `unit`, `level` or `mpp`, and whether all have."""
        there = [getattr(form, name) is not None for form in self.forms.values()]
        return any(there), all(there)

    def places_in(self, unit: str) -> tuple[bool, bool]:
        """Whether some inputs have coordinates in this unit, and whether all have."""
        there = [form.unit == unit for form in self.forms.values()]
        return any(there), all(there)


def sample(bags: Sequence[ForeignBag]) -> Survey | None:
    """What some bags are like; None where none can be read, or they are not all alike.

    If all others agree with them, it is what a survey of all would find.
    """
    forms: dict[int, BagForm] = {}
    for place in range(0, len(bags), -(-len(bags) // _SAMPLE)):
        with suppress(BagRefused):
            forms[place] = bags[place].form()
    if not forms:
        return None
    found = Survey(forms=forms, refused={}, is_sample=True)
    return found if all(form.agrees(found.first) for form in forms.values()) else None


def survey(bags: Sequence[ForeignBag], heard: Callable[[int], None]) -> Survey:
    """Look at all bags; those of another width or core than most are refused."""
    forms: dict[int, BagForm] = {}
    refused: dict[int, str] = {}
    for place, bag in enumerate(bags):
        try:
            forms[place] = bag.form()
        except BagRefused as error:
            refused[place] = error.rule
        heard(place + 1)
    forms = _alike(forms, refused, "other-width", lambda form: (form.alone, form.width))
    forms = _alike(forms, refused, "other-core", lambda form: form.core)
    return Survey(forms=forms, refused=refused)


def _says(form: BagForm, name: str, value: Json) -> bool:
    return name in form.facts and form.facts[name] == value


def _alike(
    forms: Mapping[int, BagForm],
    refused: dict[int, str],
    rule: str,
    of: Callable[[BagForm], Hashable],
) -> dict[int, BagForm]:
    """The forms that agree with most others; None agrees with all. The rest are refused."""
    counts: Counter[Any] = Counter(of(form) for form in forms.values() if of(form) is not None)
    if not counts:
        return dict(forms)
    most = min(counts, key=lambda value: (-counts[value], value))
    kept = {}
    for place, form in forms.items():
        if of(form) in (most, None):
            kept[place] = form
        else:
            refused[place] = rule
    return kept
