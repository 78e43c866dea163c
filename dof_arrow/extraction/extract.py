"""Pictures in, a DoF file out, in parallel, interruptible, with equal bytes each time.

A run is planned first (`Extraction`): what it reads, computes and lets out is known before anything
is written. Then workers (threads, or
actors on a cluster) compute blocks of inputs, each staged in a file of its own, and the
output is written from them in order.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Unpack

from dof_arrow.cores.core import Core
from dof_arrow.cores.device_batch import batch_for
from dof_arrow.cores.graph.runtime import CPU, is_device
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.extraction import local_engine
from dof_arrow.extraction.destination import Destination, FileDestination
from dof_arrow.extraction.engine import Compute, Progress
from dof_arrow.extraction.options import ExtractOptions
from dof_arrow.extraction.output_table import OutputTable
from dof_arrow.extraction.partition import Partition
from dof_arrow.extraction.run import Extraction
from dof_arrow.extraction.sides import SplitRule
from dof_arrow.extraction.standing import Standing, without_standing
from dof_arrow.extraction.typed import ExtractKeywords
from dof_arrow.extraction.views import from_text
from dof_arrow.format.directory import is_directory
from dof_arrow.loader.options import from_keywords
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import EVERY, Sampling
from dof_arrow.progress import unheard
from dof_arrow.sampling import splits
from dof_arrow.security.keys import load_or_make_key
from dof_arrow.sources.asked import TableOptions
from dof_arrow.sources.folder import holds_clips
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Source
from dof_arrow.storage.addresses import Address, Location, location
from dof_arrow.storage.upload import check_takes
from dof_arrow.system import processors

PathLike = str | os.PathLike[str]
CoreLike = str | os.PathLike[str] | Core


def extract(
    source: PathLike | Source,
    *,
    core: CoreLike | Sequence[CoreLike],
    out: PathLike | Address,
    progress: Progress | None = None,
    **options: Unpack[ExtractKeywords],
) -> Dataset:
    """Run every picture or clip of a source once through frozen cores, and write the features.

    - `source`: a folder, a picture, a clip, an archive, array or table of pictures, or a `Source`.
    - `core`: a model's path, URL or name, `builtin`, or a `Core`; of a list, each one gives a
      feature column.
    - `out`: the file to write, or its address on a store. A name that ends in `.dof` is a
      directory: what is extracted becomes its next part, and inputs that it has already are passed
      over.
    - `progress`: a function that is told inputs done, inputs in all, inputs that failed.
    - `options`: those of `ExtractOptions`.

    Returns the dataset, opened: a row for each view of each picture, or for each frame or window of
    each clip, in the order of their pseudonyms (`Dataset.by_names` finds inputs). Inputs that fail
    are listed in `Dataset.errors`. After a kill at any point the same call goes on where it was,
    and ends in the same bytes.

    Raises UsageError for options that are unknown or cannot be, SourceError if the source cannot be
    read, all inputs fail or too many do, CoreError if a core cannot be used, OutputError if the
    output cannot be written or is another's.
    """
    run = planned(source, core=core, out=out, **options)
    return run.run(progress or unheard)


def planned(
    source: PathLike | Source,
    *,
    core: CoreLike | Sequence[CoreLike],
    out: PathLike | Address,
    **options: Unpack[ExtractKeywords],
) -> Extraction:
    """The run that `extract` would do with the same arguments, not yet done.

    Its `schema`, `metadata()`, `splits` and `source` can be looked at. Raises as `extract` does.
    """
    given = from_keywords(ExtractOptions, options, "extract")
    clips = _sampling(source, given)
    reading = ReadingOptions(max_pixels=given.max_pixels, allow=tuple(given.allow))
    views = from_text(given.views, given.augment)
    fractions, split_column = _split(given.split)
    place = location(out)
    destination = _destination(place, given.overwrite)
    inputs = _opened(source, given, split_column, clips)
    cores = _by_column(loaded_cores(core, given.making))
    table = OutputTable(
        source=inputs,
        cores=cores,
        id_key=_key(given),  # after all that may be wrong: a wrong call makes no key
        ids=given.ids,
        order=_order(given),
        facts=given.facts,
        site=given.site,
        split=_rule(given, fractions, destination),
        dtype=given.dtype,
        layout=given.layout,
        batch_size=given.batch_size or batch_for(cores.values()),
        reading=reading,
        views=views,
        clips=clips,
        partition=_partition(given, place),
    )
    compute = _engine(given, cores.values())
    standing = Standing()
    known = destination.known_rows()
    if known is not None:
        table, standing = without_standing(table, known)
    return Extraction(
        table=table,
        standing=standing,
        destination=destination,
        workers=_workers(given, cores.values()),
        max_errors=given.max_errors,
        compute=compute,
    )


def _engine(given: ExtractOptions, cores: Collection[Core]) -> Compute:
    """What computes the blocks; MissingExtra where a library that it needs is not installed."""
    if given.engine == "local":
        return local_engine.compute
    from dof_arrow.extraction import ray_cluster, ray_engine

    ray_cluster.ray_module()
    threads = max(core.threads for core in cores)
    gpus = float(any(is_device(core.provider) for core in cores))
    options = ray_cluster.ClusterOptions(
        address=given.address,
        actors=given.workers,
        cpus=given.actor_cpus or threads,
        gpus=gpus if given.actor_gpus is None else given.actor_gpus,
    )
    return functools.partial(ray_engine.compute, options=options)


def _partition(given: ExtractOptions, out: Location) -> Partition | None:
    if given.partition is None:
        return None
    if is_directory(out):
        raise UsageError(
            "a partition is a file of its own",
            str(out),
            "a name such as part-2.dof.parquet",
            hint=f"Then put them together: dof merge part-*.dof.parquet -o {out.name}",
        )
    return Partition.parse(given.partition)


def _order(given: ExtractOptions) -> Literal["pseudonym", "source"]:
    if given.order is None:
        return "source" if given.ids == "name" else "pseudonym"
    return given.order


def loaded_cores(core: CoreLike | Sequence[CoreLike], making: Mapping[str, Any]) -> list[Core]:
    """The cores that are named; those that are no `Core` are made of a model as `making` says.

    Raises UsageError for a `Core` that runs on another provider than is asked for.
    """
    from dof_arrow.cores import builtin

    named = [core] if isinstance(core, (str, os.PathLike, Core)) else core
    cores = []
    for each in named:
        if isinstance(each, Core):
            _check_provider(each, making.get("provider", CPU))
            cores.append(each)
        else:
            cores.append(builtin.resolve(each, **making))
    return cores


def _check_provider(core: Core, provider: str) -> None:
    if provider not in (CPU, core.provider):
        raise UsageError(
            "the core runs on another execution provider",
            core.name,
            provider,
            core.provider,
            "Load it with provider=, or pass its path.",
        )


def _by_column(cores: Sequence[Core]) -> dict[str, Core]:
    """The cores by feature column: `feature`, or of several each by its own name."""
    names = ["feature"] if len(cores) == 1 else [core.name for core in cores]
    if len(set(names)) != len(cores):
        raise UsageError(
            "two cores of one name",
            found=", ".join(names),
            hint="Name them: dof headless … -o NAME.onnx",
        )
    return dict(zip(names, cores, strict=True))


def _sampling(source: PathLike | Source, given: ExtractOptions) -> Sampling | None:
    """Which frames are taken, or None where inputs are pictures."""
    sampling = given.sampling
    clips = given.clips
    if clips is None:
        named = isinstance(source, (str, os.PathLike)) and holds_clips(Path(source))
        clips = sampling != EVERY or named
    return None if clips is False else sampling


def _split(
    split: str | Mapping[str, float] | None,
) -> tuple[Mapping[str, float] | None, str | None]:
    """The fractions that splits are to have, or the column in which they stand."""
    if not isinstance(split, str):
        return split, None
    if "=" in split:
        return splits.parse_fractions(split), None
    return None, split


def _rule(
    given: ExtractOptions, fractions: Mapping[str, float] | None, destination: Destination
) -> SplitRule | None:
    """How splits are drawn; what is named, else what rows are added to, keeps its own."""
    if not fractions:
        return None
    known = destination.known_splits()
    if given.split_from is not None:
        known = dataset.open(given.split_from)
    return SplitRule(fractions=fractions, exact=given.split_exact, known=known)


def _opened(
    source: PathLike | Source,
    given: ExtractOptions,
    split_column: str | None,
    clips: Sampling | None,
) -> Source:
    if not isinstance(source, (str, os.PathLike)):
        if given.start is not None or given.end is not None:
            raise UsageError(
                "segments are the rows of a table beside a path",
                found="start= or end= with a source of one's own",
                hint="Give each sample a segment: Sample(data=ClipPart(clip, Bounds(…))).",
            )
        return source
    about = {field.name: getattr(given, field.name) for field in fields(TableOptions)}
    return open_source(Path(source), split=split_column, clips=clips is not None, **about)


def _key(given: ExtractOptions) -> bytes:
    if isinstance(given.id_key, bytes):
        return given.id_key
    path = None if given.id_key is None else Path(given.id_key)
    return load_or_make_key(path)[0]


def _workers(given: ExtractOptions, cores: Iterable[Core]) -> int:
    """As many as keep the processors busy: more threads cost more processor time and gain none."""
    if given.workers is not None and given.engine == "local":
        return given.workers
    threads = max((core.threads for core in cores), default=1)
    return max(processors() // threads, 1)


def _destination(out: Location, overwrite: bool) -> Destination:
    grows = is_directory(out)
    if grows and overwrite:
        raise UsageError(
            "rows are added to a directory, none are replaced",
            str(out),
            found="--overwrite",
            hint="Give another name, or remove the directory first.",
        )
    if isinstance(out, Address):
        from dof_arrow.extraction.on_store import StoreDirectoryDestination, StoreFileDestination

        check_takes(out)
        if grows:
            return StoreDirectoryDestination(out=out)
        return StoreFileDestination(out=out, overwrite=overwrite)
    if not grows:
        return FileDestination(out=out, overwrite=overwrite)
    from dof_arrow.extraction.append import DirectoryDestination

    return DirectoryDestination(out=out)
