"""Predicting on files and folders, whatever each of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import DofError, SourceError
from dof_arrow.inference.predict import Prediction, Predictor
from dof_arrow.media.frames import Sampling, Watched
from dof_arrow.sources import clip as motion
from dof_arrow.sources import table
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Sample

T = TypeVar("T")

Array = NDArray[Any]


AT_ONCE = 8  # pictures that a model which takes several is given at a time


Answer = (
    dict[str, Prediction] | DofError
)  # what the heads say, by their outputs, or why they say nothing


def predict_files(
    predictor: Predictor,
    inputs: Iterable[str | Path],
    sampling: Sampling | None = None,
    *,
    key: str | None = None,
) -> Iterator[tuple[str, Answer]]:
    """Each input's name and its predictions, or why there are none.

    An input is a picture; a folder, of which all pictures are meant, sorted; or a CSV file that lists such inputs,
    relative to its own folder, in the column `key`, by default the first.
    For a model of clips it is a clip, a folder of clips, or a folder whose pictures are the frames of one; `sampling`
    says which frames are taken, by default those that the head was trained on.
    One picture at a time, of a `batched` model `AT_ONCE`, as asked for: memory does not grow with their number.
    """
    found = (each for path in map(Path, inputs) for each in _found(path, predictor.clips, key))
    while some := list(islice(found, AT_ONCE if predictor.batched else 1)):
        seen = [_tried(_seen, predictor, each) for _, each in some]
        yield from zip((name for name, _ in some), _answers(predictor, seen, sampling), strict=True)


def _found(path: Path, clips: bool, key: str | None) -> Iterator[tuple[str, Sample | DofError]]:
    """What an input stands for, each with its name."""
    if path.suffix.lower() != ".csv":
        yield from _meant(path, clips)
        return
    listed = _tried(_listed, path, key)
    if isinstance(listed, DofError):
        yield str(path), listed
    else:
        yield from (each for other in listed for each in _meant(other, clips))


def _listed(path: Path, key: str | None) -> list[Path]:
    """The inputs that a CSV file lists."""
    for name, cells in table.read(path, [key] if key else []).items():
        if not (path.parent / name).is_file():
            return [path.parent / cell for cell in cells.drop_null().to_pylist()]
    raise SourceError(
        "the list has no header",
        str(path),
        "a first line with the columns' names",
        hint="Write for example `file` above the first name.",
    )


def _meant(path: Path, clips: bool) -> Iterator[tuple[str, Sample | DofError]]:
    if not path.is_dir():
        yield str(path), Sample(key=str(path), data=path)
        return
    files = _tried(partial(open_source, clips=clips), path)
    if isinstance(files, DofError):
        yield str(path), files
    else:
        yield from ((str(path / files[i].key), files[i]) for i in range(len(files)))


def _seen(predictor: Predictor, sample: Sample | DofError) -> Array | Sample:
    """A picture's pixels, which the model takes; a clip is looked at later, part by part."""
    if isinstance(sample, DofError):
        raise sample
    if predictor.clips:
        return sample
    pixels = predictor.decode(sample.load())
    predictor.check(pixels)
    return pixels


def _answers(
    predictor: Predictor, seen: Sequence[Array | Sample | DofError], sampling: Sampling | None
) -> Iterator[Answer]:
    """An answer for each, in order: all pictures are run together."""
    pixels = [each for each in seen if isinstance(each, np.ndarray)]
    said = _tried(predictor.many, pixels)
    told: Iterator[Answer] = iter([said] * len(pixels) if isinstance(said, DofError) else said)
    for each in seen:
        if isinstance(each, Sample):
            yield _tried(_of_clip, predictor, each, sampling or predictor.sampling)
        else:
            yield each if isinstance(each, DofError) else next(told)


def _tried(do: Callable[..., T], *given: Any) -> T | DofError:
    try:
        return do(*given)
    except DofError as error:
        return error


def _of_clip(predictor: Predictor, sample: Sample, sampling: Sampling) -> dict[str, Prediction]:
    wanted = predictor.cores[0].preprocessing
    clip = motion.open_clip(sample, sampling, mode=wanted.mode, orientation=wanted.orientation)
    return predictor.watch(frame.pixels for frame in Watched(clip, sampling))
