"""The cells of a column as values, read by a rule, with remarks on all that was chosen.

All work is done on the different words of a column, not on its cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dof_arrow.errors import SourceError
from dof_arrow.sources.asked import MISSING, Rule, fits
from dof_arrow.sources.columns import nulled, pointed, same_number, spelled, typed
from dof_arrow.sources.sample import Column


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Words:
    """A column: the value of each of its words, and the word of each cell as a number.

    `ordered`: the words come in the order that the column declares.
    """

    name: str
    values: Column
    codes: Column
    ordered: bool = False
    remarks: list[str] = field(default_factory=list)

    @property
    def cells(self) -> Column:
        """The value of each cell: int64, float64, bool or string."""
        return self.values.take(self.codes)

    @property
    def texts(self) -> Column:
        """Each cell as a text, one text a value."""
        return spelled(self.values).take(self.codes)

    @property
    def different(self) -> Column:
        """The values, each once, as they come."""
        return self.values.unique().drop_null()


def read(name: str, cells: Column, rule: Rule, words_of_missing: frozenset[str] = MISSING) -> Words:
    """The words of a column of strings: mapped, null where they stand for missing, and typed."""
    ordered = pa.types.is_dictionary(cells.type)
    coded = cells if ordered else cells.dictionary_encode()
    remarks: list[str] = []
    mapped = _mapped(name, coded.dictionary, rule.map, remarks)
    # A word that is declared as a class is one.
    missing = sorted((words_of_missing - frozenset(rule.classes or ())) | rule.missing)
    known = _without(name, mapped, coded.indices, missing, remarks)
    values = typed(_pointed(name, known, rule, remarks))
    _note_spellings(name, known, values, rule, remarks)
    return Words(name=name, values=values, codes=coded.indices, ordered=ordered, remarks=remarks)


def refuse_lookalikes(words: Words, what: str) -> None:
    """Refuse texts that are one number written in two ways; names neither for groups."""
    if not pa.types.is_string(words.values.type):
        return
    pair = same_number(words.different.to_pylist())
    if pair is None:
        return
    raise SourceError(
        f"a number in the {what} column is written in two ways",
        f"column {words.name}",
        "each number in one spelling",
        "two cells that differ only in leading zeros, a sign or an exponent",
        "Mend the table, or say which is meant with --map.",
    )


def _mapped(
    name: str, words: Column, patterns: Mapping[str, str | None], remarks: list[str]
) -> Column:
    """Words as their patterns call them: those of the first that fits."""
    if not patterns:
        return words
    used: set[str] = set()
    found: list[str | None] = []
    for word in words.to_pylist():
        pattern = _first_fitting(word, patterns)
        if pattern is not None:
            used.add(pattern)
            word = patterns[pattern]
        found.append(word)
    unused = [pattern for pattern in patterns if pattern not in used]
    if unused:
        remarks.append(f"{name}: no cell fits {', '.join(unused)} of --map")
    return pa.array(found, pa.string())


def _first_fitting(word: str | None, patterns: Mapping[str, Any]) -> str | None:
    if word is None:
        return None
    return next((pattern for pattern in patterns if fits(word, pattern)), None)


def _without(
    name: str, words: Column, codes: Column, missing: list[str], remarks: list[str]
) -> Column:
    """Words, null where they stand for missing; says how many cells these are."""
    import pyarrow.compute as pc

    gone = pc.is_in(words, value_set=pa.array(missing, pa.string()))
    if not pc.any(gone).as_py():
        return words
    counts: dict[str, int] = {}
    for entry in codes.filter(gone.take(codes).fill_null(False)).value_counts().to_pylist():
        word = words[entry["values"]].as_py()
        counts[word] = counts.get(word, 0) + entry["counts"]
    if counts:
        shown = ", ".join(f"{word} ({count:,})" for word, count in sorted(counts.items()))
        total = sum(counts.values())
        are = "cell is" if total == 1 else "cells are"
        remarks.append(
            f"{name}: {total:,} {are} missing: {shown}; "
            f"--map '{min(counts)}=NAME' would make a value of such a cell"
        )
    return nulled(words, gone)


def _pointed(name: str, words: Column, rule: Rule, remarks: list[str]) -> Column:
    if not rule.comma:
        return words
    changed = pointed(words)
    if not changed.equals(words):
        remarks.append(f"{name}: decimal commas are read as points")
    return changed


def _note_spellings(
    name: str, words: Column, values: Column, rule: Rule, remarks: list[str]
) -> None:
    """Say where several words have become one value."""
    if rule.map:  # which makes one of many by itself
        return
    if len(values.unique().drop_null()) < len(words) - words.null_count:
        kind = "truth value" if pa.types.is_boolean(values.type) else "number"
        remarks.append(f"{name}: a {kind} that is written in several ways is one value")
