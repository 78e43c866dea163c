"""What the errors of these modules say alike."""

from __future__ import annotations

import re

AGAIN = "Export or download the model again."

_SHOWN_OF_NAME = 100  # characters
_SHOWN_OF_ERROR = 200
# Where in its own source ONNX Runtime raised, before what it says.
_RUNTIME_SOURCE = re.compile(r"/onnxruntime_src/\S+:\d+ .*?\) (?=\S)")


def first_line(error: Exception) -> str:
    """The first line of another library's error, short enough for a message of ours.

    >>> first_line(ValueError("no such operator\\n  at node 7"))
    'no such operator'
    """
    text = str(error).strip() or type(error).__name__
    return _RUNTIME_SOURCE.sub("", text.splitlines()[0])[:_SHOWN_OF_ERROR]


def shown(name: str | bytes) -> str:
    """A name from a model, in printable characters; protobuf gives bytes where it is not UTF-8."""
    return repr(name[:_SHOWN_OF_NAME])
