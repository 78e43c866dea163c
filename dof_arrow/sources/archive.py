"""Pictures in tar and zip archives in the WebDataset layout.

Files of one name with different endings are one sample, wherever in an archive they lie. The name
ends at the first dot behind the last slash: `a/7.jpg`, `a/7.cls` and `a/7.json` are the sample
`a/7`. Directories are read once; pictures where they lie, in any order. A column is an ending whose
files hold one short text (`cls`), or else an entry of the `json` files. Source:
github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dof_arrow.errors import PictureError, SourceError, UsageError
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.sources import tar, zip_archive
from dof_arrow.sources.columns import few_of
from dof_arrow.sources.columns import place as column_place
from dof_arrow.sources.folder import SUFFIXES, are_pictures
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.member_names import endings, stems
from dof_arrow.sources.sample import Column, read_start
from dof_arrow.sources.tar import TarMember
from dof_arrow.sources.walk import is_utf8
from dof_arrow.sources.zip_archive import ZipMember

Numbers = npt.NDArray[np.int64]
Member = TarMember | ZipMember

ZIPPED = (b"PK\3\4", b"PK\5\6")  # a zip archive, and one that holds nothing
_MAX_TEXT = 1 << 20  # bytes of a member that is a cell of a column
TWO_OF_ONE_NAME = "two files of one name in the archive differ"
# Endings of which all parts but the last are numbers: these are rather part of the name.
_NUMBERED = r"^([0-9]+\.)+[a-z0-9]+$"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Members(Listing):
    """Pictures in archives, in the order in which they lie there, by the names of their members.

    `kinds` says of each archive what its members are. `lie` says where pictures lie, int64 [n, k]:
    the number of the archive, and those of its member; `beside`, by ending, the samples and places
    of the other members. `prefixed`: names begin with their archive's.
    """

    shards: tuple[Path, ...]
    prefixed: bool
    kinds: tuple[type[Member], ...]
    lie: Numbers
    beside: Mapping[str, tuple[Numbers, Numbers]]

    def stored(self, key: str, place: int) -> Member:
        """One of the members."""
        return self._member(self.lie[place])

    def files(self) -> Iterator[Path]:
        """The archives."""
        yield from self.shards

    def within(self) -> Column:
        """The names without their archive's, which they begin with where they would repeat."""
        import pyarrow.compute as pc

        if not self.prefixed:
            return self.names
        first = pc.replace_substring_regex(self.names, "(?s)/.*$", "")
        own = pa.array([path.name for path in self.shards], first.type)
        rest = pc.replace_substring_regex(self.names, "(?s)^[^/]*/", "")
        return pc.if_else(pc.is_in(first, value_set=own), rest, self.names)

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """The texts of endings, and entries of the `json` members."""
        found: dict[str, Column] = {}
        entries = []
        for name in names:
            if name in self.beside:
                found[name] = self._texts(name)
            else:
                entries.append(name)
        return found | self._entries(entries) if entries else found

    def _texts(self, ending: str) -> Column:
        samples, lie = self.beside[ending]
        # A sample may have no member of this ending.
        texts: list[str | None] = [None] * len(self.lie)
        for sample, row in zip(samples.tolist(), lie, strict=True):
            texts[sample] = _text(self._member(row))
        return pa.array(texts, pa.string())

    def _member(self, row: Numbers) -> Member:
        shard, *numbers = row.tolist()
        return _made(self.kinds[shard], self.shards[shard], numbers)

    def _entries(self, names: Sequence[str]) -> dict[str, Column]:
        texts = self._texts("json").to_pylist() if "json" in self.beside else []
        values = [_parsed(text) for text in texts]
        known: dict[str, None] = {}
        for value in values:
            known.update(dict.fromkeys(value))
        found: dict[str, Column] = {}
        for name in names:
            column_place(name, [*self.beside, *known], self.shards[0])
            cells = [_cell(value.get(name)) for value in values]
            found[name] = pa.array(cells, pa.string())
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shard:
    """The members of one archive: their names, and the row that says where each lies."""

    path: Path
    kind: type[Member]
    names: Column
    lie: Numbers

    def taken(self, rows: Numbers) -> _Shard:
        """Some of the members."""
        return replace(self, names=self.names.take(pa.array(rows)), lie=self.lie[rows])

    def read(self, row: int) -> bytes:
        """A member's bytes."""
        return _made(self.kind, self.path, self.lie[row, 1:].tolist()).read()


