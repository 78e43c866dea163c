"""Pictures in tar shards, with texts and JSON beside them."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import PictureError, SourceError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources.open import open_source


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, *members: tuple[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def sample(name: str, level: int, label: str, **entries: object) -> list[tuple[str, bytes]]:
    about = json.dumps(entries).encode()
    return [(f"{name}.cls", label.encode()), (f"{name}.json", about), (f"{name}.png", png(level))]


def grey(source: object, index: int) -> int:
    return int(source[index].picture(mode="L")[0][0, 0, 0])  # type: ignore[index]


def test_files_of_one_name_are_a_sample(tmp_path: Path) -> None:
    first, second = (
        sample("b/1", 10, "7", patient="p1", age=61),
        sample("b/2", 20, "3", patient="p2"),
    )
    path = shard(tmp_path / "a.tar", *first, *second, ("README.md", b"hello"), ("._x.png", b""))
    source = open_source(path, label="cls", group="patient", keep=["age"])
    assert len(source) == 2 and source.counts == {"hidden": 1, "ignored": 1}
    assert source.targets == {"cls": Target(kind="category", classes=("3", "7"))}
    assert [
        (source[i].key, source[i].target, source[i].group, source[i].kept) for i in range(2)
    ] == [("b/1.png", {"cls": 1}, "p1", {"age": 61}), ("b/2.png", {"cls": 0}, "p2", {"age": None})]
    assert [grey(source, i) for i in (1, 0)] == [20, 10]
    assert open_source(path, label="folder").targets["label"].classes == ("b",)


def test_several_shards_in_order_and_names_that_repeat(tmp_path: Path) -> None:
    shard(tmp_path / "s-1.tar", *sample("1", 10, "0"), *sample("2", 20, "1"))
    shard(tmp_path / "s-0.tar", *sample("8", 80, "0"), *sample("9", 90, "1"))
    source = open_source(tmp_path, label="cls")
    assert [source[i].key for i in range(4)] == ["8.png", "9.png", "1.png", "2.png"]
    assert [grey(source, i) for i in range(4)] == [80, 90, 10, 20]
    shard(tmp_path / "s-0.tar", *sample("1", 80, "0"), *sample("9", 90, "1"))
    assert [open_source(tmp_path)[i].key for i in (0, 2)] == ["s-0.tar/1.png", "s-1.tar/1.png"]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_tar_format_with_long_names(tmp_path: Path, format: int) -> None:
    name = "./" + "folder/" * 16 + "n" * 60
    source = open_source(shard(tmp_path / "x", *sample(name, 5, "0"), format=format))
    assert source[0].key == name[2:] + ".png" and grey(source, 0) == 5


def test_a_table_names_members(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "a.tar",
        *sample("x/1", 10, "0"),
        *sample("x/2", 20, "0"),
        *sample("x/3", 30, "0"),
    )
    (tmp_path / "t.csv").write_text("file,finding\n3,flu\n1,ok\n9,ok\n")
    source = open_source(path, table=tmp_path / "t.csv", key="file", label="finding")
    assert [source[i].key for i in range(3)] == ["9", "x/1.png", "x/3.png"]
    assert [grey(source, i) for i in (1, 2)] == [10, 30] and source[1].target == {"finding": 1}
    with pytest.raises(PictureError, match="no such file"):
        source[0].load()
    assert source.counts == {"without_row": 1, "without_file": 1}


def test_several_pictures_of_a_sample_need_a_choice(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", ("1.jpg", png(1)), ("1.seg.png", png(2)))
    with pytest.raises(UsageError, match="--pictures jpg"):
        open_source(path)
    assert grey(open_source(path, pictures="seg.png"), 0) == 2


def test_columns_that_are_not_there_name_those_that_are(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", *sample("1", 1, "0", patient="p"))
    with pytest.raises(
        UsageError, match=r"expected cls, json, patient, found patent\. Did you mean patient"
    ):
        open_source(path, group="patent")
    shard(path, ("1.png", png(1)), ("1.npy", b"\xff\xfe"))
    with pytest.raises(SourceError, match="no text"):
        open_source(path, label="npy")


def test_archives_that_cannot_be_read(tmp_path: Path) -> None:
    whole = shard(tmp_path / "a.tar", *sample("1", 1, "0"), *sample("2", 2, "0")).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: whole.rindex(b"\x89PNG") + 20])
    with pytest.raises(SourceError, match="damaged or compressed"):
        open_source(tmp_path / "cut.tar")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.tar")
    with pytest.raises(SourceError, match="gunzip"):
        open_source(tmp_path / "b.tar.gz")
    with pytest.raises(SourceError, match="no picture in the archive"):
        open_source(shard(tmp_path / "c.tar", ("1.txt", b"")))


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("1.png", tarfile.SYMTYPE), ("2.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("3.png")
        info.size = len(png(3))
        archive.addfile(info, io.BytesIO(png(3)))
    assert [s.key for s in [open_source(tmp_path / "a.tar")[0]]] == ["3.png"]


def test_an_archive_that_shrinks_fails_by_rule_and_changes_its_stamp(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", *sample("1", 1, "0"))
    source = open_source(path)
    stamp = source[0].stamp()
    assert pickle.loads(pickle.dumps(source))[0].stamp() == stamp
    path.write_bytes(path.read_bytes()[:1500])
    assert source[0].stamp() != stamp
    with pytest.raises(PictureError) as caught:
        source[0].load()
    assert caught.value.rule == "truncated" and str(tmp_path) not in str(caught.value)
    path.unlink()
    assert source[0].stamp() is None


def test_a_member_of_json_that_is_nested_deeply_says_nothing(tmp_path: Path) -> None:
    """And stops no other sample."""
    members = [("1.json", b"[" * 100_000), ("1.png", png(10)), *sample("2", 20, "0", age=7)]
    source = open_source(shard(tmp_path / "a.tar", *members), keep=["age"])
    assert [source[i].kept for i in range(2)] == [{"age": None}, {"age": 7}]
