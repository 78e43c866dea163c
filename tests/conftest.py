"""Settings of all tests: examples drawn the same way each time, no clock in what is written, one umask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.stores"]

HERE = Path(__file__).parent
# The files that take longest, which begin first: no worker is left alone with one at the end.
LONG = (
    "integration/test_docs.py",
    "integration/test_examples.py",
    "extraction/test_ray_engine.py",
    "cores/origins/test_torch_export.py",
    "integration/test_matrix.py",
    "format/validation/test_validate.py",
    "privacy/test_attacks.py",
    "heads/test_training.py",
    "integration/test_faults.py",
    "storage/test_owned.py",
    "loader/test_frameworks.py",
    "integration/test_interop.py",
    "cores/origins/test_huggingface.py",
    "torture/test_mutants.py",
    "publish/test_push_hub.py",
    "privacy/test_audit.py",
    "loader/raw/test_worker_pool.py",
)

settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("steady")

# Threads of OpenMP that wait sleep: by default they spin, and take processors from other tests. Read when torch or
# scikit-learn loads, also in processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# numpy's own threads only spin: products of small matrices take many times as long where several tests run at once.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.umask(0o022)  # what tests put in our way is ours alone, unless they say otherwise


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; the order of all others, and within a file, stays."""
    ranks = {HERE / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path, len(LONG)))


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dof-arrow"
