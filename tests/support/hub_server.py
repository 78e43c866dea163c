"""A hub on the loopback that takes datasets: repositories with commits, large files by LFS.

It speaks what `huggingface_hub` says when it makes a repository, sends files and reads them back. A
private repository is there only for whoever sends the token. `pause` is called before the bytes of
each large file are taken; `faults` are statuses that the next uploads are answered with.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.servers import TOKEN, Quiet, serving

_UNKNOWN = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
_LARGE = (".parquet", ".onnx")


@dataclass
class Repository:
    """A repository: each commit is the files by their paths."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        """Make these files the newest commit; its name."""
        told = json.dumps([len(self.commits), sorted(files)]).encode()
        name = hashlib.sha1(told).hexdigest()
        self.commits[name] = files
        return name

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """The files of a commit."""
        return self.commits[self.head if revision == "main" else revision]


@dataclass
class HubServer:
    """Repositories by name, large files by digest; `asked` holds method and path of each request."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    pause: Callable[[str], None] = lambda digest: None
    faults: list[int] = field(default_factory=list)
    damages: bool = False  # whether large files are kept with a bit flipped
    address: str = ""

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The endpoint."""
        hub = self

        class Handler(Quiet):
            def do_GET(self) -> None:
                hub.answer(self)

            do_POST = do_GET
            do_PUT = do_GET

        with serving(Handler) as address:
            self.address = address
            yield address

    @property
    def uploads(self) -> list[str]:
        """The digests of large files in the order in which they were sent."""
        paths = [path for method, path in self.asked if method == "PUT"]
        return [path.rpartition("/")[2] for path in paths if path.startswith("/lfs/")]

    def answer(self, handler: Quiet) -> None:
        path = urlsplit(handler.path).path
        self.asked.append((handler.command, path))
        parts = [unquote(part) for part in path.strip("/").split("/")]
        body = self._body(handler)
        if parts[0] == "lfs":
            return self._take(handler, parts[1], body)
        if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._without_token(handler, parts)
        if parts[:3] == ["api", "repos", "create"]:
            return self._create(handler, json.loads(body))
        if parts[:2] == ["api", "validate-yaml"]:
            return _say(handler, {"errors": [], "warnings": []})
        if parts[:2] == ["api", "datasets"]:
            return self._api(handler, "/".join(parts[2:4]), parts[4:], body)
        if parts[0] == "datasets" and parts[2].endswith(".git"):
            return self._batch(handler, json.loads(body))
        if parts[0] == "datasets" and parts[3] == "resolve":
            return self._give(handler, "/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        return handler.send(404)

    def _body(self, handler: Quiet) -> bytes:
        if handler.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(_chunks(handler.rfile))
        return bytes(handler.rfile.read(int(handler.headers.get("Content-Length") or 0)))

    def _without_token(self, handler: Quiet, parts: list[str]) -> None:
        """Public repositories may be read; of others nothing is told."""
        reads = handler.command in ("GET", "HEAD")
        if parts[:2] == ["api", "datasets"] and reads and self._is_public("/".join(parts[2:4])):
            return self._api(handler, "/".join(parts[2:4]), parts[4:], b"")
        if parts[0] == "datasets" and reads and self._is_public("/".join(parts[1:3])):
            return self._give(handler, "/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        return handler.send(401, b"", _UNKNOWN)

    def _is_public(self, name: str) -> bool:
        return name in self.repositories and not self.repositories[name].private

    def _create(self, handler: Quiet, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        assert asked["type"] == "dataset"
        if name in self.repositories:
            return handler.send(409)
        made = Repository(private=asked.get("visibility") == "private")
        made.commit({".gitattributes": b"*.parquet filter=lfs\n"})
        self.repositories[name] = made
        return _say(handler, {"url": f"{self.address}/datasets/{name}", "id": name})

    def _api(self, handler: Quiet, name: str, rest: list[str], body: bytes) -> None:
        repository = self.repositories.get(name)
        if repository is None:
            return handler.send(404, b"", _UNKNOWN)
        what = rest[0] if rest else "revision"
        if what == "revision":
            files = repository.files(rest[1] if rest[1:] else "main")
            told = {"id": name, "private": repository.private, "sha": repository.head}
            told["siblings"] = [{"rfilename": path} for path in files]
            return _say(handler, told)
        if what == "settings":
            repository.private = json.loads(body)["visibility"] == "private"
            return _say(handler, {})
        if what == "tree":
            return _say(handler, [_entry(*each) for each in repository.files(rest[1]).items()])
        if what == "preupload":
            return _say(handler, {"files": _modes(repository, json.loads(body))})
        return self._commit(handler, name, body)

    def _batch(self, handler: Quiet, asked: dict[str, Any]) -> None:
        """Where to send large files; those that are kept already have no action."""
        objects = []
        for each in asked["objects"]:
            told = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.stored:
                href = f"{self.address}/lfs/{each['oid']}"
                told["actions"] = {"upload": {"href": href}}
            objects.append(told)
        return _say(handler, {"transfer": "basic", "objects": objects})

    def _take(self, handler: Quiet, digest: str, body: bytes) -> None:
        self.pause(digest)
        if self.faults:
            return handler.send(self.faults.pop(0))
        if hashlib.sha256(body).hexdigest() != digest:
            return handler.send(400)
        self.stored[digest] = bytes([body[0] ^ 1]) + body[1:] if self.damages else body
        return handler.send(200)

    def _commit(self, handler: Quiet, name: str, body: bytes) -> None:
        repository = self.repositories[name]
        lines = [json.loads(line) for line in body.splitlines()]
        files = dict(repository.files())
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") not in (None, repository.head):
                return handler.send(412)
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(files)
        url = f"{self.address}/datasets/{name}/commit/{commit}"
        return _say(handler, {"commitUrl": url, "commitOid": commit})

    def _give(self, handler: Quiet, name: str, revision: str, path: str) -> None:
        repository = self.repositories.get(name)
        if repository is None:
            return handler.send(404, b"", _UNKNOWN)
        data = repository.files(revision).get(path)
        if data is None:
            return handler.send(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": repository.head if revision == "main" else revision,
            "Accept-Ranges": "bytes",
        }
        span = _span(handler.headers.get("Range", ""), len(data))
        if span is None:
            return handler.send(200, data, headers)
        start, stop = span
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return handler.send(206, data[start:stop], headers)


def _say(handler: Quiet, value: Any) -> None:
    data = json.dumps(value).encode()
    handler.send(200, data, {"Content-Type": "application/json"})


def _entry(path: str, data: bytes) -> dict[str, Any]:
    """A file as the hub lists it."""
    told: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _blob(data)}
    if path.endswith(_LARGE):
        sha256 = hashlib.sha256(data).hexdigest()
        told["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
    return told


def _modes(repository: Repository, asked: dict[str, Any]) -> list[dict[str, Any]]:
    files = repository.files()
    told = []
    for each in asked["files"]:
        path = each["path"]
        mode = "lfs" if path.endswith(_LARGE) else "regular"
        ignored = path in files.get(".gitignore", b"").decode().splitlines()
        one = {"path": path, "uploadMode": mode, "shouldIgnore": ignored, "oid": None}
        if path in files:
            data = files[path]
            one["oid"] = hashlib.sha256(data).hexdigest() if mode == "lfs" else _blob(data)
        told.append(one)
    return told


def _blob(data: bytes) -> str:
    """What git calls a file."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()


def _chunks(stream: Any) -> Iterator[bytes]:
    while size := int(stream.readline(), 16):
        yield stream.read(size)
        stream.readline()
    stream.readline()


def _span(asked: str, size: int) -> tuple[int, int] | None:
    if not asked.startswith("bytes="):
        return None
    first, _, last = asked.removeprefix("bytes=").partition("-")
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size
