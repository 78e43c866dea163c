"""Addresses of files on the web: checked, and shown without credentials."""

from __future__ import annotations

import base64
import re
from urllib.parse import SplitResult, unquote, urlsplit

from dof_arrow.errors import UsageError

_DIGEST = re.compile(r"sha256=([0-9a-f]{64})", re.I)


def split_digest(address: str) -> tuple[str, str | None]:
    """An address, and the SHA-256 that may stand behind it; UsageError for anything else there.

    >>> split_digest("hf://a/b/c.onnx")
    ('hf://a/b/c.onnx', None)
    """
    before, mark, fragment = address.partition("#")
    if not mark:
        return before, None
    found = _DIGEST.fullmatch(fragment)
    if found is None:
        raise UsageError(
            "what stands behind # is no digest",
            bare(before),
            "#sha256= and 64 hexadecimal digits",
            f"{len(fragment)} characters",
            "Take it from whoever published the file, or leave it out.",
        )
    return before, found[1].lower()


def bare(address: str) -> str:
    """An address without user, password and query, as it may be shown and recorded.

    >>> bare("https://me:secret@example.org:8080/m/x.onnx?token=t")
    'https://example.org:8080/m/x.onnx'
    """
    head, _, rest = address.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{head}://{host.rpartition('@')[2]}{slash}{path}" if rest else head


def is_address(url: str) -> bool:
    """Whether this is the address of a file on the web.

    >>> is_address("https://example.org/x.onnx"), is_address("file:///etc/passwd")
    (True, False)
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # raises where the port is no number
    except ValueError:
        return False
    plain = url.isprintable() and " " not in url
    return plain and bool(host) and parts.scheme in ("http", "https")


def basic(parts: SplitResult) -> str | None:
    """The Authorization header for the user and password in an address; None where it has none."""
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
