"""An edited file as a file: its mode, owner, links, other writers and readers."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.errors import OutputError
from dof_arrow.rewrite import reassemble
from dof_arrow.storage.atomic import Output, replacing
from tests.support import editing
from tests.support.editing import edit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return editing.write(tmp_path / "x.dof.parquet")


@pytest.mark.parametrize("mode", [0o640, 0o400, 0o664])
def test_mode_bits_stay(path: Path, mode: int) -> None:
    path.chmod(mode)
    edit.edit(path, set={"title": "x"})
    assert stat.S_IMODE(path.stat().st_mode) == mode
    edit.edit(path, set={"title": "y"}, out=path.with_name("y"))
    assert stat.S_IMODE(path.with_name("y").stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(path: Path) -> None:
    os.chown(path, 12345, 23456)
    edit.edit(path, set={"title": "x"})
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_a_private_file_is_private_while_it_is_copied(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    path.chmod(0o400)
    copy = reassemble.copy

    def watched(old: int, out: Output, size: int) -> None:
        seen.append(stat.S_IMODE(out.path.stat().st_mode))
        copy(old, out, size)

    monkeypatch.setattr(reassemble, "copy", watched)
    edit.edit(path, set={"title": "x"})
    assert seen == [0o600]


def test_a_link_goes_on_pointing_at_the_file(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path.name)
    edit.edit(link, set={"title": "x"})
    assert link.is_symlink() and dataset.open(path).metadata.info.title == "x"


def test_another_output(path: Path) -> None:
    original, out = path.read_bytes(), path.with_name("y.dof.parquet")
    assert edit.edit(path, set={"title": "x"}, out=out).path == out
    assert path.read_bytes() == original
    with pytest.raises(OutputError, match="exists already"):
        edit.edit(path, set={"title": "y"}, out=out)
    assert edit.edit(path, set={"title": "y"}, out=out, overwrite=True).metadata.info.title == "y"


def test_an_open_dataset_goes_on_seeing_the_old_file(path: Path) -> None:
    ds = dataset.open(path)
    feature = ds.to_numpy()
    kept = feature.copy()
    edit.edit(path, set={"title": "x"})
    assert ds.metadata.info.title == "Lungs" and np.array_equal(feature, kept)
    assert np.array_equal(dataset.open(path).to_numpy(), kept)


def test_a_second_writer_is_refused(path: Path) -> None:
    with (
        pytest.raises(OutputError, match="another process is working"),
        replacing(path, overwrite=True),
    ):
        edit.edit(path, set={"title": "x"})


def test_no_edit_is_lost_to_another(path: Path) -> None:
    plan = edit.prepare(path, edit.Wanted(set={"title": "late"}))
    edit.edit(path, set={"notes": "early"})
    with pytest.raises(OutputError, match=r"replaced by another process meanwhile.*Repeat"):
        edit.carry_out(plan)
    assert dataset.open(path).metadata.info.notes == "early" and not list(path.parent.glob(".*"))
