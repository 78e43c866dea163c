"""Datasets on a store through the commands, and directories of several files there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as tables
import pytest
from pyarrow.fs import S3FileSystem

from dof_arrow.cli.main import main
from dof_arrow.dataset import dataset
from dof_arrow.errors import FormatError, OutputError, UsageError
from dof_arrow.format.append import append
from dof_arrow.format.validation.validate import validate
from dof_arrow.rewrite.convert import Layout, convert
from dof_arrow.rewrite.merge import merge
from dof_arrow.tables import gather
from tests.support import making
from tests.support.range_server import RangeServer
from tests.support.stores import Bucket

ROWS = 96
VECTORS = making.vectors(ROWS, 64)


def write(path: Path, start: int, stop: int) -> Path:
    """A file of some of the rows."""
    from dof_arrow.format.writer import Writer

    with Writer(path) as writer:
        writer.write(
            ids=making.ids(ROWS)[start:stop],
            vectors={"feature": VECTORS[start:stop]},
            columns={"row": np.arange(start, stop, dtype="i4")},
        )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parts = [write(tmp_path / f"{start}.parquet", start, start + 32) for start in (0, 32, 64)]
    append(tmp_path / "set.dof", *parts)
    return tmp_path / "set.dof"


@pytest.fixture
def server(folder: Path, cache: Path) -> Iterator[RangeServer]:
    files = {f"/set.dof/{path.name}": path.read_bytes() for path in folder.iterdir()}
    made = RangeServer({**files, "/one.parquet": (folder.parent / "0.parquet").read_bytes()})
    with made.serving() as address:
        made.address = address
        yield made


def test_a_directory_is_opened_by_its_manifest(server: RangeServer) -> None:
    ds = dataset.open(f"{server.address}/set.dof?token=secret")
    assert len(ds) == ROWS
    assert {path.partition("?")[0] for path, _, _ in server.requests} == {
        "/set.dof/manifest.parquet"
    }
    server.forget()
    assert np.array_equal(ds[40:42].to_numpy(), VECTORS[40:42])
    assert {path for path, _, _ in server.requests} == {"/set.dof/data-000001.parquet?token=secret"}


def test_a_directory_is_as_on_the_disk(server: RangeServer, folder: Path) -> None:
    afar, near = dataset.open(f"{server.address}/set.dof"), dataset.open(folder)
    assert afar.to_arrow().equals(near.to_arrow()) and afar.size == near.size
    rows = [90, 3, 40, 3]
    assert np.array_equal(afar.take(rows).to_numpy(), VECTORS[rows])
    assert np.array_equal(afar.to_numpy("row"), np.arange(ROWS))


@pytest.mark.parametrize("most", [0, 1 << 30])
def test_an_epoch_of_a_directory(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", most)
    loader = dataset.open(f"{server.address}/set.dof").loader(
        shuffle=True, columns=["row"], batch_size=10
    )
    seen = []
    for x, columns in loader:
        assert np.array_equal(x, VECTORS[columns["row"]])
        seen += columns["row"].tolist()
    assert sorted(seen) == list(range(ROWS))


@pytest.fixture
def many(tmp_path: Path, cache: Path) -> Iterator[RangeServer]:
    """A directory of eight parts, far away."""
    starts = range(0, ROWS, ROWS // 8)
    parts = [write(tmp_path / f"{start}.parquet", start, start + ROWS // 8) for start in starts]
    append(tmp_path / "many.dof", *parts)
    files = {f"/many.dof/{p.name}": p.read_bytes() for p in (tmp_path / "many.dof").iterdir()}
    made = RangeServer(files)
    with made.serving() as address:
        made.address = f"{address}/many.dof"
        yield made


def test_many_parts_are_read_at_the_same_time(many: RangeServer) -> None:
    """Opened, and a column of each, of names too: one after the other they would take minutes."""
    many.latency = 0.2
    for name in ("row", "id"):
        ds = dataset.open(many.address)
        many.forget()
        ds.to_arrow([name])
        assert many.most_at_once >= 4, name
    near = [3, 40, 90, 91, 92, 93]
    many.forget()
    assert np.array_equal(ds.take(near).to_numpy(), VECTORS[near])
    assert many.most_at_once >= 3


@pytest.mark.parametrize("layout", ["mapped", "compact"])
def test_a_small_part_is_opened_when_its_turn_comes(
    many: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> None:
    """Of how many row groups, and in which layout, is not known before."""
    out = convert(tmp_path / "many.dof", tmp_path / "other.dof", layout=layout)
    many.files = {f"/many.dof/{path.name}": path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(gather, "IN_MEMORY", 0)
    ds = dataset.open(many.address)
    many.forget()
    loader = ds.loader(shuffle=True, batch_size=10)
    assert not many.requests
    seen = np.concatenate(list(loader))
    assert many.requests and not np.array_equal(seen, VECTORS)
    assert np.array_equal(seen[np.lexsort(seen.T)], VECTORS[np.lexsort(VECTORS.T)])


def test_a_small_part_of_several_row_groups(
    many: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = making.write(
        tmp_path / "groups.parquet", ROWS, VECTORS, {"row": np.arange(ROWS, dtype="i4")}, group=16
    )
    append(tmp_path / "groups.dof", part)
    folder = tmp_path / "groups.dof"
    many.files = {f"/many.dof/{path.name}": path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(gather, "IN_MEMORY", 0)
    loader = dataset.open(many.address).loader(shuffle=True, columns=["row"])
    for x, columns in loader:
        assert np.array_equal(x, VECTORS[columns["row"]])


def test_a_small_part_that_is_another_ends_the_epoch(
    many: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", 0)
    many.files["/many.dof/data-000001.parquet"] = many.files["/many.dof/data-000002.parquet"]
    with pytest.raises(FormatError, match="another s"):
        list(dataset.open(many.address).loader(shuffle=True))


def test_a_part_that_is_another_is_refused(server: RangeServer) -> None:
    server.files["/set.dof/data-000001.parquet"] = server.files["/one.parquet"]
    ds = dataset.open(f"{server.address}/set.dof")
    assert np.array_equal(ds[3:4].to_numpy(), VECTORS[3:4])
    with pytest.raises(FormatError, match="another seal"):
        ds[40:41].to_numpy()


def test_commands_take_addresses(
    server: RangeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{server.address}/one.parquet?signature=secret"
    out = tmp_path / "out.parquet"

    def said(*arguments: object) -> str:
        assert main([str(each) for each in arguments]) == 0
        output = capsys.readouterr()
        assert "secret" not in output.out + output.err
        return output.out

    shown = said("info", address)
    assert "32" in shown and f"{server.address}/one.parquet" in shown
    assert "every byte checked" in said("validate", "--deep", address)
    said("convert", address, out)
    assert np.array_equal(dataset.open(out).to_numpy(), VECTORS[:32])
    said("diff", address, tmp_path / "0.parquet")
    assert main(["info", address.replace("one", "none")]) == 2
    told = capsys.readouterr().err
    assert "no such object" in told and "secret" not in told


def test_files_of_a_store_are_put_together(server: RangeServer, tmp_path: Path) -> None:
    parts = [f"{server.address}/one.parquet", tmp_path / "32.parquet"]
    for out in (tmp_path / "m.parquet", tmp_path / "m.dof"):
        assert np.array_equal(merge(parts, out).to_numpy(), VECTORS[:64])
        assert validate(out, deep=True) == []
    convert(f"{server.address}/set.dof", tmp_path / "whole.parquet")
    assert np.array_equal(dataset.open(tmp_path / "whole.parquet").to_numpy(), VECTORS)


def test_what_is_done_on_this_machine_alone(server: RangeServer) -> None:
    from dof_arrow.rewrite.edit import edit

    with pytest.raises(UsageError, match="on this machine alone"):
        edit(f"{server.address}/one.parquet", set={"title": "x"})
    with pytest.raises(UsageError, match="on this machine alone"):
        validate(f"{server.address}/set.dof")


def test_a_directory_on_s3(bucket: Bucket, folder: Path, cache: Path) -> None:
    ds = dataset.open(bucket.put_folder(folder))
    assert np.array_equal(ds.take([95, 0]).to_numpy(), VECTORS[[95, 0]])


def test_outputs_on_s3(bucket: Bucket, folder: Path, cache: Path, tmp_path: Path) -> None:
    out = f"{bucket.address}/new/all.dof"
    parts = [str(tmp_path / f"{start}.parquet") for start in (0, 32, 64)]
    assert main(["merge", *parts, "-o", out]) == 0
    assert np.array_equal(dataset.open(out).to_numpy(), VECTORS)
    assert len(bucket.listed()) == 4
    one = f"{bucket.address}/new/one.dof.parquet"
    assert len(merge([folder], one)) == ROWS
    before = {key: bucket.get(key) for key in bucket.listed()}
    for address in (out, one):
        with pytest.raises(OutputError, match="exists already"):
            convert(tmp_path / "0.parquet", address, overwrite=True)
    assert {key: bucket.get(key) for key in bucket.listed()} == before


def test_what_is_a_file_there_does_not_grow(bucket: Bucket, tmp_path: Path, folder: Path) -> None:
    """Its parts would stand below the file, where nobody looks for them."""
    one = bucket.put("one.dof.parquet", (tmp_path / "0.parquet").read_bytes())
    for address in (one, f"{bucket.address}/new"):
        with pytest.raises(UsageError, match="not the address of a directory"):
            append(address, tmp_path / "32.parquet")
    assert bucket.listed() == ["one.dof.parquet"]


def test_commands_say_where_they_write(
    bucket: Bucket, folder: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address as a path would have one slash less; what writes here alone says so."""
    names = making.ids(ROWS)
    table = tmp_path / "labels.csv"
    table.write_text("id,kind\n" + "".join(f"{name},k{name[-1]}\n" for name in names))
    out = f"{bucket.address}/labelled.dof.parquet"
    asked = ["--table", str(table), "--key", "id", "--label", "kind"]
    assert main(["label", bucket.put_folder(folder), *asked, "-o", out]) == 0
    assert f"{out}: {ROWS} rows" in capsys.readouterr().out
    assert dataset.open(out).to_arrow(["kind"])["kind"][0].as_py() == "k0"
    assert main(["duplicates", out]) == 0
    assert out in capsys.readouterr().out
    head = f"{bucket.address}/head.onnx"
    labels = ["label", out, *asked, "--labels-only", "-o", f"{bucket.address}/labels.parquet"]
    refused = (["train", out, "-o", head], ["repair", out], ["audit", out, "--store"], labels)
    for command in refused:
        assert main(command) == 2
        assert "on this machine alone" in capsys.readouterr().err


