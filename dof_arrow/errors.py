"""Every error and every finding of this package.

DofError                    all of them: `except DofError` is enough
├── UsageError              the call asks for what cannot be: an unknown column, a wrong option
├── FormatError             a file is not a valid DoF file; `.problems` lists what is wrong
├── CoreError               a model cannot serve as a core, or a core cannot do what is asked
├── SourceError             pictures, clips or tables cannot be read
├── OutputError             an output cannot be written: it exists, is locked, the disk is full
└── MissingExtra            an optional library is not installed
"""

from __future__ import annotations

import importlib
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

# Characters that change how a terminal shows other text: control characters (C0, DEL, C1), marks
# and overrides of the writing direction, line and paragraph separators. And halves of surrogate
# pairs, which stand for bytes of file names that are not UTF-8 and cannot be written.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_LONGEST = 80  # characters of a value in a message
_TORCH_CPU = " (CPU only: add --index-url https://download.pytorch.org/whl/cpu)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a file: a stable rule id, the place, and what stands there.

    >>> print(Problem(rule="layout-claim", where="label", message="not mapped", found="int8"))
    layout-claim at label: not mapped: found int8
    """

    rule: str
    where: str
    message: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        text = _sentence(self.message, self.expected, self.found)
        return f"{shown(self.rule)} at {shown(self.where)}: {text}"


class DofError(Exception):
    """Base of all errors here: what went wrong, where, what was expected and found, and what to do.

    As a text it is one line without control characters, whatever the parts hold; see `shown`.

    >>> print(UsageError("unknown column", "x.parquet", "id or label", "lable", "Try label."))
    x.parquet: unknown column: expected id or label, found lable. Try label.
    """

    def __init__(
        self, what: str, where: str = "", expected: str = "", found: str = "", hint: str = ""
    ) -> None:
        super().__init__(what, where, expected, found, hint)
        self.what = what
        self.where = where
        self.expected = expected
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        text = _sentence(self.what, self.expected, self.found)
        if self.where:
            text = f"{shown(self.where)}: {text}"
        if self.hint:
            text = f"{text.rstrip('.')}. {shown(self.hint)}"
        return text


class DofWarning(UserWarning):
    """Something the user should know that stops nothing: a file rewritten by another tool, say."""


class UsageError(DofError):
    """The call asks for something that cannot be."""


class FormatError(DofError):
    """A file is not a valid DoF file; `problems` says why, each with its rule."""

    def __init__(
        self,
        what: str,
        where: str = "",
        expected: str = "",
        found: str = "",
        hint: str = "",
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(what, where, expected, found, hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n  ".join([super().__str__(), *map(str, self.problems)])


class CoreError(DofError):
    """A model cannot serve as a core, or a core cannot do what is asked."""


class SourceError(DofError):
    """Pictures, clips or tables cannot be read."""


class OutputError(DofError):
    """An output cannot be written."""


class MissingExtra(DofError):
    """An optional library is not installed."""


@contextmanager
def said_of(where: object) -> Iterator[None]:
    """Let errors that name no place say that they are about this one, such as a file's path.

    >>> with said_of("x.parquet"):
    ...     raise FormatError("no footer")
    Traceback (most recent call last):
    dof_arrow.errors.FormatError: x.parquet: no footer
    """
    try:
        yield
    except DofError as error:
        error.where = error.where or str(where)
        raise


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional library, or say in one line how to install it.

    >>> require("json", extra="train").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        note = _TORCH_CPU if module.split(".")[0] == "torch" else ""
        raise MissingExtra(
            f"{error.name or module} is not installed",
            hint=f"pip install 'dof-arrow[{extra}]'{note}",
        ) from error


def refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise UsageError for names that are not known, all of them, with the nearest known ones.

    >>> refuse_unknown(["sed"], ["seed"], "x")
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: x: no such option: expected seed, found sed. Did you mean seed?
    """
    names = list(known)
    wrong = [name for name in given if name not in names]
    if wrong:
        found = ", ".join(map(_shown, wrong))
        raise UsageError("no such option", where, ", ".join(names), found, _nearest(wrong, names))


