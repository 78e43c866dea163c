"""pyarrow kept from loading pandas, which takes longer than most commands themselves."""

from __future__ import annotations

import sys
from typing import Any


class _NoPandas:
    """A finder of modules that says that pandas is not installed."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        """Raise ImportError for pandas; anything else is left to others."""
        if fullname == "pandas":
            raise ImportError("pandas is not loaded unasked", name=fullname)


def keep_pandas_out() -> None:
    """Have pyarrow look for pandas now and find none, in a process that is ours alone.

    At the first list that becomes an array pyarrow loads pandas where it is installed, only to ask
    whether the list is one of its series. It asks once a process. Whoever imports pandas later has
    it, `pyarrow.Table.to_pandas` too.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)
