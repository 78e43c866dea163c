"""Which picture each row of a table is about, by the names in its key column.

Keys are relative names, file names, or file names without suffix: whichever finds most pictures. A
key that finds none is tried in another spelling: composed characters (Unicode's form NFC) and
slashes for backslashes. Further readings are tried only if they are asked for, since they could
find the wrong picture:

case      letters in any case
folder    the file name alone, whatever folder the key names
suffix    without the suffix, so that `a.jpg` finds `a.png`
padding   numbers without leading zeros, so that `7` finds `0007.png`
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from dof_arrow.errors import SourceError
from dof_arrow.sources.columns import nulled
from dof_arrow.sources.sample import Column

Fold = Callable[[Column], Column]

OUTSIDE = "the table's key leads out of the folder"
SEVERAL = "the table's key fits several pictures"
_TRIED = 4096  # keys that tell whether further readings find any
_UNSAFE = r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What each row is about: the picture's `name`, and its `place`, null where none is found.

    `refused` says why a row can be about no picture, null where nothing speaks against it.
    `counts`: rows `respelled` and read `loosely`. `offers`: how many more rows each further
    reading, or all together, would find.
    """

    names: Column
    place: Column
    refused: Column
    counts: Mapping[str, int] = field(default_factory=dict)
    offers: Mapping[str, int] = field(default_factory=dict)


def match(keys: Column, names: Column, path: Path, loosely: Collection[str] = ()) -> Matched:
    """The picture among the sorted `names` that each key names; `loosely` adds readings.

    An empty key has no name. Raises SourceError where no key finds a picture; it names no key.
    """
    import pyarrow.compute as pc

    keys = _plain(keys)
    search = _Search(keys, names)
    letters = _bytes(keys)
    safe = _safe(keys, letters)
    search.look(_same, among=safe)
    respelled = 0
    if _may_be_respelled(letters) or _may_be_respelled(_bytes(names)):
        respelled = search.look(spelled, among=safe)
    asked = tuple(name for name in READINGS if name in loosely)
    found = search.look(_folded(asked)) if asked else 0
    offers = search.offers(asked)
    if search.places.null_count == len(keys):
        raise _nothing_found(len(keys), offers, path)
    return Matched(
        names=pc.coalesce(names.take(search.places), keys),
        place=search.places,
        refused=search.refused(safe),
        counts={"respelled": respelled, "loosely": found},
        offers=offers,
    )


def fitting(keys: Column, names: Column, loosely: Collection[str] = ()) -> int:
    """How many keys `match` would find something for.

    >>> fitting(pa.array(["a.svs", "b.svs", "z"]), pa.array(["b.svs", "c"]))
    1
    """
    keys = _plain(keys)
    search = _Search(keys, names)
    safe = _safe(keys, _bytes(keys))
    found = search.look(_same, among=safe) + search.look(spelled, among=safe)
    return found + (search.look(_folded(tuple(loosely))) if loosely else 0)


