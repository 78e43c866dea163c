"""Files of a model repository on the Hugging Face hub, all of one commit.

`huggingface_hub` asks the hub where a file is (`hub_answers`): HF_ENDPOINT, HF_TOKEN, a login
under HF_HOME and HF_HUB_OFFLINE mean what they mean there. `download` then fetches the file into
the cache of this program, under a name of our own making. The cache under HF_HOME is read where
nobody else can have written it, and no file of a repository is written there. Nothing that a
repository holds is run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from dof_arrow.cores.graph.external_data import is_beside, may_hold_weights
from dof_arrow.cores.origins import licenses
from dof_arrow.cores.origins.hub_answers import (
    BRANCH,
    COMMIT,
    Said,
    Unreachable,
    ask,
    explained,
    listed,
)
from dof_arrow.errors import CoreError, DofError, OutputError, UsageError, require
from dof_arrow.progress import listening
from dof_arrow.storage import caches, download
from dof_arrow.storage.transfer import Asked, TooLarge

_ADDRESS = re.compile(
    r"hf://(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.%-]+))?/(?P<path>[^@]+\.onnx)", re.A
)
_CARD = "README.md"
_MAX_TEXT = 1 << 20  # bytes
_SHOWN = 10  # names of files, in messages
_SUFFIXES = (".json", ".md", ".onnx", ".safetensors")
_WORTH_SHOWING = 1_000_000  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A model repository at a revision: a branch, a tag, a commit, or None: its default branch."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.name}{at}"

    def file(self, path: str) -> Path:
        """One of its files in a cache, fetched if need be.

        Raises CoreError if it cannot be had, OutputError if no copy can be kept.
        """
        return self.pinned(path)[1]

    def pinned(self, path: str) -> tuple[Repository, Path]:
        """The repository at the commit of one of its files, and that file; errors as `file`."""
        found = self._find(path)
        if found is None:
            raise CoreError("no such file in the repository", f"{self}/{path}", hint=self._offer())
        return found

    def text(self, path: str) -> str | None:
        """A text file of at most 1 MiB.

        None where the repository has none of that name, or a larger one, or cannot be asked.
        """
        try:
            found = self._find(path, _MAX_TEXT)
        except (Unreachable, TooLarge):
            return None
        if found is None or found[1].stat().st_size > _MAX_TEXT:
            return None
        return found[1].read_text("utf-8", "replace")

    def beside(self, path: str) -> Callable[[str], Path]:
        """A function that fetches the files in which a model at `path` keeps its weights."""
        folder = PurePosixPath(path).parent

        @functools.cache  # asked for each tensor
        def find(location: str) -> Path:
            if not may_hold_weights(location):
                raise CoreError(
                    "the model's weights do not lie beside it",
                    str(self),
                    "a file in the model's folder",
                    repr(location),
                    "Choose another model.",
                )
            found = self.file(str(folder / location))
            with found.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            check_blob(found, digest, f"{self}/{location}")
            return found

        return find

    def license(self) -> str | None:
        """The licence that the model card names, as SPDX has it."""
        return licenses.of_card(self.text(_CARD) or "")

    def _find(self, path: str, limit: int | None = None) -> tuple[Repository, Path] | None:
        """The repository at a commit, and a file of it; None if the hub says that there is none.

        What has more bytes than `limit` is not fetched: raises TooLarge.
        """
        exact = self._at_commit(path)
        if exact is None:
            return None
        copy = download.kept(exact._kept_as(path))
        found = copy.path if copy else exact._shared_or_fetched(path, limit)
        return None if found is None else (exact, found)

    def _at_commit(self, path: str) -> Repository | None:
        """The repository at its present commit; at the last known where the hub cannot be asked."""
        if COMMIT.fullmatch(self.revision or ""):
            return self
        try:
            said = self._ask(path)
        except Unreachable:
            commit = self._noted_commit() or self._shared_commit(path)
            if commit is None:
                raise
            return replace(self, revision=commit)
        if said is None:
            return None
        self._note_commit(said.commit)
        return replace(self, revision=said.commit)

    def _ask(self, path: str) -> Said | None:
        return ask(self.name, self.revision, path, f"{self}/{path}")

    def _shared_or_fetched(self, path: str, limit: int | None) -> Path | None:
        """A file at a commit: from the cache under HF_HOME if it can be trusted, else the hub."""
        doubt: OutputError | None = None
        try:
            found = self._shared(path)
        except OutputError as error:
            found = None
            doubt = error
            listening().say(f"{self}/{path}: not taken from the cache under HF_HOME. {error}")
        try:
            return found or self._fetched(path, limit)
        except Unreachable as unreachable:
            raise (doubt or unreachable) from None

    def _fetched(self, path: str, limit: int | None) -> Path | None:
        """A file at a commit, fetched into the cache of this program; None if the hub has none."""
        said = self._ask(path)
        if said is None:
            return None
        if limit is not None and (said.size or 0) > limit:
            raise TooLarge("the file is too large", f"{self}/{path}", f"at most {limit} bytes")
        asked = replace(
            Asked.of(said.address),
            source=f"{self}/{path}",
            name=PurePosixPath(path).name,
            authorization=said.authorization,
            quiet=(said.size or 0) < _WORTH_SHOWING,
            limit=limit,  # of what comes, whatever size was said
        )
        return download.keep(asked, self._kept_as(path), said.sha256).path

    def _shared(self, path: str) -> Path | None:
        """A file at a commit in the cache under HF_HOME; OutputError if others can write there."""
        found = self._in_shared_cache(path)
        return found if found and _snapshot(found, path).name == self.revision else None

    def _shared_commit(self, path: str) -> str | None:
        """The commit at which the cache under HF_HOME has a file of this branch or tag."""
        found = self._in_shared_cache(path)
        if found is None:
            return None
        snapshot = _snapshot(found, path)
        note = snapshot.parent.parent / "refs" / (self.revision or BRANCH)
        caches.check_shared(note, _shared_cache())
        return snapshot.name if COMMIT.fullmatch(snapshot.name) else None

    def _in_shared_cache(self, path: str) -> Path | None:
        hub = require("huggingface_hub", extra="hub")
        with explained(f"{self}/{path}"):
            found = hub.try_to_load_from_cache(self.name, path, revision=self.revision)
        if not isinstance(found, str):
            return None
        caches.check_shared(Path(found), _shared_cache())
        return Path(found)

    def _kept_as(self, path: str) -> str:
        """The name of a file in the cache of this program; timm knows weights by their suffix."""
        suffix = PurePosixPath(path).suffix
        return self._key("file", path) + (suffix if suffix in _SUFFIXES else ".bin")

    def _key(self, *what: str) -> str:
        """A name for something of this repository at this revision."""
        constants = require("huggingface_hub.constants", extra="hub")
        whole = [constants.ENDPOINT, self.name, self.revision or BRANCH, *what]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()

    def _note_commit(self, commit: str) -> None:
        """Remember which commit a branch or tag stands for, for when the hub cannot be asked."""
        if self._noted_commit() == commit:
            return
        with suppress(OutputError), caches.writing(f"{self._key('commit')}.txt") as note:
            note.write(commit.encode())

    def _noted_commit(self) -> str | None:
        text = (caches.read(f"{self._key('commit')}.txt") or b"").decode("ascii", "replace")
        return text if COMMIT.fullmatch(text) else None

    def _offer(self) -> str:
        """Which models the repository has, if that can be known."""
        try:
            names = listed(self.name, self.revision, str(self))
        except DofError:
            names = []
        models = [name for name in names if name.endswith(".onnx") and name.isprintable()]
        if not models:
            return "Look at the repository's page for the names of its files."
        more = " and more" if len(models) > _SHOWN else ""
        return f"Its models are {', '.join(models[:_SHOWN])}{more}."


def parse(address: str) -> tuple[Repository, str]:
    """The repository and the path that `hf://OWNER/REPO[@REVISION]/PATH.onnx` names.

    Raises UsageError for any other address.

    >>> print(*parse("hf://owner/repo@v1/onnx/model.onnx"))
    hf://owner/repo@v1 onnx/model.onnx
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not (is_beside(match["name"]) and is_beside(match["path"])):
        raise UsageError(
            "this names no model on the hub",
            address,
            "hf://OWNER/REPO/PATH.onnx",
            hint="A revision stands behind the repository: hf://OWNER/REPO@REVISION/PATH.onnx",
        )
    revision = unquote(match["revision"]) if match["revision"] else None
    if revision is not None and not is_beside(revision):  # it is looked for in a cache, too
        raise UsageError("this names no revision", address, "a branch, a tag or a commit")
    return Repository(name=match["name"], revision=revision), match["path"]


def check_blob(path: Path, digest: str, where: str) -> None:
    """Raise CoreError where a cached file does not have the digest that its link names.

    The cache of huggingface_hub stores large files by their SHA-256, and links to them.
    """
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", name) and name != digest:
        raise CoreError(
            "the copy in the cache is damaged",
            where,
            f"SHA-256 {name}",
            digest,
            f"Remove it: {path}",
        )


def _shared_cache() -> Path:
    """The cache of huggingface_hub, which other programs use too."""
    return Path(require("huggingface_hub.constants", extra="hub").HF_HUB_CACHE)


def _snapshot(found: Path, path: str) -> Path:
    """The folder models--OWNER--REPO/snapshots/COMMIT of huggingface_hub that holds a file."""
    return found.parents[len(PurePosixPath(path).parts) - 1]
