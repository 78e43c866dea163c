"""A model run by ONNX Runtime."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dof_arrow.cores.graph.external_data import bring_in
from dof_arrow.cores.graph.load import decoded
from dof_arrow.cores.graph.messages import first_line
from dof_arrow.cores.graph.names import Array
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Left to itself ONNX Runtime looks in the current folder for weights outside a model.
# Below a device nothing can lie.
_FOLDER_OF_WEIGHTS = "session.model_external_initializers_file_folder_path"
_NO_FOLDER = os.path.join(os.devnull, "none")
# How ONNX Runtime says that a model is newer than itself.
_NEWER_IR = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_NEWER_OPSET = re.compile(r"Opset (\d+) is under development.* domain (\S+) is till opset (\d+)")
# How providers say that a batch is too large for their device.
_LACKS_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|alloc_failed|bad_alloc|bad allocation", re.IGNORECASE
)


class OutOfMemory(CoreError):
    """A batch takes more memory than there is."""


def session(
    data: bytes,
    threads: int = 1,
    provider: tuple[str, dict[str, str]] | None = None,
    *,
    is_checked: bool = False,
) -> InferenceSession:
    """An ONNX Runtime session over a model's bytes that logs nothing and reads no file.

    It runs on the CPU, or on a provider with these settings: `dof_arrow.cores.graph.runtime`
    checks that it does. Raises CoreError if it cannot be made, and for a model that keeps
    anything in other files, unless it `is_checked`: `load.from_bytes` has taken these very bytes.
    """
    import onnxruntime

    if not is_checked:
        bring_in(decoded(data, "ONNX Runtime cannot load the model"), "")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    options.add_session_config_entry(_FOLDER_OF_WEIGHTS, _NO_FOLDER)
    options.add_session_config_entry("session.load_model_format", "ONNX")  # as it was checked
    if provider:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    chosen = [provider or "CPUExecutionProvider"]
    try:  # the fallback prints to stdout, and would change the device unasked
        return onnxruntime.InferenceSession(data, options, providers=chosen, enable_fallback=0)
    except Exception as error:  # the runtime's exceptions have no base of their own
        raise _not_loaded(error) from error


def _not_loaded(error: Exception) -> CoreError:
    """The error for a model that ONNX Runtime does not load; it says so where that is too old."""
    import onnxruntime

    told = str(error)
    newer = None
    ir = _NEWER_IR.search(told)
    opset = _NEWER_OPSET.search(told)
    if ir:
        newer = f"IR version {ir[1]}", f"IR version {ir[2]}"
    elif opset:
        newer = f"opset {opset[1]} of {opset[2]}", f"opset {opset[3]}"
    if newer is None:
        return CoreError(
            "ONNX Runtime cannot load the model", found=first_line(error), hint="Run dof doctor."
        )
    found, highest = newer
    return CoreError(
        "the model is newer than the installed ONNX Runtime",
        expected=f"at most {highest}, with ONNX Runtime {onnxruntime.__version__}",
        found=found,
        hint=f"Bring it up to date, pip install -U onnxruntime, or export with {highest} or less.",
    )


def run(runner: InferenceSession, feeds: Mapping[str, Array]) -> list[Array]:
    """All outputs of a session for these inputs; CoreError if the run fails."""
    with _explained(feeds):
        return list(runner.run(None, dict(feeds)))


def run_bound(runner: InferenceSession, feeds: Mapping[str, Array]) -> list[Array]:
    """The same with inputs and outputs bound, so that each goes to a device or back once.

    Raises OutOfMemory where the device has too little of it, CoreError if the run fails otherwise.
    """
    with _explained(feeds):
        binding = runner.io_binding()
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        for output in runner.get_outputs():
            binding.bind_output(output.name, "cpu")
        runner.run_with_iobinding(binding)
        return list(binding.copy_outputs_to_cpu())


def run_into(runner: InferenceSession, feeds: Mapping[str, Array], out: Array) -> None:
    """Let a session write its only output into `out`, without a copy between.

    `out` is C-contiguous, of the output's type and shape. Raises CoreError if the run fails.
    """
    with _explained(feeds):
        binding = runner.io_binding()
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        name = runner.get_outputs()[0].name
        binding.bind_output(name, "cpu", 0, out.dtype, out.shape, out.ctypes.data)
        runner.run_with_iobinding(binding)


@contextmanager
def _explained(feeds: Mapping[str, Array]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the runtime's exceptions have no base of their own
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
        if _LACKS_MEMORY.search(str(error)):
            raise OutOfMemory(
                "the model needs more memory than there is",
                f"input {shapes}",
                found=first_line(error),
                hint="Run fewer rows at a time, with --batch-size, or repeat the command when "
                "memory is free.",
            ) from error
        raise CoreError(
            "the model cannot run",
            f"input {shapes}",
            found=first_line(error),
            hint="Check the input's shape and type.",
        ) from error
