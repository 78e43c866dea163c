"""Descriptions of a dataset as files: for catalogues, and the README of a repository."""

from __future__ import annotations

import json
from pathlib import Path

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.spec.json_model import Json
from dof_arrow.publish import croissant, hub_readme
from dof_arrow.storage.atomic import refuse_existing, replacing


def as_text(described: dict[str, Json]) -> str:
    """A Croissant description as the text of its file."""
    return json.dumps(described, ensure_ascii=False, indent=1) + "\n"


def write(
    ds: Dataset,
    *,
    croissant_out: Path | None = None,
    readme_out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write a dataset's Croissant description and its README, each where it is asked for.

    The README tells of the files that `push` would make. Nothing is written if one of the files
    exists and `overwrite` is not given. Raises OutputError for that, and where a file cannot be
    written; UsageError as `croissant.described` does.
    """
    texts: dict[Path, str] = {}
    if croissant_out is not None:
        texts[croissant_out] = as_text(croissant.described(ds))
    if readme_out is not None:
        texts[readme_out] = hub_readme.text(ds)
    for path in texts:
        refuse_existing(path, overwrite)
    for path, text in texts.items():
        with replacing(path, overwrite=overwrite) as file:
            file.write(text.encode())
