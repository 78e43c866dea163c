"""A dataset's description for catalogues: Croissant 1.1, JSON-LD, with what it says of risks.

Only what the file says is told. There is no clock in it, so that equal datasets are described by
equal bytes: `datePublished` is left to whoever publishes. Source: the Croissant specification 1.1
and its vocabulary for responsible AI 1.0, docs.mlcommons.org/croissant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError, shown
from dof_arrow.format.directory import Directory
from dof_arrow.format.file import File
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import Contact, Info, Metadata
from dof_arrow.format.spec.split_names import TEST, TRAIN, VALID, standard
from dof_arrow.publish.croissant_fields import SPLIT_NAMES, Reading, fields
from dof_arrow.publish.published_files import PublishedFile
from dof_arrow.publish.responsible import provenance, responsible
from dof_arrow.publish.spdx import is_url, license_url
from dof_arrow.publish.split_files import WHOLE

PARQUET = "application/x-parquet"
_VERSIONS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
_OWN_TERMS = (
    "annotation",
    "arrayShape",
    "citeAs",
    "column",
    "containedIn",
    "equivalentProperty",
    "excludes",
    "extract",
    "field",
    "fileObject",
    "fileProperty",
    "fileSet",
    "format",
    "includes",
    "isArray",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "readLines",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "sdVersion",
    "separator",
    "source",
    "subField",
    "transform",
    "unArchive",
    "value",
)
_CONTEXT: Mapping[str, Json] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _OWN_TERMS},
}
_SPLITS = {
    TRAIN: "cr:TrainingSplit",
    VALID: "cr:ValidationSplit",
    TEST: "cr:TestSplit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFile:
    """A file of rows: what its record set is called, and what its rows are."""

    file: PublishedFile
    record_set: str
    rows: int


def described(
    ds: Dataset, files: Sequence[RecordFile] | None = None, url: str | None = None
) -> dict[str, Json]:
    """The Croissant description of a dataset, as JSON.

    It has a record set for each of `files`, by default one of the file or directory of the dataset
    itself. `url` is the page of the dataset, by default its homepage. Raises UsageError where the
    rows are not all those of one file or directory on this machine, and no `files` are given.

    >>> import numpy, tempfile
    >>> from dof_arrow.dataset import dataset
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.dof.parquet")) as w:
    ...         w.write(ids=["a"], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...     found = described(dataset.open(Path(folder, "x.dof.parquet")))
    >>> [field["name"] for field in found["recordSet"][0]["field"]]
    ['id', 'feature']
    """
    about = ds.metadata
    found: dict[str, Json] = {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": list(_VERSIONS),
        **_said_by_owner(about.info, _title(ds), url),
        "identifier": f"urn:uuid:{about.uuid}",
    }
    if about.provenance and about.provenance.created:
        found["dateCreated"] = about.provenance.created
    found |= responsible(ds)
    found |= provenance(about)
    resources, readings = _own(ds) if files is None else _given(files)
    splits = list(_splits(about))
    found["distribution"] = resources
    found["recordSet"] = [*splits, *(_record_set(ds, each, bool(splits)) for each in readings)]
    return found


def _said_by_owner(info: Info, title: str, url: str | None) -> dict[str, Json]:
    page = url or info.homepage
    said: dict[str, Json] = {
        "name": title,
        "description": info.description or f"{title}: features of a frozen model, in Parquet.",
        "license": license_url(info.license) if info.license else None,
        "url": page,
        "sameAs": info.homepage if page != info.homepage else None,
        "citeAs": info.citation,
        "version": info.keys.get("version"),
        "creator": [_creator(contact) for contact in info.contacts],
    }
    return {name: value for name, value in said.items() if value}


def _title(ds: Dataset) -> str:
    return ds.metadata.info.title or f"features {ds.metadata.uuid}"


def _creator(contact: Contact) -> Json:
    person: dict[str, Json] = {
        "@type": "sc:Person",
        "name": contact.name,
        "email": contact.email,
        "jobTitle": contact.role,
        "url": _orcid(contact.orcid),
    }
    if contact.organization:
        person["affiliation"] = {"@type": "sc:Organization", "name": contact.organization}
    return {name: value for name, value in person.items() if value}


def _orcid(text: str | None) -> str | None:
    if not text or is_url(text):
        return text
    return f"https://orcid.org/{quote(text)}"


def _given(files: Sequence[RecordFile]) -> tuple[list[Json], list[Reading]]:
    """The files as resources, and how the record set of each is read."""
    readings = []
    for each in files:
        source = {"fileObject": {"@id": quote(each.file.name)}}
        readings.append(Reading(record_set=each.record_set, source=source, rows=each.rows))
    return [_file_object(each.file) for each in files], readings


def _own(ds: Dataset) -> tuple[list[Json], list[Reading]]:
    """The dataset's own file, or the files of its directory."""
    table = ds.table
    path = ds.path
    whole = len(ds) == table.rows
    if whole and isinstance(table, File) and isinstance(path, Path):
        file = PublishedFile.of(path.name, path)
        return _given([RecordFile(file=file, record_set=WHOLE, rows=len(ds))])
    if whole and isinstance(table, Directory):
        parts = {
            "@type": "cr:FileSet",
            "@id": "parts",
            "name": "parts",
            "encodingFormat": PARQUET,
            "includes": "data-*.parquet",
        }
        source = {"fileSet": {"@id": "parts"}}
        return [parts], [Reading(record_set=WHOLE, source=source, rows=len(ds))]
    raise UsageError(
        "a description is of a whole file on this machine",
        str(path),
        "one file, or a directory",
        "rows that were chosen or put together, or an address",
        "First: dof.save(ds, 'NAME.dof.parquet')",
    )


def _file_object(file: PublishedFile) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": quote(file.name),
        "name": file.name,
        "contentUrl": quote(file.name),
        "contentSize": f"{file.size} B",
        "encodingFormat": PARQUET,
        "sha256": file.sha256,
    }


