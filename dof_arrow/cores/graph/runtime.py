"""What runs a model: ONNX Runtime's execution providers, asked for by name, never exchanged for another in silence.

Where a provider is missing, does not start or lacks an operator, ONNX Runtime goes on with the CPU and at most logs it.
Here each of these is an error that says what is there and what to install.
"""

from __future__ import annotations

import io
from collections import Counter
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.errors import CoreError, UsageError

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

CPU = "cpu"

_SUFFIX = "ExecutionProvider"
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "dml": "onnxruntime-directml",
    "migraphx": "onnxruntime-migraphx",
    "openvino": "onnxruntime-openvino",
    "webgpu": "onnxruntime-webgpu",
}
# Left to itself CUDA races its algorithms and takes the fastest, and rounds to TF32: features would differ each run.
_SETTINGS = {"cuda": {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"}}


def available() -> list[str]:
    """The providers of the ONNX Runtime that is installed, by their short names.

    >>> "cpu" in available()
    True
    """
    import onnxruntime

    return [short(name) for name in onnxruntime.get_available_providers()]


def short(name: str) -> str:
    """A provider's name as an option takes it.

    >>> short("CUDAExecutionProvider"), short("cuda")
    ('cuda', 'cuda')
    """
    return name.removesuffix(_SUFFIX).lower()


def session(
    data: bytes, threads: int = 1, provider: str = CPU, *, aside: str | None = None
) -> InferenceSession:
    """An ONNX Runtime session over a model's bytes in which all that pixels pass through runs on one provider.

    What only works out shapes may run on the CPU, and so may nodes whose outputs' names begin with `aside`. Raises
    UsageError where the provider is not installed, CoreError where it does not start or leaves nodes to the CPU.
    """
    name = short(provider)
    if name == CPU:
        return graph.session(data, threads)
    full = _installed(name)
    model = graph.from_bytes(data)
    free = _numbered(model, aside)
    runner = graph.session(graph.to_bytes(model), threads, (full, _SETTINGS.get(name, {})))
    if full not in runner.get_providers():
        raise CoreError(
            "ONNX Runtime cannot start the execution provider",
            found=name,
            expected=_here(name),
            hint=f"Look whether its driver and libraries are installed, or leave out --provider {name}.",
        )
    _check_placed(runner, full, free)
    return runner


def _installed(name: str) -> str:
    """The full name of a provider that is there, its libraries loaded."""
    import onnxruntime

    full: str | None = next(
        (n for n in onnxruntime.get_available_providers() if short(n) == name), None
    )
    if full is None:
        package = _PACKAGES.get(name)
        mend = (
            f"pip uninstall onnxruntime, then pip install {package}"
            if package
            else "See onnxruntime.ai for builds"
        )
        raise UsageError(
            "no such execution provider here", expected=_here(), found=name, hint=f"{mend}."
        )
    if name == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        with redirect_stdout(
            io.StringIO()
        ):  # it finds libraries that pip installed, and prints what it does not find
            onnxruntime.preload_dlls()
    return full


def _here(but: str = "") -> str:
    return ", ".join(name for name in available() if name != but)


def _numbered(model: ModelProto, aside: str | None) -> set[str]:
    """Give every node a name of its own; the names of those that may run on the CPU."""
    flow, free = Flow(model), set()
    for number, node in enumerate(model.graph.node):
        node.name = str(number)
        if flow.data.isdisjoint(node.output) or (aside and node.output[0].startswith(aside)):
            free.add(node.name)
    return free


def _check_placed(runner: InferenceSession, full: str, free: set[str]) -> None:
    if not hasattr(runner, "get_provider_graph_assignment_info"):
        raise CoreError(
            "this ONNX Runtime does not tell what runs where",
            expected="version 1.24.1 or later",
            hint="Upgrade it with pip, or leave out --provider.",
        )
    placed = [
        (part.ep_name, node)
        for part in runner.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    strays = Counter(
        node.op_type for name, node in placed if name != full and node.name not in free
    )
    if strays:
        raise CoreError(
            "the execution provider leaves a part of the model to the CPU",
            expected=f"all nodes that pixels pass through on {short(full)}",
            found=", ".join(f"{count} {op}" for op, count in strays.most_common(5)),
            hint="Take a core in float32, or leave out --provider.",
        )
