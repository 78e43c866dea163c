"""S3 on the loopback: moto's server, started once a session, with a new bucket for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NUMBERS = itertools.count()


class Bucket:
    """A bucket of the test's own; `address` begins the addresses in it."""

    def __init__(self, endpoint: str) -> None:
        from obstore.store import S3Store

        self.name = f"bucket-{next(_NUMBERS)}"
        self.address = f"s3://{self.name}"
        self.store = S3Store(
            self.name,
            endpoint=endpoint,
            access_key_id="test",
            secret_access_key="test",
            region="us-east-1",
            client_options={"allow_http": True},
        )
        self._make(endpoint)

    def put(self, key: str, data: bytes) -> str:
        """Store an object; its address."""
        import obstore

        obstore.put(self.store, key, data, use_multipart=False)
        return f"{self.address}/{key}"

    def get(self, key: str) -> bytes:
        """An object's bytes."""
        import obstore

        return bytes(obstore.get(self.store, key).bytes())

    def put_folder(self, folder: Path) -> str:
        """Store a directory dataset; its address."""
        for path in folder.iterdir():
            self.put(f"{folder.name}/{path.name}", path.read_bytes())
        return f"{self.address}/{folder.name}"

    def listed(self) -> list[str]:
        """The keys of all objects."""
        import obstore

        return sorted(each["path"] for batch in obstore.list(self.store) for each in batch)

    def _make(self, endpoint: str) -> None:
        import urllib.request

        request = urllib.request.Request(f"{endpoint}/{self.name}", method="PUT")
        with urllib.request.urlopen(request, timeout=60):
            pass


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a store that speaks S3."""
    server_module: Any = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket, with the credentials for it in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return Bucket(s3_endpoint)
