"""`hf://`: by huggingface_hub itself, against a hub on the loopback that speaks its protocol."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import dof_arrow as dof
from dof_arrow.cores.origins import huggingface
from dof_arrow.format.spec.preprocessing import load_spec
from tests.support import models
from tests.support.servers import COMMIT, TOKEN, Files, Hub

pytest.importorskip("huggingface_hub")

MODEL = models.gemm().SerializeToString()
DIGEST = hashlib.sha256(MODEL).hexdigest()
CARD = b"---\nlicense: apache-2.0\ntags:\n- vision\n---\n# A model\n"
CONFIG = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": 16, "width": 16},
}
SPEC = {
    "mode": "RGB",
    "fit": "squash",
    "resize": [16, 16],
    "scale": 1 / 255,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.5, 0.5, 0.5],
}

Run = Callable[..., subprocess.CompletedProcess[str]]


def _with_weights_beside(folder: Path) -> dict[str, bytes]:
    onnx.save_model(
        models.gemm(),
        folder / "model.onnx",
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=0,
    )
    return {
        f"onnx/{name}": (folder / name).read_bytes() for name in ("model.onnx", "model.onnx_data")
    }


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Hub]:
    config = json.dumps(CONFIG).encode()
    odd = json.dumps({**CONFIG, "resample": 1}).encode()
    yield Hub(
        {
            "owner/small": {
                "model.onnx": MODEL,
                "README.md": CARD,
                "preprocessor_config.json": config,
            },
            "owner/beside": {**_with_weights_beside(tmp_path), "preprocessor_config.json": config},
            "owner/bare": {"sub/net.onnx": MODEL, "sub/net_int8.onnx": MODEL},
            "owner/odd": {"model.onnx": MODEL, "preprocessor_config.json": odd},
            "owner/broken": {"model.onnx": MODEL, "preprocessor_config.json": b'{"size": 1'},
            "owner/private": {
                "model.onnx": MODEL,
                "README.md": b"---\nlicense: other\nlicense_name: own-1\n---\n",
            },
            "owner/gated": {"model.onnx": MODEL},
        },
        gated=frozenset({"owner/gated"}),
        private=frozenset({"owner/private"}),
    )


@pytest.fixture
def run(site: Hub, tmp_path: Path) -> Iterator[Run]:
    """Python code, or the command line, in a process that has this hub and a home of its own."""
    (tmp_path / "cache").mkdir(mode=0o700)
    with site.serving() as address:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        home = {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "home"),
            "XDG_CONFIG_HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "HOME": str(tmp_path / "user"),
            "no_proxy": "*",
        }

        def start(
            *arguments: object, code: str = "", **more: str
        ) -> subprocess.CompletedProcess[str]:
            command = ["-c", code] if code else ["-m", "dof_arrow"]
            return subprocess.run(
                [sys.executable, *command, *map(str, arguments)],
                capture_output=True,
                text=True,
                env={**plain, **home, **more},
                cwd=tmp_path,
                check=False,
            )

        yield start


def test_a_core_of_the_hub(run: Run, site: Hub, tmp_path: Path) -> None:
    """One command; preprocessing and licence from the repository; commit and digest recorded."""
    made = run("headless", "hf://owner/small/model.onnx", "-o", "core.onnx")
    assert made.returncode == 0, made.stderr
    source = f"hf://owner/small@{COMMIT}/model.onnx"
    assert f"{source}: SHA-256 {DIGEST}, licence Apache-2.0" in made.stderr
    core = dof.Core.load(tmp_path / "core.onnx")
    about = core.describe()
    assert (about.source, about.source_sha256, about.license, about.name) == (
        source,
        DIGEST,
        "Apache-2.0",
        "small",
    )
    assert about.preprocessing == load_spec(json.dumps(SPEC))
    (tmp_path / "near.onnx").write_bytes(MODEL)
    near = dof.Core.load(tmp_path / "near.onnx", preprocess=json.dumps(SPEC))
    picture = np.arange(3 * 20 * 20, dtype=np.uint8).reshape(20, 20, 3)
    assert np.array_equal(core([picture]), near([picture]))
    assert [host for host, path, _ in site.asked if path.startswith("/store")] == ["localhost"]
    again = run("headless", source, "-o", "again.onnx", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "core.onnx").read_bytes()


_ALL = """
import json, sys, dof_arrow as dof
said = {}
for name in sys.argv[1:]:
    try:
        said[name] = dof.Core.load(name).describe().license or "made"
    except dof.DofError as error:
        said[name] = f"{type(error).__name__} {error}"
