"""Bags in HDF5 files, as TRIDENT, CLAM and STAMP write them, a file for each slide.

TRIDENT and CLAM: `features` [n, D] and `coords` [n, 2], in pixels of level 0; STAMP: `feats` and
`coords` in micrometres, where its attribute `unit` says so. What a file of a stranger could lead to
is refused: links, values in other files, filters that HDF5 would load a library for, chunks that
were never written (HDF5 makes them up), sizes that unpack to too much.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dof_arrow.errors import require
from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.foreign.bag import (
    COORDINATES,
    FEATURES,
    MOST_BYTES,
    Array,
    BagForm,
    BagRefused,
    BagValues,
    Unit,
    bytes_of,
    checked_places,
    checked_shape,
    checked_vectors,
    stored_type,
)
from dof_arrow.rewrite.foreign.hdf5_extents import Extent, extent
from dof_arrow.sources.sample import file_stamp
from dof_arrow.system import open_file

_FILTERS = {1, 2, 3, 32000}  # deflate, shuffle, Fletcher's checksum and LZF: all are built in
_FREE = 16 << 20  # bytes that values may unpack to, whatever their size in the file
_RATIO = 64  # how many times their size in the file they may be beyond that
_LONGEST = 200  # letters of a text
_ATTRIBUTE_BYTES = 1 << 12

# What is said of how tiles were cut; no names of slides and no folders.
_FACTS = (
    "patch_size",
    "patch_size_level0",
    "level0_magnification",
    "target_magnification",
    "overlap",
    "patch_level",
    "downsample",
    "custom_downsample",
    "tile_size_um",
    "tile_size_px",
    "stamp_version",
    "code_hash",
    "feat_type",
)
_CORES = ("extractor", "encoder", "encoder_name", "model_name")
_LOOKED_AT = {*_FACTS, *_CORES, "unit"}


@dataclass(frozen=True, slots=True)
class Hdf5Bag:
    """The bag in an HDF5 file; `claimed` is what its folder says of the core."""

    name: str
    path: Path
    claimed: str | None = None

    @property
    def size(self) -> int:
        """Bytes of its file."""
        return bytes_of(self.path)

    def form(self) -> BagForm:
        """What it is like; raises BagRefused."""
        with _opened(self.path) as file:
            vectors = _vectors(file)
            dtype = stored_type(vectors.dtype)
            rows, width = checked_shape(vectors.shape, vectors.dtype.itemsize)
            places = _dataset(file, COORDINATES)
            extents = (_stored(vectors), None if places is None else _stored(places))
            said = _said(file, vectors, places)
            facts = {name: said[name] for name in _FACTS if name in said}
            is_stamp = vectors.name == "/feats"
            return BagForm(
                rows=rows,
                width=width,
                dtype=dtype,
                narrowed=vectors.dtype.itemsize == 8,
                unit=None if places is None else _unit(said, is_stamp),
                level=_level(facts),
                mpp=_mpp(facts),
                core=_core(said) or self.claimed,
                layout=_layout(said, is_stamp),
                facts=facts,
                stamp=file_stamp(self.path),
                extents=extents,
            )

    def values(self, form: BagForm) -> BagValues:
        """Its values, where the file is as it was; raises BagRefused."""
        try:
            is_same = file_stamp(self.path) == form.stamp
        except OSError:
            is_same = False
        if not is_same:
            raise BagRefused("unreadable")
        vectors, places = self._read(form)
        found = checked_vectors(vectors.reshape(form.rows, form.width), form.dtype)
        if places is None or form.unit is None:
            return BagValues(vectors=found)
        return BagValues(vectors=found, places=checked_places(places, form.rows, form.unit))

    def _read(self, form: BagForm) -> tuple[Array, Array | None]:
        of_vectors, of_places = form.extents
        if of_vectors is None or (of_places is None and form.unit is not None):
            with _opened(self.path) as file:
                vectors = _vectors(file)[...]
                return vectors, None if form.unit is None else _dataset(file, COORDINATES)[...]
        try:
            with open_file(self.path) as raw:
                places = None if of_places is None else of_places.read(raw)
                return of_vectors.read(raw), places
        except (OSError, EOFError):
            raise BagRefused("unreadable") from None


@cache
def _h5py() -> Any:
    return require("h5py", extra="hdf5")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open file; whatever HDF5 finds wrong in it is a BagRefused."""
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError):
        raise BagRefused("unreadable") from None


