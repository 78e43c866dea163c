"""Segments of clips extracted: rows, names, failures, resume, reproduction, dry run."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

import dof_arrow as dof
from dof_arrow.cores.core import Core
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import SourceError, UsageError
from dof_arrow.extraction.dry_run import leaving, size_of_run
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.extraction.report import of_plan, of_run
from dof_arrow.extraction.reproduce import reproduce
from dof_arrow.format.raw_classes import rounded
from dof_arrow.format.validation.validate import validate
from dof_arrow.media.frames import Watched
from dof_arrow.media.video import Video
from tests.extraction.test_clip_features import in_time
from tests.support import numbered
from tests.support.pictures import KEY, core, folder_of

F = Fraction
HEADER = "clip,from,to,label"
TABLE = ["a,0,0.4,still", "b,0.24,0:00.60,moves", "a,0.3,1.1,moves", "a,1.2,,still"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of 40 frames at 25 a second, in two containers."""
    root = tmp_path_factory.mktemp("segments")
    numbered.write(root / "clips/a.mp4")
    numbered.write(root / "clips/b.webm", codec="libvpx-vp9", container="webm")
    return root


def made(folder: Path, out: Path, rows: Sequence[str] = TABLE, **options: Any) -> Dataset:
    return extract(folder / "clips", **asked(folder, out, rows, **options))


def asked(folder: Path, out: Path, rows: Sequence[str] = TABLE, **options: Any) -> dict[str, Any]:
    table = folder / f"{out.stem}.csv"
    text = "\n".join([HEADER, *rows]) + "\n"
    if not table.exists() or table.read_text() != text:
        table.write_text(text)
    given = {"table": table, "key": "clip", "start": "from", "end": "to", "label": "label"}
    return {**given, "core": core(), "out": out, "id_key": KEY, "ids": "name"} | options


def features(path: Path, numbers: Sequence[int]) -> Any:
    """Features of frames of a clip, by the core itself."""
    frames = [frame.pixels for frame in Watched(Video(path))]
    return core()([frames[number] for number in numbers])


@pytest.mark.parametrize("fps", [None, 10, 40])
@pytest.mark.parametrize("most", [None, 3])
def test_rows_are_the_frames_of_each_segment(
    fps: float | None, most: int | None, folder: Path, tmp_path: Path
) -> None:
    ds = made(folder, tmp_path / "x.parquet", fps=fps, max_frames=most)
    assert [clip.id for clip in ds.sequences()] == [
        "a.mp4#t=0,0.4",
        "a.mp4#t=0.3,1.1",
        "a.mp4#t=1.2",
        "b.webm#t=0.24,0.6",
    ]
    times = [F(k, 25) for k in range(40)]
    for clip in ds.sequences():
        name, _, bounds = clip.id.partition("#t=")
        start, _, stop = bounds.partition(",")
        rate = None if fps is None else F(fps)
        end = F(stop) if stop else None
        expected = list(numbered.within(times, F(40, 25), F(start), end, rate))[:most]
        assert clip.time.tolist() == [float(time) for _, time in expected]
        assert clip.frame.tolist() == list(range(len(expected)))
        same = features(folder / "clips" / name, [number for number, _ in expected])
        np.testing.assert_allclose(clip.features, same, atol=1e-5)
        span = clip.rows.to_arrow(["start", "end"]).to_pylist()
        told = {"start": float(start), "end": float(stop) if stop else None}
        assert span == [told] * len(clip)
    assert (ds.metadata.record.start, ds.metadata.record.end) == ("start", "end")
    assert validate(ds.path, deep=True) == []


@pytest.mark.parametrize(("window", "stride"), [(4, None), (4, 1), (4, 3)])
def test_windows_of_segments(window: int, stride: int | None, folder: Path, tmp_path: Path) -> None:
    deep: Core = in_time()
    ds = made(folder, tmp_path / "x.parquet", core=deep, window=window, stride=stride)
    frames = [frame.pixels for frame in Watched(Video(folder / "clips/a.mp4"))]
    for clip, (first, last) in zip(ds.sequences(), [(0, 10), (8, 28), (30, 40)], strict=False):
        starts = range(first, last - window + 1, stride or window)
        expected = deep([frames[start : start + window] for start in starts])  # type: ignore[misc]
        np.testing.assert_allclose(clip.features, expected, atol=1e-5)
        assert clip.time.tolist() == [start / 25 for start in starts]


