"""The pictures of rows of clips: their frames, in the middle of a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.privacy import source_pictures
from dof_arrow.privacy.attacks import decoder
from dof_arrow.privacy.audit import audit
from dof_arrow.privacy.source_pictures import pictures_of, thumbnail
from tests.support.pictures import KEY

CORE = "builtin:scattering-1"
FRAMES = 5


def still(clip: int, frame: int) -> np.ndarray:
    """A grey slope, brighter from clip to clip, with a bar that moves."""
    grey = np.full((32, 32), 20 * clip, np.uint8) + np.arange(32, dtype=np.uint8)
    grey[:, 4 * frame : 4 * frame + 4] = 250
    return grey


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    """Six clips of five frames, each a folder of pictures."""
    for clip in range(6):
        folder = tmp_path / "clips" / f"c{clip}"
        folder.mkdir(parents=True)
        for frame in range(FRAMES):
            Image.fromarray(still(clip, frame)).save(folder / f"{frame}.png")
    return tmp_path / "clips"


def made(source: Path, out: Path, **options: Any) -> dof.Dataset:
    dof.extract(source, out=out, clips=True, id_key=KEY, **{"core": CORE, **options})
    return dof.open(out)


def shown(clip: int, frame: int) -> np.ndarray:
    return thumbnail(still(clip, frame)[:, :, None])


def clip_of(data: dof.Dataset, names: list[str]) -> list[str]:
    """The name of each row's clip."""
    name_of = {}
    for name in names:
        for row in data.by_names([name], id_key=KEY).to_arrow(["id"]).column(0).to_pylist():
            name_of[row] = name
    return [name_of[row] for row in data.to_arrow(["id"]).column(0).to_pylist()]


def test_the_picture_of_a_row_is_its_frame(filmed: Path, tmp_path: Path) -> None:
    data = made(filmed, tmp_path / "x.parquet")
    found = pictures_of(data, filmed, data.primary, id_key=KEY)
    assert found.places.tolist() == list(range(6 * FRAMES))
    frames = data.to_numpy("frame").tolist()
    clips = clip_of(data, [f"c{clip}" for clip in range(6)])
    for place, (name, frame) in enumerate(zip(clips, frames, strict=True)):
        assert (found.thumbnails[place] == shown(int(name[1:]), frame)).all()
    assert found.again is not None and len(found.again) == 6 * FRAMES
    same = np.abs(found.again - data.to_numpy(data.primary).reshape(30, -1)).mean()
    assert 0 < same < np.abs(found.again - found.again[::-1]).mean()


def test_of_a_window_it_is_the_frame_in_the_middle(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.extraction.test_clip_features import in_time

    core = in_time()
    data = made(filmed, tmp_path / "x.parquet", core=core, window=4, stride=1)
    monkeypatch.setattr(source_pictures, "_core", lambda rows, name: core)
    found = pictures_of(data, filmed, data.primary, id_key=KEY)
    assert len(found.places) == len(data) == 12 and found.again is not None
    clips = clip_of(data, [f"c{clip}" for clip in range(6)])
    for place, (name, window) in enumerate(zip(clips, data.to_numpy("frame"), strict=True)):
        wanted = shown(int(name[1:]), int(window) + 2)
        assert np.abs(found.thumbnails[place] - wanted).max() < 2 / 255


def test_clips_that_are_gone_or_shorter_lose_their_rows_alone(filmed: Path, tmp_path: Path) -> None:
    data = made(filmed, tmp_path / "x.parquet")
    (filmed / "c3" / "4.png").unlink()
    for path in (filmed / "c4").iterdir():
        path.write_bytes(b"no picture")
    found = pictures_of(data, filmed, data.primary, id_key=KEY)
    assert len(found.places) == 4 * FRAMES + 4


def test_an_audit_of_clips(filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_MOST", 4)  # how good it is is not asked here
    made(filmed, tmp_path / "x.parquet")
    told = audit(tmp_path / "x.parquet", source=filmed, id_key=KEY)
    by = {(each.attack, each.attacker, each.metric): each for each in told.findings}
    assert by["inversion", "ridge", "R2"].rows == 30 and by["inversion", "ridge", "R2"].groups == 6
    # Of 30 frames the four others of the own clip are no strangers.
    assert by["same picture", "cosine", "first of 26"].rows == 30
    assert told.sheet is not None
