"""`dof audit`: known attacks on a dataset, each beside its control and chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE, NO
from dof_arrow.cli.options import DATASET, naming, spoken
from dof_arrow.cli.terminal import Terminal, table

if TYPE_CHECKING:
    from dof_arrow.privacy.attacks.finding import Finding
    from dof_arrow.privacy.audit import Audit
    from dof_arrow.privacy.self_test import Check
    from dof_arrow.privacy.uniqueness import Uniqueness

_NAMED = 3  # rare combinations
_WIDTH = 14  # characters of what is attacked, so that rows fit into 80 columns


@click.command()
@click.argument("file", required=False, type=DATASET)
@click.option(
    "--source", type=click.Path(path_type=Path), help="The pictures that it was extracted from."
)
@click.option(
    "--sensitive",
    multiple=True,
    metavar="COLUMN",
    help="A column to infer; repeatable [default: every target and kept column].",
)
@click.option("--feature", metavar="COLUMN", help="The feature column [default: the primary one].")
@naming
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="What all draws start from."
)
@click.option(
    "--fail-above",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Exit code 1 if an attacker gains more than this share of what chance leaves.",
)
@click.option(
    "--sheets",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a PNG of rebuilt pictures beside the source's own: for your eyes only.",
)
@click.option("--overwrite", is_flag=True, help="Replace the FILE of --sheets if it is there.")
@click.option("--store", is_flag=True, help="Write the result into FILE, for whoever opens it.")
@click.option("--self-test", is_flag=True, help="Attack what is known instead of a file.")
@spoken
def audit(
    terminal: Terminal,
    file: Path | None,
    self_test: bool,
    fail_above: float | None,
    sheets: Path | None,
    overwrite: bool,
    store: bool,
    **options: Any,
) -> int:
    """Attack FILE with what an attacker may know, and tell what was reached.

    What these attackers do not find, a stronger one may.
    """
    if self_test == (file is not None):
        raise click.UsageError("Name a file to audit, or write --self-test alone.")
    if file is None:
        return _self_test(terminal)
    from dof_arrow.privacy.audit import audit as attack
    from dof_arrow.privacy.audit import store as keep
    from dof_arrow.privacy.audit import write_sheet
    from dof_arrow.storage.addresses import on_disk
    from dof_arrow.storage.atomic import refuse_existing

    if store:
        on_disk(file)  # not first after minutes of work
    if sheets is not None:
        if options["source"] is None:
            raise click.UsageError("--sheets shows rebuilt pictures: name --source, the pictures.")
        refuse_existing(sheets, overwrite)
    with terminal.busy("attacking"):
        found = attack(file, **options)
    if store:
        keep(found, file)
    terminal.result(_value(found), *_lines(found))
    if store:
        terminal.say(f"Stored in {file}, section privacy: dof info {file}")
    if sheets is not None:
        write_sheet(found, sheets, overwrite=overwrite)
        terminal.say(
            f"CAUTION: {sheets} shows pictures of the source. It is for their owner: keep it where "
            "they may be, and never send it along with FILE."
        )
    if fail_above is None or found.advantage <= fail_above:
        return DONE
    terminal.say(f"An attacker gained {found.advantage:.3f}, more than {fail_above:g}.")
    return NO


def _self_test(terminal: Terminal) -> int:
    from dof_arrow.privacy.self_test import self_test

    checks = self_test()
    passed = all(check.passed for check in checks)
    values = [{**asdict(check), "passed": check.passed} for check in checks]
    terminal.result({"passed": passed, "checks": values}, *_check_lines(checks, passed))
    return DONE if passed else NO


def _check_lines(checks: Sequence[Check], passed: bool) -> Iterator[str]:
    rows = [("attack", "by", "metric", "pictures", "dealt", "noise", "chance", "outside")]
    for check in checks:
        row = (
            _short(check.attack),
            check.attacker,
            check.metric,
            f"{check.identity:.3f}",
            f"{check.control:.3f}",
            f"{check.noise:.3f}",
            f"{check.baseline:.3f}",
            f"{check.outside} of {check.seeds}",
        )
        rows.append(row)
    yield from table(rows)
    yield ""
    yield (
        "every attack sees what is there, and nothing in noise" if passed else "not as it should be"
    )


def _value(found: Audit) -> dict[str, Any]:
    value = asdict(found)
    del value["sheet"]
    for each, finding in zip(value["findings"], found.findings, strict=True):
        each["found"] = finding.found
        each["advantage"] = finding.advantage
    return {**value, "advantage": found.advantage}


def _lines(found: Audit) -> Iterator[str]:
    yield f"{found.path}: {found.rows:,} of {found.of:,} rows, {found.groups:,} groups"
    yield ""
    rows = [("attack", "by", "metric", "reached (95%)", "shuffled", "chance")]
    rows += [_row(finding) for finding in found.findings]
    yield from table(rows)
    if found.unique is not None:
        yield ""
        yield from _uniqueness(found.unique)
    yield ""
    yield from _verdict(found.findings)
    for note in found.notes:
        yield f"not tried, or less: {note}"


def _row(finding: Finding) -> tuple[str, str, str, str, str, str]:
    score = finding.reached
    return (
        _short(_name(finding)),
        finding.attacker,
        finding.metric,
        f"{score.value:.3f} ({score.low:.2f} to {score.high:.2f})",
        f"{finding.control.value:.3f}",
        f"{finding.baseline:.3f}",
    )


def _name(finding: Finding) -> str:
    return finding.of if finding.attack == "attribute" else finding.attack


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _uniqueness(found: Uniqueness) -> Iterator[str]:
    columns = ", ".join(found.columns)
    yield (
        f"{found.unique:,} of {found.groups:,} persons are the only ones with their {columns}; "
        f"{found.rare:,} share it with fewer than four others"
    )
    for rare in found.worst[:_NAMED]:
        values = ", ".join(f"{name} {value}" for name, value in rare.values.items())
        yield f"  {rare.persons:,}: {values}"


def _verdict(findings: Sequence[Finding]) -> Iterator[str]:
    """What was found, and what these attackers did not find: it may be there all the same."""
    found = dict.fromkeys(_name(each) for each in findings if each.found)
    rest = dict.fromkeys(_name(each) for each in findings)
    missed = [name for name in rest if name not in found]
    if found:
        yield f"found: {', '.join(found)}"
    if missed:
        yield f"not found by these attackers: {', '.join(missed)}"