print(json.dumps(said))
"""


def test_what_can_be_wrong_is_told_apart(run: Run) -> None:
    wrong = {
        "hf://owner/none/model.onnx": "CoreError hf://owner/none/model.onnx: "
        "no such repository on the hub",
        "hf://owner/private/model.onnx": "or a private one",
        "hf://owner/gated/model.onnx": "accept the terms",
        "hf://owner/small@v9/model.onnx": "no such revision",
        "hf://owner/bare/model.onnx": "Its models are sub/net.onnx, sub/net_int8.onnx.",
        "hf://owner/bare/sub/net.onnx": "UsageError bare-net: the core carries no preprocessing",
        "hf://owner/odd/model.onnx": f"hf://owner/odd@{COMMIT}/preprocessor_config.json: "
        "this preprocessing cannot be taken over: expected resize, centre crop, rescale, "
        "normalise, found interpolation 1. Say it yourself: --preprocess",
        "hf://owner/broken/model.onnx": "not valid JSON",
        f"hf://owner/small/model.onnx#sha256={'0' * 64}": "another file than the one asked for",
        "hf://owner/../x.onnx": "names no model on the hub",
    }
    right = {
        f"hf://owner/small@v1/model.onnx#sha256={DIGEST}": "Apache-2.0",
        "hf://owner/beside/onnx/model.onnx": "made",
    }
    made = run(*wrong, *right, code=_ALL)
    assert made.returncode == 0, made.stderr
    said = json.loads(made.stdout)
    assert {name: said[name] for name in right} == right
    assert {name: said[name] for name, text in wrong.items() if text not in said[name]} == {}


def test_a_token_opens_and_is_not_repeated(run: Run, site: Hub) -> None:
    made = run(
        "hf://owner/private/model.onnx",
        "hf://owner/gated/model.onnx",
        code=_ALL.replace(
            "dof.Core.load(name)", "dof.Core.load(name, preprocess='unit', fit='none')"
        ),
        HF_TOKEN=TOKEN,
    )
    assert json.loads(made.stdout)["hf://owner/private/model.onnx"] == "LicenseRef-own-1", (
        made.stdout + made.stderr
    )
    assert "accept the terms" in made.stdout and TOKEN not in made.stdout + made.stderr
    assert {given for host, path, given in site.asked if path.startswith("/store")} == {None}
    assert f"Bearer {TOKEN}" in {given for *_, given in site.asked}


def test_without_a_network(run: Run) -> None:
    offline = run("hf://owner/small/model.onnx", code=_ALL, HF_HUB_OFFLINE="1")
    assert "the hub cannot be reached, and the cache has no copy" in offline.stdout, offline.stderr


def test_a_damaged_copy_in_the_cache_is_noticed(tmp_path: Path) -> None:
    blob, shown = tmp_path / DIGEST, tmp_path / "model.onnx"
    blob.write_bytes(MODEL[:-1] + b"?")
    shown.symlink_to(blob)
    huggingface.check_blob(shown, DIGEST, "hf://owner/small")
    with pytest.raises(
        dof.CoreError, match=f"the copy in the cache is damaged: expected SHA-256 {DIGEST}"
    ):
        huggingface.check_blob(
            shown, hashlib.sha256(blob.read_bytes()).hexdigest(), "hf://owner/small"
        )


@pytest.mark.parametrize(
    "location", ["../x", "/etc/passwd", "a/../../x", "..", "", "a\0b", b"\xff", "a//b", "..\\x"]
)
def test_no_path_of_a_server_leads_out_of_its_folder(location: str) -> None:
    with pytest.raises(dof.CoreError, match="do not lie beside it"):
        huggingface.Repository(name="owner/name").beside("onnx/model.onnx")(location)


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf://owner",
        "hf://owner/name",
        "hf://owner/name/x.bin",
        "hf:owner/n/x.onnx",
        "hf://owner/../x.onnx",
        "hf://owner/name/../x.onnx",
        "hf://o/n@/x.onnx",
        "hf://o/n//x.onnx",
    ],
)
def test_what_names_no_model_is_refused(address: str) -> None:
    with pytest.raises(dof.UsageError, match="names no model on the hub"):
        huggingface.parse(address)


def test_a_revision_may_hold_a_slash() -> None:
    assert huggingface.parse("hf://o/n@refs%2Fpr%2F1/x.onnx")[0].revision == "refs/pr/1"


@pytest.mark.parametrize(
    "card",
    [
        "",
        "# no block",
        "---\n- a list\n---\n",
        "---\nlicense: [mit]\n---\n",
        "---\n: : :\n---\n",
        "---\nlicense: !!python/object/apply:os.system ['false']\n---\n",
    ],
)
def test_cards_that_say_no_licence(card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface.Repository, "text", lambda self, path: card)
    assert huggingface.Repository(name="owner/name").license() is None


def _listed(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder, but what the cache of this program holds."""
    own = folder / "cache" / "dof-arrow"
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.is_relative_to(own)
    }


