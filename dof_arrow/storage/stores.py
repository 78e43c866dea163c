"""Stores of objects: who gives the bytes of an address, and how a store's refusals are told.

`obstore` speaks to S3, Google, Azure and web servers, with their own credentials from the
environment; a filesystem of pyarrow or fsspec is the user's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from dof_arrow.errors import DofError, MissingExtra, SourceError, UsageError, require
from dof_arrow.storage.addresses import Address, basic, is_address

CONNECT_SECONDS = 10
SILENT_SECONDS = 20  # without a byte
REQUEST_SECONDS = 120  # for one answer, of 8 MiB at most
_CHUNK = 256 << 10  # bytes of an answer that are handed over at a time, or more
_TRIES = 4  # again after a server's error, by obstore
_WAIT = timedelta(milliseconds=100)  # before the first of them, twice as long each time
_LONGEST_WAIT = timedelta(seconds=5)
_STORES = 16  # that are kept for the next object in them
_PLAIN = re.compile("[0-9A-Za-z_-][0-9A-Za-z._-]*")  # names that obstore sends as they are
_STATUS = re.compile(r"status code: (\d{3})|Status \{\s*status: (\d{3})")
_CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (with boto3); "
    "AWS_REGION; for a public bucket AWS_SKIP_SIGNATURE=true.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket GOOGLE_SKIP_SIGNATURE=true.",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or a token.",
    "hf": "Log in: hf auth login, or set HF_TOKEN.",
}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
_CHECK = "Check the address, and that you may read it."


_Surroundings = tuple[int, frozenset[tuple[str, str]]]


class Passing(Exception):
    """A failure that may pass; the text says what it was, without anything secret."""


class Changed(Exception):
    """The object is not the one that was asked for."""


class Missing(UsageError):
    """There is no object of this name."""


class NoRanges(Exception):
    """The store does not give parts of an object as it is asked for them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes of an object from `start` on, the size of all of it, and which version of it that is.

    `version` is empty where a store says nothing of it.
    """

    data: memoryview
    start: int
    size: int
    version: str


class Reader(Protocol):
    """Gives the bytes of one object.

    Raises Passing, Changed, NoRanges, and SourceError for a refusal that will stay.
    """

    def end(self, length: int) -> Answer:
        """The last bytes of the object, fewer if it is shorter."""

    def part(self, start: int, version: str, out: memoryview) -> Answer:
        """The bytes of this version of it from `start` on, put into `out`, which they fill."""


def reader(address: Address) -> Reader:
    """Who gives the bytes of an address.

    Raises UsageError for what is no address, MissingExtra without `obstore`.
    """
    if address.filesystem is not None:
        from dof_arrow.storage.filesystems import FilesystemReader

        return FilesystemReader(address)
    require("obstore", extra="remote")
    scheme = address.url.partition("://")[0]
    if scheme == "hf":
        return _HuggingFace(address)
    if scheme in ("http", "https"):
        return _Web(address)
    return _Bucket(address)


def client_options(**more: Any) -> dict[str, Any]:
    """How obstore asks: its limits of time."""
    return {
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=SILENT_SECONDS),
        "timeout": timedelta(seconds=REQUEST_SECONDS),
        "user_agent": "dof-arrow",
        **more,
    }


def retry_config() -> dict[str, Any]:
    """How often obstore asks again, and when."""
    backoff = {"init_backoff": _WAIT, "max_backoff": _LONGEST_WAIT, "base": 2}
    return {
        "max_retries": _TRIES,
        "retry_timeout": timedelta(seconds=REQUEST_SECONDS),
        "backoff": backoff,
    }


def bucket(address: Address) -> tuple[Any, str]:
    """The obstore store of an address of a bucket, and the object's key in it."""
    from obstore.exceptions import BaseError

    parts = urlsplit(address.url)
    key = address.url.partition("://")[2].partition("/")[2]
    if not parts.netloc or not key:
        raise UsageError("no address of an object", str(address), f"{parts.scheme}://BUCKET/NAME")
    try:
        made = _bucket(parts.scheme, parts.netloc, _surroundings())
    except (BaseError, ValueError):
        raise UsageError(
            "the store cannot be used as it is set up",
            str(address),
            hint=_CREDENTIALS[parts.scheme],
        ) from None
    return made, key


