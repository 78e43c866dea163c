"""The card of a dataset: one page that says what it is, opens from the disk, and loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from dof_arrow._version import __version__
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.heads.head import Head
from dof_arrow.publish.card_about import About, Pipeline, about, pipelines
from dof_arrow.publish.card_balance import Balance, balance
from dof_arrow.publish.card_code import Snippet, snippets
from dof_arrow.publish.card_map import Map, drawn_map, neighbours
from dof_arrow.publish.card_model import TryModel, read_model, read_runtime, try_model
from dof_arrow.publish.card_page import page
from dof_arrow.publish.card_privacy import Privacy, privacy
from dof_arrow.publish.card_quality import Quality, quality
from dof_arrow.publish.card_rows import drawn_rows
from dof_arrow.publish.card_scores import Scores, read_heads, scores
from dof_arrow.storage.atomic import refuse_existing, replacing

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that a card tells, as plain values: the page is made of it, and so is other text.

    Arrays are packed texts (`card_packing`). `model` is there if the page runs one.
    """

    about: About
    pipelines: tuple[Pipeline, ...]
    balance: Balance
    map: Map
    quality: Quality
    privacy: Privacy
    scores: Scores
    code: tuple[Snippet, ...]
    model: TryModel | None
    generator: str


def card(
    data: Dataset | PathLike,
    out: PathLike,
    *,
    feature: str | None = None,
    heads: Sequence[PathLike] = (),
    model: PathLike | None = None,
    onnxruntime_web: PathLike | None = None,
    sheets: PathLike | None = None,
    names: bool = False,
    overwrite: bool = False,
) -> Card:
    """Write the card of a dataset: one HTML page that opens from the disk and loads nothing.

    - `feature` is the column that is drawn and measured, by default the primary one;
    - `heads` are head files whose scores are told; a fused `model` runs on the page, on the
      reader's own picture, by `onnxruntime_web`: npm's package, as a file or a folder;
    - `sheets` is a picture of `dof audit --sheets` that goes onto the page: it shows the source;
    - `names` calls rows by their whole ids; otherwise pseudonyms are shortened, names left out.

    Of more than 100,000 rows a sample is drawn. Equal inputs, and equal versions of the libraries,
    give equal bytes. Raises UsageError for an unknown column, for heads and models of another core,
    and for a dataset without rows; OutputError if the page cannot be written.
    """
    refuse_existing(Path(out), overwrite)
    opened = data if isinstance(data, Dataset) else dataset.open(data)
    told = read_heads([Path(path) for path in heads], opened.metadata)
    running = script = None
    if model is not None:
        runtime = read_runtime(Path(onnxruntime_web) if onnxruntime_web else None)
        stored, fused = read_model(Path(model), opened.metadata)
        running = try_model(Path(model).name, stored, fused, runtime)
        script = runtime.script
        # A fused head describes itself in fewer words: its report tells whether it is the same.
        reports = [head.report for head in told.values()]
        inside = {name: head for name, head in fused.heads.items() if head.report not in reports}
        told = {**inside, **told}
    made = gathered(opened, feature, heads=told, names=names, model=running, sheet=sheets)
    with replacing(out, overwrite=overwrite) as file:
        file.write(page(made.about.title, made, script))
    return made


def gathered(
    data: Dataset,
    feature: str | None = None,
    *,
    heads: Mapping[str, Head] = MappingProxyType({}),
    names: bool = False,
    model: TryModel | None = None,
    sheet: PathLike | None = None,
) -> Card:
    """All that the card of a dataset tells; see `card`."""
    column = feature or data.primary
    data.gather(column)  # refuses what is no column of vectors
    drawn = drawn_rows(data, column, names=names)
    found = neighbours(drawn)
    return Card(
        about=about(data, column),
        pipelines=pipelines(data),
        balance=balance(data),
        map=drawn_map(drawn, len(data), found),
        quality=quality(data, drawn, found),
        privacy=privacy(data.metadata, Path(sheet) if sheet else None),
        scores=scores(data.metadata, heads),
        code=snippets(data),
        model=model,
        generator=f"dof_arrow {__version__}",
    )
