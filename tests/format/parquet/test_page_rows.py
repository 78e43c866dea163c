"""Single rows of encoded columns, from their pages alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError
from dof_arrow.format.file import File
from dof_arrow.format.parquet import page_rows
from dof_arrow.format.parquet.compact import get
from dof_arrow.format.parquet.footer import ColumnMeta
from tests.support.making_rows import features, made

ROWS, WIDTH = 20_000, 128  # 10 MB in ten pages, in row groups of 16,384 and 3,616 rows
SOME = np.array([19_999, 3, 16_383, 16_384, 3])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("pages") / "x.dof.parquet"
    return made(path, ROWS, WIDTH, layout="compact", group_rows=16_384)


@pytest.fixture
def ds(whole: Dataset) -> Dataset:
    return Dataset(File(Path(str(whole.path))), slice(0, ROWS))


def decoded(ds: Dataset) -> set[str]:
    """The columns that were decoded as a whole."""
    file = ds.table
    assert isinstance(file, File)
    return set(file._decoded)


def test_a_row_is_read_without_the_column(ds: Dataset) -> None:
    for row in SOME.tolist():
        found = ds[row]
        assert found["id"] == f"r{row:05d}" and found["age"] == 20 + row * 7 % 60
        assert np.array_equal(found["feature"], features(ROWS, WIDTH)[row])
    assert "feature" not in decoded(ds)


def test_few_rows_by_pages_and_many_as_a_whole(ds: Dataset) -> None:
    expected = features(ROWS, WIDTH)
    few = np.array([19_999, 3, 19_999])
    assert np.array_equal(ds.take(few).to_numpy(), expected[few])
    assert np.array_equal(ds[16_000:17_000].to_numpy(), expected[16_000:17_000])
    vectors = ds[16_000:17_000].to_arrow(["feature"]).column(0).combine_chunks()
    assert np.array_equal(vectors.flatten(), expected[16_000:17_000].reshape(-1))
    assert ds[5:5].to_numpy().shape == ds.take(few[:0]).to_numpy().shape == (0, WIDTH)
    assert "feature" not in decoded(ds)
    assert np.array_equal(ds[:15_000].to_numpy(), expected[:15_000])
    assert "feature" in decoded(ds)
    assert np.array_equal(ds[7]["feature"], expected[7])


def test_texts_and_numbers_go_by_pages_too(ds: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_rows, "_SMALL", 0)
    monkeypatch.setattr(page_rows, "_SHARE", 1)
    assert [ds[row]["id"] for row in SOME.tolist()] == [f"r{row:05d}" for row in SOME.tolist()]
    assert "id" not in decoded(ds)


def test_pages_are_kept_within_bounds(ds: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_rows, "_KEPT", 3 << 20)
    for row in range(0, ROWS, 500):
        assert ds[row]["feature"][0] == row
    assert isinstance(ds.table, File)
    pages = ds.table._paged["feature"]
    assert pages is not None and 0 < pages._kept <= 3 << 20
    assert pages._kept == sum(page.nbytes for page in pages._decoded.values())


def test_a_column_that_is_asked_for_row_by_row_is_decoded_in_the_end(
    ds: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_rows, "_KEPT", 0)
    monkeypatch.setattr(page_rows, "_OFTEN", 1)
    for row in range(0, ROWS, 1000):
        assert ds[row]["feature"][0] == row
    assert "feature" in decoded(ds)


def test_what_is_wrong_with_a_page_is_said(tmp_path: Path, ds: Dataset) -> None:
    assert isinstance(ds.table, File)
    outline = ds.table.outline
    (leaf,) = [at for at, path in enumerate(outline.leaves) if path[0] == b"feature"]
    data = bytearray(Path(str(ds.path)).read_bytes())
    start = get(outline.column(leaf)[1], ColumnMeta.DATA_PAGE)
    data[start : start + 8] = b"\xff" * 8
    (tmp_path / "broken.dof.parquet").write_bytes(data)
    broken = Dataset(File(tmp_path / "broken.dof.parquet"), slice(0, ROWS))
    assert broken[3]["feature"][0] == 3  # the other row group is whole
    with pytest.raises(FormatError) as error:
        broken[19_000]
    assert error.value.problems[0].rule == "page-bounds"
