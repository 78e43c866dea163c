"""What a card says a dataset is, and how it was made: facts of its metadata, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import (
    ClaimedCore,
    Column,
    CoreMetadata,
    Info,
    Metadata,
    Preprocessing,
)
from dof_arrow.progress import size
from dof_arrow.publish.column_words import NOT_VERIFIED, meaning, type_words, words

_IDS = {
    "pseudonym": "keyed pseudonyms",
    "name": "the inputs' own names",
    "": "names or pseudonyms: the file does not say which",
}
_UNITS = {1 / 255: "1/255", 1 / 128: "1/128", 1 / 127.5: "1/127.5"}


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

    `rows` rows of `width` numbers of the column `feature`; where several rows are of one `clip`,
    `picture` or `bag`, that is what they are `parts_of`. `figures` are the few facts that stand on
    top, `facts` the rest, `columns` all columns of the table.
    """

    title: str
    description: str
    file: str
    feature: str
    rows: int
    parts_of: str
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
        parts_of=parts_of(data),
        width=width,
        figures=tuple(_figures(data, width)),
        facts=tuple(_facts(data)),
        columns=tuple(columns),
    )


def parts_of(data: Dataset) -> str:
    """What several rows may be of: a clip, a picture with its views, a bag; empty for none."""
    record = data.metadata.record
    if record.frame is not None:
        return "clip"
    if record.bag is not None:
        return "bag"
    return "" if record.view is None else "picture"


def pipelines(data: Dataset) -> tuple[Pipeline, ...]:
    """How each feature column was made, the primary one first."""
    known = data.metadata
    names = [name for name, column in known.columns.items() if column.role == "feature"]
    names.sort(key=lambda name: name != data.primary)
    found = []
    for name in names:
        column = known.columns[name]
        own = column.core or ""
        vector = Step(name="Vector", lines=(_vector(column), f"column {name}"))
        if own in known.cores:
            core = known.cores[own]
            before = (_source(known), *_preparation(core.preprocessing))
            steps = (*before, _core_step(core), *_cut_steps(core), vector)
            facts = tuple(_core_facts(core))
        elif own in known.claimed_cores:
            claimed = known.claimed_cores[own]
            steps = (Step(name="Claimed core", lines=(claimed.name, "not verified")), vector)
            facts = tuple(_claims(claimed))
        else:
            unknown = Step(name="Elsewhere", lines=("computed outside; the core is not told",))
            steps = (unknown, vector)
            facts = ()
        found.append(Pipeline(feature=name, steps=steps, facts=facts))
    return tuple(found)


def _figures(data: Dataset, width: int) -> Iterator[Fact]:
    known = data.metadata
    yield Fact(name="row" if len(data) == 1 else "rows", text=f"{len(data):,}")
    yield from _wholes(data)
    yield Fact(name="numbers a row", text=f"{width:,}")
    for name, target in known.targets.items():
        if target.classes:
            yield Fact(name=f"classes of {name}", text=f"{len(target.classes):,}")
    yield Fact(name="on disk", text=size(data.size))
    yield Fact(name="licence", text=known.info.license or "not stated")


def _wholes(data: Dataset) -> Iterator[Fact]:
    """How many clips, pictures or bags the rows are of, where several are of one."""
    import pyarrow.compute as pc

    record = data.metadata.record
    counted = {}
    if record.bag is not None:
        counted["bags"] = record.bag
    if record.frame is not None or record.view is not None:
        made = data.metadata.provenance
        cut = made is not None and bool(made.raw.get("segments"))
        whole = "clips" if record.frame is not None else "pictures"
        counted["segments of clips" if cut else whole] = record.id
    for name, column in counted.items():
        count = pc.count_distinct(data.to_arrow([column]).column(0)).as_py()
        yield Fact(name=name, text=f"{count:,}")


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
    yield Fact(name="Rows are called by", text=_IDS[known.privacy.ids if known.privacy else ""])
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
        yield Fact(name="Augmented views", text=words(to_json(views)))


def _column(name: str, column: Column, known: Metadata) -> ColumnFacts:
    shape = f" [{' x '.join(map(str, column.shape))}]" if column.shape else ""
    return ColumnFacts(
        name=name,
        role=column.role,
        type=f"{type_words(column.dtype)}{shape}",
        meaning=meaning(column, known.targets.get(name), known),
    )


def _vector(column: Column) -> str:
    return f"{' x '.join(f'{side:,}' for side in column.shape)} numbers, {column.dtype}"


def _source(known: Metadata) -> Step:
    """What a row is of: a picture, or frames of a clip, which were chosen so."""
    made = known.provenance
    asked = None if made is None else made.raw.get("clips")
    if asked is None and known.record.frame is None:
        return Step(name="Picture", lines=("of any size",))
    cut = made is not None and made.raw.get("segments")
    lines = ["a segment of it" if cut else "frame by frame"]
    if isinstance(asked, Mapping) and asked:
        lines.append(words(to_json(asked)))
    return Step(name="Clip", lines=tuple(lines))


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


def _claims(claimed: ClaimedCore) -> Iterator[Fact]:
    yield Fact(name="Core", text=f"{claimed.name}: {NOT_VERIFIED}")
    if claimed.source:
        yield Fact(name="Said to be from", text=claimed.source, link=_link(claimed.source))
    if claimed.license:
        yield Fact(name="Licence", text=claimed.license)
    if claimed.facts:
        yield Fact(name="What else is said", text=words(to_json(claimed.facts)))


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
