"""Extraction into a directory: refused at once where it cannot fit, resumed as ever (row D15)."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.errors import OutputError, UsageError
from dof_arrow.extraction.dry_run import size_of_run
from dof_arrow.extraction.extract import planned
from dof_arrow.extraction.report import of_run
from tests.support.faults import watched
from tests.support.interrupts import interrupt_after
from tests.support.scenarios import core


def pictures(folder: Path, count: int, seed: int, height: int = 8) -> Path:
    folder.mkdir()
    for i in range(count):
        pixels = np.random.default_rng([seed, i]).integers(0, 256, (height, 8, 3), np.uint8)
        (folder / f"{seed}-{i}.ppm").write_bytes(b"P6 8 %d 255 " % height + pixels.tobytes())
    return folder


def extract(source: Path, out: Path | str, **options: Any) -> dof.Dataset:
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


def test_known_inputs_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, out = pictures(tmp_path / "a", 3, 1), tmp_path / "x.dof"
    (one / "broken.ppm").write_bytes(b"P6")
    extract(one, out)
    more = np.full((8, 8, 3), 9, np.uint8)
    (one / "0-more.ppm").write_bytes(b"P6 8 8 255 " + more.tobytes())
    run = planned(one, core=core(), out=out, id_key=bytes(32), workers=1)
    assert (len(run.source), run.standing.rows, run.standing.failed) == (1, 3, 1)
    ds = run.run()
    lines = [str(line).strip() for line in of_run(run, ds).inputs]
    assert lines == [
        "1  pictures read",
        "3  inputs already there",
        "1  failed before, and not tried again",
    ]
    whole = extract(one, tmp_path / "whole.parquet")
    rows = {row["id"]: row["feature"].tolist() for row in ds}
    assert rows == {row["id"]: row["feature"].tolist() for row in whole} and len(ds) == 4
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(
        "dof_arrow.extraction.local_engine.compute", lambda *_: pytest.fail("computed")
    )
    assert len(extract(one, out)) == 4
    with pytest.raises(UsageError, match="feature"):
        extract(one, out, dtype="float16")  # nothing is new, and yet it does not fit
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    os.utime(one / "1-0.ppm", (4e9, 4e9))
    run = planned(one, core=core(), out=out, id_key=bytes(32), workers=1)
    assert run.nothing_new and "1 files were changed" in " ".join(of_run(run, ds).remarks)


def test_a_part_that_lacks_no_label_fits_where_labels_may_be_missing(tmp_path: Path) -> None:
    months = [pictures(tmp_path / name, 3, seed) for seed, name in enumerate("ab")]
    out = tmp_path / "x.dof"
    for month, label in zip(months, ("", "1"), strict=True):
        rows = [
            f"{path.name},{path.name[2] if number else label}"
            for number, path in enumerate(sorted(month.iterdir()))
        ]
        table = month.with_suffix(".csv")
        table.write_text("\n".join(["file,age", *rows]))
        ds = extract(
            month, out, table=table, key="file", label="age", kind="number", missing="keep"
        )
    assert len(ds) == 6 and ds.to_arrow()["age"].null_count == 1
    assert dof.validate(out, deep=True) == []


def test_sides_are_kept_over_twelve_months(tmp_path: Path) -> None:
    """Nobody changes sides, and twelve additions hold what one extraction of all holds."""
    folder, out = tmp_path / "all", tmp_path / "x.dof"
    folder.mkdir()
    options: dict[str, Any] = {"split": "train=0.6,valid=0.2,test=0.2", "group": "patient"}
    seen: dict[str, str] = {}
    random = np.random.default_rng(7)
    rows = []
    for month in range(12):
        for number in range(4 if month else 40):
            name = f"{month:02d}-{number:02d}.ppm"
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            (folder / name).write_bytes(b"P6 8 8 255 " + pixels.tobytes())
            rows.append(f"{name},p{random.integers(0, 15)},{'ab'[number % 2]}")
        table = tmp_path / "table.csv"
        table.write_text("\n".join(["file,patient,label", *rows]))
        ds = extract(folder, out, table=table, key="file", label=["label"], **options)
        for row in ds.to_arrow(["group", "split"]).to_pylist():
            assert seen.setdefault(row["group"], row["split"]) == row["split"]
    assert len(ds.metadata.parts) == 12
    whole = tmp_path / "whole.parquet"
    at_once = extract(
        folder, whole, table=table, key="file", label=["label"], split_exact=False, **options
    )

    def contents(rows: dof.Dataset) -> dict[str, Any]:
        columns = ["group", "split", "label"]
        return {
            row["id"]: (row["feature"].tolist(), *(row[name] for name in columns)) for row in rows
        }

    assert contents(ds) == contents(at_once)


def test_what_does_not_fit_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, out = pictures(tmp_path / "a", 3, 1), tmp_path / "x.dof"
    before = extract(one, out).seal
    monkeypatch.setattr(
        "dof_arrow.extraction.local_engine.compute", lambda *_: pytest.fail("computed")
    )
    assert extract(one, out).seal == before
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


def test_row_d19_the_size_is_known_before(tmp_path: Path) -> None:
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
    monkeypatch.setattr(
        "dof_arrow.extraction.local_engine.compute", lambda *_: pytest.fail("computed")
    )
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


def test_an_addition_that_is_interrupted_ends_in_the_same_bytes(tmp_path: Path) -> None:
    source = pictures(tmp_path / "a", 40, 1)
    extract(source, tmp_path / "x.dof")
    more = pictures(tmp_path / "b", 70, 2)
    for path in more.iterdir():
        path.rename(source / path.name)
    shutil.copytree(tmp_path / "x.dof", tmp_path / "y.dof")

    with pytest.raises(KeyboardInterrupt):
        extract(source, tmp_path / "x.dof", progress=interrupt_after(1, tmp_path / "x.dof"))
    for name in ("x.dof", "y.dof"):
        extract(source, tmp_path / name)
    both = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("x.dof", "y.dof")
    ]
    assert both[0] == both[1] and len(dof.open(tmp_path / "x.dof")) == 110
