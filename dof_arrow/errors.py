"""Every error and every finding of this package.

DofError                    all of them: `except DofError` is enough
├── UsageError              the call asks for something that cannot be: an unknown column, a wrong option
├── FormatError             a file is not a valid DoF file; `.problems` lists what is wrong
├── CoreError               a model cannot serve as a core, or a core cannot do what is asked
├── SourceError             pictures, clips or tables cannot be read
├── OutputError             an output cannot be written: it exists, is locked, the disk is full
└── MissingExtra            an optional library is not installed
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

_TORCH_CPU = " (CPU only: add --index-url https://download.pytorch.org/whl/cpu)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a file: a stable rule id, the place, and what stands there.

    >>> print(Problem(rule="metadata-type", where="$.version", message="wrong type", expected="string", found="7"))
    metadata-type at $.version: wrong type: expected string, found 7
    """

    rule: str
    where: str
    message: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        return f"{self.rule} at {self.where}: {_sentence(self.message, self.expected, self.found)}"


class DofError(Exception):
    """Base of all errors here: what went wrong, where, what was expected and found, and what to do.

    >>> print(UsageError("unknown column", where="x.parquet", expected="id or feature", found="lable", hint="Try it."))
    x.parquet: unknown column: expected id or feature, found lable. Try it.
    """

    def __init__(
        self, what: str, where: str = "", expected: str = "", found: str = "", hint: str = ""
    ) -> None:
        super().__init__(what, where, expected, found, hint)
        self.what, self.where, self.expected, self.found, self.hint = (
            what,
            where,
            expected,
            found,
            hint,
        )

    def __str__(self) -> str:
        text = _sentence(self.what, self.expected, self.found)
        text = f"{self.where}: {text}" if self.where else text
        return f"{text.rstrip('.')}. {self.hint}" if self.hint else text


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


def _sentence(what: str, expected: str, found: str) -> str:
    parts = [f"expected {expected}"] if expected else []
    parts += [f"found {found}"] if found else []
    return f"{what}: {', '.join(parts)}" if parts else what


class PictureError(SourceError):
    """One picture that cannot be read; `rule` is the reason's stable name, fit for the errors table.

    Rules: `empty`, `unsupported-format`, `unsupported-mode`, `undecodable`, `truncated`, `too-large`; from sources
    also `missing` and `unreadable`. The text holds neither a path nor anything that the picture holds.
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
