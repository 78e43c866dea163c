"""How many threads products of matrices take."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """Products on one thread, if threadpoolctl is installed."""
    try:
        threads = importlib.import_module("threadpoolctl")
    except ModuleNotFoundError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threads.threadpool_limits(1)
    return limits
