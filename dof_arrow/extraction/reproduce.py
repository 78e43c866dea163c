"""Rows of a dataset made again from the source that it came from, and compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.core import BATCH, Core
from dof_arrow.cores.find_cores import find_cores
from dof_arrow.cores.graph.runtime import CPU
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.extraction import recompute
from dof_arrow.extraction.extract import CoreLike, loaded_cores
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.recompute import Remade, Row
from dof_arrow.extraction.versions import LIBRARIES, versions
from dof_arrow.format.spec.arrow import element_type
from dof_arrow.format.spec.json_diff import changes
from dof_arrow.format.spec.json_model import from_json, to_json
from dof_arrow.format.spec.metadata import CoreMetadata, Metadata, Preprocessing, Provenance
from dof_arrow.format.spec.preprocessing import Decode, Fit
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Sampling
from dof_arrow.sampling import permutation
from dof_arrow.security.keys import existing_key
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Source
from dof_arrow.system import processors
from dof_arrow.tables.agreement import TOLERANCE, Agreement, Tally, within

Array = NDArray[Any]
PathLike = str | os.PathLike[str]
Progress = Callable[[int, int, int], None]  # rows done, rows in all, rows that do not agree

_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A row that does not agree, and why."""

    id: str
    view: int | None = None
    frame: int | None = None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What came of making rows again.

    `rows` of `of` were drawn. `columns` says how closely those that could be made agree, `skipped`
    names feature columns whose core was not given. `lost` counts rows whose input is not there or
    cannot be read any more, `differing` those with a feature beyond the tolerance; `remarks` are
    the first of both. `libraries` are those whose version is not the one noted in the file, by
    name: noted and installed. `providers` are, by feature column, what ran the core then and now,
    where that is not the same.
    """

    rows: int
    of: int
    tolerance: float
    columns: Mapping[str, Agreement]
    skipped: Sequence[str] = ()
    lost: int = 0
    differing: int = 0
    remarks: Sequence[Remark] = ()
    libraries: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    providers: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether all rows that were drawn could be made again and are within the tolerance."""
        return not self.lost and not self.differing


def reproduce(
    data: Dataset | PathLike,
    source: Source | PathLike,
    *,
    core: CoreLike | Sequence[CoreLike] = (),
    rows: int | float = 100,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    preprocess: str | Preprocessing | None = None,
    fit: Fit | None = None,
    decode: Decode | None = None,
    at: str | None = None,
    pool: str | None = None,
    size: str | int | Sequence[int] | None = None,
    grey: bool = False,
    table: PathLike | None = None,
    key: str | None = None,
    start: str | None = None,
    end: str | None = None,
    pictures: str | None = None,
    id_key: bytes | PathLike | None = None,
    site: str | None = None,
    max_pixels: int | None = None,
    allow: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress = lambda done, total, failed: None,
) -> Reproduction:
    """Make rows of a dataset again from the source that it was extracted from, and compare them.

    - `rows` is how many are drawn, by `seed`, or their share as a float.
    - `core` are the very cores that made the features, told by their SHA-256; `preprocess`, `fit`,
      `decode`, `at`, `pool`, `size` and `grey` make them of models as `extract` did. Without any,
      all are found by their digest, in the cache or beside the dataset (`cores.find_cores`).
    - `table`, `key`, `start`, `end`, `pictures`, `id_key`, `site`, `max_pixels` and `allow` find
      and read the inputs as `extract` did.
    - A row agrees if no number is off by more than `tolerance` times the row's largest magnitude
      (SPEC section 10); 0 asks for equal numbers.

    Raises CoreError for a core that is not found; UsageError for another core, for a key that is
    not there, where no input bears the name of any row, for options that cannot be; SourceError if
    the source cannot be read; what `open` raises.
    """
    found = data if isinstance(data, Dataset) else dataset.open(data)
    making: dict[str, Any] = {"preprocess": preprocess, "fit": fit, "decode": decode}
    making |= {"at": at, "pool": pool, "size": size, "grey": grey or None}
    given = {name: value for name, value in making.items() if value is not None}
    cores = _matched(found, loaded_cores(core, given) if core else _found_cores(found, given))
    sampling = sampling_of(found.metadata)
    job = Job(
        source=_opened(source, table, key, start, end, pictures, clips=sampling is not None),
        cores=cores,
        dtype="float32",
        batch_size=BATCH,
        workers=workers or processors(),
        clips=sampling,
        reading=ReadingOptions(max_pixels=max_pixels, allow=tuple(allow)),
    )
    drawn = found.take(_drawn(len(found), rows, seed))
    known = known_rows(drawn, job.source, secret_of(found.metadata, id_key), site)
    check = _Check(drawn, known, job, within(tolerance))
    check.run(progress)
    return Reproduction(
        rows=len(drawn),
        of=len(found),
        tolerance=tolerance,
        lost=check.lost,
        differing=check.differing,
        columns={name: tally.agreement for name, tally in check.tallies.items()},
        remarks=check.remarks,
        skipped=[name for name in _features(found.metadata) if name not in cores],
        libraries=_other_versions(found.metadata),
        providers=_other_providers(found.metadata, cores),
    )