_TAG, _LINKED, _COMMIT = "ETag", "X-Linked-Etag", "X-Repo-Commit"
_LIES: dict[str, list[dict[str, str]]] = {
    "absolute": [{_TAG: '"{tmp}/planted"'}],
    "absolute-linked": [{_LINKED: '"{tmp}/planted"'}],
    "upwards": [{_TAG: '"../../../../planted"'}],
    "upwards-linked": [{_LINKED: "../../../../planted"}],
    "dots": [{_TAG: '".."'}],
    "hidden": [{_TAG: '".planted"'}],
    "folder": [{_TAG: '"a/b"'}],
    "backslash": [{_TAG: r'"..\..\planted"'}],
    "empty": [{_TAG: '""'}],
    "none": [{_TAG: ""}],
    "long": [{_TAG: f'"{"a" * 129}"'}],
    "longer": [{_LINKED: "a" * 20_000}],
    "nul": [{_TAG: '"a\0b"'}],
    "percent": [{_TAG: '"%2e%2e%2f%2e%2e%2fplanted"'}],
    "escape": [{_TAG: '"a\x1b[2J"'}],
    "second": [{}, {_LINKED: '"{tmp}/planted"'}],
    "commit-absolute": [{_COMMIT: "{tmp}/planted"}],
    "commit-upwards": [{_COMMIT: "../../planted"}],
    "commit-branch": [{_COMMIT: "main"}],
    "commit-upper": [{_COMMIT: "A" * 40}],
    "commit-long": [{_COMMIT: "a" * 41}],
    "commit-none": [{_COMMIT: ""}],
    "commit-second": [{}, {_COMMIT: "f" * 40}],
    "to-file": [{"Location": "file://{tmp}/login"}],
    "to-ftp": [{"Location": "ftp://127.0.0.1/x"}],
    "to-nowhere": [{"Location": "http://[::1/x"}],
    "to-port": [{"Location": "http://127.0.0.1:port/x"}],
    "to-other": [{}, {"Location": "{store}/store/" + hashlib.sha256(CARD).hexdigest()}],
}


_REFUSALS = {
    "to": "^CoreError.*(points to what is no address|could not be fetched"
    "|another file than the one)",
    "commit": "^CoreError.*does not answer as a hub does: expected (a|the) commit",
    "nul": "^Unreachable.*the hub cannot be reached",  # which is a CoreError
}


def _large(name: str) -> bool:
    return name.startswith("to-") or any(_LINKED in lie for lie in _LIES[name])


def _told(name: str, places: dict[str, str]) -> list[dict[str, str]]:
    """The lies of a name, as JSON has them, with the places of this test."""
    text = json.dumps(_LIES[name])
    for mark, place in places.items():
        text = text.replace(mark, place)
    told: list[dict[str, str]] = json.loads(text)
    return told


def test_nothing_that_a_hub_says_becomes_a_path(run: Run, site: Hub, tmp_path: Path) -> None:
    """A lie of each kind; the model is a large file, and the card stands for a small one."""
    (tmp_path / "login").write_text("secret")
    for name in _LIES:
        file = MODEL if _large(name) else CARD
        site.repositories[f"lies/{name}"] = {"model.onnx": file, "card": CARD}
        site.lies[f"lies/{name}"] = _told(name, {"{tmp}": str(tmp_path), "{store}": site.store})
    before = _listed(tmp_path)
    made = run(*(f"hf://lies/{name}/model.onnx" for name in _LIES), code=_ALL)
    assert made.returncode == 0, made.stderr
    said = {address.split("/")[3]: text for address, text in json.loads(made.stdout).items()}
    for name, text in said.items():
        refusal = _REFUSALS.get(
            name.partition("-")[0], "^CoreError.*as a hub does: expected an ETag"
        )
        assert re.search(refusal, text), (name, text)
        assert text.isprintable() and len(text) < 500, (name, text)
    assert _listed(tmp_path) == before
    models = tmp_path / "cache" / "dof-arrow" / "models"
    assert {path.suffix for path in models.iterdir()} == {".txt"}  # which commit the branch is


