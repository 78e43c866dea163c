"""`dof info`: what a dataset holds and how it came to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.progress import size

if TYPE_CHECKING:
    from dof_arrow.dataset.dataset import Dataset
    from dof_arrow.format.spec.metadata import CoreMetadata, Target


@click.command()
@click.argument("file", type=DATASET)
@spoken
def info(terminal: Terminal, file: Path) -> int:
    """Say what FILE holds and how it came to be."""
    from dof_arrow.dataset import dataset, display

    ds = dataset.open(file)
    terminal.result(display.described(ds), *_lines(ds))
    terminal.say(f"Next: dof validate --deep {file}")
    return DONE


def _lines(ds: Dataset) -> list[str]:
    columns = [("column", "role", "type", "layout")]
    for name, column in ds.metadata.columns.items():
        kind = f"{_type(column.dtype)}{list(column.shape) or ''}"
        columns.append((name, column.role, kind, column.layout))
    return [str(ds.path), "", *table(list(_facts(ds))), "", *table(columns)]


def _type(dtype: str) -> str:
    return "names" if dtype.startswith("dictionary<values=string,") else dtype


def _facts(ds: Dataset) -> Iterator[tuple[str, str]]:
    about = ds.metadata
    yield "rows", f"{len(ds):,}"
    if about.parts:
        largest = max(part.rows for part in about.parts)
        yield "parts", f"{len(about.parts):,} files, of up to {largest:,} rows"
    yield "size", size(ds.size)
    yield "uuid", about.uuid
    yield "title", about.info.title or "none; set one with dof edit"
    yield "licence", about.info.license or "not stated"
    for name, core in about.cores.items():
        yield f"core of {name}", _core(core)
    for name, claimed in about.claimed_cores.items():
        yield f"claimed core of {name}", f"{claimed.name}: not verified"
    if about.record.bag is not None:
        yield "bags", f"{len(ds.bags()):,}, by the column {about.record.bag}"
    for name, target in about.targets.items():
        yield f"target {name}", " ".join([target.kind, *_of_target(target)])
    for name, split in about.splits.items():
        yield f"split {name}", f"{split.rows:,} rows, {split.records:,} records"
    if about.errors:
        yield "failed inputs", f"{about.errors.rows:,}"
    for audit in about.privacy.audits if about.privacy else ():
        yield "audit", _audit(audit)


def _of_target(target: Target) -> Iterator[str]:
    if target.classes:
        yield ", ".join(target.classes)
    if target.unit:
        yield f"in {target.unit}"


def _audit(audit: Mapping[str, Any]) -> str:
    """What a stored audit found, as far as it says so in the way of `dof audit`."""
    told = audit.get("findings")
    found = set()
    for finding in told if isinstance(told, list) else ():
        if isinstance(finding, Mapping) and finding.get("found"):
            found.add(str(finding.get("of")))
    named = ", ".join(sorted(found)) or "nothing by these attackers"
    return f"of {audit.get('rows')} rows; found: {named}"


def _core(core: CoreMetadata) -> str:
    return (
        f"{core.name}, licence {core.license or 'not stated'}, "
        f"sha256 {core.sha256[:16]}…, cut at {core.cut or 'its output'}"
    )
