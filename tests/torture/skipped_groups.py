"""No row is lost where readers leave out row groups by statistics (`python -m tests.torture.skipped_groups [TABLES]`).

A table is a column of values of some type, with NaN, missing values, zeros of both signs and extremes; a file holds one
of each type. It is written in two files in random pieces, which are merged, and then labelled. Every predicate is asked
of pyarrow, Polars and DuckDB, of our file and of the values in memory, where all rows are looked at. The report is kept
in `results/skipped_groups.json`.
"""

from __future__ import annotations

import datetime as dt
import json
import operator
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as arrow
import pyarrow.parquet as pq

from dof_arrow.dataset import dataset
from dof_arrow.errors import DofError
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.spec.metadata import Target
from dof_arrow.format.validation.validate import validate
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.convert import save
from dof_arrow.rewrite.merge import merge

KEPT = Path(__file__).with_name("results") / "skipped_groups.json"
TABLES = 10_000
PAGE = 1024  # numbers of a vector that fills a page: then merging copies chunks

_DAYS = [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(9999, 12, 31)]
_TIMES = [dt.datetime(1700, 1, 1), dt.datetime(1970, 1, 1), dt.datetime(2200, 1, 1, 1, 2, 3, 4000)]
_CLOCK = [dt.time(0, 0), dt.time(12, 0), dt.time(23, 59, 59, 999000)]
_TEXTS = ["", "a", "b", "ab", "\x00", "é", "\U0010ffff", "a" * 300, "z" * 256, "~"]
_BYTES = [b"", b"\x00", b"\x7f", b"\x80", b"\xff", b"a" * 300]


