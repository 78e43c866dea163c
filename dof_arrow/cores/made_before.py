"""Cores that were made of the user's own files before, kept in the cache.

To cut a model takes longer than to run a few hundred pictures through it. So a core is kept under
a digest of all that decides its bytes: the model's, what was asked for, and the program that made
it. With it stands what its file says, which was checked when it was made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dof_arrow._version import __version__
from dof_arrow.cores.core import Core
from dof_arrow.cores.core_file import CoreFacts
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import runtime
from dof_arrow.cores.headless import Request, core_bytes
from dof_arrow.cores.origins import efficientnet_lite, resolve
from dof_arrow.cores.origins.resolve import Original
from dof_arrow.errors import CoreError, DofError, OutputError
from dof_arrow.format.spec import json_model, metadata
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.format.spec.metadata import CoreMetadata, TensorSpec
from dof_arrow.format.spec.preprocessing import load_spec, presets
from dof_arrow.progress import Listener, Update, heard_by, listening
from dof_arrow.storage import caches

MOST_BYTES = 1 << 30  # that are kept in all; what was used longest ago makes way
LARGEST = 1 << 28  # bytes of a core that is kept

_FOLDER = "cores"  # of the cache
_OUR_CODE = Path(__file__).parent
_CORE = b"\0"  # stands before the core's bytes, where they are not the model's own


def load(
    path: str | os.PathLike[str],
    *,
    threads: int = 1,
    provider: str = runtime.CPU,
    **making: Any,
) -> Core:
    """The core that `Core.load` makes of a model in a file: made once, then taken from the cache.

    What was told when it was made is told again. Raises what `Core.load` raises.
    """
    file = Path(path)
    data = graph.read(file)
    request = Request(**making)
    names = [file.stem, file.name, hashlib.sha256(data).hexdigest()]
    entry = _entry(names, request)
    kept = _recalled(entry, data, threads, provider)
    if kept is not None:
        return kept
    try:
        original = resolve.of_bytes(data, file.stem, file.name)
    except CoreError:  # no model, which is told by the road below, or weights in other files
        return Core.load(path, threads=threads, provider=provider, **making)
    return _made(entry, original, request, threads, provider)


def load_starter(*, threads: int = 1, provider: str = runtime.CPU, **making: Any) -> Core:
    """The core that `Core.load` makes of `efficientnet-lite0`: made once, as that of a file."""
    name, request = efficientnet_lite.NAME, Request(**making)
    entry = _entry([name, efficientnet_lite.WEIGHTS_SHA256], request)
    kept = None
    if efficientnet_lite.is_installed():
        kept = _recalled(entry, b"", threads, provider)
    return kept or _made(entry, resolve.find(name), request, threads, provider)


def _made(entry: str, original: Original, request: Request, threads: int, provider: str) -> Core:
    """A core made now, and kept."""
    request = dataclasses.replace(request, declared=original.declared)
    heard = _Heard(listening())
    with heard_by(heard):
        made = Core(core_bytes(original, request), threads, provider)
    _keep(entry, made, original.data, heard.said)
    return made


class _Heard:
    """A listener that passes on what is said, and remembers it."""

    def __init__(self, listener: Listener) -> None:
        self.said: list[str] = []
        self._listener = listener

    def say(self, text: str = "") -> None:
        """Remember the message, and pass it on."""
        self.said.append(text)
        self._listener.say(text)

    def progress(self, what: str) -> AbstractContextManager[Update]:
        """What the listener gives."""
        return self._listener.progress(what)


def _entry(model: list[str], request: Request) -> str:
    """The name of a core in the cache: a digest of all that its bytes follow from.

    `model` is what the model is called, and the digest of its bytes or its weights.
    """
    import onnxruntime

    asked = request.preprocess
    spec = load_spec(asked) if isinstance(asked, str) else asked
    recipe = {
        "model": model,
        "at": request.at,
        "pool": request.pool,
        "fit": request.fit,
        "decode": request.decode,
        "size": str(request.size),
        "grey": bool(request.grey),
        "preprocess": None if spec is None else json_model.to_json(spec),
        "preset": isinstance(asked, str) and asked in presets(),
        "made by": [__version__, onnxruntime.__version__, np.__version__, *_code()],
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _code() -> Iterator[str]:
    """What changes when the code that makes cores does: ours may between releases, and onnx."""
    files = sorted(_OUR_CODE.rglob("*.py"))
    onnx = find_spec("onnx")  # which is not loaded for this
    if onnx is not None and onnx.origin is not None:
        files += [Path(onnx.origin), Path(onnx.origin).with_name("version.py")]
    for file in files:
        with suppress(OSError):
            about = file.stat()
            yield f"{file.name} {about.st_size} {about.st_mtime_ns}"


def _read(entry: str) -> bytes | None:
    try:
        kept = caches.read(entry, _FOLDER)
    except OutputError:  # a cache that cannot be trusted is left out
        return None
    if kept is not None:
        with suppress(OSError):
            os.utime(caches.path_of(entry, _FOLDER))
    return kept


def _recalled(entry: str, data: bytes, threads: int, provider: str) -> Core | None:
    """The core of an entry, None where there is none, or a damaged one."""
    kept = _read(entry)
    if kept is not None:
        with suppress(DofError, KeyError, ValueError, TypeError):  # of a damaged one
            return _parsed(kept, data, threads, provider)
    return None


def _parsed(kept: bytes, data: bytes, threads: int, provider: str) -> Core:
    """The core that an entry holds, its bytes compared with their digest."""
    head, mark, core = kept.partition(_CORE)
    about = parsed(head)
    made = core if mark else data
    row = about["row"]
    facts = CoreFacts(
        about=metadata.from_json(about["about"], CoreMetadata),
        input=metadata.from_json(about["input"], TensorSpec),
        output_name=about["output"],
        row=None if row is None else tuple(row),
    )
    if hashlib.sha256(made).hexdigest() != facts.about.sha256:
        raise ValueError("the entry is damaged")
    loaded = Core(made, threads, provider, facts=facts)
    for line in about["said"]:
        listening().say(line)
    return loaded


def _keep(entry: str, made: Core, data: bytes, said: list[str]) -> None:
    """Write an entry, if there is a place for it."""
    is_other = made.data != data
    if is_other and len(made.data) > LARGEST:
        return
    facts = made.facts
    about = {
        "about": json_model.to_json(facts.about),
        "input": json_model.to_json(facts.input),
        "output": facts.output_name,
        "row": made.output_shape,
        "said": said,
    }
    with suppress(OutputError), caches.writing(entry, _FOLDER) as out:
        out.write(json.dumps(about).encode())
        if is_other:
            out.write(_CORE + made.data)
    _make_room()


def _make_room() -> None:
    """Remove what was used longest ago, until the rest is no more than `MOST_BYTES`."""
    found = []
    for path in caches.path_of("any", _FOLDER).parent.glob("*"):
        with suppress(OSError):
            about = path.stat()
            found.append((about.st_mtime_ns, about.st_size, path))
    left = MOST_BYTES
    for _, size, path in sorted(found, reverse=True):
        left -= size
        if left < 0:
            with suppress(OSError):
                path.unlink()
