"""The pictures behind the rows of a dataset: small and grey, and changed a little."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.core import Core
from dof_arrow.cores.find_cores import find_cores
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import CoreError, DofError
from dof_arrow.extraction.recompute import Row
from dof_arrow.extraction.reproduce import known_rows, secret_of
from dof_arrow.progress import listening
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Source

Array = NDArray[Any]
PathLike = str | os.PathLike[str]

SIDE = 32
QUALITY = 75  # of the JPEG that a picture is saved as again
MOST_AGAIN = 400  # rows whose pictures go through the core again


@dataclass(frozen=True, slots=True)
class Pictures:
    """Grey thumbnails float32 [k, 32, 32] of 0 to 1 of the rows at `places` int64 [k].

    `again` float32 [a, D] are features of the first `a` of them, from pictures of half the size
    saved again as JPEG; None where the core is not found.
    """

    thumbnails: Array
    places: Array
    again: Array | None


def pictures_of(
    rows: Dataset,
    source: PathLike,
    name: str,
    *,
    table: PathLike | None = None,
    key: str | None = None,
    id_key: bytes | PathLike | None = None,
    site: str | None = None,
) -> Pictures:
    """Read the pictures of rows from what they were extracted from; those not there are left out.

    `name` is the feature column, whose core is looked for by its digest. Raises UsageError where
    the source has none of the rows, or the key of the pseudonyms is not there; SourceError where it
    cannot be read.
    """
    named = Path(table) if table else None
    opened = open_source(Path(source), table=named, key=key)
    known = known_rows(rows, opened, secret_of(rows.metadata, id_key), site)
    core = _core(rows, name)
    thumbnails: list[Array] = []
    again: list[Array] = []
    places: list[int] = []
    with listening().progress("reading pictures") as update:
        for place, row in enumerate(known):
            update(place, len(known), place - len(places))
            try:
                small, features = _seen(row, opened, core if place < MOST_AGAIN else None)
            except DofError:
                continue  # a picture that is gone, or cannot be read any more
            thumbnails.append(small)
            places.append(place)
            if features is not None:
                again.append(features)
        update(len(known), len(known), len(known) - len(places))
    found = np.array(thumbnails, np.float32).reshape(-1, SIDE, SIDE)
    features_again = np.array(again, np.float32) if again else None
    return Pictures(found, np.array(places, np.int64), features_again)


def _core(rows: Dataset, name: str) -> Core | None:
    """The core of a feature column, if it is known and found."""
    column = rows.metadata.columns.get(name)
    about = rows.metadata.cores.get(column.core or "") if column else None
    if about is None:
        return None
    # Beside a dataset on a store nothing is looked for.
    beside = [rows.path.parent] if isinstance(rows.path, Path) else []
    try:
        return find_cores({about.sha256: about}, beside, str(rows.path))[0]
    except CoreError as error:
        listening().say(f"Note: {error}")
        return None


def _seen(row: Row, source: Source, core: Core | None) -> tuple[Array, Array | None]:
    """A row's thumbnail, and its features from the changed picture."""
    if row.input is None:
        raise CoreError("no such input")
    sample = source[row.input]
    grey, _ = sample.picture(mode="L")
    small = thumbnail(grey)
    if core is None:
        return small, None
    wanted = core.preprocessing
    pixels, _ = sample.picture(mode=wanted.mode, orientation=wanted.orientation)
    features = core([changed(pixels)])
    return small, features.reshape(-1)


def thumbnail(grey: Array) -> Array:
    """A grey picture uint8 [h, w, 1] as float32 [32, 32] of 0 to 1; each pixel is a mean.

    >>> thumbnail(np.full((64, 50, 1), 255, np.uint8)).mean()
    np.float32(1.0)
    """
    from PIL import Image

    picture = Image.fromarray(grey[:, :, 0])
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


def changed(pixels: Array) -> Array:
    """Pixels uint8 [h, w, c] at half their size, saved again as JPEG: uint8 [h / 2, w / 2, c]."""
    from PIL import Image

    height, width, channels = pixels.shape
    picture = Image.fromarray(pixels if channels > 1 else pixels[:, :, 0])
    half = picture.resize((max(width // 2, 1), max(height // 2, 1)), Image.Resampling.BILINEAR)
    stored = io.BytesIO()
    half.save(stored, "JPEG", quality=QUALITY)
    with Image.open(stored) as read:
        found = np.array(read)
    return found.reshape(found.shape[0], found.shape[1], channels)