def test_a_commit_beside_a_refusal_becomes_no_path(run: Run, site: Hub, tmp_path: Path) -> None:
    site.lies["owner/small"] = [{_COMMIT: f"{tmp_path}/planted"}]
    before = _listed(tmp_path)
    made = run("hf://owner/small/none.onnx", f"hf://owner/small@{COMMIT}/none.onnx", code=_ALL)
    said = json.loads(made.stdout)
    assert len(said) == 2
    for address, text in said.items():
        assert text.startswith(f"CoreError {address}: no such file in the repository"), text
    assert _listed(tmp_path) == before


def test_a_login_goes_to_the_hub_alone(run: Run, site: Hub) -> None:
    """Also where the address that the hub points to differs by its port alone."""
    other = Files({"/x": MODEL})
    with other.serving() as elsewhere:
        site.lies["owner/private"] = [{}, {"Location": f"{elsewhere}/x"}, {}]
        made = run("hf://owner/private/model.onnx", code=_UNIT, HF_TOKEN=TOKEN)
    assert "LicenseRef-own-1" in made.stdout, made.stdout + made.stderr
    assert [asked.get("Authorization") for asked in other.asked] == [None]


_UNIT = _ALL.replace("dof.Core.load(name)", "dof.Core.load(name, preprocess='unit', fit='none')")


def test_a_branch_is_known_without_a_network_once_it_was_asked_for(run: Run) -> None:
    address = "hf://owner/small@v1/model.onnx"
    assert json.loads(run(address, code=_ALL).stdout) == {address: "Apache-2.0"}
    assert json.loads(run(address, code=_ALL, HF_HUB_OFFLINE="1").stdout) == {address: "Apache-2.0"}


def test_a_hub_that_is_busy_is_asked_again(run: Run, site: Hub) -> None:
    site.busy = 1
    assert "Apache-2.0" in run("hf://owner/small/model.onnx", code=_ALL).stdout
    site.busy = 99
    assert "found status 503" in run("hf://owner/bare/model.onnx", code=_ALL).stdout


def _shared(home: Path) -> Path:
    """The cache of huggingface_hub with a model, as it keeps one."""
    repository = home / "hub" / "models--owner--small"
    blob, shown, ref = (
        repository / name
        for name in (f"blobs/{DIGEST}", f"snapshots/{COMMIT}/model.onnx", "refs/main")
    )
    for path in (blob, shown, ref):
        path.parent.mkdir(parents=True)
    blob.write_bytes(MODEL)
    shown.symlink_to(f"../../blobs/{DIGEST}")
    ref.write_text(COMMIT)
    for path in (home, *home.rglob("*")):
        path.chmod(0o755)
    return repository


def test_the_cache_of_huggingface_hub_is_read_and_never_written(
    run: Run, site: Hub, tmp_path: Path
) -> None:
    _shared(tmp_path / "home")
    before = _listed(tmp_path)
    for address in ("hf://owner/small/model.onnx", f"hf://owner/small@{COMMIT}/model.onnx"):
        assert json.loads(run(address, code=_UNIT, HF_HUB_OFFLINE="1").stdout) == {address: "made"}
    assert site.asked == []
    assert "Apache-2.0" in run("hf://owner/small/model.onnx", code=_UNIT).stdout
    assert not [path for _, path, _ in site.asked if path.startswith("/store")]
    assert _listed(tmp_path) == before


@pytest.mark.parametrize(
    "part", ["blobs", f"blobs/{DIGEST}", "snapshots", f"snapshots/{COMMIT}", "refs/main"]
)
def test_where_others_can_write_into_that_cache_it_is_not_believed(
    run: Run, site: Hub, tmp_path: Path, part: str
) -> None:
    repository = _shared(tmp_path / "home")
    (repository / part).chmod(0o775)
    address = "hf://owner/small/model.onnx"
    offline = run(address, code=_UNIT, HF_HUB_OFFLINE="1")
    assert "another user may have put this there" in offline.stdout
    made = run("headless", address, "-o", "core.onnx")
    assert made.returncode == 0, made.stderr
    fetched = [path for _, path, _ in site.asked if path.startswith("/store")]
    needed = part != "refs/main"  # what that says the hub says too
    assert (len(fetched), "not taken from the cache under HF_HOME" in made.stderr) == (
        needed,
        needed,
    )


