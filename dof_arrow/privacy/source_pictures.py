"""The pictures behind the rows of a dataset: small and grey, and changed a little."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
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
from dof_arrow.extraction.reproduce import known_rows, sampling_of, secret_of
from dof_arrow.format.spec.metadata import CoreMetadata
from dof_arrow.privacy.clip_pictures import Shown, shown
from dof_arrow.progress import listening
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Source

Array = NDArray[Any]
PathLike = str | os.PathLike[str]
Seen = tuple[int, Array, Array | None]  # a row's place, thumbnail, and features again

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
    start: str | None = None,
    end: str | None = None,
    id_key: bytes | PathLike | None = None,
    site: str | None = None,
) -> Pictures:
    """Read the pictures of rows from what they were extracted from; those not there are left out.

    The picture of a clip's row is its frame; that of a row of several frames the one in the middle.
    `name` is the feature column, whose core is looked for by its digest. Raises UsageError where
    the source has none of the rows, or the key of the pseudonyms is not there; SourceError where it
    cannot be read.
    """
    named = Path(table) if table else None
    sampling = sampling_of(rows.metadata)
    opened = open_source(
        Path(source), table=named, key=key, start=start, end=end, clips=sampling is not None
    )
    known = known_rows(rows, opened, secret_of(rows.metadata, id_key), site)
    about = _made_by(rows, name)
    core = _core(rows, about)
    if sampling is None:
        seen = _of_pictures(known, opened, core)
    else:
        seen = _of_clips(shown(known, opened, sampling, about), core)
    thumbnails: dict[int, Array] = {}
    again: dict[int, Array] = {}
    with listening().progress("reading pictures") as update:
        for place, small, features in seen:
            thumbnails[place] = small
            if features is not None:
                again[place] = features
            update(len(thumbnails), len(known), 0)
        update(len(known), len(known), len(known) - len(thumbnails))
    places = sorted(thumbnails)
    found = np.array([thumbnails[place] for place in places], np.float32)
    features_again = np.array([again[place] for place in sorted(again)], np.float32)
    return Pictures(
        found.reshape(-1, SIDE, SIDE),
        np.array(places, np.int64),
        features_again if again else None,
    )


def _of_pictures(rows: Sequence[Row], source: Source, core: Core | None) -> Iterator[Seen]:
    """Each row's place, its thumbnail, and for the first of them its features again."""
    for place, row in enumerate(rows):
        try:
            yield place, *_seen(row, source, core if place < MOST_AGAIN else None)
        except DofError:
            continue  # a picture that is gone, or cannot be read any more


def _of_clips(all_shown: Iterable[Shown], core: Core | None) -> Iterator[Seen]:
    """The same of rows of clips."""
    for places, frames in all_shown:
        small = thumbnail(_grey(frames[len(frames) // 2]))
        features = None
        if core is not None and min(places) < MOST_AGAIN:
            pixels = [changed(frame) for frame in frames]
            whole = pixels[0] if core.time_axis is None else np.stack(pixels)
            features = core([whole]).reshape(-1)
        for place in places:
            yield place, small, features if place < MOST_AGAIN else None


def _made_by(rows: Dataset, name: str) -> CoreMetadata | None:
    """What is said of the core of a feature column."""
    column = rows.metadata.columns.get(name)
    return rows.metadata.cores.get(column.core or "") if column else None


def _core(rows: Dataset, about: CoreMetadata | None) -> Core | None:
    """The core, if it is known and found."""
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


def _grey(pixels: Array) -> Array:
    """Pixels uint8 [h, w, c] in grey, uint8 [h, w, 1]."""
    from PIL import Image

    if pixels.shape[2] == 1:
        return pixels
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


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