def test_spans_stand_beside_columns_of_their_names(folder: Path, tmp_path: Path) -> None:
    rows = ["a,0,0.4,still,x", "b,0.24,,moves,y"]
    table = folder / "named.csv"
    table.write_text("clip,start,end,label,note\n" + "\n".join(rows) + "\n")
    given = {"table": table, "key": "clip", "start": "start", "end": "end", "label": "label"}
    kept = {"keep": ["start", "note"], "core": core(), "id_key": KEY, "ids": "name"}
    ds = extract(folder / "clips", out=tmp_path / "x.parquet", **given, **kept)
    assert ds.metadata.record.start == "segment_start" and ds.metadata.record.end == "end"
    assert ds.metadata.columns["start"].role == "kept"
    assert set(ds["segment_start"].tolist()) == {0.0, 0.24}
    assert validate(ds.path, deep=True) == []


def test_segments_are_records_of_their_clips_group(folder: Path, tmp_path: Path) -> None:
    rows = [f"{clip},{k / 10},{(k + 1) / 10},x" for clip in "ab" for k in range(10)]
    split = {"split": "train=0.5,test=0.5", "split_exact": True}
    ds = made(folder, tmp_path / "x.parquet", rows, ids="pseudonym", **split)
    table = ds.to_arrow(["id", "group", "split"]).to_pandas()
    assert table.id.nunique() == 20 and set(table.id.str.len()) == {26}
    assert table.group.nunique() == 2
    assert set(table.groupby("group").split.nunique()) == {1} and table.split.nunique() == 2
    about = ds.metadata.provenance
    assert about is not None and about.inputs == 20 and about.raw["segments"] is True
    sizes = sum(path.stat().st_size for path in (folder / "clips").iterdir())
    assert about.raw["bytes"] == rounded(sizes)  # each clip once


def test_a_split_that_parts_a_clip_is_refused(folder: Path, tmp_path: Path) -> None:
    rows = ["a,0,1,train", "a,1,1.5,test", "b,0,1,train"]
    with pytest.raises(UsageError, match="part a group"):
        made(folder, tmp_path / "x.parquet", rows, label=None, split="label")


def test_bad_segments_fail_alone_with_the_reason(folder: Path, tmp_path: Path) -> None:
    over = "the clip is over: found a clip of 1.6 seconds"
    behind = "behind the clip's end: found a clip of 1.6 seconds"
    bad = {
        "a,1,0.5,x": ("a.mp4#t=1,0.5", "table", "ends where it starts"),
        "a,-1,0.5,x": ("a.mp4#t=-1,0.5", "table", "below 0"),
        "a,so on,0.5,x": ("a.mp4#t=so%20on,0.5", "table", "start is no time"),
        "a,1,later,x": ("a.mp4#t=1,later", "table", "end is no time"),
        "a,1.6,,x": ("a.mp4#t=1.6", "segment", over),
        "b,1,1.61,x": ("b.webm#t=1,1.61", "segment", behind),
        "a,0.41,0.43,x": ("a.mp4#t=0.41,0.43", "empty", "no frame appears within"),
        "gone,0,1,x": ("gone#t=0,1", "missing", "no such file"),
    }
    whole = made(folder, tmp_path / "x.parquet")
    run = planned(folder / "clips", **asked(folder, tmp_path / "y.parquet", [*bad, *TABLE]))
    plan = of_plan(run)
    assert str(plan.inputs[0]).split() == ["7", "segments", "to", "be", "read"]
    assert sum(line.count for line in plan.inputs[1:]) == 5
    ds = run.run()
    assert np.array_equal(ds.to_numpy(), whole.to_numpy())
    assert len(ds.errors) == len(bad)
    found = {error["id"]: error for error in ds.errors}
    for row, (name, rule, reason) in bad.items():
        assert found[name]["rule"] == rule and reason in found[name]["reason"], row
    assert str(of_run(run, ds).inputs[0]).split() == ["4", "segments", "read"]
    with pytest.raises(SourceError, match="too many inputs failed"):
        made(folder, tmp_path / "z.parquet", [*bad, *TABLE], max_errors=3)


