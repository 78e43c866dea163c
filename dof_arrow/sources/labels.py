"""A column of cells as a target: a number, one of some classes, or several classes at once."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources import column_values
from dof_arrow.sources.asked import MISSING, Rule
from dof_arrow.sources.column_values import Words
from dof_arrow.sources.columns import decoded, is_list, spelled, typed
from dof_arrow.sources.sample import Column

NUMBER_ABOVE = 20  # different numbers, above which a column is taken for a measurement
_SHOWN = 5  # classes that a remark names
_EXACT = 2**53  # whole numbers up to it are exact as float64
_LEADING_ZEROS = r"^([+-]?)0+([0-9])"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Label:
    """A target, its values, and remarks on what was chosen.

    The values are int32 codes, float64 numbers or lists of int32 codes; missing cells stay null.
    """

    target: Target
    values: Column
    remarks: tuple[str, ...] = ()


def label(
    name: str,
    cells: Column,
    rule: Rule | None = None,
    words_of_missing: frozenset[str] = MISSING,
) -> Label:
    """How a label column is to be read, and its values.

    Unless the rule says so, a column is a number if its values are numbers of which more than 20
    differ, and classes if not; lists are several classes. Classes are sorted, as numbers if they
    all are; those of a dictionary that is flagged as ordered keep its order. Raises UsageError for
    a rule that the cells do not fit, SourceError for a column without a label.

    >>> label("finding", pa.array(["flu", None, "cold"])).values.to_pylist()
    [1, None, 0]
    """
    rule = rule or Rule()
    if is_list(cells.type) or rule.kind == "several":
        return _several(name, cells, rule, words_of_missing)
    words = column_values.read(name, cells, rule, words_of_missing)
    _check_some(name, words.values, rule)
    if _is_number(words, rule):
        return _number(words, rule)
    return _classes(words, rule)


def _check_some(name: str, values: Column, rule: Rule) -> None:
    if values.null_count == len(values) and not rule.classes:
        raise SourceError(
            "a label column without a label",
            f"column {name}",
            "a class or a number in some row",
            "missing cells only",
            "Choose another --label.",
        )


def _is_number(words: Words, rule: Rule) -> bool:
    if rule.kind is not None:
        return rule.kind == "number"
    if rule.classes or words.ordered or not _are_numbers(words.values):
        return False
    return len(words.different) > NUMBER_ABOVE


def _are_numbers(values: Column) -> bool:
    return bool(pa.types.is_integer(values.type) or pa.types.is_floating(values.type))


def _number(words: Words, rule: Rule) -> Label:
    if rule.classes:
        raise UsageError("a number has no classes", f"column {words.name}", found="--classes")
    values = _with_leading_zeros(words.values)
    _check_numbers(words.name, values)
    remarks = list(words.remarks)
    if rule.kind is None:
        count = len(words.different)
        remarks.append(
            f"{words.name}: a number, {count:,} different values; "
            "--kind classes makes classes of them"
        )
    numbers = values.cast(pa.float64()).take(words.codes)
    return Label(target=Target(kind="regression"), values=numbers, remarks=tuple(remarks))


def _with_leading_zeros(values: Column) -> Column:
    """Texts as numbers where leading zeros alone make them names: these are declared numbers."""
    import pyarrow.compute as pc

    if not pa.types.is_string(values.type):
        return values
    return typed(pc.replace_substring_regex(values, _LEADING_ZEROS, r"\1\2"))


def _check_numbers(name: str, values: Column) -> None:
    import pyarrow.compute as pc

    if not _are_numbers(values):
        others = [word for word in spelled(values).to_pylist() if not _is_numeric(word)]
        raise UsageError(
            "a label that is a number needs numbers",
            f"column {name}",
            found=_shown(sorted(set(others))) or str(values.type),
            hint="Say which cells are missing with --missing or --map, or use --kind classes.",
        )
    if pa.types.is_integer(values.type):
        fits = pc.and_(pc.less_equal(values, _EXACT), pc.greater_equal(values, -_EXACT))
    else:
        fits = pc.is_finite(values)
    if not pc.all(fits, min_count=0).as_py():
        raise UsageError(
            "a label is a number that float64 does not hold",
            f"column {name}",
            "finite numbers, whole ones up to 2**53",
            hint="Use --kind classes, or --map to make such cells missing.",
        )


def _is_numeric(word: str | None) -> bool:
    return word is None or _are_numbers(typed(pa.array([word])))


def _classes(words: Words, rule: Rule) -> Label:
    import pyarrow.compute as pc

    column_values.refuse_lookalikes(words, "label")
    texts = spelled(words.values)
    found = _in_order(words)
    names = _given(words, rule.classes, found) if rule.classes else found
    codes = pc.index_in(texts, value_set=pa.array(names, pa.string())).take(words.codes)
    remarks = [*words.remarks, *_class_remarks(words.name, names)]
    target = Target(kind="category", classes=tuple(names))
    return Label(target=target, values=codes, remarks=tuple(remarks))


def _in_order(words: Words) -> list[str]:
    """The classes: sorted by value, or as their dictionary has them."""
    import pyarrow.compute as pc

    values = words.different
    if not words.ordered:
        values = values.take(pc.sort_indices(values))
    return list(spelled(values).to_pylist())


def _given(words: Words, given: Sequence[str], found: Sequence[str]) -> list[str]:
    """The classes as they are declared; UsageError if one of the column's is not among them."""
    names = [_as_values(name, words.values.type) for name in given]
    absent = [name for name in found if name not in names]
    if absent or len(set(names)) < len(names):
        raise UsageError(
            "classes must hold all that stand in the column, each once",
            f"column {words.name}",
            ", ".join(given),
            f"{_shown(absent)} besides" if absent else "a class twice",
            "Add them to --classes, or rename them with --map.",
        )
    return names