def _opened(
    source: Source | PathLike,
    table: PathLike | None,
    key: str | None,
    start: str | None,
    end: str | None,
    pictures: str | None,
    *,
    clips: bool,
) -> Source:
    if not isinstance(source, (str, os.PathLike)):
        return source
    named = Path(table) if table else None
    return open_source(
        Path(source), table=named, key=key, start=start, end=end, pictures=pictures, clips=clips
    )


class _Check:
    """Compares rows with what is made again of them."""

    def __init__(self, data: Dataset, rows: Sequence[Row], job: Job, tolerance: float) -> None:
        self._data = data
        self._rows = rows
        self._job = job
        self._tolerance = tolerance
        self._stored = {name: data.gather(name) for name in job.cores}
        self.tallies = {name: Tally(tolerance) for name in job.cores}
        self.lost = 0
        self.differing = 0
        self.remarks: list[Remark] = []

    def run(self, progress: Progress) -> None:
        done = 0
        for made in recompute.remade(self._rows, self._job):
            self._compare(made)
            done += len(made.numbers) + len(made.lost)
            progress(done, len(self._rows), self.lost + self.differing)

    def _compare(self, made: Remade) -> None:
        for number, reason in made.lost:
            self._note(number, reason)
        shares = np.array([self._shares(name, made) for name in self._job.cores])
        far = (shares > self._tolerance).any(axis=0)
        self.lost += len(made.lost)
        self.differing += int(far.sum())
        for place in np.flatnonzero(far).tolist():
            number = made.numbers[place]
            self._note(number, self._reason(number, shares[:, place]))

    def _shares(self, name: str, made: Remade) -> Array:
        """How far each row's features are from the stored ones."""
        stored = np.empty((len(made.numbers), prod(self._data.row_shape(name))), np.float32)
        self._stored[name].fill(np.array(made.numbers, np.int64), stored)
        kind = element_type(self._data.schema.field(name))
        again = made.features[name].reshape(stored.shape)
        with np.errstate(over="ignore"):  # what float16 cannot hold is infinite, and so differs
            again = again.astype(kind).astype(np.float32)
        return self.tallies[name].add(stored, again)

    def _reason(self, number: int, shares: Array) -> str:
        if len(self.remarks) >= _LISTED:
            return ""
        noted = _provenance(self._data.metadata).raw
        other = recompute.changed(self._rows[number], noted, self._job)
        if other:
            return f"another picture: {other}"
        worst = int(shares.argmax())
        name = list(self._job.cores)[worst]
        return f"{name} differs by {shares[worst]:.2g} of its largest magnitude"

    def _note(self, number: int, reason: str) -> None:
        if len(self.remarks) < _LISTED:
            row = self._rows[number]
            self.remarks.append(Remark(id=row.id, view=row.view, frame=row.frame, reason=reason))


def _features(about: Metadata) -> dict[str, CoreMetadata]:
    """What made each feature column that a core made."""
    made = {}
    for name, column in about.columns.items():
        if column.role == "feature" and column.core is not None and column.core in about.cores:
            made[name] = about.cores[column.core]
    return made


def _found_cores(data: Dataset, making: Mapping[str, Any]) -> list[Core]:
    """The cores of all feature columns, found by their digest."""
    if making:
        raise UsageError(
            "no model is named that a core could be made of",
            found=", ".join(f"--{option}" for option in making),
            hint="Name it, --core MODEL.onnx; or leave these options out.",
        )
    wanted = {about.sha256: about for about in _features(data.metadata).values()}
    beside = [data.path.parent] if isinstance(data.path, Path) else []
    return find_cores(wanted, beside, str(data.path))


