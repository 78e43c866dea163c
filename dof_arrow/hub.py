"""Files of a model repository on the Hugging Face hub, all of one commit, by `huggingface_hub` and in its cache.

HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they mean there. Nothing that a repository holds is run.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from dof_arrow.errors import CoreError, DofError, UsageError, require
from dof_arrow.external import is_beside, may_hold_weights
from dof_arrow.graph import MAX_BYTES
from dof_arrow.terminal import Terminal, listening

_ADDRESS = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.%-]+))?/(?P<path>[^@]+\.onnx)", re.A)
_CARD, _MAX_TEXT = "README.md", 1 << 20
_SHOWN = 10
_LOG_IN = "Check the name; for a private one log in with `hf auth login`, or set HF_TOKEN."
_WORTH_SHOWING = 1_000_000  # bytes

# Licences that model cards name and SPDX knows; others become a LicenseRef, which is what SPDX asks for.
_SPDX = {name.lower(): name for name in (
    "AFL-3.0", "AGPL-3.0", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "BSL-1.0", "CC-BY-3.0",
    "CC-BY-4.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-SA-3.0",
    "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-2.0", "ECL-2.0", "EPL-2.0", "EUPL-1.2", "GPL-2.0", "GPL-3.0", "ISC",
    "LGPL-2.1", "LGPL-3.0", "MIT", "MPL-2.0", "MS-PL", "NCSA", "ODbL-1.0", "PDDL-1.0", "Unlicense", "WTFPL", "Zlib",
)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A model repository at a revision: a branch, a tag, a commit, or None for its default branch."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.name}" + (f"@{self.revision}" if self.revision else "")

    def file(self, path: str) -> Path:
        """One of its files as it lies in the cache, fetched if need be; CoreError if it cannot be had."""
        found = self._find(path)
        if found is None:
            raise CoreError("no such file in the repository", f"{self}/{path}", hint=self._offer())
        return found

    def pinned(self, path: str) -> tuple[Repository, Path]:
        """The repository at the commit that one of its files is of, and that file."""
        found = self.file(path)
        commit = found.parts[-len(PurePosixPath(path).parts) - 1]  # …/models--owner--name/snapshots/COMMIT/path
        return replace(self, revision=commit), found

    def text(self, path: str) -> str | None:
        """A small text file; None where the repository has none of that name and of that size, or cannot be asked."""
        try:
            found = self._find(path)
        except _Unreachable:
            return None
        if found is None or found.stat().st_size > _MAX_TEXT:
            return None
        return found.read_text("utf-8", "replace")

    def beside(self, path: str) -> Callable[[str], Path]:
        """What fetches the files that a model at `path` keeps its weights in."""
        folder = PurePosixPath(path).parent

        @functools.cache  # asked for each tensor
        def find(location: str) -> Path:
            if not may_hold_weights(location):
                raise CoreError("the model's weights do not lie beside it", str(self), "a file in the model's folder",
                                repr(location), "Choose another model.")
            found = self.file(str(folder / location))
            with found.open("rb") as file:
                check_blob(found, hashlib.file_digest(file, "sha256").hexdigest(), f"{self}/{location}")
            return found

        return find

    def license(self) -> str | None:
        """The licence that the model card names, as SPDX has it."""
        card = _front_matter(self.text(_CARD) or "")
        named = card.get("license")
        named = card.get("license_name") or named if named == "other" else named
        return spdx(named) if isinstance(named, str) else None

    def _find(self, path: str) -> Path | None:
        hub = require("huggingface_hub", extra="hub")
        errors = require("huggingface_hub.errors", extra="hub")
        with _explained(self, path):
            try:
                return Path(hub.hf_hub_download(self.name, path, revision=self.revision, tqdm_class=_bar()))
            except errors.LocalEntryNotFoundError:
                raise
            except errors.EntryNotFoundError:
                return None

    def _offer(self) -> str:
        """Which models the repository has, if that can be known."""
        import huggingface_hub

        with suppress(DofError), _explained(self, ""):
            names = huggingface_hub.HfApi().list_repo_files(self.name, revision=self.revision)
            if models := [name for name in names if name.endswith(".onnx") and name.isprintable()]:
                more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
                return f"Its models are {', '.join(models[:_SHOWN])}{more}."
        return "Look at the repository's page for the names of its files."


def parse(address: str) -> tuple[Repository, str]:
    """The repository and the path in it that `hf://OWNER/REPO[@REVISION]/PATH.onnx` names; UsageError otherwise.

    >>> print(*parse("hf://owner/repo@v1/onnx/model.onnx"))
    hf://owner/repo@v1 onnx/model.onnx
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not (is_beside(match["name"]) and is_beside(match["path"])):
        raise UsageError("this names no model on the hub", address, "hf://OWNER/REPO/PATH.onnx", hint="A revision "
                         "stands behind the repository: hf://OWNER/REPO@REVISION/PATH.onnx")
    revision = unquote(match["revision"]) if match["revision"] else None
    return Repository(name=match["name"], revision=revision), match["path"]


