"""Extraction to a store: as on the disk, byte for byte; a failed upload leaves the old dataset whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dof_arrow as dof
from dof_arrow.cli.main import main
from dof_arrow.errors import OutputError, UsageError
from dof_arrow.extraction.extract import planned
from tests.extraction.test_append import extract, pictures
from tests.support.scenarios import core
from tests.support.stores import Bucket


@pytest.fixture
def state(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where outputs wait to be put on a store."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "dof-arrow" / "uploads"


def waiting(state: Path) -> list[str]:
    return [path.name for path in state.rglob("*") if path.is_file()]


def failing(monkeypatch: pytest.MonkeyPatch, ending: str, *, comes: bool = False) -> list[str]:
    """Let what is put under such a name fail, having come or not; the list counts these."""
    import obstore

    put, failed = obstore.put, list[str]()

    def broken(store: Any, key: str, *given: Any, **options: Any) -> Any:
        if not key.endswith(ending) or failed:
            return put(store, key, *given, **options)
        failed.append(key)
        if comes:
            put(store, key, *given, **options)
        raise obstore.exceptions.GenericError("503 at https://x?signature=secret")

    monkeypatch.setattr(obstore, "put", broken)
    return failed


def test_a_file_is_as_on_the_disk(tmp_path: Path, bucket: Bucket, state: Path) -> None:
    source = pictures(tmp_path / "a", 5, 1)
    near, afar = tmp_path / "x.dof.parquet", f"{bucket.address}/deep/x.dof.parquet"
    extract(source, near)
    assert len(extract(source, afar)) == 5
    assert bucket.get("deep/x.dof.parquet") == near.read_bytes() and waiting(state) == []
    run = planned(source, core=core(), out=afar, id_key=bytes(32), workers=1)
    assert run.is_done() and len(run.run()) == 5
    (source / "1-0.ppm").write_bytes(b"P6 8 8 255 " + bytes(192))
    with pytest.raises(OutputError, match="exists already"):
        extract(source, afar)
    assert bucket.get("deep/x.dof.parquet") == near.read_bytes()


@pytest.mark.parametrize("name", ["x.dof", "folder/"])
def test_row_d15_a_directory_grows_as_on_the_disk(
    tmp_path: Path, bucket: Bucket, state: Path, name: str
) -> None:
    one, two = pictures(tmp_path / "a", 5, 1), pictures(tmp_path / "b", 3, 2)
    (two / "broken.ppm").write_bytes(b"P6")
    near, afar = tmp_path / "x.dof", f"{bucket.address}/{name}"
    extract(one, near)
    extract(one, afar)
    for path in one.iterdir():
        (two / path.name).write_bytes(path.read_bytes())
    run = planned(two, core=core(), out=afar, id_key=bytes(32), workers=1)
    assert (len(run.source), run.standing.rows) == (4, 5)
    ds = run.run()
    extract(two, near)
    kept = {path.name: path.read_bytes() for path in near.iterdir()}
    assert {key.split("/")[1]: bucket.get(key) for key in bucket.listed()} == kept
    seen = [row for batch in ds.loader(batch_size=3, shuffle=True) for row in batch.tolist()]
    assert sorted(seen) == sorted(dof.open(near).to_numpy().tolist())
    again = planned(two, core=core(), out=afar, id_key=bytes(32), workers=1)
    assert again.nothing_new and len(again.run()) == 8 and waiting(state) == []


@pytest.mark.parametrize("ending", ["manifest.parquet", "data-000001.parquet"])
def test_a_failed_upload_leaves_the_old_dataset_and_is_repeated_alone(
    tmp_path: Path,
    bucket: Bucket,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    from dof_arrow.extraction import local_engine

    one, two = pictures(tmp_path / "a", 5, 1), pictures(tmp_path / "b", 3, 2)
    afar = f"{bucket.address}/x.dof"
    extract(one, afar)
    before = {key: bucket.get(key) for key in bucket.listed()}
    failed = failing(monkeypatch, ending)
    with pytest.raises(OutputError, match="cannot be put on the store") as caught:
        extract(two, afar)
    assert "secret" not in str(caught.value) and len(failed) == 1
    assert {key: bucket.get(key) for key in bucket.listed()} == before
    assert waiting(state) == [".x.dof.part.parquet"]
    monkeypatch.setattr(local_engine, "compute", None)
    assert len(extract(two, afar)) == 8 and waiting(state) == []


def test_a_manifest_that_came_without_an_answer(
    tmp_path: Path, bucket: Bucket, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    afar = f"{bucket.address}/x.dof"
    extract(pictures(tmp_path / "a", 5, 1), afar)
    assert failing(monkeypatch, "manifest.parquet", comes=True) == []
    ds = extract(pictures(tmp_path / "b", 3, 2), afar)
    assert len(ds) == 8 and len(ds.to_numpy()) == 8


def test_of_two_who_write_one_is_refused(
    tmp_path: Path, bucket: Bucket, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dof_arrow.format import store_growth

    afar = f"{bucket.address}/x.dof"
    extract(pictures(tmp_path / "a", 5, 1), afar)
    put = store_growth._put

    def later(*given: Any) -> None:
        monkeypatch.setattr(store_growth, "_put", put)
        dof.append(afar, extract(pictures(tmp_path / "b", 3, 2), tmp_path / "b.parquet").path)
        put(*given)

    monkeypatch.setattr(store_growth, "_put", later)
    with pytest.raises(OutputError, match=r"exists already|another process"):
        extract(pictures(tmp_path / "c", 2, 3), afar)
    assert len(dof.open(afar).to_numpy()) == 8


def test_what_a_killed_upload_left_is_not_written_over(
    tmp_path: Path, bucket: Bucket, state: Path
) -> None:
    bucket.put("x.dof/data-000004.parquet", b"left")
    extract(pictures(tmp_path / "a", 5, 1), f"{bucket.address}/x.dof")
    assert bucket.get("x.dof/data-000004.parquet") == b"left"
    assert bucket.listed()[1] == "x.dof/data-000005.parquet"


def test_parts_are_added_dropped_and_joined_as_on_the_disk(
    tmp_path: Path, bucket: Bucket, state: Path
) -> None:
    near, afar = tmp_path / "x.dof", f"{bucket.address}/x.dof"
    for out in (near, afar):
        for number in range(3):
            part = tmp_path / f"{number}.parquet"
            if not part.exists():
                extract(pictures(tmp_path / str(number), 4, number), part)
            assert main(["append", str(out), str(part)]) == 0
        assert main(["drop", str(out), "data-000001.parquet"]) == 0
        name = tmp_path / "ids.txt"
        name.write_text(dof.open(near)[0]["id"] if out == near else name.read_text())
        assert main(["drop", str(out), "--ids", str(name)]) == 0
        assert main(["compact", str(out)]) == 0
    kept = {path.name: path.read_bytes() for path in near.iterdir()}
    assert {key.split("/")[1]: bucket.get(key) for key in bucket.listed()} == kept
    assert len(dof.open(afar)) == 7
    with pytest.raises(UsageError, match="no such parts"):
        dof.drop(afar, parts=["data-000000.parquet"])


def test_a_part_that_is_missing_is_told(tmp_path: Path, bucket: Bucket, state: Path) -> None:
    import obstore

    afar = f"{bucket.address}/x.dof"
    extract(pictures(tmp_path / "a", 2, 1), afar)
    obstore.delete(bucket.store, "x.dof/data-000000.parquet")
    extract(pictures(tmp_path / "b", 2, 2), tmp_path / "b.parquet")
    with pytest.raises(dof.errors.FormatError, match="missing"):
        dof.append(afar, tmp_path / "b.parquet")


def test_commands_extract_to_stores(
    tmp_path: Path, bucket: Bucket, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = pictures(tmp_path / "a", 3, 1)
    given = ["extract", str(source), "--core", "builtin", "--pool", "1x1"]
    key = ["--id-key", str(tmp_path / "key")]
    afar = f"{bucket.address}/x.dof.parquet"
    assert main([*given, *key, "-o", afar, "--dry-run"]) == 0 and bucket.listed() == []
    assert main([*given, *key, "-o", afar]) == 0
    assert main([*given, *key, "-o", afar]) == 0
    told = capsys.readouterr()
    assert f"{afar}: 3 rows" in told.out and "nothing to do" in told.err
    assert main([*given, *key, "-o", "https://example.org/x.dof.parquet"]) == 2
    assert len(dof.open(afar).to_numpy()) == 3
