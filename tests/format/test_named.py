"""Categories and splits as names in the file and as mapped codes for machines (SPEC 3.3 and 6.7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofError, FormatError, UsageError
from dof_arrow.format.file import File
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.validation.validate import validate
from dof_arrow.format.writer import Writer
from dof_arrow.heads import labels
from dof_arrow.rewrite.convert import save
from tests.conformance.coded import BROKEN_PAGES, CODES, OTHER_PAGES, integers, renamed

CLASSES = ["covid", "no, finding", "ärds"]
# Letters of one to four bytes, ones that look like others, controls, and a NUL.
LETTERS = list("aZ0 ,'\"\n\0é́ß肺🫁\u202e\U0010ffff")


def about(classes: list[str]) -> dict[str, Any]:
    return {"targets": {"label": {"kind": "category", "classes": classes}}}


def write(path: Path, label: Any, classes: list[str], group: int = 128, **options: Any) -> Dataset:
    rows = len(label)
    options = {"geometry": Geometry(rows=group, alignment=4096), **options}
    with Writer(path, about(classes), **options) as writer:
        writer.write(
            ids=[f"r{row:06}" for row in range(rows)],
            vectors={"feature": np.zeros((rows, 8), "f4")},
            columns={"label": label},
        )
    return dataset.open(path)


def address(values: np.ndarray) -> int:
    return int(values.__array_interface__["data"][0])


def random_names(count: int, rng: np.random.Generator) -> list[str]:
    """So many different names, the empty one among them where there is room."""
    names = {""}
    while len(names) < count:
        letters = rng.choice(LETTERS, rng.integers(1, 9))
        names.add("".join(letters) + (str(len(names)) if count > 300 else ""))
    shuffled = sorted(names)
    rng.shuffle(shuffled)
    return shuffled


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 300])
@pytest.mark.parametrize("count", [1, 2, 255, 256, 257])
def test_names_come_back(tmp_path: Path, rows: int, count: int) -> None:
    rng = np.random.default_rng([rows, count])
    classes = random_names(count, rng)
    codes = rng.integers(0, count, rows)
    ds = write(tmp_path / "x.parquet", codes, classes)
    check(ds, codes, classes)


def test_most_names_of_two_bytes(tmp_path: Path) -> None:
    count = 1 << 16
    classes = random_names(count, np.random.default_rng(0))
    codes = np.array([count - 1, 0, 256, 65_000])
    check(write(tmp_path / "x.parquet", codes, classes), codes, classes)


def test_more_names_are_encoded(tmp_path: Path) -> None:
    classes = [f"{number:x}" for number in range((1 << 16) + 1)]
    codes = np.array([1 << 16, 0, 7])
    ds = write(tmp_path / "x.parquet", codes, classes)
    assert ds.metadata.columns["label"].layout == "encoded"
    assert ds.to_numpy("label").tolist() == codes.tolist()
    assert ds.to_arrow(["label"])["label"].to_pylist() == [classes[code] for code in codes]


def check(ds: Dataset, codes: np.ndarray, classes: list[str]) -> None:
    """The names and the codes are those that were written; the file is valid, and maps."""
    names = [classes[code] for code in codes.tolist()]
    assert validate(ds.path, deep=True) == []
    assert ds.metadata.columns["label"].layout == "mapped"
    assert ds.to_arrow(["label"])["label"].to_pylist() == names
    assert [row["label"] for row in ds] == names
    found = ds.to_numpy("label")
    assert found.dtype == (np.uint8 if len(classes) <= 256 else np.uint16)
    assert np.array_equal(found, codes)
    assert pq.read_table(ds.path)["label"].to_pylist() == names


def test_one_group_is_mapped_without_a_copy(tmp_path: Path) -> None:
    ds = write(tmp_path / "x.parquet", [0, 1, 2, 1], CLASSES)
    file = ds.table
    assert isinstance(file, File)
    (region,) = file.names_regions("label")
    start = address(np.frombuffer(file.memory, np.uint8))
    assert address(ds.to_numpy("label")) == start + region.region.offset
    assert address(ds[1:].to_numpy("label")) == start + region.region.offset + 1
    assert region.region.offset % 64 == 0
    stored = ds.path.read_bytes()[region.region.offset :][:4]
    assert stored == bytes([0, 1, 2, 1])


def test_each_group_has_all_names_in_order(tmp_path: Path) -> None:
    """The first group has one class, the file's dictionary all of them."""
    ds = write(tmp_path / "x.parquet", ["ärds"] * 128 + ["covid"] * 5, CLASSES)
    file = pq.ParquetFile(ds.path)
    for group in range(2):
        column = file.read_row_group(group)["label"].chunk(0)
        assert column.dictionary.to_pylist() == CLASSES
    metadata = file.metadata.row_group(0).column(1)
    assert (metadata.statistics.min, metadata.statistics.max) == ("ärds", "ärds")


