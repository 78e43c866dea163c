"""`dof edit`: rewrite what a file says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import spoken
from dof_arrow.cli.terminal import Terminal, as_json_text, table

if TYPE_CHECKING:
    from dof_arrow.format.spec.json_diff import Change
    from dof_arrow.rewrite.edit import EditPlan
    from dof_arrow.rewrite.metadata_edit import Wanted

# The commas between the fields of a contact; a comma inside a name is no separator.
_CONTACT = re.compile(r"\s*,\s*(?=(?:name|role|email|orcid|organization)=)")
_SHOWN = 60  # characters of a value in the table of changes


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--set",
    "set_",
    multiple=True,
    metavar="NAME=TEXT",
    help="title, license, …; keys.NAME for your own.",
)
@click.option(
    "--unset",
    multiple=True,
    metavar="NAME",
    help="Remove a field, a key, `training` or `performance`.",
)
@click.option(
    "--from",
    "info",
    type=click.Path(path_type=Path),
    metavar="INFO.json",
    help="The whole section anew.",
)
@click.option(
    "--contact",
    "contacts",
    multiple=True,
    metavar="name=…,email=…,role=…",
    help="Add a contact, or replace the one of that name.",
)
@click.option(
    "--attach",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Put a document in.",
)
@click.option("--detach", multiple=True, metavar="NAME", help="Take a document out.")
@click.option(
    "--training",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="How a model was trained.",
)
@click.option(
    "--performance", type=click.Path(path_type=Path), metavar="FILE.json", help="How well it did."
)
@click.option(
    "--template",
    type=click.Choice(["training", "performance"]),
    help="Print such a section to fill in, with what FILE says already.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Write another file, and leave FILE as it is.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@click.option("--drop-signature", is_flag=True, help="Edit a signed file; its signature is lost.")
@click.option("--dry-run", is_flag=True, help="Show old and new; write nothing.")
@spoken
def edit(
    terminal: Terminal,
    file: Path | None,
    template: str | None,
    out: Path | None,
    overwrite: bool,
    drop_signature: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Rewrite what FILE says of itself: title, licence, contacts, documents, results. Its data stay
    as they are."""
    from dof_arrow.rewrite.edit import carry_out, prepare

    if template is not None:
        return _print_template(terminal, template, file)
    if file is None:
        raise click.UsageError("Missing argument 'FILE'.")
    plan = prepare(file, _wanted(**options), drop_signature=drop_signature)
    if not dry_run:
        carry_out(plan, out, overwrite=overwrite)
    path = out or file
    written = bool(plan.changes or out) and not dry_run
    lines = _changes(plan.changes) if plan.changes else [f"{file}: nothing to change"]
    terminal.result(_report(plan, path, written), *lines)
    if written:
        terminal.say(f"Next: dof info {path}")
    elif plan.changes:
        terminal.say("Nothing was written. The same command without --dry-run writes it.")
    return DONE


def _wanted(set_: tuple[str, ...], contacts: tuple[str, ...], **options: Any) -> Wanted:
    from dof_arrow.rewrite.edit import read_json
    from dof_arrow.rewrite.metadata_edit import Wanted

    for section in ("info", "training", "performance"):
        path = options[section]
        options[section] = read_json(path) if path else None
    return Wanted(
        set=dict(_pair(text, "--set") for text in set_),
        contacts=[_contact(text) for text in contacts],
        **options,
    )


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not NAME=TEXT", param_hint=option)
    return name.strip(), value


def _contact(text: str) -> dict[str, str]:
    contact = dict(_pair(part, "--contact") for part in _CONTACT.split(text))
    if "name" not in contact:
        raise click.BadParameter(f"{text!r} has no name=…", param_hint="--contact")
    return contact


def _print_template(terminal: Terminal, section: str, file: Path | None) -> int:
    from dof_arrow.dataset import dataset
    from dof_arrow.format.spec import templates

    held = getattr(dataset.open(file).metadata, section) if file else {}
    empty = templates.template(section)
    print(as_json_text({**empty, **held}, 2))
    for line in table([("field", "type", "what it says"), *templates.guide(section)]):
        terminal.say(line)
    terminal.say("Fill in what you can; null and [] are left out.")
    terminal.say(f"Then: dof edit {file or 'FILE'} --{section} FILLED.json")
    return DONE


def _report(plan: EditPlan, path: Path, written: bool) -> dict[str, Any]:
    changes = [asdict(change) for change in plan.changes]
    return {"path": str(path), "written": written, "changes": changes}


def _changes(found: Sequence[Change]) -> list[str]:
    return table([("field", "old", "new"), *map(_row, found)])


def _row(change: Change) -> tuple[str, str, str]:
    return change.where, _said(change.old), _said(change.new)


def _said(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