def _integers(bits: int, signed: bool) -> list[int]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return [low, high, 0, 1, 2, 3, high // 2 + 1, high - 1]


def _floats(kind: Any) -> list[float]:
    about = np.finfo(kind)
    tiny = float(about.smallest_subnormal)
    ends = [float(about.max), float(about.min), float("inf"), -float("inf")]
    return [float("nan"), 0.0, -0.0, 1.0, -1.0, 5.0, tiny, -tiny, *ends]


VALUES: dict[pa.DataType, list[Any]] = {
    **{pa.type_for_alias(f"int{b}"): _integers(b, True) for b in (8, 16, 32, 64)},
    **{pa.type_for_alias(f"uint{b}"): _integers(b, False) for b in (8, 16, 32, 64)},
    pa.float16(): _floats(np.float16),
    pa.float32(): _floats(np.float32),
    pa.float64(): _floats(np.float64),
    pa.bool_(): [True, False],
    pa.string(): _TEXTS,
    pa.large_string(): _TEXTS,
    pa.dictionary(pa.int32(), pa.string()): _TEXTS,
    pa.binary(): _BYTES,
    pa.binary(2): [b"\x00\x00", b"\x7f\xff", b"\x80\x00", b"\xff\xff"],
    pa.date32(): _DAYS,
    pa.date64(): _DAYS,
    pa.time32("ms"): _CLOCK,
    pa.time64("us"): _CLOCK,
    pa.timestamp("s"): _TIMES,
    pa.timestamp("ms"): _TIMES,
    pa.timestamp("us", tz="UTC"): [time.replace(tzinfo=dt.UTC) for time in _TIMES],
    pa.timestamp("ns"): _TIMES,
    pa.duration("us"): [dt.timedelta(0), dt.timedelta(days=-1), dt.timedelta(days=9)],
    pa.decimal128(9, 2): [Decimal("-9999999.99"), Decimal("0.00"), Decimal("9999999.99")],
    pa.decimal128(38, 4): [Decimal("-1.5"), Decimal("0"), Decimal(10**30)],
    pa.list_(pa.float32()): [[], [1.5], [float("nan"), -0.0], [None, 2.0]],
    pa.struct({"a": pa.float64()}): [{"a": float("nan")}, {"a": None}, {"a": 1.0}],
}
PREDICATES = ("=", "!=", "<", "<=", ">", ">=", "in", "is null", "is not null")
COLUMNS = {f"v{number}": kind for number, kind in enumerate(VALUES)}
Ids = list[str]


def drawn(kind: pa.DataType, rows: int, random: np.random.Generator) -> pa.Array:
    """Values of a type: few different ones in a run, so that row groups differ."""
    known = VALUES[kind]
    found: list[Any] = []
    while len(found) < rows:
        some = random.integers(0, len(known), random.integers(1, 3))
        run = random.integers(0, len(some), random.integers(1, 7))
        found += [known[some[place]] for place in run]
    share = random.choice([0.0, 0.0, 0.2, 0.9])
    values = [None if random.random() < share else value for value in found[:rows]]
    return pa.array(values, kind)


def table_of(number: int) -> pa.Table:
    """The columns of one file: all rows that there are."""
    random = np.random.default_rng([7, number])
    rows = int(random.integers(2, 40))
    columns = {name: drawn(kind, rows, random) for name, kind in COLUMNS.items()}
    return pa.table({"id": [f"r{row:03}" for row in range(rows)], **columns})


def written(table: pa.Table, folder: Path, random: np.random.Generator) -> Path:
    """The table as our file: two files in random pieces, merged, and labelled."""
    fields = []
    for name in COLUMNS:
        required = not table[name].null_count and bool(random.random() < 0.7)
        fields.append(pa.field(name, table[name].type, nullable=not required))
    width = int(random.choice([2, PAGE]))
    layout: Any = str(random.choice(["mapped", "mapped", "compact"]))
    cut = int(random.integers(1, len(table)))
    parts = [folder / "a.parquet", folder / "b.parquet"]
    for path, rows in zip(parts, (table[:cut], table[cut:]), strict=True):
        group = Geometry(int(random.integers(1, 9)), 4096 if width == PAGE else 64)
        with Writer(path, schema=pa.schema(fields), layout=layout, geometry=group) as writer:
            _write(writer, rows, width, random)
    merge(parts, folder / "merged.parquet")
    labels = random.integers(0, 2, len(table))
    targets = {"label": Target(kind="category", classes=("no", "yes"))}
    whole = dataset.open(folder / "merged.parquet").with_columns({"label": labels}, targets=targets)
    return save(whole, folder / "labelled.parquet")


def _write(writer: Writer, table: pa.Table, width: int, random: np.random.Generator) -> None:
    start = 0
    while start < len(table):
        piece = table[start : start + int(random.integers(1, 12))]
        start += len(piece)
        writer.write(
            ids=piece["id"],
            vectors={"feature": np.zeros((len(piece), width), np.float32)},
            columns={name: piece[name] for name in COLUMNS},
        )


class Arrow:
    """pyarrow's datasets, which simplify a condition by what a row group says."""

    def __init__(self, path: Path, plain: Path) -> None:
        self.file = arrow.dataset(path)
        self.whole = pq.read_table(plain)

    def ids(self, name: str, predicate: str, probes: list[Any], *, scanned: bool) -> Ids:
        kind = self.whole.schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        condition = _condition(
            pc.field(name),
            predicate,
            pa.array(probes, kind),
            {"is null": "is_null", "is not null": "is_valid", "in": "isin"},
        )
        if scanned:
            return list(self.whole.filter(condition)["id"].to_pylist())
        return list(self.file.to_table(columns=["id"], filter=condition)["id"].to_pylist())


class Polars:
    """Polars' scan of a file."""

    def __init__(self, path: Path, plain: Path) -> None:
        import polars as pl

        self.file = pl.scan_parquet(path)
        self.whole = pl.read_parquet(plain)

    def ids(self, name: str, predicate: str, probes: list[Any], *, scanned: bool) -> Ids:
        import polars as pl

        kind = self.whole[name].dtype
        kind = pl.String() if isinstance(kind, pl.Categorical | pl.Enum) else kind
        condition = _condition(
            pl.col(name),
            predicate,
            pl.Series(probes, dtype=kind),
            {"is null": "is_null", "is not null": "is_not_null", "in": "is_in"},
        )
        if scanned:
            return list(self.whole.filter(condition)["id"].to_list())
        return list(self.file.filter(condition).select("id").collect()["id"].to_list())


class DuckDB:
    """DuckDB's scan of a file."""

    def __init__(self, path: Path, plain: Path) -> None:
        self.path = str(path)
        self.base = _base()
        self.base.execute(
            "create or replace temp table t as select * from read_parquet(?)", [str(plain)]
        )

    def ids(self, name: str, predicate: str, probes: list[Any], *, scanned: bool) -> Ids:
        given = probes[:1]
        condition = f"{predicate} ?"
        if predicate == "in":
            given, condition = probes, "in (?, ?)"
        elif "null" in predicate:
            given, condition = [], predicate
        source, path = ("t", []) if scanned else ("read_parquet(?)", [self.path])
        asked = f"select id from {source} where {name} {condition}"
        return [row[0] for row in self.base.execute(asked, [*path, *given]).fetchall()]


def _condition(field: Any, predicate: str, probes: Any, names: Mapping[str, str]) -> Any:
    if predicate == "in":
        return getattr(field, names[predicate])(probes)
    if predicate in names:
        return getattr(field, names[predicate])()
    compare = {"=": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}[predicate]
    return getattr(operator, compare)(field, probes[0])


@cache
def _base() -> Any:
    import duckdb

    base = duckdb.connect()
    base.execute("set timezone = 'UTC'; set threads = 1")
    return base


READERS: dict[str, type[Arrow | Polars | DuckDB]] = {
    "pyarrow": Arrow,
    "polars": Polars,
    "duckdb": DuckDB,
}


def told(number: int, folder: Path) -> Iterator[tuple[str, str]]:
    """What became of each question: `answered`, `unasked` of that reader, or a `fault`."""
    table = table_of(number)
    random = np.random.default_rng([8, number])
    ours = written(table, folder, random)
    for problem in validate(ours, deep=True):
        yield "fault", f"file {number}: {problem}"
    plain = folder / "plain.parquet"
    # With our types: seconds come back as milliseconds.
    kinds = [pq.read_schema(ours).field(name) for name in table.schema.names]
    pq.write_table(table.cast(pa.schema(kinds)), plain, write_statistics=False)
    for reader, kind in READERS.items():
        asking = kind(ours, plain)
        for name in COLUMNS:
            for predicate, probes in questions(table[name], number):
                yield _answer(asking, name, predicate, probes, f"file {number}, {reader}", reader)


def questions(values: pa.ChunkedArray, number: int) -> Iterator[tuple[str, list[Any]]]:
    """The predicates, with values that occur."""
    random = np.random.default_rng([9, number])
    present = values.drop_null().to_pylist()
    for predicate in PREDICATES:
        places = random.integers(0, max(len(present), 1), 2)
        if present:
            yield predicate, [present[place] for place in places]
        elif "null" in predicate:
            yield predicate, []


def _answer(
    asking: Arrow | Polars | DuckDB,
    name: str,
    predicate: str,
    probes: list[Any],
    where: str,
    reader: str,
) -> tuple[str, str]:
    try:
        expected = asking.ids(name, predicate, probes, scanned=True)
    except Exception as error:  # this reader knows no such question of this type
        return "unasked", f"{reader}, {COLUMNS[name]}: {type(error).__name__}"
    asked = f"{where}: {COLUMNS[name]} {predicate} {probes}"
    try:
        found = asking.ids(name, predicate, probes, scanned=False)
    except Exception as error:
        return "fault", f"{asked}: {type(error).__name__}: {error}"
    if sorted(found) == sorted(expected):
        return "answered", reader
    return "fault", f"{asked}: {len(found)} rows of {len(expected)}"


def run(files: Sequence[int]) -> dict[str, Any]:
    """Ask of many files; the report."""
    counts: dict[str, Counter[str]] = {"answered": Counter(), "unasked": Counter()}
    faults: list[str] = []
    for number in files:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the readers' own
            try:
                found = list(told(number, Path(folder)))
            except DofError as error:
                found = [("fault", f"file {number}: {error}")]
        for what, which in found:
            if what == "fault":
                faults.append(which)
            else:
                counts[what][which] += 1
    return {
        "files": len(files),
        "tables": len(files) * len(COLUMNS),
        "faults": faults,
        **{what: dict(sorted(count.items())) for what, count in counts.items()},
    }


def main(tables: int = TABLES) -> None:
    """Ask of so many tables, and keep the report."""
    report = run(range(-(-tables // len(COLUMNS))))
    KEPT.write_text(json.dumps(report, indent=1) + "\n")
    answers = sum(report["answered"].values())
    print(f"{report['tables']:,} tables, {answers:,} answers, faults: {report['faults'][:5]}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
