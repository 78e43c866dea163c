"""What a card says a dataset is, and how it was made: facts of its metadata, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import Column, CoreMetadata, Info, Metadata, Preprocessing
from dof_arrow.progress import size

Json = Any

_UNITS = {1 / 255: "1/255", 1 / 128: "1/128", 1 / 127.5: "1/127.5"}
_ROLES = {
    "feature": "vectors",
    "id": "name of the record",
    "view": "number of the augmented view, 0 is the plain one",
    "frame": "number of the frame in its clip",
    "time": "seconds from the clip's start",
    "group": "what stays on one side of a split, such as the patient",
    "split": "train, valid, test or the owner's own",
    "processing": "how each row was made",
    "kept": "the owner's own",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and what is told under it; `link` where that is an address on the web."""

    name: str
    text: str
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """A column of the table: its name, role, type, and what it is for."""

    name: str
    role: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a dataset is.

    `rows` rows of `width` numbers of the column `feature`; `figures` are the few facts that stand
    on top, `facts` the rest, `columns` all columns of the table.
    """

    title: str
    description: str
    file: str
    feature: str
    rows: int
    width: int
    figures: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    columns: tuple[ColumnFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step from the stored picture to a feature vector: its name, and one or two lines of it."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """How a feature column was made: the steps in order, and the facts of its core."""

    feature: str
    steps: tuple[Step, ...]
    facts: tuple[Fact, ...]


def about(data: Dataset, feature: str) -> About:
    """What a dataset is, from its metadata and its size."""
    known = data.metadata
    width = prod(data.row_shape(feature))
    columns = [_column(name, column, known) for name, column in known.columns.items()]
    return About(
        title=known.info.title or data.path.name,
        description=known.info.description or "",
        file=data.path.name,
        feature=feature,
        rows=len(data),
        width=width,
        figures=tuple(_figures(data, width)),
        facts=tuple(_facts(data)),
        columns=tuple(columns),
    )


def pipelines(data: Dataset) -> tuple[Pipeline, ...]:
    """How each feature column was made, the primary one first."""
    known = data.metadata
    names = [name for name, column in known.columns.items() if column.role == "feature"]
    names.sort(key=lambda name: name != data.primary)
    found = []
    for name in names:
        core = known.cores.get(known.columns[name].core or "")
        vector = Step(name="Vector", lines=(_vector(known.columns[name]), f"column {name}"))
        if core is None:
            unknown = Step(name="Elsewhere", lines=("computed outside; the core is not told",))
            found.append(Pipeline(feature=name, steps=(unknown, vector), facts=()))
            continue
        steps = (*_preparation(core.preprocessing), _core_step(core), *_cut_steps(core), vector)
        found.append(Pipeline(feature=name, steps=steps, facts=tuple(_core_facts(core))))
    return tuple(found)


def _figures(data: Dataset, width: int) -> Iterator[Fact]:
    known = data.metadata
    yield Fact(name="rows", text=f"{len(data):,}")
    yield Fact(name="numbers a row", text=f"{width:,}")
    for name, target in known.targets.items():
        if target.classes:
            yield Fact(name=f"classes of {name}", text=f"{len(target.classes):,}")
    yield Fact(name="on disk", text=size(data.size))
    yield Fact(name="licence", text=known.info.license or "not stated")


def _facts(data: Dataset) -> Iterator[Fact]:
    known = data.metadata
    yield from _owner(known.info)
    if data.derived:
        text = (
            "Another tool rewrote this file, or it is damaged: what it says of itself may be stale."
        )
        yield Fact(name="Mind", text=text)
    yield Fact(name="File", text=data.path.name)
    if known.parts:
        yield Fact(name="Parts", text=f"{len(known.parts):,} files")
    yield Fact(name="Identity", text=known.uuid)
    if data.seal:
        yield Fact(name="Seal", text=data.seal)
    ids = known.privacy.ids if known.privacy else "name"
    told = "keyed pseudonyms" if ids == "pseudonym" else "the inputs' own names"
    yield Fact(name="Rows are called by", text=told)
    yield from _provenance(known)
    documents = [document.name for document in known.documents]
    if documents:
        yield Fact(name="Documents inside", text=", ".join(documents))


def _owner(info: Info) -> Iterator[Fact]:
    for contact in info.contacts:
        parts = (contact.name, contact.role, contact.organization, contact.email, contact.orcid)
        yield Fact(name="Contact", text=", ".join(part for part in parts if part))
    told = {
        "Source": info.source,
        "Licence of the source": info.source_license,
        "To be cited as": info.citation,
        "Homepage": info.homepage,
        "Notes": info.notes,
        **info.keys,
    }
    for name, text in told.items():
        if text:
            yield Fact(name=name, text=text, link=_link(text))


def _link(text: str) -> str | None:
    """An address that a page may lead to; nothing that could run."""
    is_address = text.startswith(("https://", "http://")) and not any(map(str.isspace, text))
    return text if is_address else None


def _provenance(known: Metadata) -> Iterator[Fact]:
    made = known.provenance
    if made is None:
        return
    yield Fact(name="Written by", text=made.generator)
    if made.created:
        yield Fact(name="Written on", text=made.created)
    if made.inputs is not None:
        failed = f", of which {made.failed:,} failed" if made.failed else ""
        yield Fact(name="Inputs", text=f"{made.inputs:,}{failed}")
    if made.parents:
        yield Fact(name="Made from", text=", ".join(parent.uuid for parent in made.parents))
    if made.libraries:
        versions = [f"{name} {version}" for name, version in made.libraries.items()]
        yield Fact(name="Versions", text=", ".join(versions))
    views = known.augmentation
    if views:
        yield Fact(name="Augmented views", text=_words(to_json(views)))


def _words(value: Json) -> str:
    """A JSON value in a line of words."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(item) for item in value)
    return str(value)


