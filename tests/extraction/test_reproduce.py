"""Rows made again from their source: bit-equal here, other rows told apart, nothing guessed."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.cores.core import Core
from dof_arrow.errors import CoreError, SourceError, UsageError
from dof_arrow.extraction.extract import extract
from dof_arrow.extraction.reproduce import Reproduction
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.media.augment import Augmentation
from dof_arrow.rewrite.merge import merge
from dof_arrow.tables.agreement import TOLERANCE
from tests.support import making, models
from tests.support.pictures import KEY, Memory, core, folder_of, png
from tests.support.shared import shared_data

SMALL = Preprocessing(mode="RGB", fit="squash", resize=(16, 16), scale=1 / 255)


def made(source: Any, out: Path, **options: Any) -> Path:
    return extract(source, **{"core": core(), "out": out, "id_key": KEY} | options).path


def again(data: Any, source: Any, **options: Any) -> Reproduction:
    return dof.reproduce(data, source, **{"core": core(), "id_key": KEY, "rows": 1.0} | options)


def small(name: str) -> Core:
    return Core.from_bytes(getattr(models, name)().SerializeToString(), name=name, preprocess=SMALL)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "pictures", 20, ("a", "b"))


def all_equal(found: Reproduction) -> bool:
    return (
        found.agrees
        and not found.remarks
        and all(
            (a.equal, a.close, a.largest, a.relative, a.cosine) == (found.rows, found.rows, 0, 0, 1)
            for a in found.columns.values()
        )
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": "float16"},
        {"layout": "compact"},
        {"views": 3, "augment": "photo"},
        {"label": "folder"},
        {"ids": "name"},
        {"batch_size": 1},
        {"batch_size": 3, "workers": 3},
    ],
    ids=str,
)
def test_row_d25_every_row_is_made_again_bit_for_bit(
    options: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    """D25: the evaluation phase too: whoever has the pictures and the core checks the dataset."""
    found = again(made(pictures, tmp_path / "x.parquet", **options), pictures)
    assert (
        all_equal(found)
        and found.rows == found.of == 20 * options.get("views", 1)
        and not found.libraries
    )
    assert found.columns["feature"].rows == found.rows and found.tolerance == TOLERANCE


@pytest.mark.parametrize(
    "name", ["gemm", "vit", "sixteen", "mixed_rows", "dynamic_range", "quantised"]
)
def test_cores_of_every_kind_are_reproduced_whatever_the_batch(
    name: str, pictures: Path, tmp_path: Path
) -> None:
    """Also of a fixed batch, and where features would change with what else is in a batch."""
    for batch in (1, 8):
        path = made(pictures, tmp_path / f"{batch}.parquet", core=small(name), batch_size=batch)
        assert all_equal(again(path, pictures, core=small(name), rows=7))


@pytest.mark.parametrize(
    "name, preprocess",
    [
        ("mobilenetv2-12-fp32-from-int8", "imagenet"),
        ("mobilenetv2-12-int8", "imagenet"),
        ("squeezenet_fp16", "caffe"),
    ],
)
def test_real_cores_give_equal_bits_for_any_batch_and_threads(
    name: str, preprocess: str, tmp_path: Path
) -> None:
    """What `reproduce` takes for granted: rows that are drawn meet in other batches than before."""
    path = shared_data() / "models" / f"{name}.onnx"
    source, real = Memory(5), Core.load(path, preprocess=preprocess)
    data = made(source, tmp_path / "x.parquet", core=real, batch_size=5, workers=1)
    assert all_equal(again(data, source, core=Core(real.data, threads=2), rows=3))


def test_several_cores_and_columns_without_one(pictures: Path, tmp_path: Path) -> None:
    both = [core(), small("gemm")]
    path = made(pictures, tmp_path / "x.parquet", core=both)
    found = again(path, pictures, core=both)
    assert all_equal(found) and [*found.columns] == ["scattering-1", "gemm"]
    one = again(path, pictures, core=small("gemm"))
    assert all_equal(one) and [*one.columns] == ["gemm"] and one.skipped == ["scattering-1"]


def test_cores_that_are_not_named_are_found_by_their_digest(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One beside the dataset, one that this program makes; without the first, all is refused."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    both = [core(), small("gemm")]
    path = made(pictures, tmp_path / "x.parquet", core=both)
    beside = tmp_path / "cores" / "another name.onnx"
    beside.parent.mkdir()
    beside.write_bytes(both[1].data)
    found = dof.reproduce(path, pictures, id_key=KEY, rows=1.0)
    assert all_equal(found) and [*found.columns] == ["scattering-1", "gemm"]
    with pytest.raises(UsageError, match="no model is named that a core could be made of"):
        dof.reproduce(path, pictures, id_key=KEY, pool="2x2")
    beside.unlink()
    with pytest.raises(CoreError, match=f"gemm, SHA-256 {both[1].sha256}"):
        dof.reproduce(path, pictures, id_key=KEY)


def test_directories_merged_converted_and_selected_datasets(pictures: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = "\n".join(f"{name}/{p.name}" for p in sorted((pictures / name).iterdir()))
        (tmp_path / f"{name}.csv").write_text(f"file\n{rows}\n")
        options = {"table": tmp_path / f"{name}.csv", "key": "file", "views": 2, "augment": "photo"}
        for out in ("x.dof", f"{name}.parquet"):
            made(pictures, tmp_path / out, **options)
    merge([tmp_path / "b.parquet", tmp_path / "a.parquet"], tmp_path / "m.parquet")
    dof.convert(tmp_path / "m.parquet", tmp_path / "c.parquet", layout="compact", dtype="float16")
    for path in ("x.dof", "m.parquet", "c.parquet"):
        found = again(tmp_path / path, pictures)
        assert all_equal(found) and found.rows == 40
    part = dof.open(tmp_path / "m.parquet").take([39, 2, 7])
    assert again(part, pictures).of == 3 and all_equal(again(part, pictures))
    assert (
        dof.open(tmp_path / "m.parquet").metadata.provenance.libraries
        == dof.open(tmp_path / "a.parquet").metadata.provenance.libraries
        != {}
    )  # type: ignore[union-attr]


def test_inputs_named_by_a_column(tmp_path: Path) -> None:
    cells = [{"bytes": png(i), "path": None} for i in range(7)]
    pq.write_table(
        pa.table({"image": cells, "name": [f"n{i}" for i in range(7)]}), tmp_path / "s.parquet"
    )
    path = made(tmp_path / "s.parquet", tmp_path / "x.parquet", key="name")
    assert all_equal(again(path, tmp_path / "s.parquet", key="name"))
    with pytest.raises(UsageError, match=r"no input bears the name.*--table and --key"):
        again(path, tmp_path / "s.parquet")


def test_a_table_may_be_given_as_it_was_or_left_out(pictures: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"{p.name},{int(p.name[:4])}" for p in sorted(pictures.rglob("*.png"))[:7])
    (tmp_path / "t.csv").write_text(f"name,age\n{rows}\n")
    named = {"table": tmp_path / "t.csv", "key": "name"}
    path = made(pictures, tmp_path / "x.parquet", keep=["age"], **named)
    assert all_equal(again(path, pictures, **named)) and all_equal(again(path, pictures))


def test_inputs_that_are_gone_changed_or_broken(pictures: Path, tmp_path: Path) -> None:
    (pictures / "b" / "0001.png").write_bytes(
        png(1, 9)
    )  # of another size than the others: a fact of its own
    path = made(pictures, tmp_path / "x.parquet", ids="name", facts="exact")
    (pictures / "a" / "0000.png").unlink()
    (pictures / "b" / "0001.png").write_bytes(png(1))
    (pictures / "a" / "0002.png").write_bytes(b"nothing")
    shutil.copy(pictures / "a" / "0006.png", pictures / "a" / "0004.png")
    found = again(path, pictures)
    assert not found.agrees and (found.rows, found.lost, found.differing) == (20, 2, 2)
    told = {remark.id: remark.reason for remark in found.remarks}
    assert "no input of this name" in told["a/0000.png"] and "not a picture" in told["a/0002.png"]
    assert told["b/0001.png"] == "another picture: width 8, was 9, height 8, was 9"
    assert told["a/0004.png"].startswith("feature differs by 0.")
    assert found.columns["feature"].rows == 18 and found.columns["feature"].equal == 16
    assert found.columns["feature"].largest > 0.01 and found.columns["feature"].cosine < 0.999
    assert again(path, pictures, tolerance=1.0).differing == 0


def test_features_that_were_changed_are_seen(pictures: Path, tmp_path: Path) -> None:
    path = made(pictures, tmp_path / "x.parquet", ids="name")
    ds = dof.open(path)
    values = ds.to_numpy().copy()
    values[3] *= 1 + 1e-4
    values[4, 5] += 2e-3 * np.abs(values[4]).max()
    with dof.Writer(
        tmp_path / "y.parquet",
        {
            "columns": {"feature": {"core": "feature"}},
            "cores": {"feature": dof.open(path).metadata.cores["feature"]},
            "privacy": {"ids": "name"},
        },
    ) as writer:
        writer.write(ids=ds.to_numpy("id").tolist(), vectors={"feature": values})
    found = again(tmp_path / "y.parquet", pictures)
    assert found.differing == 1 and [r.id for r in found.remarks] == [ds[4]["id"]]
    agreement = found.columns["feature"]
    assert (agreement.equal, agreement.close) == (18, 19) and 1.9e-3 < agreement.relative < 2.1e-3
    assert again(tmp_path / "y.parquet", pictures, tolerance=0).differing == 2


def test_another_core_is_refused_and_the_wanted_one_named(pictures: Path, tmp_path: Path) -> None:
    path = made(pictures, tmp_path / "x.parquet")
    digest = core().sha256
    with pytest.raises(
        UsageError, match=f"another core: expected scattering-1, sha256 {digest}"
    ) as caught:
        again(path, pictures, core="builtin")
    assert "builtin:scattering-1" in str(caught.value) and "The given core differs in pool." in str(
        caught.value
    )
    model = tmp_path / "m.onnx"
    model.write_bytes(models.gemm().SerializeToString())
    own = made(pictures, tmp_path / "y.parquet", core=Core.load(model, preprocess=SMALL))
    with pytest.raises(
        UsageError, match=r"made of m\.onnx, cut at feat\. .*differs in .*preprocessing\.mean"
    ):
        again(own, pictures, core=model, preprocess=replace(SMALL, mean=(0.5, 0.5, 0.5)))
    bare = making.write(tmp_path / "z.parquet", 3)
    with pytest.raises(UsageError, match="no core made"):
        again(bare, pictures)


def test_the_key_is_asked_for_and_never_made(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    path = made(pictures, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"their key is not there.*--id-key FILE"):
        again(path, pictures, id_key=None)
    assert not (tmp_path / "home").exists()
    with pytest.raises(UsageError, match=r"another key than the one that made.*--id-key FILE"):
        again(path, pictures, id_key=bytes(32))
    (tmp_path / "key").write_text(KEY.hex())
    assert all_equal(again(path, pictures, id_key=tmp_path / "key"))


def test_which_rows_are_drawn(pictures: Path, tmp_path: Path) -> None:
    path = made(pictures, tmp_path / "x.parquet", ids="name")
    shutil.rmtree(pictures / "b")  # half of the rows are lost: which, tells what was drawn

    def drawn(rows: int | float, seed: int) -> tuple[int, list[str]]:
        found = again(path, pictures, rows=rows, seed=seed)
        return found.rows, [remark.id for remark in found.remarks]

    assert [drawn(n, 0)[0] for n in (9, 1000, 0.3, 1.0)] == [9, 20, 6, 20]
    assert drawn(9, 1) == drawn(9, 1) != drawn(9, 2)
    for wrong in (0, -1, 0.0, 1.5):
        with pytest.raises(UsageError, match="no such number of rows"):
            again(path, pictures, rows=wrong)
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="no such tolerance"):
            again(path, pictures, tolerance=wrong)
    with pytest.raises(SourceError):
        again(path, tmp_path / "nowhere")


def test_other_versions_are_told_and_only_known_modules_looked_up(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def versions(names: Any) -> dict[str, str]:
        asked.extend(names)
        return {"onnxruntime": "0.1"}

    path = made(pictures, tmp_path / "x.parquet")
    noted = dof.open(path).metadata.provenance.libraries  # type: ignore[union-attr]
    monkeypatch.setitem(vars(sys.modules["dof_arrow.extraction.reproduce"]), "versions", versions)
    found = again(path, pictures)
    assert found.agrees and found.libraries["onnxruntime"] == (noted["onnxruntime"], "0.1")
    assert (
        found.libraries["PIL"] == (noted["PIL"], "none")
        and set(asked) == {*noted}
        and "av" not in asked
    )


# Clips


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    clips = pytest.importorskip("tests.support.clips")
    return Path(clips.pairs(tmp_path / "clips", 2, lengths=(7, 12), height=32, width=48))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fps": 10, "max_frames": 4},
        {"crop": "4,4,40,30", "dtype": "float16"},
        {"views": 3, "augment": Augmentation(flip_x=0.5, brightness=(-0.2, 0.2))},
    ],
    ids=str,
)
def test_frames_of_clips_are_made_again_bit_for_bit(
    options: dict[str, Any], filmed: Path, tmp_path: Path
) -> None:
    path = made(filmed, tmp_path / "x.parquet", **options)
    for rows in (1.0, 5):
        found = again(path, filmed, rows=rows)
        assert all_equal(found) and found.rows == (rows if rows == 5 else found.of)


def test_windows_of_clips_are_made_again_bit_for_bit(filmed: Path, tmp_path: Path) -> None:
    from tests.extraction.test_clip_features import in_time

    path = made(filmed, tmp_path / "x.parquet", core=in_time(), window=4, stride=2)
    for rows in (1.0, 3):
        assert all_equal(again(path, filmed, core=in_time(), rows=rows))


def test_a_clip_that_became_shorter(filmed: Path, tmp_path: Path) -> None:
    from tests.support import clips

    path = made(filmed, tmp_path / "x.parquet", ids="name")
    ds = dof.open(path)
    first = ds[0]["id"]
    length = ds.to_numpy("id").tolist().count(first)
    (filmed / first).write_bytes(clips.encode(clips.scene(5, length - 2, height=32, width=48)))
    found = again(path, filmed)
    assert found.lost == 2 and found.differing == length - 2 and found.of == found.rows
    assert {(r.id, r.frame) for r in found.remarks if "shorter" in r.reason} == {
        (first, length - 2),
        (first, length - 1),
    }


# The command


def test_the_command_line(
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    out, key = tmp_path / "x.parquet", tmp_path / "key"
    key.write_text(KEY.hex())
    assert (
        main.main(
            ["extract", str(pictures), "--core", "builtin", "-o", str(out), "--id-key", str(key)]
        )
        == 0
    )
    capsys.readouterr()

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main.main(
            ["reproduce", str(out), "--source", str(pictures), "--id-key", str(key), *arguments]
        )
        return code, *capsys.readouterr()

    code, said, aside = run("--core", "builtin", "--rows", "0.5")
    assert (
        code == 0
        and "10 of 10 rows, drawn of 20, agree within 0.001" in said
        and "--rows 1.0" in aside
    )
    code, said, _ = run("--core", "builtin", "--json", "--quiet")
    told = json.loads(said)
    assert code == 0 and told["agrees"] and told["tolerance"] == TOLERANCE
    assert told["columns"]["feature"] == {
        "rows": 20,
        "equal": 20,
        "close": 20,
        "largest": 0.0,
        "relative": 0.0,
        "cosine": 1.0,
    }
    assert run("--core", "builtin", "--pool", "1x1")[0] == 2
    code, _, aside = run("--core", "builtin", "--rows", "many")
    assert code == 2 and "'many' is neither a number of rows nor a share" in aside
    Image.new("RGB", (8, 8)).save(pictures / "a" / "0000.png")
    (pictures / "b" / "0001.png").unlink()
    code, said, aside = run("--core", "builtin")
    assert (
        code == 1
        and "18 of 20 rows" in said
        and "1 rows have no input that can be read, 1 differ" in aside
    )
    assert not (tmp_path / "home" / "dof-arrow").exists()
