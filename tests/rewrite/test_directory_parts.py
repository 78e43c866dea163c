"""Parts of a directory: appended one by one, dropped, joined; whole at every moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.errors import FormatError, OutputError, UsageError
from dof_arrow.format import append as appending
from dof_arrow.format.file import File
from dof_arrow.format.writer import Writer
from tests.support.pictures import core, folder_of

Files = dict[str, bytes]


def part(path: Path, start: int, rows: int, width: int = 4, **options: Any) -> Path:
    numbers = np.arange(start, start + rows)
    about = {"targets": {"label": {"kind": "category", "classes": ["a", "b"]}}}
    with Writer(path, about, overwrite=True, part=True, **options) as writer:
        writer.write(
            ids=[f"r{number:05d}" for number in numbers],
            vectors={"feature": numbers[:, None].repeat(width, 1).astype(np.float32)},
            columns={"label": ["ab"[number % 2] for number in numbers], "age": numbers},
        )
        writer.fail(f"e{start:05d}", "media-truncated", "the picture ends early")
    return path


def directory(folder: Path, parts: int = 5, rows: int = 3, **options: Any) -> Path:
    out = folder / "x.dof"
    for number in range(parts):
        dof.append(out, part(folder / "part.parquet", number * rows, rows, **options))
    return out


def files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_no_part_is_opened_to_append_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the hundredth addition takes as long as the first."""
    out = directory(tmp_path, 3)
    more = part(tmp_path / "more.parquet", 100, 2)
    opened: list[str] = []
    init = File.__init__

    def noted(self: File, path: Path) -> None:
        opened.append(path.name)
        init(self, path)

    monkeypatch.setattr(File, "__init__", noted)
    dof.append(out, more)
    assert set(opened) == {"manifest.parquet", "more.parquet", "data-000003.parquet"}
    monkeypatch.undo()
    assert dof.validate(out, deep=True) == [] and len(dof.open(out)) == 11
    with pytest.raises(UsageError, match="2 rows with old ones"):
        dof.append(out, more)


def test_what_is_noted_of_ids_is_believed_only_if_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = directory(tmp_path, 2)
    double = part(tmp_path / "double.parquet", 1, 1)
    (note,) = (tmp_path / "cache/dof-arrow/ids").iterdir()
    data = bytearray(note.read_bytes())
    for spoiled in (b"", data[:-8], data[:-1] + b"\0", None):
        if spoiled is None:
            note.unlink()
        else:
            note.write_bytes(spoiled)
        with pytest.raises(UsageError, match="1 rows with old ones"):
            dof.append(out, double)
    dof.append(out, part(tmp_path / "new.parquet", 50, 1))
    assert len(list(note.parent.iterdir())) == 1


def test_a_part_of_another_size_is_noticed_before_one_is_added(tmp_path: Path) -> None:
    out = directory(tmp_path, 2)
    with (out / "data-000000.parquet").open("ab") as file:
        file.write(b"more")
    with pytest.raises(FormatError, match="another size"):
        dof.append(out, part(tmp_path / "new.parquet", 50, 1))


@pytest.mark.parametrize(("width", "rows"), [(4, 3), (1024, 4)])
def test_row_d15_compact(tmp_path: Path, width: int, rows: int) -> None:
    """Where row groups fill whole pages, and where they do not."""
    out = directory(tmp_path, 5, rows, width=width)
    before = dof.open(out)
    expected, uuid = before.to_arrow().to_pylist(), before.metadata.uuid
    after = dof.compact(out, rows=2 * rows)
    assert after.to_arrow().to_pylist() == expected
    assert [each.rows for each in after.metadata.parts] == [2 * rows, 2 * rows, rows]
    assert len(after.errors) == 5 and after.metadata.uuid != uuid
    assert dof.validate(out, deep=True) == []
    assert {path.name for path in out.iterdir()} == {
        "manifest.parquet",
        *(each.name for each in after.metadata.parts),
    }
    seal = after.seal
    assert dof.compact(out, rows=2 * rows).seal == seal  # nothing to do, nothing done
    assert len(dof.compact(out).metadata.parts) == 1
    with pytest.raises(UsageError, match="old ones"):
        dof.append(out, part(tmp_path / "part.parquet", 0, 1, width))


