"""A dataset pushed to a hub that speaks the protocol, and pulled from it (row D18)."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import dof_arrow as dof
from dof_arrow.cli.main import main
from dof_arrow.errors import OutputError, SourceError, UsageError
from dof_arrow.publish.published_files import listed
from tests.support import published
from tests.support.hub_server import HubServer, Repository
from tests.support.making import ROOT
from tests.support.servers import TOKEN

NAME = "lab/rows"
ADDRESS = f"hf://{NAME}"
DATA = ["train", "validation", "test", "site_A"]


def files(hub: HubServer) -> dict[str, bytes]:
    return hub.repositories[NAME].files()


def test_a_push_makes_a_private_repository_with_all_files(dataset: Path, hub: HubServer) -> None:
    done = dof.push(dataset, ADDRESS)
    assert hub.repositories[NAME].private and not done.public
    found = files(hub)
    sums = listed(found["SHA256SUMS"], "x")
    assert list(sums)[:4] == [f"{name}-00000-of-00001.parquet" for name in DATA]
    assert set(found) == {*sums, "SHA256SUMS", ".gitattributes"}
    for name, sha256 in sums.items():
        assert hashlib.sha256(found[name]).hexdigest() == sha256
    assert list(done.sent) == [*sums, "SHA256SUMS"]
    assert done.commit == hub.repositories[NAME].head


def test_repeated_there_is_nothing_to_do(dataset: Path, hub: HubServer) -> None:
    first = dof.push(dataset, ADDRESS)
    sent = len(hub.uploads)
    again = dof.push(dataset, ADDRESS)
    assert list(again.sent) == [] and again.commit == first.commit
    assert len(hub.uploads) == sent == len(DATA)


def test_row_d18_a_push_killed_midway_and_repeated_ends_whole(
    dataset: Path, hub: HubServer, tmp_path: Path
) -> None:
    first, go_on = threading.Event(), threading.Event()

    def pause(digest: str) -> None:
        if hub.stored:  # the first file is kept; the second one never arrives
            first.set()
            go_on.wait(60)

    hub.pause = pause
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN}
    command = [sys.executable, "-m", "dof_arrow", "push", str(dataset), ADDRESS]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    assert first.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert set(files(hub)) == {".gitattributes"}  # nobody sees half of it
    kept = set(hub.stored)
    assert len(kept) == 1
    hub.pause = lambda digest: None
    go_on.set()
    hub.asked.clear()
    done = dof.push(dataset, ADDRESS)
    assert not kept & set(hub.uploads)  # what had arrived is not sent again
    assert len(done.sent) == len(done.files)
    back = dof.pull(ADDRESS, tmp_path / "back.dof.parquet")
    assert published.rows_of(back) == published.rows_of(dof.open(dataset))


def test_what_is_pulled_is_what_was_pushed(dataset: Path, hub: HubServer, tmp_path: Path) -> None:
    dof.push(dataset, ADDRESS)
    before = dof.open(dataset)
    back = dof.pull(f"hf://datasets/{NAME}", tmp_path / "back.dof.parquet")
    assert back.to_arrow().equals(before.to_arrow())
    assert back.errors == before.errors and back.document("protocol.txt") == b"how"
    assert back.metadata.uuid == before.metadata.uuid
    assert back.metadata.provenance.inputs == published.ROWS + 1
    assert dof.validate(tmp_path / "back.dof.parquet", deep=True) == []
    assert not list(tmp_path.glob(".back*"))


def test_a_file_of_the_repository_is_read_where_it_lies(dataset: Path, hub: HubServer) -> None:
    dof.push(dataset, ADDRESS)
    ds = dof.open(f"hf://datasets/{NAME}/test-00000-of-00001.parquet")
    assert published.rows_of(ds) == published.rows_of(dof.open(dataset).split("test"))


def test_the_hub_answers_with_an_error_and_the_push_goes_on_later(
    dataset: Path, hub: HubServer
) -> None:
    hub.faults = [400]
    with pytest.raises(OutputError, match=r"Repeat the command") as raised:
        dof.push(dataset, ADDRESS)
    assert TOKEN not in str(raised.value) and hub.address not in str(raised.value)
    assert len(dof.push(dataset, ADDRESS).sent) == 7


def test_what_the_hub_damages_is_seen(dataset: Path, hub: HubServer) -> None:
    hub.damages = True
    with pytest.raises(OutputError, match=r"other files than were sent.*train-00000"):
        dof.push(dataset, ADDRESS)


def test_what_a_gitignore_leaves_out_is_seen(dataset: Path, hub: HubServer) -> None:
    made = Repository(private=True)
    made.commit({".gitignore": b"croissant.json\n"})
    hub.repositories[NAME] = made
    with pytest.raises(OutputError, match=r"found croissant\.json.*gitignore"):
        dof.push(dataset, ADDRESS)


def test_a_public_repository_is_refused_unless_meant(dataset: Path, hub: HubServer) -> None:
    made = Repository(private=False)
    made.commit({})
    hub.repositories[NAME] = made
    with pytest.raises(UsageError, match=r"everybody may read this repository.*--public"):
        dof.push(dataset, ADDRESS)
    assert made.files() == {}
    assert dof.push(dataset, ADDRESS, public=True).public


def test_public_comes_last_and_says_whether_it_was_audited(
    dataset: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults = [400]
    assert main(["push", str(dataset), ADDRESS, "--public"]) == 2
    assert hub.repositories[NAME].private  # as long as not all is there
    assert main(["push", str(dataset), ADDRESS, "--public"]) == 0
    assert not hub.repositories[NAME].private
    told = capsys.readouterr().out
    assert "audit: not audited" in told and "for everybody to read" in told


def test_public_asks_for_licence_and_contact(hub: HubServer, tmp_path: Path) -> None:
    said = published.about(info={"title": "x", "contacts": [{"name": "A"}]})
    path = published.write(tmp_path / "x.dof.parquet", said=said)
    with pytest.raises(UsageError, match="without a licence and a contact") as raised:
        dof.push(path, ADDRESS, public=True)
    assert "dof edit" in str(raised.value) and "--contact" in str(raised.value)
    assert hub.asked == []
    info = {"license": "MIT", "contacts": [published.CONTACT]}
    dof.edit(path, info=info)
    assert dof.push(path, ADDRESS, public=True).public


def test_without_a_token_the_hub_refuses(
    dataset: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(OutputError, match="hf auth login") as raised:
        dof.push(dataset, ADDRESS)
    assert "hf_another" not in str(raised.value)
    with pytest.raises(UsageError, match="no such repository"):
        dof.pull(ADDRESS, dataset.with_name("y.dof.parquet"))


def test_a_new_version_takes_away_what_is_not_in_it(
    dataset: Path, hub: HubServer, tmp_path: Path
) -> None:
    dof.push(dataset, ADDRESS)
    dof.save(dof.open(dataset).split("train"), tmp_path / "train.dof.parquet")
    dof.push(tmp_path / "train.dof.parquet", ADDRESS)
    assert [name for name in files(hub) if name.endswith(".parquet")] == [
        "train-00000-of-00001.parquet"
    ]


def test_a_readme_of_somebody_else_is_not_replaced(dataset: Path, hub: HubServer) -> None:
    dof.push(dataset, ADDRESS)
    files(hub)["README.md"] += b"A sentence of the owner's.\n"
    dof.edit(dataset, set={"title": "Another title"})
    with pytest.raises(OutputError, match=r"README\.md there is not as a push wrote it"):
        dof.push(dataset, ADDRESS)


def test_a_pull_refuses_what_its_list_does_not_say(
    dataset: Path, hub: HubServer, tmp_path: Path
) -> None:
    dof.push(dataset, ADDRESS)
    found = files(hub)
    name = "test-00000-of-00001.parquet"
    found[name] = found[name][:-20] + bytes(20)
    with pytest.raises(SourceError, match=rf"{name}.*not the one that was published"):
        dof.pull(ADDRESS, tmp_path / "y.dof.parquet")
    assert not (tmp_path / "y.dof.parquet").exists()


def test_a_pull_that_stopped_goes_on(dataset: Path, hub: HubServer, tmp_path: Path) -> None:
    dof.push(dataset, ADDRESS)
    found = files(hub)
    name = "test-00000-of-00001.parquet"
    good = found[name]
    found[name] = b"PAR1"
    with pytest.raises(SourceError):
        dof.pull(ADDRESS, tmp_path / "y.dof.parquet")
    waiting = tmp_path / ".y.dof.parquet.pull"
    assert len(list(waiting.iterdir())) == 2  # train and validation came
    (waiting / f"{hashlib.sha256(good).hexdigest()}.part").write_bytes(good[:100])
    found[name] = good
    hub.asked.clear()
    back = dof.pull(ADDRESS, tmp_path / "y.dof.parquet")
    assert len(back) == published.ROWS and not waiting.exists()
    given = {path.rpartition("/")[2] for _, path in hub.asked if "/resolve/" in path}
    assert given == {"SHA256SUMS", name, "site_A-00000-of-00001.parquet"}


def test_a_beginning_of_something_else_is_fetched_anew(
    dataset: Path, hub: HubServer, tmp_path: Path
) -> None:
    dof.push(dataset, ADDRESS)
    waiting = tmp_path / ".y.dof.parquet.pull"
    waiting.mkdir(mode=0o700)
    for name, sha256 in listed(files(hub)["SHA256SUMS"], "x").items():
        if name.startswith("test"):
            (waiting / f"{sha256}.part").write_bytes(b"something else")
    assert len(dof.pull(ADDRESS, tmp_path / "y.dof.parquet")) == published.ROWS


def test_what_names_no_repository(dataset: Path) -> None:
    for address in ("hf://lab", "hf://lab/rows/x.parquet", "https://example.org/x"):
        with pytest.raises(UsageError):
            dof.push(dataset, address)


def test_a_dry_run_asks_nobody(
    dataset: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(dataset), ADDRESS, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["audit"] == "not audited" and hub.asked == []
    assert set(told["texts"]) == {"README.md", "croissant.json"}
    assert not any(file["sent"] for file in told["files"])


def test_a_hub_that_cannot_be_reached(
    dataset: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OutputError, match="the hub cannot be reached"):
        dof.push(dataset, ADDRESS)


def test_ids_that_are_names_are_told(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = published.about(privacy={"ids": "name"})
    path = published.write(tmp_path / "x.dof.parquet", said=said)
    assert main(["push", str(path), ADDRESS]) == 0
    assert "the ids are no pseudonyms" in capsys.readouterr().err


def test_xet_is_off_while_pushing_and_as_before_afterwards(
    dataset: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants
    from huggingface_hub.utils._runtime import is_xet_available

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    seen = []
    hub.pause = lambda digest: seen.append(is_xet_available())
    dof.push(dataset, ADDRESS)
    assert seen == [False] * len(DATA) and constants.HF_HUB_DISABLE_XET is False


def test_datasets_loads_it_from_the_hub_split_by_split(
    dataset: Path, hub: HubServer, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    dof.push(dataset, ADDRESS)
    code = (
        "import datasets, json, sys\n"
        "found = datasets.load_dataset(sys.argv[1])\n"
        "print(json.dumps({name: rows['id'][:] for name, rows in found.items()}))\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code, NAME], env=environment, capture_output=True, check=True
    )
    ds = dof.open(dataset)
    splits = zip(DATA, published.SPLITS, strict=True)
    assert json.loads(done.stdout) == {
        name: ds.split(split)["id"].tolist() for name, split in splits
    }
