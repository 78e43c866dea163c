"""Records or whole persons taken out of a dataset, and out of all that counted them.

What is written is what extraction would have written without them, but for what identifies the
file; what cannot be made again without the pictures is dropped. (Row D22.)
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, UsageError, one_or_more
from dof_arrow.format.directory import is_directory
from dof_arrow.format.merge_raw import OF_INPUTS
from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.carry import carried
from dof_arrow.rewrite.convert import Layout, save_directory, save_file
from dof_arrow.security.keys import existing_key
from dof_arrow.security.pseudonyms import Kind, pseudonyms
from dof_arrow.storage.addresses import Address
from dof_arrow.system import open_file

PathLike = str | os.PathLike[str]

_WHY = "Only who has the key that extraction used can find people by name: --id-key FILE."
_MADE_WITH_THEM = ("performance", "training")  # sections that speak of all rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was taken out: `rows` of `records` in `groups`, and so many `failures`.

    `unknown` counts asked names that are not in the dataset, `dropped` names sections of the
    metadata that counted those who went, `empty_classes` the classes (`target: class`) that no row
    has any more, `heads` are files of heads that were trained on the dataset, found beside it.
    """

    path: Path
    rows: int
    records: int
    groups: int
    failures: int
    unknown: int
    dropped: Sequence[str] = ()
    empty_classes: Sequence[str] = ()
    documents: Sequence[str] = ()
    heads: Sequence[Path] = ()


def erase(
    file: PathLike,
    out: PathLike,
    *,
    names: Sequence[str] = (),
    groups: Sequence[str] = (),
    id_key: PathLike | bytes | None = None,
    overwrite: bool = False,
) -> Erasure:
    """Write a file or directory without some records, by name, or without whole groups.

    Names are those of the inputs when the dataset was made, or its own ids and groups; the first
    need the key for pseudonyms, `id_key` or the user's own. Failures of these inputs go too, and
    whatever else counted them is counted again or dropped. The old dataset stays where it is.

    Raises UsageError for names of which none is in the dataset, or where the key is missing;
    FormatError for a damaged file, OutputError if the output cannot be written.
    """
    data = dataset.open(file)
    if data.derived:
        raise FormatError(
            "only sealed files are erased from",
            str(data.path),
            hint=f"See what is wrong: dof validate {data.path}",
        )
    names, groups = one_or_more(names), one_or_more(groups)
    _check_asked(data, names, groups)
    gone = _Gone.of(data, names, groups, id_key)
    kept = data[~gone.rows]
    about, dropped = _without_counts(carried(kept), data)
    _write(data, kept, Path(out), about, gone.failures, overwrite)
    return Erasure(
        path=Path(out),
        rows=int(gone.rows.sum()),
        records=gone.records,
        groups=gone.groups,
        failures=len(gone.failures),
        unknown=gone.unknown,
        dropped=dropped,
        empty_classes=_emptied(data, kept),
        documents=[document.name for document in data.metadata.documents],
        heads=heads_of(data),
    )