def test_drop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = directory(tmp_path)
    with pytest.raises(UsageError, match="2: x, y"):
        dof.drop(out, ids=["r00001", "x", "y"])
    with pytest.raises(UsageError, match=r"no such parts.*data-9"):
        dof.drop(out, parts=["data-9.parquet"])
    with pytest.raises(UsageError, match="no rows"):
        dof.drop(out, parts=[f"data-{number:06d}.parquet" for number in range(5)])
    names = tmp_path / "ids.txt"
    names.write_text("r00004\n\nr00006\nr00007\nr00008\ne00000\n")
    assert main.main(["drop", str(out), "data-000004.parquet", "--ids", str(names)]) == 0
    assert "8 rows" in capsys.readouterr().out
    ds = dof.open(out)
    left = [0, 1, 2, 3, 5, 9, 10, 11]
    assert ds.to_numpy()[:, 0].tolist() == ds.to_numpy("age").tolist() == left
    # With all its rows went the part of the last one, and its errors.
    assert [error["id"] for error in ds.errors] == ["e00003", "e00009"]
    assert dof.validate(out, deep=True) == []
    dof.append(out, part(tmp_path / "again.parquet", 6, 3))
    assert len(dof.open(out)) == 11


@pytest.mark.parametrize(
    "change",
    [
        lambda out: dof.compact(out, rows=6),
        lambda out: dof.drop(out, ids=["r00000"]),
        lambda out: dof.drop(out, parts=["data-000001.parquet"]),
    ],
)
def test_one_dataset_is_whole_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], Any]
) -> None:
    out = directory(tmp_path)
    (tmp_path / "part.parquet").unlink()
    before = files(out)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(appending._Manifest, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        change(out)
    assert files(out) == before and [path.name for path in tmp_path.iterdir()] == ["x.dof"]


def test_rows_that_wait_to_be_added_are_not_lost(tmp_path: Path) -> None:
    out = directory(tmp_path, 2)
    waiting = part(tmp_path / ".x.dof.part.parquet", 50, 1)
    with pytest.raises(OutputError, match="wait to be added"):
        dof.compact(out)
    assert waiting.exists()


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [str(part(tmp_path / f"{start}.parquet", start, 2)) for start in (0, 2)]
    out = str(tmp_path / "y.dof")
    assert main.main(["append", out, *made]) == 0
    assert main.main(["compact", out, "--rows", "10"]) == 0
    assert "4 rows" in capsys.readouterr().out
    assert main.main(["append", out, made[0]]) == 2
    assert main.main(["drop", out]) == 2


def test_a_file_that_lacks_no_value_is_written_in_the_form_of_the_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts have one schema: a column that may be missing in one may be in all."""
    out = tmp_path / "x.dof"
    for name, ages in (("a", [1, None]), ("b", [3, 4])):
        with Writer(tmp_path / f"{name}.parquet") as writer:
            column = pa.array(ages, pa.int64())
            writer.write(
                ids=[f"{name}{number}" for number in range(2)],
                vectors={"feature": np.zeros((2, 4), np.float32)},
                columns={"age": column if None in ages else np.array(ages)},
            )
    dof.append(out, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"dof merge .*b\.parquet -o .*x\.dof"):
        dof.append(out, tmp_path / "b.parquet")
    assert main.main(["merge", str(tmp_path / "b.parquet"), "-o", str(out)]) == 0
    ds = dof.open(out)
    assert ds.to_arrow()["age"].to_pylist() == [1, None, 3, 4]
    assert dof.validate(out, deep=True) == []


def test_compacted_parts_are_ranges_of_pseudonyms(tmp_path: Path) -> None:
    """So they do not tell which rows came together; and all is as one extraction has it."""
    options: dict[str, Any] = {"core": core(), "id_key": bytes(32)}
    whole = folder_of(tmp_path / "whole", 30)
    (whole / "bad.png").write_bytes(b"bad")
    (whole / "worse.png").write_bytes(b"worse")
    one = dof.extract(whole, out=tmp_path / "one.parquet", **options)
    for number, path in enumerate(sorted(whole.iterdir())):
        month = tmp_path / f"month{number % 4}"
        month.mkdir(exist_ok=True)
        (month / path.name).write_bytes(path.read_bytes())
    for number in range(4):
        dof.extract(tmp_path / f"month{number}", out=tmp_path / "x.dof", **options)
    before = dof.open(tmp_path / "x.dof")
    assert before.to_numpy("id").tolist() != one.to_numpy("id").tolist()
    made = dof.compact(tmp_path / "x.dof", rows=12)
    assert [part.rows for part in made.metadata.parts] == [12, 12, 6]
    assert made.to_arrow().equals(one.to_arrow())
    assert made.errors == one.errors
    assert dof.validate(made.path, deep=True) == []
    assert files(dof.compact(tmp_path / "x.dof", rows=12).path) == files(made.path)
