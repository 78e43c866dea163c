"""Datasets pushed to stores, filesystems and folders, and pulled from there (row D18)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

import dof_arrow as dof
from dof_arrow.cli.main import main
from dof_arrow.errors import FormatError, OutputError, SourceError, UsageError
from dof_arrow.publish.store_folder import StoreFolder
from dof_arrow.rewrite import repair
from tests.support import published
from tests.support.pictures import folder_of
from tests.support.range_server import RangeServer
from tests.support.stores import Bucket

DATA = [f"{name}-00000-of-00001.parquet" for name in ("train", "validation", "test", "site_A")]
NAMES = [*DATA, "croissant.json", "README.md", "SHA256SUMS"]


def test_row_d18_what_is_pulled_is_what_was_pushed(
    dataset: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    done = dof.push(dataset, f"{bucket.address}/rows")
    assert bucket.listed() == sorted(f"rows/{name}" for name in NAMES)
    assert list(done.sent) == NAMES and not done.public
    back = dof.pull(f"{bucket.address}/rows", tmp_path / "back.dof.parquet")
    assert back.to_arrow().equals(dof.open(dataset).to_arrow())
    assert list(dof.push(dataset, f"{bucket.address}/rows").sent) == []


def test_a_push_that_stopped_goes_on(
    dataset: Path, bucket: Bucket, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = StoreFolder.put
    left = iter(range(3))

    def stop(self: StoreFolder, file: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        put(self, file)

    with monkeypatch.context() as patch:
        patch.setattr(StoreFolder, "put", stop)
        with pytest.raises(KeyboardInterrupt):
            dof.push(dataset, f"{bucket.address}/rows")
    assert bucket.listed() == sorted(f"rows/{name}" for name in DATA[:3])
    with pytest.raises(UsageError, match="nothing was published there"):
        dof.pull(f"{bucket.address}/rows", dataset.with_name("y.dof.parquet"))
    assert list(dof.push(dataset, f"{bucket.address}/rows").sent) == NAMES[3:]


def _local(folder: Path) -> tuple[str, Any]:
    return str(folder), pyarrow.fs.LocalFileSystem()


def _fsspec(folder: Path) -> tuple[str, Any]:
    import fsspec

    return str(folder), fsspec.filesystem("file")


@pytest.mark.parametrize("make", [_local, _fsspec])
def test_filesystems_of_the_user(
    dataset: Path, tmp_path: Path, make: Callable[[Path], tuple[str, Any]]
) -> None:
    path, system = make(tmp_path / "a" / "b")
    dof.push(dataset, path, filesystem=system)
    assert sorted(each.name for each in (tmp_path / "a" / "b").iterdir()) == sorted(NAMES)
    back = dof.pull(path, tmp_path / "back.dof.parquet", filesystem=system)
    assert back.to_arrow().equals(dof.open(dataset).to_arrow())


def test_equal_datasets_give_equal_bytes(dataset: Path, tmp_path: Path) -> None:
    other = published.write(tmp_path / "other.dof.parquet")
    dof.push(dataset, tmp_path / "a")
    dof.push(other, tmp_path / "b")
    for name in NAMES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_no_path_of_this_machine_is_published(dataset: Path, tmp_path: Path) -> None:
    dof.push(dataset, tmp_path / "a")
    for name in NAMES:
        assert str(tmp_path).encode() not in (tmp_path / "a" / name).read_bytes()


def test_nothing_that_stands_there_is_replaced(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    dof.push(dataset, folder)
    dof.edit(dataset, set={"title": "Another"})
    with pytest.raises(OutputError, match="another dataset stands there"):
        dof.push(dataset, folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(OutputError, match=r"README\.md: another file stands there|another file"):
        dof.push(dataset, folder)


def test_what_a_store_damages_is_seen(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(source: Any, out: Any, length: int) -> None:
        data = bytearray(source.read())
        data[-1] ^= 1
        out.write(bytes(data))

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    with pytest.raises(OutputError, match="other bytes than were sent"):
        dof.push(dataset, tmp_path / "a")


def test_a_folder_behind_a_web_server(dataset: Path, tmp_path: Path) -> None:
    dof.push(dataset, tmp_path / "a", layout="mapped")
    files = {f"/a/{path.name}": path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with RangeServer(files).serving() as address:
        back = dof.pull(f"{address}/a", tmp_path / "back.dof.parquet")
        assert back.to_arrow().equals(dof.open(dataset).to_arrow())


def test_rows_without_a_split_and_odd_names(tmp_path: Path) -> None:
    rows = 12
    names = ["train", "all", "Site-A", "site a", None, "VAL"] * 2
    with dof.Writer(tmp_path / "x.dof.parquet", {"record": {"split": "split"}}) as writer:
        writer.write(
            ids=[f"r{i:02d}" for i in range(rows)],
            vectors={"feature": published.making.vectors(rows, 4)},
            columns={"split": names},
        )
    done = dof.push(tmp_path / "x.dof.parquet", tmp_path / "a")
    data = [file.name.partition("-")[0] for file in done.files if file.name.endswith("parquet")]
    assert data == ["train", "validation", "Site_A", "all_2", "site_a_2", "unsplit"]
    back = dof.pull(tmp_path / "a", tmp_path / "y.dof.parquet")
    assert published.rows_of(back) == published.rows_of(dof.open(tmp_path / "x.dof.parquet"))


def test_a_dataset_without_splits_is_one_file(tmp_path: Path) -> None:
    with dof.Writer(tmp_path / "x.dof.parquet") as writer:
        writer.write(ids=["b", "a"], vectors={"feature": published.making.vectors(2, 4)})
    done = dof.push(tmp_path / "x.dof.parquet", tmp_path / "a")
    assert done.files[0].name == "data-00000-of-00001.parquet"
    back = dof.pull(tmp_path / "a", tmp_path / "y.dof.parquet", layout="compact")
    assert back["id"].tolist() == ["b", "a"]  # no order of pseudonyms: as they were
    assert back.metadata.columns["feature"].layout == "encoded"


def test_a_directory_and_chosen_rows(dataset: Path, tmp_path: Path) -> None:
    ds = dof.open(dataset)
    dof.save(ds, tmp_path / "x.dof")
    dof.push(tmp_path / "x.dof", tmp_path / "a")
    back = dof.pull(tmp_path / "a", tmp_path / "y.dof.parquet")
    assert published.rows_of(back) == published.rows_of(ds)
    dof.push(ds[5:20], tmp_path / "b")
    back = dof.pull(tmp_path / "b", tmp_path / "z.dof.parquet")
    assert published.rows_of(back) == published.rows_of(ds[5:20])


def test_cores_are_published_with_their_licence(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    pictures = folder_of(tmp_path / "pictures", 3)
    path = tmp_path / "x.dof.parquet"
    ds = dof.extract(pictures, core="builtin", out=path)
    (about,) = ds.metadata.cores.values()
    done = dof.push(path, tmp_path / "a", with_core=True)
    name = next(file.name for file in done.files if file.name.endswith(".onnx"))
    data = (tmp_path / "a" / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == about.sha256
    licence = (tmp_path / "a" / name.replace(".onnx", ".license.txt")).read_text()
    assert licence.startswith(f"SPDX-License-Identifier: {about.license}\n")
    (tmp_path / "got").mkdir()
    dof.pull(tmp_path / "a", tmp_path / "got" / "y.dof.parquet", with_core=True)
    kept = tmp_path / "got" / "cores" / name.rpartition("/")[2]
    assert kept.read_bytes() == data
    again = dof.pull(
        tmp_path / "a", tmp_path / "got" / "y.dof.parquet", with_core=True, overwrite=True
    )
    assert published.rows_of(again) == published.rows_of(ds)


def test_a_core_of_another_dataset_is_not_taken(tmp_path: Path, dataset: Path) -> None:
    dof.push(dataset, tmp_path / "a")
    (tmp_path / "a" / "core").mkdir()
    (tmp_path / "a" / "core" / "x.onnx").write_bytes(b"model")
    with (tmp_path / "a" / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(b'model').hexdigest()}  core/x.onnx\n")
    with pytest.raises(SourceError, match="a core that the dataset does not name"):
        dof.pull(tmp_path / "a", tmp_path / "y.dof.parquet", with_core=True)
    assert not (tmp_path / "cores").exists()


def test_a_core_that_is_not_found(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no core"):
        dof.push(dataset, tmp_path / "a", with_core=True)
    assert not (tmp_path / "a").exists()


def test_what_is_not_published(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to publish"):
        dof.push(dof.open(dataset)[:0], tmp_path / "a")
    part = {"provenance": {"partition": {"index": 1, "of": 2, "run": "0" * 64}}}
    with dof.Writer(tmp_path / "p.dof.parquet", part) as writer:
        writer.write(ids=["a"], vectors={"feature": published.making.vectors(1, 4)})
    with pytest.raises(UsageError, match=r"partition 1 of 2.*dof merge"):
        dof.push(tmp_path / "p.dof.parquet", tmp_path / "a")
    data = bytearray(dataset.read_bytes())
    data[200] ^= 1
    dataset.write_bytes(bytes(data))
    with pytest.raises(FormatError):
        dof.push(dataset, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "line",
    [
        "0" * 64 + "  ../x.parquet",
        "0" * 64 + "  /etc/passwd",
        "0" * 64 + "  core/../../x.onnx",
        "nothing",
        "0" * 64 + "  README.md",
    ],
)
def test_a_list_that_leads_elsewhere_is_refused(dataset: Path, tmp_path: Path, line: str) -> None:
    dof.push(dataset, tmp_path / "a")
    sums = tmp_path / "a" / "SHA256SUMS"
    sums.write_text(sums.read_text() + line + "\n")
    with pytest.raises(FormatError, match="no list of published files"):
        dof.pull(tmp_path / "a", tmp_path / "y.dof.parquet")


def test_files_of_two_datasets_are_not_joined(dataset: Path, tmp_path: Path) -> None:
    dof.push(dataset, tmp_path / "a")
    dof.edit(dataset, set={"title": "Another"})
    dof.push(dataset, tmp_path / "b")
    shutil.copy(tmp_path / "b" / DATA[1], tmp_path / "a" / DATA[1])
    sums = (tmp_path / "a" / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256((tmp_path / "a" / DATA[1]).read_bytes()).hexdigest()
    sums[1] = f"{digest}  {DATA[1]}"
    (tmp_path / "a" / "SHA256SUMS").write_text("\n".join(sums))
    with pytest.raises(FormatError, match="not of one dataset"):
        dof.pull(tmp_path / "a", tmp_path / "y.dof.parquet")


def test_what_a_stopped_pull_left_is_told(dataset: Path, tmp_path: Path) -> None:
    dof.push(dataset, tmp_path / "a")
    (tmp_path / "a" / DATA[2]).write_bytes(b"PAR1")
    with pytest.raises(SourceError):
        dof.pull(tmp_path / "a", tmp_path / "y.dof.parquet")
    left = repair.find(tmp_path / "y.dof.parquet")
    assert [each.what for each in left] == ["files that were fetched; the same command goes on"]
    repair.discard(left)
    assert not list(tmp_path.glob(".y*"))


def test_commands(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "card.html").write_text("<!doctype html><title>card</title>")
    card = ["--card", str(tmp_path / "card.html")]
    assert main(["push", str(dataset), str(tmp_path / "a"), "--json", *card]) == 0
    told = json.loads(capsys.readouterr().out)
    last = ["croissant.json", "card.html", "README.md", "SHA256SUMS"]
    assert [file["name"] for file in told["files"]] == [*DATA, *last]
    assert main(["push", str(dataset), str(tmp_path / "a"), *card]) == 0
    assert "complete and unchanged" in capsys.readouterr().out
    out = str(tmp_path / "y.dof.parquet")
    assert main(["pull", str(tmp_path / "a"), "-o", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == published.ROWS
    assert main(["pull", str(tmp_path / "a"), "-o", out]) == 2
    assert main(["pull", str(tmp_path / "a"), "-o", out, "--overwrite", "-q"]) == 0
    assert main(["pull", str(tmp_path / "none"), "-o", out, "--overwrite"]) == 2
    assert "nothing was published there" in capsys.readouterr().err


def test_a_dataset_afar_is_pushed_from_there(
    dataset: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    address = bucket.put("x.dof.parquet", dataset.read_bytes())
    dof.push(address, tmp_path / "a")
    dof.push(dataset, tmp_path / "b")
    for name in NAMES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