def check_truth(name: str, value: object) -> None:
    """Raise UsageError for an argument that is neither True nor False (nor 1 nor 0).

    Anything else would be taken for true or false by chance, such as the text "no".

    >>> check_truth("shuffle", "no")
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: shuffle: neither true nor false: expected True or False, found 'no'
    """
    is_flag = isinstance(value, int) or type(value).__name__ in ("bool", "bool_")  # of numpy
    if not is_flag or value not in (0, 1):
        raise UsageError("neither true nor false", name, "True or False", repr(value)[:_LONGEST])


def whole_number(name: str, value: object) -> int:
    """An argument that counts something; UsageError for what is no whole number.

    >>> whole_number("k", 2.5)
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: k: no whole number: expected an int, found 2.5
    """
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError("no whole number", name, "an int", repr(value)[:_LONGEST]) from None


def one_or_more(names: str | Iterable[str]) -> list[str]:
    """Names that are given as a list, or one by itself.

    >>> one_or_more("age"), one_or_more(["age", "sex"])
    (['age'], ['age', 'sex'])
    """
    return [names] if isinstance(names, str) else list(names)


def _nearest(wrong: Sequence[str], known: Sequence[str]) -> str:
    """The question that names the nearest known name of each wrong one; empty if none is near."""
    from difflib import get_close_matches

    near: dict[str, str] = {}
    for name in wrong:
        matches = get_close_matches(name, known, 3)
        if matches:
            near[name] = _with_same_letters(name, matches) or matches[0]
    if not near:
        return ""
    if len(wrong) == 1:
        return f"Did you mean {near[wrong[0]]}?"
    pairs = [f"{match} for {_shown(name)}" for name, match in near.items()]
    return f"Did you mean {', '.join(pairs)}?"


def _with_same_letters(name: str, known: Sequence[str]) -> str | None:
    """The name with the same letters in another order: "label" for "lable", not "table"."""
    for match in known:
        if sorted(match) == sorted(name):
            return match
    return None


def _shown(name: str) -> str:
    """A name for a message; what is no identifier is quoted and escaped."""
    return name if name.isidentifier() else ascii(name)


def shown(text: object) -> str:
    r"""A text as one line that is safe to show: what could disturb a terminal becomes an escape.

    Texts from files, such as a title or the name of a class, could otherwise move the cursor, begin
    a line of their own or change the order of what is shown. All other text stays as it is, in any
    script.

    >>> print(shown("Röntgen\x1b[2J\nlicence CC0-1.0"))
    Röntgen\x1b[2J\nlicence CC0-1.0
    """
    return UNSAFE.sub(_escape, str(text))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def few(found: Sequence[str], most: int) -> list[str]:
    """As many of some texts as a message shows, and how many more there are.

    >>> few(["a", "b", "c"], 2), few(["a"], 2)
    (['a', 'b', 'and 1 more'], ['a'])
    """
    if len(found) <= most:
        return list(found)
    return [*found[:most], f"and {len(found) - most:,} more"]


def _sentence(what: str, expected: str, found: str) -> str:
    parts = []
    if expected:
        parts.append(f"expected {shown(expected)}")
    if found:
        parts.append(f"found {shown(found)}")
    return f"{shown(what)}: {', '.join(parts)}" if parts else shown(what)


class PictureError(SourceError):
    """One picture that cannot be read; `rule` is the stable name of the reason.

    Rules: `empty`, `unsupported-format`, `unsupported-mode`, `undecodable`, `truncated`,
    `too-large`; of clips also `crop`, `segment` and `too-short`; from sources `missing`,
    `unreadable` and `table`. The text goes into the
    errors table, so it holds neither a path nor anything that the picture holds.
    """

    def __init__(
        self,
        what: str,
        where: str = "",
        expected: str = "",
        found: str = "",
        hint: str = "",
        rule: str = "undecodable",
    ) -> None:
        super().__init__(what, where, expected, found, hint)
        self.rule = rule
