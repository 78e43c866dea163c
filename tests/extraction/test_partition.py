"""Partitions of a run, put together, are the bytes of one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dof_arrow as dof
from dof_arrow.cli.main import main
from dof_arrow.errors import OutputError, UsageError
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.extraction.partition import Partition
from dof_arrow.rewrite.merge import merge
from dof_arrow.security.pseudonyms import digest_of_sizes, sum_of_digests
from tests.support.interrupts import interrupt_after
from tests.support.pictures import core, folder_of

KEY = bytes(range(32))
COUNT = 4


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred pictures of two sizes, a few of them broken."""
    folder = folder_of(tmp_path_factory.mktemp("pictures"), 150)
    folder_of(folder / "wide", 50, side=9)
    for number in (3, 40, 149):
        (folder / f"{number:04d}.png").write_bytes(b"broken")
    return folder


def in_partitions(source: Path, folder: Path, **options: Any) -> list[Path]:
    files = []
    for index in range(1, COUNT + 1):
        out = folder / f"part-{index}.parquet"
        extract(source, out=out, id_key=KEY, core=core(), partition=f"{index}/{COUNT}", **options)
        files.append(out)
    return files


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "splits and float16": {"split": "train=0.7,test=0.3", "dtype": "float16"},
    "exact splits": {"split": "train=0.7,test=0.3", "split_exact": True},
    "views": {"views": 3, "augment": '{"seed": 1, "flip_x": 0.5, "brightness": [0.5, 1.5]}'},
    "compact": {"layout": "compact", "facts": "exact"},
    "source order": {"order": "source"},
    "names": {"ids": "name"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_merged_partitions_are_the_bytes_of_one_run(
    pictures: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    one = extract(pictures, out=tmp_path / "one.parquet", id_key=KEY, core=core(), **options)
    parts = in_partitions(pictures, tmp_path, **options)
    if options.get("order") != "source" and "ids" not in options:
        parts.reverse()  # whatever their order
    merged = merge(parts, tmp_path / "merged.parquet")
    assert merged.errors == one.errors
    assert merged.path.read_bytes() == one.path.read_bytes()
    assert dof.validate(merged.path, deep=True) == []


def test_what_is_merged_is_known_as_the_run(pictures: Path, tmp_path: Path) -> None:
    """The command without a partition finds nothing to do."""
    merge(in_partitions(pictures, tmp_path), tmp_path / "all.parquet")
    run = planned(pictures, out=tmp_path / "all.parquet", id_key=KEY, core=core())
    assert run.is_done()


def test_a_partition_interrupted_goes_on(pictures: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"core": core(), "id_key": KEY, "partition": "2/4"}
    whole = extract(pictures, out=tmp_path / "a.parquet", **options)

    with pytest.raises(KeyboardInterrupt):
        stop = interrupt_after(1, tmp_path / "b.parquet")
        extract(pictures, out=tmp_path / "b.parquet", progress=stop, **options)
    again = extract(pictures, out=tmp_path / "b.parquet", **options)
    assert again.path.read_bytes() == whole.path.read_bytes()


def test_more_partitions_than_blocks(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "few", 3)
    one = extract(source, out=tmp_path / "one.parquet", id_key=KEY, core=core())
    merged = merge(in_partitions(source, tmp_path), tmp_path / "merged.parquet")
    assert merged.path.read_bytes() == one.path.read_bytes()


def test_a_partition_is_held_to_its_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source of more rows than one file may have is extracted in partitions that fit."""
    source = folder_of(tmp_path / "few", 70)
    monkeypatch.setattr("dof_arrow.format.parquet.layout.most_rows", lambda schema: 40)
    options: dict[str, Any] = {"core": core(), "id_key": KEY}
    with pytest.raises(OutputError, match="at most 40, found 70"):
        extract(source, out=tmp_path / "one.parquet", **options)
    part = extract(source, out=tmp_path / "part.parquet", partition="1/3", **options)
    assert len(part) == 32


def test_a_directory_of_partitions_has_ranges_of_pseudonyms(pictures: Path, tmp_path: Path) -> None:
    one = extract(pictures, out=tmp_path / "one.parquet", id_key=KEY, core=core())
    merged = merge(in_partitions(pictures, tmp_path), tmp_path / "all.dof")
    assert merged.to_arrow().equals(one.to_arrow())
    assert merged.errors == one.errors
    assert dof.validate(merged.path, deep=True) == []


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (lambda parts, other: parts[:3], r"partitions are missing.*4/4"),
        (lambda parts, other: [*parts, parts[0]], "a partition twice"),
        (lambda parts, other: [*parts[:3], parts[0]], "partitions are missing"),
        (lambda parts, other: [*parts, other], "partitions of one run, and other datasets"),
    ],
    ids=["missing", "twice", "one for another", "mixed"],
)
def test_partitions_are_merged_all_and_alone(
    pictures: Path,
    tmp_path: Path,
    chosen: Callable[[list[Path], Path], list[Path]],
    said: str,
) -> None:
    parts = in_partitions(pictures, tmp_path)
    source = folder_of(tmp_path / "other", 4)
    other = extract(source, out=tmp_path / "other.parquet", id_key=bytes(32), core=core())
    with pytest.raises(UsageError, match=said):
        merge(chosen(parts, other.path), tmp_path / "merged.parquet")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "1/2/3", "-1/4", "", "²/4"])
def test_what_is_no_partition(text: str) -> None:
    with pytest.raises(UsageError, match="no such partition"):
        Partition.parse(text)


def test_a_partition_is_no_directory(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a file of its own"):
        planned(pictures, core=core(), out=tmp_path / "x.dof", id_key=KEY, partition="1/2")


def test_partitions_share_all_numbers_out() -> None:
    for count in range(1, 9):
        parts = [Partition(index=index, count=count) for index in range(1, count + 1)]
        shared = [number for part in parts for number in part.of(range(37))]
        assert shared == list(range(37))


def test_digests_of_sizes_add_up() -> None:
    sizes = [(f"{number}.png", number * 7) for number in range(20)]
    whole = digest_of_sizes(KEY, sizes)
    assert (
        sum_of_digests([digest_of_sizes(KEY, sizes[:9]), digest_of_sizes(KEY, sizes[9:])]) == whole
    )
    assert digest_of_sizes(KEY, reversed(sizes)) == whole
    assert digest_of_sizes(bytes(32), sizes) != whole
    assert digest_of_sizes(KEY, [*sizes[1:], ("0.png", 1)]) != whole


def test_the_commands(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "id.key").write_text(KEY.hex())
    asked = ["extract", str(pictures), "--core", "builtin", "--id-key", str(tmp_path / "id.key")]
    files = []
    for index in (1, 2):
        files.append(str(tmp_path / f"{index}.parquet"))
        assert main([*asked, "-o", files[-1], "--partition", f"{index}/2"]) == 3
    assert main(["merge", *files, "-o", str(tmp_path / "all.parquet")]) == 0
    assert main([*asked, "-o", str(tmp_path / "one.parquet")]) == 3
    assert (tmp_path / "all.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