# A store is made in 10 ms, and its connections are used again: so all objects of it have one.


@lru_cache(_STORES)
def _bucket(scheme: str, name: str, surroundings: _Surroundings) -> Any:
    """The store of a bucket, set up as the environment says."""
    from obstore import store as stores

    kinds = {"s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore}
    options: dict[str, Any] = {}
    if scheme == "s3":
        options = _profile()
    return kinds[scheme](
        name,
        client_options=client_options(allow_http=_allows_http()),
        retry_config=retry_config(),
        **options,
    )


@lru_cache(_STORES)
def _folder(url: str, authorization: str, surroundings: _Surroundings) -> Any:
    """The store of a folder of a web server."""
    from obstore.store import HTTPStore

    headers = {"Authorization": authorization} if authorization else {}
    options: Any = client_options(allow_http=True, default_headers=headers)
    retries: Any = retry_config()
    return HTTPStore(url, client_options=options, retry_config=retries)


def _surroundings() -> _Surroundings:
    """All that a store is set up by: the environment, and the process, whose forks have none."""
    return os.getpid(), frozenset(os.environ.items())


def _in_folder(url: str) -> tuple[str, str]:
    """The address of a folder and the key of a file in it; all the address where none is plain."""
    parts = urlsplit(url)
    folder, _, name = parts.path.rpartition("/")
    if not _PLAIN.fullmatch(name):
        return url, ""
    return parts._replace(path=folder).geturl(), name


def refusal(error: Exception, address: Address) -> Exception:
    """What an error of obstore means.

    Its text is never shown: it repeats addresses, with the signatures in them.
    """
    from obstore import exceptions

    where = str(address)
    scheme = address.url.partition("://")[0]
    credentials = _CREDENTIALS.get(scheme, _CHECK)
    if isinstance(error, FileNotFoundError):
        return Missing("no such object", where, hint=_CHECK)
    if isinstance(error, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)):
        return SourceError("the store refuses to give the object", where, hint=credentials)
    if isinstance(error, exceptions.PreconditionError):
        return Changed()
    if isinstance(error, (exceptions.NotSupportedError, ValueError)):
        return NoRanges()
    if isinstance(error, exceptions.InvalidPathError):
        return UsageError("no address of an object", where, "a key without empty parts")
    found = _STATUS.search(str(error))
    if found is None:
        return Passing(_kind(str(error)))
    status = found[1] or found[2]
    if status[0] in "34" and status not in ("408", "429"):
        return SourceError(
            "the store does not give the object", where, found=f"status {status}", hint=credentials
        )
    return Passing(f"status {status}")


class ObjectReader:
    """One object of an obstore store."""

    def __init__(self, address: Address, store: Any, key: str) -> None:
        self._address = address
        self._store = store
        self._key = key
        self._process = os.getpid()

    def end(self, length: int) -> Answer:
        """The last bytes of the object."""
        try:
            return self._get({"range": {"suffix": length}})
        except NoRanges:  # not counted from the end, on Azure say
            size, version = self._about()
            length = min(length, size)
            return self.part(size - length, version, room(length))

    def part(self, start: int, version: str, out: memoryview) -> Answer:
        """The bytes of this version of it from `start` on, put into `out`."""
        options: dict[str, Any] = {"range": (start, start + len(out))}
        if version.startswith('"'):  # a weak tag never matches
            options["if_match"] = version
        return self._get(options, out)

    def _get(self, options: dict[str, Any], out: memoryview | None = None) -> Answer:
        """What an answer has, put into `out`, or into memory of its own."""
        import obstore
        from obstore.exceptions import BaseError

        self._refuse_fork()
        try:
            found = obstore.get(self._store, self._key, options=options)  # type: ignore[arg-type]
            start, stop = found.range
            if out is None:
                out = room(stop - start)
            count = _received(found.stream(_CHUNK), out)
        except (BaseError, OSError, ValueError) as error:
            raise refusal(error, self._address) from None
        return Answer(out[:count], start, found.meta["size"], _version(found.meta))

    def _about(self) -> tuple[int, str]:
        import obstore
        from obstore.exceptions import BaseError

        try:
            meta = obstore.head(self._store, self._key)
        except (BaseError, OSError, ValueError) as error:
            raise refusal(error, self._address) from None
        return meta["size"], _version(meta)

    def _refuse_fork(self) -> None:
        """obstore's threads do not survive a fork: what asks them there ends the process."""
        if os.getpid() != self._process:
            raise UsageError(
                "a forked process cannot read from a store",
                str(self._address),
                hint="Start workers otherwise: multiprocessing_context='spawn'.",
            )


