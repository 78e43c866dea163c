"""Licences as SPDX writes them, as links and as the hub calls them."""

from __future__ import annotations

import re

_ID = re.compile(r"[A-Za-z0-9.-]+\+?")
# What the hub calls a licence, by its SPDX identifier; others are `other` there.
_HUB = {
    **{
        name: name.lower()
        for name in (
            "AFL-3.0",
            "AGPL-3.0",
            "Apache-2.0",
            "Artistic-2.0",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "BSD-3-Clause-Clear",
            "BSL-1.0",
            "CC-BY-2.0",
            "CC-BY-2.5",
            "CC-BY-3.0",
            "CC-BY-4.0",
            "CC-BY-NC-2.0",
            "CC-BY-NC-3.0",
            "CC-BY-NC-4.0",
            "CC-BY-NC-ND-3.0",
            "CC-BY-NC-ND-4.0",
            "CC-BY-NC-SA-2.0",
            "CC-BY-NC-SA-3.0",
            "CC-BY-NC-SA-4.0",
            "CC-BY-ND-4.0",
            "CC-BY-SA-3.0",
            "CC-BY-SA-4.0",
            "CC0-1.0",
            "CDLA-Permissive-1.0",
            "CDLA-Permissive-2.0",
            "CDLA-Sharing-1.0",
            "ECL-2.0",
            "EPL-1.0",
            "EPL-2.0",
            "EUPL-1.1",
            "GPL-2.0",
            "GPL-3.0",
            "ISC",
            "LGPL-2.1",
            "LGPL-3.0",
            "LPPL-1.3c",
            "MIT",
            "MPL-2.0",
            "MS-PL",
            "NCSA",
            "OFL-1.1",
            "OSL-3.0",
            "PostgreSQL",
            "Unlicense",
            "WTFPL",
            "Zlib",
        )
    },
    "ODbL-1.0": "odbl",
    "PDDL-1.0": "pddl",
}
_BY_LOWER = {name.lower(): called for name, called in _HUB.items()}


def license_url(license: str) -> str:
    """The page of a licence that SPDX may list; any other text as it is.

    >>> license_url("CC-BY-4.0")
    'https://spdx.org/licenses/CC-BY-4.0.html'
    >>> license_url("LicenseRef-mine"), license_url("MIT OR Apache-2.0")
    ('LicenseRef-mine', 'MIT OR Apache-2.0')
    """
    if not _ID.fullmatch(license) or license.startswith(("LicenseRef-", "DocumentRef-")):
        return license
    return f"https://spdx.org/licenses/{license}.html"


def hub_license(license: str) -> str | None:
    """What the hub calls a licence; None where it has no name for it.

    >>> hub_license("CC-BY-4.0"), hub_license("GPL-3.0-or-later"), hub_license("LicenseRef-mine")
    ('cc-by-4.0', 'gpl-3.0', None)
    """
    plain = license.lower().removesuffix("-only").removesuffix("-or-later")
    return _BY_LOWER.get(plain)


def is_url(text: str) -> bool:
    """Whether a text is an address of the web.

    >>> is_url("https://example.org/x"), is_url("the ward")
    (True, False)
    """
    return text.startswith(("https://", "http://")) and " " not in text
