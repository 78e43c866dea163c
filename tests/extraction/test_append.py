"""Extraction into a directory: refused at once where it cannot fit, resumed as ever (row D15)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.errors import OutputError, UsageError
from dof_arrow.extraction.dry_run import size_of_run
from dof_arrow.extraction.extract import planned
from tests.support.faults import watched
from tests.support.scenarios import core


def pictures(folder: Path, count: int, seed: int, height: int = 8) -> Path:
    folder.mkdir()
    for i in range(count):
        pixels = np.random.default_rng([seed, i]).integers(0, 256, (height, 8, 3), np.uint8)
        (folder / f"{seed}-{i}.ppm").write_bytes(b"P6 8 %d 255 " % height + pixels.tobytes())
    return folder


def extract(source: Path, out: Path, **options: Any) -> dof.Dataset:
    return dof.extract(
        source, core=options.pop("core", core()), out=out, id_key=bytes(32), workers=1, **options
    )


def test_row_d15_each_extraction_is_a_part(tmp_path: Path) -> None:
    """Pictures of another kind than the first part's fit too, with facts in each row if asked."""
    one, two = pictures(tmp_path / "a", 5, 1), pictures(tmp_path / "b", 3, 2, height=9)
    (two / "broken.ppm").write_bytes(b"P6")
    out = tmp_path / "x.dof"
    assert len(extract(one, out, facts="exact")) == 5
    ds = extract(two, out)
    alone = [extract(source, tmp_path / f"{source.name}.parquet") for source in (one, two)]
    assert np.array_equal(ds.to_numpy(), np.concatenate([each.to_numpy() for each in alone]))
    assert [row["processing"]["height"] for row in ds] == [8] * 5 + [9] * 3
    assert len(ds.errors) == 1 and ds.metadata.provenance.inputs == 9
    assert "height" not in ds.metadata.provenance.raw  # of three inputs nothing is told
    assert dof.validate(out, deep=True) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a",
        "a.parquet",
        "b",
        "b.parquet",
        "x.dof",
    ]


def test_done_is_done_and_doubled_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, out = pictures(tmp_path / "a", 3, 1), tmp_path / "x.dof"
    before = extract(one, out).seal
    monkeypatch.setattr("dof_arrow.extraction.run.compute", lambda *_: pytest.fail("computed"))
    assert extract(one, out).seal == before
    (one / "more.ppm").write_bytes((one / "1-0.ppm").read_bytes())
    with pytest.raises(UsageError, match="holds already"):
        extract(one, out)
    other = pictures(tmp_path / "b", 2, 2)
    for options, message in (
        ({"dtype": "float16"}, "feature"),
        ({"layout": "compact"}, "layout"),
        ({"ids": "name"}, "named"),
        ({"overwrite": True}, "none are replaced"),
    ):
        with pytest.raises(UsageError, match=message):
            extract(other, out, **options)
    assert dof.open(out).seal == before and sorted(p.name for p in tmp_path.iterdir()) == [
        "a",
        "b",
        "x.dof",
    ]


def test_a_parts_name_is_durable_before_the_manifest_lists_it(tmp_path: Path) -> None:
    """Not every filesystem keeps the order of what happens in a folder between two syncs."""
    out = tmp_path / "x.dof"
    extract(pictures(tmp_path / "a", 2, 1), out)
    with watched(root=tmp_path) as trace:
        extract(pictures(tmp_path / "b", 2, 2), out)
    done = [
        (operation[0], Path(operation[-1]).name)
        for operation in trace.operations
        if operation[0] != "write"
    ]
    linked, listed = (
        done.index(("link", "data-000001.parquet")),
        done.index(("rename", "manifest.parquet")),
    )
    assert ("fsync", "x.dof") in done[linked:listed]


def test_the_size_is_known_before(tmp_path: Path) -> None:
    """Row D19: of the part, to the byte."""
    source, out = pictures(tmp_path / "a", 40, 1), tmp_path / "x.dof"
    run = planned(source, core=core(), out=out, id_key=bytes(32))
    (part,) = run.run() and dof.open(out).metadata.parts
    assert size_of_run(run) == part.bytes


def test_rows_of_another_run_wait(tmp_path: Path) -> None:
    out = tmp_path / "x.dof"
    extract(pictures(tmp_path / "a", 2, 1), out)
    extract(tmp_path / "a", tmp_path / ".x.dof.part.parquet")
    with pytest.raises(OutputError, match="wait to be added"):
        extract(pictures(tmp_path / "b", 2, 2), out)


def test_a_folder_of_other_things_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dof_arrow.extraction.run.compute", lambda *_: pytest.fail("computed"))
    (tmp_path / "x.dof").mkdir()
    (tmp_path / "x.dof" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="no dataset"):
        extract(pictures(tmp_path / "a", 2, 1), tmp_path / "x.dof")
    assert [p.name for p in (tmp_path / "x.dof").iterdir()] == ["mine.txt"]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, out = tmp_path / "key", str(tmp_path / "x.dof")
    for name, count in (("a", 3), ("b", 2), ("b", 0)):
        source = tmp_path / name if not count else pictures(tmp_path / name, count, ord(name))
        command = [
            "extract",
            str(source),
            "--core",
            "builtin",
            "-o",
            out,
            "--id-key",
            str(key),
            "--json",
        ]
        assert main.main(command) == 0
        made = json.loads(capsys.readouterr().out)
    assert made["rows"] == 5 and not made["new"] and made["bytes"] == dof.open(out).size
