"""One file on its way over HTTP: of bounded size, with no more credentials than are needed.

Credentials are sent to the server that was asked, and never repeated in messages.
"""

from __future__ import annotations

import hashlib
import http
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from dof_arrow.errors import CoreError, UsageError
from dof_arrow.storage.addresses import bare, basic, is_address

MAX_BYTES = (1 << 31) - 1  # a file is held in memory, and protobuf reads no larger model
YOURSELF = "Download it yourself, and name the file."

_PIECE = 1 << 18  # bytes
_SHOWN = 100  # characters of what a server says
_TIMEOUT = 30.0  # seconds without a byte
_PASSING = (408, 429, 500, 502, 503, 504)
_LENGTH = re.compile("[0-9]{1,18}")
_STRONG_TAG = re.compile('"[!#-~]*"')  # RFC 9110, 8.8.3; a weak tag may stand for other bytes
_IN_ADDRESSES = "/%:@!$&'()*+,;=~-._?"
_NO_ADDRESS = "the server points to what is no address of a file"
_ADDRESS = "https://HOST/PATH"
# Unlike those of `build_opener`, these open no files and no FTP.
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
)


class CutOff(Exception):
    """The file did not come to its end."""


class TooLarge(CoreError):
    """The file has more bytes than are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for, and of whom; only `source` and `name` may be shown.

    `limit` is how many bytes are taken at most, MAX_BYTES where it is None.
    """

    url: str
    source: str
    name: str
    authorization: str | None = None
    quiet: bool = False  # shows no progress
    limit: int | None = None

    @classmethod
    def of(cls, url: str) -> Asked:
        """What an address asks for; UsageError where it is none."""
        if not is_address(url):
            raise UsageError(
                "this is no address of a file", bare(url), "https://HOST/PATH.onnx", hint=YOURSELF
            )
        parts = urlsplit(url)
        asked = parts._replace(
            netloc=parts.netloc.rpartition("@")[2],
            path=quote(parts.path, _IN_ADDRESSES),
            query=quote(parts.query, _IN_ADDRESSES),
        )
        stem = PurePosixPath(unquote(parts.path)).stem
        name = stem if stem and stem.isprintable() else "core"
        return cls(url=asked.geturl(), source=bare(url), name=name, authorization=basic(parts))

    @property
    def key(self) -> str:
        """The digest of the address, as a name for the copy."""
        return hashlib.sha256(self.url.encode()).hexdigest()


class Transfer:
    """A file that comes in one answer or, after interruptions, in several."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.total: int | None = None
        # The server's name for these very bytes; without it a transfer cannot be continued.
        self.version = ""

    def pieces(self, start: int) -> Iterator[bytes]:
        """The bytes from `start` on.

        Raises CutOff if they end too early, TooLarge, and CoreError where asking again is no use.
        """
        got = start
        with _answer(self._request(start), self.asked.source) as answer:
            self._check(answer, start)
            while piece := _read(answer):
                got += len(piece)
                self._bound(got)
                yield piece
        if self.total not in (None, got):
            raise CutOff(f"the connection ended after {got} of {self.total} bytes")

    def _request(self, start: int) -> urllib.request.Request:
        request = urllib.request.Request(self.asked.url)
        request.add_header("User-Agent", "dof-arrow")
        request.add_header("Accept-Encoding", "identity")
        if self.asked.authorization:  # not sent on where the server points elsewhere
            request.add_unredirected_header("Authorization", self.asked.authorization)
        if start:
            request.add_header("Range", f"bytes={start}-")
            request.add_header("If-Range", self.version)
        return request

    def _check(self, answer: Any, start: int) -> None:
        """Check that an answer is the rest of what has come, or else the whole from its start."""
        if start:
            self._check_goes_on(answer, start)
            return
        tag = answer.headers.get("ETag", "")
        length = answer.headers.get("Content-Length", "")
        self.version = tag if _STRONG_TAG.fullmatch(tag) else ""
        self.total = int(length) if _LENGTH.fullmatch(length) else None
        self._bound(self.total or 0)

    def _check_goes_on(self, answer: Any, start: int) -> None:
        sent = ""
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
            sent = answer.headers.get("Content-Range", "")
        if not re.fullmatch(rf"bytes {start}-\d+/{self.total or '.*'}", sent):
            self.version = ""
            raise CutOff("the server does not go on where it was")

    def _bound(self, length: int) -> None:
        most = self.asked.limit or MAX_BYTES
        if length > most:
            raise TooLarge(
                "the file is too large for a model",
                self.asked.source,
                f"at most {most} bytes",
                f"{length} or more",
                "Choose a smaller model.",
            )


def read_small(asked: Asked, limit: int) -> bytes:
    """A file of at most `limit` bytes, asked for once and held in memory.

    Raises CoreError where it cannot be had, TooLarge where it has more bytes.
    """
    transfer = Transfer(replace(asked, limit=limit))
    try:
        return b"".join(transfer.pieces(0))
    except CutOff as cut:
        raise CoreError(
            "cannot be downloaded", asked.source, found=str(cut), hint=YOURSELF
        ) from None


def check_pointed_to(url: str, target: str, where: str) -> None:
    """Raise CoreError where the server of `url` points to no address, or gives up encryption."""
    if not is_address(target):
        raise CoreError(_NO_ADDRESS, where, _ADDRESS, ascii(bare(target)[:_SHOWN]), YOURSELF)
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise CoreError(
            "the server points to a place without encryption",
            where,
            "https",
            bare(target),
            YOURSELF,
        )


class Redirects(urllib.request.HTTPRedirectHandler):
    """Goes where a server points, after a look at the address."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """The request to the new address; CoreError where that is none, or not encrypted."""
        check_pointed_to(req.full_url, newurl, bare(req.full_url))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener(redirects: urllib.request.HTTPRedirectHandler) -> urllib.request.OpenerDirector:
    """What opens addresses of the web and no others, and goes where `redirects` lets it."""
    made = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        made.add_handler(handler())
    made.add_handler(redirects)
    return made


def _answer(request: urllib.request.Request, source: str) -> Any:
    """The opened answer; CoreError for a refusal that will stay, CutOff for one that may not."""
    try:
        return opener(Redirects()).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(error.code, source) from None
    except (OSError, http.client.HTTPException) as error:
        raise CutOff(_why(error)) from None
    except ValueError:  # from urllib, at a redirect that it cannot take apart
        raise CoreError(_NO_ADDRESS, source, _ADDRESS, hint=YOURSELF) from None


def _refusal(code: int, source: str) -> CutOff | CoreError:
    known = {status.value: status.phrase for status in http.HTTPStatus}
    said = f"status {code}, {known.get(code, 'unknown')}"
    if code in _PASSING:
        return CutOff(said)
    hint = YOURSELF
    if code in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        hint = "Download it with a tool that has your credentials, and name the file."
    return CoreError("the server does not give the file", source, found=said, hint=hint)


def _read(answer: Any) -> bytes:
    try:
        return bytes(answer.read(_PIECE))
    except (OSError, http.client.HTTPException) as error:
        raise CutOff(_why(error)) from None


def _why(error: Exception) -> str:
    """What happened, without what the server may have put into it."""
    reason = getattr(error, "reason", error)
    text = ""
    if isinstance(reason, OSError):
        text = getattr(reason, "strerror", None) or str(reason)
    return text or type(error).__name__
