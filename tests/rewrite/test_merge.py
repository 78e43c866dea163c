"""Files put together, in one file or a directory (row D15).

Chunks are copied as bytes where geometry allows, else rows are rewritten.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.errors import DofWarning, FormatError, OutputError, UsageError
from dof_arrow.format.file import File
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.rewrite.merge import common_alignment, merge
from tests.support import making

VALUES = making.vectors(1500, 64)
RAW = ({"width": 8, "bits": 8, "bytes": 10}, {"width": 9, "bits": 8, "bytes": 5})


def part(
    path: Path,
    first: int,
    rows: int,
    number: int = 0,
    geometry: Geometry | None = None,
    text: bytes = b"how",
    **options: Any,
) -> Path:
    """Rows of VALUES from `first` on; each part lists one input that failed, and has a document."""
    provenance = {"inputs": rows + 1, "failed": 1, "raw": RAW[number % 2]}
    about = {"provenance": provenance, "info": {"title": f"part {number}"}}
    with dof.Writer(path, about, geometry=geometry, **options) as writer:
        writer.write(
            ids=[f"{i:026d}" for i in range(first, first + rows)],
            vectors={"feature": VALUES[first : first + rows]},
            columns={"split": pa.array(["train"] * rows, pa.string())},
        )
        writer.fail(f"lost {first}", "truncated", "the picture ends too soon")
        writer.attach("protocol.txt", text, "text/plain")
    return path


def parts(
    folder: Path, *sizes: int, geometry: Geometry | None = None, **options: Any
) -> list[Path]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [
        part(folder / f"p{n}.parquet", ends[n], size, n, geometry, **options)
        for n, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    "sizes, geometry, copied",
    [
        ((512, 256, 700), Geometry(256, 65_536), True),
        ((512, 300, 688), Geometry(256, 65_536), False),
        ((100, 200), None, False),
        ((512,), None, True),
        ((300, 0, 200), None, False),
    ],
)
def test_row_d15_rows_of_all_parts_in_one_file(
    tmp_path: Path, sizes: tuple[int, ...], geometry: Geometry | None, copied: bool
) -> None:
    given = parts(tmp_path, *sizes, geometry=geometry)
    assert (common_alignment([File(p) for p in given]) is not None) == copied
    ds = merge(given, tmp_path / "all.parquet")
    rows = sum(sizes)
    assert np.array_equal(ds.to_numpy(), VALUES[:rows]) and not ds.to_numpy().flags.owndata
    assert ds.to_numpy("id").tolist() == [f"{i:026d}" for i in range(rows)]
    assert len(ds.errors) == len(sizes) and ds.document("protocol.txt") == b"how"
    assert ds.metadata.splits["train"].rows == rows and ds.metadata.info.title == "part 0"
    about = ds.metadata.provenance
    assert (about.inputs, about.failed, len(about.parents)) == (
        rows + len(sizes),
        len(sizes),
        len(sizes),
    )
    assert dof.validate(tmp_path / "all.parquet", deep=True) == []


def test_copied_chunks_are_those_that_a_writer_makes(tmp_path: Path) -> None:
    given = parts(tmp_path, 512, 256, 500, geometry=Geometry(256, 65_536))
    merged = merge(given, tmp_path / "all.parquet")
    one = dof.open(part(tmp_path / "one.parquet", 0, 1268, geometry=Geometry(256, 65_536)))
    assert merged.metadata.uuid == one.metadata.uuid  # digests of all chunks, gaps included


def test_compact_parts_stay_compact(tmp_path: Path) -> None:
    ds = merge(parts(tmp_path, 100, 200, layout="compact"), tmp_path / "all.parquet")
    assert ds.metadata.columns["feature"].layout == "encoded" and np.array_equal(
        ds.to_numpy(), VALUES[:300]
    )
    assert dof.validate(tmp_path / "all.parquet", deep=True) == []


def test_what_raw_inputs_were_like_is_told_of_all(tmp_path: Path) -> None:
    raw = merge(parts(tmp_path, 10, 20), tmp_path / "all.parquet").metadata.provenance.raw
    assert raw == {"width": {"8": 10, "9": 20}, "bits": 8, "bytes": 15}


def test_documents_of_one_name_are_told_apart(tmp_path: Path) -> None:
    with pytest.warns(DofWarning, match=r"protocol\.txt"):
        ds = merge(
            [*parts(tmp_path, 10), part(tmp_path / "b.parquet", 10, 3, text=b"other")],
            tmp_path / "all.parquet",
        )
    assert ds.document("protocol.txt") == b"how"


def test_into_a_directory_and_from_one(tmp_path: Path) -> None:
    given = parts(tmp_path, 512, 512, 470, geometry=Geometry(256, 65_536))
    ds = merge(given[:2], tmp_path / "x.dof")
    assert len(ds) == 1024 and len(ds.metadata.parts) == 2
    ds = merge(given[2:], tmp_path / "x.dof")
    assert np.array_equal(ds.to_numpy(), VALUES[:1494]) and not ds.to_numpy().flags.owndata
    assert dof.validate(tmp_path / "x.dof", deep=True) == []
    back = merge([tmp_path / "x.dof"], tmp_path / "back.parquet")
    assert np.array_equal(back.to_numpy(), VALUES[:1494]) and len(back.errors) == 3
    ds = merge(given[2:], tmp_path / "x.dof", overwrite=True)
    assert len(ds) == 470 and sorted(p.name for p in (tmp_path / "x.dof").iterdir())[1:] == [
        "manifest.parquet"
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["x.dof", "back.parquet", *(p.name for p in given)]
    )


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    a, b = parts(tmp_path, 100, 200)
    wide = making.write(tmp_path / "wide.parquet", 3, making.vectors(3, 8))
    other = part(tmp_path / "other.parquet", 0, 3)
    with dof.Writer(other, overwrite=True) as writer:
        writer.write(ids=[f"{i:026d}" for i in range(3)], vectors={"feature": VALUES[5:8]})
    before = {p.name for p in tmp_path.iterdir()}
    for out in (tmp_path / "all.parquet", tmp_path / "all.dof"):
        with pytest.raises(UsageError, match="different inputs under one id"):
            merge([a, b, other], out)
        with pytest.raises(UsageError, match=r"another kind.*column"):
            merge([a, wide], out)
    with pytest.raises(OutputError, match="exists"):
        merge([a], b)
    with pytest.raises(UsageError, match="nothing"):
        merge([], tmp_path / "all.parquet")
    data = bytearray(a.read_bytes())
    data[9000] ^= 1
    a.write_bytes(data)
    for out in (tmp_path / "all.parquet", tmp_path / "all.dof"):
        with pytest.raises(FormatError, match="damaged"):
            merge([a, b], out)
    assert {p.name for p in tmp_path.iterdir()} == before


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(p) for p in parts(tmp_path, 10, 20)]
    assert main.main(["merge", *given, "-o", str(tmp_path / "all.parquet"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 30
    assert main.main(["merge", *given, "-o", str(tmp_path / "all.parquet")]) == 2
