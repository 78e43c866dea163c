"""What a card tells of privacy: audits stored in the file, or that there was none."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.publish.audit_line import attack_name, measure_text
from dof_arrow.system import open_file

Json = Any

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What an attacker reached: its score and interval, the control's, and a guess's."""

    name: str
    attacker: str
    knows: str
    metric: str
    reached: float | None
    low: float | None
    high: float | None
    control: float | None
    baseline: float | None
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """An audit that the file holds: of how many rows and groups, its attacks, and notes.

    `found` and `missed` say of what some attacker reached more than chance, and of what none did.
    """

    rows: int | None
    of: int | None
    groups: int | None
    attacks: tuple[Attack, ...]
    found: tuple[str, ...]
    missed: tuple[str, ...]
    unique: str
    notes: tuple[str, ...]
    generator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """How rows are called, what was done to protect people, and what attackers found.

    `ids` is empty where the file does not say whether they are names. Without `audits` nothing was
    measured. `sheet` is the owner's picture of what was rebuilt, as a `data:` address, where it was
    asked for.
    """

    ids: str
    measures: tuple[str, ...]
    audits: tuple[AuditResult, ...]
    sheet: str | None


def privacy(known: Metadata, sheet: Path | None) -> Privacy:
    """What the file says of privacy, and a sheet of rebuilt pictures that the owner adds."""
    stored = known.privacy
    return Privacy(
        ids=stored.ids if stored else "",
        measures=tuple(measure_text(each) for each in (stored.measures if stored else ())),
        audits=tuple(_audit(each) for each in (stored.audits if stored else ())),
        sheet=_sheet(sheet) if sheet else None,
    )


def _audit(value: Mapping[str, Json]) -> AuditResult:
    """An audit as `dof audit --store` writes it; what is missing or of another form is left out."""
    told = value.get("findings")
    findings = (
        [each for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []
    )
    names = dict.fromkeys(attack_name(each) for each in findings)
    found = dict.fromkeys(attack_name(each) for each in findings if each.get("found") is True)
    notes = value.get("notes")
    return AuditResult(
        rows=_whole(value.get("rows")),
        of=_whole(value.get("of")),
        groups=_whole(value.get("groups")),
        attacks=tuple(_attack(each) for each in findings),
        found=tuple(found),
        missed=tuple(name for name in names if name not in found),
        unique=_unique(value.get("unique")),
        notes=tuple(str(note) for note in notes) if isinstance(notes, list) else (),
        generator=str(value.get("generator", "")),
    )


def _attack(finding: Mapping[str, Json]) -> Attack:
    attack = str(finding.get("attack", ""))
    of = str(finding.get("of", ""))
    reached = _numbers(finding.get("reached"))
    return Attack(
        name=f"{attack}: {of}" if of and of != attack else attack,
        attacker=str(finding.get("attacker", "")),
        knows=str(finding.get("knows", "")),
        metric=str(finding.get("metric", "")),
        reached=reached.get("value"),
        low=reached.get("low"),
        high=reached.get("high"),
        control=_numbers(finding.get("control")).get("value"),
        baseline=_number(finding.get("baseline")),
        found=finding.get("found") is True,
    )


def _unique(value: Json) -> str:
    """How many persons columns alone single out, in a sentence."""
    if not isinstance(value, Mapping):
        return ""
    columns, groups, unique = (value.get(name) for name in ("columns", "groups", "unique"))
    if not isinstance(columns, list) or _whole(groups) is None or _whole(unique) is None:
        return ""
    names = ", ".join(map(str, columns))
    return f"{unique:,} of {groups:,} persons are the only ones with their {names}."


def _numbers(value: Json) -> dict[str, float | None]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): _number(item) for name, item in value.items()}


def _number(value: Json) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _sheet(path: Path) -> str:
    """A PNG picture as a `data:` address; UsageError for anything else, and for a huge one."""
    try:
        with open_file(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError("cannot be read", str(path), found=error.strerror or "") from None
    if not data.startswith(_PNG) or len(data) > _MOST_BYTES:
        raise UsageError(
            "no contact sheet",
            str(path),
            "a PNG picture of up to 4 MiB",
            hint="Make one: dof audit FILE --source PICTURES --sheets SHEET.png",
        )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
