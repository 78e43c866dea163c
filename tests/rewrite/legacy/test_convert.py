"""Row D24: files of DoF 1.0 and 2.x become DoF files, and nothing of them is lost."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from tests.support.legacy import Old, write_version_1
from tests.support.shared import shared_data

FORMS = ("pickle", "json", "zip")


def stored(old: Old, form: str, path: Path) -> Path:
    """The dataset in a form of 2.x, in a file whose name says nothing."""
    if form == "zip":
        return old.write_zip(path)
    path.write_bytes(old.as_pickle() if form == "pickle" else old.as_json())
    return path


def converted(source: Path) -> tuple[dof.Dataset, list[str]]:
    """The new file, which is valid, and what was warned of."""
    out = source.with_name("new.parquet")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dof.convert(source, out, overwrite=True)
    assert dof.validate(out, deep=True) == []
    return dof.open(out), [str(each.message).removeprefix(f"{source}: ") for each in told]


def vector(*numbers: float, dtype: str = "float32") -> Any:
    return np.array(numbers, dtype)


def legacy(ds: dof.Dataset) -> Any:
    assert ds.metadata.provenance is not None
    return ds.metadata.provenance.raw["legacy"]


@pytest.mark.parametrize(
    "name",
    [
        "v1_np1.dof",
        "v1_np2.dof",
        "v1_np2_batch.dof",
        "v2_np1.dofpy",
        "v2_np2.dofpy",
        "v2_np2.dofj",
        "v2_np2_RECONSTRUCTED.dof",
    ],
)
def test_row_d24_real_files_hold_what_is_expected(tmp_path: Path, name: str) -> None:
    folder = shared_data() / "legacy"
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    (tmp_path / "old").write_bytes((folder / name).read_bytes())
    ds, _ = converted(tmp_path / "old")
    rows = expected["n_records"]
    assert ds.to_numpy().dtype == expected["x_dtype"]
    assert ds.to_numpy()[:rows].tolist() == expected["x"]
    version = name[:2]
    infos = expected[f"record_info_{version}"]
    if "batch" in name:
        assert [list(each) for each in ds["y"]] == expected["y_batch_file"]
        infos = [None] * rows
    assert ds.to_numpy("label")[:rows].tolist() == expected["y"]
    for row, info in zip(range(rows), infos, strict=True):
        found = {key: ds[row].get(key) for key in info or ()}
        assert found == (info or {})
        assert info or "note" not in ds.columns or ds[row]["note"] is None
    about = ds.metadata.info
    if version == "v1":
        given = dict(expected["dataset_info_v1"])
        assert (about.source, about.source_license) == (
            given.pop("original_source"),
            given.pop("original_license"),
        )
        assert about.license == given.pop("dof_license")
        people = {(each.name, each.email) for each in about.contacts}
        author = (given.pop("dof_author"), given.pop("dof_author_contact"))
        assert people == {author, (given.pop("original_author"), None)}
        texts = {
            key: each if isinstance(each, str) else json.dumps(each) for key, each in given.items()
        }
        assert about.keys == texts
        assert ds.metadata.claimed_cores["feature"].name == "ResNet 18"
        assert ds.metadata.columns["feature"].core == "feature"
        return
    given = expected["dataset_info_v2"]
    assert (about.source, about.license, about.keys) == (
        given["source"],
        given["license"],
        {"extra": given["extra"]},
    )
    (document,) = expected["documents_v2"]
    assert ds.document("readme.txt") == b"hello document"
    assert legacy(ds)["documents"] == {"readme.txt": document["info"]}
    assert legacy(ds)["next_id"] == expected["v2_next_id"]
    ids = [str(number) for number in expected["v2_x_ids"]]
    (alone,) = expected["v2_unlinked"]
    assert ds["id"].tolist() == [*ids, str(alone["id"])]
    assert ds[rows]["feature"].tolist() == alone["x"] and ds[rows]["label"] is None
    assert ds["y_id"][:rows].tolist() == expected["v2_y_ids"]
    model = expected["model_info_v2"]
    assert ds.metadata.performance == model["performance"]
    assert ds.metadata.training == {
        **model["model"],
        **model["training"],
        "data_processing": model["data_processing"],
    }


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("form", FORMS)
def test_row_d24_links_shared_one_to_many_and_deleted_d13(
    tmp_path: Path, form: str, protocol: int
) -> None:
    """Two Xs share a Y, one X has two Ys; a deleted Y, a Y that is left alone."""
    elements = {
        0: ("x", vector(1, 2), {"note": "é", "split": "Training"}),
        1: ("y", "cat", {"by": "A"}),
        2: ("x", vector(3, 4), None),
        3: ("y", "dog", None),
        4: None,
        5: ("y", "bird", {"why": "its X is gone"}),
    }
    old = Old(elements, [(2, 3), (0, 1), (2, 1)], protocol=protocol)
    ds, told = converted(stored(old, form, tmp_path / "old"))
    assert ds["id"].tolist() == ["0", "2"]
    assert [list(ids) for ids in ds["y_id"]] == [[1], [3, 1]]
    target = ds.metadata.targets["label"]
    names = [[target.classes[code] for code in codes] for codes in ds["label"]]
    assert (target.kind, names) == ("multilabel", [["cat"], ["dog", "cat"]])
    assert ds["split"].tolist() == ["train", None]
    assert ds["info_split"].tolist() == ["Training", None]
    assert [json.loads(text) for text in ds["y_info"]] == [[{"by": "A"}], [None, {"by": "A"}]]
    left = legacy(ds)
    assert left["links"] == [[2, 3], [0, 1], [2, 1]] and left["deleted"] == [4]
    (alone,) = left["elements"]
    assert alone == {"id": 5, "type": "y", "value": "bird", "info": {"why": "its X is gone"}}
    assert any("deleted" in text and "4" in text for text in told)
    assert any("Ys without an X" in text and "5" in text for text in told)


@pytest.mark.parametrize("form", FORMS)
def test_row_d24_documents_and_model_information_d11_d12(tmp_path: Path, form: str) -> None:
    documents = [
        (b"%PDF", {"file": "../a/é.pdf", "title": "Röntgen"}),
        (b"other", {"file": "é.pdf"}),
        ("text", {"title": "notes"}),
    ]
    model = {
        "model": {"structure": "a", "note": "one", "mine": "b"},
        "training": {"note": "two", "batch_size": "8"},
        "performance": {"F1_score": "0.5"},
    }
    if form != "json":  # which 2.x could write of texts alone
        model["performance"]["ROC_curve"] = np.eye(2)
        model["model"]["trainable_parameters"] = 7
    old = Old({0: ("x", vector(1), None)}, [], documents=documents, model=model)
    ds, _ = converted(stored(old, form, tmp_path / "old"))
    assert ds.document("é.pdf") == b"%PDF" and ds.document("é-2.pdf") == b"other"
    assert ds.document("notes.txt") == b"text"
    told = legacy(ds)["documents"]
    assert told["é.pdf"] == documents[0][1] and told["notes.txt"] == {"title": "notes"}
    training = dict(ds.metadata.training)
    assert training.pop("trainable_parameters", 7) == 7
    assert training == {
        "structure": "a",
        "note": "one",
        "mine": "b",
        "training_note": "two",
        "batch_size": "8",
    }
    assert ds.metadata.performance["f1"] == "0.5"
    if form != "json":
        name = ds.metadata.performance["roc"]["document"]
        (tmp_path / "roc.npy").write_bytes(ds.document(name))
        assert np.load(tmp_path / "roc.npy").tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("form", FORMS)
def test_row_d24_empty_sets(tmp_path: Path, form: str) -> None:
    ds, told = converted(stored(Old({}, [], info={"author": "A"}), form, tmp_path / "old"))
    assert len(ds) == 0 and ds.metadata.info.contacts[0].name == "A"
    assert any("no vector" in text for text in told)


def test_row_d24_an_empty_file_of_1_0(tmp_path: Path) -> None:
    ds, _ = converted(write_version_1(tmp_path / "old", [], {"dof_author": "A"}))
    assert len(ds) == 0 and legacy(ds) == {"form": "1.0 zip"}


@pytest.mark.parametrize(
    ("values", "dtype", "is_exact"),
    [
        (np.float64([[1.5, 2], [3, 0.25]]), "float32", True),
        (np.float64([[0.1, 2], [3, 4]]), "float32", False),
        (np.float16([[0.1, 2]]), "float16", True),
        (np.array([[1, 2], [3, 4]], ">i4"), "float32", True),
        (np.array([[1 << 24, (1 << 24) + 1]], "int64"), "float32", False),
        (np.array([[True, False]]), "float32", True),
        (np.uint8([[255, 0]]), "float32", True),
        (np.asfortranarray(np.arange(24, dtype="f4").reshape(2, 3, 4)), "float32", True),
    ],
)
def test_row_d24_other_types_and_shapes(
    tmp_path: Path, values: Any, dtype: str, is_exact: bool
) -> None:
    old = Old({row: ("x", value, None) for row, value in enumerate(values)}, [])
    ds, told = converted(stored(old, "pickle", tmp_path / "old"))
    assert ds.row_shape() == values.shape[1:] and ds.to_numpy().dtype == dtype
    assert np.array_equal(ds["feature"], values.astype(dtype))
    assert ("x" not in ds.columns) == is_exact
    if not is_exact:
        assert np.array_equal(np.stack(list(ds["x"])), values)
        assert any("exactly in the column x" in text for text in told)
    assert legacy(ds).get("dtype", dtype) in (dtype, str(values.dtype.newbyteorder("=")))


def test_row_d24_xs_that_are_no_vectors_are_listed_and_kept_whole(tmp_path: Path) -> None:
    elements = {
        0: ("x", vector(1, 2), None),
        1: ("x", vector(1, 2), None),
        2: ("x", vector(1, 2, 3), {"k": "v"}),
        3: ("x", "a picture", None),
        4: ("x", vector(np.nan, 1), None),
        5: ("x", vector(1e300, 1, dtype="float64"), None),
    }
    old = Old(elements, [])
    ds, told = converted(stored(old, "pickle", tmp_path / "old"))
    assert ds["id"].tolist() == ["0", "1"]
    assert [(each["id"], each["rule"]) for each in ds.errors] == [
        ("2", "other-shape"),
        ("3", "no-vector"),
        ("4", "nonfinite"),
        ("5", "nonfinite"),
    ]
    left = {each["id"]: each for each in legacy(ds)["elements"]}
    assert left[2]["value"]["shape"] == [3] and left[2]["info"] == {"k": "v"}
    assert left[3]["value"] == "a picture"
    assert sum("Xs without a row" in text for text in told) == 3


@pytest.mark.parametrize(
    ("ys", "kind", "label"),
    [
        ([0, 2, None], "category", [0, 2, -1]),
        ([np.int64(1), np.int32(0), 1], "category", [1, 0, 1]),
        (["b", "a", "b"], "category", [1, 0, 1]),
        ([True, False, True], "category", [1, 0, 1]),
        ([0.5, float("nan"), 2], "regression", [0.5, None, 2.0]),
        ([np.float32(0.5), 1, 2], "regression", [0.5, 1.0, 2.0]),
        ([[0, 1], [1, 0], [0, 1]], "category", [1, 0, 1]),
        ([np.array([1, 1]), np.array([1, 0]), np.array([0, 0])], "multilabel", None),
    ],
)
def test_row_d24_labels(tmp_path: Path, ys: list[Any], kind: str, label: Any) -> None:
    elements: dict[int, Any] = {}
    for row, y in enumerate(ys):
        elements[2 * row] = ("x", vector(row), None)
        elements[2 * row + 1] = ("y", y, None)
    links = [(2 * row, 2 * row + 1) for row in range(len(ys))]
    ds, _ = converted(stored(Old(elements, links), "pickle", tmp_path / "old"))
    assert ds.metadata.targets["label"].kind == kind
    found = ds.to_numpy("label")
    if kind == "regression":
        assert [None if np.isnan(each) else each for each in found.tolist()] == label
        assert legacy(ds).get("nan_labels", []) == [2 * row for row, y in enumerate(ys) if y != y]
    elif label is not None:
        assert found.tolist() == label
    else:
        assert [list(codes) for codes in ds["label"]] == [[0, 1], [0], []]
        assert [list(each) for each in ds["y"]] == [[1, 1], [1, 0], [0, 0]]


def test_row_d24_ys_of_which_nobody_can_tell_are_kept_as_they_are(tmp_path: Path) -> None:
    def ys(*values: Any) -> tuple[dof.Dataset, list[str]]:
        rows = [(vector(row), [value]) for row, value in enumerate(values)]
        return converted(write_version_1(tmp_path / "old", rows))

    ds, told = ys(*range(30, 60))
    assert ds["y"].tolist() == list(range(30, 60)) and "label" not in ds.columns
    assert any("not clear" in text for text in told)
    ds, _ = ys(1, "a", {"b": [None, 2.5]})
    assert [json.loads(text) for text in ds["y"]] == [1, "a", {"b": [None, 2.5]}]


def test_row_d24_information_of_any_json_d7(tmp_path: Path) -> None:
    """Values keep their types; names that mean something here get another."""
    infos = [
        {"age": 3, "id": "own", "": "no name", "mixed": 1, "view": "PA", "flag": True},
        {"age": 4.5, "mixed": "1", "nested": {"a": [1, None]}},
        None,
    ]
    rows = [(vector(row), [0, info] if info else [0]) for row, info in enumerate(infos)]
    ds, _ = converted(write_version_1(tmp_path / "old", rows))
    found = ds.to_arrow().to_pylist()
    assert [row["age"] for row in found] == [3.0, 4.5, None]
    assert [row["info_id"] for row in found] == ["own", None, None]
    assert found[0]["info_"] == "no name" and found[0]["info_view"] == "PA"
    assert [row["mixed"] for row in found] == ["1", '"1"', None]
    assert json.loads(found[1]["nested"]) == {"a": [1, None]} and found[0]["flag"] is True


def test_row_d24_a_path_in_a_file_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path = tmp_path / "old"
    write_version_1(path, [(vector(1), [0, {}, str(tmp_path / "secret")])])
    ds, told = converted(path)
    assert len(ds) == 1 and any("not looked at" in text for text in told)
    assert b"secret" not in (tmp_path / "new.parquet").read_bytes()


def test_row_d24_much_that_has_no_column_is_a_document(tmp_path: Path) -> None:
    elements: dict[int, Any] = {0: ("x", vector(1), None)}
    for number in range(1, 2000):
        elements[number] = ("y", f"a text that nobody asked for {number}", None)
    ds, _ = converted(stored(Old(elements, []), "pickle", tmp_path / "old"))
    assert legacy(ds) == {"form": "2.x pickle", "document": "legacy.json"}
    left = json.loads(ds.document("legacy.json"))
    assert len(left["elements"]) == 1999 and left["next_id"] == 2000


def test_row_d24_tensors_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    values = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    elements = {0: ("x", values[0], None), 1: ("x", values.T[:, 1], None)}
    ds, _ = converted(stored(Old(elements, []), "pickle", tmp_path / "old"))
    assert ds.to_numpy().tolist() == values.tolist()


def test_row_d5_the_name_says_nothing(tmp_path: Path) -> None:
    """A pickle called .json, JSON called .dof, a zip called .parquet."""
    old = Old({0: ("x", vector(1, 2), None)}, [])
    for form, name in (("pickle", "a.json"), ("json", "a.dof"), ("zip", "a.parquet")):
        ds, _ = converted(stored(old, form, tmp_path / name))
        assert ds.to_numpy().tolist() == [[1, 2]]
        assert legacy(ds)["form"].lower() == f"2.x {form}"


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = Old({0: ("x", vector(1, 2), None), 1: None}, [])
    path = stored(old, "pickle", tmp_path / "old")
    out = tmp_path / "new.parquet"
    assert main.main(["convert", str(path), str(out), "--json"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert report["rows"] == 1 and any("deleted" in text for text in report["warnings"])
    assert all(text in said.err for text in report["warnings"])
    assert main.main(["info", str(path)]) == 2
    assert "dof convert" in capsys.readouterr().err
    assert main.main(["convert", str(path), str(tmp_path / "x.npy")]) == 2
    assert "First: dof convert" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["new.parquet", "old"]


@pytest.mark.parametrize(
    "text",
    [
        '{"instance": {"class": "DofFile"}, "description": {}}',
        '{"instance": {"class": "Dataset"}, "content": {}}',
        '{"instance": {"class": "DofFile"}, "content": []}',
        '{"instance": {"class": "DofFile"}, "content": {"dof_dataset": {"content": {}}}}',
        '{"instance": {"class": "DofFile"}, "content": {"dof_dataset": {"content": '
        '{"elements": {"a": {}}, "links": {"content": []}}}}}',
        '{"instance": ' + "[" * 100_000,
        '{"instance": {"class": "DofFile"}, "content": {"dof_dataset": {"description": '
        '{"next_id": 1e18}, "content": {"elements": {}, "links": {"content": []}}}}}',
        '{"instance": {"class": "DofFile"}, "content": {"dof_dataset": {"description": '
        '{"next_id": 1000000000000}, "content": {"elements": {}, "links": {"content": []}}}}}',
    ],
)
def test_row_d24_json_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "old").write_text(text)
    with pytest.raises(dof.DofError):
        dof.convert(tmp_path / "old", tmp_path / "new.parquet")
    assert [each.name for each in tmp_path.iterdir()] == ["old"]
