"""The outline of a footer: it says of every column what other readers find, or refuses the file."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.errors import FormatError
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
    Chunk,
    ColumnMeta,
    FileMetaData,
    RowGroup,
    SchemaElement,
    Struct,
    get,
    items,
    put,
)
from dof_arrow.format.parquet.footer_walk import FooterWalk
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.schema_tree import leaf_paths
from dof_arrow.format.validation.validate import validate
from tests.conformance.breaks import sealed_elsewhere
from tests.conformance.spoil import respelled, split
from tests.support import making
from tests.support.odd import LIES, compared, rewritten
from tests.support.speed import slowness

ROWS = 20
FEATURE = ["feature", "list", "element"]


def _columns() -> dict[str, Any]:
    """Mapped, encoded and nested ones, some with names alike in bytes: `ab.c`, `a.bc`, `abcd`."""
    numbers = np.arange(ROWS)
    return {
        "label": numbers,
        "other": numbers[::-1].copy(),
        "abcd": numbers * 3,
        "name": [f"{'n' * (n % 5)}{n}" for n in range(ROWS)],
        "ab": pa.array([{"c": n} for n in range(ROWS)]),
        "a": pa.array([{"bc": -n} for n in range(ROWS)]),
    }


def _file(path: Path, **options: Any) -> bytes:
    vectors = {"feature": making.vectors(ROWS, 4), "second": making.vectors(ROWS, 4, seed=1)}
    return making.write(path, ROWS, vectors, _columns(), group=8, align=64, **options).read_bytes()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Files of ten groups, of many columns, of encoded ones."""
    folder = tmp_path_factory.mktemp("outline")
    plain = making.write(
        folder / "plain", ROWS, columns={"label": np.arange(ROWS)}, group=2, align=64
    ).read_bytes()
    return [
        plain,
        _file(folder / "mapped"),
        plain,
        _file(folder / "compact", layout="compact"),
        plain,
    ]


def _tail(path: Path) -> bytes:
    return split(path.read_bytes())[1]


def _close(struct: Struct) -> bytes:
    data = footer.encode(struct)
    return data + len(data).to_bytes(4, "little") + footer.MAGIC


def _stated(struct: Struct, leaf: int) -> list[Struct]:
    return [meta for _, column, meta in footer.chunks(struct) if column == leaf]


