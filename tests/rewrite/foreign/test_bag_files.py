"""Bags of TRIDENT, CLAM, STAMP, torch and WebDataset become one file; what fails is listed, and nothing is run."""

from __future__ import annotations

import io
import json
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.validation.validate import validate
from dof_arrow.rewrite.foreign import bag_files
from dof_arrow.rewrite.foreign.bag import REASONS
from dof_arrow.security.pseudonyms import pseudonyms
from tests.support import foreign_bags

h5py = pytest.importorskip("h5py")

KEY = bytes(32)


def converted(source: Path, out: Path, **options: Any) -> Any:
    """The dataset, and what was said of it."""
    options = {"id_key": KEY, **options}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = dof.convert(source, out, **options)
    assert validate(Path(str(made)), deep=True) == []
    return dof.open(made), " ".join(str(each.message) for each in said)


@pytest.mark.parametrize("layout", foreign_bags.LAYOUTS)
def test_a_folder_becomes_bags_under_pseudonyms(tmp_path: Path, layout: str) -> None:
    source = foreign_bags.folder(layout, tmp_path / "in", 7)
    data, _ = converted(source, tmp_path / "x.parquet")
    names = [f"slide-{number:04d}" for number in range(7)]
    called = dict(zip(pseudonyms(KEY, "id", names), range(7), strict=True))
    bags = data.bags()
    assert list(bags) == sorted(called)
    for name, bag in bags.items():
        rows = 5 + called[name] % 3
        dtype = "f2" if layout == "stamp" else "f4"
        assert np.array_equal(bag.to_numpy(), foreign_bags.vectors(called[name], rows, 16, dtype))
        assert bag.to_arrow(["id"])["id"].to_pylist() == [f"{name}-{n:07d}" for n in range(rows)]
        axes = ("x_um", "y_um") if layout == "stamp" else ("x", "y")
        found = np.stack([bag.to_numpy(axis) for axis in axes], axis=1)
        factor = 0.5 if layout == "stamp" else 1
        assert np.array_equal(found, foreign_bags.places(rows) * factor)
    assert (data.metadata.provenance.inputs, data.metadata.provenance.failed) == (7, 0)
    content = Path(str(data.path)).read_bytes()
    assert b"slide-" not in content and foreign_bags.SECRET.encode() not in content


def test_what_files_say_of_the_core_is_a_claim(tmp_path: Path) -> None:
    wanted = {"trident": "uni_v1", "clam": "not stated", "stamp": "virchow2"}
    for layout, core in wanted.items():
        source = foreign_bags.folder(layout, tmp_path / layout, 2)
        data, said = converted(source, tmp_path / f"{layout}.parquet")
        claimed = data.metadata.claimed_cores["feature"]
        assert claimed.name == core and claimed.facts["layout"] == layout.upper()
        assert data.metadata.columns["feature"].core == "feature" and not data.metadata.cores
        assert ("which core" in said) == (layout == "clam")
    assert data.metadata.record.mpp == "mpp"
    assert data.to_numpy("mpp")[0] == 256 / 224
    named, _ = converted(source, tmp_path / "named.parquet", core="my model", ids="name")
    assert named.metadata.claimed_cores["feature"].name == "my model"
    assert list(named.bags()) == ["slide-0000", "slide-0001"]


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    source = foreign_bags.folder("trident", tmp_path / "in", 3)
    first, _ = converted(source, tmp_path / "a.parquet")
    second, _ = converted(source, tmp_path / "b.parquet")
    assert Path(str(first.path)).read_bytes() == Path(str(second.path)).read_bytes()


def _external_link(file: Any, folder: Path) -> None:
    del file["features"]
    file["features"] = h5py.ExternalLink(str(folder / "other.h5"), "features")


def _soft_link(file: Any, folder: Path) -> None:
    file["elsewhere"] = file["features"]
    del file["features"]
    file["features"] = h5py.SoftLink("/elsewhere")


def _virtual(file: Any, folder: Path) -> None:
    del file["features"]
    plan = h5py.VirtualLayout((5, 16), "f4")
    plan[:] = h5py.VirtualSource(str(folder / "other.h5"), "features", (5, 16))
    file.create_virtual_dataset("features", plan)


