"""Datasets on a store: opened by their footer, rows by exact ranges, columns by whole segments."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.errors import FormatError, SourceError, UsageError
from tests.support import making
from tests.support.range_server import RangeServer
from tests.support.stores import Bucket

ROWS, WIDTH = 6000, 512  # rows of 2 kB
VECTORS = making.vectors(ROWS, WIDTH)
AGES = np.arange(ROWS, dtype="i2")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    columns = {"age": AGES, "label": ["no", "yes"] * (ROWS // 2)}
    path = tmp_path_factory.mktemp("remote") / "x.parquet"
    about = {"targets": {"label": {"kind": "category", "classes": ["no", "yes"]}}}
    return making.write(path, ROWS, VECTORS, columns, group=1024, align=65536, metadata=about)


@pytest.fixture
def server(file: Path, cache: Path) -> Iterator[RangeServer]:
    made = RangeServer({"/x.parquet": file.read_bytes()})
    with made.serving() as address:
        made.address = f"{address}/x.parquet"
        yield made


def test_opening_reads_the_footer_alone(server: RangeServer) -> None:
    ds = dataset.open(server.address)
    assert len(ds) == ROWS and ds.metadata.primary_column == "feature"
    assert len(server.requests) <= 2 and server.given < 100_000


def test_row_d18_a_row_is_one_exact_range(server: RangeServer) -> None:
    """D18: any HTTP server that gives ranges serves single rows."""
    ds = dataset.open(server.address)
    server.forget()
    found = ds[17:18].to_numpy()
    assert np.array_equal(found, VECTORS[17:18])
    assert [size for _, _, size in server.requests] == [WIDTH * 4]


def test_a_row_as_a_dict_is_as_on_the_disk(server: RangeServer, file: Path) -> None:
    afar, near = dataset.open(server.address)[-3], dataset.open(file)[-3]
    assert np.array_equal(afar.pop("feature"), near.pop("feature")) and afar == near


def test_row_d16_random_rows_cost_little_more_than_their_bytes(server: RangeServer) -> None:
    ds = dataset.open(server.address)
    rows = np.random.default_rng(0).integers(0, ROWS, 256)
    server.forget()
    assert np.array_equal(ds.take(rows).to_numpy(), VECTORS[rows])
    assert server.given < 2_000_000 and len(server.requests) <= 256


def test_near_rows_are_one_request(server: RangeServer) -> None:
    ds = dataset.open(server.address)
    rows = [100, 101, 103, 99, 103]
    server.forget()
    assert np.array_equal(ds.take(rows).to_numpy(), VECTORS[rows])
    assert len(server.requests) == 1 and server.given == 5 * WIDTH * 4


def test_small_columns_are_read_without_the_vectors(server: RangeServer, file: Path) -> None:
    ds = dataset.open(server.address)
    server.forget()
    names = ["id", "age", "label"]
    assert ds.to_arrow(names).equals(dataset.open(file).to_arrow(names))
    assert np.array_equal(ds.to_numpy("label"), AGES % 2)
    assert server.given < 40 * ROWS


def test_a_filter_reads_what_it_names(server: RangeServer) -> None:
    ds = dataset.open(server.address)
    server.forget()
    found = ds.filter(pc.field("age") < 30)
    assert len(found) == 30 and server.given < 8 * ROWS
    assert np.array_equal(found.to_numpy(), VECTORS[:30])


def test_the_whole_column_and_arrow(server: RangeServer, file: Path) -> None:
    ds = dataset.open(server.address)
    assert np.array_equal(ds.to_numpy(), VECTORS)
    assert ds.to_arrow().equals(dataset.open(file).to_arrow())
    assert ds[1000:1100].to_arrow().equals(dataset.open(file)[1000:1100].to_arrow())
    assert ds.take([5, 1]).to_arrow().equals(dataset.open(file).take([5, 1]).to_arrow())
    assert np.array_equal(ds[7:7].to_numpy(), VECTORS[7:7])


def test_segments_that_were_fetched_are_kept_and_checked(server: RangeServer, cache: Path) -> None:
    dataset.open(server.address).to_numpy()
    server.forget()
    again = dataset.open(server.address)
    opened = server.given
    assert np.array_equal(again.to_numpy(), VECTORS) and server.given == opened
    (kept,) = (cache / "blocks").iterdir()
    assert kept.name == again.seal
    with kept.open("r+b") as damaged:
        damaged.seek(200_000)
        damaged.write(b"damage")
    server.forget()
    assert np.array_equal(dataset.open(server.address).to_numpy(), VECTORS)
    assert opened < server.given < opened + 3_000_000


def test_nothing_is_kept_where_the_limit_is_none(
    server: RangeServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOF_CACHE_BYTES", "0")
    ds = dataset.open(server.address)
    assert np.array_equal(ds.to_numpy(), VECTORS) and not list(cache.glob("blocks/*"))


def test_what_was_used_longest_ago_makes_way(
    server: RangeServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = making.write(tmp_path / "y.parquet", ROWS, making.vectors(ROWS, WIDTH, seed=1))
    server.files["/y.parquet"] = other.read_bytes()
    monkeypatch.setenv("DOF_CACHE_BYTES", "20000000")
    dataset.open(server.address).to_numpy()
    dataset.open(server.address.replace("x.", "y.")).to_numpy()
    assert [path.name for path in (cache / "blocks").iterdir()] == [dataset.open(other).seal]


def test_an_object_that_changed_is_refused(server: RangeServer) -> None:
    ds = dataset.open(server.address)
    server.files["/x.parquet"] = server.files["/x.parquet"][::-1]
    with pytest.raises(FormatError, match="changed since it was opened"):
        ds[3:4].to_numpy()


def test_without_a_version_rows_come_by_checked_segments(server: RangeServer) -> None:
    server.tagged = False
    ds = dataset.open(server.address)
    assert np.array_equal(ds[3:4].to_numpy(), VECTORS[3:4])
    data = server.files["/x.parquet"]
    server.files["/x.parquet"] = data[:2_300_000] + bytes(100) + data[2_300_100:]
    with pytest.raises(FormatError, match="damaged"):
        ds[1100:1101].to_numpy()


def test_a_file_without_a_seal_gives_the_same_values(
    file: Path, tmp_path: Path, server: RangeServer
) -> None:
    pq.write_table(pq.read_table(file), tmp_path / "copy.parquet")
    server.files["/x.parquet"] = (tmp_path / "copy.parquet").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dataset.open(server.address)
    assert ds.derived and np.array_equal(ds[40:45].to_numpy(), VECTORS[40:45])
    assert np.array_equal(ds.to_numpy(), VECTORS)


def test_servers_without_ranges_are_refused(server: RangeServer) -> None:
    server.ranges = False
    with pytest.raises(SourceError, match="does not give parts"):
        dataset.open(server.address)


def test_servers_that_do_not_count_from_the_end(server: RangeServer) -> None:
    server.suffixes = False
    assert np.array_equal(dataset.open(server.address)[3:4].to_numpy(), VECTORS[3:4])


def test_a_selection_goes_to_another_process(server: RangeServer) -> None:
    some = pickle.loads(pickle.dumps(dataset.open(server.address)[10:20]))
    assert np.array_equal(some.to_numpy(), VECTORS[10:20])


def test_attachments(server: RangeServer, tmp_path: Path) -> None:
    from dof_arrow.format.writer import Writer

    with Writer(tmp_path / "e.parquet") as writer:
        writer.write(ids=["a"], vectors={"feature": making.vectors(1, 4)})
        writer.fail("b", "empty", "no bytes")
    server.files["/e.parquet"] = (tmp_path / "e.parquet").read_bytes()
    ds = dataset.open(server.address.replace("x.", "e."))
    assert ds.errors == dataset.open(tmp_path / "e.parquet").errors != []


def test_s3(bucket: Bucket, file: Path, cache: Path) -> None:
    ds = dataset.open(bucket.put("deep/x.parquet", file.read_bytes()))
    rows = [5999, 0, 2500]
    assert np.array_equal(ds.take(rows).to_numpy(), VECTORS[rows])
    assert str(ds.path) == f"{bucket.address}/deep/x.parquet" and ds.path.name == "x.parquet"
    bucket.put("deep/x.parquet", file.read_bytes()[::-1])
    with pytest.raises(FormatError, match="changed since it was opened"):
        ds[3:4].to_numpy()


def test_a_profile_gives_the_credentials(
    bucket: Bucket, file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = bucket.put("x.parquet", file.read_bytes())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys = tmp_path / "credentials"
    keys.write_text("[lab]\naws_access_key_id = test\naws_secret_access_key = test\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert len(dataset.open(address)) == ROWS
    monkeypatch.setenv("AWS_PROFILE", "no-such")
    with pytest.raises(UsageError, match="gives no credentials"):
        dataset.open(address)


def test_a_repository_on_the_hub(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    found = SimpleNamespace(
        repo_id="lab/lungs", repo_type="dataset", revision="main", path_in_repo="x.parquet"
    )

    def url(repo: str, path: str, *, repo_type: str, revision: str) -> str:
        return f"{server.address}?of={repo}/{path}/{repo_type}@{revision}"

    monkeypatch.setattr(hub.HfFileSystem, "resolve_path", lambda self, path: found)
    monkeypatch.setattr(
        hub.HfApi, "repo_info", lambda *given, **named: SimpleNamespace(sha="c0ffee")
    )
    monkeypatch.setattr(hub, "hf_hub_url", url)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_secret")
    ds = dataset.open("hf://datasets/lab/lungs/x.parquet")
    assert np.array_equal(ds[3:4].to_numpy(), VECTORS[3:4])
    assert server.requests[-1][0].endswith("lab/lungs/x.parquet/dataset@c0ffee")
    assert {name.lower(): text for name, text in server.headers[-1].items()}[
        "authorization"
    ] == "Bearer hf_secret"


def test_what_is_not_there(bucket: Bucket, server: RangeServer) -> None:
    for address in (f"{bucket.address}/none.parquet", server.address + "x"):
        with pytest.raises(UsageError, match="no such object"):
            dataset.open(address)
    with pytest.raises(UsageError, match="no address"):
        dataset.open(bucket.address)


def test_filesystems_of_pyarrow_and_fsspec(file: Path, cache: Path) -> None:
    import fsspec

    for system in (pyarrow.fs.LocalFileSystem(), fsspec.filesystem("file")):
        ds = dataset.open(str(file), filesystem=system)
        assert np.array_equal(ds.take([9, 5000]).to_numpy(), VECTORS[[9, 5000]])
        assert np.array_equal(ds.to_numpy("age"), AGES)
    with pytest.raises(UsageError, match="no filesystem"):
        dataset.open(str(file), filesystem=object())
    with pytest.raises(UsageError, match="no such file"):
        dataset.open("none.parquet", filesystem=fsspec.filesystem("memory"))