def test_it_says_of_each_column_what_the_footer_says(files: list[bytes]) -> None:
    for data in files:
        tail = split(data)[1]
        struct, found = footer.decode_footer(tail)[0], Outline(tail)
        theirs = pq.read_metadata(pa.BufferReader(data))
        assert found.rows == [
            get(group, RowGroup.ROWS) for group in items(struct, FileMetaData.GROUPS)
        ]
        assert [b".".join(path).decode() for path in found.leaves] == [
            theirs.schema.column(i).path for i in range(theirs.num_columns)
        ]
        for leaf in range(theirs.num_columns):
            assert found.column(leaf) == _stated(struct, leaf)
        assert found.index(FEATURE) is not None and found.index(["nothing"]) is None


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is walked field by field: `group` or `chunk`, each time."""
    seen: list[str] = []
    walk_group, walk_chunk = FooterWalk._walk_group, FooterWalk._walk_chunk

    def group(*arguments: Any) -> Any:
        seen.append("group")
        return walk_group(*arguments)

    def chunk(*arguments: Any) -> Any:
        seen.append("chunk")
        return walk_chunk(*arguments)

    monkeypatch.setattr(FooterWalk, "_walk_group", group)
    monkeypatch.setattr(FooterWalk, "_walk_chunk", chunk)
    return seen


def test_elements_alike_are_walked_once(tmp_path: Path, walked: list[str]) -> None:
    rows = 8 * 60
    vectors = {name: making.vectors(rows, 4) for name in ("feature", "another", "a", "b", "c", "d")}
    tail = _tail(making.write(tmp_path / "x", rows, vectors, {"label": np.arange(rows)}, group=8))
    assert len(Outline(tail).rows) == 60
    assert walked.count("group") <= 10  # offsets and statistics of more and more bytes
    assert walked.count("chunk") < 30 < 60 * 8


def test_a_footer_like_the_last_one_is_not_walked_again(tmp_path: Path, walked: list[str]) -> None:
    """Parts of a directory differ in numbers and texts alone."""
    tails = []
    for seed in range(3):
        vectors = {"feature": making.vectors(ROWS, 4, seed=seed)}
        columns = {"part of a plate": np.arange(ROWS) + seed}
        tails.append(_tail(making.write(tmp_path / f"{seed}", ROWS, vectors, columns)))
    first = Outline(tails[0])
    assert walked.count("group") == 1
    for tail in tails[1:]:
        found = Outline(tail)
        assert found.leaves == first.leaves and _outlined(tail) == _decoded(tail)
    assert walked.count("group") == 1


@pytest.mark.parametrize("kind", ["in another file", "another's"])
def test_a_problem_is_told_of_each_footer_that_has_it(files: list[bytes], kind: str) -> None:
    """Also right behind a good footer of the same columns, and behind one with the same problem."""
    good = split(files[1])[1]
    rule, edit = DIFFERENT[kind]
    struct = footer.decode_footer(good)[0]
    for group in _groups(struct):
        edit(group, items(group, RowGroup.COLUMNS), struct)
    bad = _close(struct)
    for _ in range(3):
        Outline(good).check()
        with pytest.raises(FormatError) as caught:
            Outline(bad).check()
        assert {p.rule for p in caught.value.problems} == {rule}


def test_chunks_alike_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = _tail(making.write(tmp_path / "x", 204, columns={"label": np.arange(204)}, group=8))
    found = Outline(tail)
    decode = footer.decode
    seen = []

    def decoding(*arguments: Any) -> Any:
        seen.append(arguments)
        return decode(*arguments)

    monkeypatch.setattr(footer, "decode", decoding)
    assert len(found.column(2)) == 26
    assert len(seen) < 6  # 25 groups of eight rows, and one of four; offsets of more and more bytes
    assert len({get(get(meta, ColumnMeta.STATISTICS), 5) for meta in found.column(1)}) == 26


def _decoded(tail: bytes) -> list[list[Struct]] | None:
    """What is said of each leaf where the whole footer is decoded; None for one that is refused."""
    try:
        struct = footer.decode_footer(tail)[0]
        leaves = leaf_paths(items(struct, FileMetaData.SCHEMA))
    except FormatError:
        return None
    for group in items(struct, FileMetaData.GROUPS):
        metas = [get(chunk, Chunk.META, {}) for chunk in items(group, RowGroup.COLUMNS)]
        if [tuple(items(meta, ColumnMeta.PATH)) for meta in metas] != leaves:
            return None
    if not footer.fits(struct, footer.SHAPE):
        return None
    return [_stated(struct, leaf) for leaf in range(len(leaves))]


def _outlined(tail: bytes) -> list[list[Struct]] | None:
    """The same by the outline."""
    try:
        found = Outline(tail)
        return [found.column(leaf) for leaf in range(len(found.leaves))]
    except FormatError:
        return None


def test_footers_not_quite_alike_are_read_as_they_are(tmp_path: Path) -> None:
    """Any bit of the footer turned: each chunk is as when all is decoded, or both refuse it."""
    tail = _tail(making.write(tmp_path / "x", 50, columns={"label": np.arange(50)}, group=8))
    turned, refused = random.Random(0), 0
    for _ in range(2000):
        data = bytearray(tail)
        data[turned.randrange(len(tail) - footer.TAIL)] ^= 1 << turned.randrange(8)
        found = _outlined(bytes(data))
        refused += found is None
        assert found == _decoded(bytes(data))
    assert 20 < refused < 1500


def test_paths_of_one_length_are_told_apart(tmp_path: Path) -> None:
    """`ef.g` and `abcd` are written in five bytes each; a chunk that counts two names has two."""
    path = making.write(
        tmp_path / "x", 50, columns={"abcd": np.arange(50), "efgh": np.arange(50)}, group=4
    )
    struct = footer.decode_footer(_tail(path))[0]
    schema = struct[FileMetaData.SCHEMA][1][1]
    at = next(i for i, element in enumerate(schema) if get(element, SchemaElement.NAME) == b"efgh")
    schema.insert(at, {**_element("ef", children=1), SchemaElement.REPETITION: (I32, 0)})
    put(schema[at + 1], SchemaElement.NAME, b"g")
    for meta in _stated(struct, 2):
        put(meta, ColumnMeta.PATH, (BINARY, [b"ef", b"g"]))
    tail = _close(struct)
    assert _outlined(tail) == _decoded(tail)
    Outline(tail).check()
    one, two = b"\x19\x18\x04abcd", b"\x19\x28\x04abcd"
    assert tail.count(one) == 13
    lie = two.join(tail.rsplit(one, 1))
    assert _decoded(lie) is None
    with pytest.raises(FormatError):
        Outline(lie).check()


KINDS = ("same", "same", "moved", "moved", "moved", *LIES)


def test_no_footer_gives_other_data_than_others_find(files: list[bytes], tmp_path: Path) -> None:
    told: dict[str, list[str]] = {kind: [] for kind in KINDS}
    path = tmp_path / "x"
    for seed in range(700):
        kind = KINDS[seed % len(KINDS)]
        path.write_bytes(rewritten(files[seed % len(files)], seed, kind))
        told[kind].append(compared(path))
    assert set(told["same"]) == {"read"}
    assert {"read", "partly", "refused"} == set(told["moved"])
    assert all("refused" in told[lie] for lie in LIES)


def test_a_column_planted_in_a_text_is_not_believed(tmp_path: Path) -> None:
    """A sealed, valid file whose paths have long fields, and look short in the value of a key."""
    vectors = {"feature": making.vectors(2048, 4), "second": making.vectors(2048, 4, seed=1)}
    data = making.write(tmp_path / "x", 2048, vectors, group=1024).read_bytes()
    path = (LIST, (BINARY, [part.encode() for part in FEATURE]))
    short = footer.encode({ColumnMeta.ENCODINGS: (TRUE, True), ColumnMeta.PATH: path})[1:-1]
    long = bytes([LIST, ColumnMeta.PATH << 1]) + short[1:]

    def spell(struct: Struct) -> bytes:
        others = [
            meta
            for _, _, meta in footer.chunks(struct)
            if items(meta, ColumnMeta.PATH)[0] == b"second"
        ]
        lies = [
            {k: v for k, v in {**meta, ColumnMeta.PATH: path}.items() if k > 1} for meta in others
        ]
        struct[FileMetaData.KEYS][1][1].append(
            {1: (BINARY, b"note"), 2: (BINARY, b"".join(map(footer.encode, lies)))}
        )
        whole = footer.encode(struct)
        assert whole.count(short) == 2 * len(others) == 4
        return whole.replace(short, long, len(others))

    (tmp_path / "y").write_bytes(respelled(data, spell))
    assert validate(tmp_path / "y", deep=True) == []
    assert np.array_equal(dataset.open(tmp_path / "y").to_numpy("feature"), vectors["feature"])


@pytest.mark.parametrize(("value", "rule"), [(None, "seal-missing"), (b"1" * 64, "seal-false")])
def test_a_seal_planted_in_a_text_is_not_believed(
    tmp_path: Path, value: bytes | None, rule: str
) -> None:
    """The key is missing, or in the long form with another value; what looks like it stands in a text and is true."""
    (tmp_path / "x").write_bytes(sealed_elsewhere(value)())
    assert [p.rule for p in validate(tmp_path / "x")] == [rule]
    with pytest.warns(UserWarning):
        assert dataset.open(tmp_path / "x")._file.state == (
            "unsealed" if value is None else "broken"
        )


Edit = Callable[
    [Struct, list[Struct], Struct], Any
]  # of a row group, its chunks and the whole footer
DIFFERENT: dict[str, tuple[str, Edit]] = {
    "in another file": (
        "chunk-elsewhere",
        lambda _, chunks, __: chunks[1].update({Chunk.FILE: (BINARY, b"x")}),
    ),
    "encrypted": (
        "chunk-elsewhere",
        lambda _, chunks, __: chunks[1].update({Chunk.CRYPTO: (STRUCT, {})}),
    ),
    "said secretly": (
        "chunk-elsewhere",
        lambda _, chunks, __: chunks[1].update({Chunk.ENCRYPTED: (BINARY, b"")}),
    ),
    "another's": ("chunk-columns", lambda _, chunks, __: chunks[1].update(chunks[2])),
    "one less": ("chunk-columns", lambda group, _, __: group[RowGroup.COLUMNS][1][1].pop()),
    "one more": (
        "chunk-columns",
        lambda group, chunks, _: group[RowGroup.COLUMNS][1][1].append(chunks[0]),
    ),
    "rows not told": ("footer-thrift", lambda group, _, __: group.pop(RowGroup.ROWS)),
    "no chunks": ("footer-thrift", lambda group, _, __: group.pop(RowGroup.COLUMNS)),
    "a key twice": (
        "footer-keys",
        lambda _, __, struct: struct[FileMetaData.KEYS][1][1].append({1: (BINARY, b"dof")}),
    ),
}


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_readers_take_in_different_ways_is_refused(
    files: list[bytes], kind: str, number: int
) -> None:
    rule, edit = DIFFERENT[kind]
    struct = footer.decode_footer(split(files[1])[1])[0]
    group = _groups(struct)[number]
    edit(group, items(group, RowGroup.COLUMNS), struct)
    with pytest.raises(FormatError) as caught:
        Outline(_close(struct)).check()
    assert {p.rule for p in caught.value.problems} == {rule}


def _groups(struct: Struct) -> list[Struct]:
    groups: list[Struct] = struct[FileMetaData.GROUPS][1][1]
    return groups


def test_a_chunk_without_a_place_is_refused(files: list[bytes]) -> None:
    struct = footer.decode_footer(split(files[0])[1])[0]
    for group in _groups(struct):
        for chunk in items(group, RowGroup.COLUMNS):
            get(chunk, Chunk.META).pop(ColumnMeta.DATA_PAGE)
    with pytest.raises(FormatError, match="where its data lie"):
        Outline(_close(struct)).column(0)


def test_chunks_of_other_rows_than_their_groups_are_refused(
    files: list[bytes], tmp_path: Path
) -> None:
    """The rows of all groups add up, but two of them count some that the other has."""

    def spell(struct: Struct) -> bytes:
        first, second, *_ = _groups(struct)
        put(first, RowGroup.ROWS, get(first, RowGroup.ROWS) - 1)
        put(second, RowGroup.ROWS, get(second, RowGroup.ROWS) + 1)
        return footer.encode(struct)

    for data in files[:2]:
        (tmp_path / "x").write_bytes(respelled(data, spell))
        read = dataset.open(tmp_path / "x")
        for name in ("label", "feature", "id"):
            with pytest.raises(FormatError):
                read.to_arrow([name])


def _element(name: str, **fields: int) -> Struct:
    ids = {"type": SchemaElement.TYPE, "children": SchemaElement.CHILDREN}
    return {
        SchemaElement.NAME: (BINARY, name.encode()),
        **{ids[k]: (I32, v) for k, v in fields.items()},
    }


LEAF = _element("x", type=1)


@pytest.mark.parametrize(
    "schema",
    [
        [_element("", children=1)],
        [_element("", children=1), LEAF, LEAF],
        [_element("", children=-1), LEAF],
        [_element("", children=1), _element("x")],
        [_element("", children=1), _element("x", type=1, children=1), LEAF],
        [_element("", children=1), _element("x", children=-1)],
        [_element("", children=1 << 30), LEAF],
        [_element("", children=1), *[_element("x", children=1)] * 200, LEAF],
    ],
    ids=["too few", "too many", "negative", "neither", "both", "negative group", "huge", "deep"],
)
def test_a_schema_is_a_tree(schema: list[Struct]) -> None:
    with pytest.raises(FormatError) as caught:
        leaf_paths(schema)
    assert [p.rule for p in caught.value.problems] == ["footer-schema"]


def test_the_leaves_of_a_schema_stand_in_order() -> None:
    schema = [
        _element("", children=2),
        _element("a", children=2),
        LEAF,
        _element("y", type=1),
        _element("z", type=1),
    ]
    assert leaf_paths(schema) == [(b"a", b"x"), (b"a", b"y"), (b"z",)]
    assert leaf_paths([_element("")]) == []


def test_a_strangers_footer_costs_no_hours(tmp_path: Path) -> None:
    """Small groups, each of which could be compared with seven large ones in vain."""
    struct = footer.decode_footer(_tail(making.write(tmp_path / "x", 3)))[0]
    small: Struct = {
        RowGroup.COLUMNS: footer.structs([]),
        RowGroup.BYTES: (I64, 0),
        RowGroup.ROWS: (I64, 0),
    }
    large = [{**small, 40: (BINARY, bytes(200_000 + number))} for number in range(7)]
    struct[FileMetaData.GROUPS] = footer.structs([small, *large, *[small] * 60_000])
    tail = _close(struct)
    start = time.process_time()
    assert len(Outline(tail).rows) == 60_008
    assert time.process_time() - start < 3 * slowness()