def test_an_upload_that_fails_leaves_nothing(
    bucket: Bucket, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    put = obstore.put

    def failing(store: object, key: str, *given: object, **options: object) -> object:
        if key.endswith("manifest.parquet"):
            raise obstore.exceptions.GenericError("503 at https://x?signature=secret")
        return put(store, key, *given, **options)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(obstore, "put", failing)
    with pytest.raises(OutputError, match="cannot be put on the store") as caught:
        convert(folder, f"{bucket.address}/new.dof")
    assert "secret" not in str(caught.value) and bucket.listed() == []


def test_row_d18_duckdb_filters_and_searches_a_dataset_on_a_store(
    bucket: Bucket, folder: Path, s3_endpoint: str
) -> None:
    """With no server of ours, and none of our code: Parquet, ranges of bytes, statistics."""
    duckdb = pytest.importorskip("duckdb")
    bucket.put_folder(folder)
    afar = S3FileSystem(
        endpoint_override=s3_endpoint,
        scheme="http",
        access_key="test",
        secret_key="test",
        region="us-east-1",
    )
    far = tables.dataset(f"{bucket.name}/set.dof", filesystem=afar, format="parquet")
    wanted = (pc.field("row") >= 40) & (pc.field("row") < 43)
    fragments = [each.split_by_row_group(wanted) for each in far.get_fragments(filter=wanted)]
    assert sum(map(len, fragments)) == 1  # of four files, by their statistics
    with duckdb.connect() as connection:
        connection.register("far", far)
        found = connection.execute(
            "select id, row from far where row >= 40 and row < 43"
        ).fetchall()
        assert found == [(making.ids(ROWS)[row], row) for row in range(40, 43)]
        nearest = """select row, array_distance(feature::FLOAT[64], ?::FLOAT[64]) as far_off from far
                     where row != 70 order by far_off limit 3"""
        rows = [row for row, _ in connection.execute(nearest, [VECTORS[70].tolist()]).fetchall()]
    distances = np.linalg.norm(VECTORS - VECTORS[70], axis=1)
    assert rows == np.argsort(distances)[1:4].tolist()


def test_nothing_is_written_to_web_servers(server: RangeServer, folder: Path) -> None:
    with pytest.raises(UsageError, match="nothing can be written there"):
        convert(folder, f"{server.address}/out.dof")
