"""Extraction: the right features, equal bytes, nothing lost, nothing let out unasked (D1)."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import OutputError, SourceError, UsageError
from dof_arrow.extraction.extract import extract
from dof_arrow.format.raw_classes import rounded
from dof_arrow.format.spec.metadata import TYPES, Target
from dof_arrow.format.validation.validate import validate
from dof_arrow.media import image
from dof_arrow.sources.open import open_source
from tests.support.interrupts import interrupt_after, staged_blocks
from tests.support.making import ROOT
from tests.support.pictures import KEY, Memory, contents, core, folder_of, pixels, png
from tests.support.shared import shared_data

MOBILENET = "models/mobilenetv2-12-fp32-from-int8.onnx"


def made(source: Any, out: Path, **options: Any) -> Dataset:
    """Extracted with rows in the order of the inputs, so that tests know which is which."""
    given = {"core": core(), "out": out, "id_key": KEY, "workers": 2, "order": "source"}
    return extract(source, **{**given, **options})


def table_of(
    folder: Path, rows: list[str], header: str = "file,finding,patient,age,secret"
) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


# The right features


def test_features_equal_a_hand_cut_reference_d1(tmp_path: Path) -> None:
    """Row D1: the original model, its inner tensor made an output, on equally prepared inputs."""
    import onnx
    import onnxruntime

    data = shared_data()
    ds = extract(
        data / "images" / "cifar10",
        core=data / MOBILENET,
        preprocess="imagenet",
        label="folder",
        out=tmp_path / "x.parquet",
        id_key=KEY,
        order="source",
    )
    model = onnx.load(data / MOBILENET)
    tensor = ds.metadata.cores["feature"].cut
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    graph = onnxruntime.InferenceSession(
        base64.b64decode(ds.metadata.cores["feature"].graph or ""),
        providers=["CPUExecutionProvider"],
    )
    source = open_source(data / "images" / "cifar10")
    for i in range(0, len(source), 8):
        picture = image.decode(source[i].load())[0]
        prepared = graph.run(None, {"picture": picture})[0].reshape(1, 3, 224, 224)
        expected = session.run([tensor], {model.graph.input[0].name: prepared})[0].ravel()
        np.testing.assert_allclose(ds.to_numpy()[i], expected, atol=1e-5)
    assert len(ds) == 400 and ds.metadata.targets["label"].classes[0] == "airplane"
    assert ds.to_numpy("label").tolist() == [i // 40 for i in range(400)]
    assert validate(ds.path, deep=True) == []


def test_all_orientations_give_the_same_features(tmp_path: Path) -> None:
    """Losslessly turned: equal. A public collection's nine files were encoded singly: nearly so."""
    upright = Image.fromarray(pixels(3, 24))
    (tmp_path / "turned").mkdir()
    stored = [
        None,
        0,
        3,
        1,
        5,
        2,
        6,
        4,
    ]  # how Pillow turns an upright picture into what each orientation undoes
    for tag, turn in enumerate(stored, 1):
        exif = Image.Exif()
        exif[274] = tag
        turned = upright if turn is None else upright.transpose(Image.Transpose(turn))
        turned.save(tmp_path / "turned" / f"{tag}.png", exif=exif)
    values = made(tmp_path / "turned", tmp_path / "x.parquet").to_numpy()
    assert len(values) == 8 and (values == values[0]).all()
    found = made(shared_data() / "corpora" / "exif-orientation", tmp_path / "y.parquet").to_numpy()
    cosine = found @ found[0] / np.linalg.norm(found, axis=1) / np.linalg.norm(found[0])
    assert len(found) == 9 and cosine.min() > 0.999


def test_several_cores_are_a_column_each(tmp_path: Path) -> None:
    from dof_arrow.cores import builtin

    fine = builtin.load(pool="2x2")
    fine.name = "fine"
    ds = made(folder_of(tmp_path / "p", 5), tmp_path / "x.parquet", core=[core(), fine])
    assert set(ds.metadata.cores) == {"scattering-1", "fine"} and ds.primary == "scattering-1"
    assert ds.to_numpy("fine").shape == (5, 172)
    assert np.array_equal(ds.to_numpy("scattering-1"), core()([pixels(i) for i in range(5)]))
    with pytest.raises(UsageError, match="two cores of one name"):
        made(tmp_path / "p", tmp_path / "y.parquet", core=[core(), core()])


