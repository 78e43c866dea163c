"""A dataset repository on the Hugging Face hub: private at first, filled by one commit, compared.

`huggingface_hub` asks the hub, with the token that it finds by its own ways. Its transfers by Xet
are off while it does: they go to other servers, by a protocol that tells no digest of a file. The
plain one sends the SHA-256 of each large file, and the hub refuses other bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dof_arrow._version import __version__
from dof_arrow.errors import DofError, OutputError, UsageError, require
from dof_arrow.progress import listening
from dof_arrow.publish.published_files import MOST_BYTES, PublishedFile
from dof_arrow.storage.addresses import Address
from dof_arrow.storage.remote import RemoteObject

_KIND = "dataset"
_LOG_IN = "Check the name; log in with `hf auth login`, or set HF_TOKEN to one that may write."
_AGAIN = "Repeat the command: what has arrived is not sent again."
_CONNECT = "Check the connection, HF_ENDPOINT and HF_HUB_OFFLINE, and repeat the command."


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the hub says of a file: its size, and its SHA-256, or of a small one git's SHA-1."""

    size: int
    sha256: str | None
    blob: str

    def holds(self, file: PublishedFile) -> bool:
        """Whether these are the bytes of a file."""
        if self.size != file.size:
            return False
        if self.sha256 is not None:
            return self.sha256 == file.sha256
        data = file.path.read_bytes()
        return hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest() == self.blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A repository as it stands: who may read it, its commit, its files."""

    private: bool
    commit: str
    files: dict[str, Kept] = field(default_factory=dict)


class HubRepository:
    """The dataset repository OWNER/NAME; every refusal of the hub is an OutputError."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.where = f"hf://datasets/{name}"
        self._hub: Any = require("huggingface_hub", extra="hub")
        self._api: Any = self._hub.HfApi(library_name="dof-arrow", library_version=__version__)

    @property
    def page(self) -> str:
        """Its page on the hub."""
        return f"{self._api.endpoint}/datasets/{self.name}"

    def standing(self) -> Standing | None:
        """The repository as it stands; None where there is none that we may see."""
        errors = require("huggingface_hub.errors", extra="hub")
        with _explained(self.where):
            try:
                found = self._api.repo_info(self.name, repo_type=_KIND)
            except errors.RepositoryNotFoundError:
                return None
        files = self.files(found.sha)
        return Standing(private=bool(found.private), commit=found.sha, files=files)

    def create(self) -> Standing:
        """Make the repository, private, and say how it stands."""
        with _explained(self.where):
            self._api.create_repo(self.name, repo_type=_KIND, private=True)
        made = self.standing()
        if made is None or not made.private:
            raise OutputError(
                "the hub made no private repository", self.where, hint="Look at its page."
            )
        return made

    def files(self, commit: str) -> dict[str, Kept]:
        """The files of a commit by their paths."""
        found = {}
        with _explained(self.where):
            entries = self._api.list_repo_tree(
                self.name, repo_type=_KIND, recursive=True, revision=commit
            )
            for entry in entries:
                if hasattr(entry, "blob_id"):  # folders have none
                    sha256 = entry.lfs.sha256 if entry.lfs else None
                    found[entry.path] = Kept(size=entry.size, sha256=sha256, blob=entry.blob_id)
        return found

    def read(self, name: str, standing: Standing) -> bytes:
        """A small text file; OutputError where it is too large for one."""
        if standing.files[name].size > MOST_BYTES:
            raise OutputError(
                "the file is too large", f"{self.where}/{name}", f"at most {MOST_BYTES} bytes"
            )
        found = RemoteObject(Address(f"{self.where}@{standing.commit}/{name}"), MOST_BYTES)
        return found.end

    def put(
        self, files: Sequence[PublishedFile], removed: Sequence[str], standing: Standing
    ) -> str:
        """Send files, then make all of them one commit on what stands; its name.

        Large files that arrived before are not sent again.
        """
        add, delete = self._hub.CommitOperationAdd, self._hub.CommitOperationDelete
        added = []
        with _explained(self.where), listening().progress("sending files") as update:
            for number, file in enumerate(files):
                update(number, len(files), 0)
                each = add(path_in_repo=file.name, path_or_fileobj=str(file.path))
                self._api.preupload_lfs_files(self.name, additions=[each], repo_type=_KIND)
                added.append(each)
            deleted = [delete(path_in_repo=name) for name in removed]
            commit = self._api.create_commit(
                self.name,
                operations=[*added, *deleted],
                commit_message="dof push",
                repo_type=_KIND,
                parent_commit=standing.commit,
            )
            update(len(files), len(files), 0)
        return str(commit.oid)

    def make_public(self) -> None:
        """Let everybody read it."""
        with _explained(self.where):
            self._api.update_repo_settings(self.name, repo_type=_KIND, private=False)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into OutputError, without its texts: they repeat addresses.

    Its bars and remarks are silenced, and Xet is off.
    """
    errors = require("huggingface_hub.errors", extra="hub")
    try:
        with _plain_transfers():
            yield
    except DofError:
        raise
    except errors.HfHubHTTPError as error:
        raise _refusal(error.response.status_code, where) from None
    except (errors.OfflineModeIsEnabled, errors.HTTPError):
        raise OutputError("the hub cannot be reached", where, hint=_CONNECT) from None
    except errors.HFValidationError:
        raise UsageError("this names no repository", where, "hf://OWNER/NAME") from None
    except errors.LocalTokenNotFoundError:
        raise OutputError("you are not logged in", where, hint=_LOG_IN) from None
    except Exception as error:  # of many classes, and with texts of the hub
        cause = type(error.__cause__ or error).__name__
        raise OutputError("the hub did not take it", where, found=cause, hint=_AGAIN) from None


def _refusal(status: int, where: str) -> OutputError:
    found = f"status {status}"
    if status in (401, 403, 404):
        return OutputError("the hub refuses", where, found=found, hint=_LOG_IN)
    if status in (409, 412):
        return OutputError("it was changed meanwhile", where, found=found, hint=_AGAIN)
    return OutputError("the hub did not take it", where, found=found, hint=_AGAIN)


@contextmanager
def _plain_transfers() -> Iterator[None]:
    """Switch Xet, bars and remarks of huggingface_hub off, as HF_HUB_DISABLE_XET=1 would.

    The variable itself is read when the library loads, which may have been long before.
    """
    import warnings

    constants: Any = require("huggingface_hub.constants", extra="hub")
    utils = require("huggingface_hub.utils", extra="hub")
    before = constants.HF_HUB_DISABLE_XET
    had_bars = not utils.are_progress_bars_disabled()
    verbosity = utils.logging.get_verbosity()
    constants.HF_HUB_DISABLE_XET = True
    utils.logging.set_verbosity_error()
    if had_bars:
        utils.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        constants.HF_HUB_DISABLE_XET = before
        utils.logging.set_verbosity(verbosity)
        if had_bars:
            utils.enable_progress_bars()