class _Bucket(ObjectReader):
    """An object of S3, Google or Azure."""

    def __init__(self, address: Address) -> None:
        super().__init__(address, *bucket(address))


class _Web(ObjectReader):
    """A file of a web server, at the place that the server points to."""

    def __init__(self, address: Address, token: str | None = None, *, moves: bool = True) -> None:
        from dof_arrow.storage.redirects import final_address  # it loads http and ssl

        if not is_address(address.url):
            raise UsageError("no address of a file", str(address), "https://HOST/PATH.parquet")
        parts = urlsplit(address.url)
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        authorization = token or basic(parts)
        final = final_address(url, authorization) if moves else url
        is_same = urlsplit(final).netloc == urlsplit(url).netloc
        folder, name = _in_folder(final)
        secret = authorization if authorization and is_same else ""
        super().__init__(address, _folder(folder, secret, _surroundings()), name)


class _HuggingFace(_Web):
    """A file of a repository on the Hugging Face hub, of the commit that it has now."""

    def __init__(self, address: Address) -> None:
        hub = require("huggingface_hub", extra="hub")
        try:
            found = hub.HfFileSystem().resolve_path(address.url)
            about = hub.HfApi().repo_info(
                found.repo_id, repo_type=found.repo_type, revision=found.revision
            )
            url = hub.hf_hub_url(
                found.repo_id, found.path_in_repo, repo_type=found.repo_type, revision=about.sha
            )
        except DofError:
            raise
        except Exception as error:  # of many classes, and with the hub's own texts
            raise SourceError(
                "the hub does not give the file",
                str(address),
                "hf://datasets/USER/NAME/PATH",
                type(error).__name__,
                _CREDENTIALS["hf"],
            ) from None
        token = hub.get_token()
        # The hub points to places that are good for an hour: each request asks it anew.
        super().__init__(Address(url), f"Bearer {token}" if token else None, moves=False)
        self._address = address


def room(length: int) -> memoryview:
    """Memory for so many bytes, of any content."""
    return np.empty(length, np.uint8).data


def _received(chunks: Iterable[bytes], out: memoryview) -> int:
    """Put bytes into `out` as they come; how many came.

    To have them whole from obstore costs memory for each answer, which the system has to clear.
    """
    values = np.frombuffer(out, np.uint8)
    count = 0
    for chunk in chunks:
        stop = count + len(chunk)
        if stop > len(values):
            raise Passing(f"more than {len(values)} bytes")
        values[count:stop] = np.frombuffer(chunk, np.uint8)  # other threads go on meanwhile
        count = stop
    return count


def _allows_http() -> bool:
    """Whether the user's own endpoint is one without encryption: a store on this machine, say."""
    return any(each.startswith("http://") for each in endpoints())


def endpoints() -> list[str]:
    """The user's own endpoints, as the environment names them; empty texts where it does not."""
    return [os.environ.get(name, "") for name in _ENDPOINTS]


def _version(meta: Any) -> str:
    """A name for the very bytes of an object: its tag, else its time where that is known."""
    tag = meta["e_tag"]
    if tag:
        return str(tag)
    time = meta["last_modified"]
    return time.isoformat() if time.timestamp() > 0 else ""


def _kind(text: str) -> str:
    for sign, said in (("TimedOut", "no answer in time"), ("Connect", "no connection")):
        if sign in text:
            return said
    return "the answer broke off"


def _profile() -> dict[str, Any]:
    """Credentials of a profile, by boto3, where the environment names one and no keys."""
    if "AWS_PROFILE" not in os.environ or "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        hint = "pip install boto3; or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise MissingExtra("boto3, which reads AWS_PROFILE, is not installed", hint=hint) from None
    try:
        return {"credential_provider": Boto3CredentialProvider()}
    except Exception as error:  # of botocore, many classes
        raise UsageError(
            "the profile gives no credentials", "AWS_PROFILE", found=type(error).__name__
        ) from None
