"""Statistics that are false: no way of writing takes them over, and they can be mended (SPEC 6.8)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dof_arrow.cli.main import main
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.append import append
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import BINARY, ColumnMeta
from dof_arrow.format.parquet.statistics import Statistics
from dof_arrow.format.validation.validate import validate
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.convert import save
from dof_arrow.rewrite.mend_statistics import mend_statistics
from dof_arrow.rewrite.merge import merge
from tests.conformance.spoil import spoiled

NUMBERS = pa.array([1.0, float("nan"), 3.0, None])


def written(path: Path, first: str = "a", rows: int = 4) -> Path:
    """Rows of which one has NaN; vectors that fill pages."""
    with Writer(path, schema=pa.schema([pa.field("v", pa.float64())])) as writer:
        writer.write(
            ids=[f"{first}{row}" for row in range(rows)],
            vectors={"feature": np.ones((rows, 1024), np.float32)},
            columns={
                "v": NUMBERS,
                "n": np.arange(rows),
                "list": [[row * 1.0] for row in range(rows)],
            },
        )
    return path


def falsified(path: Path) -> Path:
    """The same file, sealed, with bounds that leave out NaN, and a number that is too small."""

    def edit(struct: footer.Struct) -> None:
        for _, _, meta in footer.chunks(struct):
            name = footer.items(meta, ColumnMeta.PATH)[0]
            bound = (
                BINARY,
                np.float64(1.0).tobytes() if name == b"v" else (2).to_bytes(8, "little"),
            )
            if name in (b"v", b"n"):
                meta[ColumnMeta.STATISTICS][1][Statistics.LARGEST] = bound
            if name == b"v":
                meta[ColumnMeta.STATISTICS][1][Statistics.SMALLEST] = bound

    path.write_bytes(spoiled(path.read_bytes(), late=edit))
    return path


def false(path: Path) -> list[str]:
    return sorted(
        told.where for told in validate(path, deep=True) if told.rule == "statistics-false"
    )


def test_deep_validation_names_column_and_group(tmp_path: Path) -> None:
    path = falsified(written(tmp_path / "x.parquet"))
    assert false(path) == ["row group 0, column n", *["row group 0, column v"] * 2]
    assert validate(path) == []


def _merged(path: Path, folder: Path) -> Path:
    merge([path, written(folder / "other.parquet", "b")], folder / "out.parquet")
    return folder / "out.parquet"


def _labelled(path: Path, folder: Path) -> Path:
    changed = dataset.open(path).with_columns({"kept": np.arange(4)})
    return save(changed, folder / "out.parquet")


def _saved(path: Path, folder: Path) -> Path:
    return save(dataset.open(path), folder / "out.parquet", layout="compact")


@pytest.mark.parametrize("write", [_merged, _labelled, _saved])
def test_no_way_of_writing_takes_them_over(
    tmp_path: Path, write: Callable[[Path, Path], Path]
) -> None:
    path = falsified(written(tmp_path / "x.parquet"))
    out = write(path, tmp_path)
    assert validate(out, deep=True) == []
    assert pq.read_table(out, filters=[("n", "==", 3)], columns=["id"])["id"][0].as_py() == "a3"


def test_a_directory_refuses_such_a_part(tmp_path: Path) -> None:
    path = falsified(written(tmp_path / "x.parquet"))
    with pytest.raises(FormatError, match=r"column n.*dof repair|dof repair"):
        append(tmp_path / "set.dof", path)
    assert not (tmp_path / "set.dof").exists()


def test_mended_the_file_is_what_it_was(tmp_path: Path) -> None:
    """Only the footer is another; data, digests and uuid stay."""
    path = written(tmp_path / "x.parquet")
    before = path.read_bytes()
    uuid = dataset.open(path).metadata.uuid
    falsified(path)
    mended = mend_statistics(path)
    assert path.read_bytes() == before
    assert validate(path, deep=True) == [] and mended.metadata.uuid == uuid
    stamp = path.stat().st_mtime_ns
    mend_statistics(path)
    assert path.stat().st_mtime_ns == stamp


def test_the_command_says_what_it_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = falsified(written(tmp_path / "x.parquet"))
    assert main(["repair", str(path), "--statistics"]) == 0
    assert "row group 0, column n" in capsys.readouterr().out
    assert main(["repair", str(path), "--statistics"]) == 0
    assert "its statistics are true" in capsys.readouterr().out
    assert main(["repair", str(path), "--statistics", "--discard"]) == 2


def test_a_directory_is_written_anew_instead(tmp_path: Path) -> None:
    append(tmp_path / "set.dof", written(tmp_path / "x.parquet"))
    with pytest.raises(UsageError, match="dof convert"):
        mend_statistics(tmp_path / "set.dof")


def test_a_footer_says_the_same_however_rows_were_cut(tmp_path: Path) -> None:
    found = dataset.open(written(tmp_path / "x.parquet"))
    assert isinstance(found, Dataset)
    said = pq.read_metadata(tmp_path / "x.parquet").row_group(0)
    statistics = {said.column(c).path_in_schema: said.column(c).statistics for c in range(5)}
    assert not statistics["v"].has_min_max and statistics["v"].null_count == 1
    assert (statistics["n"].min, statistics["n"].max) == (0, 3)
    assert statistics["list.list.element"] is None and statistics["id"] is None
