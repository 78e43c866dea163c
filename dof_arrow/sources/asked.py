"""Which columns are asked for, and how the cells of each are to be read.

A rule is given for all labels at once, or for one column: in a mapping by column, or as a text
`COLUMN:value`, where the column is one of those that are asked for.
"""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Literal

from dof_arrow.errors import UsageError

Kind = Literal["number", "classes", "several"]
Texts = str | Sequence[str]

FOLDER = "folder"
ALL = "*"  # in a mapping by column: every label that is not named
KINDS: tuple[Kind, ...] = ("number", "classes", "several")

_OF_ONE_VALUE = ("kind", "separator")

# What `pandas.read_csv` takes for missing.
MISSING = frozenset(
    [
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableOptions:
    """What is known of the inputs, and where it stands."""

    table: str | PathLike[str] | None = None
    """A CSV, Parquet, Arrow or Excel file with a row for each input; it needs `key`. A sheet of a
    workbook is named as in `meta.xlsx#Sheet2`. By default the columns that the source has itself:
    those of a Parquet file of pictures, or attributes of DICOM files."""

    key: str | None = None
    """The column of the table that names the inputs: by relative name, file name, or file name
    without its suffix."""

    match: str | Sequence[str] = ()
    """How names in the key column are matched further, where they find no input as they are:
    `case`, `folder`, `suffix`, `padding`, or several of these; see `sources.table_keys`."""

    start: str | None = None
    """The column of the table that says where each row's segment of its clip starts, in seconds,
    `mm:ss` or `hh:mm:ss`, with fractions; an empty cell is the clip's begin. Several rows may name
    one clip then; each is an input of its own: what is shown from its start on until its end."""

    end: str | None = None
    """The column that says where it ends; an empty cell is the clip's end."""

    label: str | Sequence[str] | None = None
    """The column to be learned, or several; `folder`: the first folder of each input's name is its
    class."""

    group: str | None = None
    """The column of what must stay on one side of a split, such as the patient."""

    keep: str | Sequence[str] = ()
    """Further columns to copy into the output, in a text parted by commas; no other column is
    copied."""

    kind: Kind | Mapping[str, Kind] | None = None
    """What labels are: a `number`, one of some `classes`, or `several` classes at once. By default
    told by the cells: numbers of which more than 20 differ are a number. As all rules for labels,
    for all of them, or in a mapping by column."""

    classes: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None
    """All classes, in their order; by default they are sorted. In a text parted by commas."""

    map: str | Mapping[str, str | None] | Mapping[str, Mapping[str, str | None]] | None = None
    """What cells are called instead, by patterns as of file names that are tried in order, as
    `{"COVID*": "covid", "todo": None}`; None is missing. Comes before everything else."""

    missing: str | Sequence[str] | Mapping[str, str | Sequence[str]] = ()
    """Words that stand for a missing cell, beside those that pandas knows: `NA`, `NaN`, `null`,
    `None` and so on."""

    separator: str | Mapping[str, str] = "|"
    """What stands between `several` classes in one cell."""

    encoding: str | None = None
    """The encoding of a CSV table, such as `latin-1`; by default UTF-8, or UTF-16 with its mark."""

    pictures: str | None = None
    """Which pictures are meant, where a container such as a tar archive holds several kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How the cells of a column are read."""

    kind: Kind | None = None
    classes: tuple[str, ...] | None = None
    map: Mapping[str, str | None] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    separator: str = "|"
    comma: bool = False  # whether a comma may part decimals

    @property
    def own(self) -> bool:
        """Whether cells are to be read otherwise than they would be."""
        return bool(self.kind or self.classes or self.map or self.missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The columns of a table, or of the source itself, that are asked for."""

    key: str | None = None
    start: str | None = None
    end: str | None = None
    labels: tuple[str, ...] = ()
    group: str | None = None
    split: str | None = None
    keep: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    rules: Mapping[str, Rule] = field(default_factory=dict)
    encoding: str | None = None

    @property
    def segments(self) -> bool:
        """Whether rows are segments of clips."""
        return self.start is not None or self.end is not None

    @property
    def ruled(self) -> list[str]:
        """The names of those that rules may be said of: all but the key."""
        others = [name for name in (self.group, self.split) if name is not None]
        return list(dict.fromkeys([*self.labels, *others, *self.keep]))

    @property
    def columns(self) -> list[str]:
        """Their names, the key's first; one may stand there twice."""
        labels = [name for name in self.labels if name != FOLDER]
        split = None if self.split == FOLDER else self.split
        named = (self.key, self.start, self.end, *labels, self.group, split, *self.keep)
        return [name for name in named if name is not None]

    def rule(self, column: str) -> Rule:
        """How the cells of a column are read."""
        return self.rules.get(column, Rule())


def named(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """One name or several as a tuple, each once.

    >>> named("sex"), named(["sex", "age", "sex"])
    (('sex',), ('sex', 'age'))
    """
    several = [names] if isinstance(names, str) else names or ()
    return tuple(dict.fromkeys(several))


def parted(texts: Texts | None) -> list[str]:
    """The parts of a text between commas, trimmed; a part with a comma stands in double quotes.

    >>> parted('age, "height, cm",'), parted(["a,b"])
    (['age', 'height, cm'], ['a,b'])
    """
    if not isinstance(texts, str):
        return list(texts or ())
    parts = next(csv.reader([texts], skipinitialspace=True), [])
    return [part.strip() for part in parts if part.strip()]


def by_column(option: str, texts: Iterable[str], columns: Collection[str]) -> dict[str, str]:
    """Texts of which some begin with `COLUMN:`, by column; `*` for the others.

    Raises UsageError for an option of one value that is said twice of a column.

    >>> by_column("missing", ["-", "sex:x", "a:b"], ["sex", "age"])
    {'*': '-,a:b', 'sex': 'x'}
    """
    found: dict[str, str] = {}
    for text in texts:
        fitting = [name for name in columns if text.startswith(f"{name}:")]
        column = max(fitting, key=len, default=ALL)
        value = text if column == ALL else text[len(column) + 1 :]
        if column in found and option in _OF_ONE_VALUE:
            raise UsageError(
                f"--{option} is said twice", found=f"{found[column]} and {value}", hint="Leave one."
            )
        found[column] = f"{found[column]},{value}" if column in found else value
    return found


def patterns(text: str) -> dict[str, str | None]:
    """The patterns of a text, each with its name; the first of equal ones counts.

    >>> patterns("COVID*=covid, todo=")
    {'COVID*': 'covid', 'todo': ''}
    """
    found: dict[str, str | None] = {}
    for part in parted(text):
        pattern, equals, name = part.rpartition("=")
        if not equals:
            hint = "Write for example --map 'COVID*=covid,todo=,*=other'."
            raise UsageError("a pattern without a name", "--map", "PATTERN=NAME", part, hint)
        found.setdefault(pattern, name)
    return found


def rules_of(asked: Asked, given: TableOptions) -> dict[str, Rule]:
    """The rule of each column that is asked for; UsageError for one that cannot be."""
    rules = {}
    kinds = _by_column("kind", given.kind, asked)
    separators = _by_column("separator", given.separator, asked)
    classes = _by_column("classes", given.classes, asked)
    maps = _by_column("map", given.map, asked)
    missing = _by_column("missing", given.missing, asked)
    for column in asked.ruled:
        is_label = column in asked.labels
        rules[column] = Rule(
            kind=_kind(_for(column, kinds, is_label)),
            classes=_classes(_for(column, classes, is_label)),
            map=_map(_for(column, maps, is_label)),
            missing=frozenset(parted(_for(column, missing, is_label))),
            separator=_for(column, separators, is_label) or "|",
        )
    return rules


def _for(column: str, by: Mapping[str, Any], is_label: bool) -> Any:
    """What is said of a column; what is said of no column in particular is said of labels."""
    if column in by:
        return by[column]
    return by.get(ALL) if is_label else None


def _by_column(option: str, given: Any, asked: Asked) -> Mapping[str, Any]:
    """What is given for an option, by column."""
    known = asked.ruled
    if not given:
        return {}
    if isinstance(given, str):
        found: Mapping[str, Any] = by_column(option, [given], known)
    elif isinstance(given, Mapping) and (option != "map" or _is_nested(given)):
        found = given
    else:
        found = {ALL: given}
    _check(option, found, known, asked)
    return found


def _is_nested(given: Mapping[str, Any]) -> bool:
    return all(isinstance(value, Mapping) for value in given.values())


def _check(option: str, found: Mapping[str, Any], known: Sequence[str], asked: Asked) -> None:
    """Refuse a rule for a column that is not asked for, and one for labels without a label."""
    unknown = [column for column in found if column != ALL and column not in known]
    only_labels = option in ("kind", "classes", "separator")
    if only_labels:
        unknown += [column for column in found if column in known and column not in asked.labels]
    if unknown:
        raise UsageError(
            f"--{option} is said of a column that is no label"
            if only_labels
            else f"--{option} is said of a column that is not asked for",
            expected=", ".join(asked.labels if only_labels else known) or "a label",
            found=", ".join(dict.fromkeys(unknown)),
        )
    if ALL in found and not asked.labels and not (option == "separator" and found[ALL] == "|"):
        raise UsageError(
            f"--{option} is said of labels, and none is asked for",
            found=f"--{option} {found[ALL]}",
            hint=f"Add --label COLUMN, or write --{option} COLUMN:…",
        )


def _kind(given: Any) -> Kind | None:
    if given is None:
        return None
    for kind in KINDS:
        if given == kind:
            return kind
    raise UsageError("no such kind of label", expected=" or ".join(KINDS), found=str(given))


def _classes(given: Texts | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    classes = parted(given)
    twice = [name for name in dict.fromkeys(classes) if classes.count(name) > 1]
    if twice or not classes:
        raise UsageError("classes must be named, each once", found=", ".join(twice) or "no class")
    return tuple(classes)


def _map(given: str | Mapping[str, str | None] | None) -> dict[str, str | None]:
    """Patterns and what the cells that fit them are called; None: missing."""
    if given is None:
        return {}
    pairs = given if isinstance(given, Mapping) else patterns(given)
    found: dict[str, str | None] = {}
    for pattern, name in pairs.items():
        if not pattern.strip():
            raise UsageError(
                "a pattern is empty", "--map", "PATTERN=NAME", hint="Empty cells are missing."
            )
        if name is not None and not isinstance(name, str):
            raise UsageError(
                "a name is no text", "--map", "a text, or None for missing", type(name).__name__
            )
        # The first pattern that fits is the one that counts.
        found.setdefault(pattern.strip(), (name or "").strip() or None)
    return found


def fits(word: str, pattern: str) -> bool:
    """Whether a cell fits a pattern as of file names, capitals told from small letters.

    >>> fits("COVID-19", "COVID*"), fits("covid", "COVID*")
    (True, False)
    """
    return fnmatch.fnmatchcase(word, pattern)
