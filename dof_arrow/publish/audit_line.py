"""What a dataset says of privacy, in a line: what attackers found, and what was done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dof_arrow.errors import shown
from dof_arrow.format.spec.metadata import Metadata

NOT_AUDITED = "not audited"


def audit_line(metadata: Metadata) -> str:
    """What the last stored audit found, in one line; `not audited` where there is none.

    >>> from dof_arrow.format.spec.metadata import Privacy
    >>> class Told:
    ...     privacy = Privacy(ids="pseudonym", audits=({"rows": 9, "advantage": 0.25},))
    >>> audit_line(Told)
    'audited on 9 rows: nothing found by these attackers; the most gained over chance: 0.25'
    """
    privacy = metadata.privacy
    if privacy is None or not privacy.audits:
        return NOT_AUDITED
    audit = privacy.audits[-1]
    found = ", ".join(sorted(set(_found(audit))))
    told = f"found {found}" if found else "nothing found by these attackers"
    line = f"audited on {audit.get('rows', 'some')} rows: {told}"
    most = audit.get("advantage")
    if isinstance(most, int | float):
        line += f"; the most gained over chance: {most:.2f}"
    return shown(line)


def measure_text(measure: Mapping[str, Any]) -> str:
    """A measure that was applied to protect people, in a line.

    >>> measure_text({"noise": 0.1, "clip": 3})
    'noise 0.1, clip 3'
    """
    return ", ".join(f"{name} {value}" for name, value in measure.items())


def attack_name(finding: Mapping[str, Any]) -> str:
    """What an attack is told by: the attribute that was looked for, else the attack.

    >>> attack_name({"attack": "attribute", "of": "sex"}), attack_name({"attack": "linkage"})
    ('sex', 'linkage')
    """
    attack, of = (str(finding.get(name) or "") for name in ("attack", "of"))
    return of if attack == "attribute" or not attack else attack


def _found(audit: Mapping[str, Any]) -> Iterator[str]:
    """What was found out, as far as the audit says so in the way of `dof audit`."""
    findings = audit.get("findings")
    for finding in findings if isinstance(findings, list | tuple) else ():
        if isinstance(finding, Mapping) and finding.get("found"):
            yield attack_name(finding)
