"""Small chunks of many files decoded together: what each file by itself gives, or that it gives."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.errors import FormatError
from dof_arrow.format.file import File
from dof_arrow.format.parquet import together
from dof_arrow.format.parquet.pages import Encoded
from dof_arrow.format.writer import Writer
from dof_arrow.tables import small_pieces

FILES = 5
_DAY = datetime.date(2020, 2, 3)
_TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "text": (pa.string(), ["a", "", "ä b", "a"]),
    "long text": (pa.large_string(), ["x" * 300, "y"]),
    "number": (pa.int64(), [1, -5, 2**60]),
    "small": (pa.int8(), [1, -5, 127]),
    "positive": (pa.uint16(), [1, 60_000]),
    "real": (pa.float32(), [0.5, float("nan"), -0.0]),
    "half": (pa.float16(), [0.5, -2.0]),
    "truth": (pa.bool_(), [True, False]),
    "day": (pa.date32(), [_DAY]),
    "clock": (pa.time32("ms"), [datetime.time(3, 4, 5)]),
    "moment": (pa.timestamp("us", "Europe/Berlin"), [datetime.datetime(2020, 1, 1)]),
    "second": (pa.timestamp("s"), [datetime.datetime(2020, 1, 1)]),
    "bytes": (pa.binary(), [b"\0\xff", b""]),
}


def _values(name: str, seed: int, rows: int, *, missing: bool) -> pa.Array:
    kind, values = _TYPES[name]
    drawn = random.Random(f"{name}{seed}")
    choices = [*values, None] if missing else values
    return pa.array([drawn.choice(choices) for _ in range(rows)], kind)


def _write(folder: Path, layout: Any) -> list[Path]:
    paths = []
    fields = [pa.field(f"{name} or none", kind) for name, (kind, _) in _TYPES.items()]
    fields += [pa.field(name, kind, nullable=False) for name, (kind, _) in _TYPES.items()]
    for number in range(FILES):
        rows = 3 + 5 * number
        path = folder / f"{number}.parquet"
        with Writer(path, layout=layout, schema=pa.schema(fields)) as writer:
            columns = {}
            for name in _TYPES:
                columns[f"{name} or none"] = _values(name, number, rows, missing=number != 2)
                columns[name] = _values(name, number, rows, missing=False)
            vectors = {"feature": np.zeros((rows, 2), np.float32)}
            writer.write(ids=[f"r{row}" for row in range(rows)], vectors=vectors, columns=columns)
        paths.append(path)
    return paths


@pytest.mark.parametrize("layout", ["mapped", "compact"])
def test_columns_of_each_type_are_as_each_file_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    paths = _write(tmp_path, layout)
    alone, files = ([File(path) for path in paths] for _ in range(2))
    flat = [field for field in alone[0].schema if not pa.types.is_nested(field.type)]
    expected = {field.name: [file.decoded(field.name) for file in alone] for field in flat}
    monkeypatch.setattr(Encoded, "column", None)
    met = 0
    for field in flat:
        small_pieces.decode_together(files, field)
        for file, column in zip(files, expected[field.name], strict=True):
            if field.name in file._decoded:
                met += 1
                assert file.decoded(field.name).type == field.type
                assert repr(file.decoded(field.name).to_pylist()) == repr(column.to_pylist())
    assert met >= FILES * (len(_TYPES) + 1)


def test_a_damaged_file_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    paths = _write(tmp_path, "mapped")
    whole = [File(path) for path in paths]
    expected = [file.decoded("text or none").to_pylist() for file in whole]
    chunk = whole[1].small_chunk("text or none")
    assert chunk is not None
    start, end = together.chunk_range(chunk.meta)
    data = bytearray(paths[1].read_bytes())
    turned = random.Random(0)
    for _ in range(60):
        bad = bytearray(data)
        bad[turned.randrange(start, end)] ^= 1 << turned.randrange(8)
        paths[1].write_bytes(bad)
        files = [File(path) for path in paths]
        small_pieces.decode_together(files, files[0].schema.field("text or none"))
        for number, file in enumerate(files):
            told = _told(file)
            if number != 1:
                assert told == expected[number]
            else:
                assert told == _told(File(paths[1]))


def _told(file: File) -> Any:
    try:
        return file.decoded("text or none").to_pylist()
    except FormatError:
        return None


def test_a_file_that_does_not_fit_is_asked_once(tmp_path: Path) -> None:
    files = [File(path) for path in _write(tmp_path, "mapped")]
    field = files[0].schema.field("text or none")
    small_pieces.decode_together(files[:1], field)
    assert files[0].is_decoded("text or none") and "text or none" not in files[0]._decoded
