"""Rows of a table where a condition is true."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def rows_where(table: pa.Table, condition: Any) -> pa.Table:
    """The rows where an Arrow expression is true, in their order.

    By this thread alone: threads of Arrow's query engine may still run when the interpreter ends,
    which then ends with a signal, after all was done well. Raises what Arrow does for an expression
    that does not fit the table.

    >>> import pyarrow.compute as pc
    >>> rows_where(pa.table({"age": [5, 50, 60]}), pc.field("age") > 20).to_pydict()
    {'age': [50, 60]}
    """
    from pyarrow import acero

    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
    kept = acero.Declaration("filter", acero.FilterNodeOptions(condition), inputs=[source])
    return kept.to_table(use_threads=False)