def _splits(about: Metadata) -> Iterator[Json]:
    """The record set that says what the splits are, where there are some."""
    if about.record.split is None or not about.splits:
        return
    rows = []
    for name in about.splits:
        row = {f"{SPLIT_NAMES}/name": name}
        meant = standard(name)
        if meant:
            row[f"{SPLIT_NAMES}/url"] = _SPLITS[meant]
        rows.append(row)
    columns = [_inner(f"{SPLIT_NAMES}/name", "name", "sc:Text")]
    if all(f"{SPLIT_NAMES}/url" in row for row in rows):
        columns.append(_inner(f"{SPLIT_NAMES}/url", "url", ["sc:URL", "cr:Split"]))
    kept = [column["@id"] for column in columns]
    yield {
        "@type": "cr:RecordSet",
        "@id": SPLIT_NAMES,
        "name": SPLIT_NAMES,
        "dataType": "cr:Split",
        "key": {"@id": f"{SPLIT_NAMES}/name"},
        "field": columns,
        "data": [{name: row[name] for name in kept} for row in rows],
    }


def _inner(identifier: str, name: str, kind: Json) -> Json:
    return {"@type": "cr:Field", "@id": identifier, "name": name, "dataType": kind}


def _record_set(ds: Dataset, reading: Reading, has_splits: bool) -> Json:
    found, left_out = fields(ds, reading, has_splits)
    described = f"{reading.rows} rows, each the features of one picture, frame or window."
    if left_out:
        described += f" Columns that Croissant has no type for: {', '.join(map(shown, left_out))}."
    record = ds.metadata.record
    key = [name for name in (record.id, record.view, record.frame) if name in ds.columns]
    return {
        "@type": "cr:RecordSet",
        "@id": reading.record_set,
        "name": reading.record_set,
        "description": described,
        "key": [{"@id": reading.of(name)} for name in key],
        "field": found,
    }
