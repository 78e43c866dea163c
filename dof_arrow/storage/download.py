"""A file from the web, kept in the user's cache: of bounded size, taken up where it was cut off, checked by SHA-256.

Credentials in an address are used, and never repeated: neither in what is recorded, nor in messages, nor in file names.
"""

from __future__ import annotations

import base64
import hashlib
import http
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from dof_arrow.errors import CoreError, UsageError
from dof_arrow.progress import NOBODY, listening, size
from dof_arrow.storage import caches
from dof_arrow.storage.atomic import Output

MAX_BYTES = (1 << 31) - 1  # a file is held in memory, and protobuf reads no larger model
_PIECE = 1 << 18
_SHOWN = 100  # characters of what a server says
_TIMEOUT = 30.0  # seconds without a byte
_TRIES = 4  # in a row that bring nothing
_MOST = 100  # in all
_WAIT = 0.5  # seconds, longer each time
_PASSING = (408, 429, 500, 502, 503, 504)
_DIGEST = re.compile(r"sha256=([0-9a-f]{64})", re.I)
_LENGTH = re.compile("[0-9]{1,18}")
_STRONG_TAG = re.compile('"[!#-~]*"')  # RFC 9110, 8.8.3; a weak tag may stand for other bytes
_IN_ADDRESSES = "/%:@!$&'()*+,;=~-._?"
_NO_ADDRESS, _ADDRESS = "the server points to what is no address of a file", "https://HOST/PATH"
_YOURSELF = "Download it yourself, and name the file."


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file as it was sent: its bytes, their SHA-256, the name it bears, and its address without credentials."""

    data: bytes
    sha256: str
    name: str
    source: str


def fetch(address: str) -> Download:
    """The file at `https://…` or `http://…`; with `#sha256=HEX` behind it, only if that is the digest of its bytes.

    A copy stays under `$XDG_CACHE_HOME/dof-arrow` or `~/.cache/dof-arrow`, and is used while its own digest is right.
    Raises UsageError for an address that is none, CoreError if the file cannot be had or is another, OutputError if no
    copy can be written, or another user may have put one there.
    """
    url, expected = split_digest(address)
    asked = Asked.of(url)
    file = f"{expected or asked.key}.onnx"
    copy = kept(file, expected)
    if copy:
        _tell_of_copy(asked, copy, expected)
    else:
        copy = keep(asked, file, expected)
        _tell(asked, copy, expected)
    return Download(data=copy.data, sha256=copy.sha256, name=asked.name, source=asked.source)


def split_digest(address: str) -> tuple[str, str | None]:
    """An address, and the SHA-256 that may stand behind it.

    >>> split_digest("hf://a/b/c.onnx")
    ('hf://a/b/c.onnx', None)
    """
    before, mark, fragment = address.partition("#")
    found = _DIGEST.fullmatch(fragment)
    if mark and found is None:
        raise UsageError(
            "what stands behind # is no digest",
            bare(before),
            "#sha256= and 64 hexadecimal digits",
            f"{len(fragment)} characters",
            "Take it from whoever published the file, or leave it out.",
        )
    return before, found[1].lower() if found else None


def check_digest(found: str, expected: str | None, where: str) -> None:
    """Raise CoreError where a file is not the one whose SHA-256 was given."""
    if expected not in (None, found):
        raise CoreError(
            "this is another file than the one asked for",
            where,
            f"SHA-256 {expected}",
            found,
            "Ask whoever published it which is right; do not use it until you know.",
        )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for, and of whom; only `source` and `name` may be shown."""

    url: str
    source: str
    name: str
    authorization: str | None = None
    quiet: bool = False  # shows no progress

    @classmethod
    def of(cls, url: str) -> Asked:
        """What an address asks for; UsageError where it is none."""
        if not is_address(url):
            raise UsageError(
                "this is no address of a file", bare(url), "https://HOST/PATH.onnx", hint=_YOURSELF
            )
        parts = urlsplit(url)
        asked = parts._replace(
            netloc=parts.netloc.rpartition("@")[2],
            path=quote(parts.path, _IN_ADDRESSES),
            query=quote(parts.query, _IN_ADDRESSES),
        )
        last = PurePosixPath(unquote(parts.path)).stem
        name = last if last.isprintable() and last else "core"
        return cls(url=asked.geturl(), source=bare(url), name=name, authorization=_basic(parts))

    @property
    def key(self) -> str:
        """The digest of the address, as a name for the copy."""
        return hashlib.sha256(self.url.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file in the cache, its bytes and their SHA-256."""

    path: Path
    data: bytes
    sha256: str


def kept(file: str, expected: str | None = None) -> Copy | None:
    """The copy of this name, if its bytes are those of a digest: the expected, else the one noted.

    Raises OutputError where another user may have put it there.
    """
    known = expected or _noted(file)
    data = caches.read(file) if known else None
    if data is None or known is None or hashlib.sha256(data).hexdigest() != known:
        return None
    return Copy(path=caches.path_of(file), data=data, sha256=known)


def keep(asked: Asked, file: str, expected: str | None = None) -> Copy:
    """Fetch a file into the cache, with a note of its digest beside it; see `fetch` for errors."""
    digest = _received(asked, file, expected)
    with caches.writing(_note_of(file)) as note:  # as `sha256sum --check` reads it
        note.write(f"{digest}  {file}\n".encode())
    copy = kept(file, digest)
    if copy is None:
        raise CoreError(
            "the copy is not what was written", str(caches.path_of(file)), hint="Check the disk."
        )
    return copy


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _tell_of_copy(asked: Asked, copy: Copy, expected: str | None) -> None:
    anew = "" if expected else "; remove it to have the file fetched anew"
    listening().say(f"{asked.source}: the copy in {copy.path}, SHA-256 {copy.sha256}{anew}")


def _tell(asked: Asked, copy: Copy, expected: str | None) -> None:
    checked = f"to have it checked, name it {asked.source}#sha256={copy.sha256}"
    if expected:
        checked = "as asked for"
    listening().say(f"{asked.source}: {size(len(copy.data))}, SHA-256 {copy.sha256}, {checked}")


def _note_of(file: str) -> str:
    return f"{PurePosixPath(file).stem}.sha256"


def _noted(file: str) -> str | None:
    words = (caches.read(_note_of(file)) or b"").split()
    return words[0].decode("ascii", "replace") if words else None


def _received(asked: Asked, file: str, expected: str | None) -> str:
    """Write what is sent to a file, whole or not at all; returns its digest."""
    to = NOBODY if asked.quiet else listening()
    with caches.writing(file) as out, to.progress(f"downloading {asked.name}, kB") as update:
        transfer, digest, farthest, vain = _Transfer(asked), hashlib.sha256(), 0, 0
        for _ in range(_MOST):
            try:
                for piece in transfer.pieces(out.size):
                    out.write(piece)
                    digest.update(piece)
                    update(out.size // 1000, transfer.total and transfer.total // 1000, 0)
                check_digest(digest.hexdigest(), expected, asked.source)
                return digest.hexdigest()
            except _CutOff as cut:
                why = str(cut)
            vain = 0 if out.size > farthest else vain + 1
            if vain == _TRIES:
                break
            farthest = max(farthest, out.size)
            if not transfer.version:
                digest = _start_again(out)
            time.sleep(_WAIT * vain)
        raise CoreError("cannot be downloaded", asked.source, found=why, hint=_YOURSELF)


def _start_again(out: Output) -> Any:
    os.ftruncate(out.file, 0)
    os.lseek(out.file, 0, os.SEEK_SET)
    out.size = 0
    return hashlib.sha256()


class _CutOff(Exception):
    """The file did not come to its end."""


class _Transfer:
    """One file on its way, in one answer or, after interruptions, in several."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.total: int | None = None
        self.version = (
            ""  # the server's name for these very bytes, without which they cannot be gone on from
        )

    def pieces(self, start: int) -> Iterator[bytes]:
        """The bytes from `start` on; raises _CutOff where they end too early."""
        got = start
        with _answer(self._request(start), self.asked.source) as answer:
            self._check(answer, start)
            while piece := _read(answer):
                got += len(piece)
                self._bound(got)
                yield piece
        if self.total not in (None, got):
            raise _CutOff(f"the connection ended after {got} of {self.total} bytes")

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
        """What is sent is the rest of what has come; or else the whole, from its start."""
        if start:
            sent = answer.headers.get("Content-Range", "") if answer.status == 206 else ""
            if not re.fullmatch(rf"bytes {start}-\d+/{self.total or '.*'}", sent):
                self.version = ""
                raise _CutOff("the server does not go on where it was")
            return
        tag, length = answer.headers.get("ETag", ""), answer.headers.get("Content-Length", "")
        self.version = tag if _STRONG_TAG.fullmatch(tag) else ""
        self.total = int(length) if _LENGTH.fullmatch(length) else None
        self._bound(self.total or 0)

    def _bound(self, length: int) -> None:
        if length > MAX_BYTES:
            raise CoreError(
                "the file is too large for a model",
                self.asked.source,
                f"at most {MAX_BYTES} bytes",
                f"{length} or more",
                "Choose a smaller model.",
            )


def check_pointed_to(url: str, target: str, where: str) -> None:
    """Raise CoreError where the server of `url` points to no address, or gives up encryption."""
    if not is_address(target):
        raise CoreError(_NO_ADDRESS, where, _ADDRESS, ascii(bare(target)[:_SHOWN]), _YOURSELF)
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise CoreError(
            "the server points to a place without encryption",
            where,
            "https",
            bare(target),
            _YOURSELF,
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        check_pointed_to(req.full_url, newurl, bare(req.full_url))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _answer(request: urllib.request.Request, source: str) -> Any:
    """The opened answer; CoreError for one that will not change, _CutOff for one that may."""
    opener = (
        urllib.request.OpenerDirector()
    )  # unlike `build_opener`, one that opens no files and no FTP
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    try:
        return opener.open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        said = _status(error.code)
        if error.code in _PASSING:
            raise _CutOff(said) from None
        raise CoreError(
            "the server does not give the file", source, found=said, hint=_refused(error.code)
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise _CutOff(_why(error)) from None
    except ValueError:  # of urllib, at a redirect that it cannot take apart
        raise CoreError(_NO_ADDRESS, source, _ADDRESS, hint=_YOURSELF) from None


def _read(answer: Any) -> bytes:
    try:
        return bytes(answer.read(_PIECE))
    except (OSError, http.client.HTTPException) as error:
        raise _CutOff(_why(error)) from None


def _why(error: Exception) -> str:
    """What happened, without what the server may have put into it."""
    reason = getattr(error, "reason", error)
    text = getattr(reason, "strerror", None) or str(reason) if isinstance(reason, OSError) else ""
    return text or type(error).__name__


def _status(code: int) -> str:
    known = {status.value: status.phrase for status in http.HTTPStatus}
    return f"status {code}, {known.get(code, 'unknown')}"


def _refused(code: int) -> str:
    return (
        "Download it with a tool that has your credentials, and name the file."
        if code in (401, 403)
        else _YOURSELF
    )
