"""Errors say what, where, expected, found and the next thing to type."""

from __future__ import annotations

import pytest

from dof_arrow import errors
from dof_arrow.errors import (
    DofError,
    FormatError,
    MissingExtra,
    Problem,
    UsageError,
    refuse_unknown,
    require,
    shown,
)


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


def test_all_unknown_names_are_refused_with_the_nearest_known_ones() -> None:
    known = ["batch_size", "table", "label", "seed"]
    refuse_unknown(["seed", "label"], known, "loader")
    refuse_unknown([], known, "loader")
    with pytest.raises(UsageError) as caught:
        refuse_unknown(["batchsize", "seed"], known, "loader")
    assert str(caught.value) == (
        "loader: no such option: expected batch_size, table, label, seed, found batchsize. "
        "Did you mean batch_size?"
    )
    with pytest.raises(UsageError) as caught:
        refuse_unknown(["lable", "x\n\x1b[2J", "batch"], known, "loader")
    assert caught.value.found == r"lable, 'x\n\x1b[2J', batch"
    assert caught.value.hint == "Did you mean label for lable, batch_size for batch?"
    with pytest.raises(UsageError) as caught:
        refuse_unknown(["xyz"], known, "loader")
    assert caught.value.hint == ""


ESCAPED = {
    "\x00": r"\x00",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\x1b": r"\x1b",
    "\x7f": r"\x7f",
    "\x85": r"\x85",
    "\x9b": r"\x9b",
    "\u061c": r"\u061c",
    "\u200e": r"\u200e",
    "\u200f": r"\u200f",
    "\u2028": r"\u2028",
    "\u2029": r"\u2029",
    "\u202a": r"\u202a",
    "\u202e": r"\u202e",
    "\u2066": r"\u2066",
    "\u2069": r"\u2069",
    "\udcff": r"\udcff",
}


@pytest.mark.parametrize(("character", "escape"), ESCAPED.items(), ids=ESCAPED.values())
def test_what_disturbs_a_terminal_is_an_escape(character: str, escape: str) -> None:
    assert shown(f"a{character}b") == f"a{escape}b"
    assert shown(shown(character)) == escape


@pytest.mark.parametrize(
    "text", ["", "plain", "Röntgen", "胸部", "صدر", "חזה", "छाती", "👩\u200d⚕️", "C:\\x", "\xa0\xad"]
)
def test_ordinary_text_of_any_script_is_left_alone(text: str) -> None:
    assert shown(text) == text


def test_no_part_of_an_error_disturbs_a_terminal() -> None:
    part = "a\x1b[2J\nb"
    safe = r"a\x1b[2J\nb"
    error = UsageError(part, part, part, part, part)
    assert str(error) == f"{safe}: {safe}: expected {safe}, found {safe}. {safe}"
    assert error.args == (part,) * 5
    problem = Problem(rule="r", where=part, message=part, expected=part, found=part)
    told = f"r at {safe}: {safe}: expected {safe}, found {safe}"
    assert str(problem) == told
    assert str(FormatError(part, problems=[problem])) == f"{safe}\n  {told}"
