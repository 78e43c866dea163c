"""Models from the web: checked, resumed, kept; no credentials anywhere but in the request."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import heard_by
from dof_arrow.storage import download, transfer
from dof_arrow.storage.download import fetch
from tests.support import models
from tests.support.servers import Files

MODEL = models.gemm().SerializeToString()
DIGEST = hashlib.sha256(MODEL).hexdigest()
SPEC = '{"mode": "RGB", "fit": "squash", "resize": [16, 16], "scale": 0.01}'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(download, "_WAIT", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "dof-arrow" / "models"


@pytest.fixture
def site() -> Iterator[tuple[Files, str]]:
    files = Files({"/m/small.onnx": MODEL, "/big": b"", "/ü ber.onnx": MODEL})
    with files.serving() as address:
        yield files, address


def test_a_core_of_a_url_is_that_of_the_file(site: tuple[Files, str], tmp_path: Path) -> None:
    """The same features from a URL and from the file; the core says where it came from."""
    _, address = site
    (tmp_path / "small.onnx").write_bytes(MODEL)
    far = dof.Core.load(f"{address}/m/small.onnx?token=t#sha256={DIGEST.upper()}", preprocess=SPEC)
    near = dof.Core.load(tmp_path / "small.onnx", preprocess=SPEC)
    picture = np.arange(3 * 20 * 20, dtype=np.uint8).reshape(20, 20, 3)
    assert np.array_equal(far([picture]), near([picture]))
    about = far.describe()
    assert (about.name, about.source, about.source_sha256) == (
        "small",
        f"{address}/m/small.onnx",
        DIGEST,
    )


def test_another_file_than_the_one_asked_for_is_refused_and_not_kept(
    site: tuple[Files, str], cache: Path
) -> None:
    _, address = site
    with pytest.raises(
        dof.CoreError, match=f"another file.*expected SHA-256 {'0' * 64}, found {DIGEST}"
    ):
        fetch(f"{address}/m/small.onnx#sha256={'0' * 64}")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    "fragment", ["#", "#sha256=", f"#sha256={'g' * 64}", "#md5=00", f"#sha256={'0' * 63}"]
)
def test_what_is_no_digest_is_refused(fragment: str) -> None:
    with pytest.raises(dof.UsageError, match="is no digest"):
        fetch(f"https://example.org/x.onnx{fragment}")


def test_a_copy_is_used_while_it_is_intact(site: tuple[Files, str], cache: Path) -> None:
    files, address = site
    pinned = f"{address}/m/small.onnx#sha256={DIGEST}"
    assert fetch(pinned).data == fetch(pinned).data == MODEL and len(files.asked) == 1
    (copy,) = cache.glob("*.onnx")
    assert (
        copy.stem == DIGEST
        and (cache / f"{DIGEST}.sha256").read_text() == f"{DIGEST}  {copy.name}\n"
    )
    copy.write_bytes(MODEL[:-1] + b"?")
    assert fetch(pinned).data == MODEL and len(files.asked) == 2 and copy.read_bytes() == MODEL


def test_without_a_digest_the_copy_is_used_too_and_that_is_said(
    site: tuple[Files, str], capsys: pytest.CaptureFixture[str]
) -> None:
    files, address = site
    with heard_by(Terminal()):
        assert fetch(f"{address}/m/small.onnx?key=secret").sha256 == DIGEST
        first = capsys.readouterr().err
        assert fetch(f"{address}/m/small.onnx?key=secret").sha256 == DIGEST
    assert (
        f"to have it checked, name it {address}/m/small.onnx#sha256={DIGEST}" in first
        and "kB" in first
    )
    assert (
        "the copy in" in capsys.readouterr().err and len(files.asked) == 1 and "secret" not in first
    )
    assert (
        fetch(f"{address}/m/small.onnx?key=other").sha256 == DIGEST and len(files.asked) == 2
    )  # maybe another file


def test_in_python_nothing_is_printed(
    site: tuple[Files, str], capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(f"{site[1]}/m/small.onnx")
    assert capsys.readouterr() == ("", "")


def test_a_file_cut_off_is_gone_on_with(site: tuple[Files, str]) -> None:
    files, address = site
    files.cuts = [1, 500, 700]
    assert fetch(f"{address}/m/small.onnx").data == MODEL
    assert [each.get("Range") for each in files.asked] == [
        None,
        "bytes=1-",
        "bytes=501-",
        "bytes=1201-",
    ]


@pytest.mark.parametrize("change", [{"tagged": False}, {"ranges": False}])
def test_where_the_server_cannot_go_on_the_file_begins_anew(
    site: tuple[Files, str], change: dict[str, Any]
) -> None:
    files, address = site
    vars(files).update(change)
    files.cuts = [len(MODEL) // 2]
    assert fetch(f"{address}/m/small.onnx").data == MODEL and "Range" not in files.asked[-1]


def test_a_file_that_changes_between_two_parts_is_never_mixed(site: tuple[Files, str]) -> None:
    files, address = site
    files.cuts = [len(MODEL) // 2]
    original = files.answer

    def answer(handler: Any) -> None:
        original(handler)
        files.files["/m/small.onnx"] = MODEL[::-1]

    files.answer = answer  # type: ignore[method-assign]
    assert fetch(f"{address}/m/small.onnx").data == MODEL[::-1]


def test_a_server_that_always_cuts_off_is_given_up(site: tuple[Files, str], cache: Path) -> None:
    files, address = site
    files.cuts, files.ranges = [100] * 99, False
    with pytest.raises(dof.CoreError, match="cannot be downloaded: found the "):
        fetch(f"{address}/m/small.onnx")
    assert list(cache.iterdir()) == [] and len(files.asked) < 20


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "status 404, Not Found"),
        (401, "tool that has your credentials"),
        (418, "status 418"),
        (503, "Service Unavailable"),
    ],
)
def test_refusals_are_named(site: tuple[Files, str], status: int, said: str) -> None:
    files, address = site
    files.status = status
    with pytest.raises(dof.CoreError, match=said) as caught:
        fetch(f"{address}/m/small.onnx")
    assert "<html>" not in str(caught.value) and len(files.asked) == (
        download._TRIES if status == 503 else 1
    )


def test_credentials_are_used_and_never_repeated(site: tuple[Files, str], cache: Path) -> None:
    files, address = site
    host = address.removeprefix("http://")
    url = f"http://me:pass%2Fword@{host}/m/small.onnx?token=hidden"
    found = fetch(url)
    assert (
        base64.b64decode(files.asked[0]["Authorization"].removeprefix("Basic ")) == b"me:pass/word"
    )
    assert files.asked[0]["path"].endswith("?token=hidden")
    files.status = 404
    with pytest.raises(dof.CoreError) as caught:
        fetch(url.replace("small", "other"))
    seen = found.source + str(caught.value) + "".join(path.name for path in cache.iterdir())
    assert not any(secret in seen for secret in ("me:", "pass", "hidden"))


def test_credentials_do_not_follow_a_redirect(site: tuple[Files, str]) -> None:
    files, address = site
    with Files({}, redirect=f"{address}/m/small.onnx").serving() as first:
        assert fetch(first.replace("http://", "http://me:pw@") + "/there").data == MODEL
    assert "Authorization" not in files.asked[0]


def test_encryption_is_not_given_up() -> None:
    handler = transfer.Redirects()
    request = transfer.urllib.request.Request("https://me.example/x?token=hidden")
    with pytest.raises(dof.CoreError, match="without encryption") as caught:
        handler.redirect_request(request, None, 302, "", {}, "http://other.example/x?token=hidden")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://", "https:/x.onnx", "http://h:port/x", "https://h/a b", "http://[::1/x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(dof.UsageError, match="no address of a file"):
        fetch(url)


def test_names_in_other_scripts_are_quoted(site: tuple[Files, str]) -> None:
    assert fetch(f"{site[1]}/ü%20ber.onnx").name == "ü ber"


def test_a_file_that_is_too_large_is_refused_before_and_while_it_comes(
    site: tuple[Files, str], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    files, address = site
    monkeypatch.setattr(transfer, "MAX_BYTES", 1000)
    with pytest.raises(dof.CoreError, match="too large for a model"):
        fetch(f"{address}/m/small.onnx")
    monkeypatch.setattr(files, "_send", lambda handler, data: _endless(handler))
    with pytest.raises(dof.CoreError, match="too large for a model"):
        fetch(f"{address}/m/small.onnx")
    assert list(cache.iterdir()) == []


def _endless(handler: Any) -> None:
    """An answer that does not say how long it is."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    with suppress(OSError):
        for _ in range(100):
            handler.wfile.write(bytes(100_000))