def test_float16_and_compact_hold_the_same_numbers(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", 40)
    plain = made(folder, tmp_path / "a.parquet").to_numpy()
    half = made(folder, tmp_path / "b.parquet", dtype="float16").to_numpy()
    compact = made(folder, tmp_path / "c.parquet", layout="compact").to_numpy()
    assert np.array_equal(half, plain.astype(np.float16)) and np.array_equal(compact, plain)


# Equal bytes, nothing lost


def bytes_of(folder: Path, out: Path, **options: Any) -> bytes:
    return made(
        folder, out, label="folder", split="train=0.5,test=0.5", **options
    ).path.read_bytes()


@pytest.mark.parametrize("workers", [1, 3])
def test_equal_bytes_whatever_the_workers(workers: int, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", 70, ("a", "b"))
    (folder / "a" / "0002.png").write_bytes(b"broken")
    first = bytes_of(folder, tmp_path / "a.parquet", workers=2)
    assert first == bytes_of(folder, tmp_path / "b.parquet", workers=workers)


def test_interrupted_and_resumed_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", 100, ("a", "b"))
    whole = bytes_of(folder, tmp_path / "whole.parquet")
    out = tmp_path / "x.parquet"
    for blocks in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            bytes_of(folder, out, progress=interrupt_after(blocks, out))
        assert not out.exists()
    assert bytes_of(folder, out) == whole
    assert contents(tmp_path) == ["p", "whole.parquet", "x.parquet"]


COMMAND = """
import sys, time
from pathlib import Path
from dof_arrow.extraction.extract import extract
from tests.support.pictures import KEY, core
extract(Path(sys.argv[1]), core=core(), out=sys.argv[2], id_key=KEY, label="folder",
        split="train=0.5,test=0.5", order="source", workers=1, progress=lambda *_: time.sleep(0.1))
"""


def started(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    """The same run in a process of its own, two blocks or more staged, and more to do."""
    process = subprocess.Popen([sys.executable, "-c", COMMAND, str(folder), str(out)], cwd=ROOT)
    until = time.monotonic() + 30
    while len(staged_blocks(out)) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    return process


def test_killed_and_resumed_gives_the_same_bytes_and_nobody_else_may_write(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", 400, ("a", "b"), side=4)
    process = started(folder, tmp_path / "x.parquet")
    try:
        with pytest.raises(OutputError, match="another process is working on this output"):
            bytes_of(folder, tmp_path / "x.parquet")
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "x.parquet").exists()
    seen: list[int] = []
    resumed = bytes_of(folder, tmp_path / "x.parquet", progress=lambda done, *_: seen.append(done))
    assert seen[0] >= 64 and resumed == bytes_of(folder, tmp_path / "whole.parquet")
    assert contents(tmp_path) == ["p", "whole.parquet", "x.parquet"]


def test_an_unfinished_run_is_not_mixed_with_another(tmp_path: Path) -> None:
    folder, out = folder_of(tmp_path / "p", 80), tmp_path / "x.parquet"
    with pytest.raises(KeyboardInterrupt):
        made(folder, out, progress=interrupt_after(1, out))
    for options, named in (
        ({"dtype": "float16"}, "dtype"),
        ({"core": "builtin"}, "core"),
        ({"batch_size": 4}, "batch"),
        ({"id_key": bytes(32)}, "id key"),
        ({"ids": "name"}, "ids"),
    ):
        with pytest.raises(
            OutputError, match=rf"a difference in .*{named}.*start anew with --overwrite"
        ):
            made(folder, out, **options)
    assert made(folder, out, dtype="float16", overwrite=True).to_numpy().dtype == np.float16
    assert contents(tmp_path) == ["p", "x.parquet"]


def test_a_finished_run_is_known_again(tmp_path: Path) -> None:
    folder, out = folder_of(tmp_path / "p", 5), tmp_path / "x.parquet"
    made(folder, out)
    before = out.stat()
    progress: list[int] = []
    assert len(made(folder, out, progress=lambda *_: progress.append(1), workers=1)) == 5
    assert not progress and out.stat() == before
    with pytest.raises(
        OutputError,
        match=r"of another run. Give another name with -o, or replace it with --overwrite",
    ):
        made(folder, out, dtype="float16")
    future = time.time() + 60
    os.utime(folder / "0003.png", (future, future))
    with pytest.raises(OutputError, match="pictures have changed"):
        made(folder, out)
    folder_of(folder, 6)
    assert len(made(folder, out, overwrite=True)) == 6


def test_a_picture_that_changes_while_others_are_read_is_read_again(tmp_path: Path) -> None:
    """The file holds what pictures were when it was written; one changed after it was read."""
    folder, changed = folder_of(tmp_path / "p", 70), []

    def change(done: int, total: int, failed: int) -> None:
        if done == total and not changed:
            changed.append((folder / "0003.png").write_bytes(png(99)))

    ds = made(folder, tmp_path / "x.parquet", progress=change)
    assert changed and np.array_equal(ds.to_numpy()[3], core()([pixels(99)])[0])
    assert ds.path.read_bytes() == made(folder, tmp_path / "whole.parquet").path.read_bytes()


def test_left_overs_of_a_run_killed_at_its_end_are_swept(tmp_path: Path) -> None:
    folder, out = folder_of(tmp_path / "p", 5), tmp_path / "x.parquet"
    made(folder, out)
    (tmp_path / ".x.parquet.staging").mkdir()
    (tmp_path / ".x.parquet.staging" / "000000.arrow").write_bytes(b"left")
    made(folder, out)
    assert contents(tmp_path) == ["p", "x.parquet"]


# Names, groups, splits, columns


def patients(folder: Path, count: int = 60) -> Path:
    """Four pictures of each patient; every sixth has no finding, every fifth no age."""
    folder_of(folder, count)
    rows = []
    for i in range(count):
        finding = ("", "flu", "flu", "cold", "flu", "flu")[i % 6]
        age = i if i % 5 else ""
        rows.append(f"{i:04d},{finding},p{i // 4},{age},x")
    return table_of(folder.parent, rows)


def test_pseudonyms_groups_and_kept_columns(tmp_path: Path) -> None:
    table = patients(tmp_path / "p")
    options = {
        "table": table,
        "key": "file",
        "label": "finding",
        "group": "patient",
        "keep": ["age"],
    }
    ds = made(tmp_path / "p", tmp_path / "x.parquet", **options)
    ids, groups = ds.to_arrow()["id"].to_pylist(), ds.to_arrow()["group"].to_pylist()
    assert len(set(ids)) == 60 and {len(i) for i in ids} == {26} and len(set(groups)) == 15
    assert [groups[i] == groups[i + 1] for i in (0, 3)] == [True, False]
    assert ds.schema.field("finding").nullable and ds.to_arrow()["finding"].null_count == 10
    assert ds.metadata.targets["finding"].classes == ("cold", "flu")
    assert ds.to_arrow()["age"].type == pa.int64() and ds.to_arrow()["age"].to_pylist()[:3] == [
        None,
        1,
        2,
    ]
    assert ds.columns == ["id", "group", "finding", "age", "feature"]
    again = made(tmp_path / "p", tmp_path / "y.parquet")
    assert again.to_arrow()["id"].to_pylist() == ids
    other = made(tmp_path / "p", tmp_path / "z.parquet", id_key=bytes(32))
    assert not set(other.to_arrow()["id"].to_pylist()) & set(ids)
    named = made(tmp_path / "p", tmp_path / "n.parquet", ids="name", **options)
    assert (
        named[1]["id"] == "0001.png"
        and named[4]["group"] == "p1"
        and named.metadata.privacy.ids == "name"
    )


def test_splits_keep_patients_whole_and_meet_the_fractions_d9(tmp_path: Path) -> None:
    """Rows D9 and G10."""
    table = patients(tmp_path / "p", 80)
    ds = made(
        tmp_path / "p",
        tmp_path / "x.parquet",
        table=table,
        key="file",
        label="finding",
        group="patient",
        split="train=0.75,test=0.25",
        split_exact=True,
    )
    splits, groups = ds.to_arrow()["split"].to_pylist(), ds.to_arrow()["group"].to_pylist()
    assert len({*zip(groups, splits, strict=True)}) == len(set(groups))
    assert abs(splits.count("train") - 60) <= 4
    assert ds.metadata.splits["train"].rows == splits.count("train") == len(ds.split("train"))


def test_a_given_split_is_kept_unless_it_parts_a_patient(tmp_path: Path) -> None:
    """Rows D9 and G10: never the same patient on both sides."""
    folder_of(tmp_path / "p", 4)
    rows = ["0000,p1,train", "0001,p1,train", "0002,p2,test", "0003,p3,"]
    table = table_of(tmp_path, rows, "file,patient,part")
    options = {"table": table, "key": "file", "group": "patient", "split": "part"}
    ds = made(tmp_path / "p", tmp_path / "x.parquet", **options)
    assert ds.to_arrow()["split"].to_pylist() == ["train", "train", "test", None]
    table_of(tmp_path, [*rows[:1], "0001,p1,test", *rows[2:]], "file,patient,part")
    loaded: list[int] = []
    with pytest.raises(UsageError, match="the given splits part a group"):
        made(
            tmp_path / "p", tmp_path / "y.parquet", progress=lambda *_: loaded.append(1), **options
        )
    assert not loaded and not (tmp_path / "y.parquet").exists()


def test_labels_of_every_kind(tmp_path: Path) -> None:
    targets = {
        "grade": Target(kind="regression", unit="mm"),
        "signs": Target(kind="multilabel", classes=("a", "b")),
    }
    source = Memory(9, targets=targets, target=lambda i: {"grade": i / 4, "signs": [0, 1][: i % 3]})
    ds = made(source, tmp_path / "x.parquet")
    assert ds.to_numpy("grade").dtype == np.float64 and ds.to_numpy("grade")[3] == 0.75
    assert not ds.schema.field("grade").nullable
    assert ds.to_arrow()["signs"].to_pylist()[:3] == [[], [0], [0, 1]]
    assert ds.metadata.targets["grade"].unit == "mm" and validate(ds.path, deep=True) == []


@pytest.mark.parametrize("name", ["view", "frame", "time", "split", "group"])
def test_an_owners_column_may_bear_a_name_that_the_format_knows(name: str, tmp_path: Path) -> None:
    folder_of(tmp_path / "p", 2)
    table = table_of(tmp_path, ["0000,PA", "0001,AP"], f"file,{name}")
    ds = made(tmp_path / "p", tmp_path / "x.parquet", table=table, key="file", keep=[name])
    assert ds[0][name] == "PA" and ds.metadata.columns[name].role == "kept"
    assert getattr(ds.metadata.record, name) is None and validate(ds.path, deep=True) == []


@pytest.mark.parametrize("name", ["id", "feature", "processing"])
def test_columns_of_one_name_are_refused(name: str, tmp_path: Path) -> None:
    folder_of(tmp_path / "p", 2)
    table = table_of(tmp_path, ["0000,1", "0001,2"], f"file,{name}")
    with pytest.raises(UsageError, match=f"two columns of one name: found {name}. Rename"):
        made(tmp_path / "p", tmp_path / "x.parquet", table=table, key="file", keep=[name])
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "round"},
        {"ids": "initials"},
        {"workers": 0},
        {"batch_size": 0},
        {"dtype": "float64"},
    ],
)
def test_choices_that_are_none(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        made(Memory(1), tmp_path / "x.parquet", **options)


# What the file says


def test_provenance_says_what_the_raw_inputs_were_like_d8_d27(tmp_path: Path) -> None:
    """Rows D8 and D27."""
    folder = folder_of(tmp_path / "p", 6)
    for number in range(5):
        Image.fromarray(pixels(number, 6)).convert("L").save(folder / f"9{number}.png")
    (folder / "bad.png").write_bytes(b"")
    assert "processing" not in made(folder, tmp_path / "plain.parquet").columns
    ds = made(folder, tmp_path / "x.parquet", facts="exact")
    about = ds.metadata.provenance
    assert about is not None and (about.inputs, about.failed) == (12, 1)
    assert about.raw["format"] == "PNG" and about.raw["mode"] == {"L": 5, "RGB": 6}
    size = sum(p.stat().st_size for p in folder.iterdir())
    assert about.raw["bytes"] == rounded(size) != size
    own = ds[6]["processing"]
    assert [own[name] for name in ("width", "height", "mode")] == [6, 6, "L"]
    assert list(own) == list(TYPES) and ds[0]["processing"]["mode"] == "RGB"
    assert [(e["rule"], e["reason"]) for e in ds.errors] == [("empty", "the file holds 0 bytes")]
    assert ds.errors[0]["id"] not in ds.to_arrow()["id"].to_pylist()


def test_nasty_pictures_are_listed_and_stop_nothing(tmp_path: Path) -> None:
    ds = made(shared_data() / "corpora" / "images-nasty", tmp_path / "x.parquet")
    assert len(ds) + len(ds.errors) == ds.metadata.provenance.inputs
    assert len(ds.errors) >= 7 and all(e["rule"] and e["reason"] for e in ds.errors)
    assert np.isfinite(ds.to_numpy()).all() and validate(ds.path, deep=True) == []


def test_all_inputs_failing_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(b"")
    with pytest.raises(
        SourceError, match="no input gave features: found 1 failures, the first: the file"
    ):
        made(tmp_path / "p", tmp_path / "x.parquet")
    assert contents(tmp_path) == ["p"]


CANARIES = {
    kind: f"canary{kind}7531"
    for kind in (
        "file",
        "folder",
        "root",
        "patient",
        "secret",
        "text",
        "exif",
        "icc",
        "xmp",
        "table",
        "home",
        "core",
    )
}


def planted(folder: Path) -> tuple[Path, Path]:
    """Pictures full of names that must not leave, one of them broken, and a table beside them."""
    root = folder / CANARIES["root"] / CANARIES["folder"]
    root.mkdir(parents=True)
    for i in range(6):
        exif, text = Image.Exif(), PngImagePlugin.PngInfo()
        exif[0x010E] = exif[0x013B] = CANARIES["exif"]
        text.add_text("Description", CANARIES["text"])
        text.add_itxt("XML:com.adobe.xmp", f"<x>{CANARIES['xmp']}</x>")
        picture = Image.fromarray(pixels(i))
        icc = CANARIES["icc"].encode()
        picture.save(root / f"{CANARIES['file']}-{i}.png", exif=exif, pnginfo=text, icc_profile=icc)
        picture.save(root / f"{CANARIES['file']}-{i}.jpg", exif=exif, comment=CANARIES["text"])
    (root / f"{CANARIES['file']}-broken.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + CANARIES["text"].encode()
    )
    table = folder / f"{CANARIES['table']}.csv"
    rows = [
        f"{p.name},{'ab'[i % 2]},{CANARIES['patient']}{i // 3},{i},{CANARIES['secret']}"
        for i, p in enumerate(sorted(root.iterdir()))
    ]
    table.write_text(
        "\n".join(["file,finding,patient,age,notes", *rows, f"{CANARIES['file']}-gone.png,a,z,1,z"])
    )
    return root, table


def strings_in(path: Path) -> str:
    """All that a file holds: its bytes in two encodings, its values, its metadata decoded."""
    raw = path.read_bytes()
    parquet = pq.ParquetFile(path)
    keys = parquet.metadata.metadata
    arrow = base64.b64decode(keys[b"ARROW:schema"]).decode("latin-1")
    graphs = [
        base64.b64decode(c.graph or "").decode("latin-1")
        for c in dataset.open(path).metadata.cores.values()
    ]
    return "\n".join(
        [
            raw.decode("latin-1"),
            raw.decode("utf-16-le", "replace"),
            raw[1:].decode("utf-16-le", "replace"),
            repr(parquet.read().drop_columns(["feature"]).to_pylist()),
            arrow,
            repr(keys),
            *graphs,
        ]
    )


@pytest.mark.parametrize("layout", ["mapped", "compact"])
def test_no_canary_leaves(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / CANARIES["home"]))
    monkeypatch.setenv("USER", CANARIES["home"])
    root, table = planted(tmp_path)
    ds = made(
        root,
        tmp_path / "x.parquet",
        table=table,
        key="file",
        label="finding",
        group="patient",
        keep=["age"],
        split="train=0.5,test=0.5",
        split_exact=True,
        layout=layout,
    )
    assert len(ds) == 12 and sorted(e["rule"] for e in ds.errors) == ["missing", "truncated"]
    held = strings_in(ds.path).lower()
    assert [kind for kind, canary in CANARIES.items() if canary in held] == []
    assert str(tmp_path).lower() not in held
    assert all("canary" not in repr(error) for error in ds.errors)
