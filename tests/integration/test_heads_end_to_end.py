"""From pictures to predictions by commands, as anyone would, on real models and pictures; and what is said where not.

What else was promised of heads: twenty random suggestions equal in torch and ONNX (`test_network`), killed trainings
that end the same (`test_training`), a head on another dataset (`test_evaluate`), the ratio of an epoch through the core
to one from the file (`benchmarks/bench_train.py`).
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from PIL import Image

from dof_arrow.cli.main import main
from dof_arrow.cores.graph import model as graph
from dof_arrow.dataset import dataset
from dof_arrow.format.writer import Writer
from tests.support.making import unruled
from tests.support.memory import blobs
from tests.support.shared import shared_data

DIGITS, PICTURES = "digits", 60
MOBILE, QUANTISED, HALF = (
    "mobilenetv2-12-fp32-from-int8.onnx",
    "mobilenetv2-12-int8.onnx",
    "squeezenet_fp16.onnx",
)
IMAGENET, CAFFE = ["--preprocess", "imagenet"], ["--preprocess", "caffe", "--pool", "1x1"]


def dof(*arguments: Any) -> int:
    return main([*map(str, arguments), "--quiet"])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def folders(name: str, to: Path) -> Path:
    """Pictures in class folders: scikit-learn's digits, or some of the shared ones."""
    if name == "cifar10":
        for file in sorted((shared_data() / "images" / "cifar10").glob("*/*"))[::7]:
            (to / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to / file.parent.name / file.name)
        return to
    if name == DIGITS:
        from sklearn.datasets import load_digits

        pixels, labels = (
            (load_digits().images[:PICTURES] * 15.9).astype(np.uint8),
            load_digits().target,
        )
    else:
        found = np.load(shared_data() / "images" / "pneumoniamnist.npz")
        some = slice(None, None, len(found["train_images"]) // PICTURES)
        pixels, labels = found["train_images"][some], found["train_labels"].ravel()[some]
    for i, picture in enumerate(pixels):
        (to / f"class {labels[i]}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(to / f"class {labels[i]}" / f"{i:03}.png")
    return to


def road(
    made: Path, head: Path, columns: list[str | None]
) -> tuple[list[str], dict[str, np.ndarray]]:
    """What the head says of each row of the dataset: its classes, and their chances by the row's name."""
    ds = dataset.open(made)
    features = np.concatenate([ds.to_numpy(c).reshape(len(ds), -1) for c in columns], axis=1)
    said = graph.run(graph.session(head.read_bytes()), {"feature": features})[0]
    return list(ds.metadata.targets["label"].classes), dict(
        zip(ds.to_numpy("id").tolist(), said, strict=True)
    )


def assert_same(
    said: str, source: Path, expected: tuple[list[str], dict[str, np.ndarray]], head: str
) -> None:
    """The answers of `dof predict --json` have the dataset road's classes, and its chances within 1e-3."""
    classes, chances = expected
    found = {Path(a["input"]).relative_to(source).as_posix(): a[head] for a in json.loads(said)}
    assert found.keys() == chances.keys()
    for name, each in chances.items():
        assert found[name]["label"] == classes[each.argmax()]
        assert list(found[name]["probabilities"].values()) == pytest.approx(each.tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("core", "options", "pictures"),
    [
        (MOBILE, IMAGENET, "cifar10"),
        (QUANTISED, IMAGENET, DIGITS),
        (HALF, CAFFE, "pneumoniamnist"),
    ],
)
def test_extract_train_fuse_predict_equals_the_dataset_road(
    core: str, options: list[str], pictures: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four commands: same class for all, chances within 1e-3, also of a model that takes batches (rows D2, D25)."""
    source, made, head = (
        folders(pictures, tmp_path / "in"),
        tmp_path / "x.dof.parquet",
        tmp_path / "label.onnx",
    )
    model, fused = shared_data() / "models" / core, tmp_path / "m.onnx"
    assert (
        dof(
            "extract",
            source,
            "--core",
            model,
            *options,
            "--label",
            "folder",
            "--ids",
            "name",
            "-o",
            made,
        )
        == 0
    )
    assert dof("train", made, "-o", head) == 0
    expected = road(made, head, [None])
    for more in ([], ["--batch", "--overwrite"]):
        assert dof("fuse", "--core", model, *options, "--head", head, "-o", fused, *more) == 0
        capsys.readouterr()
        assert dof("predict", fused, source, "--json") == 0
        assert_same(capsys.readouterr().out, source, expected, "label")


def test_two_cores_side_by_side_in_one_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head of both cores' features, and one of a single core's, answer in one pass (row D26)."""
    source, made = folders("pneumoniamnist", tmp_path / "in"), tmp_path / "x.dof.parquet"
    cores = [tmp_path / "mobile.onnx", tmp_path / "squeeze.onnx"]
    for model, options, core in zip((MOBILE, HALF), (IMAGENET, CAFFE), cores, strict=True):
        assert dof("headless", shared_data() / "models" / model, *options, "-o", core) == 0
    both = [part for core in cores for part in ("--core", core)]
    assert dof("extract", source, *both, "--label", "folder", "--ids", "name", "-o", made) == 0
    columns = [
        name
        for name, column in dataset.open(made).metadata.columns.items()
        if column.role == "feature"
    ][::-1]
    heads, picked = [tmp_path / "both.onnx", tmp_path / "one.onnx"], (columns, columns[:1])
    for head, chosen in zip(heads, picked, strict=True):
        assert (
            dof(
                "train",
                made,
                "-o",
                head,
                *(part for name in chosen for part in ("--feature", name)),
            )
            == 0
        )
    asked = [part for head in heads for part in ("--head", head)]
    for more in ([], ["--batch", "--overwrite"]):
        assert dof("fuse", *both, *asked, "-o", tmp_path / "m.onnx", *more) == 0
        capsys.readouterr()
        assert dof("predict", tmp_path / "m.onnx", source, "--json") == 0
        said = capsys.readouterr().out
        for head, chosen in zip(heads, picked, strict=True):
            assert_same(said, source, road(made, head, list(chosen)), head.stem)
    refused = [
        (both[:2], heads[:1], "trained on another core"),
        (both, [heads[1]], "a core too many"),
        (both + both[:2], heads, "found one core twice"),
        (both, heads * 2, "two heads of one name"),
    ]
    for cores_given, heads_given, why in refused:
        asked = [part for head in heads_given for part in ("--head", head)]
        assert dof("fuse", *cores_given, *asked, "-o", tmp_path / "n.onnx") == 2
        assert why in capsys.readouterr().err and not (tmp_path / "n.onnx").exists()


def written(path: Path, label: Any = None, *, kind: str = "category", **columns: Any) -> Path:
    """Sixty rows of features with such labels."""
    x, y = blobs(60)
    target = {"kind": kind, **({"classes": ["a", "b", "c"]} if kind == "category" else {})}
    record = {role: role for role in ("group", "split") if role in columns}
    with unruled(), Writer(path, {"targets": {"label": target}, "record": record}) as writer:
        writer.write(
            ids=[f"r{i:02}" for i in range(60)],
            vectors={"feature": x},
            columns={"label": y if label is None else label, **columns},
        )
    return path


HALVES = ["train"] * 30 + ["test"] * 30


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"label": pa.nulls(60, pa.int64())}, "no row has a label"),
        (
            {"label": [1] * 60},
            "one class only: expected two or more different labels to train on, found b in all 60 rows",
        ),
        ({"label": [0] * 30 + [1] * 30, "split": HALVES}, "one class only"),
        ({"label": [7.0] * 60, "kind": "regression"}, "the target is constant"),
        (
            {"label": [float("nan")] * 3 + [1.0] * 57, "kind": "regression"},
            "found 3 of 60 NaN or infinite",
        ),
        (
            {"split": HALVES, "group": [f"p{i % 50}" for i in range(60)]},
            "found 10 groups in more than one of train, test",
        ),
    ],
)
def test_what_cannot_be_learned_says_why(
    about: dict[str, Any], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        dof("train", written(tmp_path / "x.dof.parquet", **about), "-o", tmp_path / "head.onnx")
        == 2
    )
    said = capsys.readouterr().err
    assert why in said and "Traceback" not in said and not (tmp_path / "head.onnx").exists()


