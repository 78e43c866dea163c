"""Files opened: what is no DoF file is refused in words.

Nothing that a stranger wrote ends the process.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.errors import DofError, DofWarning, FormatError, UsageError
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.row_groups import assemble
from tests.support import making


def _rules(path: Path) -> list[str]:
    with pytest.raises(FormatError) as caught:
        dataset.open(path)
    return [p.rule for p in caught.value.problems]


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "file-magic"),
        (b"PAR1", "file-magic"),
        (b"x" * 1000, "file-magic"),
        (b"\x89PNG\r\n" + bytes(50), "file-magic"),
        (b"PAR1" + bytes(20) + b"\x08\x00\x00\x00PARE", "file-encrypted"),
        (b"PAR1\xff\xff\xff\x7fPAR1", "footer-length"),
        (b"PAR1" + bytes(20) + b"\x08\x00\x00\x00PAR1", "footer-schema"),
        (b"PAR1" + b"\xff" * 20 + b"\x14\x00\x00\x00PAR1", "footer-thrift"),
    ],
    ids=[
        "empty",
        "magic alone",
        "text",
        "picture",
        "encrypted",
        "length",
        "no footer",
        "no Thrift",
    ],
)
def test_row_d5_what_is_no_parquet_file(tmp_path: Path, data: bytes, rule: str) -> None:
    """D5: a file's type is told by its content."""
    path = tmp_path / "x"
    path.write_bytes(data)
    assert _rules(path) == [rule]
    with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: "):
        dataset.open(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        dataset.open(tmp_path / "x")
    with pytest.raises(UsageError, match="not a file"):
        dataset.open(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a file"):
        dataset.open(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a file"):
        dataset.open("/dev/zero")


def test_a_parquet_file_without_the_key(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x")
    assert _rules(tmp_path / "x") == ["metadata-absent"]
    with pytest.raises(FormatError, match="Make one with: dof extract"):
        dataset.open(tmp_path / "x")


def _rekeyed(path: Path, value: bytes) -> Path:
    data = path.read_bytes()
    size = footer.footer_length(data[-8:], len(data))
    struct = footer.decode(data[-size:-8])[0]
    footer.set_key_values(
        struct, [(k, value if k == b"dof" else v) for k, v in footer.key_values(struct)]
    )
    tail = footer.encode(struct)
    path.write_bytes(data[:-size] + tail + len(tail).to_bytes(4, "little") + footer.MAGIC)
    return path


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "metadata-json"),
        (b"\xff\xfe", "metadata-json"),
        (b"[1]", "metadata-json"),
        (b'{"a":1,"a":2}', "metadata-json"),
        (b'{"version": "2.0"}', "later version.*expected version 1.x, found 2.0"),
        (b'{"version": {}}', "later version"),
        (
            b'{"version": "1.0", "must_understand": ["teleport"]}',
            "found 1.0 teleport. pip install --upgrade",
        ),
        (b'{"version": "1.0", "must_understand": [["x"], {}, 3]}', "later version"),
    ],
)
def test_keys_that_are_not_for_us(tmp_path: Path, value: bytes, words: str) -> None:
    path = _rekeyed(making.write(tmp_path / "x", 3), value)
    with pytest.raises(FormatError, match=words):
        dataset.open(path)


def test_a_later_minor_version_is_read(tmp_path: Path) -> None:
    path = making.write(tmp_path / "x", 3)
    value = (
        pq.read_metadata(path)
        .metadata[b"dof"]
        .replace(b'"version":"1.0"', b'"version":"1.7","extra":{}')
    )
    with pytest.warns(DofWarning, match="does not agree with its seal"):
        assert len(dataset.open(_rekeyed(path, value))) == 3


def test_metadata_problems_are_told_when_it_is_asked_for(tmp_path: Path) -> None:
    path = _rekeyed(
        making.write(tmp_path / "x", 3), b'{"version": "1.0", "uuid": 7, "columns": {}}'
    )
    with pytest.warns(DofWarning):
        ds = dataset.open(path)
    with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: ") as caught:
        _ = ds.metadata
    assert {p.where for p in caught.value.problems} == {"$.uuid", "$.primary_column"}


def test_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    data = making.write(tmp_path / "x", 20, group=8).read_bytes()
    for end in (*range(0, len(data), 997), len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:end])
        with pytest.raises(FormatError):
            dataset.open(tmp_path / "cut")


