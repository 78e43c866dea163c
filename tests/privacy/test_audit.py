"""The audit of a file: what is attacked, what is told, and what is not tried and why."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.errors import UsageError
from dof_arrow.format.writer import Writer
from dof_arrow.privacy import audit as module
from dof_arrow.privacy.attacks import decoder
from dof_arrow.privacy.audit import audit, write_sheet
from dof_arrow.privacy.self_test import drawn
from dof_arrow.privacy.source_pictures import changed, thumbnail
from tests.support.pictures import KEY

CORE = "builtin:scattering-1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of persons whose sex shows, and a table of them."""
    folder = tmp_path_factory.mktemp("audited")
    (folder / "pictures").mkdir()
    known = drawn(0)
    lines = ["name,person,sex,size,note"]
    for number in range(0, 400, 4):
        pixels = np.repeat(np.repeat(known.pictures[number], 2, 0), 2, 1)
        name = f"{number:03d}.png"
        Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / "pictures" / name)
        sex = "fm"[known.sex[number]]
        lines.append(f"{name},p{known.persons[number]},{sex},{known.size[number]:.4f},n{number}")
    (folder / "table.csv").write_text("\n".join(lines))
    (folder / "key").write_text(KEY.hex())
    (folder / "key").chmod(0o600)
    dof.extract(
        folder / "pictures",
        core=CORE,
        out=folder / "x.dof.parquet",
        table=folder / "table.csv",
        key="name",
        label="sex",
        group="person",
        keep=["size", "note"],
        id_key=folder / "key",
    )
    return folder