@dataclass(slots=True)
class _Index:
    """What was found in the archives so far: pictures, and what lies beside them by ending."""

    names: list[Column] = field(default_factory=list)
    lie: list[Numbers] = field(default_factory=list)
    beside: dict[str, list[tuple[Numbers, Numbers]]] = field(default_factory=dict)
    unclear: list[Column] = field(default_factory=list)
    samples: int = 0
    counts: Counter[str] = field(default_factory=lambda: Counter(ignored=0))

    def add(self, found: _Shard, pictures: str | None) -> None:
        """The samples of an archive; `pictures` is the ending of pictures, None for any."""
        import pyarrow.compute as pc

        once, unclear = _without_doubles(found, self.counts)
        parted = _Parted.of(once, pictures)
        members = parted.members
        sample_of = np.full(len(parted.codes) + 1, -1)
        sample_of[parted.codes[parted.pictures]] = self.samples + np.arange(len(parted.pictures))
        samples = sample_of[parted.codes]
        self.counts["ignored"] += int((samples < 0).sum())
        names = members.names.take(pa.array(parted.pictures))
        self.names.append(names)
        self.unclear.append(pc.is_in(stems(names), value_set=unclear))
        self.lie.append(members.lie[parted.pictures])
        self.samples += len(parted.pictures)
        samples[parted.pictures] = -1
        rows = np.flatnonzero(samples >= 0)
        for ending, some in _by_value(parted.endings, rows):
            self.beside.setdefault(ending, []).append((samples[some], members.lie[some]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parted:
    """An archive's members, the code of each one's sample, and the rows of those that are pictures.

    Each sample has one picture at the most; members of other samples are left out.
    """

    members: _Shard
    codes: Numbers
    endings: Column
    pictures: Numbers

    @classmethod
    def of(cls, members: _Shard, pictures: str | None) -> _Parted:
        """The members parted; UsageError where a sample has several pictures.

        Where an archive holds pictures alone and they are numbered, as in `scan.1.png`, each of
        them is a sample.
        """
        ends = endings(members.names)
        chosen = _chosen(members.names, ends, pictures)
        codes = _codes(stems(members.names))
        several = _several(codes, chosen)
        if len(several):
            if pictures or not _are_numbered(codes, ends, chosen, several):
                raise _unclear(ends.take(pa.array(several)))
            codes = _codes(members.names)
        return cls(members=members, codes=codes, endings=ends, pictures=chosen)


def open_shards(paths: Sequence[Path], pictures: str | None = None) -> Members:
    """The pictures in some archives; `pictures` chooses an ending where samples have several.

    Where two archives hold one name, all names begin with their archive's. `counts` says what was
    left out; a sample with two members of one name that differ is refused. Raises SourceError for
    archives that are damaged, compressed or hold no picture, UsageError where a choice is needed.
    """
    index = _Index()
    kinds = []
    for number, path in enumerate(paths):
        found = _shard(number, path, index.counts)
        kinds.append(found.kind)
        index.add(found, pictures)
    if not index.samples:
        raise SourceError(
            "no picture in the archive",
            str(paths[0]),
            " ".join(SUFFIXES),
            f"{index.counts['ignored']} other files",
            "Name the ending of the pictures with --pictures.",
        )
    beside = {}
    for ending, parts in index.beside.items():
        samples = np.concatenate([part[0] for part in parts])
        beside[ending] = (samples, _stacked([part[1] for part in parts]))
    names, prefixed = _named(index, paths)
    return Members(
        names=names,
        prefixed=prefixed,
        shards=tuple(paths),
        kinds=tuple(kinds),
        lie=_stacked(index.lie),
        beside=beside,
        refused=_refused(index),
        counts=dict(sorted(index.counts.items())),
    )


def _refused(index: _Index) -> Column:
    """Why samples cannot be used, null where nothing is known against them; None for none."""
    import pyarrow.compute as pc

    unclear = pa.concat_arrays(index.unclear)
    if not unclear.true_count:
        return None
    return pc.if_else(unclear, TWO_OF_ONE_NAME, pa.scalar(None, pa.string()))


def _shard(number: int, path: Path, left_out: Counter[str]) -> _Shard:
    """The members of an archive, those left out counted."""
    if _is_zip(path):
        found: Iterator[tuple[Any, ...]] = zip_archive.members(path, left_out)
        kind: type[Member] = ZipMember
    else:
        found = tar.members(path, left_out)
        kind = TarMember
    names: list[str] = []
    numbers = array("q")
    for name, *places in found:
        if not name.isascii() and not is_utf8(name):
            left_out["not_utf8"] += 1
            continue
        names.append(name)
        numbers.append(number)
        numbers.extend(places)
    lie = np.frombuffer(numbers, np.int64).reshape(len(names), -1 if names else 3)
    return _Shard(path=path, kind=kind, names=pa.array(names, pa.large_string()), lie=lie)


def _is_zip(path: Path) -> bool:
    try:
        return read_start(path, 4).startswith(ZIPPED)
    except OSError as error:
        raise SourceError(
            "the archive cannot be read", str(path), found=error.strerror or ""
        ) from None


def _made(kind: type[Member], path: Path, numbers: Sequence[int]) -> Member:
    # Rows are as long as the longest kind of member needs.
    return kind(path, *numbers[: len(fields(kind)) - 1])


def _without_doubles(found: _Shard, counts: Counter[str]) -> tuple[_Shard, Column]:
    """The members, each name once, and the samples in which two of one name differ in their bytes.

    Endings in capitals are the same as in small letters.
    """
    import pyarrow.compute as pc

    whole = _joined(stems(found.names), ".", endings(found.names))
    counted = whole.value_counts()
    values = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if not len(values):
        return found, pa.array([], pa.large_string())
    dropped: list[int] = []
    differ: list[int] = []
    rows = pc.indices_nonzero(pc.is_in(whole, value_set=values)).to_numpy().astype(np.int64)
    for _, some in _by_value(whole, rows):
        dropped += some[1:].tolist()
        if not _are_alike(found, some):
            differ.append(int(some[0]))
    counts["repeated"] += len(dropped)
    unclear = stems(found.names.take(pa.array(differ, pa.int64())))
    return found.taken(np.delete(np.arange(len(found.names)), dropped)), unclear


def _are_alike(found: _Shard, rows: Numbers) -> bool:
    """Whether some members hold the same bytes."""
    try:
        first = found.read(int(rows[0]))
        return all(found.read(int(row)) == first for row in rows[1:])
    except PictureError:
        return False
    except OSError as error:
        raise SourceError(
            "the archive cannot be read", str(found.path), found=error.strerror or ""
        ) from None


def _chosen(names: Column, ends: Column, pictures: str | None) -> Numbers:
    """The rows of pictures, by the ending that is asked for, or by any of theirs."""
    import pyarrow.compute as pc

    mask = pc.equal(ends, pictures.lower()) if pictures else are_pictures(names)
    rows: Numbers = pc.indices_nonzero(mask).to_numpy().astype(np.int64)
    return rows


def _codes(values: Column) -> Numbers:
    """A number for each different value, from 0 on."""
    codes: Numbers = values.dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _several(codes: Numbers, chosen: Numbers) -> Numbers:
    """The rows among the chosen ones that share their code."""
    counts = np.bincount(codes[chosen], minlength=1)
    return chosen[counts[codes[chosen]] > 1]


def _are_numbered(codes: Numbers, ends: Column, chosen: Numbers, several: Numbers) -> bool:
    """Whether an archive's samples hold pictures alone, those that share a name with a number."""
    import pyarrow.compute as pc

    belong = np.isin(codes, codes[chosen])
    numbered = pc.match_substring_regex(ends.take(pa.array(several)), _NUMBERED)
    return int(belong.sum()) == len(chosen) and bool(pc.all(numbered).as_py())


def _unclear(ends: Column) -> UsageError:
    found = sorted(set(ends.to_pylist()))
    return UsageError(
        "several pictures of one name in the archive",
        found=few_of(found),
        hint=f"Choose with --pictures {found[0]}",
    )


def _by_value(values: Column, rows: Numbers) -> Iterator[tuple[str, Numbers]]:
    """Each different value among some rows, with its rows, in order."""
    coded = values.take(pa.array(rows)).dictionary_encode()
    codes = coded.indices.to_numpy()
    order = rows[np.argsort(codes, kind="stable")]
    ends = np.cumsum(np.bincount(codes, minlength=len(coded.dictionary)))
    start = 0
    for value, end in zip(coded.dictionary.to_pylist(), ends.tolist(), strict=True):
        yield value, order[start:end]
        start = end


def _joined(*parts: str | Column) -> Column:
    """Texts, the same for all rows or one each, behind one another."""
    import pyarrow.compute as pc

    texts = [
        pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts
    ]
    return pc.binary_join_element_wise(*texts, pa.scalar("", pa.large_string()))


def _stacked(parts: Sequence[Numbers]) -> Numbers:
    """Rows below each other; shorter ones are filled up."""
    width = max(rows.shape[1] for rows in parts)
    filled = [np.pad(rows, ((0, 0), (0, width - rows.shape[1]))) for rows in parts]
    return np.concatenate(filled)


def _named(index: _Index, paths: Sequence[Path]) -> tuple[Column, bool]:
    """The members' names, with their archive's where two have one name, and whether they have."""
    import pyarrow.compute as pc

    names = pa.concat_arrays(index.names)
    if pc.count_distinct(names).as_py() == len(names):
        return names, False
    prefixed = []
    for path, some in zip(paths, index.names, strict=True):
        prefixed.append(_joined(path.name, "/", some))
    found = pa.concat_arrays(prefixed)
    if pc.count_distinct(found).as_py() < len(found):
        raise SourceError(
            "two archives of one name", str(paths[0]), hint="Give each a name of its own."
        )
    return found, True


def _text(part: Member) -> str | None:
    if part.size > _MAX_TEXT:
        raise SourceError(
            "a member is too long for a column",
            str(part.path),
            f"at most {_MAX_TEXT} bytes",
            str(part.size),
        )
    try:
        return part.read().decode("utf-8-sig").strip() or None
    except UnicodeDecodeError:
        raise SourceError(
            "a member of the archive is no text",
            str(part.path),
            hint="Name an ending that holds texts, as cls, or an entry of the json files.",
        ) from None


def _parsed(text: str | None) -> Mapping[str, Any]:
    """A JSON member's entries; none where it is no JSON object."""
    try:
        value = parsed(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    return json.dumps(value)