def test_a_copy_by_another_tool_is_derived(tmp_path: Path) -> None:
    feature = making.vectors(20, 4)
    path = making.write(tmp_path / "x", 20, feature, {"label": np.arange(20)}, group=8)
    pq.write_table(pq.read_table(path).slice(3, 10), tmp_path / "copy")
    with pytest.warns(DofWarning, match="rewritten by another tool"):
        ds = dataset.open(tmp_path / "copy")
    assert ds.derived and np.array_equal(ds.to_numpy(), feature[3:13])
    assert ds.to_numpy("label").tolist() == list(range(3, 13))


def test_a_column_that_another_tool_added(tmp_path: Path) -> None:
    path = making.write(tmp_path / "x", 3, making.vectors(3, 2))
    table = pq.read_table(path)
    table = table.append_column("score", pa.array([0.1, None, 0.3])).append_column(
        "again", table["feature"]
    )
    pq.write_table(table, tmp_path / "copy")
    with pytest.warns(DofWarning):
        ds = dataset.open(tmp_path / "copy")
    assert ds[1]["score"] is None and ds[1]["again"].shape == (2,)


def test_missing_vectors_are_never_invented(tmp_path: Path) -> None:
    """Vectors are never null in DoF.

    A copy with missing ones is refused when they are asked for, not before.
    """
    path = making.write(tmp_path / "x", 4, making.vectors(4, 2))
    table = pq.read_table(path)
    for n, values in enumerate(([[1.0, 2.0]] * 3 + [None], [[1.0, 2.0]] * 3 + [[1.0, None]])):
        kind = pa.list_(pa.float32(), 2)
        holed = table.set_column(1, pa.field("feature", kind), pa.array(values, kind))
        pq.write_table(holed, tmp_path / str(n))
        with pytest.warns(DofWarning):
            ds = dataset.open(tmp_path / str(n))
        assert ds.to_arrow(["id"]).num_rows == 4
        with pytest.raises(FormatError, match="column feature"):
            ds.to_numpy()


def test_a_changed_byte_of_the_data_is_no_matter_of_opening(tmp_path: Path) -> None:
    path = making.write(tmp_path / "x", 20, making.vectors(20, 4))
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    dataset.open(path)  # `dof validate --deep` reads the data; opening does not


def test_a_false_seal_is_told(tmp_path: Path) -> None:
    path = making.write(tmp_path / "x", 3)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"dof-arrow version", b"dof-arrow Version"))
    with pytest.warns(DofWarning, match="does not agree with its seal"):
        assert dataset.open(path).derived


def _use(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DofWarning)
        ds = dataset.open(path)
        repr(ds)
        ds.to_numpy()
        ds.to_arrow()
        ds.take([1, 0]).to_arrow()
        _ = ds[0], ds.errors, ds.columns


def _sample(path: Path) -> bytes:
    from dof_arrow.format.parquet.layout import Geometry
    from dof_arrow.format.writer import Writer

    with Writer(path, geometry=Geometry(8, 64)) as writer:
        writer.write(
            ids=making.ids(20),
            vectors={"feature": making.vectors(20, 4)},
            columns={"label": np.arange(20, dtype=np.int16), "note": ["a", "b"] * 10},
        )
        writer.fail("x", "decode", "why")
    return path.read_bytes()


