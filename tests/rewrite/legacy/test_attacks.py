"""Row D24: files that attack their readers are refused, and nothing of them is run."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import pytest

import dof_arrow as dof
from dof_arrow.errors import SourceError
from dof_arrow.rewrite.foreign.import_file import import_file
from dof_arrow.storage import restricted_pickle
from tests.support.attacks import ARRAYS, PICKLES, TRAP, ZIPS, Attack

_MOST = 48 << 20  # bytes that refusing may take; the largest of these files has a few hundred kB


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """What an attack makes where it succeeds."""
    return tmp_path / "trace"


def refused(source: Path, trace: Path) -> None:
    """Whoever is given the file refuses it; nothing is run, nothing is left behind."""
    before = set(source.parent.iterdir())
    tracemalloc.start()
    try:
        for read in (dof.convert, _imported, _opened):
            with pytest.raises(dof.DofError):
                read(source, source.with_name("new.parquet"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < _MOST
    assert not trace.exists() and TRAP not in sys.modules
    assert set(source.parent.iterdir()) == before


def _imported(source: Path, out: Path) -> None:
    import_file(source, out=out)


def _opened(source: Path, _: Path) -> None:
    dof.open(source)


@pytest.mark.parametrize("name", PICKLES)
def test_row_d24_a_pickle_is_refused(tmp_path: Path, trace: Path, name: str) -> None:
    (tmp_path / "old.dofpy").write_bytes(PICKLES[name](trace))
    refused(tmp_path / "old.dofpy", trace)


@pytest.mark.parametrize("name", [name for name in PICKLES if "JSON" not in name])
def test_a_pickle_is_refused_by_its_reader(trace: Path, name: str) -> None:
    with pytest.raises(SourceError):
        restricted_pickle.load(PICKLES[name](trace), where="x", allowed={})
    assert not trace.exists() and TRAP not in sys.modules


@pytest.mark.parametrize("name", ZIPS)
def test_row_d24_a_zip_is_refused(tmp_path: Path, trace: Path, name: str) -> None:
    (tmp_path / "old.dof").write_bytes(ZIPS[name](trace))
    refused(tmp_path / "old.dof", trace)


@pytest.mark.parametrize("name", ARRAYS)
def test_row_d24_a_file_of_arrays_is_refused(tmp_path: Path, trace: Path, name: str) -> None:
    (tmp_path / name).write_bytes(ARRAYS[name](trace))
    refused(tmp_path / name, trace)


def _works(attack: Attack, trace: Path) -> None:
    import pickle

    pickle.loads(attack(trace))


@pytest.mark.parametrize("name", ["makes a folder", "eval", "exec", "system"])
def test_the_attacks_would_work(trace: Path, name: str) -> None:
    """Python's own reader is taken in, so that the tests above can fail."""
    _works(PICKLES[name], trace)
    assert trace.exists()