def check_blob(path: Path, digest: str, where: str) -> None:
    """Raise CoreError where a file in the cache is not the one of its digest, by which the cache names large files."""
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", name) and name != digest:
        raise CoreError("the copy in the cache is damaged", where, f"SHA-256 {name}", digest, f"Remove it: {path}")


def spdx(license: str) -> str:
    """A licence as model cards write it, as an SPDX expression.

    >>> spdx("apache-2.0"), spdx("creativeml-openrail-m")
    ('Apache-2.0', 'LicenseRef-creativeml-openrail-m')
    """
    return _SPDX.get(license.lower()) or "LicenseRef-" + re.sub("[^A-Za-z0-9.-]+", "-", license)[:64]


def _front_matter(card: str) -> Mapping[str, Any]:
    """The YAML block at the head of a model card."""
    import yaml

    match = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---", card, re.S)
    try:
        found = yaml.safe_load(match[1]) if match else None
    except (yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class _Unreachable(CoreError):
    """The hub cannot be asked, and the cache has no copy."""


@contextmanager
def _explained(repository: Repository, path: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into CoreError, without its texts: they repeat whole addresses."""
    import huggingface_hub.errors as errors

    where = f"{repository}/{path}" if path else str(repository)
    try:
        yield
    except errors.GatedRepoError:
        raise CoreError("its owner gives the model only to those who accept the terms", where,
                        hint="Accept them on the model's page; then log in with `hf auth login`, or set HF_TOKEN."
                        ) from None
    except errors.RepositoryNotFoundError:
        raise CoreError("no such repository on the hub, or a private one", where, hint=_LOG_IN) from None
    except errors.RevisionNotFoundError:
        raise CoreError("the repository has no such revision", where, hint="Name a branch, tag or commit.") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise _Unreachable("the hub cannot be reached, and the cache has no copy", where,
                           hint="Check the connection, HF_ENDPOINT and HF_HUB_OFFLINE; or name a file that you have."
                           ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise CoreError("the hub does not give the file", where, found=f"status {status}",
                        hint=_LOG_IN if status in (401, 403) else "Try again later.") from None
    except (ValueError, OSError, errors.HTTPError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise CoreError("the file could not be fetched", where, found=why,
                        hint="Check the name, HF_ENDPOINT and HF_HOME.") from None


def _bar() -> type:
    """The progress bar that huggingface_hub is to use: it tells whoever listens, and stops what is too large."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *_: Any, total: float | None = None, initial: int = 0, desc: str = "", **__: Any) -> None:
            super().__init__(total=total, initial=initial, disable=True)
            self._name, big = desc, total is None or total > _WORTH_SHOWING
            self._shown = (listening() if big else Terminal(quiet=True)).progress(f"downloading {desc}, kB")
            self._tell = self._shown.__enter__()

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if max(self.n, self.total or 0) > MAX_BYTES:
                raise CoreError("the file is too large for a model", self._name, f"at most {MAX_BYTES} bytes",
                                hint="Choose a smaller model.")
            self._tell(int(self.n) // 1000, self.total and int(self.total) // 1000, 0)

        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes on the line, where huggingface_hub counts them apart from those written: not told again."""

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """Likewise their rate."""

        def close(self) -> None:
            self._shown.__exit__(None, None, None)

    return Bar
