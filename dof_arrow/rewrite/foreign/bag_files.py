"""Datasets made of bags that other programs wrote: HDF5, files of torch, archives of arrays.

Bags stand in the order of what they are called in the dataset, and so do the inputs that failed.
What made the vectors is a claim: nothing here can verify it.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, SourceError
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.writer import Writer
from dof_arrow.progress import listening
from dof_arrow.rewrite.foreign.bag import REASONS, BagForm, ForeignBag
from dof_arrow.rewrite.foreign.bag_blocks import NotAlike, blocks
from dof_arrow.rewrite.foreign.bag_columns import BagColumns
from dof_arrow.rewrite.foreign.found import Found, found
from dof_arrow.rewrite.foreign.survey import Survey, sample, survey
from dof_arrow.security.keys import load_or_make_key
from dof_arrow.security.pseudonyms import fingerprint, pseudonyms
from dof_arrow.storage.atomic import refuse_existing

PathLike = str | os.PathLike[str]


def convert(
    source: PathLike,
    out: PathLike,
    *,
    id_key: PathLike | bytes | None = None,
    ids: Literal["pseudonym", "name"] = "pseudonym",
    core: str | None = None,
    layout: Literal["mapped", "compact"] = "mapped",
    overwrite: bool = False,
) -> Dataset:
    """Write the bags in a file, or in all files of a folder, as one DoF file; returns it, opened.

    - `source`: HDF5 of TRIDENT, CLAM or STAMP, `.pt` files of torch, a file for each bag, or tar
      archives of .npy members (WebDataset).
    - `id_key`: the key that makes pseudonyms of the bags' names, or the file that holds it; `ids`:
      `name` leaves the names as they are.
    - `core`: what made the vectors, by default what the inputs say; a claim either way.

    Inputs that cannot be taken are listed as failed, with the reason. What was left out and what
    failed is told as DofWarning. Raises SourceError if no input is left, UsageError for inputs of
    several kinds or of one name, OutputError if the file cannot be written.
    """
    refuse_existing(Path(out), overwrite)
    there = found(Path(source))
    key = None if ids == "name" else _key(id_key)
    names = [bag.name for bag in there.bags]
    called = names if key is None else pseudonyms(key, "id", names)
    order = sorted(range(len(called)), key=lambda place: called[place].encode())
    called = [called[place] for place in order]
    bags = [there.bags[place] for place in order]
    options: dict[str, Any] = {"core": core, "key": key, "layout": layout, "overwrite": overwrite}
    known = sample(bags)
    try:
        if known is None:
            raise NotAlike
        written = _write(known, bags, called, Path(out), **options)
    except NotAlike:
        with listening().progress("looking at inputs") as update:
            known = survey(bags, lambda done: update(done, len(bags), 0))
        written = _write(known, bags, called, Path(out), **options)
    for remark in _remarks(written, there):
        warnings.warn(f"{source}: {remark}", DofWarning, stacklevel=2)
    return dataset.open(out)


def _write(
    known: Survey,
    bags: Sequence[ForeignBag],
    called: Sequence[str],
    out: Path,
    *,
    core: str | None,
    key: bytes | None,
    **options: Any,
) -> Survey:
    """Write all bags as a file; returns what those that were taken are like, and why others failed.

    Raises NotAlike where only some were looked at before, and another one differs.
    """
    if not known.forms:
        raise _none_left(out, known.refused)
    columns = BagColumns(known)
    about = {
        **columns.metadata(core),
        "privacy": {"ids": "name"} if key is None else _private(key),
        "provenance": {"inputs": len(bags), "raw": {}},
    }
    refused = dict(known.refused)
    # Each bag is looked at before it is written.
    writer = Writer(out, about, schema=columns.schema, allow_nonfinite=True, **options)
    with writer:
        taken = _write_bags(writer, columns, bags, called, refused)
        if not taken:
            raise _none_left(out, refused)
        for place in sorted(refused):
            writer.fail(called[place], refused[place], REASONS[refused[place]])
    return Survey(forms=taken, refused=refused)


def _key(given: PathLike | bytes | None) -> bytes:
    if isinstance(given, bytes):
        return given
    return load_or_make_key(None if given is None else Path(given))[0]


def _private(key: bytes) -> dict[str, Json]:
    return {"ids": "pseudonym", "key": fingerprint(key)}


def _write_bags(
    writer: Writer,
    columns: BagColumns,
    bags: Sequence[ForeignBag],
    called: Sequence[str],
    refused: dict[int, str],
) -> dict[int, BagForm]:
    """Write all bags, many at a time; returns what they are like.

    Those that turn out to be unfit are noted in `refused`.
    """
    taken: dict[int, BagForm] = {}
    with listening().progress("writing bags") as update:
        for block in blocks(columns.known, bags, columns.at_once):
            refused.update(block.refused)
            for bag in block.bags:
                taken[bag.number] = bag.form
            if block.bags:
                writer.write(**columns.rows(block, called))
            update(block.looked_at, len(bags), len(refused))
    return taken


def _none_left(out: Path, refused: Mapping[int, str]) -> SourceError:
    return SourceError(
        "no input gives a vector",
        f"{out} is not written",
        "inputs that can be taken",
        "; ".join(_counted(refused)),
    )


def _counted(refused: Mapping[int, str]) -> list[str]:
    counts = Counter(refused.values())
    return [f"{REASONS[rule]} ({count:,})" for rule, count in sorted(counts.items())]


def _remarks(known: Survey, there: Found) -> Iterator[str]:
    """Sentences on what failed, was left out or is not known."""
    refused, left_out = known.refused, there.left_out
    if refused:
        yield f"{len(refused):,} inputs failed and are listed: {'; '.join(_counted(refused))}"
    if left_out:
        told = [f"{count:,} {ending}" for ending, count in sorted(left_out.items())]
        yield f"files of other kinds were left out: {', '.join(told)}"
    if there.of_shared_samples:
        yield (
            f"{there.of_shared_samples:,} members have names that differ behind the first dot "
            "alone, as of one sample: each is an input of the same column"
        )
    without = sum(form.unit is None for form in known.forms.values())
    if without and not known.first.alone:
        yield f"{without:,} inputs have no coordinates of a known unit: theirs are left open"
    narrowed = sum(form.narrowed for form in known.forms.values())
    if narrowed:
        yield f"{narrowed:,} inputs have float64: they are stored as {known.dtype}"
    if known.core is None:
        yield "no input says which core made its vectors"