def _column(name: str, column: Column, known: Metadata) -> ColumnFacts:
    target = known.targets.get(name)
    meaning = _ROLES.get(column.role, "")
    if target is not None:
        meaning = f"{target.kind}, {target.unit}" if target.unit else target.kind
    elif column.role == "feature" and column.core:
        core = known.cores.get(column.core)
        meaning = f"vectors of {core.name}" if core else meaning
    shape = f" [{' x '.join(map(str, column.shape))}]" if column.shape else ""
    dtype = "names" if column.dtype.startswith("dictionary<") else column.dtype
    return ColumnFacts(name=name, role=column.role, type=f"{dtype}{shape}", meaning=meaning)


def _vector(column: Column) -> str:
    return f"{' x '.join(f'{side:,}' for side in column.shape)} numbers, {column.dtype}"


def _preparation(spec: Preprocessing) -> Iterator[Step]:
    turned = "turned as EXIF says" if spec.orientation == "exif" else "as stored, not turned"
    colours = "three colours" if spec.mode == "RGB" else "one grey channel"
    draft = (f"JPEG decoded small, from {spec.draft} up",) if spec.draft else ()
    yield Step(name="Decode", lines=(colours, turned, *draft))
    if spec.resize:
        yield Step(name="Resize", lines=(_resized(spec), f"{spec.interpolation}, antialiased"))
    if spec.crop:
        name = "Pad" if spec.fit == "pad" else "Crop"
        where = f"on grey {spec.fill}" if spec.fit == "pad" else "from the middle"
        yield Step(name=name, lines=(" x ".join(map(str, spec.crop)), where))
    numbers = tuple(_normalised(spec))
    if numbers:
        yield Step(name="Normalise", lines=numbers)


def _resized(spec: Preprocessing) -> str:
    target = " x ".join(map(str, spec.resize))
    if len(spec.resize) > 1 or spec.fit == "squash":
        return f"to {target}"
    side = "longer" if spec.fit == "pad" else "shorter"
    return f"{side} side to {target}"


def _normalised(spec: Preprocessing) -> Iterator[str]:
    if spec.scale != 1:
        for factor, word in _UNITS.items():
            if abs(spec.scale - factor) < 1e-7:
                yield f"times {word}"
                break
        else:
            yield f"times {spec.scale:.6g}"
    if spec.mean:
        yield f"less {', '.join(f'{number:.4g}' for number in spec.mean)}"
    if spec.std:
        yield f"over {', '.join(f'{number:.4g}' for number in spec.std)}"
    if spec.channels == "BGR":
        yield "blue, green, red"


def _core_step(core: CoreMetadata) -> Step:
    shape = " x ".join(str(side) for side in core.input.shape)
    return Step(name="Core", lines=(core.name, f"takes {shape} {core.input.dtype}"))


def _cut_steps(core: CoreMetadata) -> Iterator[Step]:
    if core.cut:
        yield Step(name="Cut", lines=(f"at {core.cut}", "head removed, weights frozen"))
    if core.pool:
        yield Step(name="Pool", lines=(f"mean over {core.pool}",))


def _core_facts(core: CoreMetadata) -> Iterator[Fact]:
    yield Fact(name="Core", text=core.name)
    told = {
        "Came from": core.source,
        "Licence": core.license or "not stated",
        "SHA-256": core.sha256,
        "SHA-256 of the original": core.source_sha256,
        "Opset": str(core.opset),
    }
    for name, text in told.items():
        if text:
            yield Fact(name=name, text=text, link=_link(text))
    if not core.deterministic:
        text = "Features depend a little on what else is in a batch; rows were run one by one."
        yield Fact(name="Mind", text=text)
    if core.graph:
        yield Fact(name="Preprocessing", text="inside the file as an ONNX graph: the definition")
