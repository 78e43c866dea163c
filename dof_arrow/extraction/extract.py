"""Pictures in, a DoF file out: source -> media -> core -> writer, in parallel, interruptible, equal bytes each time.

A run is planned first (`Extraction`): what it reads, computes and lets out is known before anything is written. Then
worker threads compute blocks of inputs, each staged in a file of its own, and the output is written from them in order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph.runtime import CPU
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.extraction.local_engine import Progress
from dof_arrow.extraction.run import Extraction
from dof_arrow.extraction.views import from_text
from dof_arrow.format.directory import is_directory
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import Fit
from dof_arrow.media.augment import Augmentation
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import EVERY, Sampling
from dof_arrow.sampling import splits
from dof_arrow.security.keys import load_or_make_key
from dof_arrow.sources.folder import holds_clips
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Source
from dof_arrow.system import processors

CoreLike = str | os.PathLike[str] | Core


def planned(
    source: str | os.PathLike[str] | Source,
    *,
    core: CoreLike | Sequence[CoreLike],
    out: str | os.PathLike[str],
    preprocess: str | Preprocessing | None = None,
    fit: Fit | None = None,
    at: str | None = None,
    pool: str | None = None,
    id_key: str | Path | bytes | None = None,
    split: str | Mapping[str, float] | None = None,
    table: str | os.PathLike[str] | None = None,
    key: str | None = None,
    label: str | None = None,
    group: str | None = None,
    keep: Sequence[str] = (),
    pictures: str | None = None,
    max_pixels: int | None = None,
    allow: Sequence[str] = (),
    views: int = 1,
    augment: str | Augmentation | None = None,
    clips: Sampling | bool | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    window: int | None = None,
    stride: int | None = None,
    crop: str | None = None,
    on_break: Literal["keep", "fail"] = "fail",
    threads: int = 1,
    provider: str = CPU,
    workers: int | None = None,
    **options: Any,
) -> Extraction:
    """The run that `extract` would do, not yet done: its `schema`, `metadata()`, `splits`, `source` can be looked at.

    `split` is a column of `table`, or fractions as "train=0.8,test=0.2" or a mapping; `id_key` the key for pseudonyms,
    32 bytes, or its file, by default the user's own. Raises what `extract` raises.
    """
    if threads < 1:
        raise UsageError("threads must be at least 1", found=str(threads))
    sampling = _sampling(
        source,
        clips,
        Sampling(
            fps=fps,
            max_frames=max_frames,
            window=window,
            stride=stride,
            crop=crop,
            on_break=on_break,
        ),
    )
    fractions = splits.parse_fractions(split) if isinstance(split, str) and "=" in split else split
    column = fractions if isinstance(fractions, str) else None
    inputs = (
        source
        if not isinstance(source, (str, os.PathLike))
        else open_source(
            Path(source),
            table=Path(table) if table else None,
            key=key,
            label=label,
            group=group,
            split=column,
            keep=keep,
            pictures=pictures,
            clips=sampling is not None,
        )
    )
    making = {
        "preprocess": preprocess,
        "fit": fit,
        "at": at,
        "pool": pool,
        "threads": threads,
        "provider": provider,
    }
    asked = [core] if isinstance(core, (str, os.PathLike, Core)) else list(core)
    cores = _named_cores([_core(c, making) for c in asked])
    secret = (
        id_key if isinstance(id_key, bytes) else load_or_make_key(id_key)[0]
    )  # last: a wrong call makes no key
    return _kind(Path(out))(
        source=inputs,
        cores=cores,
        out=Path(out),
        id_key=secret,
        clips=sampling,
        views=from_text(views, augment),
        workers=_workers(cores.values()) if workers is None else workers,
        fractions=None if isinstance(fractions, str) else fractions,
        reading=ReadingOptions(max_pixels=max_pixels, allow=tuple(allow)),
        **options,
    )


def extract(
    source: str | os.PathLike[str] | Source, *, progress: Progress | None = None, **options: Any
) -> Dataset:
    """Run every picture of a source once through one or several cores and write the features as one DoF file.

    `source`: a folder, a picture, or any `Source`. Options: `core` (a path, `builtin`, a `Core`, or a list: a feature
    column each), `out`, `preprocess`, `fit`, `at`, `pool`, `table`, `key`, `label`, `group`, `split`, `keep`, `ids`
    ("pseudonym" or "name"), `id_key`, `dtype`, `layout`, `batch_size`, `overwrite`, `max_errors`,
    `workers` (each does all of a picture), `threads` (of a core's session, 1), `provider` (see `providers`; a `Core`
    brings its own, and its threads),
    `pictures` (which of several in a container), `max_pixels` and `allow` (see `picture.Reading`), `views` and
    `augment` (rows of each input; what happens to all but the first: an `Augmentation`, or text for `augment.load`).
    `clips` (whether inputs are clips, if that is not plain from their names), `fps`, `max_frames`, `window`, `stride`,
    `crop`, `on_break`: see `footage.Sampling`; a clip's rows have a `frame` and a `time`.
    `progress` is called with inputs done, inputs in all, inputs that failed. Inputs that fail are listed in
    `Dataset.errors`. Killed at any point, the same call goes on where it was and ends in the same bytes.
    Raises UsageError, SourceError, CoreError, OutputError.
    """
    run = planned(source, **options)
    return run.run(progress) if progress else run.run()


def _sampling(source: Any, clips: Sampling | bool | None, asked: Sampling) -> Sampling | None:
    """Which frames are taken, or None where inputs are pictures."""
    if isinstance(clips, Sampling):
        return clips
    if clips is None:
        clips = asked != EVERY or (
            isinstance(source, (str, os.PathLike)) and holds_clips(Path(source))
        )
    return asked if clips else None


def _workers(cores: Iterable[Core]) -> int:
    """As many as there are processors: more threads a core cost more processor time and gain none."""
    return max(processors() // max([1, *(core.threads for core in cores)]), 1)


def _kind(out: Path) -> type[Extraction]:
    if not is_directory(out):
        return Extraction
    from dof_arrow.extraction.append import Enlargement

    return Enlargement


def _core(core: CoreLike, making: Mapping[str, Any]) -> Core:
    from dof_arrow.cores import builtin

    if isinstance(core, Core):
        if making["provider"] not in (CPU, core.provider):
            raise UsageError(
                "the core runs on another execution provider",
                core.name,
                making["provider"],
                core.provider,
                "Load it with provider=, or pass its path.",
            )
        return core
    return builtin.resolve(
        core, **{name: value for name, value in making.items() if value is not None}
    )


def _named_cores(cores: Sequence[Core]) -> dict[str, Core]:
    names = ["feature"] if len(cores) == 1 else [core.name for core in cores]
    if len(set(names)) != len(cores):
        raise UsageError(
            "two cores of one name",
            found=", ".join(names),
            hint="Name them: dof headless … -o NAME.onnx",
        )
    return dict(zip(names, cores, strict=True))
