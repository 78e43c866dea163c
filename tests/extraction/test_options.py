"""What can be asked of `extract`: each option is documented, and checked before all else."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dof_arrow import errors
from dof_arrow.errors import UsageError
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.extraction.options import ExtractOptions
from dof_arrow.media.frames import Sampling
from tests.support.pictures import core, folder_of

ALL = (
    "table key match start end label group keep kind classes map missing separator encoding "
    "pictures preprocess fit decode at pool size grey threads provider split split_exact split_from "
    "ids id_key site dtype layout order facts partition overwrite batch_size workers engine address actor_cpus actor_gpus max_errors max_pixels allow "
    "views augment clips fps max_frames window stride crop on_break"
)


def test_these_are_the_options() -> None:
    assert [field.name for field in dataclasses.fields(ExtractOptions)] == ALL.split()


def test_each_option_has_a_docstring() -> None:
    """A text below the field, which is what editors show."""
    (node,) = ast.parse(inspect.getsource(ExtractOptions)).body
    assert isinstance(node, ast.ClassDef)
    statements = [each for each in node.body if not isinstance(each, ast.FunctionDef)]
    for field, after in pairwise(statements):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert str(after.value.value).rstrip().endswith("."), ast.unparse(field)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ids": "none"}, "no such choice for ids: expected pseudonym or name, found none"),
        ({"layout": 3}, "no such choice for layout: expected mapped or compact, found 3"),
        ({"dtype": "int8"}, "no such choice for dtype: expected float32 or float16, found int8"),
        ({"batch_size": 0}, "batch_size must be at least 1: found 0"),
        ({"workers": 0}, "workers must be at least 1: found 0"),
        ({"threads": -1}, "threads must be at least 1: found -1"),
        ({"max_errors": -1}, "max_errors must be at least 0: found -1"),
        ({"on_break": "stop"}, "on_break"),
        ({"allow": ["all"]}, "no such permission"),
        ({"views": 2}, "need each other"),
        ({"split": "train=2"}, "train=2"),
        ({"engine": "spark"}, "no such choice for engine: expected local or ray, found spark"),
        ({"engine": "ray", "actor_cpus": 0}, "actor_cpus must be at least 1: found 0"),
        ({"address": "x:1", "actor_gpus": 1}, "--engine ray, found --address, --actor-gpus"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_makes_no_key(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    source, out, key = folder_of(tmp_path / "p", 2), tmp_path / "x.parquet", tmp_path / "key"
    with pytest.raises(UsageError, match=said):
        planned(source, core=core(), out=out, id_key=key, **given)
    assert not key.exists()


def test_a_directory_is_not_replaced_and_no_key_is_made(tmp_path: Path) -> None:
    source, key = folder_of(tmp_path / "p", 2), tmp_path / "key"
    with pytest.raises(UsageError, match="none are replaced"):
        planned(source, core=core(), out=tmp_path / "x.dof", id_key=key, overwrite=True)
    assert not key.exists()


@pytest.mark.skipif(not hasattr(errors, "refuse_unknown"), reason="names are checked elsewhere")
def test_a_wrong_name_is_told_with_the_nearest_right_one(tmp_path: Path) -> None:
    for call in (extract, planned):
        with pytest.raises(UsageError, match=r"found batchsize.*Did you mean batch_size"):
            call(tmp_path, core=core(), out=tmp_path / "x.parquet", batchsize=3)


def test_frames_are_taken_as_asked() -> None:
    assert ExtractOptions(fps=5, window=3).sampling == Sampling(fps=5, window=3)
    given = Sampling(max_frames=2)
    assert ExtractOptions(clips=given, fps=5).sampling is given


def test_only_what_is_given_makes_a_core() -> None:
    assert ExtractOptions(pool="1x1").making == {"pool": "1x1", "threads": 1, "provider": "cpu"}