GIVEN = {
    "codes": [2, 0, 1],
    "small codes": np.array([2, 0, 1], "u1"),
    "whole floats": np.array([2.0, 0.0, 1.0]),
    "names": ["ärds", "covid", "no, finding"],
    "numpy names": np.array(["ärds", "covid", "no, finding"]),
    "objects": np.array(["ärds", "covid", "no, finding"], object),
    "another order": pa.array(["ärds", "covid", "no, finding"]).dictionary_encode(),
    "a categorical": pd.Categorical(["ärds", "covid", "no, finding"], categories=[*CLASSES, "z"]),
    "a series": pd.Series(["ärds", "covid", "no, finding"], dtype="category"),
    "coded categorical": pd.Categorical([2, 0, 1]),
    "chunks": pa.chunked_array([["ärds"], ["covid", "no, finding"]]),
    "large strings": pa.array(["ärds", "covid", "no, finding"], pa.large_string()),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_labels_are_given_in_any_form(tmp_path: Path, given: Any) -> None:
    ds = write(tmp_path / "x.parquet", given, CLASSES)
    assert ds.to_numpy("label").tolist() == [2, 0, 1]
    assert ds.to_arrow(["label"])["label"].to_pylist() == ["ärds", "covid", "no, finding"]
    assert ds.metadata.columns["label"].layout == "mapped"


def test_given_forms_make_equal_bytes(tmp_path: Path) -> None:
    made = []
    for number, given in enumerate(GIVEN.values()):
        made.append(write(tmp_path / f"{number}.parquet", given, CLASSES).path.read_bytes())
    assert len(set(made)) == 1


@pytest.mark.parametrize(
    "given", [["ärds", None, "covid"], [2, None, 0], pd.Categorical(["ärds", None, "covid"])]
)
def test_missing_labels_are_null_and_minus_one(tmp_path: Path, given: Any) -> None:
    ds = write(tmp_path / "x.parquet", given, CLASSES)
    assert validate(ds.path, deep=True) == []
    assert ds.metadata.columns["label"].layout == "encoded"
    column = ds.to_arrow(["label"])["label"]
    assert column.to_pylist() == ["ärds", None, "covid"]
    assert column.chunk(0).dictionary.to_pylist() == CLASSES
    codes = ds.to_numpy("label")
    assert codes.tolist() == [2, -1, 0] and codes.dtype == np.int32
    assert labels.read(ds).values.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["covid", "flu", "ärds"], "'flu'"),
        (["covid", "Covid", "ärds"], "'Covid'"),
        (["covid", "a\u0308rds"], "'a\u0308rds'"),
        ([0, 3], "3"),
        ([0, -1], "-1"),
        ([0.5, 1], "double"),
        ([True, False], "bool"),
        ([["covid"]], "list"),
    ],
)
def test_what_is_no_class_is_refused_by_name(tmp_path: Path, given: Any, found: str) -> None:
    with pytest.raises(UsageError) as error:
        write(tmp_path / "x.parquet", given, CLASSES)
    assert found in str(error.value) and "label" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_class_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stands twice"):
        write(tmp_path / "x.parquet", [0, 1], ["a", "a"])