def heads_of(data: Dataset) -> list[Path]:
    """Models beside a dataset that say that they were trained on it."""
    if isinstance(data.path, Address):
        return []
    uuid = data.metadata.uuid.encode()
    if not isinstance(data.path, Path):  # on a store nothing is looked for
        return []
    return [path for path in sorted(data.path.parent.glob("*.onnx")) if _names(path, uuid)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gone:
    """The rows, bool [n], and failures that go, and how many records, groups and unknown names."""

    rows: NDArray[np.bool_]
    failures: Sequence[Json]
    records: int
    groups: int
    unknown: int

    @classmethod
    def of(
        cls,
        data: Dataset,
        names: Sequence[str],
        groups: Sequence[str],
        id_key: PathLike | bytes | None,
    ) -> _Gone:
        record = data.metadata.record
        called = _Called(data, id_key)
        ids = _Wanted(called.all("id", names))
        persons = _Wanted(called.all("group", groups))
        rows = ids.among(data, record.id)
        if record.bag is not None:
            rows |= ids.among(data, record.bag)
        if groups:
            rows |= persons.among(data, record.group)
        failures = []
        for failure in data.errors:
            by_id, by_group = ids.has(failure["id"]), persons.has(failure.get("group"))
            if by_id or by_group:
                failures.append(failure)
        unknown = ids.unmet + persons.unmet
        if unknown == len(names) + len(groups):
            raise _nobody(data)
        gone = data[rows]
        return cls(
            rows=rows,
            failures=failures,
            records=len(gone.to_arrow([record.id]).column(0).unique()),
            groups=len(persons.met),
            unknown=unknown,
        )


class _Called:
    """What the dataset calls an input or group: as it was asked for, or its pseudonym."""

    def __init__(self, data: Dataset, id_key: PathLike | bytes | None) -> None:
        self._pseudonyms = data.metadata.pseudonyms
        self._key = id_key

    def all(self, kind: Kind, names: Sequence[str]) -> list[tuple[str, ...]]:
        """For each name what the dataset may call it."""
        if self._pseudonyms is None or not names:
            return [(name,) for name in names]
        made = pseudonyms(existing_key(self._key, _WHY, self._pseudonyms.key), kind, names)
        return list(zip(names, made, strict=True))


class _Wanted:
    """Names that are looked for, each in one of two spellings, and which of them were met."""

    def __init__(self, spellings: Sequence[tuple[str, ...]]) -> None:
        self._number: dict[str, int] = {}
        for number, spelling in enumerate(spellings):
            for text in spelling:
                self._number[text] = number
        self._count = len(spellings)
        self.met: set[int] = set()

    @property
    def unmet(self) -> int:
        """How many names were met nowhere."""
        return self._count - len(self.met)

    def among(self, data: Dataset, column: str | None) -> NDArray[np.bool_]:
        """Which rows have one of the names in a column, bool [n]."""
        import pyarrow.compute as pc

        if column is None or not self._number:
            return np.zeros(len(data), bool)
        values = data.to_arrow([column]).column(0).combine_chunks()
        known = pa.array(list(self._number), pa.string())
        places = pc.index_in(values.cast(pa.string()), value_set=known)
        texts = known.take(places.drop_null().unique())
        self.met.update(self._number[text] for text in texts.to_pylist())
        return np.asarray(places.is_valid().to_numpy(zero_copy_only=False))

    def has(self, text: str | None) -> bool:
        """Whether a text is one of the names."""
        number = self._number.get(text or "")
        if number is not None:
            self.met.add(number)
        return number is not None


def _check_asked(data: Dataset, names: Sequence[str], groups: Sequence[str]) -> None:
    if not names and not groups:
        raise UsageError("nobody is named", str(data.path), "names of inputs or of groups")
    if groups and data.metadata.record.group is None:
        raise UsageError(
            "a dataset without groups",
            str(data.path),
            "a column of groups",
            "none",
            "Name the inputs instead: --names FILE.",
        )


def _nobody(data: Dataset) -> UsageError:
    return UsageError(
        "none of the names is in the dataset",
        str(data.path),
        "names of inputs or groups as they were when it was made, or its own ids",
        "none of them",
        "Is it the key that the dataset was made with? Inputs of a folder are called by their "
        "path in it.",
    )


def _without_counts(about: dict[str, Json], data: Dataset) -> tuple[dict[str, Json], list[str]]:
    """Metadata without what counted those who went, and what was dropped for it."""
    about = dict(about)
    dropped = [name for name in _MADE_WITH_THEM if about.pop(name, None)]
    privacy = dict(about.get("privacy") or {})
    if privacy.pop("audits", None):
        dropped.append("privacy.audits")
    if privacy:
        about["privacy"] = privacy
    provenance = dict(about["provenance"])
    raw = dict(provenance.get("raw") or {})
    kept = {name: value for name, value in raw.items() if name not in OF_INPUTS}
    if len(kept) < len(raw):
        dropped.append("provenance.raw")
    parents = data.metadata.provenance.parents if data.metadata.provenance else ()
    provenance["raw"] = kept
    # Not the old file: who has both could tell who went.
    provenance["parents"] = [{"uuid": parent.uuid, "seal": parent.seal} for parent in parents]
    return {**about, "provenance": provenance}, dropped


def _write(
    data: Dataset,
    kept: Dataset,
    out: Path,
    about: dict[str, Json],
    gone: Collection[Any],
    overwrite: bool,
) -> None:
    errors = [failure for failure in data.errors if failure not in gone]
    records = len(kept.to_arrow([kept.metadata.record.id]).column(0).unique())
    provenance = about["provenance"]
    if provenance.get("inputs") is not None:
        provenance |= {"inputs": records + len(errors), "failed": len(errors)}
    layouts = {column.layout for column in data.metadata.columns.values()}
    layout: Layout = "mapped" if "mapped" in layouts else "compact"
    write = save_directory if is_directory(out) else save_file
    write(kept, out, layout=layout, overwrite=overwrite, about=about, errors=errors)


def _emptied(before: Dataset, after: Dataset) -> list[str]:
    """Classes of targets that no row has any more."""
    lost = []
    for name, target in before.metadata.targets.items():
        if target.kind == "category":
            codes = np.unique(before.to_numpy(name)), np.unique(after.to_numpy(name))
            for code in np.setdiff1d(*codes).tolist():
                if code >= 0:
                    lost.append(f"{name}: {target.classes[code]}")
    return lost


def _names(model: Path, uuid: bytes) -> bool:
    """Whether a model's file names a dataset; its properties stand in it as plain text."""
    import mmap

    try:
        with open_file(model) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(uuid) >= 0
    except (OSError, ValueError):  # not readable, or empty
        return False