def test_a_planted_cache_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cache" / "dof-arrow").mkdir()
    (tmp_path / "cache" / "dof-arrow").chmod(0o777)
    said = run("hf://owner/small/model.onnx", code=_ALL).stdout
    assert "OutputError" in said and "found mode 0777" in said and "XDG_CACHE_HOME" in said


_ENDLESS = 96 << 20  # bytes, after which the server gives up to be asked to stop
_ROOM = 32 << 20  # for what lies in the buffers of both sides


def _send_endless(handler: Any, piece: bytes, sent: list[int]) -> None:
    """An answer that does not say how long it is; `sent` counts what went out."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    with suppress(OSError):
        while sum(sent) < _ENDLESS:
            handler.wfile.write(piece)
            sent.append(len(piece))


def test_a_listing_without_end_is_not_read_to_its_end(
    run: Run, site: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    names = b'{"type": "file", "path": "x.onnx", "size": 1, "oid": "1"},' * 1000
    monkeypatch.setattr(site, "_api", lambda handler, *_: _send_endless(handler, names, sent))
    said = json.loads(run("hf://owner/bare/none.onnx", code=_ALL).stdout)
    assert "no such file in the repository" in said["hf://owner/bare/none.onnx"]
    assert "Look at the repository's page" in said["hf://owner/bare/none.onnx"]
    assert 0 < sum(sent) < _ROOM


@pytest.mark.parametrize("answer", [b"[1]", b'{"a": 1}', b"[" * 100_000, b"[{}]", b"\xff", b"7"])
def test_a_listing_that_is_none_offers_nothing(
    run: Run, site: Hub, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(site, "_api", lambda handler, *_: handler.send(200, answer))
    said = run("hf://owner/bare/none.onnx", code=_ALL)
    assert "Look at the repository's page" in said.stdout, said.stdout + said.stderr


def test_of_many_models_some_are_offered(run: Run, site: Hub) -> None:
    site.repositories["owner/many"] = {f"{number:02}.onnx": MODEL for number in range(12)}
    said = run("hf://owner/many/none.onnx", "hf://owner/many@v1/none.onnx", code=_ALL).stdout
    assert said.count("Its models are 00.onnx, 01.onnx") == 2
    assert said.count("09.onnx and more.") == 2


def test_of_a_large_model_card_only_the_size_is_asked(run: Run, site: Hub, tmp_path: Path) -> None:
    card = CARD + b"x" * (1 << 20)
    site.repositories["owner/small"]["README.md"] = card
    address = "hf://owner/small/model.onnx"
    assert json.loads(run(address, code=_UNIT).stdout) == {address: "made"}
    kept = (tmp_path / "cache" / "dof-arrow" / "models").iterdir()
    assert all(path.stat().st_size < 1 << 20 for path in kept)
    digest = hashlib.sha256(card).hexdigest()
    assert not [path for _, path, _ in site.asked if digest in path]


def test_a_model_card_without_end_is_not_read_to_its_end(
    run: Run, site: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the hub said that it is small."""
    sent: list[int] = []
    digest = hashlib.sha256(CARD).hexdigest()
    site.repositories["owner/bare"]["README.md"] = CARD
    told = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(CARD))}
    real = site.answer

    def answer(handler: Any) -> None:
        if handler.path.startswith("/store/endless"):
            _send_endless(handler, bytes(1 << 16), sent)
        elif handler.path.endswith("README.md"):
            place = f"{site.store}/store/endless"
            handler.send(302, b"", {"X-Repo-Commit": COMMIT, "Location": place, **told})
        else:
            real(handler)

    monkeypatch.setattr(site, "answer", answer)
    address = "hf://owner/bare/sub/net.onnx"
    assert json.loads(run(address, code=_UNIT).stdout) == {address: "made"}
    assert 0 < sum(sent) < _ROOM


@pytest.mark.parametrize("revision", ["%2Fetc%2Fpasswd", "..%2F..%2Fx", "%2e%2e", "a%00b"])
def test_a_revision_is_no_path_either(revision: str) -> None:
    with pytest.raises(dof.UsageError, match="names no revision"):
        huggingface.parse(f"hf://o/n@{revision}/x.onnx")