def test_mutations_are_read_or_refused(tmp_path: Path) -> None:
    """Mostly of the footer, where the claims are; no crash, no other error than a DofError."""
    data, draw, refused = _sample(tmp_path / "x"), random.Random(1), 0
    size = footer.footer_length(data[-8:], len(data))
    for number in range(1500):
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 5))):
            at = draw.randrange(len(data) - size if draw.random() < 0.8 else 0, len(data))
            changed[at] = draw.choice((changed[at] ^ 1 << draw.randrange(8), draw.randrange(256)))
        path = tmp_path / f"m{number % 8}"
        path.write_bytes(changed)
        try:
            _use(path)
        except DofError:
            refused += 1
    assert 500 < refused < 1500


_IN_A_PROCESS = """
import sys
from pathlib import Path
from dof_arrow.errors import DofError
from tests.format import test_file as test_reading
try:
    test_reading._use(Path(sys.argv[1]))
except DofError:
    pass
"""


@pytest.mark.parametrize(
    "field",
    [
        footer.ColumnMeta.CODEC,
        footer.ColumnMeta.TYPE,
        footer.ColumnMeta.DATA_PAGE,
        footer.ColumnMeta.VALUES,
        footer.ColumnMeta.STORED_BYTES,
    ],
)
@pytest.mark.parametrize("value", [-1, 99, 1 << 30])
@pytest.mark.parametrize("column", [0, 1, 3])
def test_a_footers_lies_do_not_end_the_process(
    tmp_path: Path, field: int, value: int, column: int
) -> None:
    """pyarrow's own view of a chunk aborts the process on a codec that it does not know."""
    data = _sample(tmp_path / "x")
    size = footer.footer_length(data[-8:], len(data))
    struct = footer.decode(data[-size:-8])[0]
    footer.put([m for _, c, m in footer.chunks(struct) if c == column][1], field, value)
    tail = footer.encode(struct)
    (tmp_path / "x").write_bytes(
        data[:-size] + tail + len(tail).to_bytes(4, "little") + footer.MAGIC
    )
    if (
        field in (footer.ColumnMeta.CODEC, footer.ColumnMeta.TYPE) and value == 99
    ):  # these end a process: in their own
        done = making.run(_IN_A_PROCESS, tmp_path / "x")
        assert done.returncode == 0, done.stderr
        return
    with contextlib.suppress(DofError):
        _use(tmp_path / "x")


def test_row_groups_that_do_not_add_up_are_not_mapped(tmp_path: Path) -> None:
    data = _sample(tmp_path / "x")
    size = footer.footer_length(data[-8:], len(data))
    struct = footer.decode(data[-size:-8])[0]
    footer.put(struct, footer.FileMetaData.ROWS, 12)
    tail = footer.encode(struct)
    (tmp_path / "x").write_bytes(
        data[:-size] + tail + len(tail).to_bytes(4, "little") + footer.MAGIC
    )
    with pytest.raises(FormatError):
        _use(tmp_path / "x")


def test_a_footer_of_its_own_is_opened_in_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening touches the file's last bytes alone: one read of at most 64 KiB."""
    path = making.write(tmp_path / "x", 3000, making.vectors(3000, 64), group=1024)
    reads: list[tuple[int, int]] = []
    real = os.pread

    def counted(file: int, count: int, offset: int) -> bytes:
        reads.append((count, offset))
        return real(file, count, offset)

    monkeypatch.setattr(os, "pread", counted)
    dataset.open(path)
    assert len(reads) == 1 and reads[0][0] <= 1 << 16
    dataset.open(path).to_numpy()
    assert sum(count for count, _ in reads[2:]) < 2000, (
        "the proof reads page headers and the levels' lengths"
    )


def test_assembled_without_rows(tmp_path: Path) -> None:
    tail = assemble(
        pa.schema([pa.field("id", pa.string())], metadata={b"dof": b"{}"}), [], [bytes(32)]
    )
    (tmp_path / "x").write_bytes(footer.MAGIC + tail)
    assert pq.read_table(tmp_path / "x").num_rows == 0
