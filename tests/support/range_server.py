"""A web server on the loopback that gives ranges of files, counts what it gave, and makes faults.

`fault` is asked for each request, by its number; what it returns is done to that answer. `latency`
is waited before each answer, by `most_at_once` requests at a time; `rate` is how many bytes a second
all connections together get.
"""

from __future__ import annotations

import hashlib
import mimetypes
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

FAULTS = (
    "500",
    "503",
    "429",
    "403",
    "404",
    "cut",
    "empty",
    "short",
    "long",
    "shifted",
    "wrong-range",
    "wrong-size",
    "whole",
    "no-range-header",
    "another-version",
    "replaced",
    "reset",
    "garbage",
    "slow",
    "redirect-file",
    "redirect-elsewhere",
    "flipped",
)
STEP = 64 << 10  # bytes sent at a time


@dataclass
class RangeServer:
    """Files by path; `requests` holds (path, range header, bytes given) of each answer."""

    files: dict[str, bytes] = field(repr=False)
    fault: Callable[[int], str] = lambda number: ""
    latency: float = 0.0
    rate: float = 0.0
    tagged: bool = True
    ranges: bool = True
    suffixes: bool = True
    redirect: str = ""
    address: str = ""
    requests: list[tuple[str, str, int]] = field(default_factory=list, repr=False)
    headers: list[dict[str, str]] = field(default_factory=list, repr=False)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: Any = field(default_factory=threading.Lock)
    _count: int = 0
    _free: float = 0.0

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The server's address."""
        site = self

        class Handler(_Handler):
            server_of = site

        server = _Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    @property
    def given(self) -> int:
        """Bytes of files given in all."""
        return sum(size for _, _, size in self.requests)

    def forget(self) -> None:
        """Count from here on."""
        self.requests.clear()
        self.headers.clear()
        self.most_at_once = 0
        self._count = 0

    def wait(self) -> None:
        """Wait as long as a request takes on its way, and count those that do."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(self.latency)
        with self._lock:
            self._at_once -= 1

    def pace(self, size: int) -> None:
        """Wait until the link is free for so many bytes."""
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now - 0.05) + size / self.rate
            until = self._free
        time.sleep(max(until - now, 0))

    def next_fault(self) -> str:
        with self._lock:
            self._count += 1
            return self.fault(self._count - 1)


@cache
def _tag(data: bytes) -> str:
    """The tag of these bytes; to digest a large file at each request would be all that is measured."""
    return f'"{hashlib.sha1(data).hexdigest()}"'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave when they have seen enough."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: RangeServer
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        site = self.server_of
        path = unquote(urlsplit(self.path).path)
        data = site.files.get(path)
        asked = self.headers.get("Range", "")
        site.headers.append(dict(self.headers.items()))
        # The first look of a client, at one byte, is spared: what it is told there is not used.
        fault = "" if asked == "bytes=0-0" else site.next_fault()
        site.wait()
        if site.redirect:
            return self._say(302, {"Location": site.redirect})
        if fault.isdigit():
            return self._say(int(fault))
        if fault.startswith("redirect"):
            where = {"redirect-file": "file:///etc/passwd"}.get(fault, "http://127.0.0.1:9/x")
            return self._say(302, {"Location": where})
        if fault == "reset":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        if fault == "garbage":
            self.wfile.write(b"\x00\xff" * 50)
            self.close_connection = True
            return None
        if data is None:
            return self._say(404)
        if fault == "slow":
            time.sleep(1.5)
        return self._give(data, asked, fault)

    def _give(self, data: bytes, asked: str, fault: str) -> None:
        site = self.server_of
        if fault == "replaced":
            data = bytes(byte ^ 255 for byte in data[:1000]) + data[1000:]
        tag = _tag(data)
        if site.tagged and self.headers.get("If-Match", tag) != tag:
            return self._say(412)
        if fault == "another-version":
            tag = '"another"'
        span = self._span(asked, len(data)) if fault != "whole" and site.ranges else None
        start, stop = span or (0, len(data))
        body: Any = memoryview(data)[start:stop]
        if fault:
            body = bytes(body)
        if fault == "shifted":
            body = data[start + 1 : stop + 1].ljust(stop - start, b"\0")
            start += 1
            stop += 1
        size = len(data) + (fault == "wrong-size")
        shown = f"bytes {start + (fault == 'wrong-range')}-{stop - 1}/{size}"
        if fault == "empty":
            body = b""
        if fault == "short":
            body = body[: len(body) // 2]
        if fault == "long":
            body = body + b"more"
        if fault == "flipped" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(206 if span else 200)
        if span and fault != "no-range-header":
            self.send_header("Content-Range", shown)
        if site.tagged:
            self.send_header("ETag", tag)
        kind, _ = mimetypes.guess_type(urlsplit(self.path).path)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if fault == "cut":
            body = body[: len(body) // 2]
            self.close_connection = True
        site.requests.append((self.path, asked, len(body)))
        return self._send(body)

    def _send(self, body: bytes) -> None:
        rate = self.server_of.rate
        if (
            not rate
        ):  # in one go: threads that take turns for each step would be slower than any network
            self.wfile.write(body)
            return
        view = memoryview(body)
        for start in range(0, len(view), STEP):
            piece = view[start : start + STEP]
            self.server_of.pace(len(piece))
            self.wfile.write(piece)

    def _span(self, asked: str, size: int) -> tuple[int, int] | None:
        if not asked.startswith("bytes="):
            return None
        first, _, last = asked[len("bytes=") :].partition("-")
        if first:
            stop = min(int(last) + 1, size) if last else size
            return int(first), stop
        return (max(size - int(last), 0), size) if self.server_of.suffixes else None

    def _say(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
