"""The specification as code: what the `dof` key of a file's metadata holds (SPEC section 4).

Each field is declared once, with its type, meaning and first version. Reading, writing, checking,
the JSON Schema and the specification's tables are all made from these declarations. Nothing here
knows about files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import pyarrow as pa

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.json_model import Json, spec, to_json

VERSION = "1.0"
MAX_BYTES = 16 << 20
SHA256 = r"^[0-9a-f]{64}$"
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_MAX_DEPTH = 32
_MAX_MARKS = 250_000  # commas and brackets: they bound how many values 16 MiB of JSON can unfold to

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one column of the table is, and how it lies in the file."""

    role: Literal[
        "feature",
        "id",
        "bag",
        "view",
        "frame",
        "time",
        "start",
        "end",
        "x",
        "y",
        "level",
        "mpp",
        "group",
        "split",
        "target",
        "processing",
        "kept",
    ] = spec("what the column is for; `kept` columns are the owner's own")
    dtype: str = spec("the element's Arrow type name: `float32`, `int64`, `string` …")
    shape: tuple[int, ...] = spec(
        "feature columns: the shape of one row's tensor, row-major", default=(), minimum=1
    )
    core: str | None = spec(
        "feature columns: the entry of `cores` or `claimed_cores` that made it", default=None
    )
    tensor: str | None = spec("feature columns: the name of the core's output tensor", default=None)
    layout: Literal["mapped", "encoded"] = spec(
        "`mapped`: values lie as section 6 says; `encoded`: decode them"
    )
    statistics: Mapping[str, Json] = spec(
        "summary numbers of the column, if asked for", factory=dict
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, shape and element type of a core's input."""

    name: str = spec("the tensor's name in the ONNX graph")
    shape: tuple[int | str, ...] = spec("its shape; a free axis stands by its name")
    dtype: str = spec("its element type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Everything between a stored picture and a core's input."""

    mode: Literal["RGB", "L"] = spec("what pictures are decoded to")
    orientation: Literal["exif", "ignore"] = spec(
        "whether the stored orientation is applied", default="exif"
    )
    draft: int | None = spec(
        "JPEG decoded straight to the next size with a shorter side >= this", default=None
    )
    fit: Literal["crop", "pad", "squash", "none"] = spec(
        "`crop`: shorter side to `resize`, centre `crop`; `pad`: longer side to `resize`, padded; "
        "`squash`: both sides to `resize`; `none`: left as it is"
    )
    resize: tuple[int, ...] = spec(
        "target of the resize: one side, or [height, width]", default=(), minimum=1
    )
    interpolation: Literal["linear", "cubic"] = spec(
        "how pixels are weighed; antialiased", default="linear"
    )
    crop: tuple[int, ...] = spec(
        "[height, width] of the centre crop or of the padded picture", default=(), minimum=1
    )
    as_is: bool = spec(
        "whether a picture of the final size is left as it is, its margin not cropped away",
        default=False,
    )
    fill: int = spec("grey level of padding, 0-255", default=0, minimum=0)
    channels: Literal["RGB", "BGR", "L"] = spec("channel order of the core's input", default="RGB")
    scale: float = spec("factor on the 0-255 values, before mean and std", default=1.0)
    mean: tuple[float, ...] = spec("subtracted after scaling, one number a channel", default=())
    std: tuple[float, ...] = spec("divided by after subtracting, one number a channel", default=())
    layout: Literal["NCHW", "NHWC"] = spec("axis order of the core's input", default="NCHW")
    dtype: Literal["float32", "float16", "uint8"] = spec(
        "element type of the core's input", default="float32"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMetadata:
    """A frozen headless model, and all that is needed to run it again on the same footing."""

    schema_name: ClassVar[str] = "Core"

    name: str = spec("a short name")
    sha256: str = spec("SHA-256 of the core's ONNX bytes", pattern=SHA256)
    opset: int = spec("its ONNX opset", minimum=1)
    cut: str | None = spec(
        "the tensor of the original model at which its head was cut off", default=None
    )
    pool: str | None = spec("how the cut's spatial axes were pooled: `1x1`, `2x2` …", default=None)
    source: str | None = spec(
        "where the original model came from: file name, URL, hub id", default=None
    )
    source_sha256: str | None = spec(
        "SHA-256 of the original model's bytes", default=None, pattern=SHA256
    )
    license: str | None = spec("SPDX expression of the model's licence", default=None)
    input: TensorSpec = spec("the core's input")
    preprocessing: Preprocessing = spec("what is done to a picture before the core sees it")
    graph: str | None = spec(
        "the same preprocessing as an ONNX graph, base64: the definition", default=None
    )
    deterministic: bool = spec(
        "false where features depend on what else is in a batch", default=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedCore:
    """What is said to have made features: a name without a digest, which nobody can verify."""

    name: str = spec("its name, as whoever made the features tells it")
    source: str | None = spec("where it is said to be from: URL, hub id, paper", default=None)
    license: str | None = spec("SPDX expression of the model's licence", default=None)
    facts: Mapping[str, Json] = spec("what else is said: sizes of tiles, versions", factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Which columns identify and order the rows."""

    id: str = spec("the record's name", default="id")
    bag: str | None = spec("what a prediction is made for: a slide, a study", default=None)
    view: str | None = spec("number of the augmented view, 0 = the plain one", default=None)
    frame: str | None = spec("number of the frame or window in its clip", default=None)
    time: str | None = spec("seconds from the clip's start", default=None)
    start: str | None = spec(
        "where a segment starts, in seconds from its clip's start", default=None
    )
    end: str | None = spec("where a segment ends, in seconds from its clip's start", default=None)
    x: str | None = spec("left edge, in pixels of level 0", default=None)
    y: str | None = spec("upper edge, in pixels of level 0", default=None)
    level: str | None = spec("the level of the slide that was read, 0 = the finest", default=None)
    mpp: str | None = spec("micrometres a pixel of what the core saw", default=None)
    group: str | None = spec("what must stay on one side of a split: a patient", default=None)
    split: str | None = spec("`train`, `valid`, `test` or the owner's own", default=None)

    @property
    def together(self) -> str:
        """The column whose equal values no split may part: of groups, else bags, else records."""
        return self.group or self.bag or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How a target column is to be read."""

    kind: Literal["category", "multilabel", "regression", "survival"] = spec(
        "what kind of target it is"
    )
    classes: tuple[str, ...] = spec("class names, in the order of their codes", default=())
    unit: str | None = spec("unit of a regression target, or of a survival time", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Size of one split."""

    rows: int = spec("rows in it", minimum=0)
    records: int = spec("different records in it", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person or body to write to."""

    name: str = spec("name")
    role: str | None = spec("author, contact, data steward …", default=None)
    email: str | None = spec("address", default=None)
    orcid: str | None = spec("ORCID iD", default=None)
    organization: str | None = spec("where they work", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """The owner's section; may be rewritten at any time (`dof edit`)."""

    title: str | None = spec("what this is, in a line", default=None)
    description: str | None = spec("what this is, at length", default=None)
    contacts: tuple[Contact, ...] = spec("authors and contacts", default=())
    source: str | None = spec("where the raw data came from", default=None)
    source_license: str | None = spec("SPDX expression of the raw data's licence", default=None)
    license: str | None = spec("SPDX expression of this file's licence", default=None)
    citation: str | None = spec("how to cite it", default=None)
    homepage: str | None = spec("where to read more", default=None)
    notes: str | None = spec("anything else", default=None)
    keys: Mapping[str, str] = spec("the owner's own keys", factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """Bytes inside this file, between the last column chunk and the footer."""

    offset: int = spec("where they start in the file", minimum=4)
    length: int = spec("how many bytes", minimum=0)
    sha256: str = spec("SHA-256 of the bytes", pattern=SHA256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Attachment):
    """An attached file: a PDF, a licence text, a protocol."""

    name: str = spec("file name, without folders")
    media_type: str = spec("IANA media type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors(Attachment):
    """The inputs that failed: JSON lines, `{"id", "rule", "reason"}` each (section 5)."""

    rows: int = spec("how many inputs failed", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What was done to protect the people behind the records, and what was measured."""

    ids: Literal["pseudonym", "name"] = spec(
        "whether ids are keyed pseudonyms or the inputs' own names"
    )
    key: str | None = spec(
        "keyed digest by which the owner of a key knows whether it made the pseudonyms",
        default=None,
        pattern=r"[0-9a-f]{16}",
    )
    measures: tuple[Mapping[str, Json], ...] = spec(
        "measures applied: noise, projection, dropped columns", default=()
    )
    audits: tuple[Mapping[str, Json], ...] = spec(
        "measured leaks: attacker, baseline, interval, n", default=()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A dataset that this one was made from."""

    uuid: str = spec("its uuid", pattern=UUID)
    seal: str | None = spec("its seal", default=None, pattern=SHA256)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionOf:
    """Of which run a file is a part that was extracted by a process of its own."""

    index: int = spec("which of the partitions, from 1", minimum=1)
    of: int = spec("how many partitions the run has", minimum=1)
    run: str = spec("`provenance.run` of the whole run", pattern=SHA256)
    raw: Mapping[str, Json] = spec(
        "exact counts of the raw inputs, of which the whole makes its `raw`", factory=dict
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How this file came to be."""

    generator: str = spec(
        "program and version that wrote it, with the versions that its bytes depend on"
    )
    parents: tuple[Parent, ...] = spec("datasets that it was made from", default=())
    inputs: int | None = spec("inputs met", default=None, minimum=0)
    failed: int | None = spec(
        "inputs that gave no row; the errors table lists them", default=None, minimum=0
    )
    run: str | None = spec(
        "keyed digest of inputs, cores and options, by which the owner knows the run again",
        default=None,
        pattern=SHA256,
    )
    size: str | None = spec(
        "keyed digest of the inputs' bytes, by which the owner knows whether they have changed",
        default=None,
        pattern=SHA256,
    )
    libraries: Mapping[str, str] = spec(
        "versions of the Python modules that the features depend on", factory=dict
    )
    raw: Mapping[str, Json] = spec(
        "what the raw inputs were like: sizes, modes, bit depths, bytes, in classes of five or "
        "more",
        factory=dict,
    )
    providers: Mapping[str, tuple[str, ...]] = spec(
        "by feature column: what ran its core, execution providers of ONNX Runtime or `openvino`, "
        "unless it was ONNX Runtime's CPU alone",
        factory=dict,
    )
    batches: Mapping[str, tuple[int, ...]] = spec(
        "by feature column: rows that such a provider ran at a time, on which the last digits of "
        "features may depend",
        factory=dict,
    )
    partition: PartitionOf | None = spec(
        "of which run this is a part; a file that has it is to be merged, not published",
        default=None,
    )
    created: str | None = spec(
        "time of writing, only where SOURCE_DATE_EPOCH gives one", default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a dataset of several (section 8)."""

    name: str = spec("file name in the directory", pattern=r"^data-[0-9A-Za-z_-]+\.parquet$")
    rows: int = spec("its rows", minimum=0)
    bytes: int = spec("its size", minimum=12)
    seal: str = spec("its seal", pattern=SHA256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """Which digests protect the bytes (section 7)."""

    algorithm: Literal["sha256"] = spec("the digest of segments and seal", default="sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The whole content of the key `dof`."""

    version: str = spec("version of this specification, MAJOR.MINOR", pattern=r"^[0-9]+\.[0-9]+$")
    uuid: str = spec("identity of the content, derived from it (section 4.2)", pattern=UUID)
    primary_column: str = spec("the feature column that is meant when none is named")
    columns: Mapping[str, Column] = spec("every column of the table, in order")
    cores: Mapping[str, CoreMetadata] = spec("the cores that made the features", factory=dict)
    claimed_cores: Mapping[str, ClaimedCore] = spec(
        "what is only said to have made features: not verified", factory=dict
    )
    record: Record = spec("the columns that identify rows", factory=Record)
    targets: Mapping[str, Target] = spec("how target columns are read", factory=dict)
    splits: Mapping[str, Split] = spec("size of each split", factory=dict)
    augmentation: Mapping[str, Json] = spec(
        "what all views have in common; each row's own draw is in `processing`", factory=dict
    )
    head: Mapping[str, Json] = spec("the architecture that the author suggests", factory=dict)
    info: Info = spec("the owner's section, rewritable", factory=Info)
    documents: tuple[Document, ...] = spec("attached files", default=())
    errors: Errors | None = spec("where the errors table lies", default=None)
    performance: Mapping[str, Json] = spec("results of models on this dataset", factory=dict)
    training: Mapping[str, Json] = spec("how models were or should be trained", factory=dict)
    privacy: Privacy | None = spec("protection and measured leaks", default=None)
    provenance: Provenance | None = spec("how the file came to be", default=None)
    integrity: Integrity = spec("digests", factory=Integrity)
    parts: tuple[Part, ...] = spec(
        "a directory's manifest: its files, in the order of their rows", default=()
    )
    must_understand: tuple[str, ...] = spec(
        "top-level fields that a reader must know or refuse the file", default=()
    )

    @property
    def pseudonyms(self) -> Privacy | None:
        """What is said of the pseudonyms; None where ids and groups are the names themselves."""
        if self.privacy is None or self.privacy.ids == "name":
            return None
        return self.privacy


def encode(metadata: Metadata) -> bytes:
    """The bytes of the key `dof`: UTF-8 JSON, compact, no NaN.

    >>> encode(Target(kind="regression", unit="mm"))
    b'{"kind":"regression","unit":"mm"}'
    """
    text = json.dumps(to_json(metadata), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = text.encode()
    if len(data) > MAX_BYTES:
        raise FormatError(
            "metadata too large", "key dof", f"at most {MAX_BYTES} bytes", str(len(data))
        )
    return data


def parse(data: bytes) -> Json:
    """The JSON value in the bytes of the key `dof`, within its bounds.

    Raises FormatError with rule `metadata-json` for anything else.

    >>> parse(b'{"version": "1.0"}')
    {'version': '1.0'}
    """
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"{len(data)} bytes, at most {MAX_BYTES}")
        if sum(map(data.count, (b",", b"[", b"{"))) > _MAX_MARKS:
            raise ValueError(f"more than {_MAX_MARKS} commas and brackets")
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        _check_depth(value)
        return value
    except (ValueError, RecursionError) as error:
        problem = Problem(
            rule="metadata-json", where="$", message="not readable as JSON", found=str(error)[:200]
        )
        raise FormatError("the dof metadata cannot be read", problems=[problem]) from None


def from_json(value: Json, kind: type[T] = Metadata) -> T:  # type: ignore[assignment]
    """Build the metadata, or one section of it, from JSON; FormatError lists every problem at once.

    >>> from_json({"kind": "regression", "unit": "mm"}, Target).unit
    'mm'
    """
    return json_model.from_json(value, kind)


def problems(value: Json, kind: Any = Metadata, where: str = "$") -> Iterator[Problem]:
    """Every difference between a JSON value and its declaration, depth first.

    >>> [p.where for p in problems({"kind": "speech", "unit": 3}, Target)]
    ['$.kind', '$.unit']
    """
    return json_model.problems(value, kind, where)


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _check_depth(value: Json) -> None:
    """Raise ValueError if a value is nested too deep; goes through it layer by layer."""
    layer = [value]
    depth = 0
    while layer:
        depth += 1
        inner: list[Json] = []
        for each in layer:
            children = each.values() if isinstance(each, dict) else each
            if children and depth == _MAX_DEPTH:
                raise ValueError(f"nested deeper than {_MAX_DEPTH}")
            inner += [child for child in children if isinstance(child, (dict, list))]
        layer = inner


TYPES = {
    "width": pa.int32(),
    "height": pa.int32(),
    "mode": pa.string(),
    "bits": pa.int32(),
    "format": pa.string(),
    "frames": pa.int32(),
    "orientation": pa.int32(),
    "low": pa.float64(),
    "high": pa.float64(),
}


COUNTED = tuple(TYPES)
