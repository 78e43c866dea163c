"""Licences of models: what a model card names, as SPDX writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Licences that model cards name and SPDX knows; others become a LicenseRef, as SPDX asks for.
_SPDX = {
    name.lower(): name
    for name in (
        "AFL-3.0",
        "AGPL-3.0",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD-3-Clause-Clear",
        "BSL-1.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC-BY-NC-3.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-ND-4.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-SA-3.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CDLA-Permissive-2.0",
        "ECL-2.0",
        "EPL-2.0",
        "EUPL-1.2",
        "GPL-2.0",
        "GPL-3.0",
        "ISC",
        "LGPL-2.1",
        "LGPL-3.0",
        "MIT",
        "MPL-2.0",
        "MS-PL",
        "NCSA",
        "ODbL-1.0",
        "PDDL-1.0",
        "Unlicense",
        "WTFPL",
        "Zlib",
    )
}

_FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)\r?\n---", re.S)
_LONGEST = 64  # characters of a name that SPDX does not know


def spdx(license: str) -> str:
    """A licence as model cards write it, as an SPDX expression.

    >>> spdx("apache-2.0"), spdx("creativeml-openrail-m")
    ('Apache-2.0', 'LicenseRef-creativeml-openrail-m')
    """
    known = _SPDX.get(license.lower())
    if known:
        return known
    return "LicenseRef-" + re.sub("[^A-Za-z0-9.-]+", "-", license)[:_LONGEST]


def of_card(card: str) -> str | None:
    """The licence that a model card (README.md) names; None where it names none.

    >>> of_card("---\\nlicense: mit\\n---\\n# A model")
    'MIT'
    """
    facts = _front_matter(card)
    named = facts.get("license")
    if named == "other":
        named = facts.get("license_name") or named
    return spdx(named) if isinstance(named, str) else None


def _front_matter(card: str) -> Mapping[str, Any]:
    """The YAML block at the head of a model card."""
    import yaml

    match = _FRONT_MATTER.match(card)
    if match is None:
        return {}
    try:
        found = yaml.safe_load(match[1])
    except (yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