def _vectors(file: Any) -> Any:
    for name in FEATURES:
        found = _dataset(file, name)
        if found is not None:
            return found
    raise BagRefused("no-vectors")


def _dataset(file: Any, name: str) -> Any:
    """The dataset of a name, None if there is none; BagRefused where it leads out of the file."""
    h5py = _h5py()
    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise BagRefused("elsewhere")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise BagRefused("no-vectors")
    if found.is_virtual or found.external:
        raise BagRefused("elsewhere")
    return found


def _stored(item: Any) -> Extent | None:
    """Where values lie; BagRefused unless all are in the file, and unpack to what can be held."""
    if item.dtype.hasobject or item.dtype.kind not in "iuf" or not item.shape:
        raise BagRefused("no-vectors")
    declared = math.prod(item.shape) * item.dtype.itemsize
    if declared > MOST_BYTES:
        raise BagRefused("sizes")
    chunks = item.chunks
    if chunks is None:
        if item.id.get_storage_size() < declared:
            raise BagRefused("unwritten")
        return extent(item)
    _check_filters(item)
    if math.prod(chunks) * item.dtype.itemsize > max(_FREE, 4 * declared):
        raise BagRefused("sizes")
    known = extent(item)
    if known is not None:
        return known
    if declared > _FREE + _RATIO * item.id.get_storage_size():
        raise BagRefused("sizes")
    pairs = zip(item.shape, chunks, strict=True)
    wanted = math.prod(-(-length // step) for length, step in pairs)
    if item.id.get_num_chunks() < wanted:
        raise BagRefused("unwritten")
    return None


def _check_filters(item: Any) -> None:
    plan = item.id.get_create_plist()
    used = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())}
    if not used <= _FILTERS:
        raise BagRefused("filter")


def _said(file: Any, vectors: Any, places: Any) -> dict[str, Json]:
    """The attributes that are looked at, of the file or of its datasets."""
    found: dict[str, Json] = {}
    for owner in (places, vectors, file):
        if owner is None:
            continue
        attributes = owner.attrs  # of a file, it opens the root each time
        for name in attributes:
            if name in _LOOKED_AT:
                value = _value(attributes, name)
                if value is not None:
                    found.setdefault(name, value)
    return found


def _core(said: Mapping[str, Json]) -> str | None:
    for name in _CORES:
        if isinstance(said.get(name), str):
            return str(said[name])
    return None


def _value(attributes: Any, name: str) -> Json:
    """A number or a short text; None for anything else."""
    about = attributes.get_id(name)
    if about.shape not in ((), (1,)) or about.get_storage_size() > _ATTRIBUTE_BYTES:
        return None
    value = attributes[name]
    value = value.reshape(-1)[0] if hasattr(value, "reshape") else value
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, (bool, int)):
        return value if abs(value) < 1 << 53 else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _plain(text: str) -> str | None:
    """A text without what moves the cursor of a terminal; None for a path or `None`."""
    kept = "".join(letter for letter in text if unicodedata.category(letter)[0] != "C")
    if kept in ("", "None") or "/" in kept or "\\" in kept:
        return None
    return kept[:_LONGEST]


def _unit(said: Mapping[str, Json], is_stamp: bool) -> Unit | None:
    """What coordinates are counted in; None where nobody says."""
    unit = said.get("unit")
    if unit is not None or is_stamp:
        return "um" if unit == "um" else None
    return "pixels"


def _level(facts: dict[str, Json]) -> int | None:
    level = facts.get("patch_level")
    return level if isinstance(level, int) and 0 <= level < 1 << 15 else None


def _mpp(facts: dict[str, Json]) -> float | None:
    """Micrometres a pixel, of a tile's side in both."""
    um, pixels = facts.get("tile_size_um"), facts.get("tile_size_px")
    if not isinstance(um, (int, float)) or not isinstance(pixels, (int, float)):
        return None
    return um / pixels if um > 0 and pixels > 0 else None


def _layout(said: Mapping[str, Json], is_stamp: bool) -> str:
    if is_stamp or "stamp_version" in said:
        return "STAMP"
    return "TRIDENT" if "patch_size_level0" in said else "CLAM"
