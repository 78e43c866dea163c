"""The README.md of a published dataset, with the YAML head that the Hugging Face hub reads.

Values of the head are written as JSON, which is YAML too: a text of the owner's cannot end it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UNSAFE
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import (
    ClaimedCore,
    Contact,
    CoreMetadata,
    Metadata,
    Target,
)
from dof_arrow.publish.audit_line import audit_line, measure_text
from dof_arrow.publish.column_words import meaning, target_words, type_words
from dof_arrow.publish.responsible import RISK
from dof_arrow.publish.spdx import hub_license, license_url
from dof_arrow.publish.split_files import SplitRows, split_rows

_TAGS = ("dof", "features", "embeddings", "transfer-learning")
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)
_MOST_CLASSES = 30  # that are named


def text(
    ds: Dataset, splits: Sequence[SplitRows] | None = None, address: str = "hf://OWNER/NAME"
) -> str:
    """The README of a dataset: how to load it, what it holds, where it comes from, what it risks.

    `splits` are the files that it tells of, by default those that `push` would make; `address` is
    where the dataset will be.

    >>> import numpy, tempfile
    >>> from pathlib import Path
    >>> from dof_arrow.dataset import dataset
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.dof.parquet"), {"info": {"title": "One row"}}) as w:
    ...         w.write(ids=["a"], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...     found = text(dataset.open(Path(folder, "x.dof.parquet")))
    >>> [line for line in found.splitlines() if line.startswith(("# ", "audit"))]
    ['# One row']
    >>> "not audited" in found
    True
    """
    files = split_rows(ds) if splits is None else splits
    lines = ["---", *_head(ds, files), "---", ""]
    for section in (
        _opening(ds),
        _loading(files, address),
        _rows(files),
        _columns(ds),
        _cores(ds.metadata),
        _people(ds.metadata),
        _owner(ds.metadata),
    ):
        lines += [*section, ""]
    return "\n".join(lines).rstrip() + "\n"


def _head(ds: Dataset, files: Sequence[SplitRows]) -> Iterator[str]:
    """The YAML at the head, a line each."""
    info = ds.metadata.info
    if info.title:
        yield f"pretty_name: {_yaml(info.title)}"
    if info.license:
        called = hub_license(info.license)
        yield f"license: {_yaml(called or 'other')}"
        if called is None:
            yield f"license_name: {_yaml(info.license)}"
    yield f"tags: {_yaml(list(_TAGS))}"
    yield f"size_categories: {_yaml([_size_category(len(ds))])}"
    yield "configs:"
    yield "- config_name: default"
    yield "  data_files:"
    for each in files:
        yield f"  - split: {_yaml(each.hub_name)}"
        yield f"    path: {_yaml(each.file)}"


def _yaml(value: Json) -> str:
    """A value as JSON on one line, whatever YAML does not print escaped."""
    said = json.dumps(value, ensure_ascii=False)
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", said)


def _size_category(rows: int) -> str:
    for below, name in _SIZES:
        if rows < below:
            return name
    return "n>1B"


def _opening(ds: Dataset) -> Iterator[str]:
    info = ds.metadata.info
    yield f"# {_plain(' '.join((info.title or 'Features').split()))}"
    yield ""
    if info.description:
        yield _plain(info.description)
        yield ""
    yield (
        f"{len(ds):,} rows of features: what a frozen model saw in pictures or clips, not these. "
        "The files are plain Parquet in the DoF format; "
        "[`croissant.json`](croissant.json) describes them for catalogues."
    )
    yield ""
    yield f"**Audit:** {_plain(audit_line(ds.metadata))}"


def _loading(files: Sequence[SplitRows], address: str) -> list[str]:
    repository = address.partition("://")[2].removeprefix("datasets/")
    lines = ["## Load", "", "```sh", f"dof pull {address} -o NAME.dof.parquet", "```", ""]
    lines += ["```python"]
    if address.startswith("hf://"):
        lines.append("import datasets")
        lines.append(f'rows = datasets.load_dataset("{repository}", split="{files[0].hub_name}")')
    else:
        lines.append("import polars")
        lines.append(f'rows = polars.read_parquet("{files[0].file}")')
    return [*lines, "```"]


def _rows(files: Sequence[SplitRows]) -> list[str]:
    lines = ["## Splits", "", "| file | split | rows |", "|---|---|---|"]
    for each in files:
        lines.append(f"| `{each.file}` | {_cell(each.name or '-')} | {len(each.rows):,} |")
    return lines


def _columns(ds: Dataset) -> list[str]:
    lines = ["## Columns", "", "| column | what it is | type |", "|---|---|---|"]
    for name, column in ds.metadata.columns.items():
        target = ds.metadata.targets.get(name)
        role = (
            meaning(column, None, ds.metadata) if target is None else f"target: {_target(target)}"
        )
        shape = f" {list(column.shape)}" if column.shape else ""
        kind = f"{type_words(column.dtype)}{shape}"
        lines.append(f"| {_cell(name)} | {_cell(role)} | {_cell(kind)} |")
    return lines


def _target(target: Target) -> str:
    if not target.classes:
        return target_words(target)
    named = ", ".join(target.classes[:_MOST_CLASSES])
    more = len(target.classes) - _MOST_CLASSES
    return f"{target.kind} of {named}" + (f" and {more} more" if more > 0 else "")


def _cores(about: Metadata) -> list[str]:
    if not about.cores and not about.claimed_cores:
        return ["## Core", "", "The file does not say which model made the features."]
    lines = ["## Core"]
    if about.cores:
        lines += ["", "The same model gives the same features to new pictures.", ""]
        lines += ["| core | SHA-256 | licence | made of |", "|---|---|---|---|"]
        lines += [_core_row(core) for core in about.cores.values()]
    if about.claimed_cores:
        lines += [
            "",
            "Claimed and not verified: by a name alone nobody can know a model again.",
            "",
        ]
        lines += ["| core | licence | said to be from |", "|---|---|---|"]
        lines += [_claim_row(claimed) for claimed in about.claimed_cores.values()]
    return lines


def _claim_row(claimed: ClaimedCore) -> str:
    source = _cell(claimed.source or "not said")
    return f"| {_cell(claimed.name)} | {_cell(claimed.license or '-')} | {source} |"


def _core_row(core: CoreMetadata) -> str:
    made_of = _cell(core.source or "not said")
    return f"| {_cell(core.name)} | `{core.sha256}` | {_cell(core.license or '-')} | {made_of} |"


def _people(about: Metadata) -> list[str]:
    lines = ["## People", "", RISK]
    privacy = about.privacy
    if privacy is None:
        lines.append("The file does not say whether its ids are names or pseudonyms.")
    elif privacy.ids == "name":
        lines.append("Ids are the inputs' own names.")
    else:
        lines.append("Ids are keyed pseudonyms; only whoever has the key can read them back.")
    for measure in privacy.measures if privacy else ():
        lines.append(f"Measure: {_plain(measure_text(measure))}.")
    return lines


def _owner(about: Metadata) -> list[str]:
    info = about.info
    lines = ["## Licence, contact, source", ""]
    licence = f"{info.license} ({license_url(info.license)})" if info.license else "not stated"
    lines.append(f"- Licence: {_plain(licence)}")
    for contact in info.contacts:
        lines.append(f"- Contact: {_plain(_contact(contact))}")
    told = {
        "Source": info.source,
        "Licence of the source": info.source_license,
        "Homepage": info.homepage,
        "Cite as": info.citation,
        "Notes": info.notes,
    }
    lines += [f"- {name}: {_plain(value)}" for name, value in told.items() if value]
    return lines


def _contact(contact: Contact) -> str:
    facts = (contact.name, contact.role, contact.organization, contact.email, contact.orcid)
    return ", ".join(fact for fact in facts if fact)


def _cell(value: str) -> str:
    """A text within a cell of a table."""
    return _plain(" ".join(value.split())).replace("|", "\\|")


def _plain(value: str) -> str:
    """A text of the owner's: Markdown as he wrote it, but nothing that opens HTML or is unseen."""
    lines = value.splitlines() or [""]
    safe = [UNSAFE.sub("\N{REPLACEMENT CHARACTER}", line) for line in lines]
    return "\n".join(safe).replace("<", "&lt;")
