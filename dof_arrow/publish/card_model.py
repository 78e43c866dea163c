"""A fused model inside a card: the reader's own picture, run by onnxruntime-web in the browser.

onnxruntime-web is no part of this package and is never fetched by it: who makes the card says where
a copy lies, as `npm pack onnxruntime-web` gets one.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.heads.head import Head
from dof_arrow.inference.fused import description
from dof_arrow.inference.model_parts import PICTURE
from dof_arrow.publish.card_packing import packed
from dof_arrow.publish.card_scores import check_core
from dof_arrow.system import open_file

Json = Any

_SCRIPT = "dist/ort.wasm.bundle.min.mjs"
_BINARY = "dist/ort-wasm-simd-threaded.wasm"
_ABOUT = "package.json"
_MOST_BYTES = 64 << 20  # of one file of the package
_EXPORTS = re.compile(r"\bexport\s*\{([^{}]*)\};?\s*(//# sourceMappingURL=\S+\s*)?$")
_HINT = "npm pack onnxruntime-web, then --onnxruntime-web onnxruntime-web-VERSION.tgz"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHead:
    """An output of the model: what it is called, its target, kind, classes and unit."""

    output: str
    target: str
    kind: str
    classes: tuple[str, ...]
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TryModel:
    """What the page needs to run a model: packed bytes of it and of the runtime, and its heads.

    `grey`: it takes one channel. `turned`: pictures are turned as EXIF says. `draft`: JPEG was
    decoded small at extraction, which no browser does.
    """

    name: str
    bytes: int
    model: str
    runtime: str
    runtime_version: str
    grey: bool
    turned: bool
    draft: bool
    heads: tuple[ModelHead, ...]


@dataclass(frozen=True, slots=True)
class Runtime:
    """onnxruntime-web: its script, which sets `globalThis.ort`, its WebAssembly, its version."""

    script: str
    binary: bytes
    version: str


def read_runtime(path: Path | None) -> Runtime:
    """onnxruntime-web from the file that npm packs, or from its unpacked folder.

    Raises UsageError for anything else.
    """
    if path is None:
        raise UsageError(
            "a model on the page needs onnxruntime-web",
            expected="--onnxruntime-web FILE.tgz or its folder",
            hint=f"It is not part of dof-arrow: {_HINT}",
        )
    files = _folder(path) if path.is_dir() else _packed(path)
    missing = [name for name in (_SCRIPT, _BINARY, _ABOUT) if name not in files]
    if missing:
        raise _no_runtime(path, f"no {', '.join(missing)}")
    try:
        version = str(parsed(files[_ABOUT])["version"])
        script = _as_global(files[_SCRIPT].decode())
    except (ValueError, KeyError, TypeError):
        raise _no_runtime(path, "a package of another form") from None
    return Runtime(script, files[_BINARY], version)


def read_model(path: Path, known: Metadata) -> tuple[bytes, Any]:
    """A fused model's bytes and its description.

    Raises UsageError for one that takes clips or several pictures, or of another core than this
    dataset's; CoreError for what is no fused model.
    """
    model = graph.load(path)
    fused = description(model, str(path))
    inputs = [value.name for value in graph.inputs(model)]
    if fused.clips or inputs != [PICTURE]:
        raise UsageError(
            "no model that the page could run",
            str(path),
            "one that takes one picture",
            ", ".join(inputs),
            "Make it without --batch, of heads that read single pictures: dof fuse",
        )
    for head in fused.heads.values():
        check_core(head, known, str(path))
    return graph.to_bytes(model), fused


def try_model(name: str, data: bytes, fused: Any, runtime: Runtime) -> TryModel:
    """A model and the runtime, ready for the page."""
    spec = fused.cores[0].preprocessing
    heads = [_head(output, head) for output, head in fused.heads.items()]
    return TryModel(
        name=name,
        bytes=len(data),
        model=packed(data),
        runtime=packed(runtime.binary),
        runtime_version=runtime.version,
        grey=spec.mode == "L",
        turned=spec.orientation == "exif",
        draft=spec.draft is not None,
        heads=tuple(heads),
    )


def _head(output: str, head: Head) -> ModelHead:
    return ModelHead(
        output=output,
        target=head.target,
        kind=head.kind,
        classes=head.classes,
        unit=head.unit or "",
    )


def _as_global(script: str) -> str:
    """A module's text with its exports put into `globalThis.ort`: a page has no file to import.

    >>> _as_global("var a=1;export{a as env};")
    'var a=1;globalThis.ort={"env":a};'
    """
    found = _EXPORTS.search(script)
    if found is None:
        raise ValueError("exports nothing")
    pairs = []
    for export in found[1].split(","):
        name, _, given = export.strip().partition(" as ")
        pairs.append(f'"{(given or name).strip()}":{name.strip()}')
    return f"{script[: found.start()]}globalThis.ort={{{','.join(pairs)}}};"


def _folder(path: Path) -> Mapping[str, bytes]:
    found = {}
    for name in (_SCRIPT, _BINARY, _ABOUT):
        try:
            with open_file(path / name) as file:
                found[name] = file.read(_MOST_BYTES)
        except OSError:
            continue
    return found


def _packed(path: Path) -> Mapping[str, bytes]:
    """The files that are wanted, out of npm's archive; nothing is unpacked onto the disk."""
    found = {}
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:gz") as archive:
            for member in archive:
                name = member.name.removeprefix("package/")
                stored = archive.extractfile(member) if member.isfile() else None
                if stored is not None and name in (_SCRIPT, _BINARY, _ABOUT):
                    found[name] = stored.read(_MOST_BYTES)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise _no_runtime(path, str(error)) from None
    return found


def _no_runtime(path: Path, found: str) -> UsageError:
    return UsageError(
        "not onnxruntime-web", str(path), "its npm package", found, f"Get it: {_HINT}"
    )
