"""Views and sources through a whole extraction: rows made again, nothing private in any byte."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dof_arrow.cores.core import Core
from dof_arrow.dataset import dataset
from dof_arrow.errors import UsageError
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.extraction.reproduce import reproduce
from dof_arrow.extraction.run import Extraction
from dof_arrow.extraction.views import ViewPlan, remake
from dof_arrow.format.spec.metadata import Target
from dof_arrow.format.validation.validate import validate
from dof_arrow.media.augment import Augmentation, apply, draw, from_mapping, presets
from dof_arrow.security.pseudonyms import draw_number
from dof_arrow.sources.sample import Sample
from tests.support.dicoms import CANARY, dicom
from tests.support.making import ROOT

KEY = bytes(32)
SPEC = Augmentation(
    seed=5,
    crop=(0.6, 1.0),
    flip_x=0.5,
    rotate=(-20.0, 20.0),
    shift_x=(-0.1, 0.1),
    contrast=(0.7, 1.3),
    blur=(0.0, 0.02),
    noise=(0.0, 0.05),
)


@cache
def core() -> Core:
    from dof_arrow.cores import builtin

    return builtin.load(pool="1x1")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five pictures of two kinds in two class folders, and one that is none."""
    random = np.random.default_rng(0)
    for number in range(5):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (40, 50, 3) if number % 2 else (32, 32)
        Image.fromarray(random.integers(0, 256, shape).astype(np.uint8)).save(path)
    (tmp_path / "pictures" / "a" / "9.png").write_bytes(b"broken")
    return tmp_path / "pictures"


def made(source: Any, out: Path, **options: Any) -> Extraction:
    return planned(source, core=core(), out=out, id_key=KEY, workers=1, **options)


def test_row_D8_views_stand_together_with_common_and_own_facts(
    pictures: Path, tmp_path: Path
) -> None:
    """Row D8: the declaration once, each row's draw in its `processing`, by its input's name."""
    options = {"views": 3, "augment": SPEC, "label": "folder", "order": "source"}
    run = made(pictures, tmp_path / "x.dof.parquet", **options)
    data = run.run()
    assert len(data) == 15 and len(data.errors) == 1 and validate(data.path, deep=True) == []
    table = pq.read_table(data.path)
    assert table["view"].to_pylist() == [0, 1, 2] * 5 and not table.schema.field("view").nullable
    ids = table["id"].to_pylist()
    assert [ids[i] for i in range(0, 15, 3)] == [ids[i + 2] for i in range(0, 15, 3)] and len(
        set(ids)
    ) == 5
    about = data.metadata
    assert about.record.view == "view" and about.augmentation["views"] == 3
    assert from_mapping({n: v for n, v in about.augmentation.items() if n != "views"}) == SPEC
    drawn = [{n: row[n] for n in run.views.drawn} for row in table["processing"].to_pylist()]
    assert all(value is None for row in drawn[::3] for value in row.values())
    first, second = (draw_number(KEY, run.source[number].key) for number in range(2))
    assert drawn[1] == draw(SPEC, first, 1) and drawn[5] == draw(SPEC, second, 2)
    assert about.provenance is not None and about.provenance.inputs == 6
    features = data.to_numpy().reshape(5, 3, -1)
    assert (np.abs(features[:, 1:] - features[:, :1]).max(axis=2) > 1e-4).all()


