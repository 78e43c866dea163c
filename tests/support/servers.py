"""Servers on the loopback for tests: files over HTTP with ranges and cuts, and a hub that speaks the Hugging Face hub's
download protocol (resolve with X-Repo-Commit and ETag, large files on another host, /api/models)."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "1234567890abcdef1234567890abcdef12345678"
LARGE = 1000  # bytes; larger files stand on another host, under their SHA-256
_UNKNOWN = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."}
TOKEN = "hf_secretsecretsecret"


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed leave in the middle of an answer."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Files:
    """Files by path; `cuts` says after how many bytes the next answers end; `asked` is what was asked for."""

    files: dict[str, bytes]
    ranges: bool = True
    tagged: bool = True
    status: int | None = None
    redirect: str = ""
    cuts: list[int] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The server's address."""
        site = self

        class Handler(Quiet):
            def do_GET(self) -> None:
                site.answer(self)

        with serving(Handler) as address:
            yield address

    def answer(self, handler: Quiet) -> None:
        self.asked.append(
            {"path": handler.path, **{k.title(): v for k, v in handler.headers.items()}}
        )
        data = self.files.get(unquote(urlsplit(handler.path).path))
        if self.redirect:
            handler.send(302, b"", {"Location": self.redirect})
        elif self.status or data is None:
            handler.send(self.status or 404, b"<html>no</html>")
        else:
            self._send(handler, data)

    def _send(self, handler: Quiet, data: bytes) -> None:
        tag = f'"{hashlib.sha1(data).hexdigest()}"'
        asked = handler.headers.get("Range", "")
        goes_on = self.ranges and asked and handler.headers.get("If-Range") == tag
        start = int(asked[len("bytes=") : -1]) if goes_on else 0
        part, cut = data[start:], self.cuts.pop(0) if self.cuts else None
        handler.send_response(206 if goes_on else 200)
        if self.tagged:
            handler.send_header("ETag", tag)
        if goes_on:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(part)))
        handler.end_headers()
        handler.wfile.write(part[:cut])
        if cut is not None:
            handler.close_connection = True


@dataclass
class Hub:
    """Repositories by name, files by path; `gated` and `private` are names of repositories.

    `lies` holds, by repository, headers that replace the true ones: for each answer the next, the
    last one for ever.
    """

    repositories: dict[str, dict[str, bytes]]
    gated: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()
    lies: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    busy: int = 0  # how many answers say so
    asked: list[tuple[str, str, str | None]] = field(
        default_factory=list
    )  # host, path, Authorization

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The endpoint; large files come from another host name."""
        hub = self

        class Handler(Quiet):
            def do_GET(self) -> None:
                hub.answer(self)

        with serving(Handler) as address:
            self.store = address.replace("127.0.0.1", "localhost")
            yield address

    def answer(self, handler: Quiet) -> None:
        authorization = handler.headers.get("Authorization")
        self.asked.append((handler.headers["Host"].partition(":")[0], handler.path, authorization))
        parts = [unquote(part) for part in urlsplit(handler.path).path.strip("/").split("/")]
        if parts[0] == "store":
            handler.send(200, self._blobs()[parts[1]])
        elif parts[:2] == ["api", "models"]:
            self._api(handler, "/".join(parts[2:4]), parts[4:])
        elif len(parts) < 5:
            handler.send(404)
        else:
            self._resolve(
                handler, "/".join(parts[:2]), parts[3], "/".join(parts[4:]), authorization
            )

    def _blobs(self) -> dict[str, bytes]:
        return {
            hashlib.sha256(data).hexdigest(): data
            for files in self.repositories.values()
            for data in files.values()
        }

    def _api(self, handler: Quiet, name: str, rest: list[str]) -> None:
        files = self.repositories.get(name)
        if files is None:
            return handler.send(401, b"", _UNKNOWN)
        listed = [
            {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for path, data in files.items()
        ]
        info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]}
        return handler.send(
            200,
            json.dumps(listed if "tree" in rest else info).encode(),
            {"Content-Type": "application/json"},
        )

    def _resolve(
        self, handler: Quiet, name: str, revision: str, path: str, authorization: str | None
    ) -> None:
        if self.busy:
            self.busy -= 1
            return handler.send(503)
        files = self.repositories.get(name)
        allowed = authorization == f"Bearer {TOKEN}"
        if files is None or (name in self.private and not allowed):
            return handler.send(401, b"", _UNKNOWN)
        if name in self.gated:
            return handler.send(403 if allowed else 401, b"", {"X-Error-Code": "GatedRepo"})
        if revision not in ("main", "v1", COMMIT):
            return handler.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if path not in files:
            return handler.send(
                404,
                b"",
                {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT, **self._lie(name)},
            )
        return self._file(handler, files[path], self._lie(name))

    def _lie(self, name: str) -> dict[str, str]:
        left = self.lies.get(name, [{}])
        return left.pop(0) if len(left) > 1 else left[0]

    def _file(self, handler: Quiet, data: bytes, lie: dict[str, str]) -> None:
        digest = hashlib.sha256(data).hexdigest()
        if len(data) <= LARGE:
            tag = f'"{hashlib.sha1(data).hexdigest()}"'
            return handler.send(200, data, {"X-Repo-Commit": COMMIT, "ETag": tag, **lie})
        return handler.send(
            302,
            b"",
            {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(data)),
                "Location": f"{self.store}/store/{digest}?signature=secret",
                **lie,
            },
        )
