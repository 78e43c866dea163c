"""What a hub says of a file: asked through `huggingface_hub`, and checked before any of it is used.

`hf_hub_download` takes the hub's ETag for the name of the file that it writes, and an absolute path
replaces the folder before it; a commit in the answer becomes a folder likewise. Here such texts are
refused, and none becomes a path.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from dof_arrow.errors import CoreError, DofError, require
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.storage.transfer import Asked, check_pointed_to, read_small

BRANCH = "main"  # where none is named
COMMIT = re.compile("[0-9a-f]{40}")
_TAG = re.compile("[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
_SHA256 = re.compile("[0-9a-f]{64}")
_PORTS = {"http": 80, "https": 443}
_MAX_LISTING = 1 << 22  # bytes; the hub sends a thousand names at a time
_SHOWN = 60  # characters of what the hub says, in messages
_PASSING = (408, 429, 500, 502, 503, 504)
_WAITS = (0.5, 1.0)  # seconds before another try
_ACCEPT = "Accept them on the model's page; then log in with `hf auth login`, or set HF_TOKEN."
_LOG_IN = "Check the name; for a private one log in with `hf auth login`, or set HF_TOKEN."
_CONNECT = "Check the connection, HF_ENDPOINT and HF_HUB_OFFLINE; or name a file that you have."
_NO_COPY = "the hub cannot be reached, and the cache has no copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a hub said of a file: its commit, where its bytes are, how many, their digest if known.

    `authorization` is for that address; None where it is not the hub's own.
    """

    commit: str
    address: str
    size: int | None
    sha256: str | None
    authorization: str | None


class Unreachable(CoreError):
    """The hub cannot be asked, and the cache has no copy."""


class _Busy(Unreachable):
    """The hub says that it cannot answer at the moment."""


def ask(name: str, revision: str | None, path: str, where: str) -> Said | None:
    """What the hub says of a repository's file; None where there is none of that name.

    Raises Unreachable where the hub cannot be asked, CoreError where it refuses or answers as no
    hub does. `where` is what messages call the file.
    """
    for wait in _WAITS:
        try:
            return _asked(name, revision, path, where)
        except _Busy:
            time.sleep(wait)
    return _asked(name, revision, path, where)


def listed(name: str, revision: str | None, where: str) -> list[str]:
    """The names of a repository's files, as far as the first answer of the hub holds them.

    Raises CoreError where the hub does not answer, or sends more than 4 MiB.
    """
    constants = require("huggingface_hub.constants", extra="hub")
    branch = quote(revision or BRANCH, safe="")
    address = f"{constants.ENDPOINT}/api/models/{name}/tree/{branch}?recursive=true"
    asked = replace(Asked.of(address), authorization=_login(where))
    try:
        entries = parsed(read_small(asked, _MAX_LISTING))
        return [str(entry["path"]) for entry in entries if entry["type"] == "file"]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise _no_hub(where, "a list of files", "") from None


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into CoreError, without its texts: they repeat addresses."""
    errors = require("huggingface_hub.errors", extra="hub")
    try:
        yield
    except errors.GatedRepoError:
        raise CoreError(
            "its owner gives the model only to those who accept the terms", where, hint=_ACCEPT
        ) from None
    except errors.RepositoryNotFoundError:
        raise CoreError(
            "no such repository on the hub, or a private one", where, hint=_LOG_IN
        ) from None
    except errors.RevisionNotFoundError:
        raise CoreError(
            "the repository has no such revision", where, hint="Name a branch, tag or commit."
        ) from None
    except errors.HfHubHTTPError as error:
        raise _refusal(error.response.status_code, where) from None
    except (errors.OfflineModeIsEnabled, errors.HTTPError):
        raise Unreachable(_NO_COPY, where, hint=_CONNECT) from None
    except DofError:
        raise
    except Exception as error:  # whatever huggingface_hub raises at an answer it does not expect
        why = getattr(error, "strerror", None) or type(error).__name__
        raise CoreError(
            "the file could not be fetched",
            where,
            found=why,
            hint="Check the name, HF_ENDPOINT and HF_HOME.",
        ) from None


def _asked(name: str, revision: str | None, path: str, where: str) -> Said | None:
    hub = require("huggingface_hub", extra="hub")
    errors = require("huggingface_hub.errors", extra="hub")
    with explained(where):
        url = hub.hf_hub_url(name, path, revision=revision)
        try:
            found = hub.get_hf_file_metadata(url)
        except errors.EntryNotFoundError:
            return None
    return _checked(found, url, revision, where)


def _checked(found: Any, url: str, revision: str | None, where: str) -> Said:
    commit = found.commit_hash or ""
    tag = found.etag or ""
    if not COMMIT.fullmatch(commit):
        raise _no_hub(where, "a commit of 40 hexadecimal digits", commit)
    if COMMIT.fullmatch(revision or "") and commit != revision:
        raise _no_hub(where, f"the commit {revision}", commit)
    if not _TAG.fullmatch(tag):
        raise _no_hub(where, "an ETag of letters and digits", tag)
    address = _joined(url, found.location or "")
    check_pointed_to(url, address, where)
    is_own_address = _origin(address) == _origin(url)
    return Said(
        commit=commit,
        address=address,
        size=found.size,
        sha256=tag if _SHA256.fullmatch(tag) else None,
        authorization=_login(where) if is_own_address else None,
    )


def _login(where: str) -> str | None:
    """What opens private repositories: from HF_TOKEN, or from a login under HF_HOME."""
    utils = require("huggingface_hub.utils", extra="hub")
    with explained(where):
        login: str | None = utils.build_hf_headers().get("authorization")
    return login


def _joined(url: str, target: str) -> str:
    """The address that a server points to, perhaps relative to its own; empty where it is none."""
    try:
        return urljoin(url, target)
    except ValueError:
        return ""


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Who answers at an address: a login is for one origin alone."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _no_hub(where: str, expected: str, found: str) -> CoreError:
    """The error for an answer that is no hub's, with what it said in plain characters."""
    shown = ascii(found[:_SHOWN]) if found else "none"
    return CoreError(
        "the server does not answer as a hub does",
        where,
        expected,
        shown,
        "Check HF_ENDPOINT and the proxy, or name a file that you have.",
    )


def _refusal(status: int, where: str) -> CoreError:
    found = f"status {status}"
    if status in _PASSING:
        return _Busy(_NO_COPY, where, found=found, hint=_CONNECT)
    hint = _LOG_IN if status in (401, 403) else "Check the name, or try again later."
    return CoreError("the hub does not give the file", where, found=found, hint=hint)
