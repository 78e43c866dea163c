"""Splits and classes that are folders: the first folder of each name, and the one below it.

With splits and classes both, splits may lie above classes (`train/cat/1.png`) or below them
(`cat/train/1.png`), whichever way every name has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.split_names import standard
from dof_arrow.sources.asked import Rule
from dof_arrow.sources.columns import few_of
from dof_arrow.sources.described import with_label
from dof_arrow.sources.labels import label as read_label
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column

_TARGET = "label"  # what the target is called
_SHOWN = 3  # names that a message tells
_SPLITS = "folders called train, valid (val, validation, dev) or test"

L = TypeVar("L", bound=Listing)


def by_folder(found: L, path: str | Path, *, label: Rule | None, split: bool) -> L:
    """A listing whose target `label`, or whose splits, are the folders of each name.

    The classes are read by the rule `label`; None: they are no classes. Raises SourceError where a
    picture lies in none, and where folders are no splits; UsageError where all classes would be
    splits, and where another target is called `label`.
    """
    names = found.within()
    if split:
        splits, names = _splits(names, path, label=label is not None)
        found = replace(found, splits=splits)
    if label is None:
        return found
    _check_free(found)
    classes = _classes(names, path, below_splits=split)
    if not split:
        _check_no_splits(classes.unique().to_pylist(), path)
    # A folder was made for its class, whatever it is called.
    rule = replace(label, kind=label.kind or "classes")
    return with_label(found, _TARGET, read_label(_TARGET, classes, rule, frozenset()))


def _check_free(found: Listing) -> None:
    if _TARGET in found.targets:
        raise UsageError(
            "two labels of one name",
            found=f"folder, which is called {_TARGET}, and the column {_TARGET}",
            hint="Leave one of them out.",
        )


def _splits(names: Column, path: str | Path, *, label: bool) -> tuple[Column, Column]:
    """The split of each name, and the names without that folder."""
    import pyarrow.compute as pc

    loose = names.filter(pc.invert(pc.match_substring(names, "/")))
    if len(loose):
        raise SourceError(
            "pictures lie in no split's folder",
            str(path),
            _SPLITS,
            few_of(loose.to_pylist()),
            "Move each into its split's folder, or leave out --split folder.",
        )
    first = _first_folder(names)
    rest = _rest(names)
    of_first, unknown = _in_standard(first)
    if not unknown:
        return of_first, rest
    # Splits below classes: cat/train/1.png is the class cat, and the name cat/1.png.
    of_second, also_unknown = _in_standard(_first_folder(rest))
    if label and not also_unknown:
        without = pc.binary_join_element_wise(first, _rest(rest), pa.scalar("/", first.type))
        return of_second, without
    raise SourceError(
        "folders that are no splits",
        str(path),
        _SPLITS,
        ", ".join(unknown[:_SHOWN]),
        "Rename them, name the split in a table, or give fractions: --split train=0.8,test=0.2",
    )


def _classes(names: Column, path: str | Path, *, below_splits: bool) -> Column:
    import pyarrow.compute as pc

    loose = names.filter(pc.invert(pc.match_substring(names, "/")))
    if len(loose):
        place = "below the splits' folders" if below_splits else "at the top"
        raise SourceError(
            "pictures lie in no class folder",
            str(path),
            found=f"{len(loose)} {place}: {few_of(loose.to_pylist())}",
            hint="Move each into its class's folder, or leave out --label folder.",
        )
    return _first_folder(names).cast(pa.string())


def _check_no_splits(classes: Sequence[str], path: str | Path) -> None:
    """Refuse classes that are all called as splits are: they were meant as such."""
    if all(standard(name) for name in classes):
        raise UsageError(
            "all class folders are splits by their names",
            str(path),
            found=", ".join(sorted(classes)),
            hint="Add --split folder: then the classes are the folders below.",
        )


def _in_standard(folders: Column) -> tuple[Column, list[str]]:
    """The split of each folder, and the folders that are none."""
    coded = folders.dictionary_encode()
    splits = [standard(name) for name in coded.dictionary.to_pylist()]
    pairs = zip(coded.dictionary.to_pylist(), splits, strict=True)
    unknown = sorted(name for name, split in pairs if split is None)
    return pa.array(splits, pa.string()).take(coded.indices), unknown


def _first_folder(names: Column) -> Column:
    """The folder with which each name begins; the empty text where there is none."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(names, "(?s)^([^/]*)/.*$|^[^/]*$", r"\1")


def _rest(names: Column) -> Column:
    import pyarrow.compute as pc

    return pc.replace_substring_regex(names, "(?s)^[^/]*/", "")