def test_a_class_unseen_in_train_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = [i % 2 for i in range(30)] + [2] * 30
    made = written(tmp_path / "x.dof.parquet", label, split=HALVES)
    assert main(["train", str(made), "-o", str(tmp_path / "head.onnx")]) == 0
    assert (
        "Note: class c has no row to train on: it is never predicted, and 30 rows"
        in capsys.readouterr().err
    )


def test_a_head_on_a_foreign_core_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its digest, in a fused model and in evaluation."""
    source, head = folders(DIGITS, tmp_path / "in"), tmp_path / "head.onnx"
    for pool in ("2x2", "4x4"):
        made = tmp_path / f"{pool}.dof.parquet"
        assert (
            dof(
                "extract",
                source,
                "--core",
                "builtin",
                "--pool",
                pool,
                "--label",
                "folder",
                "-o",
                made,
            )
            == 0
        )
    assert dof("train", tmp_path / "2x2.dof.parquet", "-o", head) == 0
    assert (
        dof("fuse", "--core", "builtin", "--pool", "4x4", "--head", head, "-o", tmp_path / "m.onnx")
        == 2
    )
    assert dof("evaluate", head, tmp_path / "4x4.dof.parquet") == 2
    assert (
        capsys.readouterr().err.count("trained on another core") == 2
        and not (tmp_path / "m.onnx").exists()
    )


@pytest.fixture
def digits(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Digits in class folders, and a model of them that takes batches."""
    source, made, head = (
        folders(DIGITS, tmp_path / "in"),
        tmp_path / "x.dof.parquet",
        tmp_path / "digit.onnx",
    )
    core = ["--core", "builtin", "--pool", "1x1"]
    assert dof("extract", source, *core, "--label", "folder", "--ids", "name", "-o", made) == 0
    assert dof("train", made, "-o", head) == 0
    assert dof("fuse", *core, "--head", head, "--batch", "-o", tmp_path / "m.onnx") == 0
    yield source, tmp_path / "m.onnx"


