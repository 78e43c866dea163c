"""Tar and zip archives: one layout, wherever members lie; what is odd fails alone or is refused."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import PictureError, SourceError, UsageError
from dof_arrow.sources import sample as sample_module
from dof_arrow.sources.archive import TWO_OF_ONE_NAME
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Source
from tests.sources.listed import keys, rule

Members = list[tuple[str, bytes]]
Archive = Callable[[Path, Members], Path]


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def tarred(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, members: Members, how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members:
            # The module's own warning of a name that comes twice is not what is tested.
            archive.NameToInfo.pop(name, None)
            archive.writestr(name, data)
    return path


def deflated(path: Path, members: Members) -> Path:
    return zipped(path, members, zipfile.ZIP_DEFLATED)


archives = pytest.mark.parametrize("pack", [tarred, zipped, deflated])

P = [(f"{i}.png", png(40 * i)) for i in range(4)]
C = [(f"{i}.cls", str(i % 2).encode()) for i in range(4)]
J = [(f"{i}.json", b'{"sex": "%c"}' % b"fm"[i % 2]) for i in range(4)]


def greys(source: Source) -> list[int]:
    return [int(source[i].picture(mode="L")[0][0, 0, 0]) for i in range(len(source))]


@archives
@pytest.mark.parametrize(
    "members",
    [
        sorted([*P, *C, *J]),
        [*P, *C, *J],
        [*J, *C, *P],
        [P[0], P[1], C[1], C[0], P[2], J[3], P[3], C[3], C[2], J[0], J[1], J[2]],
    ],
)
def test_members_of_a_sample_lie_anywhere(tmp_path: Path, pack: Archive, members: Members) -> None:
    path = pack(tmp_path / "a", members)
    source = open_source(path, label="cls", keep=["sex"])
    found = [(source[i].target, source[i].kept) for i in range(4)]
    assert keys(source) == [f"{i}.png" for i in range(4)] and greys(source) == [0, 40, 80, 120]
    assert found == [({"cls": i % 2}, {"sex": "fm"[i % 2]}) for i in range(4)]
    assert source.counts == {"ignored": 0}


@archives
def test_a_sample_of_two_members_that_differ_fails_alone(tmp_path: Path, pack: Archive) -> None:
    for twice in (("0.cls", b"0"), ("0.CLS", b"0"), ("0.png", png(9))):
        path = pack(tmp_path / "a", [P[0], ("0.cls", b"1"), P[1], C[1], twice])
        source = open_source(path, label="cls")
        assert source.refused.to_pylist() == [TWO_OF_ONE_NAME, None]
        assert rule(source[0]) == "table" and source[1].load() == P[1][1]


@archives
def test_such_a_sample_fails_beside_a_table_too(tmp_path: Path, pack: Archive) -> None:
    path = pack(tmp_path / "a", [P[0], P[1], ("0.png", png(9))])
    (tmp_path / "t.csv").write_text("k,y\n1.png,a\n0.png,b\n2.png,a\n")
    source = open_source(path, table=tmp_path / "t.csv", key="k", label="y")
    assert keys(source) == ["0.png", "1.png", "2.png"]
    assert source.refused.to_pylist() == [TWO_OF_ONE_NAME, None, None]


@archives
def test_members_that_are_there_twice_are_taken_once(tmp_path: Path, pack: Archive) -> None:
    source = open_source(pack(tmp_path / "a", [P[1], C[1], P[0], C[0], P[1], C[1]]), label="cls")
    assert keys(source) == ["1.png", "0.png"] and greys(source) == [40, 0]
    assert source.counts == {"ignored": 0, "repeated": 2} and source[0].target == {"cls": 1}


@archives
def test_hidden_and_outer_names_are_left_out_and_counted(tmp_path: Path, pack: Archive) -> None:
    members = [
        ("/abs/1.png", png(10)),
        ("./a/2.png", png(20)),
        ("../3.png", png(30)),
        ("a/../../4.png", png(40)),
        ("__MACOSX/a/._2.png", b"x"),
        ("__MACOSX/5.png", b"x"),
        (".git/6.png", b"x"),
        ("a/.7.png", b"x"),
        ("notes.txt", b"x"),
    ]
    source = open_source(pack(tmp_path / "a", members))
    assert keys(source) == ["abs/1.png", "a/2.png"] and greys(source) == [10, 20]
    assert source.counts == {"hidden": 4, "ignored": 1, "outside": 2}


@archives
def test_numbered_pictures_are_samples_of_their_own(tmp_path: Path, pack: Archive) -> None:
    names = ["scan.001.png", "scan.002.png", "1.2.840.7.png", "1.2.840.8.png"]
    members = [(name, png(10 * i)) for i, name in enumerate(names)]
    source = open_source(pack(tmp_path / "a", members))
    assert keys(source) == names and greys(source) == [0, 10, 20, 30]
    with pytest.raises(UsageError, match="several pictures of one name"):
        open_source(pack(tmp_path / "b", [*members, ("scan.cls", b"1")]))


@archives
def test_class_and_split_folders_and_tables(tmp_path: Path, pack: Archive) -> None:
    names = ["train/cat/1.png", "train/dog/1.png", "Test/cat/1.png"]
    path = pack(tmp_path / "a", [(name, png(i)) for i, name in enumerate(names)])
    source = open_source(path, label="folder", split="folder")
    assert [source[i].split for i in range(3)] == ["train", "train", "test"]
    assert [source[i].target["label"] for i in range(3)] == [0, 1, 0]
    (tmp_path / "t.csv").write_text("f,c\nTest/cat/1.png,b\ntrain/dog/1.png,a\n")
    joined = open_source(path, table=tmp_path / "t.csv", key="f", label="c")
    assert keys(joined) == ["Test/cat/1.png", "train/dog/1.png"] and greys(joined) == [2, 1]


def test_archives_of_both_kinds_in_one_folder(tmp_path: Path) -> None:
    tarred(tmp_path / "s-0.tar", [*P[:2], *C[:2]])
    deflated(tmp_path / "s-1.ZIP", [*C[2:], *P[2:]])
    source = open_source(tmp_path, label="cls")
    assert greys(source) == [0, 40, 80, 120]
    assert [source[i].target["cls"] for i in range(4)] == [0, 1, 0, 1]
    assert greys(pickle.loads(pickle.dumps(source))) == [0, 40, 80, 120]


def test_names_that_repeat_across_archives_keep_their_class_folders(tmp_path: Path) -> None:
    for shard in ("a.zip", "b.zip"):
        zipped(tmp_path / shard, [("cat/1.png", png(1)), ("dog/1.png", png(2))])
    source = open_source(tmp_path, label="folder")
    assert keys(source)[2] == "b.zip/cat/1.png"
    assert source.targets["label"].classes == ("cat", "dog")
    assert [source[i].target["label"] for i in range(4)] == [0, 1, 0, 1]


def test_an_archive_called_as_a_folder_in_it(tmp_path: Path) -> None:
    path = tarred(tmp_path / "cat", [("cat/dog/1.png", png(1)), ("cow/2.png", png(2))])
    assert open_source(path, label="folder").targets["label"].classes == ("cat", "cow")


def test_names_of_a_tar_that_are_not_utf8_are_counted(tmp_path: Path) -> None:
    old = {"format": tarfile.GNU_FORMAT, "encoding": "latin-1"}
    with tarfile.open(tmp_path / "a.tar", "w", **old) as archive:
        for name in ("\xe9.png", "b.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png(3))
            archive.addfile(info, io.BytesIO(png(3)))
    source = open_source(tmp_path / "a.tar")
    assert keys(source) == ["b.png"] and source.counts == {"ignored": 0, "not_utf8": 1}


def test_an_npz_stays_arrays_and_a_zip_with_pictures_does_not(tmp_path: Path) -> None:
    images = np.arange(2 * 5 * 6, dtype=np.uint8).reshape(2, 5, 6)
    np.savez(tmp_path / "x.npz", images=images)
    (tmp_path / "x.npz").rename(tmp_path / "x.zip")
    assert np.array_equal(open_source(tmp_path / "x.zip")[1].load(), images[1])
    file = io.BytesIO()
    np.save(file, images)
    path = zipped(tmp_path / "y.npz", [P[1], ("1.npy", file.getvalue())])
    assert keys(open_source(path)) == ["1.png"]


def test_members_that_cannot_be_read_fail_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, how in (("a", 0), ("b", 8), ("c", 12), ("d", 14), ("e", 0)):
            archive.writestr(f"{name}.png", png(7), how)
    data = bytearray(path.read_bytes())
    stored = data.index(png(7)) + 30
    data[stored] ^= 255  # in the bytes of a.png
    at = data.rindex(b"PK\1\2")
    data[at + 8] |= 1  # e.png is encrypted
    path.write_bytes(data)
    source = open_source(path)
    rules = []
    for i in range(5):
        try:
            source[i].load()
            rules.append("")
        except PictureError as error:
            rules.append(error.rule)
            assert str(tmp_path) not in str(error)
    unread = "unsupported-format"
    assert rules == ["undecodable", "", unread, unread, "encrypted"]


def test_bombs_are_refused_by_their_true_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_module, "MAX_FILE_BYTES", 1 << 20)
    path = deflated(
        tmp_path / "a.zip", [P[0], ("big.png", bytes(1 << 21)), ("lie.png", bytes(9999))]
    )
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2")
    data[entry + 24 : entry + 28] = struct.pack("<I", 99)  # says that it holds 99 bytes
    path.write_bytes(data)
    source = open_source(path)
    assert source[0].load() == png(0)
    with pytest.raises(PictureError, match="too large: expected at most 1048576 bytes") as caught:
        source[1].load()
    assert caught.value.rule == "too-large"
    with pytest.raises(PictureError, match="more than its directory says"):
        source[2].load()


def test_names_in_utf8_and_in_cp437(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("\u00e9\u00e9.png", png(1)), ("xx.png", png(2))])
    data = path.read_bytes().replace(b"xx.png", b"\x82\x84.png")  # "éä" in code page 437
    path.write_bytes(data)
    assert keys(open_source(path)) == ["éé.png", "éä.png"]
    unmarked = bytearray(data)
    for mark in (b"PK\1\2", b"PK\3\4"):  # as macOS writes UTF-8
        at = unmarked.index(mark) + (8 if mark == b"PK\1\2" else 6)
        unmarked[at + 1] &= ~8
    path.write_bytes(unmarked)
    assert keys(open_source(path)) == ["éé.png", "éä.png"]


def test_zips_with_links_folders_and_long_headers(tmp_path: Path) -> None:
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("folder")
        dos = zipfile.ZipInfo("dos\\1.png")
        dos.create_system = 0
        archive.writestr(dos, png(1))
        long = zipfile.ZipInfo("long.png")
        long.extra = struct.pack("<HH", 0x9999, 4000) + bytes(4000)
        archive.writestr(long, png(3))
        with archive.open("streamed.png", "w", force_zip64=True) as member:
            member.write(png(4))
    source = open_source(path)
    assert keys(source) == ["dos/1.png", "long.png", "streamed.png"]
    assert greys(source) == [1, 3, 4] and source.counts == {"ignored": 0, "links": 1}


def test_damaged_zips(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.zip", [*P]).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    with pytest.raises(SourceError, match="the archive is damaged"):
        open_source(tmp_path / "cut.zip")
    with pytest.raises(SourceError, match="no picture in the archive"):
        open_source(zipped(tmp_path / "empty.zip", []))
    path = zipped(tmp_path / "b.zip", [*P])
    source = open_source(path)
    path.write_bytes(whole[:100])
    for index, reason in ((0, "truncated"), (3, "undecodable")):
        with pytest.raises(PictureError) as caught:
            source[index].load()
        assert caught.value.rule == reason


def test_threads_read_one_archive_together(tmp_path: Path) -> None:
    members = [(f"{i}.png", png(i)) for i in range(200)]
    source = open_source(deflated(tmp_path / "a.zip", members))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: source[i].load(), list(range(200)) * 5))
    assert read == [data for _, data in members] * 5


def test_links_devices_and_sparse_members_of_a_tar_are_counted(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (
            ("1.png", tarfile.SYMTYPE),
            ("2.png", tarfile.LNKTYPE),
            ("3.png", tarfile.FIFOTYPE),
            ("d", tarfile.DIRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        sparse = tarfile.TarInfo("4.png")
        sparse.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.map": "0,1",
            "GNU.sparse.size": "1",
        }
        sparse.size = 1
        archive.addfile(sparse, io.BytesIO(b"x"))
        info = tarfile.TarInfo("5.png")
        info.size = len(png(5))
        archive.addfile(info, io.BytesIO(png(5)))
    source = open_source(tmp_path / "a.tar")
    assert keys(source) == ["5.png"]
    assert source.counts == {"ignored": 0, "links": 2, "sparse": 1, "special": 1}


@pytest.mark.parametrize("seed", range(40))
def test_damaged_archives_are_refused_or_their_members_fail(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for pack in (tarred, deflated):
        path = pack(tmp_path / "a", [*P, *C])
        data = bytearray(path.read_bytes())
        for at in rng.integers(0, len(data), 3):
            data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            source = open_source(path)
        except (SourceError, UsageError):
            continue
        for i in range(len(source)):
            try:
                loaded = source[i].load()
            except PictureError:
                continue
            # What a zip archive gives is what was put in; its digests see to it.
            assert pack is tarred or zlib.crc32(loaded) in [zlib.crc32(data) for _, data in P]