def test_batches_do_not_show_in_the_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 700)
    split = rng.choice(["test", "own", "zz", "train"], 700)

    def written(name: str, sizes: list[int], **options: Any) -> bytes:
        path = tmp_path / name
        options = {"geometry": Geometry(rows=128, alignment=4096), **options}
        with Writer(path, about(CLASSES), **options) as writer:
            start = 0
            for size in sizes:
                rows = slice(start, start + size)
                writer.write(
                    ids=[f"r{row:06}" for row in range(start, start + size)],
                    vectors={"feature": np.zeros((size, 8), "f4")},
                    columns={"label": codes[rows], "split": split[rows].tolist()},
                )
                start += size
        return path.read_bytes()

    assert written("a", [700]) == written("b", [1, 99, 300, 300])
    assert written("c", [700], layout="compact") == written("d", [500, 200], layout="compact")


@pytest.mark.parametrize("layout", ["mapped", "compact"])
def test_splits_of_ones_own(tmp_path: Path, layout: Any) -> None:
    """Groups have other names of the owner's own; one order serves all of them."""
    names = ["zz"] * 128 + ["äa"] * 128 + ["train", "test", "b"] * 20
    with Writer(tmp_path / "x", geometry=Geometry(128, 4096), layout=layout) as writer:
        writer.write(
            ids=[f"r{row:06}" for row in range(len(names))],
            vectors={"feature": np.zeros((len(names), 8), "f4")},
            columns={"split": names},
        )
    ds = dataset.open(tmp_path / "x")
    assert validate(ds.path, deep=True) == []
    column = ds.to_arrow(["split"])["split"]
    assert column.to_pylist() == names == pq.read_table(ds.path)["split"].to_pylist()
    order = ["train", "valid", "test", "b", "zz", "äa"]
    assert column.unify_dictionaries().chunk(0).dictionary.to_pylist() == order
    assert ds.to_numpy("split").tolist() == names
    assert len(ds.split("äa")) == 128 and set(ds.metadata.splits) == {*names}
    with pytest.raises(UsageError, match="no such split"):
        ds.split("valid")


def test_a_split_of_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds names"), Writer(tmp_path / "x") as writer:
        writer.write(ids=["a"], vectors={"feature": np.zeros((1, 8), "f4")}, columns={"split": [1]})


def test_rows_are_found_by_name(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 3, 300)
    ds = write(tmp_path / "x.parquet", codes, CLASSES)
    field = pc.field("label")
    for condition, wanted in (
        (field == "ärds", codes == 2),
        (field.isin(["covid", "ärds"]), codes != 1),
        (pc.starts_with(field, "no"), codes == 1),
        (field > "covid", codes != 0),
    ):
        assert np.array_equal(ds.filter(condition).to_numpy("id"), ds.to_numpy("id")[wanted])
    assert len(ds.filter(field == "none of them")) == 0
    with pytest.raises(UsageError, match=r"pc\.field\('label'\) == 'covid'"):
        ds.filter(field == 2)


def test_loaders_and_heads_have_codes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    codes = np.random.default_rng(0).integers(0, 3, 300)
    ds = write(tmp_path / "x.parquet", codes, CLASSES)
    batches = [labels for _, labels in ds.loader(target="label", batch_size=64)]
    assert np.concatenate(batches).tolist() == codes.tolist() and batches[0].dtype == np.int64
    assert ds.to_torch("label").dtype == torch.int64
    assert ds.to_torch("label").tolist() == codes.tolist()
    found = labels.read(ds)
    assert found.values.tolist() == codes.tolist() and found.values.dtype == np.int64
    assert labels.values_of(ds, "label", np.array([0]))[0] == CLASSES[codes[0]]


