"""Products of small matrices on one thread: several wait for one another where a machine is busy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dof_arrow.privacy.threads import one_thread


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield
