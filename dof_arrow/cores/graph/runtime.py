"""What runs a model: execution providers of ONNX Runtime, or OpenVINO; never replaced silently.

Where a provider is missing, does not start or lacks an operator, ONNX Runtime goes on with the
CPU and at most logs it. Here each of these is an error that says what is there and what to install.
"""

from __future__ import annotations

import io
from collections import Counter
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from dof_arrow.cores.graph import openvino_session
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.graph.load import from_bytes, to_bytes
from dof_arrow.cores.graph.parted_session import PartedSession
from dof_arrow.cores.graph.session import session as plain_session
from dof_arrow.errors import CoreError, UsageError

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

CPU = "cpu"
OPENVINO = "openvino"

_ON_PROCESSORS = (CPU, OPENVINO)
_SUFFIX = "ExecutionProvider"
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "dml": "onnxruntime-directml",
    "migraphx": "onnxruntime-migraphx",
    "webgpu": "onnxruntime-webgpu",
}
# Left to itself CUDA races its algorithms and takes the fastest, and rounds to TF32:
# features would differ from run to run.
_SETTINGS = {"cuda": {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"}}


def available() -> list[str]:
    """The providers that are installed, by their short names.

    `openvino` is the package of that name, also where ONNX Runtime has a provider called so.

    >>> "cpu" in available()
    True
    """
    import onnxruntime

    names = [short(name) for name in onnxruntime.get_available_providers()]
    found = [name for name in names if name != OPENVINO]
    return [OPENVINO, *found] if openvino_session.is_installed() else found


def short(name: str) -> str:
    """A provider's name as the option --provider takes it.

    >>> short("CUDAExecutionProvider"), short("cuda")
    ('cuda', 'cuda')
    """
    return name.removesuffix(_SUFFIX).lower()


def is_device(provider: str) -> bool:
    """Whether a provider runs on a device, such as a GPU, and not on the processors.

    >>> is_device("cuda"), is_device("openvino")
    (True, False)
    """
    return short(provider) not in _ON_PROCESSORS


def session(
    data: bytes,
    threads: int = 1,
    provider: str = CPU,
    *,
    aside: str | None = None,
    where: str = "",
    is_checked: bool = False,
) -> InferenceSession:
    """A session that runs all nodes that pixels pass through on one provider.

    Nodes that only compute shapes may run on ONNX Runtime's CPU, and so may nodes whose outputs'
    names begin with `aside`; by OpenVINO these never are. `is_checked` as in `graph.session`;
    `where` is what errors call the model. Raises UsageError or MissingExtra where the provider is
    not installed, CoreError where it does not start, cannot read the model or leaves nodes to the
    CPU.
    """
    name = short(provider)
    if name == CPU:
        return plain_session(data, threads, is_checked=is_checked)
    if name == OPENVINO and aside is not None:
        return PartedSession(data, threads, aside, where)
    if name == OPENVINO:
        return openvino_session.session(data, threads, where=where, is_checked=is_checked)
    full = _installed(name)
    model = from_bytes(data)
    free = _numbered(model, aside)
    runner = plain_session(to_bytes(model), threads, (full, _SETTINGS.get(name, {})))
    if full not in runner.get_providers():
        others = [other for other in available() if other != name]
        raise CoreError(
            "ONNX Runtime cannot start the execution provider",
            found=name,
            expected=", ".join(others),
            hint="Look whether its driver and libraries are installed, "
            f"or leave out --provider {name}.",
        )
    _check_placed(runner, full, free)
    return runner


def _installed(name: str) -> str:
    """The full name of an installed provider, its libraries loaded."""
    import onnxruntime

    by_short_name = {short(full): full for full in onnxruntime.get_available_providers()}
    if name not in by_short_name:
        package = _PACKAGES.get(name)
        hint = "See onnxruntime.ai for builds."
        if package:
            hint = f"pip uninstall onnxruntime, then pip install {package}."
        raise UsageError(
            "no such execution provider here",
            expected=", ".join(available()),
            found=name,
            hint=hint,
        )
    if name == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        # It finds the libraries that pip installed, and prints what it does not find.
        with redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    return str(by_short_name[name])


def _numbered(model: ModelProto, aside: str | None) -> set[str]:
    """Give every node a name of its own; the names of those that may run on the CPU."""
    flow = Flow(model)
    free = set()
    for number, node in enumerate(model.graph.node):
        node.name = str(number)
        only_shapes = flow.data.isdisjoint(node.output)
        if only_shapes or (aside and node.output[0].startswith(aside)):
            free.add(node.name)
    return free


def _check_placed(runner: InferenceSession, full: str, free: set[str]) -> None:
    """Raise CoreError where nodes that are not free run elsewhere than on the provider `full`."""
    if not hasattr(runner, "get_provider_graph_assignment_info"):
        raise CoreError(
            "this ONNX Runtime does not tell what runs where",
            expected="version 1.24.1 or later",
            hint="Upgrade it with pip, or leave out --provider.",
        )
    strays: Counter[str] = Counter()
    for part in runner.get_provider_graph_assignment_info():
        if part.ep_name != full:
            strays.update(node.op_type for node in part.get_nodes() if node.name not in free)
    if strays:
        raise CoreError(
            "the execution provider leaves a part of the model to the CPU",
            expected=f"all nodes that pixels pass through on {short(full)}",
            found=", ".join(f"{count} {op}" for op, count in strays.most_common(5)),
            hint="Take a core in float32, or leave out --provider.",
        )
