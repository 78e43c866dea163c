"""Descriptions of a dataset as files: for catalogues, and the README of a repository."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.spec.json_model import Json
from dof_arrow.publish import croissant, hub_readme
from dof_arrow.storage.atomic import refuse_existing, replacing


def as_text(described: dict[str, Json]) -> str:
    """A Croissant description as the text of its file."""
    return json.dumps(described, ensure_ascii=False, indent=1) + "\n"


def texts(
    ds: Dataset,
    *,
    croissant_out: Path | None = None,
    readme_out: Path | None = None,
    overwrite: bool = False,
) -> dict[Path, str]:
    """A dataset's Croissant description and its README, by the files that each is asked for in.

    The README tells of the files that `push` would make. Raises OutputError where one of the files
    exists and `overwrite` is not given; UsageError as `croissant.described` does.
    """
    for path in (croissant_out, readme_out):
        if path is not None:
            refuse_existing(path, overwrite)
    found: dict[Path, str] = {}
    if croissant_out is not None:
        found[croissant_out] = as_text(croissant.described(ds))
    if readme_out is not None:
        found[readme_out] = hub_readme.text(ds)
    return found


def write(found: Mapping[Path, str], *, overwrite: bool = False) -> None:
    """Write such texts. Raises OutputError where a file cannot be written."""
    for path, text in found.items():
        with replacing(path, overwrite=overwrite) as file:
            file.write(text.encode())
