"""A core made from a model: its head cut off, its description and its preprocessing put in."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dof_arrow.cores import core_file, cut, open_input
from dof_arrow.cores.core_file import FROM_ORIGINAL
from dof_arrow.cores.core_input import changes, input_of, suited
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.origins import resolve
from dof_arrow.cores.origins.resolve import Original
from dof_arrow.errors import UsageError
from dof_arrow.format.spec import json_model, metadata
from dof_arrow.format.spec.metadata import CoreMetadata, Preprocessing, TensorSpec
from dof_arrow.format.spec.preprocessing import (
    Decode,
    Fit,
    as_grey,
    as_text,
    load_spec,
    parse_size,
    presets,
    with_decode,
    with_fit,
)
from dof_arrow.progress import NOBODY, heard_by, listening

if TYPE_CHECKING:
    from onnx import ModelProto

_UNKNOWN_SHA256 = "0" * 64


def _nothing_declared() -> None:
    return None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How a core is to be made: where to cut, how to pool, what is done to pictures first.

    `size`, height and width, and `grey` say what the model takes where it leaves that open.
    `declared` gives what the model's makers say; it is asked only where `preprocess` is None.
    """

    at: str | None = None
    pool: str | None = None
    preprocess: str | Preprocessing | None = None
    fit: Fit | None = None
    decode: Decode | None = None
    size: str | int | Sequence[int] | None = None
    grey: bool = False
    declared: Callable[[], Preprocessing | None] = _nothing_declared


def headless(
    path: str | os.PathLike[str],
    *,
    at: str | None = None,
    pool: str | None = None,
    preprocess: str | Preprocessing | None = None,
    fit: Fit | None = None,
    decode: Decode | None = None,
    size: str | int | Sequence[int] | None = None,
    grey: bool = False,
    name: str | None = None,
    license: str | None = None,
) -> bytes:
    """The ONNX bytes of a core: the model without its head, its description and preprocessing.

    Equal models and options give equal bytes. A file that is a core already is returned as it is,
    completed by a preprocessing where it carries none; `builtin` is the core inside this program.
    `size` ("H,W", one number or two) and `grey` say what pictures a model takes that leaves it
    open. `decode` "reduced" lets JPEGs be decoded smaller, which changes features. `name` is the
    file's stem unless given, `license` an SPDX expression. Raises CoreError for a model that cannot
    serve, UsageError for options that contradict it or one another.
    """
    if str(path).partition(":")[0] == "builtin":
        from dof_arrow.cores import builtin

        how = {"preprocess": preprocess, "decode": decode, "at": at, "size": size}
        about = {"grey": grey or None, "name": name, "license": license}
        return builtin.resolve(path, fit=fit, pool=pool, **how, **about).data
    found = resolve.find(path)
    found = dataclasses.replace(found, name=name or found.name, license=license or found.license)
    request = Request(
        at=at,
        pool=pool,
        preprocess=preprocess,
        fit=fit,
        decode=decode,
        size=size,
        grey=grey,
        declared=found.declared,
    )
    return core_bytes(found, request)


def core_bytes(original: Original, request: Request) -> bytes:
    """The bytes of a core of a model; errors as `headless`."""
    if core_file.is_core(original.model):
        return _completed(original, request)
    model = _settled(original.model, request)
    part = cut.cut(model, at=request.at, pool=request.pool, features=original.features)
    if not original.ours:
        graph.number_names(part.model, "core")
    about = CoreMetadata(
        name=original.name,
        sha256=_UNKNOWN_SHA256,
        opset=graph.opset(part.model),
        cut=part.tensor,
        pool=part.pool,
        source=original.source,
        source_sha256=original.sha256,
        license=original.license,
        input=input_of(part.model),
        preprocessing=None,  # type: ignore[arg-type]
        deterministic=not part.batch_dependent,
    )
    spec = _asked_preprocessing(original.name, request, about.input)
    return core_file.describe(part.model, json_model.to_json(about), spec, original.name)


def _completed(original: Original, request: Request) -> bytes:
    """A file that is a core already, with the asked preprocessing where it carries none."""
    about = core_file.read_json(original.model)
    _check_cut(original.name, "--at", request.at, about.get("cut"))
    _check_cut(original.name, "--pool", request.pool, about.get("pool"))
    model = _settled(original.model, request)
    taken = input_of(model)
    if "preprocessing" in about:
        carried = metadata.from_json(about["preprocessing"], Preprocessing)
        _check_preprocessing(original.name, carried, request, taken)
        return original.data
    spec = _asked_preprocessing(original.name, request, taken)
    if spec is None:
        return original.data
    return core_file.describe(model, about, spec, original.name)


def _settled(model: ModelProto, request: Request) -> ModelProto:
    """The model with its input's open axes written down, as far as they can be known."""
    size = parse_size(request.size) if request.size is not None else None
    return open_input.settled(model, size, grey=request.grey)


def _check_cut(name: str, option: str, asked: str | None, carried: str | None) -> None:
    if asked not in (None, carried):
        raise UsageError(
            "the core is cut already",
            name,
            f"{option} {carried}",
            f"{option} {asked}",
            f"Leave {option} out, or cut the original again: {FROM_ORIGINAL}",
        )


def _check_preprocessing(
    name: str, carried: Preprocessing, request: Request, taken: TensorSpec
) -> None:
    """Raise UsageError where another preprocessing is asked for than the core carries."""
    user_alone = dataclasses.replace(request, declared=_nothing_declared)
    with heard_by(NOBODY):  # of an adaptation that is not made
        asked = _asked_preprocessing(name, user_alone, taken) or _fitted(carried, request)
    if asked != carried:
        raise UsageError(
            "the core carries a preprocessing of its own",
            name,
            as_text(carried),
            as_text(asked),
            f"Leave --preprocess, --fit and --decode out, or make another core: {FROM_ORIGINAL}",
        )


def _asked_preprocessing(name: str, request: Request, taken: TensorSpec) -> Preprocessing | None:
    """The preprocessing that was asked for.

    A preset, or the model's own declaration, says what is done to the pixels; size, channels,
    element type and axis order come from the core's input, which is said aloud. What the user
    writes out holds as it is written.
    """
    asked = request.preprocess
    if asked is None:
        spec = request.declared()
        if spec is None:
            return None
    elif isinstance(asked, str):
        spec = load_spec(asked)
    else:
        spec = asked
    spec = as_grey(spec) if request.grey else spec
    if asked is None:
        spec = _adapted(name, "the model's own", spec, taken)
    elif isinstance(asked, str) and asked in presets():
        spec = _adapted(name, "the preset's", spec, taken)
    if request.grey and spec.mode != "L":
        raise UsageError(
            "the core takes three channels",
            name,
            "one channel, where --grey is given",
            str(list(taken.shape)),
            "Leave --grey out: grey pictures are decoded with three equal channels.",
        )
    return _fitted(spec, request)


def _adapted(name: str, whose: str, spec: Preprocessing, taken: TensorSpec) -> Preprocessing:
    """The preprocessing as the core's input wants it; says what that changes."""
    made = suited(spec, taken)
    for line in changes(whose, spec, made):
        listening().say(f"{name}: {line}")
    return made


def _fitted(spec: Preprocessing, request: Request) -> Preprocessing:
    if request.fit:
        spec = with_fit(spec, request.fit)
    return with_decode(spec, request.decode) if request.decode else spec
