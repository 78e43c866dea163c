"""Addresses of files on the web and on stores: checked, and shown without credentials."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from dof_arrow.errors import UsageError

_DIGEST = re.compile(r"sha256=([0-9a-f]{64})", re.I)
# One slash too: `pathlib` makes it of two.
_ON_A_STORE = re.compile(r"(s3|gs|az|hf|https?):/+(?=[^/])")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a dataset lies on a store; as a text it has no user, no password and no query.

    `filesystem` is the user's own, of pyarrow or fsspec; then `url` is a path in it.

    >>> Address("s3://bucket/lungs.dof") / "manifest.parquet"
    Address(s3://bucket/lungs.dof/manifest.parquet)
    """

    url: str
    filesystem: Any = field(default=None)

    def __str__(self) -> str:
        return bare(self.url)

    def __repr__(self) -> str:
        return f"Address({self})"

    def __truediv__(self, name: str) -> Address:
        path, mark, query = self.url.partition("?")
        return Address(f"{path.rstrip('/')}/{name}{mark}{query}", self.filesystem)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return str(self).rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Address:
        """What it lies in."""
        path, mark, query = self.url.partition("?")
        return Address(f"{path.rstrip('/').rpartition('/')[0]}{mark}{query}", self.filesystem)

    @property
    def suffix(self) -> str:
        """The ending of the name, such as `.dof`."""
        return Path(self.name).suffix


Location = Path | Address
"""Where a dataset lies: on the disk, or on a store."""


def location(path: str | os.PathLike[str] | Address, filesystem: Any = None) -> Location:
    """A place on the disk, or on a store where the text begins with `s3://` and the like.

    With a `filesystem` the path is one in it.

    >>> str(location("https://example.org/x.parquet?signature=secret"))
    'https://example.org/x.parquet'
    """
    if isinstance(path, Address):
        return path
    try:
        text = os.fspath(path)
    except TypeError:
        raise UsageError("no path", found=repr(path)[:100], expected="a text or a Path") from None
    if filesystem is not None:
        return Address(text, filesystem)
    if not _ON_A_STORE.match(text):
        return Path(path)
    return Address(_ON_A_STORE.sub(r"\1://", text, count=1))


def on_disk(path: str | os.PathLike[str] | Address) -> Path:
    """A place that must be on this machine; UsageError for one on a store."""
    place = location(path)
    if isinstance(place, Address):
        raise UsageError(
            "this is done with files on this machine alone",
            str(place),
            "a path",
            hint=f"First: dof convert {place} {place.name}",
        )
    return place


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
