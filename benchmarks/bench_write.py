"""Writing, digests and finiteness checks included, against `pq.write_table` of the same table; sizes; editing."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import in_turn, keep, ratio
from dof_arrow.extraction.dry_run import size_of_rows
from dof_arrow.format.parquet.layout import geometry
from dof_arrow.format.writer import Writer

WIDTHS = (16, 32, 64, 128, 512, 1280)


def run(rows: int = 100_000, width: int = 512, runs: int = 7) -> dict[str, Any]:
    """Seconds and ratios of writing `rows` x `width` float32 with ids and labels, files synced by neither."""
    x = np.random.default_rng(0).standard_normal((rows, width), dtype="f4")
    ids = pa.array([f"{i:026d}" for i in range(rows)])
    labels = np.arange(rows) % 10
    table = pa.table(
        {
            "id": ids,
            "label": labels,
            "feature": pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), width),
        }
    )
    group = geometry([width * 4, 8]).rows
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "x.dof.parquet"), Path(folder, "x.parquet")

        def write() -> None:
            with Writer(ours, overwrite=True) as writer:
                writer.write(ids=ids, vectors={"feature": x}, columns={"label": labels})

        def plain() -> None:
            pq.write_table(
                table,
                theirs,
                row_group_size=group,
                data_page_size=1 << 30,
                max_rows_per_page=1 << 30,
                use_dictionary=False,
                compression="none",
                write_statistics=False,
            )
            with theirs.open(
                "rb"
            ) as file:  # ours is on the disk when it returns, so theirs must be
                import os

                os.fsync(file.fileno())

        def default() -> None:
            pq.write_table(table, theirs)

        rivals = {
            "dof": write,
            "pyarrow, one page a group, synced": plain,
            "pyarrow, defaults": default,
        }
        seconds = in_turn(rivals, runs)
        raw = x.nbytes + 8 * rows + 26 * rows
        sizes = {"dof": ours.stat().st_size, "raw vectors, ids, labels": raw}
    return {
        "rows": rows,
        "width": width,
        "seconds": seconds,
        "sizes": sizes,
        "size_ratio": sizes["dof"] / raw,
        "speed_against_pyarrow": ratio(seconds, "dof", "pyarrow, one page a group, synced"),
        "levels_cost": {
            w: round(size_of_rows(100_000, (w,)) / (100_000 * (w * 4 + 30)), 4) for w in WIDTHS
        },
    }


def edit(rows: int = 500_000, width: int = 512, runs: int = 5) -> dict[str, Any]:
    """Seconds of editing the title of a file of about 1 GB, against copying it."""
    from dof_arrow.rewrite.edit import edit as edit_file

    with tempfile.TemporaryDirectory() as folder:
        path, copy = Path(folder, "x.dof.parquet"), Path(folder, "copy")
        with Writer(path) as writer:
            for start in range(0, rows, 10_000):
                values = np.random.default_rng(start).standard_normal((10_000, width), dtype="f4")
                writer.write(
                    ids=[f"{i:026d}" for i in range(start, start + 10_000)],
                    vectors={"feature": values},
                )
        number = iter(range(1000))
        seconds = in_turn(
            {
                "dof edit": lambda: edit_file(path, set={"title": f"edition {next(number)}"}),
                "copy": lambda: _synced_copy(path, copy),
            },
            runs,
        )
        size = path.stat().st_size
    return {
        "bytes": size,
        "seconds": seconds,
        "edit_over_copy": 1 / ratio(seconds, "dof edit", "copy"),
    }


def _synced_copy(path: Path, copy: Path) -> None:
    import os

    shutil.copyfile(path, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="a try-out, not a measurement")
    small = parser.parse_args().small
    keep("write", run(5_000, runs=2) if small else run())
    keep("edit", edit(20_000, runs=2) if small else edit())


if __name__ == "__main__":
    main()
