"""Metadata in an Arrow schema, and Arrow arrays over numpy memory (row C1)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.errors import UsageError
from dof_arrow.format.spec import arrow as schema
from dof_arrow.format.spec import metadata
from tests.format.spec.test_metadata import SMALL


@pytest.mark.parametrize(("shape", "width"), [((), 1), ((4,), 4), ((7, 7, 512), 25088)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_feature_column_is_a_required_list_of_numbers(
    shape: tuple[int, ...], width: int, dtype: str
) -> None:
    """C1: a fixed-size list, never null, tensors flattened."""
    field = schema.vector_field("feature", shape, dtype)
    assert (
        field.type.list_size == width and not field.nullable and not field.type.value_field.nullable
    )
    assert schema.is_vector(field) and schema.element_type(field) == dtype


@pytest.mark.parametrize("dtype", ["float64", "int8", "nonsense"])
def test_other_numbers_are_refused(dtype: str) -> None:
    with pytest.raises(UsageError, match=f"float32 or float16, found {dtype}"):
        schema.vector_field("feature", (4,), dtype)


def test_a_vector_has_elements() -> None:
    with pytest.raises(UsageError, match="without elements"):
        schema.vector_field("feature", (3, 0))


def test_the_schema_carries_the_metadata_and_nothing_else() -> None:
    arrow = pa.schema([schema.vector_field("feature", (2,))], metadata={"pandas": "x"})
    value = metadata.from_json(SMALL)
    assert schema.with_metadata(arrow, value).metadata == {b"dof": metadata.encode(value)}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_vectors_become_arrow_and_come_back_without_a_copy(dtype: str) -> None:
    values = np.arange(12, dtype=dtype).reshape(3, 4)
    field = schema.vector_field("feature", (4,), dtype)
    array = schema.vector_array(values, field)
    array.validate(full=True)
    back = schema.numpy_values(array, field)
    assert back.ctypes.data == values.ctypes.data and np.array_equal(back, values)
    assert np.array_equal(
        schema.numpy_values(pa.chunked_array([array, array]), field), np.vstack([values, values])
    )
    assert np.array_equal(schema.numpy_values(array[1:], field), values[1:])


def test_flat_columns_become_arrow_without_a_copy() -> None:
    values = np.arange(5)
    assert schema.flat_array(values, pa.timestamp("us")).buffers()[1].address == values.ctypes.data


def test_names_of_types() -> None:
    assert [
        schema.element_type(pa.field("x", t)) for t in (pa.float64(), pa.int8(), pa.string())
    ] == ["float64", "int8", "string"]
