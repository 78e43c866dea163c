"""An ONNX model as a value: what other wings use of the modules beside this one."""

from dof_arrow.cores.graph.derive import extract, inlined, raise_opset
from dof_arrow.cores.graph.edit import (
    add_constant,
    add_node,
    rename_tensor,
    set_output,
    set_properties,
    unique_name,
)
from dof_arrow.cores.graph.load import from_bytes, load, read, to_bytes
from dof_arrow.cores.graph.messages import first_line
from dof_arrow.cores.graph.names import (
    OPSET,
    Array,
    dims,
    dtype,
    inputs,
    opset,
    properties,
    tensor_names,
    weights,
)
from dof_arrow.cores.graph.notes import drop_notes, number_names
from dof_arrow.cores.graph.session import run, run_bound, run_into, session

__all__ = [
    "OPSET",
    "Array",
    "add_constant",
    "add_node",
    "dims",
    "drop_notes",
    "dtype",
    "extract",
    "first_line",
    "from_bytes",
    "inlined",
    "inputs",
    "load",
    "number_names",
    "opset",
    "properties",
    "raise_opset",
    "read",
    "rename_tensor",
    "run",
    "run_bound",
    "run_into",
    "session",
    "set_output",
    "set_properties",
    "tensor_names",
    "to_bytes",
    "unique_name",
    "weights",
]
