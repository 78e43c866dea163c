"""Bytes afar: ranges merged, answers checked, faults retried or told, nothing secret in messages."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from urllib.parse import quote, unquote

import pytest

from dof_arrow.errors import DofError, FormatError, MissingExtra, SourceError, UsageError
from dof_arrow.storage import redirects, remote, stores
from dof_arrow.storage.addresses import Address, location, on_disk
from dof_arrow.storage.remote import RemoteObject
from tests.support.range_server import FAULTS, RangeServer

DATA = random.Random(0).randbytes(300_000)
# What no server can be caught at: bytes of the right length, place and version that are others.
# Segments are compared with their digests; tests/format/test_remote_file.py.
UNSEEN = ("flipped",)
QUICK = [each for each in FAULTS if each != "slow"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    monkeypatch.setattr(remote, "_WAIT", 0.001)
    monkeypatch.setattr(stores, "_WAIT", stores.timedelta(milliseconds=1))
    monkeypatch.setattr(stores, "_TRIES", 1)
    made = RangeServer({"/x": DATA})
    with made.serving() as address:
        made.address = f"{address}/x"
        yield made


def opened(server: RangeServer, length: int = 100) -> RemoteObject:
    found = RemoteObject(Address(server.address), length)
    server.forget()
    return found


def test_what_is_done_at_once_may_ask_for_more(server: RangeServer) -> None:
    """As parts that are opened together do, with footers of several pieces."""
    found = opened(server)

    def work(number: int) -> int:
        return sum(
            len(each) for each in found.read([(n, n + 1) for n in (number, number + 50_000)])
        )

    assert list(remote.together(work, range(40))) == [2] * 40


def test_files_and_ranges_of_each_are_asked_for_at_the_same_time(server: RangeServer) -> None:
    server.latency = 0.2
    spans = [(start, start + 1) for start in range(0, 200_000, 50_000)]
    found = [opened(server) for _ in range(3)]
    read = list(remote.together(lambda each: each.read(spans), found))
    assert [bytes(each) for each in read[2]] == [DATA[a:b] for a, b in spans]
    assert server.most_at_once > 4


def test_objects_of_a_store_have_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is made in 10 ms; in another environment there is another one."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    one, _ = stores.bucket(Address("s3://bucket/a.dof/x.parquet"))
    other, key = stores.bucket(Address("s3://bucket/b/y.parquet"))
    assert one is other and key == "b/y.parquet"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8")
    assert stores.bucket(Address("s3://bucket/b/y.parquet"))[0] is not one


@pytest.mark.parametrize("name", ["x", "a b", "a%20b", "ü.parquet", "..x", "x~1", "a+b=c&d"])
def test_names_of_files_on_a_web_server(name: str) -> None:
    path = unquote(name)
    made = RangeServer({f"/folder/{path}": DATA})
    with made.serving() as address:
        found = RemoteObject(Address(f"{address}/folder/{quote(name, '%+=&~')}?a=b"), 10)
        assert bytes(found.read([(7, 9)])[0]) == DATA[7:9]
        assert all(asked.endswith("?a=b") for asked, _, _ in made.requests)


def test_the_end_and_the_size(server: RangeServer) -> None:
    found = opened(server)
    assert (found.end, found.size) == (DATA[-100:], len(DATA))
    assert opened(server, 1 << 20).end == DATA


def test_spans_come_in_the_order_in_which_they_are_asked_for(server: RangeServer) -> None:
    spans = [(90_000, 90_010), (5, 9), (5, 9), (0, 300_000), (250_000, 250_001)]
    assert [bytes(each) for each in opened(server).read(spans)] == [DATA[a:b] for a, b in spans]


def test_near_spans_are_one_request_and_far_ones_are_not(server: RangeServer) -> None:
    found = opened(server)
    found.read([(0, 10), (4000, 4010), (4005, 4500), (20_000, 20_001)])
    assert sorted(asked for _, asked, _ in server.requests) == [
        "bytes=0-4499",
        "bytes=20000-20000",
    ]


def test_a_long_span_comes_in_pieces(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PIECE", 70_000)
    assert bytes(opened(server).read([(10, 290_000)])[0]) == DATA[10:290_000]
    assert len(server.requests) == 5


@pytest.mark.parametrize("fault", QUICK)
def test_a_fault_that_passes_is_retried_or_told(server: RangeServer, fault: str) -> None:
    """Each fault once: the right bytes, or an error of ours."""
    found = opened(server)
    server.fault = lambda number: fault if number == 0 else ""
    try:
        data = bytes(found.read([(1000, 3000)])[0])
    except DofError as error:
        assert "\n" not in str(error)
    else:
        assert data == DATA[1000:3000] or fault in UNSEEN
    server.fault = lambda number: ""
    assert bytes(found.read([(5, 6)])[0]) == DATA[5:6]


@pytest.mark.parametrize("fault", ["cut", "short", "500", "shifted"])
def test_a_fault_while_it_is_opened(server: RangeServer, fault: str) -> None:
    server.fault = lambda number: fault if number == 0 else ""
    assert opened(server).end == DATA[-100:]
    server.fault = lambda number: fault
    with pytest.raises(SourceError, match="cannot be read"):
        opened(server)


@pytest.mark.parametrize("fault", [each for each in QUICK if each not in UNSEEN])
def test_a_fault_that_stays_is_an_error(server: RangeServer, fault: str) -> None:
    found = opened(server)
    server.fault = lambda number: fault
    with pytest.raises((SourceError, FormatError, UsageError)):
        found.read([(1000, 3000)])


def test_some_hundred_faults_and_never_a_wrong_byte(server: RangeServer) -> None:
    """Faults at random, of many requests at the same time."""
    drawn = random.Random(1)
    kinds = [each for each in QUICK if each not in UNSEEN]
    told = right = 0
    found = opened(server)
    server.fault = lambda number: drawn.choice(kinds) if drawn.random() < 0.2 else ""
    for _ in range(60):
        starts = [drawn.randrange(290_000) for _ in range(8)]
        spans = [(start, start + drawn.randrange(1, 3000)) for start in starts]
        try:
            read = found.read(spans)
        except DofError:
            told += 1
        else:
            right += 1
            assert [bytes(each) for each in read] == [DATA[a:b] for a, b in spans]
    assert told > 5 and right > 5


def test_a_server_that_is_too_slow(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(remote, "_TRIES", 1)
    found = opened(server)
    server.fault = lambda number: "slow"
    with pytest.raises(SourceError, match="in time"):
        found.read([(1000, 3000)])


def test_nothing_secret_in_messages(server: RangeServer) -> None:
    address = server.address.replace("http://", "http://me:password@") + "?signature=secret"
    found = RemoteObject(Address(address), 10)
    assert server.headers[-1]["authorization"].startswith("Basic ")
    for fault in QUICK:
        server.fault = lambda number, fault=fault: fault
        try:
            found.read([(1000, 3000)])
        except DofError as error:
            said = f"{error} {error.__context__ if not error.__suppress_context__ else ''}"
            assert "secret" not in said and "password" not in said
            assert server.address in said
    assert "secret" not in repr(Address(address))


def test_a_server_points_elsewhere(server: RangeServer) -> None:
    other = RangeServer({"/x": DATA})
    with other.serving() as address:
        server.redirect = f"{address}/x"
        found = RemoteObject(Address(server.address), 10)
        assert found.end == DATA[-10:] and other.requests
        assert "authorization" not in {name.lower() for name in other.headers[-1]}


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://[fe80::1]/x"])
def test_nobody_is_sent_to_what_is_nearer(server: RangeServer, target: str) -> None:
    server.redirect = target
    with pytest.raises(SourceError, match="private network"):
        RemoteObject(Address(server.address), 10)


def test_how_near_addresses_are() -> None:
    named = ("8.8.8.8", "10.0.0.1", "127.0.0.1", "169.254.169.254")
    assert [redirects._nearness(f"https://{host}/x") for host in named] == [3, 2, 1, 0]


def test_a_forked_process_is_told(server: RangeServer) -> None:
    found = opened(server)
    child = os.fork()
    if not child:
        said = ""
        try:
            found.read([(0, 1)])
        except UsageError as error:
            said = str(error)
        os._exit(0 if "spawn" in said else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_without_the_extra_one_line_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(MissingExtra) as caught:
        RemoteObject(Address("s3://bucket/x.parquet"), 10)
    assert str(caught.value) == "obstore is not installed. pip install 'dof-arrow[remote]'"


def test_places() -> None:
    from pathlib import Path

    assert str(location(Path("s3://b/x.parquet"))) == "s3://b/x.parquet"
    assert location("lungs.parquet") == Path("lungs.parquet")
    assert on_disk("a/b") == Path("a/b")
    with pytest.raises(UsageError, match="on this machine alone"):
        on_disk("s3://b/x.parquet")
