"""The numpy type of a column follows from the column's type, and no value is rounded."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa

import dof_arrow as dof

DAY = dt.date(2024, 2, 29)
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 250)
LARGE = 2**53 + 1


def _open(path: Path, columns: dict[str, pa.Array]) -> dof.Dataset:
    with dof.Writer(path) as writer:
        vectors = {"feature": np.ones((3, 2), np.float32)}
        writer.write(ids=["a", "b", "c"], vectors=vectors, columns=columns)
    return dof.open(path)


def test_dates_times_and_integers_with_and_without_missing_values(tmp_path: Path) -> None:
    kinds = {
        "day": (pa.date32(), DAY, "datetime64[D]", np.datetime64(DAY)),
        "moment": (pa.timestamp("us"), MOMENT, "datetime64[us]", np.datetime64(MOMENT)),
        "zoned": (pa.timestamp("ns", "UTC"), MOMENT, "datetime64[ns]", np.datetime64(MOMENT)),
        "clock": (pa.time64("us"), dt.time(1), "timedelta64[us]", np.timedelta64(3600, "s")),
        "count": (pa.int64(), LARGE, "int64", LARGE),
        "small": (pa.uint8(), 200, "uint8", 200),
        "flag": (pa.bool_(), True, "bool", True),
    }
    full = {name: pa.array([value] * 3, kind) for name, (kind, value, *_) in kinds.items()}
    gaps = {name: pa.array([value, None, value], kind) for name, (kind, value, *_) in kinds.items()}
    whole = _open(tmp_path / "full.parquet", full)
    holed = _open(tmp_path / "gaps.parquet", gaps)
    for name, (_, _, dtype, expected) in kinds.items():
        for ds in (whole, holed, holed[1:], holed.take([2, 1, 0])):
            values = ds.to_numpy(name)
            assert values.dtype == dtype, name
        assert whole.to_numpy(name)[0] == expected, name
        assert holed.to_numpy(name)[2] == expected, name
        missing = holed.to_numpy(name)[1]
        assert missing is np.ma.masked or np.isnat(missing), name
    assert holed.to_numpy("count").tolist() == [LARGE, None, LARGE]
