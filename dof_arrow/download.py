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

from dof_arrow.commit import Output, explained, own_folder, replacing
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.graph import MAX_BYTES
from dof_arrow.terminal import Terminal, listening, size

_PIECE = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte
_TRIES = 4  # in a row that bring nothing
_MOST = 100  # in all
_WAIT = 0.5  # seconds, longer each time
_PASSING = (408, 429, 500, 502, 503, 504)
_DIGEST = re.compile(r"sha256=([0-9a-f]{64})", re.I)
_IN_ADDRESSES = "/%:@!$&'()*+,;=~-._?"
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
    copy can be written.
    """
    url, expected = split_digest(address)
    return _fetch(_Address.of(url), expected)


def split_digest(address: str) -> tuple[str, str | None]:
    """An address, and the SHA-256 that may stand behind it.

    >>> split_digest("hf://a/b/c.onnx")
    ('hf://a/b/c.onnx', None)
    """
    before, mark, fragment = address.partition("#")
    found = _DIGEST.fullmatch(fragment)
    if mark and found is None:
        raise UsageError("what stands behind # is no digest", bare(before), "#sha256= and 64 hexadecimal digits",
                         f"{len(fragment)} characters", "Take it from whoever published the file, or leave it out.")
    return before, found[1].lower() if found else None


def check_digest(found: str, expected: str | None, where: str) -> None:
    """Raise CoreError where a file is not the one whose SHA-256 was given."""
    if expected not in (None, found):
        raise CoreError("this is another file than the one asked for", where, f"SHA-256 {expected}", found,
                        "Ask whoever published it which is right; do not use it until you know.")


def bare(address: str) -> str:
    """An address without user, password and query, as it may be shown and recorded.

    >>> bare("https://me:secret@example.org:8080/m/x.onnx?token=t")
    'https://example.org:8080/m/x.onnx'
    """
    head, _, rest = address.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{head}://{host.rpartition('@')[2]}{slash}{path}" if rest else head


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """What is asked for, and of whom; only `source` may be shown."""

    url: str
    source: str
    authorization: str | None

    @classmethod
    def of(cls, url: str) -> _Address:
        try:
            parts = urlsplit(url)
            host = parts.hostname, parts.port  # raises where the port is no number
        except ValueError:
            host = None, None
        if host[0] is None or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url:
            raise UsageError("this is no address of a file", bare(url), "https://HOST/PATH.onnx", hint=_YOURSELF)
        asked = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=quote(parts.path, _IN_ADDRESSES),
                               query=quote(parts.query, _IN_ADDRESSES))
        return cls(url=asked.geturl(), source=bare(url), authorization=_basic(parts))

    @property
    def name(self) -> str:
        last = PurePosixPath(unquote(urlsplit(self.url).path)).stem
        return last if last.isprintable() and last else "core"

    @property
    def key(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _fetch(address: _Address, expected: str | None) -> Download:
    home = own_folder("XDG_CACHE_HOME", ".cache") / "models"
    path = home / f"{expected or address.key}.onnx"
    note = path.with_suffix(".sha256")  # as `sha256sum --check` reads it
    known = expected or _noted(note)
    data = _intact(path, known) if known else None
    if data is not None and known is not None:
        listening().say(f"{address.source}: the copy in {path}, SHA-256 {known}"
                        + ("" if expected else "; remove it to have the file fetched anew"))
        return Download(data=data, sha256=known, name=address.name, source=address.source)
    with explained(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = _received(address, path, expected)
    with replacing(note, overwrite=True) as file:
        file.write(f"{digest}  {path.name}\n".encode())
    data = path.read_bytes()
    check_digest(hashlib.sha256(data).hexdigest(), digest, str(path))
    _tell(listening(), address, digest, data, expected)
    return Download(data=data, sha256=digest, name=address.name, source=address.source)


def _tell(to: Terminal, address: _Address, digest: str, data: bytes, expected: str | None) -> None:
    checked = "as asked for" if expected else f"to have it checked, name it {address.source}#sha256={digest}"
    to.say(f"{address.source}: {size(len(data))}, SHA-256 {digest}, {checked}")


def _noted(note: Path) -> str | None:
    try:
        return note.read_text("ascii").split()[0]
    except (OSError, ValueError, IndexError):
        return None


def _intact(path: Path, digest: str) -> bytes | None:
    """The bytes of a copy, if they are still those of its digest."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def _received(address: _Address, path: Path, expected: str | None) -> str:
    """Write what is sent to a file, whole or not at all; returns its digest."""
    with replacing(path, overwrite=True) as out, listening().progress(f"downloading {address.name}, kB") as update:
        transfer, digest, farthest, vain = _Transfer(address), hashlib.sha256(), 0, 0
        for _ in range(_MOST):
            try:
                for piece in transfer.pieces(out.size):
                    out.write(piece)
                    digest.update(piece)
                    update(out.size // 1000, transfer.total and transfer.total // 1000, 0)
                check_digest(digest.hexdigest(), expected, address.source)
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
        raise CoreError("cannot be downloaded", address.source, found=why, hint=_YOURSELF)


def _start_again(out: Output) -> Any:
    os.ftruncate(out.file, 0)
    os.lseek(out.file, 0, os.SEEK_SET)
    out.size = 0
    return hashlib.sha256()


class _CutOff(Exception):
    """The file did not come to its end."""


class _Transfer:
    """One file on its way, in one answer or, after interruptions, in several."""

    def __init__(self, address: _Address) -> None:
        self.address = address
        self.total: int | None = None
        self.version = ""  # the server's name for these very bytes, without which they cannot be gone on from

    def pieces(self, start: int) -> Iterator[bytes]:
        """The bytes from `start` on; raises _CutOff where they end too early."""
        got = start
        with _answer(self._request(start), self.address.source) as answer:
            self._check(answer, start)
            while piece := _read(answer):
                got += len(piece)
                self._bound(got)
                yield piece
        if self.total not in (None, got):
            raise _CutOff(f"the connection ended after {got} of {self.total} bytes")

    def _request(self, start: int) -> urllib.request.Request:
        request = urllib.request.Request(self.address.url)
        request.add_header("User-Agent", "dof-arrow")
        request.add_header("Accept-Encoding", "identity")
        if self.address.authorization:  # not sent on where the server points elsewhere
            request.add_unredirected_header("Authorization", self.address.authorization)
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
        tag = answer.headers.get("ETag", "")
        self.version = tag if tag.startswith('"') else ""  # a weak tag may stand for other bytes
        length = answer.headers.get("Content-Length", "")
        self.total = int(length) if length.isdecimal() else None
        self._bound(self.total or 0)

    def _bound(self, length: int) -> None:
        if length > MAX_BYTES:
            raise CoreError("the file is too large for a model", self.address.source, f"at most {MAX_BYTES} bytes",
                            f"{length} or more", "Choose a smaller model.")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise CoreError("the server points to a place without encryption", bare(req.full_url), "https",
                            bare(newurl), _YOURSELF)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _answer(request: urllib.request.Request, source: str) -> Any:
    """The opened answer; CoreError for one that will not change, _CutOff for one that may."""
    opener = urllib.request.OpenerDirector()  # unlike `build_opener`, one that opens no files and no FTP
    for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
                    urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor, _Redirects):
        opener.add_handler(handler())
    try:
        return opener.open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        said = _status(error.code)
        if error.code in _PASSING:
            raise _CutOff(said) from None
        raise CoreError("the server does not give the file", source, found=said, hint=_refused(error.code)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _CutOff(_why(error)) from None


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
    return "Download it with a tool that has your credentials, and name the file." if code in (401, 403) else _YOURSELF
