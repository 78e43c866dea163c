"""Clips become rows: a frame or a window each, with times; contiguous, in order, nothing lost."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.cores.core import Core
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import SourceError, UsageError
from dof_arrow.extraction.dry_run import size_of_run
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.validation.validate import validate
from dof_arrow.media.augment import Augmentation
from tests.support import clips, making
from tests.support.models import Builder
from tests.support.pictures import KEY, contents, core, folder_of, pixels
from tests.support.shared import shared_data

SMALL = {"height": 32, "width": 48}
SQUASHED = Preprocessing(mode="RGB", fit="squash", resize=(16, 16), scale=1 / 255)


def made(source: Any, out: Path, **options: Any) -> Dataset:
    return extract(source, **{"core": core(), "out": out, "id_key": KEY, "ids": "name"} | options)


def in_time(layout: str = "NCTHW", frames: int | str = 4) -> Core:
    """A core that sees several frames at once; its features change with their order."""
    b = Builder()
    order = {"NCTHW": None, "NTCHW": [0, 2, 1, 3, 4], "NTHWC": [0, 4, 1, 2, 3]}[layout]
    x = "picture" if order is None else b.op("Transpose", "picture", perm=order)
    x = b.op("Relu", b.op("Conv", x, b.weight(6, 3, 2, 3, 3), strides=[1, 2, 2]))
    sizes = {"C": 3, "T": frames, "H": 16, "W": 16}
    model = b.model(
        [b.op("Flatten", b.op("GlobalAveragePool", x))],
        shape=tuple(sizes[axis] for axis in layout[1:]),
    )
    declared = dataclasses.replace(SQUASHED, layout="NHWC" if layout == "NTHWC" else "NCHW")
    return Core.from_bytes(model.SerializeToString(), name="three-d", preprocess=declared)


def test_a_row_for_each_frame_row_g13(tmp_path: Path) -> None:
    """G13: encoded once by a core shared over time; a clip is a slice.

    Rows, times and counts are PyAV's own.
    """
    folder = clips.pairs(
        tmp_path / "c",
        30,
        codecs=(("libx264", "mp4"), ("libvpx-vp9", "webm")),
        lengths=(3, 5, 9),
        rates=(10, 24, 25, 30),
        **SMALL,
    )
    ds = made(
        folder,
        tmp_path / "x.parquet",
        table=folder / "clips.csv",
        key="file",
        label="direction",
        group="pair",
    )
    found = sorted(path for path in folder.iterdir() if path.suffix != ".csv")
    whole, shown = ds.to_numpy(), list(ds.sequences())
    assert [clip.id for clip in shown] == [path.name for path in found] and len(found) == 60
    for clip, path in zip(shown, found, strict=True):
        assert clip.time.tolist() == clips.account(path) and clip.frame.tolist() == [
            *range(len(clip.time))
        ]
        assert np.shares_memory(clip.features, whole)
    assert sum(len(clip.time) for clip in shown) == len(ds)
    assert ds.metadata.record.frame == "frame" and ds.metadata.record.time == "time"
    assert validate(ds.path, deep=True) == []


def test_features_are_the_cores_of_each_frame(tmp_path: Path) -> None:
    from dof_arrow.media.frames import Watched
    from dof_arrow.media.video import Video

    clip = tmp_path / "c.mp4"
    clip.write_bytes(clips.encode(clips.scene(0, 20, **SMALL)))
    expected = core()([frame.pixels for frame in Watched(Video(clip))])
    np.testing.assert_allclose(made(clip, tmp_path / "x.parquet").to_numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("layout", ["NCTHW", "NTCHW", "NTHWC"])
def test_windows_of_frames_row_g14(layout: str, tmp_path: Path) -> None:
    """G14: a core with a time axis sees windows."""
    from dof_arrow.media.frames import Watched
    from dof_arrow.media.video import Video

    clip = tmp_path / "c.mp4"
    clip.write_bytes(clips.encode(clips.scene(0, 11, **SMALL)))
    deep = in_time(layout)
    ds = made(clip, tmp_path / "x.parquet", core=deep, stride=3, window=4)
    frames = [frame.pixels for frame in Watched(Video(clip))]
    expected = deep([frames[start : start + 4] for start in (0, 3, 6)])  # type: ignore[arg-type]
    np.testing.assert_allclose(ds.to_numpy(), expected, atol=1e-5)
    assert ds.to_numpy("frame").tolist() == [0, 1, 2] and ds.to_numpy("time").tolist() == [
        0,
        0.12,
        0.24,
    ]
    assert made(clip, tmp_path / "y.parquet", core=deep).to_numpy("time").tolist() == [0, 0.16]
    assert not np.allclose(deep([frames[:4]]), deep([frames[3::-1]]))  # type: ignore[list-item]


def test_windows_that_cannot_be(tmp_path: Path) -> None:
    clip = tmp_path / "c.mp4"
    clip.write_bytes(clips.encode(clips.scene(0, 3, **SMALL)))
    for options, said in (
        ({"window": 4}, "single pictures"),
        ({"core": in_time(), "window": 5}, "different windows"),
        ({"core": in_time(frames="T")}, "--window 16"),
        ({"core": [core(), in_time()]}, "different"),
    ):
        with pytest.raises(UsageError, match=said):
            made(clip, tmp_path / "x.parquet", **options)
    with pytest.raises(SourceError, match="shorter than a window"):
        made(clip, tmp_path / "x.parquet", core=in_time())
    with pytest.raises(UsageError, match="sees clips"):
        made(folder_of(tmp_path / "p", 2), tmp_path / "x.parquet", core=in_time())
    free = made(clip, tmp_path / "x.parquet", core=in_time(frames="T"), window=2, stride=1)
    assert free.to_numpy("time").tolist() == [0, 0.04]


def test_sampling(tmp_path: Path) -> None:
    clip = tmp_path / "c.mp4"
    clip.write_bytes(clips.encode(clips.scene(0, 10, **SMALL), fps=10))
    twice = made(clip, tmp_path / "x.parquet", fps=20)
    assert twice.to_numpy("time").tolist() == [k / 20 for k in range(20)]
    assert (
        np.array_equal(twice.to_numpy()[::2], twice.to_numpy()[1::2])
        and validate(twice.path, deep=True) == []
    )
    few = made(clip, tmp_path / "y.parquet", fps=2, max_frames=1)
    assert len(few) == 1 and few.metadata.provenance is not None
    assert few.metadata.provenance.raw["clips"] == {"fps": 2, "max_frames": 1}


def test_a_broken_clip_as_asked(tmp_path: Path) -> None:
    nasty = shared_data() / "video" / "nasty"
    failed = made(nasty, tmp_path / "x.parquet")
    assert [(e["id"], e["rule"]) for e in failed.errors] == [("corrupted.mp4", "truncated")]
    kept = made(nasty, tmp_path / "y.parquet", on_break="keep")
    assert not kept.errors and len(kept) == len(failed) + 29
    assert kept.metadata.provenance is not None and kept.metadata.provenance.raw["broken"] == 1
    assert [len(c.time) for c in kept.sequences()] == [125, 29, 30, 10, 4, 3, 3]


@pytest.mark.parametrize("workers", [1, 3])
def test_equal_bytes_whatever_the_workers(workers: int, tmp_path: Path) -> None:
    folder = clips.pairs(tmp_path / "c", 4, lengths=(3, 40), **SMALL)
    first = made(folder, tmp_path / "a.parquet", workers=2)
    again = made(folder, tmp_path / "b.parquet", workers=workers)
    assert first.path.read_bytes() == again.path.read_bytes()


def test_interrupted_and_resumed_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = clips.pairs(tmp_path / "c", 6, lengths=(3, 20), **SMALL)
    whole = made(folder, tmp_path / "a.parquet").path.read_bytes()

    def stop(done: int, total: int, failed: int) -> None:
        if done in (3, 7):
            raise KeyboardInterrupt

    met = 0
    for _ in range(10):
        try:
            made(folder, tmp_path / "x.parquet", progress=stop if met < 2 else lambda *_: None)
            break
        except KeyboardInterrupt:
            met += 1
    assert met == 2 and (tmp_path / "x.parquet").read_bytes() == whole
    assert contents(tmp_path) == ["a.parquet", "c", "x.parquet"]


def test_views_are_drawn_once_a_clip_row_g4(tmp_path: Path) -> None:
    """G4: live augmentation of clips, one draw a clip, at extraction."""
    folder = clips.pairs(tmp_path / "c", 1, lengths=(6,), **SMALL)
    run = planned(
        folder,
        core=core(),
        out=tmp_path / "x.parquet",
        id_key=KEY,
        ids="name",
        views=3,
        augment=Augmentation(flip_x=0.5, brightness=(-0.2, 0.2)),
    )
    ds = run.run()
    assert ds.to_numpy("view").tolist() == [*[0] * 6, *[1] * 6, *[2] * 6] * 2
    drawn = [row["processing"]["brightness"] for row in ds.to_arrow(["processing"]).to_pylist()]
    assert len({*drawn[6:12]}) == 1 and len({*drawn}) == 5
    seen = [clip.features for clip in ds.sequences() if clip.view == 1]
    again = extract(folder, core=core(), out=tmp_path / "y.parquet", id_key=KEY, ids="name")
    assert not any(np.allclose(a, b.features) for a, b in zip(seen, again.sequences(), strict=True))
    assert validate(ds.path, deep=True) == []


def test_folders_of_frames_and_arrays(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder_of(tmp_path / "f" / name, 3)
    ds = made(tmp_path / "f", tmp_path / "x.parquet", clips=True, fps=10)
    assert [(c.id, c.time.tolist()) for c in ds.sequences()] == [
        ("one", [0, 0.1, 0.2]),
        ("two", [0, 0.1, 0.2]),
    ]
    assert np.allclose(ds.to_numpy()[:3], core()([pixels(k) for k in range(3)]), atol=1e-5)
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "clip.npy", np.stack([pixels(k) for k in range(3)]))
    again = made(tmp_path / "a", tmp_path / "y.parquet", clips=True, fps=10)
    assert np.array_equal(again.to_numpy(), ds.to_numpy()[:3])


def test_what_is_taken_for_clips(tmp_path: Path) -> None:
    from dof_arrow.sources.folder import holds_clips

    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clips.encode(clips.scene(0, 3, **SMALL)))
    (folder / "b.gif").write_bytes(
        clips.encode(clips.scene(0, 3, **SMALL), codec="gif", container="gif", pix_fmt="rgb8")
    )
    assert (
        holds_clips(folder / "a.mp4")
        and not holds_clips(folder / "b.gif")
        and not holds_clips(folder)
    )
    assert len(made(folder, tmp_path / "x.parquet")) == 1  # the picture
    assert len(made(folder, tmp_path / "y.parquet", clips=True)) == 6
    with pytest.raises(SourceError, match="no clip"):
        (tmp_path / "empty").mkdir()
        made(tmp_path / "empty", tmp_path / "z.parquet", clips=True)


def test_clips_in_a_tar_archive(tmp_path: Path) -> None:
    import tarfile

    folder = clips.pairs(tmp_path / "c", 2, lengths=(4,), **SMALL)
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        for path in sorted(folder.glob("*.mp4")):
            tar.add(path, path.name)
    ds = made(tmp_path / "c.tar", tmp_path / "x.parquet", clips=True, pictures="mp4")
    assert np.array_equal(ds.to_numpy(), made(folder, tmp_path / "y.parquet").to_numpy())


def test_the_size_is_known_beforehand(tmp_path: Path) -> None:
    folder = clips.pairs(tmp_path / "c", 3, lengths=(7,), **SMALL)
    run = planned(folder, core=core(), out=tmp_path / "x.parquet", id_key=KEY, fps=10)
    size = size_of_run(run)
    assert size == run.run().path.stat().st_size


_PEAK = """
import sys
from pathlib import Path
from dof_arrow.cores import builtin
from dof_arrow.extraction.extract import extract
core = builtin.load(pool="1x1")
ds = extract(sys.argv[1], core=core, out=sys.argv[2], id_key=bytes(32), workers=1)
assert len(ds) == int(sys.argv[3])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_one_long_clip_is_run_by_all_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches of one clip meet inside the core; a batch that fails is told as the clip's."""
    (tmp_path / "c.mp4").write_bytes(clips.encode(clips.scene(0, 33, **SMALL)))
    meeting, run = threading.Barrier(2, timeout=60), Core.run
    expected = made(tmp_path / "c.mp4", tmp_path / "x.parquet", workers=1).to_numpy()

    def together(self: Core, inputs: np.ndarray) -> np.ndarray:
        if len(inputs) == 8:
            meeting.wait()
        return run(self, inputs)

    monkeypatch.setattr(Core, "run", together)
    assert np.array_equal(
        made(tmp_path / "c.mp4", tmp_path / "y.parquet", workers=2).to_numpy(), expected
    )
    monkeypatch.setattr(Core, "run", lambda self, inputs: run(self, inputs) * np.nan)
    with pytest.raises(SourceError, match="no finite"):
        made(tmp_path / "c.mp4", tmp_path / "z.parquet", workers=2)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """Of a clip 24 times as long: its frames are 100 MiB more."""
    peaks, shown = [], clips.scene(0, 50, height=96, width=144)
    for times in (2, 48):
        clip = tmp_path / f"{times}.mp4"
        clip.write_bytes(clips.encode(np.tile(shown, (times, 1, 1, 1))))
        done = making.run(_PEAK, clip, tmp_path / f"{times}.parquet", times * 50)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert (
        peaks[1] - peaks[0] < 12 << 10
    )  # KiB; its features and all that is known of its rows are 0.3 MiB


def test_clips_into_a_directory(tmp_path: Path) -> None:
    folder = clips.pairs(tmp_path / "c", 3, lengths=(5, 9), **SMALL)
    whole = made(folder, tmp_path / "x.parquet")
    parted = made(folder, tmp_path / "x.dof")
    assert np.array_equal(parted.to_numpy(), whole.to_numpy())
    assert [len(clip.time) for clip in parted.sequences()] == [
        len(clip.time) for clip in whole.sequences()
    ]
