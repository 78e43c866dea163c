"""Datasets made of bags that other programs wrote: HDF5, files of torch, archives of arrays.

Bags stand in the order of what they are called in the dataset, and so do the inputs that failed.
What made the vectors is a claim: nothing here can verify it.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, SourceError
from dof_arrow.format.spec.arrow import vector_field
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.writer import Writer
from dof_arrow.progress import listening
from dof_arrow.rewrite.foreign.bag import REASONS, Array, BagForm, BagRefused, BagValues, ForeignBag
from dof_arrow.rewrite.foreign.found import found
from dof_arrow.rewrite.foreign.survey import Survey, sample, survey
from dof_arrow.security.keys import load_or_make_key
from dof_arrow.security.pseudonyms import fingerprint, pseudonyms
from dof_arrow.storage.atomic import refuse_existing

PathLike = str | os.PathLike[str]

_Read = tuple[BagForm, BagValues] | str

FEATURE = "feature"
_DIGITS = 7  # of a tile's number
_AHEAD = 64 << 20  # bytes of bags that are read ahead, at least one
_AT_ONCE = 4096  # vectors that are inputs of their own and are written together
_PLACES = {"pixels": ("x", "y"), "um": ("x_um", "y_um")}
_TYPES = {
    "x": pa.int32(),
    "y": pa.int32(),
    "level": pa.int16(),
    "mpp": pa.float64(),
    "x_um": pa.float64(),
    "y_um": pa.float64(),
}


def convert(
    source: PathLike,
    out: PathLike,
    *,
    id_key: PathLike | bytes | None = None,
    ids: Literal["pseudonym", "name"] = "pseudonym",
    core: str | None = None,
    layout: Literal["mapped", "compact"] = "mapped",
    overwrite: bool = False,
) -> Dataset:
    """Write the bags in a file, or in all files of a folder, as one DoF file; returns it, opened.

    - `source`: HDF5 of TRIDENT, CLAM or STAMP, `.pt` files of torch, a file for each bag, or tar
      archives of .npy members (WebDataset).
    - `id_key`: the key that makes pseudonyms of the bags' names, or the file that holds it; `ids`:
      `name` leaves the names as they are.
    - `core`: what made the vectors, by default what the inputs say; a claim either way.

    Inputs that cannot be taken are listed as failed, with the reason. What was left out and what
    failed is told as DofWarning. Raises SourceError if no input is left, UsageError for inputs of
    several kinds or of one name, OutputError if the file cannot be written.
    """
    refuse_existing(Path(out), overwrite)
    there = found(Path(source))
    key = None if ids == "name" else _key(id_key)
    names = [bag.name for bag in there.bags]
    called = names if key is None else pseudonyms(key, "id", names)
    order = sorted(range(len(called)), key=lambda place: called[place].encode())
    called = [called[place] for place in order]
    bags = [there.bags[place] for place in order]
    options: dict[str, Any] = {"core": core, "key": key, "layout": layout, "overwrite": overwrite}
    known = sample(bags)
    try:
        if known is None:
            raise _NotAlike
        written = _write(known, bags, called, Path(out), **options)
    except _NotAlike:
        with listening().progress("looking at inputs") as update:
            known = survey(bags, lambda done: update(done, len(bags), 0))
        written = _write(known, bags, called, Path(out), **options)
    for remark in _remarks(written, there.left_out):
        warnings.warn(f"{source}: {remark}", DofWarning, stacklevel=2)
    return dataset.open(out)


class _NotAlike(Exception):
    """An input that differs from those that were looked at."""


def _write(
    known: Survey,
    bags: Sequence[ForeignBag],
    called: Sequence[str],
    out: Path,
    *,
    core: str | None,
    key: bytes | None,
    **options: Any,
) -> Survey:
    """Write all bags as a file; returns what those that were taken are like, and why others failed.

    Raises _NotAlike where only some were looked at before, and another one differs.
    """
    if not known.forms:
        raise _none_left(out, known.refused)
    form = _Form(known)
    about = {
        **form.metadata(core),
        "privacy": {"ids": "name"} if key is None else _private(key),
        "provenance": {"inputs": len(bags), "raw": {}},
    }
    refused = dict(known.refused)
    # Each bag is looked at before it is written.
    writer = Writer(out, about, schema=form.schema(), allow_nonfinite=True, **options)
    with writer:
        write = form.write_vectors if form.alone else form.write_bags
        write(writer, bags, called, refused)
        if not form.taken:
            raise _none_left(out, refused)
        for place in sorted(refused):
            writer.fail(called[place], refused[place], REASONS[refused[place]])
    return Survey(forms=form.taken, refused=refused)


def _key(given: PathLike | bytes | None) -> bytes:
    if isinstance(given, bytes):
        return given
    return load_or_make_key(None if given is None else Path(given))[0]


def _private(key: bytes) -> dict[str, Json]:
    return {"ids": "pseudonym", "key": fingerprint(key)}


@dataclass(frozen=True)
class _Form:
    """The columns of the dataset, and the values of each bag for them."""

    known: Survey
    taken: dict[int, BagForm] = field(default_factory=dict)

    @cached_property
    def alone(self) -> bool:
        return self.known.first.alone

    def schema(self) -> pa.Schema:
        """The columns; one that all inputs fill is required, so that it is mapped."""
        fields = [pa.field("id", pa.string(), nullable=False)]
        if not self.alone:
            fields.append(pa.field("bag", pa.string(), nullable=False))
        for name, is_full in self._beside.items():
            fields.append(pa.field(name, _TYPES[name], nullable=not is_full))
        fields.append(vector_field(FEATURE, (self.known.first.width,), self.known.dtype))
        return pa.schema(fields)

    def metadata(self, core: str | None) -> dict[str, Json]:
        """Which columns have which roles, and what is claimed of the core."""
        there = [name for name in self._beside if not name.endswith("_um")]
        record = {"id": "id", **{name: name for name in there}}
        if not self.alone:
            record["bag"] = "bag"
        name = core or self.known.core or "not stated"
        return {
            "record": record,
            "primary_column": FEATURE,
            "columns": {FEATURE: {"core": FEATURE}},
            "claimed_cores": {FEATURE: {"name": name, "facts": self.known.facts}},
        }

    @cached_property
    def _beside(self) -> dict[str, bool]:
        """The columns of places and scales, and whether every input fills them."""
        found = {}
        for unit, names in _PLACES.items():
            some, every = self.known.places_in(unit)
            if some:
                found.update(dict.fromkeys(names, every))
        for name in ("level", "mpp"):
            some, every = self.known.known(name)
            if some:
                found[name] = every
        return found

    def write_bags(
        self,
        writer: Writer,
        bags: Sequence[ForeignBag],
        called: Sequence[str],
        refused: dict[int, str],
    ) -> None:
        """Write bag after bag; those that turn out to be unfit are noted in `refused`."""
        for place, values in self._values(bags, refused):
            rows = len(values.vectors)
            columns = self._columns(place, values)
            columns["bag"] = _repeated(called[place], rows)
            names = _numbered(called[place], rows)
            writer.write(ids=names, vectors={FEATURE: values.vectors}, columns=columns)

    def write_vectors(
        self,
        writer: Writer,
        bags: Sequence[ForeignBag],
        called: Sequence[str],
        refused: dict[int, str],
    ) -> None:
        """Write inputs of one vector each, many at a time."""
        names: list[str] = []
        rows: list[Array] = []
        for place, values in self._values(bags, refused):
            names.append(called[place])
            rows.append(values.vectors)
            if len(rows) == _AT_ONCE:
                writer.write(ids=names, vectors={FEATURE: np.concatenate(rows)})
                names, rows = [], []
        if rows:
            writer.write(ids=names, vectors={FEATURE: np.concatenate(rows)})

    def _values(
        self, bags: Sequence[ForeignBag], refused: dict[int, str]
    ) -> Iterator[tuple[int, BagValues]]:
        """The values of all inputs that fit, in the type of all."""
        with listening().progress("writing bags") as update:
            for place, read in self._ahead(bags):
                if isinstance(read, str):
                    refused[place] = read
                else:
                    self.taken[place], values = read
                    yield place, values
                update(place + 1, len(bags), len(refused))

    def _ahead(self, bags: Sequence[ForeignBag]) -> Iterator[tuple[int, _Read]]:
        """What `_read` gives for each input, in order; some are read while others are written."""
        waiting: deque[tuple[int, int, Future[_Read]]] = deque()
        places = range(len(bags)) if self.known.is_sample else self.known.forms
        size = 0
        with ThreadPoolExecutor(1) as pool:
            for place in places:
                count = bags[place].size
                while waiting and size + count > _AHEAD:
                    before, read, done = waiting.popleft()
                    size -= before
                    yield read, done.result()
                waiting.append((count, place, pool.submit(self._read, bags[place], place)))
                size += count
            for _, read, done in waiting:
                yield read, done.result()

    def _read(self, bag: ForeignBag, place: int) -> _Read:
        """The form of an input and its values in the type of all, or why there are none."""
        try:
            form = self.known.forms.get(place) or bag.form()
            if self.known.is_sample and not form.agrees(self.known.first):
                raise _NotAlike
            values = bag.values(form)
            if values.vectors.shape != (form.rows, form.width):
                raise BagRefused("unreadable")
        except BagRefused as error:
            return error.rule
        vectors = values.vectors.astype(self.known.dtype, copy=False)
        return form, BagValues(vectors=vectors, places=values.places)

    def _columns(self, place: int, values: BagValues) -> dict[str, Any]:
        form = self.taken[place]
        rows = len(values.vectors)
        found: dict[str, Any] = {}
        for name in self._beside:
            found[name] = pa.nulls(rows, _TYPES[name])
        for name, value in (("level", form.level), ("mpp", form.mpp)):
            if value is not None:
                found[name] = np.full(rows, value, _TYPES[name].to_pandas_dtype())
        if values.places is not None and form.unit is not None:
            for axis, name in enumerate(_PLACES[form.unit]):
                found[name] = np.ascontiguousarray(values.places[:, axis])
        return found


def _repeated(text: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), rows)


def _numbered(text: str, rows: int) -> pa.Array:
    """The ids of a bag's rows: its name, a sign, and numbers of seven digits.

    >>> _numbered("a", 2).to_pylist()
    ['a-0000000', 'a-0000001']
    """
    start = np.frombuffer(f"{text}-".encode(), np.uint8)
    width = len(start) + _DIGITS
    letters = np.empty((rows, width), np.uint8)
    letters[:, : len(start)] = start
    numbers = np.arange(rows, dtype=np.int32)
    for place in range(_DIGITS):
        letters[:, width - 1 - place] = ord("0") + numbers // 10**place % 10
    ends = np.arange(0, rows * width + 1, width, dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(letters)]
    return pa.Array.from_buffers(pa.large_string(), rows, buffers).cast(pa.string())


def _none_left(out: Path, refused: Mapping[int, str]) -> SourceError:
    return SourceError(
        "no input gives a vector",
        f"{out} is not written",
        "inputs that can be taken",
        "; ".join(_counted(refused)),
    )


def _counted(refused: Mapping[int, str]) -> list[str]:
    counts = Counter(refused.values())
    return [f"{REASONS[rule]} ({count:,})" for rule, count in sorted(counts.items())]


def _remarks(known: Survey, left_out: Mapping[str, int]) -> Iterator[str]:
    """Sentences on what failed, was left out or is not known."""
    refused = known.refused
    if refused:
        yield f"{len(refused):,} inputs failed and are listed: {'; '.join(_counted(refused))}"
    if left_out:
        told = [f"{count:,} {ending}" for ending, count in sorted(left_out.items())]
        yield f"files of other kinds were left out: {', '.join(told)}"
    without = sum(form.unit is None for form in known.forms.values())
    if without and not known.first.alone:
        yield f"{without:,} inputs have no coordinates of a known unit: theirs are left open"
    narrowed = sum(form.narrowed for form in known.forms.values())
    if narrowed:
        yield f"{narrowed:,} inputs have float64: they are stored as {known.dtype}"
    if known.core is None:
        yield "no input says which core made its vectors"