def test_integers_of_early_files_are_read_as_ever(tmp_path: Path) -> None:
    codes = np.array([0, 2, 1, 0])
    path = tmp_path / "old.parquet"
    path.write_bytes(integers(codes, CLASSES)[0])
    ds = dataset.open(path)
    assert validate(path, deep=True) == []
    assert ds.to_arrow(["label"])["label"].to_pylist() == [0, 2, 1, 0]
    assert np.array_equal(ds.to_numpy("label"), codes) and ds.to_numpy("label").dtype == np.int64
    assert len(ds.filter(pc.field("label") == 0)) == 2
    assert labels.read(ds).values.tolist() == [0, 2, 1, 0]
    assert next(iter(ds.loader(target="label", batch_size=4)))[1].tolist() == [0, 2, 1, 0]
    new = dataset.open(save(ds, tmp_path / "new.parquet"))
    assert new.to_arrow(["label"])["label"].to_pylist() == [CLASSES[code] for code in codes]
    assert new.to_numpy("label").tolist() == codes.tolist()


@pytest.mark.parametrize("build", OTHER_PAGES.values(), ids=OTHER_PAGES)
def test_other_encodings_are_decoded(tmp_path: Path, build: Any) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(build())
    ds = dataset.open(path)
    file = ds.table
    assert isinstance(file, File)
    with pytest.raises(Unproved):
        file.names_regions("label")
    assert ds.to_numpy("label").tolist() == list(CODES)
    assert ds.to_arrow(["label"])["label"].to_pylist() == [("no", "yes")[code] for code in CODES]


@pytest.mark.parametrize("build", BROKEN_PAGES.values(), ids=BROKEN_PAGES)
def test_broken_pages_are_refused(tmp_path: Path, build: Any) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(build())
    ds = dataset.open(path)
    for read in (ds.to_numpy, lambda name: ds.to_arrow([name]), lambda name: ds[2]):
        with pytest.raises(DofError):
            read("label")
    assert validate(path, deep=True)


def test_names_in_another_order_are_read_by_name(tmp_path: Path) -> None:
    """A code means what the column's own dictionary says, not its place in the metadata."""
    path = tmp_path / "x.parquet"
    path.write_bytes(renamed(("yes", "no"), [1 - code for code in CODES]))
    ds = dataset.open(path)
    assert ds.to_numpy("label").tolist() == list(CODES)
    assert ds.to_arrow(["label"])["label"].to_pylist() == [("no", "yes")[code] for code in CODES]


def test_a_name_that_is_no_class_has_no_code(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(renamed(("no", "maybe")))
    ds = dataset.open(path)
    names = [("no", "maybe")[code] for code in CODES]
    assert ds.to_arrow(["label"])["label"].to_pylist() == names
    with pytest.raises(FormatError, match="maybe"):
        ds.to_numpy("label")
    with pytest.raises(FormatError, match="maybe"):
        labels.read(ds)


def test_a_random_byte_never_gives_another_label_in_silence(tmp_path: Path) -> None:
    """Without a true seal values may be others; then they are refused or read as all readers do."""
    ds = write(tmp_path / "x.parquet", [0, 1, 2, 1, 0, 2, 1], CLASSES)
    whole = ds.path.read_bytes()
    file = ds.table
    assert isinstance(file, File)
    (region,) = file.names_regions("label")
    rng = np.random.default_rng(0)
    for _ in range(60):
        at = int(rng.integers(region.region.offset - 90, region.region.offset + 8))
        path = tmp_path / "y.parquet"
        path.write_bytes(whole[:at] + bytes([rng.integers(256)]) + whole[at + 1 :])
        other = dataset.open(path)
        try:
            ours = other.to_arrow(["label"])["label"].to_pylist()
        except DofError:
            continue
        assert ours == pq.read_table(path)["label"].to_pylist()
