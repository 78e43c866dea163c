"""The audit of a dataset: known attacks on its features, each beside its control and chance.

It tells what these attackers found. What they did not find, a stronger one may.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow._version import __version__
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.directory import is_directory
from dof_arrow.privacy.attacks.attributes import infer_class, infer_number
from dof_arrow.privacy.attacks.finding import Finding
from dof_arrow.privacy.attacks.inversion import rebuild
from dof_arrow.privacy.attacks.linkage import find_again, link
from dof_arrow.privacy.attacks.membership import member
from dof_arrow.privacy.columns import Sensitive, group_codes, sensitive_columns
from dof_arrow.privacy.contact_sheet import contact_sheet
from dof_arrow.privacy.source_pictures import Pictures, pictures_of
from dof_arrow.privacy.threads import one_thread
from dof_arrow.privacy.uniqueness import Uniqueness, uniqueness
from dof_arrow.rewrite.edit import carry_out, prepare
from dof_arrow.rewrite.metadata_edit import Wanted
from dof_arrow.storage import owned
from dof_arrow.storage.addresses import on_disk
from dof_arrow.storage.atomic import replacing

Array = NDArray[Any]
PathLike = str | os.PathLike[str]

MOST_ROWS = 10_000  # that are attacked, in whole groups
_MOST_BYTES = 1 << 28  # of their features
_SMALL = 1 << 20  # numbers, below which a second thread of a product costs more than it gains


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What attackers found in a dataset.

    `rows` of `of` rows were attacked, in `groups` groups; `findings` are what each attacker
    reached, `unique` how far columns single persons out, `notes` what was not tried, and why.
    `sheet` has the bytes of a PNG picture, of what was rebuilt beside what it should be, where
    there was a source: it shows pictures of the source, and is no part of the JSON.
    """

    path: str
    feature: str
    rows: int
    of: int
    groups: int
    seed: int
    findings: Sequence[Finding]
    unique: Uniqueness | None
    notes: Sequence[str]
    sheet: bytes | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON, without where the dataset lies and how long it took."""
        value = asdict(self)
        del value["path"], value["sheet"]
        for each, finding in zip(value["findings"], self.findings, strict=True):
            del each["seconds"]
            each |= {"found": finding.found, "advantage": finding.advantage}
        if self.unique is not None:
            del value["unique"]["worst"]  # rare people are not named in the file itself
        return {**value, "advantage": self.advantage, "generator": f"dof_arrow {__version__}"}

    @property
    def advantage(self) -> float:
        """The most that any attacker gained over its baseline, 0 to 1."""
        return max((finding.advantage for finding in self.findings), default=0.0)


def audit(
    data: Dataset | PathLike,
    *,
    source: PathLike | None = None,
    sensitive: Sequence[str] = (),
    feature: str | None = None,
    table: PathLike | None = None,
    key: str | None = None,
    start: str | None = None,
    end: str | None = None,
    id_key: bytes | PathLike | None = None,
    site: str | None = None,
    seed: int = 0,
) -> Audit:
    """Attack a dataset with what an attacker may know, and tell what was reached.

    - `source` is what it was extracted from: without it pictures cannot be rebuilt, or found again.
      `table`, `key`, `start`, `end`, `id_key` and `site` find the pictures as `extract` did. Of a
      clip's row the frame is rebuilt, in the middle of a window.
    - `sensitive` are columns that are to be inferred, by default all targets and kept columns.
    - Rows of one group are never on both sides: an attacker learns from other groups.

    At most 10,000 rows, in whole groups, are attacked. Raises UsageError for unknown columns and
    for fewer than four groups; what `open` and reading a source raise.
    """
    found = data if isinstance(data, Dataset) else dataset.open(data)
    name = feature or found.primary
    run = _Run(found, name, seed)
    with _threads(run.features.size):
        run.infer(sensitive_columns(found, sensitive))
        run.link()
        if source is None:
            run.notes.append("inversion and same picture: they need --source, the pictures")
        else:
            pictures = pictures_of(
                run.rows,
                source,
                name,
                table=table,
                key=key,
                start=start,
                end=end,
                id_key=id_key,
                site=site,
            )
            run.rebuild(pictures)
    return Audit(
        path=str(found.path),
        feature=name,
        rows=len(run.rows),
        of=len(found),
        groups=len(np.unique(run.groups)),
        seed=seed,
        findings=run.findings,
        unique=run.unique,
        notes=run.notes,
        sheet=run.sheet,
    )


def write_sheet(found: Audit, path: PathLike, *, overwrite: bool = False) -> None:
    """Write the contact sheet to a PNG file that its owner alone may read.

    Raises UsageError where no picture was rebuilt, OutputError where the file exists already and
    may not be overwritten.
    """
    if found.sheet is None:
        raise UsageError("no picture was rebuilt to be shown", found="; ".join(found.notes))
    with replacing(path, overwrite=overwrite, mode=owned.FILE) as file:
        file.write(found.sheet)


def store(found: Audit, path: PathLike) -> Dataset:
    """Write an audit into its file's section `privacy`, in place of earlier ones, and open it.

    The data are copied as bytes. Raises UsageError for a directory, FormatError for a file that is
    not whole, OutputError if it cannot be written.
    """
    if is_directory(on_disk(path)):
        raise UsageError(
            "an audit is stored in a file",
            str(path),
            "one file",
            "a directory",
            "Keep it beside the directory: dof audit … --json > audit.json",
        )
    return carry_out(prepare(path, Wanted(audits=[found.to_json()])))


@dataclass(slots=True)
class _Run:
    """One audit: the rows that are attacked, and what was found so far."""

    found: Dataset
    name: str
    seed: int
    places: Array = field(init=False)
    rows: Dataset = field(init=False)
    all_groups: Array = field(init=False)
    groups: Array = field(init=False)
    features: Array = field(init=False)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unique: Uniqueness | None = None
    sheet: bytes | None = None

    def __post_init__(self) -> None:
        codes, note = group_codes(self.found)
        self.notes += note
        width = int(np.prod(self.found.row_shape(self.name)))
        most = min(MOST_ROWS, max(_MOST_BYTES // (4 * width), 1))
        self.places = _whole_groups(codes, most, self.seed)
        self.rows = self.found.take(self.places)
        self.all_groups = codes
        self.groups = codes[self.places]
        stored = self.rows.to_numpy(self.name)
        self.features = stored.reshape(len(stored), -1).astype(np.float32)
        if not np.isfinite(self.features).all():
            raise UsageError(
                "features are not finite",
                str(self.found.path),
                "numbers",
                "NaN or infinity",
                "dof validate --deep names what is wrong.",
            )

    def infer(self, columns: Sequence[Sensitive]) -> None:
        """Infer each column, attack a head for each class, and count unique persons."""
        for column in columns:
            if column.why_not:
                self.notes.append(f"attribute {column.name}: {column.why_not}")
                continue
            attack = infer_class if column.is_class else infer_number
            self._try(f"attribute {column.name}", attack, column)
            if column.is_target and column.is_class:
                self._try(f"membership {column.name}", member, column)
        # Persons are counted among all: who is alone among some of them need not be so.
        told = {column.name: column.texts for column in columns}
        if told:
            self.unique = uniqueness(told, self.all_groups.tolist())

    def link(self) -> None:
        """Link pictures of one group."""
        try:
            self.findings += link(self.features, self.groups, self.seed, self._records())
        except UsageError as error:
            self.notes.append(f"linkage: {error}")

    def rebuild(self, pictures: Pictures) -> None:
        """Rebuild thumbnails, and find pictures again."""
        places = pictures.places
        if len(places) < len(self.rows):
            lost = len(self.rows) - len(places)
            self.notes.append(f"{lost:,} rows have no picture in the source that can be read")
        features = self.features[places]
        groups = self.groups[places]
        try:
            rebuilt = rebuild(features, pictures.thumbnails, groups, self.seed)
            self.findings += rebuilt.findings
            self.sheet = contact_sheet(pictures.thumbnails, rebuilt)
            if pictures.again is None:
                self.notes.append("same picture: the core was not found")
                return
            records = self._records()[places]
            self.findings += find_again(features, pictures.again, groups, self.seed, records)
        except UsageError as error:
            self.notes.append(f"inversion: {error}")

    def _records(self) -> Array:
        """Which picture or clip each row is of, int64 [n]."""
        ids = self.rows.to_arrow([self.rows.metadata.record.id]).column(0)
        _, codes = np.unique(ids.to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
        return np.asarray(codes, np.int64)

    def _try(self, what: str, attack: Callable[..., list[Finding]], column: Sensitive) -> None:
        """An attack on the rows that have a value; a note where it cannot be tried."""
        there = column.there[self.places]
        groups = self.groups[there]
        values = column.values[self.places][there]
        try:
            self.findings += attack(self.features[there], values, groups, column.name, self.seed)
        except UsageError as error:
            self.notes.append(f"{what}: {error}")


def _whole_groups(codes: Array, most: int, seed: int) -> Array:
    """Places of at most so many rows, in whole groups, drawn by the seed; in order."""
    if len(codes) <= most:
        return np.arange(len(codes))
    count = int(codes.max()) + 1
    sizes = np.bincount(codes, minlength=count).tolist()
    kept = []
    room = most
    for group in np.random.default_rng([seed, 6]).permutation(count).tolist():
        if sizes[group] <= room:  # one that is too large keeps no other out
            kept.append(group)
            room -= sizes[group]
    return np.flatnonzero(np.isin(codes, kept))


def _threads(numbers: int) -> AbstractContextManager[Any]:
    """One thread for small products, where several wait for one another; else all."""
    if numbers > _SMALL:
        return nullcontext()
    return one_thread()
