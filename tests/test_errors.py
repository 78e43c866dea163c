"""Errors say what, where, expected, found and the next thing to type."""

from __future__ import annotations

import pytest

from dof_arrow import errors
from dof_arrow.errors import DofError, FormatError, MissingExtra, Problem, UsageError, require


def test_an_error_says_everything_in_one_line() -> None:
    error = UsageError("unknown column", where="x", expected="a or b", found="c", hint="Try a.")
    assert str(error) == "x: unknown column: expected a or b, found c. Try a."
    assert (error.what, error.where, error.expected, error.found, error.hint) == error.args


def test_a_hint_follows_one_full_stop() -> None:
    assert str(UsageError("It ended.", hint="Begin again.")) == "It ended. Begin again."


def test_an_error_may_say_less() -> None:
    assert str(DofError("it failed")) == "it failed"


def test_a_format_error_lists_every_problem() -> None:
    problems = [
        Problem(rule=f"rule-{i}", where="$", message="wrong", found=str(i)) for i in range(3)
    ]
    error = FormatError("not valid", "x.parquet", problems=problems)
    assert error.problems == tuple(problems)
    told = [f"  rule-{i} at $: wrong: found {i}" for i in range(3)]
    assert str(error).splitlines() == ["x.parquet: not valid", *told]


@pytest.mark.parametrize(
    "name",
    [
        "UsageError",
        "FormatError",
        "CoreError",
        "SourceError",
        "OutputError",
        "MissingExtra",
    ],
)
def test_every_error_is_a_dof_error_and_stands_in_the_tree(name: str) -> None:
    assert issubclass(getattr(errors, name), DofError)
    assert f"── {name} " in (errors.__doc__ or "")


def test_a_missing_extra_prints_its_install_command() -> None:
    with pytest.raises(
        MissingExtra, match=r"no_such_module is not installed\. pip install 'dof-arrow\[train\]'$"
    ):
        require("no_such_module", extra="train")


def test_torch_is_offered_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"--index-url https://download\.pytorch\.org/whl/cpu"):
        require("torch", extra="torch")
