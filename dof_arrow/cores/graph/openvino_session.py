"""A model run by OpenVINO on the processors, asked in the way in which ONNX Runtime is.

The package is `openvino`, which stands beside ONNX Runtime. `onnxruntime-openvino`, which replaces
it, is not used.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from dof_arrow.cores.graph.external_data import bring_in
from dof_arrow.cores.graph.load import decoded
from dof_arrow.cores.graph.messages import first_line
from dof_arrow.cores.graph.names import Array
from dof_arrow.cores.graph.session import run
from dof_arrow.cores.graph.session import session as plain_session
from dof_arrow.errors import CoreError, require
from dof_arrow.system import processors

# Of the largest magnitude of a row of features: what the specification lets programs differ by.
TOLERANCE = 0.001

_MODULE = "openvino"
_TELEMETRY = "openvino_telemetry"
_SETTINGS = {
    # Left to itself it computes in bfloat16 where a processor can: features would differ by a
    # percent, and from machine to machine.
    "INFERENCE_PRECISION_HINT": "f32",
    "EXECUTION_MODE_HINT": "ACCURACY",
    # The threads that decode pictures need the same processors, and so do other processes.
    "ENABLE_CPU_PINNING": False,
    "ENABLE_HYPER_THREADING": True,
}
# How it names the operators of a model that it cannot read.
_FAILED = re.compile(r"^-- (\S+?)(?:-\d+)? with a message:", re.MULTILINE)
_UNKNOWN = re.compile(r"No conversion rule found for operations: (.+)")
_SHOWN = 200  # characters of what it says
_loading = threading.Lock()


class OpenVINOSession:
    """What is used of a session of ONNX Runtime, for a model that OpenVINO has compiled.

    `output_shapes` are those of its outputs, in order; the length of a free axis is None. Calls are
    safe from several threads: each has a request of its own, and as many requests run at the same
    time as there are streams.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._free: list[Any] = []
        self._places: dict[str, int] = {}
        for place, port in enumerate(compiled.inputs):
            self._places.update(dict.fromkeys(port.names, place))
        self.output_shapes = [_shape(port) for port in compiled.outputs]

    def run(self, _: None, feeds: Mapping[str, Array]) -> list[Array]:
        """All outputs for these inputs."""
        given = {self._places[name]: value for name, value in feeds.items()}
        try:
            request = self._free.pop()
        except IndexError:  # all are at work
            request = self._compiled.create_infer_request()
        found = request.infer(given, share_inputs=True)
        made = [found[place] for place in range(len(self.output_shapes))]
        self._free.append(request)
        return made


def is_installed() -> bool:
    """Whether OpenVINO can be had here; it is not loaded for this."""
    return find_spec(_MODULE) is not None


def session(
    data: bytes, threads: int = 1, *, where: str = "", is_checked: bool = False
) -> OpenVINOSession:
    """A model's bytes compiled for the processors, each run on so many threads, in float32.

    `is_checked` as in `graph.session`. Raises MissingExtra where OpenVINO is not installed,
    CoreError for a model that it cannot read; `where` is what errors call it.
    """
    openvino = _library()
    if not is_checked:
        bring_in(decoded(data, "OpenVINO cannot read the model", where), "")
    streams = max(processors() // threads, 1)
    settings = {**_SETTINGS, "NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams * threads}
    try:
        device = openvino.Core()
        return OpenVINOSession(device.compile_model(device.read_model(data), "CPU", settings))
    except Exception as error:  # whatever its parts raise
        raise CoreError(
            "OpenVINO cannot read the model",
            where,
            found=_told(error),
            hint="Leave out --provider openvino.",
        ) from error


def check_agrees(runner: Any, data: bytes, feeds: Mapping[str, Any], where: str) -> None:
    """Raise CoreError where ONNX Runtime gives other rows for these inputs, on which both are run.

    OpenVINO reads operators by code of its own, and rounds models of whole numbers in another way:
    what differs by more than the specification allows is refused, not written.
    """
    here = run(plain_session(data, is_checked=True), feeds)
    there = run(runner, feeds)
    shares = [_largest_share(*pair) for pair in zip(here, there, strict=True)]
    off = max(shares)
    if not off <= TOLERANCE:  # nor where it is not a number
        raise CoreError(
            "OpenVINO gives other numbers than ONNX Runtime",
            where,
            f"within {TOLERANCE:g} of a row's largest magnitude",
            f"{off:.2g} of it",
            "Leave out --provider openvino.",
        )


def _largest_share(here: Array, there: Array) -> float:
    """The largest difference of two arrays of rows, each relative to its row's magnitude."""
    if here.shape != there.shape:
        return np.inf
    rows = here.reshape(len(here), -1)
    magnitude = np.abs(rows).max(axis=1, initial=0)
    off = np.abs(rows - there.reshape(rows.shape)).max(axis=1, initial=0)
    return float((off / np.where(magnitude == 0, 1, magnitude)).max(initial=0))


def _library() -> Any:
    """OpenVINO, loaded, but not what tells its makers of each import."""
    with _loading:
        openvino: Any = sys.modules.get(_MODULE)
        if openvino is None:
            with _kept_out(_TELEMETRY):
                openvino = require(_MODULE, extra="openvino")
        # Where two threads make the first tensor of a process at once, both wait for ever.
        openvino.Tensor(np.zeros(1, np.float32), shared_memory=True)
        return openvino


@contextmanager
def _kept_out(module: str) -> Iterator[None]:
    """Have a module count as not installed, unless somebody has loaded it already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(module, None)


def _shape(port: Any) -> tuple[int | None, ...]:
    axes = port.partial_shape
    if axes.rank.is_dynamic:
        return ()
    return tuple(None if axis.is_dynamic else axis.get_length() for axis in axes)


def _told(error: Exception) -> str:
    """What OpenVINO cannot read: it names operators behind many lines of its own source."""
    operators = _FAILED.findall(str(error)) + _UNKNOWN.findall(str(error))
    if operators:
        return f"the operators {', '.join(operators)}"[:_SHOWN]
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:_SHOWN] if lines else first_line(error)
