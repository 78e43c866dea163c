"""Rows found by the inputs' own names, by whoever has the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.errors import UsageError
from tests.support.pictures import KEY, core, folder_of, pixels

NAMES = [f"{number:04d}.png" for number in range(30)]


def made(folder: Path, out: Path, **options: Any) -> dof.Dataset:
    return dof.extract(folder, out=out, **{"core": core(), "id_key": KEY, "workers": 1, **options})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = folder_of(tmp_path / "p", 30)
    (folder / "0007.png").write_bytes(b"broken")
    return folder


@pytest.mark.parametrize("options", [{}, {"ids": "name"}, {"order": "source"}], ids=str)
def test_rows_come_in_the_order_of_the_names(
    options: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    ds = made(folder, tmp_path / "x.parquet", **options)
    wanted = [20, 3, 11, 3]
    found = ds.by_names([NAMES[number] for number in wanted], id_key=KEY)
    assert np.array_equal(found.to_numpy(), core()([pixels(number) for number in wanted]))
    assert len(ds.by_names([], id_key=KEY)) == 0
    assert (
        ds.by_names(NAMES[2], id_key=KEY)[0]["id"] == ds.by_names([NAMES[2]], id_key=KEY)[0]["id"]
    )


def test_views_and_parts_of_a_directory(folder: Path, tmp_path: Path) -> None:
    views = {"views": 3, "augment": "photo", "key": "file"}
    for part, names in enumerate((NAMES[:10], NAMES[10:])):
        (tmp_path / f"{part}.csv").write_text("\n".join(["file", *names]))
        ds = made(folder, tmp_path / "x.dof", table=tmp_path / f"{part}.csv", **views)
    found = ds.by_names([NAMES[25], NAMES[4]], id_key=KEY)
    assert found.to_numpy("view").tolist() == [0, 1, 2] * 2
    plain = found.to_numpy()[::3]
    assert np.array_equal(plain, core()([pixels(25), pixels(4)]))
    part = ds[40:]
    assert len(part.by_names([part_name(ds, part)], id_key=KEY)) == 3


def part_name(ds: dof.Dataset, part: dof.Dataset) -> str:
    """The name of an input all of whose rows are in a part of the dataset."""
    last = part[-1]["id"]
    (name,) = [each for each in NAMES if each != NAMES[7] and _id(ds, each) == last]
    return name


def _id(ds: dof.Dataset, name: str) -> str:
    return str(ds.by_names([name], id_key=KEY)[0]["id"])


def test_a_site_stands_before_the_names(folder: Path, tmp_path: Path) -> None:
    ds = made(folder, tmp_path / "x.parquet", site="north")
    assert len(ds.by_names(["north/0001.png"], id_key=KEY)) == 1
    with pytest.raises(UsageError, match=r"'0001\.png'.*those with a site have its name"):
        ds.by_names(["0001.png"], id_key=KEY)


def test_what_cannot_be_found_is_told_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = made(folder, tmp_path / "x.parquet")
    unknown = [f"u{number}" for number in range(9)]
    with pytest.raises(UsageError, match=r"no row is of these inputs.*'u0', .*, and 5 more\. "):
        ds.by_names([NAMES[1], *unknown, "0007.png"], id_key=KEY)
    with pytest.raises(UsageError, match=r"another key than the one that made"):
        ds.by_names(NAMES[:2], id_key=bytes(32))
    with pytest.raises(UsageError, match=r"texts for names.*found 3, 4"):
        ds.by_names([3, "a", 4], id_key=KEY)  # type: ignore[list-item]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match=r"their key is not there.*id_key=FILE"):
        ds.by_names(NAMES[:2])
    assert not (tmp_path / "home").exists()
    (tmp_path / "key").write_text(KEY.hex())
    assert len(ds.by_names(NAMES[:2], id_key=tmp_path / "key")) == 2