def test_d22_what_is_there_is_found(folder: Path) -> None:
    found = audit(
        folder / "x.dof.parquet",
        source=folder / "pictures",
        id_key=folder / "key",
    )
    assert (found.rows, found.of) == (100, 100) and found.groups == 80
    by = {(each.attack, each.of, each.attacker, each.metric): each for each in found.findings}
    assert by["attribute", "sex", "ridge", "AUC"].reached.value > 0.95
    assert by["attribute", "size", "ridge", "R2"].found
    assert by["inversion", "32 x 32 thumbnail", "ridge", "R2"].reached.value > 0.8
    assert by["inversion", "32 x 32 thumbnail", "decoder", "R2"].reached.value > 0.8
    assert by["same picture", "its row", "cosine", "first of 10"].reached.value > 0.9
    assert by["membership", "a linear head for sex", "loss", "AUC"].baseline == 0.5
    assert any(each.attack == "linkage" for each in found.findings)
    assert found.advantage > 0.8
    assert found.unique is not None and found.unique.groups == 80
    assert [note for note in found.notes if "100 different texts" in note]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that learns a tenth as long, where nobody asks how good it is."""
    monkeypatch.setattr(decoder, "_MOST", 4)


def test_the_same_twice(folder: Path) -> None:
    first, second = (audit(folder / "x.dof.parquet", sensitive=["sex"]) for _ in range(2))
    assert [each.reached for each in first.findings] == [each.reached for each in second.findings]
    assert {each.attack for each in first.findings} == {"attribute", "membership", "linkage"}
    assert any("--source" in note for note in first.notes)


def test_large_files_are_attacked_in_whole_groups(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 50)
    found = audit(folder / "x.dof.parquet", sensitive=["sex"])
    assert 40 < found.rows <= 50 and found.of == 100
    # Persons are counted among all, not among those that are attacked.
    assert found.unique is not None and found.unique.groups == 80


def test_a_group_that_is_too_large_keeps_no_other_out() -> None:
    codes = np.repeat(np.arange(5), [90, 3, 3, 3, 3])
    for seed in range(5):
        assert np.unique(codes[module._whole_groups(codes, 12, seed)]).tolist() == [1, 2, 3, 4]


def test_what_cannot_be_audited_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such column: .* found age, weight"):
        audit(folder / "x.dof.parquet", sensitive=["age", "sex", "weight"])
    with pytest.raises(UsageError, match="not there"):
        audit(folder / "x.dof.parquet", source=folder / "pictures", id_key=tmp_path / "none")
    with pytest.raises(UsageError, match="no input bears the name"):
        other = tmp_path / "other"
        other.mkdir()
        Image.new("L", (8, 8)).save(other / "a.png")
        audit(folder / "x.dof.parquet", source=other, id_key=folder / "key")


def test_a_file_of_vectors_alone(tmp_path: Path) -> None:
    with Writer(tmp_path / "x.parquet") as writer:
        rows = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
        writer.write(ids=[f"r{row}" for row in range(30)], vectors={"feature": rows})
    found = audit(tmp_path / "x.parquet")
    assert found.findings == [] and found.advantage == 0 and found.unique is None
    assert len(found.notes) == 3  # no groups, nothing to link, no source


def test_pictures_small_and_changed() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(70, 50, 3), dtype=np.uint8)
    assert changed(pixels).shape == (35, 25, 3) and changed(pixels[:, :, :1]).shape == (35, 25, 1)
    assert changed(pixels[:1, :1]).shape == (1, 1, 3)
    grey = np.repeat(np.arange(64, dtype=np.uint8), 64).reshape(64, 64, 1)
    assert thumbnail(grey)[:, 0].tolist() == pytest.approx(
        [(2 * row + 1) / 255 for row in range(32)], abs=0.5 / 255 + 1e-6
    )


def test_the_command(folder: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(folder / "x.dof.parquet")
    arguments = ["audit", file, "--source", str(folder / "pictures"), "--id-key"]
    arguments += [str(folder / "key"), "-q"]
    assert main.main(arguments) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    table = lines[2 : lines.index("", 2)]
    assert len(table) > 10 and max(map(len, table)) <= 80
    assert "safe" not in out.lower() and "anonym" not in out.lower()
    assert any(line.startswith("found: sex") for line in lines)
    assert main.main([*arguments, "--fail-above", "0.5"]) == 1
    capsys.readouterr()
    assert main.main(["audit", file, "--json", "-q", "--fail-above", "1"]) == 0
    value: dict[str, Any] = json.load(io.StringIO(capsys.readouterr().out))
    first = value["findings"][0]
    assert first["found"] is True and 0 < first["advantage"] <= 1 and first["seconds"] > 0
    for wrong in (["audit"], ["audit", file, "--self-test"]):
        assert main.main(wrong) == 2
        assert "Name a file to audit" in capsys.readouterr().err


def test_an_audit_is_stored_in_its_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.dof.parquet"
    path.write_bytes((folder / "x.dof.parquet").read_bytes())
    assert main.main(["audit", str(path), "--sensitive", "sex", "--store", "-q"]) == 0
    before, after = dof.open(folder / "x.dof.parquet"), dof.open(path)
    assert after.to_arrow().equals(before.to_arrow()) and after.seal is not None
    assert dof.validate(path, deep=True) == []
    assert after.metadata.privacy is not None and before.metadata.privacy is not None
    assert after.metadata.privacy.key == before.metadata.privacy.key
    (kept,) = after.metadata.privacy.audits
    assert kept["rows"] == 100 and kept["findings"][0]["attacker"] == "ridge"
    assert "path" not in kept and str(folder) not in json.dumps(kept)
    capsys.readouterr()
    assert main.main(["info", str(path), "-q"]) == 0
    assert "audited on 100 rows: found linkage, membership" in capsys.readouterr().out
    # The same audit is the same bytes, and one audit is kept, the last.
    bytes_before = path.read_bytes()
    assert main.main(["audit", str(path), "--sensitive", "sex", "--store", "-q"]) == 0
    assert path.read_bytes() == bytes_before
    dof.convert(path, tmp_path / "x.dof")
    assert main.main(["audit", str(tmp_path / "x.dof"), "--store", "-q"]) == 2


def test_a_sheet_of_rebuilt_pictures_is_for_their_owner(
    folder: Path, quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, sheet = tmp_path / "x.dof.parquet", tmp_path / "sheet.png"
    path.write_bytes((folder / "x.dof.parquet").read_bytes())
    arguments = ["audit", str(path), "--sheets", str(sheet), "--sensitive", "sex"]
    assert main.main(arguments) == 2
    assert "--source" in capsys.readouterr().err and not sheet.exists()
    arguments += ["--source", str(folder / "pictures"), "--id-key", str(folder / "key"), "--store"]
    assert main.main(arguments) == 0
    assert "shows pictures of the source" in capsys.readouterr().err
    assert sheet.stat().st_mode & 0o777 == 0o600
    found = audit(
        folder / "x.dof.parquet",
        source=folder / "pictures",
        id_key=folder / "key",
        sensitive=["sex"],
    )
    assert found.sheet == sheet.read_bytes() and found.sheet.startswith(b"\x89PNG")
    # The file tells the scores, and has no picture.
    kept = dof.open(path).metadata.privacy
    assert kept is not None and "sheet" not in kept.audits[0] and "sheet" not in found.to_json()
    assert main.main(arguments) == 2  # it is there already: refused before anything is attacked
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no picture was rebuilt"):
        write_sheet(audit(path, sensitive=["sex"]), tmp_path / "none.png")
