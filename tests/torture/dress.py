"""Other people's Parquet files in our clothes: metadata put in that describes their columns, and a seal."""

from __future__ import annotations

import base64
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dof_arrow.errors import DofError
from dof_arrow.format.parquet import footer
from dof_arrow.format.spec.arrow import element_type, is_vector
from tests.conformance.spoil import encoded, sealed, split


def dressed(data: bytes) -> bytes | None:
    """A Parquet file with metadata of ours that describes its columns; None if it has its own, or no footer at all."""
    try:
        body, tail = split(data)
        struct = footer.decode(tail)[0]
        if b"dof" in dict(footer.key_values(struct)):
            return None
        schema = pq.read_schema(pa.BufferReader(data))
        fields = {f.name: _described(f) for f in schema}
        donor = {
            "version": "1.0",
            "uuid": "00000000-0000-8000-8000-000000000000",
            "columns": fields,
            "primary_column": next(iter(fields), ""),
            "provenance": {"generator": _creator(struct)},
        }
        arrow = base64.b64encode(
            schema.with_metadata({b"dof": encoded(donor)}).serialize().to_pybytes()
        )
        ours = {b"ARROW:schema": arrow, b"dof": encoded(donor), b"dof.seal": b"0" * 64}
        keys = {**dict(footer.key_values(struct)), **ours}
        footer.set_key_values(struct, list(keys.items()))
        return body + sealed(dict(sorted(struct.items())))
    except (DofError, pa.ArrowException, OSError, ValueError, TypeError, AttributeError):
        return None


def _creator(struct: footer.Struct) -> str:
    return str(footer.get(struct, footer.FileMetaData.CREATED_BY, b"").decode("utf-8", "replace"))


def _described(field: pa.Field) -> dict[str, Any]:
    about = {
        "role": "feature" if is_vector(field) else "kept",
        "dtype": element_type(field),
        "layout": "mapped",
    }
    return {**about, "shape": [max(field.type.list_size, 1)]} if is_vector(field) else about