def _matched(data: Dataset, cores: Sequence[Core]) -> dict[str, Core]:
    """The core of each feature column, as far as it is given.

    Raises UsageError for a core that made none of the columns.
    """
    made = _features(data.metadata)
    if not made:
        raise UsageError("features that no core made cannot be made again", str(data.path))
    by_digest = {core.sha256: core for core in cores}
    needed = {about.sha256 for about in made.values()}
    for core in cores:
        if core.sha256 not in needed:
            raise _another(core, _meant(core, made), str(data.path))
    matched = {}
    for name, about in made.items():
        if about.sha256 in by_digest:
            matched[name] = by_digest[about.sha256]
    return matched


def _meant(core: Core, made: Mapping[str, CoreMetadata]) -> CoreMetadata:
    """The core of the dataset that a given one was meant to be: by its name, else the first."""
    first, *_ = made.values()
    return next((about for about in made.values() if about.name == core.name), first)


def _another(core: Core, wanted: CoreMetadata, where: str) -> UsageError:
    """An error that says which core is wanted, and in what the given one differs from it."""
    made_of = [wanted.source or "a model not named"]
    if wanted.cut:
        made_of.append(f"cut at {wanted.cut}")
    if wanted.pool:
        made_of.append(f"pooled {wanted.pool}")
    hint = f"It was made of {', '.join(made_of)}."
    other = []
    for change in changes(to_json(wanted), to_json(core.describe())):
        if change.where not in ("sha256", "graph", "name"):
            other.append(change.where)
    if other:
        hint += f" The given core differs in {', '.join(other)}."
    return UsageError(
        "the features are of another core",
        where,
        f"{wanted.name}, sha256 {wanted.sha256}",
        f"{core.name}, sha256 {core.sha256}",
        hint,
    )


def sampling_of(about: Metadata) -> Sampling | None:
    """Which frames were taken, or None where inputs are pictures."""
    if about.record.frame is None:
        return None
    return from_json(_provenance(about).raw.get("clips", {}), Sampling)


def _provenance(about: Metadata) -> Provenance:
    return about.provenance or Provenance(generator="")


def secret_of(about: Metadata, id_key: bytes | PathLike | None) -> bytes | None:
    """The key that made the ids, None where they are names; none is made here."""
    made = about.pseudonyms
    if made is None:
        return None
    why = "Only who has the key that extraction used can find the inputs: --id-key FILE."
    return existing_key(id_key, why, made.key)


def _drawn(count: int, rows: int | float, seed: int) -> Array:
    """Numbers of the rows that are drawn, in order."""
    share = isinstance(rows, float)
    possible = 0 < rows <= 1 if share else rows >= 1
    if not count or not possible:
        raise UsageError(
            "no such number of rows",
            expected="1 row or more, or a share up to 1.0",
            found=str(rows),
        )
    wanted = ceil(rows * count) if share else min(int(rows), count)
    # Equal seeds draw equal rows, and fewer rows are some of those that more would be.
    shuffled = permutation.Permutation(count, permutation.key(seed, "reproduce"))
    return np.sort(shuffled(np.arange(wanted)))


def known_rows(drawn: Dataset, source: Source, key: bytes | None, site: str | None) -> list[Row]:
    """The rows that are drawn, with their inputs; UsageError where the source has none of them."""
    rows = recompute.rows_of(drawn, source, key, site)
    if all(row.input is None for row in rows):
        named = "the source, --table and --key"
        if _provenance(drawn.metadata).raw.get("segments"):
            named = "the source, --table, --key, --start and --end"
        hint = f"Give {named} of extraction."
        if key:
            hint = f"Give {named}, and the key, --id-key, of extraction."
        raise UsageError(
            "no input bears the name of any row that was drawn",
            str(drawn.path),
            found=f"{len(source):,} inputs",
            hint=hint,
        )
    return rows


def _other_providers(about: Metadata, cores: Mapping[str, Core]) -> dict[str, tuple[str, str]]:
    """What ran the core of each feature column then and now, where that is not the same."""
    noted = _provenance(about).providers
    other = {}
    for name, core in cores.items():
        then = ", ".join(noted.get(name, (CPU,)))
        if then != core.provider:
            other[name] = (then, core.provider)
    return other


def _other_versions(about: Metadata) -> dict[str, tuple[str, str]]:
    """Libraries whose version is another than the one noted in the file: noted and installed."""
    noted = _provenance(about).libraries
    known = [name for name in LIBRARIES if name in noted]
    here = versions(known)
    other = {}
    for name in known:
        if noted[name] != here.get(name):
            other[name] = (noted[name], here.get(name, "none"))
    return other