def _external_values(file: Any, folder: Path) -> None:
    del file["features"]
    external = [(str(folder / "raw.bin"), 0, 320)]
    file.create_dataset("features", (5, 16), "f4", external=external)


def _replaced(**options: Any) -> Callable[[Any, Path], None]:
    def change(file: Any, folder: Path) -> None:
        del file["features"]
        file.create_dataset("features", **options)

    return change


def _not_finite(file: Any, folder: Path) -> None:
    file["features"][2, 3] = np.nan


def _fewer_places(file: Any, folder: Path) -> None:
    del file["coords"]
    file["coords"] = foreign_bags.places(4)


def _far_places(file: Any, folder: Path) -> None:
    file["coords"][0] = [1 << 40, 0]


def _group(file: Any, folder: Path) -> None:
    del file["features"]
    file.create_group("features")


TEXTS = h5py.string_dtype()
HOSTILE: dict[str, tuple[Callable[[Any, Path], None], str]] = {
    "external link": (_external_link, "elsewhere"),
    "soft link": (_soft_link, "elsewhere"),
    "virtual": (_virtual, "elsewhere"),
    "external values": (_external_values, "elsewhere"),
    "huge": (_replaced(shape=(1 << 40, 16), dtype="f4", chunks=(1, 16)), "sizes"),
    "never written": (_replaced(shape=(5, 16), dtype="f4", chunks=(1, 16)), "unwritten"),
    "contiguous, never written": (_replaced(shape=(5, 16), dtype="f4"), "unwritten"),
    "bomb": (
        _replaced(data=np.zeros((1 << 20, 16), "f4"), chunks=(1 << 16, 16), compression="gzip"),
        "sizes",
    ),
    "huge chunk": (
        _replaced(data=np.zeros((5, 16), "f4"), chunks=(1 << 20, 16), maxshape=(None, 16),
                  compression="gzip"),
        "sizes",
    ),
    "other filter": (
        _replaced(data=np.zeros((5, 16), "f4"), chunks=(5, 16), scaleoffset=3), "filter"
    ),
    "objects": (_replaced(data=np.full((5, 16), "a", object), dtype=TEXTS), "no-vectors"),
    "integers": (_replaced(data=np.zeros((5, 16), "i4")), "no-vectors"),
    "one axis": (_replaced(data=np.zeros(16, "f4")), "no-vectors"),
    "no row": (_replaced(data=np.zeros((0, 16), "f4")), "empty"),
    "a group": (_group, "no-vectors"),
    "NaN": (_not_finite, "not-finite"),
    "another width": (_replaced(data=np.ones((5, 8), "f4")), "other-width"),
    "fewer places": (_fewer_places, "coordinates"),
    "far places": (_far_places, "coordinates"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_listed_and_the_others_are_taken(tmp_path: Path, kind: str) -> None:
    source = foreign_bags.folder("clam", tmp_path / "in", 3)
    foreign_bags.write("clam", tmp_path / "other.h5", 9, 5)
    (tmp_path / "raw.bin").write_bytes(bytes(320))
    change, rule = HOSTILE[kind]
    with h5py.File(source / "slide-0001.h5", "a") as file:
        change(file, tmp_path)
    data, said = converted(source, tmp_path / "x.parquet")
    wrong = pseudonyms(KEY, "id", ["slide-0001"])[0]
    assert data.errors == [{"id": wrong, "rule": rule, "reason": REASONS[rule]}]
    assert len(data.bags()) == 2 and wrong not in data.bags()
    assert data.metadata.provenance.failed == 1
    assert f"1 inputs failed and are listed: {REASONS[rule]} (1)" in said


def test_damaged_files_and_other_files_are_told_of(tmp_path: Path) -> None:
    source = foreign_bags.folder("clam", tmp_path / "in", 2)
    whole = (source / "slide-0000.h5").read_bytes()
    (source / "half.h5").write_bytes(whole[: len(whole) // 2])
    (source / "empty.h5").write_bytes(b"")
    (source / "notes.csv").write_text("slide,label")
    data, said = converted(source, tmp_path / "x.parquet")
    assert [error["rule"] for error in data.errors] == ["unreadable", "unreadable"]
    assert len(data.bags()) == 2 and "1 .csv" in said
    with pytest.raises(SourceError, match="no input gives a vector"):
        converted(source / "half.h5", tmp_path / "y.parquet")
    assert not (tmp_path / "y.parquet").exists()


def test_coordinates_that_some_lack_are_open_there(tmp_path: Path) -> None:
    source = foreign_bags.folder("clam", tmp_path / "in", 2)
    with h5py.File(source / "slide-0001.h5", "a") as file:
        del file["coords"]
    data, said = converted(source, tmp_path / "x.parquet", ids="name")
    assert data.to_arrow(["x"])["x"].to_pylist() == [0, 256, 512, 768, 1024, *[None] * 6]
    assert "1 inputs have no coordinates" in said


@pytest.mark.parametrize("change", ["no places", "wider numbers", "another attribute", "a filter"])
def test_one_file_that_differs_is_as_if_all_had_been_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    source = foreign_bags.folder("trident", tmp_path / "in", 30)
    for number in (6, 9):  # of five rows
        with h5py.File(source / f"slide-{number:04d}.h5", "a") as file:
            if change == "no places":
                del file["coords"]
            elif change == "wider numbers":
                _replaced(data=np.ones((5, 16)))(file, tmp_path)
            elif change == "another attribute":
                file["coords"].attrs["patch_size"] = 512
            else:
                _replaced(data=np.ones((5, 16), "f4"), chunks=(2, 8), compression="gzip")(
                    file, tmp_path
                )
    first, said = converted(source, tmp_path / "x.parquet")
    monkeypatch.setattr(bag_files, "sample", lambda bags: None)
    second, also = converted(source, tmp_path / "y.parquet")
    assert Path(str(first.path)).read_bytes() == Path(str(second.path)).read_bytes()
    assert said == also and len(first.bags()) == 30 and not first.errors


def test_a_file_that_vanishes_or_changes_meanwhile_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = foreign_bags.folder("clam", tmp_path / "in", 3)
    look = bag_files.survey

    def meddled(*given: Any) -> Any:
        known = look(*given)
        (source / "slide-0000.h5").unlink()
        foreign_bags.write("clam", source / "slide-0001.h5", 9, 50)
        return known

    monkeypatch.setattr(bag_files, "sample", lambda bags: None)
    monkeypatch.setattr(bag_files, "survey", meddled)
    data, _ = converted(source, tmp_path / "x.parquet", ids="name")
    assert [(error["id"], error["rule"]) for error in data.errors] == [
        ("slide-0000", "unreadable"),
        ("slide-0001", "unreadable"),
    ]


def test_files_of_several_kinds_are_not_mixed(tmp_path: Path) -> None:
    foreign_bags.folder("clam", tmp_path, 1)
    (tmp_path / "pt_files").mkdir()
    (tmp_path / "pt_files" / "a.pt").write_bytes(b"")
    with pytest.raises(UsageError, match="files of several kinds"):
        converted(tmp_path, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="Parquet file first"):
        converted(tmp_path / "h5_files", tmp_path / "x.dof")
    with pytest.raises(UsageError, match="another program wrote"):
        foreign_bags.folder("clam", tmp_path / "in", 1)
        data, _ = converted(tmp_path / "h5_files", tmp_path / "x.parquet")
        dof.convert(data.path, tmp_path / "y.parquet", core="x")


def test_files_of_torch_are_read_without_torch_and_run_nothing(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    source = tmp_path / "pt_files"
    source.mkdir()
    values = [torch.tensor(foreign_bags.vectors(number, 4, 16)) for number in range(4)]
    torch.save(values[0], source / "a.pt")
    torch.save(list(values[1]), source / "b.pt")
    torch.save(
        {"features": values[2], "coords": torch.zeros((4, 2), dtype=torch.int64)}, source / "c.pt"
    )
    torch.save(values[3], source / "d.pt", _use_new_zipfile_serialization=False)
    torch.save(_Hostile(tmp_path / "owned"), source / "e.pt")
    (source / "f.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    data, _ = converted(source, tmp_path / "x.parquet", ids="name")
    assert list(data.bags()) == ["a", "b", "c", "d"]
    for number, bag in enumerate(data.bags().values()):
        assert np.array_equal(bag.to_numpy(), values[number].numpy())
    assert [(error["id"], error["rule"]) for error in data.errors] == [
        ("e", "hostile"),
        ("f", "hostile"),
    ]
    assert not (tmp_path / "owned").exists()


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def _npy(values: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, values, **options)
    return sink.getvalue()


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return path


def test_archives_of_vectors_are_inputs_of_their_own(tmp_path: Path) -> None:
    row = {f"{name}.npy": _npy(np.full(8, number, "f4")) for number, name in enumerate("dbca")}
    objects = _npy(np.array([{}], object), allow_pickle=True)
    source = _tar(tmp_path / "00000.tar", {**row, "e.npy": objects, "a.json": b"{}"})
    data, said = converted(source, tmp_path / "x.parquet", ids="name")
    assert data.to_arrow(["id"])["id"].to_pylist() == ["a", "b", "c", "d"]
    assert data.to_numpy()[:, 0].tolist() == [3, 1, 2, 0]
    assert data.metadata.record.bag is None
    assert [(error["id"], error["rule"]) for error in data.errors] == [("e", "hostile")]
    assert "1 .json" in said
    bags = _tar(
        tmp_path / "bags.tar",
        {"s.npy": _npy(np.ones((3, 8), "f2")), "t.npy": _npy(np.ones((2, 8)))},
    )
    data, said = converted(bags, tmp_path / "y.parquet", ids="name")
    assert [len(bag) for bag in data.bags().values()] == [3, 2]
    assert "1 inputs have float64" in said


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    huge = _npy(np.zeros((2, 8), "f4")).replace(b"(2, 8), }", b"(2000000000, 8), }")
    source = _tar(tmp_path / "x.tar", {"a.npy": _npy(np.ones((2, 8), "f4")), "b.npy": huge})
    data, _ = converted(source, tmp_path / "x.parquet", ids="name")
    assert [error["id"] for error in data.errors] == ["b"]


def test_folders_of_embedding_reader_are_found(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for folder in ("img_emb", "metadata"):
        (tmp_path / "in" / folder).mkdir(parents=True)
    for number in range(2):
        np.save(tmp_path / "in/img_emb" / f"img_emb_{number}.npy", np.full((3, 8), number, "f4"))
        table = pa.table({"caption": ["a", "b", "c"]})
        pq.write_table(table, tmp_path / "in/metadata" / f"metadata_{number}.parquet")
    with pytest.warns(dof.DofWarning, match="columns left out: caption"):
        data = dof.open(dof.convert(tmp_path / "in", tmp_path / "x.parquet"))
    assert data.to_numpy()[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UsageError, match="numbers as ids"):
        dof.convert(tmp_path / "in", tmp_path / "y.parquet", ids="name")


def test_an_npz_that_unpacks_to_too_much_or_holds_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    with pytest.raises(SourceError, match="pickled objects"):
        dof.convert(tmp_path / "objects.npz", tmp_path / "x.parquet")
    np.savez(tmp_path / "x.npz", x=np.ones((2, 8), "f4"))
    data = dof.open(dof.convert(tmp_path / "x.npz", tmp_path / "x.parquet", core="a"))
    assert data.metadata.claimed_cores["feature"].name == "a"


def test_load_dataset_streams_the_result(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    source = foreign_bags.folder("trident", tmp_path / "in", 2)
    data, _ = converted(source, tmp_path / "x.parquet")
    found = datasets.load_dataset(
        "parquet", data_files=str(data.path), split="train", streaming=True, cache_dir=str(tmp_path)
    )
    rows = list(found)
    assert len(rows) == len(data)
    assert np.array_equal(np.array([row["feature"] for row in rows], "f4"), data.to_numpy())
    assert [row["bag"] for row in rows] == data.to_arrow(["bag"])["bag"].to_pylist()


@pytest.mark.filterwarnings("always")
def test_the_command_converts_and_tells_what_failed(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from dof_arrow.cli.group import dof as program

    source = foreign_bags.folder("stamp", tmp_path / "in", 2)
    (source / "bad.h5").write_bytes(b"no")
    out = tmp_path / "x.parquet"
    options = ["--ids", "name", "--json", "--quiet"]
    result = CliRunner().invoke(program, ["convert", str(source), str(out), *options])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["rows"] == 11 and "1 inputs failed" in told["warnings"][0]
    result = CliRunner().invoke(program, ["info", str(out)])
    assert (
        "virchow2: claimed, not verified" in result.stdout
        and "2, by the column bag" in result.stdout
    )