def test_a_batch_of_any_sizes_in_plain_onnxruntime(
    digits: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """One call with a list of arrays; `onnx.checker` agrees; each answer is the one that it gets alone."""
    onnx.checker.check_model(onnx.load(digits[1]), full_check=True)
    capfd.readouterr()
    session = onnxruntime.InferenceSession(digits[1], providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    pictures = [
        random.integers(0, 256, (*random.integers(5, 60, 2), 3), dtype=np.uint8) for _ in range(5)
    ]
    (together,) = session.run(["digit"], {"pictures": pictures})
    alone = [session.run(["digit"], {"pictures": [picture]})[0][0] for picture in pictures]
    assert together.shape[0] == 5 and capfd.readouterr().err == ""  # it has nothing to warn of
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_what_is_predicted_from_a_csv_list(
    digits: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names relative to the list, a failure in its place; the same as table, JSON and CSV."""
    source, model = digits
    names = sorted(p.relative_to(source).as_posix() for p in source.glob("*/*.png"))
    lines = ["site;file", *(f"here;{name}" for name in [*names[:20], "none.png", *names[20:25]])]
    (source / "list.csv").write_text("\n".join(lines), "utf-8")
    capsys.readouterr()
    assert dof("predict", model, source / "list.csv", "--key", "file", "--csv") == 3
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [Path(row["input"]).relative_to(source).as_posix() for row in rows] == [
        *names[:20],
        "none.png",
        *names[20:25],
    ]
    assert [row["error"] for row in rows if row["error"]] == ["no such file"] and rows[20][
        "prediction"
    ] == ""
    assert dof("predict", model, source / "list.csv", "--key", "file", "--json") == 3
    as_json = json.loads(capsys.readouterr().out)
    assert [a["digit"]["label"] if "digit" in a else "" for a in as_json] == [
        row["prediction"] for row in rows
    ]
    assert dof("predict", model, source / "list.csv", "--key", "file") == 3
    assert all(
        row["prediction"] in line
        for row, line in zip(rows, capsys.readouterr().out.splitlines(), strict=True)
    )
    assert dof("predict", model, source / "list.csv") == 3  # the first column names no files
    assert capsys.readouterr().out.count("no such file") == 26
    (source / "bare.csv").write_text("\n".join(names[:3]), "utf-8")
    assert dof("predict", model, source / "bare.csv") == 3
    assert "the list has no header" in capsys.readouterr().out