def test_nobody_there() -> None:
    with pytest.raises(dof.CoreError, match="cannot be downloaded: found Connection refused"):
        fetch("http://127.0.0.1:9/x.onnx")


def test_weights_beside_a_url_are_refused(site: tuple[Files, str], tmp_path: Path) -> None:
    import onnx

    files, address = site
    onnx.save_model(
        models.gemm(),
        tmp_path / "e.onnx",
        save_as_external_data=True,
        location="e.data",
        size_threshold=0,
    )
    files.files["/e.onnx"] = (tmp_path / "e.onnx").read_bytes()
    with pytest.raises(dof.CoreError, match="weights lie in another file"):
        dof.Core.load(f"{address}/e.onnx", preprocess=SPEC)


def test_a_full_disk_is_no_fault_of_the_network(
    site: tuple[Files, str], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.writev", full)
    with pytest.raises(dof.OutputError, match="the disk is full"):
        fetch(f"{site[1]}/m/small.onnx")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("file:///etc/passwd", "status 302"),
        ("ftp://127.0.0.1/x.onnx", "no address of a file"),
        ("http://[::1/x.onnx", "no address of a file"),
        ("http://127.0.0.1:port/x.onnx", "no address of a file"),
        ("http://", "status 302"),
    ],
)
def test_a_redirect_to_what_is_no_address_is_refused(target: str, said: str, cache: Path) -> None:
    with Files({}, redirect=target).serving() as address, pytest.raises(dof.CoreError, match=said):
        fetch(f"{address}/m/small.onnx")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", ""])
def test_a_length_that_is_none_is_not_believed(
    site: tuple[Files, str], monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    files, address = site
    monkeypatch.setattr(files, "_send", lambda handler, data: _of_length(handler, data, length))
    assert fetch(f"{address}/m/small.onnx").data == MODEL


def _of_length(handler: Any, data: bytes, length: str) -> None:
    handler.close_connection = True
    handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + data)


def test_a_copy_that_another_may_have_planted_is_not_believed(
    site: tuple[Files, str], cache: Path, tmp_path: Path
) -> None:
    """A note and a copy that fit each other: whoever could write there chose the model."""
    _, address = site
    first = fetch(f"{address}/m/small.onnx")
    (copy,) = cache.glob("*.onnx")
    copy.rename(tmp_path / "planted")
    copy.symlink_to(tmp_path / "planted")
    with pytest.raises(dof.OutputError, match="another user may have put this there"):
        fetch(f"{address}/m/small.onnx")
    copy.unlink()
    cache.chmod(0o777)
    with pytest.raises(dof.OutputError, match="found mode 0777"):
        fetch(f"{address}/m/small.onnx#sha256={first.sha256}")
