"""Predict for files and folders of pictures or clips."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import runtime
from dof_arrow.errors import DofError, SourceError, UsageError
from dof_arrow.inference.head_cores import whole
from dof_arrow.inference.in_order import in_order
from dof_arrow.inference.predict import Predictor
from dof_arrow.inference.prediction import Prediction
from dof_arrow.media.frames import Sampling, Watched
from dof_arrow.sources import clip as clip_source
from dof_arrow.sources import table
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Sample
from dof_arrow.system import processors

T = TypeVar("T")
Array = NDArray[Any]

AT_ONCE = 8  # pictures that a batched model is given at a time

# The predictions of the heads by their outputs, or the reason why there are none.
Answer = dict[str, Prediction] | DofError
# A picture or clip with its name, or the reason why it cannot be read.
_Named = tuple[str, Sample | DofError]


def predict(
    model: str | Path | bytes | Predictor,
    inputs: str | Path | Iterable[str | Path],
    *,
    sampling: Sampling | None = None,
    key: str | None = None,
    provider: str = runtime.CPU,
) -> Iterator[tuple[str, Answer]]:
    """Give each input's name, and its predictions by head or the error why there are none.

    `model` is a fused model, or the file of a head, whose core is found by its digest in the cache
    or beside it, or a `Predictor`, which also predicts for decoded pixels. `inputs` is one path or
    several; what they may be, `sampling` and `key` are those of `predict_files`. Pictures are read
    as answers are asked for: `dict(dof.predict(…))` has them all.

    Raises CoreError or FormatError for a model that cannot predict, UsageError for inputs that are
    no paths.
    """
    if isinstance(model, bytes):
        model = Predictor(model, provider=provider)
    elif not isinstance(model, Predictor):
        model = Predictor(whole(Path(model)), where=str(model), provider=provider)
    if isinstance(inputs, (str, Path)):
        inputs = [inputs]
    return predict_files(model, inputs, sampling, key=key)


def predict_files(
    predictor: Predictor,
    inputs: Iterable[str | Path],
    sampling: Sampling | None = None,
    *,
    key: str | None = None,
) -> Iterator[tuple[str, Answer]]:
    """Give each input's name, and its predictions or the reason why there are none.

    An input is a picture; a folder, which stands for all its pictures, sorted; or a CSV file that
    lists such inputs, relative to its own folder, in the column `key` (by default the first).
    For a model of clips it is a clip, a folder of clips, or a folder whose pictures are the frames
    of one; `sampling` says which frames are read, by default those that the head was trained on.
    As answers are asked for, a thread of each processor reads pictures and runs them, one at a time
    or `AT_ONCE` for a `batched` model; clips are read one after the other. Memory does not grow
    with their number.
    """
    named = _all(inputs, predictor.clips, key)
    frames = sampling or predictor.sampling
    size = AT_ONCE if predictor.batched else 1

    def answered(batch: Sequence[_Named]) -> list[tuple[str, Answer]]:
        read = [_tried(_read, predictor, sample) for _, sample in batch]
        names = [name for name, _ in batch]
        return list(zip(names, _answers(predictor, read, frames), strict=True))

    workers = 1 if predictor.clips else processors()
    for answers in in_order(answered, _batches(named, size), workers):
        yield from answers


def _batches(named: Iterator[_Named], size: int) -> Iterator[list[_Named]]:
    while batch := list(islice(named, size)):
        yield batch


def _all(inputs: Iterable[str | Path], clips: bool, key: str | None) -> Iterator[_Named]:
    """Everything that the inputs stand for."""
    for each in inputs:
        path = _path(each)
        if path.suffix.lower() == ".csv":
            yield from _in_list(path, clips, key)
        else:
            yield from _in_path(path, clips)


def _path(given: Any) -> Path:
    if isinstance(given, (str, os.PathLike)):
        return Path(given)
    raise UsageError(
        "not the path of an input",
        expected="a picture, a clip, a folder or a CSV list",
        found=type(given).__name__,
        hint="For decoded pixels: dof_arrow.inference.predict.Predictor(MODEL)(PIXELS)",
    )


def _in_list(path: Path, clips: bool, key: str | None) -> Iterator[_Named]:
    """What the inputs in a CSV file stand for."""
    listed = _tried(_listed, path, key)
    if isinstance(listed, DofError):
        yield str(path), listed
        return
    for each in listed:
        yield from _in_path(each, clips)


def _listed(path: Path, key: str | None) -> list[Path]:
    """The paths in a column of a CSV file; SourceError if its first line is no header."""
    columns = table.read(path, [key] if key else []).cells
    for name, cells in columns.items():
        # A first line that names an existing file is an input, not a header.
        if not (path.parent / name).is_file():
            return [path.parent / cell for cell in cells.drop_null().to_pylist()]
    raise SourceError(
        "the list has no header",
        str(path),
        "a first line with the columns' names",
        hint="Write for example `file` above the first name.",
    )


def _in_path(path: Path, clips: bool) -> Iterator[_Named]:
    """A file, or what is in a folder."""
    if not path.is_dir():
        yield str(path), Sample(key=str(path), data=path)
        return
    files = _tried(_open_folder, path, clips)
    if isinstance(files, DofError):
        yield str(path), files
        return
    for place in range(len(files)):
        sample = files[place]
        yield str(path / sample.key), sample


def _open_folder(path: Path, clips: bool) -> Any:
    return open_source(path, clips=clips)


def _read(predictor: Predictor, sample: Sample | DofError) -> Array | Sample:
    """The pixels of a picture that the model takes; a clip stays as it is and is read in parts."""
    if isinstance(sample, DofError):
        raise sample
    if predictor.clips:
        return sample
    pixels = predictor.decode(sample.load_picture())
    predictor.check(pixels)
    return pixels


def _answers(
    predictor: Predictor, read: Sequence[Array | Sample | DofError], sampling: Sampling
) -> Iterator[Answer]:
    """An answer for each, in order; all pictures are run together."""
    pixels = [each for each in read if isinstance(each, np.ndarray)]
    found = _tried(predictor.many, pixels)
    of_pictures: Iterator[Answer]
    of_pictures = repeat(found) if isinstance(found, DofError) else iter(found)
    for each in read:
        if isinstance(each, Sample):
            yield _tried(_of_clip, predictor, each, sampling)
        elif isinstance(each, DofError):
            yield each
        else:
            yield next(of_pictures)


def _tried(function: Callable[..., T], *arguments: Any) -> T | DofError:
    """What a function gives, or the error that it raises: one bad input must not stop the rest."""
    try:
        return function(*arguments)
    except DofError as error:
        return error


def _of_clip(predictor: Predictor, sample: Sample, sampling: Sampling) -> dict[str, Prediction]:
    wanted = predictor.cores[0].preprocessing
    clip = clip_source.open_clip(sample, sampling, mode=wanted.mode, orientation=wanted.orientation)
    return predictor.watch(frame.pixels for frame in Watched(clip, sampling))