class _Search:
    """Places found so far; each look is at the keys that have none yet."""

    def __init__(self, keys: Column, names: Column) -> None:
        self._keys = keys
        self._names = names
        self.places = pa.nulls(len(keys), pa.int32())
        self._several = np.zeros(len(keys), bool)

    @cached_property
    def _file_names(self) -> Column:
        return base_names(self._names)

    @cached_property
    def _stems(self) -> Column:
        return stems(self._file_names)

    def _levels(self) -> Iterator[Column]:
        """Relative names, file names, file names without suffix; each made where it is needed."""
        yield self._names
        yield self._file_names
        yield self._stems

    def look(self, fold: Fold, among: Column = None) -> int:
        """Find places for keys, both sides folded; returns how many more are found.

        A key that fits several pictures finds none.
        """
        import pyarrow.compute as pc

        open_keys = nulled(self._keys, self.places.is_valid())
        if among is not None:
            open_keys = nulled(open_keys, pc.invert(among))
        if open_keys.null_count == len(open_keys):
            return 0
        places, several = self._best(fold(open_keys), fold)
        before = self.places.null_count
        self.places = pc.coalesce(self.places, places)
        self._several |= several.to_numpy(zero_copy_only=False)
        return int(before - self.places.null_count)

    def _best(self, keys: Column, fold: Fold) -> tuple[Column, Column]:
        """Places, and which keys fit several pictures, at the level that most keys fit."""
        most = len(keys) - keys.null_count
        best = (pa.nulls(len(keys), pa.int32()), pa.array(np.zeros(len(keys), bool)))
        for level in self._levels():
            found = _found(keys, fold(level))
            if _fitting(found) > _fitting(best):
                best = found
            if _fitting(best) == most:
                break  # no other level can fit more
        return best

    def offers(self, asked: Collection[str]) -> dict[str, int]:
        """How many more rows each reading that is not asked for would find, and all together."""
        left = [name for name in READINGS if name not in asked]
        # All together find what one finds: a table that needs none is told by a few of its rows.
        if not left or not self._would_find(READINGS, self._some_lost()):
            return {}
        lost = self._keys.filter(self.places.is_null())
        offers = {name: self._would_find((*asked, name), lost) for name in left}
        offers = {name: count for name, count in offers.items() if count}
        together = self._would_find(READINGS, lost)
        if together > max(offers.values(), default=0):
            offers[",".join(READINGS)] = together
        return offers

    def _some_lost(self) -> Column:
        """Some of the keys without a place, evenly spread."""
        import pyarrow.compute as pc

        lost = pc.indices_nonzero(self.places.is_null())
        step = max(len(lost) // _TRIED, 1)
        return self._keys.take(lost[::step])

    def _would_find(self, readings: Collection[str], keys: Column) -> int:
        return _Search(keys, self._names).look(_folded(readings))

    def refused(self, safe: Column) -> Column:
        """Why rows can be about no picture; a row that is found after all is about it."""
        import pyarrow.compute as pc

        lost = self.places.is_null()
        several = pc.and_(lost, pa.array(self._several))
        outside = pc.and_(lost, pc.fill_null(pc.invert(safe), False))
        conditions = pa.StructArray.from_arrays([outside, several], ["outside", "several"])
        return pc.case_when(conditions, OUTSIDE, SEVERAL)


def _bytes(texts: Column) -> bytes:
    """The letters of all texts, and those around them where they are a slice of others."""
    data = texts.cast(pa.large_string()).buffers()[-1]
    return b"" if data is None else data.to_pybytes()


def _may_be_respelled(letters: bytes) -> bool:
    return not letters.isascii() or b"\\" in letters


def _safe(keys: Column, letters: bytes) -> Column:
    """Which keys lead nowhere outside of the folder."""
    import pyarrow.compute as pc

    if not any(mark in letters for mark in (b"/", b"\\", b":", b".")):
        return nulled(keys.is_valid(), keys.is_null())
    return pc.invert(pc.match_substring_regex(keys, _UNSAFE))


def _fitting(found: tuple[Column, Column]) -> int:
    places, several = found
    return len(places) - int(places.null_count) + int(several.true_count)


def _found(keys: Column, names: Column) -> tuple[Column, Column]:
    """The place of each key among names, null where it fits several, and which those are."""
    import pyarrow.compute as pc

    places = pc.index_in(keys, value_set=names, skip_nulls=True)
    if _all_met(places, len(names)) or pc.count_distinct(names).as_py() == len(names):
        return places, pa.array(np.zeros(len(keys), bool))
    counts = names.value_counts()
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    several = pc.is_in(keys, value_set=repeated, skip_nulls=True)
    return nulled(places, several), several


def _all_met(places: Column, count: int) -> bool:
    """Whether each of so many places is met: of equal names only the first would be."""
    if len(places) - places.null_count < count:
        return False
    met = np.bincount(places.drop_null().to_numpy(), minlength=count)
    return bool(met.all())


def _plain(keys: Column) -> Column:
    """Keys as large strings, without `./` before them."""
    import pyarrow.compute as pc

    if pc.any(pc.starts_with(keys, "./")).as_py():
        keys = pc.replace_substring_regex(keys, r"^(\./+)+", "")
    return keys.cast(pa.large_string())


# How keys and names are made alike before they are compared


def _same(texts: Column) -> Column:
    return texts


def spelled(texts: Column) -> Column:
    """Texts with composed characters and slashes for backslashes."""
    import pyarrow.compute as pc

    return pc.utf8_normalize(pc.replace_substring(texts, "\\", "/"), "NFC")


def base_names(texts: Column) -> Column:
    """Names without the folders before them.

    >>> base_names(pa.array(["a/b/1.png", "2.png"])).to_pylist()
    ['1.png', '2.png']
    """
    import pyarrow.compute as pc

    return pc.replace_substring_regex(texts, "(?s)^.*/", "")


def stems(texts: Column) -> Column:
    """Names without their suffix.

    >>> stems(pa.array(["a/b.x.png", ".hidden"])).to_pylist()
    ['a/b.x', '.hidden']
    """
    import pyarrow.compute as pc

    return pc.replace_substring_regex(texts, r"(?s)([^/])\.[^./]*$", r"\1")


def _lower(texts: Column) -> Column:
    import pyarrow.compute as pc

    return pc.utf8_lower(texts)


def _unpadded(texts: Column) -> Column:
    """
    >>> _unpadded(pa.array(["p007_00.png", "100"])).to_pylist()
    ['p7_0.png', '100']
    """
    import pyarrow.compute as pc

    return pc.replace_substring_regex(texts, "(^|[^0-9])0+([0-9])", r"\1\2")


READINGS: Mapping[str, Fold] = {
    "case": _lower,
    "folder": base_names,
    "suffix": stems,
    "padding": _unpadded,
}


def _folded(readings: Collection[str]) -> Fold:
    """Some readings, one after the other, of what is spelled alike."""

    def fold(texts: Column) -> Column:
        texts = spelled(texts)
        for name in readings:
            texts = READINGS[name](texts)
        return texts

    return fold


def _nothing_found(rows: int, offers: Mapping[str, int], path: Path) -> SourceError:
    if not rows:
        return SourceError("the table has no rows", str(path))
    hint = offered(offers) or (
        "Keys are names relative to the source, file names, or file names without suffix. "
        "Is --key the right column?"
    )
    return SourceError(
        "no row of the table names a picture", str(path), found=f"{rows:,} rows", hint=hint
    )


def offered(offers: Mapping[str, int]) -> str:
    """What further readings would find, as a sentence; empty where they would find nothing.

    >>> offered({"case": 6})
    '--match case would find 6 more.'
    """
    told = [f"--match {name} would find {count:,} more" for name, count in offers.items()]
    return "; ".join(told) + "." if told else ""