def _as_values(name: str, kind: Any) -> str:
    """A class that is declared, spelled as the values of a column are."""
    words = [name, "true"] if pa.types.is_boolean(kind) else [name]
    if pa.types.is_string(kind):
        words = [name, "a text"]
    return str(spelled(typed(pa.array(words)))[0].as_py())


def _class_remarks(name: str, classes: Sequence[str]) -> list[str]:
    near = _near(classes)
    if not near:
        return []
    return [
        f"{name}: {_shown(near)} differ only in case or blanks, and are classes of their own; "
        "--map makes one of them"
    ]


def _near(classes: Sequence[str]) -> list[str]:
    """Classes that differ from another only in case, in blanks or in how letters are coded."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        plain = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        alike.setdefault(plain, []).append(name)
    return [name for names in alike.values() if len(names) > 1 for name in names]


def _shown(names: Sequence[str]) -> str:
    """
    >>> _shown(["a", "b"]), _shown("abcdefg")
    ('a, b', 'a, b, c, d, e …')
    """
    text = ", ".join(names[:_SHOWN])
    return f"{text} …" if len(names) > _SHOWN else text


def _several(name: str, cells: Column, rule: Rule, words_of_missing: frozenset[str]) -> Label:
    """Lists of classes; a cell whose words are all missing is missing itself."""
    if rule.kind not in (None, "several"):
        raise UsageError(
            "a column of several values a row",
            f"column {name}",
            f"one value a row, for --kind {rule.kind}",
            "lists",
        )
    lists = cells if is_list(cells.type) else _parted(decoded(cells), rule.separator)
    words = column_values.read(name, lists.flatten(), rule, words_of_missing)
    _check_some(name, words.values, rule)
    one = _classes(words, rule)
    values = _sets(lists, one.values)
    target = Target(kind="multilabel", classes=one.target.classes)
    return Label(target=target, values=values, remarks=one.remarks)


def _parted(cells: Column, separator: str) -> Column:
    """Cells as lists of trimmed words, null where they are empty."""
    import pyarrow.compute as pc

    lists = pc.split_pattern(cells, separator)
    words = pc.utf8_trim_whitespace(lists.flatten())
    words = pc.if_else(pc.equal(words, ""), pa.scalar(None, pa.string()), words)
    return pa.ListArray.from_arrays(_offsets(lists), words, mask=pc.is_null(lists))


def _offsets(lists: Column) -> Column:
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _sets(lists: Column, codes: Column) -> Column:
    """The codes of each list, sorted, each once; null where words stood, and all are missing."""
    coded = pa.ListArray.from_arrays(_offsets(lists), codes, mask=lists.is_null())
    rows: list[list[int] | None] = []
    for words, row in zip(lists.to_pylist(), coded.to_pylist(), strict=True):
        known = sorted({code for code in row or () if code is not None})
        stood = any(word is not None for word in words or ())
        rows.append(None if row is None or (stood and not known) else known)
    return pa.array(rows, pa.list_(pa.int32()))