def test_row_D8_any_row_is_made_again_bit_for_bit(pictures: Path, tmp_path: Path) -> None:
    """Row D8: from what stands in its `processing`, its pixels and its features."""
    run = made(pictures, tmp_path / "x.dof.parquet", views=3, augment=SPEC, order="source")
    data = run.run()
    again = reproduce(data, pictures, core=core(), id_key=KEY, rows=1.0, tolerance=0)
    assert again.agrees and again.columns["feature"].equal == len(data) == 15
    for index in range(len(data)):
        row = data[index]
        number = (0, 1, 2, 4, 5)[index // 3]  # the fourth input is no picture
        sample = run.source[number]
        first, second = (remake(row["processing"], sample, core()) for _ in range(2))
        assert first.tobytes() == second.tobytes()
        drawn = draw(SPEC, draw_number(KEY, sample.key), index % 3)
        assert first.tobytes() == apply(sample.picture()[0], drawn).tobytes()


def test_row_G4_views_at_extraction_move_both_ways_and_black_pictures_stay_numbers(
    tmp_path: Path,
) -> None:
    """Row G4: shift, rotate, normalize, a draw each view; a clip's frames share theirs."""
    (tmp_path / "p").mkdir()
    for number, grey in enumerate((0, 90, 255)):
        Image.new("RGB", (12, 12), (grey,) * 3).save(tmp_path / "p" / f"{number}.png")
    spec = Augmentation(
        seed=1, shift_x=(-0.3, 0.3), shift_y=(-0.3, 0.3), rotate=(-15.0, 15.0), normalize=1.0
    )
    data = made(tmp_path / "p", tmp_path / "x", views=9, augment=spec).run()
    assert len(data) == 27 and not data.errors and np.isfinite(data.to_numpy()).all()
    drawn = [row["processing"] for row in data if row["view"]]
    for name in ("shift_x", "shift_y", "rotate"):
        values = [row[name] for row in drawn]
        assert min(values) < 0 < max(values) and len({*values}) == 24


def test_views_do_not_depend_on_batches_or_workers(pictures: Path, tmp_path: Path) -> None:
    first = made(pictures, tmp_path / "a", views=4, augment="photo").run().path.read_bytes()
    threads = planned(
        pictures, core=core(), out=tmp_path / "b", id_key=KEY, workers=3, views=4, augment="photo"
    )
    assert threads.run().path.read_bytes() == first
    odd = made(pictures, tmp_path / "c", views=4, augment="photo", batch_size=3).run()
    assert np.allclose(odd.to_numpy(), dataset.open(tmp_path / "a").to_numpy(), atol=1e-5)


def test_the_plain_view_is_what_one_view_gives(pictures: Path, tmp_path: Path) -> None:
    plain = made(pictures, tmp_path / "a").run()
    assert "view" not in plain.columns and not plain.metadata.augmentation
    views = made(pictures, tmp_path / "b", views=3, augment=SPEC).run()
    assert np.array_equal(views.to_numpy()[::3], plain.to_numpy())


def test_views_and_an_augmentation_need_each_other(pictures: Path, tmp_path: Path) -> None:
    for options in (
        {"views": 3},
        {"augment": "xray"},
        {"views": 0},
        {"views": 3, "augment": "nothing"},
    ):
        with pytest.raises(UsageError):
            made(pictures, tmp_path / "x", **options)
    assert ViewPlan(count=2, augmentation=presets()["xray"]).to_json()["views"] == 2


def test_another_augmentation_is_another_run(pictures: Path, tmp_path: Path) -> None:
    one = made(pictures, tmp_path / "x", views=2, augment="xray")
    other = made(pictures, tmp_path / "x", views=2, augment="photo")
    assert one.run_digest != other.run_digest != made(pictures, tmp_path / "x").run_digest


def test_the_size_is_known_ahead_with_views_too(pictures: Path, tmp_path: Path) -> None:
    from dof_arrow.extraction.dry_run import leaving, size_of_run

    for path in (pictures / "b").iterdir():
        path.unlink()
    (pictures / "a" / "9.png").unlink()
    run = made(pictures, tmp_path / "x.dof.parquet", views=3, augment=SPEC)
    told = {c["name"]: c["holds"] for c in leaving(run)["columns"]}
    assert "0 to 2" in told["view"]
    assert size_of_run(run) == run.run().path.stat().st_size


# sources, through to the file


class Mine:
    """Ten lines that a user writes (row D1: all data through the core, whatever they are)."""

    targets = {"digit": Target(kind="category", classes=("0", "1"))}
    kept = {"age": "float64"}
    has_group = has_split = False

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        pixels = np.full((16, 16), 9 * index, np.uint16)
        return Sample(key=f"{index}", data=pixels, target={"digit": index}, kept={"age": 0.5})


def test_row_D1_a_source_of_ones_own_arrays(tmp_path: Path) -> None:
    data = extract(Mine(), core=core(), out=tmp_path / "x", id_key=KEY)
    assert len(data) == 2 and data.metadata.targets["digit"].classes == ("0", "1")
    assert data[1]["age"] == 0.5 and data.metadata.provenance is not None


def test_row_C2_every_container_gives_the_features_of_the_folder(
    pictures: Path, tmp_path: Path
) -> None:
    """Row C2: whatever the pictures lie in."""
    import pyarrow as pa

    (pictures / "a" / "9.png").unlink()
    names = sorted(p.relative_to(pictures).as_posix() for p in pictures.rglob("*.png"))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in names:
            archive.add(pictures / name, name)
    cells = [{"bytes": (pictures / name).read_bytes(), "path": name} for name in names]
    pq.write_table(pa.table({"image": cells}), tmp_path / "x.parquet")
    folder = made(pictures, tmp_path / "folder").run()
    grey = [
        np.asarray(Image.open(pictures / name).convert("RGB").resize((32, 32))) for name in names
    ]
    np.save(tmp_path / "x.npy", np.stack(grey))
    np.savez(tmp_path / "x.npz", pictures=np.stack(grey))
    for container in ("x.tar", "x.parquet"):
        data = made(tmp_path / container, tmp_path / f"{container}.dof").run()
        assert np.array_equal(data.to_numpy(), folder.to_numpy())
        assert data.to_arrow(["id"]).equals(folder.to_arrow(["id"]))
    arrays = [
        made(tmp_path / f"x.{kind}", tmp_path / f"{kind}.dof", order="source").run()
        for kind in ("npy", "npz")
    ]
    assert np.array_equal(arrays[0].to_numpy(), core()(grey)) and np.array_equal(
        arrays[1].to_numpy(), core()(grey)
    )


def test_a_container_that_did_not_change_is_done(pictures: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(pictures, "pictures")
    made(tmp_path / "x.tar", tmp_path / "x.dof").run()
    again = made(tmp_path / "x.tar", tmp_path / "x.dof")
    assert again.nothing_new


def test_row_D27_what_the_raw_data_were_like_is_recorded(tmp_path: Path) -> None:
    """Row D27."""
    (tmp_path / "d").mkdir()
    for number in range(10):
        data = dicom(
            np.arange(400, dtype=np.uint16).reshape(20, 20) + number,
            BitsStored=12,
            HighBit=11,
            PhotometricInterpretation=f"MONOCHROME{1 + number % 2}",
        )
        (tmp_path / "d" / f"{number}.dcm").write_bytes(data)
    data = made(tmp_path / "d", tmp_path / "x", order="source", facts="exact").run()
    assert data.metadata.provenance is not None
    raw = data.metadata.provenance.raw
    assert (raw["format"], raw["bits"], raw["width"]) == ("DICOM", 12, 20)
    assert raw["mode"] == {"MONOCHROME1": 5, "MONOCHROME2": 5}
    own = data[1]["processing"]
    assert (own["mode"], own["low"], own["high"]) == ("MONOCHROME2", 1, 400)


def test_dicom_a_200_by_200_picture_leaves_its_features_and_the_list_and_nothing_else(
    tmp_path: Path,
) -> None:
    (tmp_path / "scans").mkdir()
    ramp = np.arange(200 * 200, dtype=np.uint16).reshape(200, 200) % 4096
    for number in range(4):
        about: dict[str, Any] = {
            "PatientID": f"{CANARY}ID{number // 2}",
            "KVP": "80",
            "BodyPartExamined": "CHEST",
        }
        name = f"{CANARY}{number}.dcm"
        (tmp_path / "scans" / name).write_bytes(dicom(np.roll(ramp, number), **about))
    (tmp_path / "scans" / f"{CANARY}bad.dcm").write_bytes(dicom(ramp, BurnedInAnnotation="YES"))
    run = made(
        tmp_path / "scans",
        tmp_path / "x.dof.parquet",
        group="PatientID",
        label="PatientSex",
        keep=["Modality", "PatientAge", "KVP"],
        views=2,
        augment="xray",
        order="source",
    )
    data = run.run()
    table = pq.read_table(data.path)
    assert len(table) == 8 and len(set(table["group"].to_pylist())) == 2
    assert data[0]["Modality"] == "DX" and data[0]["PatientAge"] == 61 and data[0]["KVP"] == 80
    assert [error["rule"] for error in data.errors] == ["burned-in"]
    expected = np.rint(ramp * 255.0 / 4095).astype(np.uint8)
    assert np.array_equal(data.to_numpy()[0], core()([np.repeat(expected[..., None], 3, 2)])[0])
    told = (
        repr([error for error in data.errors])
        + json.dumps(data.metadata.augmentation)
        + repr(table.to_pylist())
    )
    private = ["CANARY", "19010203", "stairs", "Hospital", "1.2.3.4"]
    whole = [data.path.read_bytes(), told.encode()]
    assert not [word for word in private for content in whole if word.encode() in content]
    allowed = made(tmp_path / "scans", tmp_path / "y.dof.parquet", allow=["burned-in"]).run()
    assert len(allowed) == 5 and not allowed.errors


def test_dicom_attributes_that_are_not_on_the_list_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.dcm").write_bytes(dicom(np.zeros((4, 4), np.uint8)))
    for option in (
        {"keep": ["PatientName"]},
        {"label": "StudyDescription"},
        {"group": "PatientBirthDate"},
    ):
        with pytest.raises(UsageError, match="not taken from DICOM"):
            made(tmp_path, tmp_path / "x", **option)


def test_dicom_files_without_a_suffix_are_found_by_content(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for name in ("IM0001", "1.2.840.113619", "DICOMDIR"):
        (tmp_path / "s" / name).write_bytes(dicom(np.zeros((4, 4), np.uint8)))
    (tmp_path / "s" / "README").write_bytes(b"text")
    source = made(tmp_path / "s", tmp_path / "x").source
    assert [source[i].key for i in range(len(source))] == ["1.2.840.113619", "IM0001"]


def test_the_command_line_makes_views(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    (tmp_path / "spec.json").write_text('{"rotate": [-5, 5]}')
    command = [
        sys.executable,
        "-m",
        "dof_arrow",
        "extract",
        str(pictures),
        "--core",
        "builtin",
        "-o",
        str(tmp_path / "x.dof.parquet"),
        "--views",
        "2",
        "--augment",
        str(tmp_path / "spec.json"),
        "--id-key",
        str(tmp_path / "key"),
        "--max-pixels",
        "1999",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["rows"] == 6
    data = dataset.open(tmp_path / "x.dof.parquet")
    assert {error["rule"] for error in data.errors} == {"too-large", "undecodable"}
    assert -5 <= data[1]["processing"]["rotate"] <= 5
    assert data.metadata.augmentation["rotate"] == [-5, 5]
