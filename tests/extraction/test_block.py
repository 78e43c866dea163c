"""The staged block: what goes in comes out again, and nobody else knows how it is kept."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.extraction import block as module
from dof_arrow.extraction.block import Block, ClipRow, Failure, PictureRow
from dof_arrow.extraction.extract import extract
from dof_arrow.extraction.views import ONE, ViewPlan
from dof_arrow.media.augment import Augmentation
from dof_arrow.media.facts import PictureFacts
from tests.support import clips
from tests.support.import_table import PACKAGE
from tests.support.pictures import KEY, core, folder_of

FACTS = PictureFacts(
    width=8, height=6, mode="L", bits=8, format="PNG", frames=1, orientation=1, bytes=100
)
VIEWS = ViewPlan(count=2, augmentation=Augmentation(flip_x=0.5))


def features(rows: int) -> dict[str, np.ndarray[Any, Any]]:
    return {"feature": np.arange(rows * 6, dtype="f4").reshape(rows, 2, 3)}


def of_clip(
    number: int, frames: range, views: ViewPlan = ONE, *, first: bool = True, broken: bool = False
) -> Block:
    rows = [ClipRow(frame, frame / 10) for frame in frames]
    return Block.of_clip(
        number, rows, features(len(rows)), views, FACTS, first=first, broken=broken
    )


def test_pictures_come_back() -> None:
    rows = [PictureRow(3, FACTS), PictureRow(5, FACTS)]
    failed = [Failure(4, "empty", "no bytes")]
    made = Block.of_pictures(rows, features(2), failed, ONE)
    assert len(made) == 2 and made.inputs.tolist() == [3, 5] and made.failures == failed
    assert made.vectors("feature", (2, 3)).tolist() == features(2)["feature"].tolist()
    assert made.facts.to_pylist()[1]["mode"] == "L" and len(made.facts_of_inputs) == 2
    assert made.view is made.frame is made.time is None
    assert made.drawn == [] and made.broken_inputs == 0


def test_views_of_a_picture_say_the_same_of_it() -> None:
    rows = [PictureRow(3, FACTS, 0, {}), PictureRow(3, FACTS, 1, {"flip_x": 1})]
    made = Block.of_pictures(rows, features(2), [], VIEWS)
    assert made.view is not None and made.view.to_pylist() == [0, 1]
    assert [numbers.to_pylist() for numbers in made.drawn] == [[None, 1]]
    assert len(made.facts) == 2 and len(made.facts_of_inputs) == 1


def test_a_clip_comes_back_in_pieces() -> None:
    pieces = [of_clip(7, range(2)), of_clip(7, range(2, 3), first=False, broken=True)]
    made = Block.joined([*pieces, of_clip(8, range(1))])
    assert made.frame is not None and made.frame.to_pylist() == [0, 1, 2, 0]
    assert made.time is not None and made.time.to_pylist() == [0, 0.1, 0.2, 0]
    assert made.inputs.tolist() == [7, 7, 7, 8]
    assert len(made.facts_of_inputs) == 2 and made.broken_inputs == 1


def test_a_block_without_rows_may_be_of_another_kind() -> None:
    """Of a clip that failed nobody knows whether it would have had views, or frames."""
    failed = Block.of_pictures([], features(0), [Failure(1, "empty", "none")], ONE)
    made = Block.joined([failed, of_clip(2, range(2)), failed])
    assert made.inputs.tolist() == [2, 2] and [f.input for f in made.failures] == [1, 1]
    assert len(Block.joined([failed, failed])) == 0


# Nobody else names its columns


def _names() -> dict[str, str]:
    """The constants of the module that name columns and the entry of the schema's metadata."""
    names = {name: value for name, value in vars(module).items() if isinstance(value, str)}
    found = {name: value for name, value in names.items() if name[0] == "_" and name[1].isupper()}
    assert len(found) == 10
    return found


def _extracted(folder: Path) -> list[bytes]:
    """Outputs of all kinds: pictures in several views, a broken one among them, and clips."""
    folder.mkdir()
    (folder_of(folder / "p", 40) / "0003.png").write_bytes(b"broken")
    clips.pairs(folder / "c", 2, lengths=(3, 9), height=32, width=48)
    made = []
    for source, options in (
        ("p", {"views": 2, "augment": "photo"}),
        ("p", {}),
        ("c", {}),
        ("c", {"views": 2, "augment": "photo", "on_break": "keep"}),
    ):
        out = folder / f"{len(made)}.parquet"
        extract(folder / source, core=core(), out=out, id_key=KEY, workers=2, **options)
        made.append(out.read_bytes())
    return made


def test_columns_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else knew a name would look for it in vain."""
    expected = _extracted(tmp_path / "as they are")
    for name, value in _names().items():
        monkeypatch.setattr(module, name, f"other {value}")
    assert _extracted(tmp_path / "renamed") == expected


def test_nobody_else_writes_the_names_down() -> None:
    """Those that stand in an output or its metadata too may be written there."""
    shared = {"input", "view", "frame", "time", "failed", "broken", "processing", "facts"}
    own = {value.partition("{")[0] for value in _names().values()} - shared
    assert own == {"drawn", "first", "vector "}
    for file in sorted((PACKAGE / "extraction").glob("*.py")):
        if file.name == "block.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            assert text not in own, f"{file.name}: {text!r}"
            assert not isinstance(node, ast.JoinedStr) or "vector " not in ast.unparse(node)