def test_a_damaged_clip_fails_only_segments_that_meet_the_damage(tmp_path: Path) -> None:
    data = numbered.clip(container="matroska")
    path = tmp_path / "clips/a.mkv"
    path.parent.mkdir()
    path.write_bytes(data[: len(data) * 3 // 4])
    whole = made(tmp_path, tmp_path / "w.parquet", ["a,,,x"], on_break="keep")
    rows = ["a,0,0.5,x", "a,0.5,0.9,y", "a,0.5,,z"]
    ds = made(tmp_path, tmp_path / "x.parquet", rows)
    assert [error["rule"] for error in ds.errors] == ["truncated"]
    assert np.array_equal(ds.to_numpy(), whole.to_numpy()[: len(ds)])
    kept = made(tmp_path, tmp_path / "k.parquet", rows, on_break="keep")
    assert kept.errors == [] and len(kept) > len(ds)


def test_resume_and_repeat_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    made(folder, out)
    want = out.read_bytes()
    assert made(folder, out).path == out and out.read_bytes() == want
    again = tmp_path / "y.parquet"
    (folder / "y.csv").write_text((folder / "x.csv").read_text())

    class Enough(Exception):
        pass

    def interrupt(done: int, total: int, failed: int) -> None:
        if done == 2:
            raise Enough

    with pytest.raises(Enough):
        extract(folder / "clips", progress=interrupt, **asked(folder, again, workers=1))
    made(folder, again, workers=1)
    assert again.read_bytes() == want
    one, two = (
        planned(folder / "clips", **asked(folder, again, [*TABLE[:-1], row]))
        for row in (TABLE[-1], "a,1.21,,still")
    )
    assert one.run_digest != two.run_digest


def test_a_dry_run_counts_segments_and_bytes(folder: Path, tmp_path: Path) -> None:
    # Clips of one container, for facts that differ are not known before.
    rows = [row for row in TABLE if row.startswith("a")]
    run = planned(folder / "clips", **asked(folder, tmp_path / "x.parquet", rows, fps=10))
    size = size_of_run(run)
    holds = {column["name"]: column["holds"] for column in leaving(run)["columns"]}
    assert "segment" in holds["frame"] and "clip's start" in holds["time"]
    assert run.kind == "segments" and run.run().path.stat().st_size == size


def test_reproduced(folder: Path, tmp_path: Path) -> None:
    ds = made(folder, tmp_path / "x.parquet", fps=10)
    named = {"table": folder / "x.csv", "key": "clip"}
    found = reproduce(
        ds, folder / "clips", core=core(), rows=1.0, tolerance=0, start="from", end="to", **named
    )
    assert found.agrees and found.rows == len(ds)
    with pytest.raises(UsageError, match="--start and --end"):
        reproduce(ds, folder / "clips", core=core(), **named)


def test_appended_to_a_directory(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.dof"
    made(folder, out, TABLE[:2])
    rows = ["a,0.3,1.1,moves", "a,1.2,,still"]
    assert len(list(made(folder, out, rows).sequences())) == 4
    assert len(list(made(folder, out, [rows[0], "b,0,0.2,still"]).sequences())) == 5


def test_refused_where_inputs_are_pictures(tmp_path: Path) -> None:
    folder_of(tmp_path / "clips", 2)
    with pytest.raises(UsageError, match="the inputs are pictures"):
        made(tmp_path, tmp_path / "x.parquet", ["a,0,1,x"])
    with pytest.raises(UsageError, match="a source of one's own"):
        extract([], core=core(), out=tmp_path / "x", start="from")  # type: ignore[arg-type]


def test_raw_segments_are_loaded(folder: Path, tmp_path: Path) -> None:
    given = asked(folder, tmp_path / "x.parquet")
    named = {name: given[name] for name in ("table", "key", "start", "end", "label")}
    raw = dof.pictures(folder / "clips", max_frames=30, mode="L", **named)
    (batch,) = raw.loader(batch_size=4, workers=0)
    assert batch.lengths.tolist() == [10, 20, 10, 9]
    numbers = [numbered.number(frame) for frame in batch.features[1][:20]]
    assert numbers == list(range(8, 28))
    spread = dof.pictures(folder / "clips", frames=3, mode="L", **named)
    (batch,) = spread.loader(batch_size=4, workers=1)
    assert [numbered.number(frame) for frame in batch[1]] == [8 + 3, 8 + 10, 8 + 16]


def test_arrays_folders_and_archives_have_segments_too(tmp_path: Path) -> None:
    frames = numbered.frames(10)
    (tmp_path / "clips").mkdir()
    np.save(tmp_path / "clips/a.npy", frames)
    rows = ["a,2,5,x", "a,0:00,0:01,y", "a,8,11,z"]
    ds = made(tmp_path, tmp_path / "x.parquet", rows, clips=True)
    np.testing.assert_allclose(ds.to_numpy(), core()([frames[k] for k in (0, 2, 3, 4)]), atol=1e-5)
    assert [error["rule"] for error in ds.errors] == ["segment"]
    ds = made(tmp_path, tmp_path / "y.parquet", ["a,0.2,0.5,x", "a,0,0.1,y"], fps=10)
    assert ds.to_numpy("time").tolist() == [0, 0.2, 0.3, 0.4]
